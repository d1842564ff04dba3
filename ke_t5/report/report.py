"""The report of a test: `report.html` and its pictures, and the tables for the terminal."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ke_t5.files import write_atomically
from ke_t5.pipe import Evaluated, Task
from ke_t5.pipe.evaluation import SCORE_PREFIXES
from ke_t5.report import error_analysis, figures, html, tables
from ke_t5.report.html import Html
from ke_t5.report.intervals import LEVEL, Bootstrap
from ke_t5.report.scores import score_table
from ke_t5.report.tables import Confusion, Line, TypeScores

logger = logging.getLogger(__name__)

MOST_FACTS = 300  # characters


def write_report(
    folder: Path,
    *,
    task: Task,
    evaluated: Evaluated,
    bootstrap: Bootstrap,
    title: str,
    facts: Mapping[str, object],
) -> str:
    """Writes `report.html` and the pictures into the folder; returns the tables for a terminal.

    Args:
        title: task and split, for people.
        facts: what else the report is to say of the run: name -> value.
    """
    lines = tables.labelled_lines(evaluated)
    kind = tables.kind_of(task, lines)
    printed = [score_table(title, evaluated, bootstrap.intervals)]
    printed += [f"  {line}" for line in interval_notes(bootstrap)]
    found: Confusion | None = None
    types: list[TypeScores] = []
    if kind == "labels":
        found = tables.confusion(task, lines)
        printed.append(tables.confusion_text(found))
    if kind in ("labels", "tags", "trees"):
        counts = tables.counts_by_type(kind, lines)
        types = tables.scores_per_type(counts, found.names if found else None)
    if kind in ("tags", "trees") and types:
        printed.append(tables.types_text(types))
    pictures = draw(kind, lines, found, types, title=title)
    for name, png in pictures.items():
        write_atomically(folder / name, png)
    body = [
        html.tag("h1", title),
        html.tag("p", _scored(evaluated), class_="soft"),
        html.section("Scores", score_section(task, evaluated, bootstrap)),
        *count_sections(found, types, pictures, kind=kind),
        *error_analysis.sections(task, kind, evaluated, bootstrap),
        html.section("The run", html.fact_table(_all_facts(task, evaluated, facts))),
    ]
    write_atomically(folder / "report.html", html.page(title, body))
    return "\n".join(printed)


def _scored(evaluated: Evaluated) -> str:
    told = f"{evaluated.num_scored:,} of {evaluated.num_rows:,} rows scored"
    if evaluated.unparsable:
        told += f", {evaluated.unparsable:,} answers unparsable (counted as wrong)"
    return told


def _all_facts(task: Task, evaluated: Evaluated, facts: Mapping[str, object]) -> dict[str, object]:
    told = {
        "task": task.name,
        "rows": f"{evaluated.num_rows:,}",
        "rows with a label": f"{evaluated.num_scored:,}",
        "unparsable answers": f"{evaluated.unparsable:,}",
        **facts,
    }
    return {name: html.shortened(value, most=MOST_FACTS) for name, value in told.items()}


# -------------------------------------------------------------------------------------- scores


def interval_notes(bootstrap: Bootstrap) -> list[str]:
    """How the intervals were made, and why a score has none."""
    by_method: dict[tuple[str, int], list[str]] = {}
    for name, interval in bootstrap.intervals.items():
        by_method.setdefault((interval.method, interval.num_draws), []).append(name)
    notes = []
    for (method, num_draws), names in by_method.items():
        how = f"{method}, {num_draws:,} bootstrap resamples of the rows" if num_draws else method
        of = "" if len(by_method) == 1 else f" of {', '.join(names)}"
        notes.append(f"{LEVEL} % intervals{of}: {how}")
    notes += [
        f"{name}: {interval.num_undefined} resamples without a value are left out"
        for name, interval in bootstrap.intervals.items()
        if interval.num_undefined
    ]
    reasons: dict[str, list[str]] = {}
    for name, reason in bootstrap.reasons.items():
        reasons.setdefault(reason, []).append(name)
    return notes + [
        f"no interval of {', '.join(names)}: {reason}" for reason, names in reasons.items()
    ]


def score_section(task: Task, evaluated: Evaluated, bootstrap: Bootstrap) -> Html:
    """The scores with their intervals; the one that picks the best checkpoint is marked."""
    if not evaluated.scores:
        return html.tag("p", "No row of this split has a label: there is nothing to score.")
    rows = []
    for name, value in evaluated.scores.items():
        interval = bootstrap.intervals.get(name)
        shown = "–"
        drawn = Html("")
        if interval is not None:
            shown = f"{html.number(interval.low)} to {html.number(interval.high)}"
            drawn = html.interval_bar(value, interval.low, interval.high)
        is_best = task.best is not None and name in [p + task.best.metric for p in SCORE_PREFIXES]
        label = html.tag("strong", name) if is_best else name
        rows.append([label, html.number(value), shown, drawn])
    head = ["score (x 100)", "value", f"{LEVEL} % interval", "0 to 100"]
    notes = [html.tag("p", note, class_="soft") for note in interval_notes(bootstrap)]
    return html.join([html.table(head, rows, numbers=(1, 2)), *notes])


# ------------------------------------------------------------------------------ counts, pictures


def draw(
    kind: str,
    lines: Sequence[Line],
    found: Confusion | None,
    types: Sequence[TypeScores],
    *,
    title: str,
) -> dict[str, bytes]:
    """File name -> picture of what there is to see; none without matplotlib."""
    drawings: dict[str, Callable[[], bytes]] = {}
    if found is not None:
        drawings["confusion.png"] = lambda: figures.confusion_png(found, title=title)
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
        logger.warning("matplotlib is not installed: the report has no picture")
        return {}
    return {name: make() for name, make in drawings.items()}


TYPE_TITLES = {
    "labels": "Scores per label",
    "tags": "Scores per type of entity (strict IOB2)",
    "trees": "Scores per relation (right only with the right head)",
}


def count_sections(
    found: Confusion | None,
    types: Sequence[TypeScores],
    pictures: Mapping[str, bytes],
    *,
    kind: str,
) -> list[Html]:
    """The confusion matrix, the scores per type and the pictures, as far as there are any."""
    sections = []
    drawn = {
        name: html.picture(png, alt=name.removesuffix(".png")) for name, png in pictures.items()
    }
    if found is not None:
        picture = [html.folded(name, image) for name, image in drawn.items()]
        note = "Colours are shares of the gold label, numbers are rows."
        content = html.matrix(found), html.tag("p", note, class_="soft")
        sections.append(html.section("Confusion matrix", *content, *picture))
    if types:
        picture = [] if found is not None else list(drawn.values())
        sections.append(html.section(TYPE_TITLES[kind], _type_tables(types), *picture))
    elif drawn and found is None:
        sections.append(html.section("Gold and predicted numbers", *drawn.values()))
    return sections


def _type_tables(types: Sequence[TypeScores]) -> Html:
    """The scores of the types; where there are many, the later ones open on a click."""
    head = ["", "precision", "recall", "F1", "", "gold", "predicted"]
    rows = [
        [kind.name, *map(html.number, (kind.precision, kind.recall, kind.f1)),
         html.bar(kind.f1), f"{kind.support:,}", f"{kind.predicted:,}"]
        for kind in types
    ]  # fmt: skip
    first, others = rows[: tables.MOST_TYPES], rows[tables.MOST_TYPES :]
    content = [html.table(head, first, numbers=(1, 2, 3, 5, 6))]
    if others:
        more = html.table(head, others, numbers=(1, 2, 3, 5, 6))
        content.append(html.folded(f"{len(others)} more", more))
    return html.join(content)
