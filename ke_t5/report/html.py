"""What the templates of `report.html` are filled with: a page that needs no other file.

Every value is escaped by jinja2, so that no text of a data set can become markup.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ke_t5.report.tables import width_of

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATES = Path(__file__).with_name("templates")
CONTEXT = 40  # characters shown before the first mark of a long text
# Names above more columns of a matrix, or with longer words together, are set upright: otherwise it
# would be wider than the page.
MAX_LEVEL_HEADS = 8
MAX_LEVEL_WIDTH = 70  # columns of a terminal
MISSED, FALSE_ALARM = "−", "✗"  # labels of wrong marks
GOLDEN_ANGLE = 137.5  # degrees: hues of neighbours in a list are far apart


@functools.cache
def environment() -> Environment:
    """The templates, with the filters that they use."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    templates = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters |= {"score": number, "thousands": "{:,}".format, "are_wide": are_wide}
    templates.globals |= {"missed": MISSED, "false_alarm": FALSE_ALARM}
    return templates


def render(template: str, **values: Any) -> str:
    """A template filled with the values."""
    return environment().get_template(template).render(**values)


def are_wide(names: Sequence[str]) -> bool:
    """Whether these heads of columns would make a table wider than the page."""
    longest = [max(map(width_of, re.split(r"[ -]", name))) for name in names]
    return len(longest) > MAX_LEVEL_HEADS or sum(longest) > MAX_LEVEL_WIDTH


def number(value: float | None) -> str:
    """A score for people; a dash for NaN, and for None, which JSON has in its place."""
    return "–" if value is None or not np.isfinite(value) else f"{value:.2f}"


def shortened(text: object, *, limit: int) -> str:
    """The text, or its beginning and an ellipsis."""
    text = str(text)
    return text if len(text) <= limit else f"{text[:limit].rstrip()} …"


# ---------------------------------------------------------------------------------- tagged text


@dataclass(frozen=True)
class Span:
    """Characters start .. end (half-open) of a text, and what they are; `is_wrong` if the other
    side does not have the same."""

    start: int
    end: int
    kind: str
    is_wrong: bool


@dataclass(frozen=True)
class Mark:
    """Coloured text with a label; the label says without colour what is wrong."""

    text: str
    label: str
    hue: int
    is_wrong: bool


def hues(kinds: Iterable[str]) -> dict[str, int]:
    """A hue (degrees) per kind."""
    return {kind: int(20 + i * GOLDEN_ANGLE) % 360 for i, kind in enumerate(sorted(set(kinds)))}


def tagged(
    text: str, spans: Sequence[Span], *, hue_of: Mapping[str, int], sign: str, window: range
) -> list[str | Mark]:
    """The characters of `window`, its spans as marks; `sign` labels wrong ones."""
    pieces: list[str | Mark] = ["… "] if window.start > 0 else []
    place = window.start
    for span in spans:
        start, end = max(span.start, place), min(span.end, window.stop)
        if start >= end:
            continue
        label = f"{sign} {span.kind}" if span.is_wrong else span.kind
        pieces += [
            text[place:start],
            Mark(text[start:end], label, hue_of[span.kind], span.is_wrong),
        ]
        place = end
    return [*pieces, text[place : window.stop], " …" if window.stop < len(text) else ""]


def window_of(text: str, spans: Iterable[Span], *, limit: int) -> range:
    """`limit` characters of a long text to show, with the first wrong span among them."""
    first = min((span.start for span in spans if span.is_wrong), default=0)
    start = 0 if len(text) <= limit or first < limit - CONTEXT else first - CONTEXT
    return range(start, min(len(text), start + limit))
