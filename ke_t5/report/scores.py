"""Formats scores for the terminal."""

from __future__ import annotations

from collections.abc import Mapping

from ke_t5.errors import counted
from ke_t5.pipe import Evaluated
from ke_t5.report.intervals import Interval


def score_table(
    title: str,
    evaluated: Evaluated,
    intervals: Mapping[str, Interval] | None = None,
    *,
    beside: tuple[str, Mapping[str, float]] | None = None,
) -> str:
    """The scores as a table, with their intervals and the number of rows.

    Args:
        beside: (title, values) of a second column.
    """
    names = list(evaluated.scores) or ["(no row has a label)"]
    width = max(map(len, names))
    lines = [title]
    if beside:
        lines[0] = f"{title} | {beside[0]}"
    for name in names:
        value = evaluated.scores.get(name)
        line = f"  {name:<{width}}  {value:8.3f}" if value is not None else f"  {name}"
        if intervals and name in intervals:
            line += f"  [{intervals[name].low:.2f}, {intervals[name].high:.2f}]"
        if beside and name in beside[1]:
            line += f" | {beside[1][name]:8.3f}"
        lines.append(line)
    counts = f"{evaluated.num_scored} of {counted(evaluated.num_rows, 'row')} scored"
    if evaluated.unparsable:
        counts += f", {counted(evaluated.unparsable, 'answer')} unparsable (counted as wrong)"
    return "\n".join([*lines, f"  {counts}"])


def format_scores(scores: Mapping[str, float]) -> str:
    """Scores in one line."""
    return ", ".join(f"{name} {value:.2f}" for name, value in scores.items())
