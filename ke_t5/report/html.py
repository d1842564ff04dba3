"""Renders HTML pages that need no other file.

jinja2 escapes every value, so that no text of a data set can become markup.
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
# With more columns, or wider names in total, the names above a matrix are written vertically, as
# the matrix would be wider than the page.
MAX_LEVEL_HEADS = 8
MAX_LEVEL_WIDTH = 70  # columns of a terminal
MISSED, FALSE_ALARM = "−", "✗"  # labels of wrong marks
GOLDEN_ANGLE = 137.5  # degrees: consecutive hues are far apart


@functools.cache
def environment() -> Environment:
    """The environment of the templates, with their filters."""
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
    """The template, rendered with the values."""
    return environment().get_template(template).render(**values)


def are_wide(names: Sequence[str]) -> bool:
    """Whether a table with these column heads would be wider than the page."""
    longest = [max(map(width_of, re.split(r"[ -]", name))) for name in names]
    return len(longest) > MAX_LEVEL_HEADS or sum(longest) > MAX_LEVEL_WIDTH


def number(value: float | None) -> str:
    """A score with two decimals; a dash for NaN, or None, which replaces NaN in JSON."""
    return "–" if value is None or not np.isfinite(value) else f"{value:.2f}"


def shortened(text: object, *, limit: int) -> str:
    """The text, truncated with an ellipsis if it is longer than `limit` characters."""
    text = str(text)
    return text if len(text) <= limit else f"{text[:limit].rstrip()} …"


# ---------------------------------------------------------------------------------- tagged text


@dataclass(frozen=True)
class Span:
    """A labelled span of a text (characters, half-open); `is_wrong` if the other side lacks it."""

    start: int
    end: int
    kind: str
    is_wrong: bool


@dataclass(frozen=True)
class Mark:
    """Coloured text with a label, which tells errors apart even without colour."""

    text: str
    label: str
    hue: int
    is_wrong: bool


def hues(kinds: Iterable[str]) -> dict[str, int]:
    """kind -> hue (degrees)."""
    return {kind: int(20 + i * GOLDEN_ANGLE) % 360 for i, kind in enumerate(sorted(set(kinds)))}


def tagged(
    text: str, spans: Sequence[Span], *, hue_of: Mapping[str, int], sign: str, window: range
) -> list[str | Mark]:
    """The text inside `window`, with its spans as marks; `sign` precedes the label of wrong
    ones."""
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
    """The range of up to `limit` characters to show, which includes the first wrong span."""
    first = min((span.start for span in spans if span.is_wrong), default=0)
    start = 0 if len(text) <= limit or first < limit - CONTEXT else first - CONTEXT
    return range(start, min(len(text), start + limit))
