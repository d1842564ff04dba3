"""`ke-t5 compare`: two models on the same rows, as text, JSON or a page."""

from __future__ import annotations

import dataclasses
import json
import math
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ke_t5.task.task  # noqa: F401 - registers the tasks
from ke_t5.config.gin_config import import_modules
from ke_t5.errors import UserError, counted
from ke_t5.experiments import paired
from ke_t5.experiments.changes import Change, Changes, changes
from ke_t5.experiments.evaluations import Side, check_same_rows, pairs_of, read_side
from ke_t5.experiments.paired import Difference, differences, p_text
from ke_t5.recipes import console
from ke_t5.recipes.folders import check_page, write_page
from ke_t5.recipes.prepare import set_up_logging
from ke_t5.report import figures, html, tables
from ke_t5.report.error_analysis import entities_of, wrong_words
from ke_t5.report.pages import Section, page_of, text_of

MAX_TEXT, MAX_ANSWER = 40, 30  # characters, on a terminal
MAX_TEXT_ON_PAGE, MAX_ANSWER_ON_PAGE = 320, 240


@dataclass(frozen=True)
class Comparison:
    """The comparison of two evaluations of one split."""

    first: Side
    second: Side
    differences: dict[str, Difference]
    changes: Changes


def compare_runs(
    first: Path, second: Path, *, split: str | None, task_name: str | None
) -> list[Comparison]:
    """The comparisons of all splits that both runs were evaluated on.

    Raises:
        UserError: there are none, or the rows differ.
    """
    pairs = pairs_of(first, second, split)
    found = []
    for places in pairs:
        one, other = (read_side(place, task_name) for place in places)
        if task_name not in (None, one.task.name):
            what = f"the results in {places[0]} are of {one.task.name}"
            raise UserError(what, f"--task {task_name}", "drop it")
        check_same_rows(one, other)
        pair = one.evaluated, other.evaluated
        scores = differences((one.task, other.task), pair)
        found.append(Comparison(one, other, scores, changes(one, other)))
    return found


def sections_of(compared: Comparison, *, on_page: bool) -> list[Section]:
    """The sections of the report."""
    limits = (MAX_TEXT_ON_PAGE, MAX_ANSWER_ON_PAGE) if on_page else (MAX_TEXT, MAX_ANSWER)
    found = compared.changes
    return [
        _scores(compared, on_page=on_page),
        _counts(found),
        _rows(f"B is worse on {_num_rows(found.num_worse)}", found.worse, found.unit, limits),
        _rows(f"B is better on {_num_rows(found.num_better)}", found.better, found.unit, limits),
    ]


def title_of(compared: Comparison) -> str:
    """The title: task, split and number of rows."""
    first, second = compared.first, compared.second
    names = first.task.name, second.task.name
    task = names[0] if len(set(names)) == 1 else " and ".join(names)
    return f"{task} {first.split}: A and B on {_num_rows(len(first.evaluated.predictions))}"


def _num_rows(number: int) -> str:
    return counted(number, "row", form=",")


def summary_of(compared: Comparison) -> str:
    """A line that names the models A and B."""
    sides = (("A", compared.first), ("B", compared.second))
    return ", ".join(f"{name}: {side.place} ({side.weights})" for name, side in sides)


def as_json(compared: Comparison) -> dict[str, Any]:
    """The comparison as a JSON object."""
    first, second = compared.first, compared.second
    return {
        "split": first.split,
        "a": {"place": str(first.place), "task": first.task.name, "weights": first.weights},
        "b": {"place": str(second.place), "task": second.task.name, "weights": second.weights},
        "rows": len(first.evaluated.predictions),
        "scores": paired.as_json(compared.differences),
        "bootstrap": {"draws": paired.NUM_DRAWS, "seed": paired.SEED, "level": 95},
        "mcnemar": {"p": compared.changes.p},
        "changes": _finite(dataclasses.asdict(compared.changes)),
    }


def _finite(value: Any) -> Any:
    """The value with None for numbers that are not finite, which JSON lacks."""
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


# -------------------------------------------------------------------------------------- sections


def _scores(compared: Comparison, *, on_page: bool) -> Section:
    found = compared.differences
    rows = [
        [
            name,
            html.number(one.first),
            html.number(one.second),
            f"{one.value:+.2f}" if math.isfinite(one.value) else "–",
            "–" if one.low is None else f"{one.low:+.2f} to {one.high:+.2f}",
            p_text(one.p),
        ]
        for name, one in found.items()
    ]
    draws = f"{paired.NUM_DRAWS:,} paired resamples of the rows, BCa; p is two-sided"
    notes = (
        [f"95 % intervals of B - A: {draws}"] if any(x.num_draws for x in found.values()) else []
    )
    notes += [f"{n}: jackknife" for n, x in found.items() if x.method == "jackknife"]
    notes += [f"no interval of {n}: {x.reason}" for n, x in found.items() if x.reason]
    shown = {name: one for name, one in found.items() if one.low is not None}
    pictures = []
    if on_page and shown and figures.can_draw():
        columns = zip(*((x.value, x.low, x.high) for x in shown.values()), strict=True)
        title = "B - A with 95 % intervals"
        pictures = [(title, figures.intervals_png(list(shown), *columns, title=title, zero=True))]
    head = ["score (x 100)", "A", "B", "B - A", "95 % interval", "p"]
    return Section("Scores", head, rows, range(1, 6), notes, pictures=pictures)


def _counts(found: Changes) -> Section:
    if not found.num_rows:
        return Section("Rows right and wrong", notes=["no row has a label"])
    if found.num_only_first is None:
        title = f"Closer to the gold: B on {_num_rows(found.num_better)}, A on {found.num_worse:,}"
        return Section(title, notes=[f"of {_num_rows(found.num_rows)} with a label"])
    head = ["right in", "rows"]
    counts = (
        ("both", found.num_both),
        ("A only", found.num_only_first),
        ("B only", found.num_only_second),
        ("neither", found.num_neither),
    )
    rows = [[name, f"{count:,}"] for name, count in counts]
    p = p_text(found.p)
    test = f"McNemar's exact test of A only against B only: p {p if '<' in p else f'= {p}'}"
    return Section("Rows right and wrong", head, rows, (1,), [test])


def _rows(title: str, shown: Sequence[Change], unit: str, limits: tuple[int, int]) -> Section:
    def cell(text: str, limit: int) -> str:
        return html.shortened(" ".join(text.split()), limit=limit)

    head = ["row", "text", "gold", "A", "B"]
    rows = [
        [str(one.row), cell(one.text, limits[0]), *(cell(text, limits[1]) for text in answers(one))]
        for one in shown
    ]
    if unit != "right":
        head.append(f"change ({unit})")
        for row, one in zip(rows, shown, strict=True):
            row.append(f"{one.gain:+.2f}".removesuffix(".00"))
    notes = [] if rows else ["none"]
    return Section(title, head, rows, (0, 5), notes, style="full")


def answers(change: Change) -> list[str]:
    """The gold and both answers for display: tags as entities, of a tree the wrong words."""
    sides = [change.gold, change.first, change.second]
    if isinstance(change.gold, dict):
        lines = ({"inputs": change.text, "gold": change.gold, "prediction": x} for x in sides)
        return ["; ".join(wrong_words(line)) for line in lines]
    return [_answer(value, change.text) for value in sides]


def _answer(value: Any, text: str) -> str:
    if value is None:
        return tables.UNPARSABLE
    if isinstance(value, float):
        return f"{value:.2f}"
    if not isinstance(value, (list, tuple)):
        return str(value)
    is_tags = bool(value) and all(x == "O" or str(x)[1:2] == "-" for x in value)
    spans = entities_of(text, value) if is_tags else None
    if spans is None:
        return " / ".join(map(str, value))
    return ", ".join(f"{text[start:end]} {kind}" for start, end, kind in spans)


# ---------------------------------------------------------------------------------- the command


def main(flags: Namespace) -> None:
    """`ke-t5 compare`: prints the comparison and writes the page."""
    set_up_logging(debug=flags.debug)
    import_modules(flags.module_import)
    check_page(flags.html)
    first, second = Path(flags.first), Path(flags.second)
    found = compare_runs(first, second, split=flags.split, task_name=flags.task)
    if flags.json:
        console.tell(json.dumps([as_json(one) for one in found], ensure_ascii=False, indent=2))
    else:
        for one in found:
            console.tell(f"{title_of(one)}\n{summary_of(one)}")
            console.tell(text_of(sections_of(one, on_page=False)))
    if flags.html:
        sections = [
            dataclasses.replace(section, title=f"{one.first.split}: {section.title}")
            if len(found) > 1
            else section
            for one in found
            for section in sections_of(one, on_page=True)
        ]
        write_page(flags.html, page_of(title_of(found[0]), summary_of(found[0]), sections))
