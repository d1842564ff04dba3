"""The pieces of a page of HTML that stands alone: no script, no font and no picture from outside.

Text is escaped wherever it is no `Html`, so what a data set holds cannot become markup.
"""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ke_t5.report.tables import Confusion, width_of

CONTEXT = 40  # characters kept before the first mark of a long text
# Names above more columns of a matrix, or with longer words together, stand upright: else it would
# be wider than the page.
MOST_LEVEL_HEADS = 8
MOST_LEVEL_WIDTH = 70  # columns of a terminal
MOST_ROOMY_COLUMNS = 16
GOLDEN_ANGLE = 137.5  # degrees: hues of neighbours in a list are far apart
STYLE = """
:root { color-scheme: light dark; --paper: #fff; --card: #f6f7f9; --ink: #1f2733; --soft: #667080;
  --line: #dfe3e8; --accent: #2f6db3; --bad: #c0392b; --tint: 86%; --tag: 30%; --cell: 47 109 179; }
@media (prefers-color-scheme: dark) { :root { --paper: #14181e; --card: #1d232b; --ink: #e4e8ee;
  --soft: #97a2b0; --line: #343c47; --accent: #7fb2ea; --bad: #ff8a7a; --tint: 27%; --tag: 80%;
  --cell: 95 150 215; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); line-height: 1.55;
  font-family: system-ui, "Pretendard", "Noto Sans KR", "Noto Sans CJK KR", "Malgun Gothic",
  "Apple SD Gothic Neo", NanumGothic, sans-serif; font-size: 15px; word-break: keep-all;
  overflow-wrap: break-word; }
main { max-width: 1120px; margin: 0 auto; padding: 2rem 1.25rem 4rem; }
h1 { font-size: 1.7rem; margin: 0; line-height: 1.25; }
h2 { font-size: 1.15rem; margin: 2.6rem 0 .7rem; padding-bottom: .3rem;
  border-bottom: 1px solid var(--line); }
p { margin: .4rem 0; } .soft { color: var(--soft); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .32rem .7rem; text-align: left; vertical-align: top; }
td { overflow-wrap: anywhere; }
thead th { color: var(--soft); font-weight: 600; font-size: .85rem; white-space: nowrap; }
tbody tr { border-top: 1px solid var(--line); }
.number { text-align: right; white-space: nowrap; }
td:first-child { white-space: nowrap; } td .soft { white-space: nowrap; }
.full { width: 100%; } .full td:nth-child(2) { min-width: 16rem; width: 55%; }
.answers td:nth-child(3), .answers td:nth-child(4) { min-width: 10rem; }
.facts th { color: var(--soft); font-weight: 500; white-space: nowrap; }
.interval { position: relative; min-width: 12rem; height: 1.1rem; margin-top: .2rem;
  background: var(--card); border-radius: 4px; }
.interval i { position: absolute; top: .35rem; height: .4rem; min-width: 2px; border-radius: 2px;
  background: var(--accent); opacity: .5; }
.interval b { position: absolute; top: .1rem; width: 3px; height: .9rem; margin-left: -1px;
  border-radius: 2px; background: var(--accent); }
.bar { display: inline-block; vertical-align: middle; width: 9rem; height: .6rem;
  background: var(--card); border-radius: 3px; }
.bar i { display: block; height: 100%; border-radius: 3px; background: var(--accent); }
.matrix td { text-align: right; min-width: 2.6rem; padding: .3rem .5rem; white-space: nowrap; }
.matrix.dense { font-size: .72rem; }
.matrix.dense td { min-width: 1.5rem; padding: .22rem .25rem; }
.matrix.dense th { padding: .22rem .25rem; font-size: .72rem; }
.matrix thead th { vertical-align: bottom; }
.matrix thead th:not(:first-child) { white-space: normal; max-width: 7rem; }
.matrix thead .tall { writing-mode: vertical-rl; text-orientation: sideways;
  transform: rotate(180deg); white-space: nowrap; }
.matrix tbody th { font-weight: 500; max-width: 16rem; overflow-wrap: anywhere; }
.matrix tbody tr { border: 0; } .matrix .right { outline: 1px solid var(--line); }
.matrix .none { color: var(--soft); opacity: .45; }
figure { margin: .5rem 0; }
figure img { max-width: min(100%, 44rem); height: auto; background: #fff;
  border: 1px solid var(--line); border-radius: 8px; padding: .4rem; }
summary { cursor: pointer; color: var(--soft); margin: .6rem 0; }
.chip { display: inline-block; background: var(--card); border: 1px solid var(--line);
  border-radius: 5px; padding: 0 .45rem; overflow-wrap: normal; }
.chip.bad { border-color: var(--bad); color: var(--bad); }
.sentence { border: 1px solid var(--line); border-radius: 8px; margin: .6rem 0;
  padding: .55rem .9rem .7rem; break-inside: avoid; }
.sides { display: grid; grid-template-columns: repeat(2, minmax(0, 1fr));
  gap: 1.4rem; line-height: 1.95; overflow-wrap: anywhere; }
.sides h4, .sentence > p { margin: 0; font-size: .78rem; font-weight: 600; color: var(--soft); }
mark { color: inherit; background: hsl(var(--hue) 70% var(--tint)); border-radius: 4px;
  padding: .1rem .25rem; margin: 0 .08rem; box-decoration-break: clone;
  -webkit-box-decoration-break: clone; }
mark b { font-size: .68rem; margin-left: .25rem; white-space: nowrap;
  color: hsl(var(--hue) 60% var(--tag)); }
mark.bad { outline: 2px dashed var(--bad); outline-offset: -1px; }
mark.bad b { color: var(--bad); }
.legend mark { margin-right: .35rem; white-space: nowrap; }
@media (max-width: 720px) { .sides { grid-template-columns: minmax(0, 1fr); gap: .5rem; }
  main { padding: 1rem .8rem 3rem; } }
@media print { :root { --paper: #fff; --card: #f6f7f9; --ink: #000; --soft: #555; --line: #ccc;
  --tint: 86%; --tag: 30%; --accent: #2f6db3; --bad: #c0392b; --cell: 47 109 179; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  body { font-size: 10.5pt; } main { max-width: none; padding: 0; } tr { break-inside: avoid; }
  h2 { break-after: avoid; } details:not([open]) { display: none; } }
"""


class Html(str):
    """Text that is markup already."""

    __slots__ = ()


def escape(value: object) -> Html:
    """The value as markup: escaped, unless it is `Html`."""
    return value if isinstance(value, Html) else Html(html.escape(str(value)))


def join(parts: Iterable[object]) -> Html:
    """Pieces of a page, one after the other."""
    return Html("".join(escape(part) for part in parts))


def tag(name: str, *content: object, **attributes: object) -> Html:
    """An element; `class_` is its class, attributes of None are left out.

    >>> tag("b", "1 < 2", class_="big")
    '<b class="big">1 &lt; 2</b>'
    """
    written = "".join(
        f' {key.rstrip("_")}="{html.escape(str(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    return Html(f"<{name}{written}>{join(content)}</{name}>")


def page(title: str, body: Iterable[object]) -> str:
    """A whole page."""
    head = (
        '<meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"{tag('title', title)}<style>{STYLE}</style>"
    )
    return (
        f'<!doctype html>\n<html lang="ko">\n<head>{head}</head>\n<body>'
        f"{tag('main', *body)}</body>\n</html>\n"
    )


def section(title: str, *content: object) -> Html:
    """A chapter of the page."""
    return tag("section", tag("h2", title), *content)


def table(
    head: Sequence[object],
    rows: Iterable[Sequence[object]],
    *,
    numbers: Iterable[int] = (),
    class_: str | None = None,
) -> Html:
    """A table; the columns `numbers` are set to the right."""
    right = {column: "number" for column in numbers}
    cells = [
        tag("tr", *(tag("td", cell, class_=right.get(i)) for i, cell in enumerate(row)))
        for row in rows
    ]
    names = (tag("th", name, class_=right.get(i)) for i, name in enumerate(head))
    content = tag("thead", tag("tr", *names)), tag("tbody", *cells)
    return tag("div", tag("table", *content, class_=class_), class_="wide")


def fact_table(facts: Mapping[str, object]) -> Html:
    """Names and values."""
    rows = (
        tag("tr", tag("th", name, scope="row"), tag("td", value)) for name, value in facts.items()
    )
    return tag("table", tag("tbody", *rows), class_="facts")


def interval_bar(value: float, low: float, high: float) -> Html:
    """A value from 0 to 100 and its interval on a line."""
    low, high, value = (min(max(x, 0.0), 100.0) for x in (low, high, value))
    drawn = (
        Html(f'<i style="left:{low:.2f}%;width:{high - low:.2f}%"></i>'),
        Html(f'<b style="left:{value:.2f}%"></b>'),
    )
    return tag("div", *drawn, class_="interval")


def bar(value: float) -> Html:
    """A share from 0 to 100 as a bar."""
    return tag("span", Html(f'<i style="width:{value:.1f}%"></i>'), class_="bar")


def picture(png: bytes, *, alt: str) -> Html:
    """A PNG inside the page."""
    data = base64.b64encode(png).decode("ascii")
    return tag("figure", Html(f'<img src="data:image/png;base64,{data}" alt="{escape(alt)}">'))


def folded(summary: str, *content: object) -> Html:
    """Content that opens on a click."""
    return tag("details", tag("summary", summary), *content)


def matrix(found: Confusion) -> Html:
    """The confusion matrix, coloured by the share of the gold label."""
    longest = [max(map(width_of, re.split(r"[ -]", name))) for name in found.columns]
    is_wide = len(longest) > MOST_LEVEL_HEADS or sum(longest) > MOST_LEVEL_WIDTH
    heads = [
        tag("th", tag("span", name, class_="tall" if is_wide else None), class_="number")
        for name in found.columns
    ]
    rows = []
    for label, (name, counts) in enumerate(zip(found.names, found.counts, strict=True)):
        total = max(int(counts.sum()), 1)
        cells = [
            _cell(int(count), count / total, is_right=column == label)
            for column, count in enumerate(counts[: len(found.columns)])
        ]
        rows.append(tag("tr", tag("th", _with_gloss(name, found.glosses[label])), *cells))
    kind = "matrix dense" if len(found.columns) > MOST_ROOMY_COLUMNS else "matrix"
    corner = tag("th", "gold ↓ predicted →")
    content = tag("thead", tag("tr", corner, *heads)), tag("tbody", *rows)
    return tag("div", tag("table", *content, class_=kind), class_="wide")


def _cell(count: int, share: float, *, is_right: bool) -> Html:
    classes = " ".join(["right"] * is_right + ["none"] * (not count)) or None
    style = f"background:rgb(var(--cell) / {0.75 * share:.2f})" if count else None
    title = f"{100 * share:.1f} % of the gold label" if count else None
    return tag("td", f"{count:,}" if count else "·", class_=classes, style=style, title=title)


def _with_gloss(name: str, gloss: str) -> Html:
    return escape(name) if name == gloss else join([name, " ", tag("span", gloss, class_="soft")])


# ---------------------------------------------------------------------------------- tagged text


@dataclass(frozen=True)
class Span:
    """Characters start .. end (half-open) of a text, and what they are; `is_wrong` where the other
    side does not have the same."""

    start: int
    end: int
    kind: str
    is_wrong: bool


def hues(kinds: Iterable[str]) -> dict[str, int]:
    """A hue (degrees) per kind."""
    return {kind: int(20 + i * GOLDEN_ANGLE) % 360 for i, kind in enumerate(sorted(set(kinds)))}


def mark(content: object, kind: str, hue: int, *, wrong: str | None = None) -> Html:
    """Coloured text; `wrong` is the sign that says so without colour."""
    label = tag("b", f"{wrong} {kind}" if wrong else kind)
    return tag("mark", content, label, style=f"--hue:{hue}", class_="bad" if wrong else None)


def tagged(
    text: str, spans: Sequence[Span], *, hue_of: Mapping[str, int], sign: str, window: range
) -> Html:
    """The characters of `window` with their spans in colours; `sign` stands at wrong ones."""
    parts: list[Any] = ["… "] if window.start > 0 else []
    place = window.start
    for span in spans:
        start, end = max(span.start, place), min(span.end, window.stop)
        if start >= end:
            continue
        wrong = sign if span.is_wrong else None
        parts += [
            text[place:start],
            mark(text[start:end], span.kind, hue_of[span.kind], wrong=wrong),
        ]
        place = end
    parts += [text[place : window.stop], " …" if window.stop < len(text) else ""]
    return join(parts)


def window_of(text: str, spans: Iterable[Span], *, most: int) -> range:
    """The characters to show of a long text: `most` of them, with the first wrong span in sight."""
    first = min((span.start for span in spans if span.is_wrong), default=0)
    start = 0 if len(text) <= most or first < most - CONTEXT else first - CONTEXT
    return range(start, min(len(text), start + most))


def shortened(text: object, *, most: int) -> str:
    """The text, or its begin and an ellipsis."""
    text = str(text)
    return text if len(text) <= most else f"{text[:most].rstrip()} …"


def number(value: float) -> str:
    """A score for people; NaN is a dash."""
    return f"{value:.2f}" if np.isfinite(value) else "–"
