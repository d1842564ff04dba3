"""Sections of a report, rendered as text, Markdown or an HTML page."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ke_t5.report import html, tables


@dataclass(frozen=True)
class Section:
    """A table with its title, notes and pictures.

    Attributes:
        numbers: the right-aligned columns.
        style: the table's class in `report.css`.
        pictures: (description, PNG) of each; only on a page.
        most_lines: the maximum number of table rows in text; a page and Markdown show all.
    """

    title: str
    head: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    numbers: Sequence[int] = ()
    notes: Sequence[str] = ()
    style: str = ""
    pictures: Sequence[tuple[str, bytes]] = ()
    most_lines: int = 30


def text_of(sections: Sequence[Section]) -> str:
    """The sections for a terminal."""
    return "\n".join(line for section in sections for line in _text_lines(section))


def _text_lines(section: Section) -> list[str]:
    lines = [section.title]
    if section.rows:
        shown = section.rows[: section.most_lines]
        heads = [section.head] if section.head else []
        lines += _aligned([*heads, *shown], section.numbers)
        if len(section.rows) > len(shown):
            lines.append(f"  {len(section.rows) - len(shown)} more on the page")
    return [*lines, *(f"  {note}" for note in section.notes)]


def _aligned(rows: Sequence[Sequence[str]], numbers: Sequence[int]) -> list[str]:
    """The lines of a table, with right-aligned numbers."""
    widths = [max(map(tables.width_of, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = []
        for i, (text, width) in enumerate(zip(row, widths, strict=True)):
            space = " " * (width - tables.width_of(text))
            cells.append(space + text if i in numbers else text + space)
        lines.append("  " + "  ".join(cells).rstrip())
    return lines


def markdown_of(title: str, summary: str, sections: Sequence[Section]) -> str:
    """The sections as Markdown."""
    lines = [f"# {title}", "", summary]
    for section in sections:
        lines += ["", f"## {section.title}", ""]
        if section.rows:
            lines += markdown_table(section.head, section.rows, section.numbers)
            lines += [""] * bool(section.notes)
        lines += [f"- {note}" for note in section.notes]
    return "\n".join([*lines, ""])


def markdown_table(
    head: Sequence[str], rows: Iterable[Iterable[str]], numbers: Sequence[int] = ()
) -> list[str]:
    """The lines of a Markdown table whose columns `numbers` are right-aligned."""
    marks = ["---:" if i in numbers else "---" for i in range(len(head))]
    return [f"| {' | '.join(map(_escaped, row))} |" for row in (head, marks, *rows)]


def _escaped(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


def page_of(title: str, summary: str, sections: Sequence[Section]) -> str:
    """The sections as a page that needs no other file."""
    shown = [
        {
            "title": section.title,
            "head": section.head,
            "rows": section.rows,
            "numbers": section.numbers,
            "notes": section.notes,
            "style": section.style,
            "pictures": [
                (alt, base64.b64encode(png).decode("ascii")) for alt, png in section.pictures
            ],
        }
        for section in sections
    ]
    return html.render("sections.html", title=title, summary=summary, sections=shown)
