"""The report of a test: `report.html` and its pictures, and the tables for the terminal."""

from __future__ import annotations

import base64
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ke_t5.errors import counted
from ke_t5.files import write_atomically
from ke_t5.pipe import Evaluated, Task
from ke_t5.pipe.scoring import SCORE_PREFIXES
from ke_t5.report import error_analysis, figures, html, tables
from ke_t5.report.intervals import LEVEL, Bootstrap
from ke_t5.report.scores import score_table
from ke_t5.report.tables import Confusion, Line, TypeScores

logger = logging.getLogger(__name__)

MAX_FACT = 300  # characters
TYPE_TITLES = {
    "labels": "Scores per label",
    "label sets": "Scores per label",
    "tags": "Scores per type of entity (strict IOB2)",
    "trees": "Scores per relation (right only with the right head)",
    "chains": "Scores per measure (support: links, mentions or chains)",
}


def write_report(
    folder: Path,
    *,
    task: Task,
    evaluated: Evaluated,
    bootstrap: Bootstrap,
    title: str,
    facts: Mapping[str, object],
) -> str:
    """Writes `report.html` and the pictures into the folder; returns the tables as text.

    Args:
        title: task and split.
        facts: further facts about the run: name -> value.
    """
    lines = tables.labelled_lines(evaluated)
    kind = tables.kind_of(task, lines)
    confusion = tables.confusion(task, lines) if kind == "labels" else None
    types = _types(kind, lines, confusion)
    pictures = draw(kind, lines, confusion, types, title=title)
    for name, png in pictures.items():
        write_atomically(folder / name, png)
    page = html.render(
        "report.html",
        title=title,
        pictures={name: base64.b64encode(png).decode("ascii") for name, png in pictures.items()},
        confusion=confusion,
        types=types,
        types_title=TYPE_TITLES.get(kind, "Gold and predicted numbers"),
        max_types=tables.MAX_TYPES,
        chapters=error_analysis.chapters(task, kind, evaluated, bootstrap),
        facts=_all_facts(task, evaluated, facts),
        **_score_values(task, evaluated, bootstrap),
    )
    write_atomically(folder / "report.html", page)
    texts = [score_table(title, evaluated, bootstrap.intervals)]
    texts += [f"  {line}" for line in interval_notes(bootstrap)]
    if confusion is not None:
        texts.append(tables.confusion_text(confusion))
    elif types:
        texts.append(tables.types_text(types))
    return "\n".join(texts)


def _types(kind: str, lines: Sequence[Line], confusion: Confusion | None) -> list[TypeScores]:
    """The scores per label, entity type or relation; [] for other kinds."""
    if kind not in TYPE_TITLES:
        return []
    if kind == "chains":
        return tables.scores_per_measure(lines)
    counts = tables.counts_by_type(kind, lines)
    return tables.scores_per_type(counts, confusion.names if confusion else None)


def _score_values(task: Task, evaluated: Evaluated, bootstrap: Bootstrap) -> dict[str, Any]:
    """The page's values about scores; `best` are names of the score that selects checkpoints."""
    return {
        "summary": _summary(evaluated),
        "scores": evaluated.scores,
        "intervals": bootstrap.intervals,
        "level": LEVEL,
        "best": [prefix + task.best.metric for prefix in SCORE_PREFIXES] if task.best else [],
        "notes": interval_notes(bootstrap),
    }


def _summary(evaluated: Evaluated) -> str:
    text = f"{evaluated.num_scored:,} of {counted(evaluated.num_rows, 'row', form=',')} scored"
    if evaluated.unparsable:
        text += (
            f", {counted(evaluated.unparsable, 'answer', form=',')} unparsable (counted as wrong)"
        )
    return text


def _all_facts(task: Task, evaluated: Evaluated, facts: Mapping[str, object]) -> dict[str, object]:
    values = {
        "task": task.name,
        "rows": f"{evaluated.num_rows:,}",
        "rows with a label": f"{evaluated.num_scored:,}",
        "unparsable answers": f"{evaluated.unparsable:,}",
        **facts,
    }
    return {name: html.shortened(value, limit=MAX_FACT) for name, value in values.items()}


# -------------------------------------------------------------------------------------- scores


def interval_notes(bootstrap: Bootstrap) -> list[str]:
    """Notes on how the intervals were computed, and why scores have none."""
    by_method: dict[tuple[str, int], list[str]] = {}
    for name, interval in bootstrap.intervals.items():
        by_method.setdefault((interval.method, interval.num_draws), []).append(name)
    notes = []
    for (method, num_draws), names in by_method.items():
        how = f"{method}, {num_draws:,} bootstrap resamples of the rows" if num_draws else method
        of = "" if len(by_method) == 1 else f" of {', '.join(names)}"
        notes.append(f"{LEVEL} % intervals{of}: {how}")
    notes += [
        f"{name}: left out {counted(interval.num_undefined, 'resample')} without a value"
        for name, interval in bootstrap.intervals.items()
        if interval.num_undefined
    ]
    reasons: dict[str, list[str]] = {}
    for name, reason in bootstrap.reasons.items():
        reasons.setdefault(reason, []).append(name)
    return notes + [
        f"no interval of {', '.join(names)}: {reason}" for reason, names in reasons.items()
    ]


# ------------------------------------------------------------------------------ counts, pictures


def draw(
    kind: str,
    lines: Sequence[Line],
    confusion: Confusion | None,
    types: Sequence[TypeScores],
    *,
    title: str,
) -> dict[str, bytes]:
    """File name -> picture; {} without matplotlib."""
    drawings: dict[str, Callable[[], bytes]] = {}
    if confusion is not None:
        drawings["confusion.png"] = lambda: figures.confusion_png(confusion, title=title)
    elif types:
        drawings["types.png"] = lambda: figures.types_png(types, title=title)
    elif kind == "numbers":
        pairs = [(line["gold"], line["prediction"]) for line in lines]
        read = [pair for pair in pairs if pair[1] is not None and math.isfinite(pair[1])]
        if read:
            drawings["numbers.png"] = lambda: figures.numbers_png(
                *zip(*read, strict=True), title=title
            )
    if drawings and not figures.can_draw():
        logger.warning("matplotlib is not installed: the report has no figures")
        return {}
    return {name: make() for name, make in drawings.items()}
