"""`ke-t5 board`: the scores of many runs as one table of models and tasks."""

from __future__ import annotations

import math
import re
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import ke_t5.task.task  # noqa: F401 - registers the tasks
from ke_t5.config.gin_config import import_modules
from ke_t5.errors import Exit, UserError, counted
from ke_t5.experiments.evaluations import difference_of_rows, read_side, register_own_data
from ke_t5.experiments.paired import Difference, differences, p_text
from ke_t5.experiments.seeds import mean_and_deviation
from ke_t5.files import set_aside_from
from ke_t5.pipe import TaskRegistry
from ke_t5.recipes import console
from ke_t5.recipes.folders import check_page, write_page
from ke_t5.recipes.prepare import set_up_logging
from ke_t5.report.html import number
from ke_t5.report.intervals import ROUNDING
from ke_t5.report.pages import Section, markdown_of, page_of, text_of
from ke_t5.report.run_facts import is_sample_model
from ke_t5.report.run_files import RUN, RunFiles, read_run_files

LEVEL = 0.95
TITLE = "Scores of models and tasks"
# A table with more tasks than this, and than models, is transposed.
WIDEST = 4
# gin parameters that are no setting of the model: speed, paths, and what `_settings` has by itself.
NOT_SETTINGS = re.compile(
    r".*\.lr|get_vocabulary\..*|get_dataset\.num_proc|get_batches\.batch_tokens|fit\.(accumulate|"
    r"compile|compress_gradients|cuda_graphs|gradient_checkpointing|padding)|"
    r"EvaluationHelper\.(engine|eval_batch_tokens)"
)


@dataclass(frozen=True)
class Result:
    """The score of one run on one split.

    Attributes:
        model: the pre-trained model, and whether its weights were used.
        column: the task, the split and the score.
        settings: (name, value) of all settings other than the seed.
        interval: the confidence interval of the score over rows; None if there is none.
        num_rows: how many rows were scored; only results on the same rows are compared.
        command: the command of the run.
        place: the folder of the evaluation.
        is_less_better: whether lower scores are better.
    """

    model: str
    column: str
    settings: tuple[tuple[str, str], ...]
    seed: int
    value: float
    interval: tuple[float, float] | None
    num_rows: int
    command: str
    place: Path
    is_less_better: bool = False


@dataclass(frozen=True)
class Board:
    """Row (a model, with its settings if they differ) -> column -> results, one per seed."""

    rows: Mapping[str, Mapping[str, list[Result]]]

    @property
    def columns(self) -> list[str]:
        """The columns, sorted."""
        return sorted({column for cells in self.rows.values() for column in cells})


def runs_below(path: Path) -> list[Path]:
    """The folders of runs at any depth of a folder, including itself.

    Raises:
        UserError: there are none.
    """
    found = sorted(file.parent for file in path.rglob(RUN))
    if not found:
        fix = "name the folder of a run, or one that contains runs"
        raise UserError("no run there", str(path), fix, Exit.DATA)
    return found


def results_of(folder: Path) -> Iterator[Result]:
    """Yields the result of a run on each split, by the task's own metric."""
    files = read_run_files(folder)
    run = files.run
    register_own_data(run, where=folder / RUN)
    name = str(run.get("pre_trained_model"))
    model = Path(name).name if Path(name).is_absolute() else name
    model = "the sample's tiny model" if is_sample_model(run) else model
    model += " (from scratch)" if run.get("from_scratch") else ""
    model += f" ({missing} steps missing)" if (missing := files.steps_missing()) else ""
    for evaluation, facts in files.evaluations.items():
        # "__": evaluated with weights other than the best, or on another task.
        if "__" in evaluation or not facts["scores"]:
            continue
        score, is_less_better = _main_score(str(facts["task"]), facts["scores"])
        value = facts["scores"][score]
        interval = (facts.get("intervals") or {}).get(score)
        yield Result(
            model=model,
            column=f"{facts['task']} {facts['split']}: {score}",
            settings=_settings(files),
            seed=int(run.get("seed", 0)),
            value=math.nan if value is None else value,
            interval=tuple(interval) if interval else None,
            num_rows=int(facts.get("scored", facts["rows"])),
            command=str((files.launches or [run])[0].get("command", "")),
            place=folder / "eval" / evaluation,
            is_less_better=is_less_better,
        )


def latest(results: Sequence[Result]) -> list[Result]:
    """The results without those of replaced runs: `<task>.1`, which a new run in `<task>` with the
    same settings and seed has set aside."""
    found: dict[tuple, tuple[float, Result]] = {}
    for result in results:
        run = result.place.parents[1]
        home, number = set_aside_from(run) or (run, math.inf)
        key = home, result.model, result.column, result.settings, result.seed
        if key not in found or number > found[key][0]:
            found[key] = number, result
    return [result for _, result in found.values()]


def _main_score(task: str, scores: Mapping[str, Any]) -> tuple[str, bool]:
    """The metric that selects a task's best checkpoint, or the first one for an unknown task; and
    whether lower is better."""
    known = TaskRegistry.get(task).best if task in TaskRegistry.names() else None
    if known is None or known.metric not in scores:
        return next(iter(scores)), False
    return known.metric, known.mode == "min"


def _settings(files: RunFiles) -> tuple[tuple[str, str], ...]:
    """(name, value) of a run's settings, without the seed."""
    run = files.run
    training = next(iter((run.get("data") or {}).values()), {})  # the first split is the training's
    batch, schedule = run.get("batch") or {}, run.get("schedule") or {}
    values = {
        "class": run.get("model_name"),
        "rate": run.get("learning_rate"),
        "epochs": run.get("epochs"),
        "steps": run.get("steps"),
        "batch": batch.get("global"),
        "schedule": schedule.get("name"),
        "training rows": training.get("examples"),
    }
    bound = {
        name: value
        for name, value in bindings_of(files.config).items()
        if not NOT_SETTINGS.fullmatch(name)
    }
    values |= bound
    return tuple((name, str(value)) for name, value in values.items() if value is not None)


def bindings_of(config: str) -> dict[str, str]:
    r"""Name -> value of the bindings in the text of a `config.gin`.

    >>> bindings_of("# Parameters for fit:\nfit.clip_norm = 1.0\nfit.x = \\\n    {'a': 1,\n     2}")
    {'fit.clip_norm': '1.0', 'fit.x': "{'a': 1, 2}"}
    """
    found: dict[str, str] = {}
    name = ""
    for line in config.splitlines():
        if line[:1].isspace() and name:  # continues the value
            found[name] = f"{found[name]} {line.strip()}".strip()
        elif line and not line.startswith("#"):
            name, _, value = line.partition(" = ")
            found[name] = value.removesuffix("\\").strip()
    return found


def board_of(results: Sequence[Result]) -> Board:
    """The results as rows and columns; runs of a model with different settings get separate rows,
    labelled with the difference.

    Raises:
        UserError: two runs have the same settings and seed.
    """
    rows: dict[str, dict[str, list[Result]]] = {}
    for result in results:
        alike = [one for one in results if (one.model, one.column) == (result.model, result.column)]
        label = result.model + _differing(result, alike)
        cell = rows.setdefault(label, {}).setdefault(result.column, [])
        if result.seed in (one.seed for one in cell):
            first = next(one for one in cell if one.seed == result.seed)
            what = f"duplicate of {first.place}: {result.model}, seed {result.seed}"
            raise UserError(what, str(result.place), "name only one of the folders", Exit.DATA)
        cell.append(result)
    return Board({label: rows[label] for label in sorted(rows)})


def _differing(result: Result, alike: Sequence[Result]) -> str:
    """The settings of a result that differ among results of its model, for display."""
    all_values: dict[str, set[str]] = {}
    for one in alike:
        for name, value in one.settings:
            all_values.setdefault(name, set()).add(value)
    own = [f"{name} {value}" for name, value in result.settings if len(all_values[name]) > 1]
    return f" [{', '.join(own)}]" if own else ""


# -------------------------------------------------------------------------------------- sections


def sections_of(board: Board) -> list[Section]:
    """The sections of the page."""
    head = ["model", *board.columns]
    shown = [
        [label, *(_cell(cells.get(column, [])) for column in board.columns)]
        for label, cells in board.rows.items()
    ]
    if len(board.columns) > max(len(board.rows), WIDEST):
        head, *shown = ([*line] for line in zip(head, *shown, strict=True))
        head[0] = "task"
    notes = [
        "one run: the score with its 95 % interval over rows",
        "several seeds: mean ± standard deviation (seeds)",
    ]
    table = Section("Scores", head, shown, range(1, len(head)), notes)
    return [table, *_compared(board), _commands(board)]


def _cell(results: Sequence[Result]) -> str:
    if not results:
        return ""
    values = [result.value for result in results]
    if len(values) > 1:
        return f"{mean_and_deviation(values)} ({len(values)})"
    interval = results[0].interval
    return number(values[0]) + (f" [{interval[0]:.1f}, {interval[1]:.1f}]" if interval else "")


def _compared(board: Board) -> list[Section]:
    """The best model of each column against the others, without undefined scores."""
    rows = []
    for column in board.columns:
        cells = {label: cells[column] for label, cells in board.rows.items() if column in cells}
        means = {label: fmean(r.value for r in cell) for label, cell in cells.items()}
        ranked = sorted(filter(lambda label: math.isfinite(means[label]), cells))
        is_less_better = any(r.is_less_better for cell in cells.values() for r in cell)
        ranked.sort(key=means.__getitem__, reverse=not is_less_better)
        for best, label in zip(ranked[:1] * len(ranked), ranked[1:], strict=False):
            rows.append([column, best, label, *difference_of(cells[label], cells[best])])
    head = ["column", "best", "other", "difference", "95 % interval", "p", "over"]
    notes = [
        "over seeds: paired t-test of the seeds that both have",
        "over rows: paired bootstrap of one run of each",
    ]
    return [Section("Best against others", head, rows, (3, 4, 5), notes)] if rows else []


def difference_of(first: Sequence[Result], second: Sequence[Result]) -> list[str]:
    """Difference (second - first), interval, p value, and the sample (seeds or rows), as text."""
    pairs = [(one, other) for one in first for other in second if one.seed == other.seed]
    if len(pairs) > 1:
        return _seed_difference(pairs)
    one, other = pairs[0] if pairs else (first[0], second[0])
    sides = read_side(one.place, None), read_side(other.place, None)
    if what := difference_of_rows(*sides):
        return ["", f"not the same data: {what}", "", "rows"]
    tasks, evaluated = (sides[0].task, sides[1].task), (sides[0].evaluated, sides[1].evaluated)
    return _row_difference(differences(tasks, evaluated)[one.column.rpartition(": ")[2]])


def _seed_difference(pairs: Sequence[tuple[Result, Result]]) -> list[str]:
    """The difference over seeds, by the paired t-test."""
    for one, other in pairs:
        if one.num_rows != other.num_rows:
            what = f"not the same data: {one.num_rows} and {other.num_rows} rows"
            return ["", what, "", counted(len(pairs), "seed")]
    from scipy.stats import ttest_rel

    ones, others = ([pair[side].value for pair in pairs] for side in (0, 1))
    value, over = fmean(others) - fmean(ones), counted(len(pairs), "seed")
    gains = [other - one for one, other in zip(ones, others, strict=True)]
    if max(gains) - min(gains) <= ROUNDING:  # the t-test needs some variance
        return [f"{value:+.2f}", "the same for every seed", "", over]
    test = ttest_rel(others, ones)
    low, high = test.confidence_interval(LEVEL)
    return [f"{value:+.2f}", f"[{low:+.2f}, {high:+.2f}]", p_text(test.pvalue), over]


def _row_difference(found: Difference) -> list[str]:
    if found.low is None or found.high is None or found.p is None:
        return [f"{found.value:+.2f}", found.reason, "", "rows"]
    interval = f"[{found.low:+.2f}, {found.high:+.2f}]"
    return [f"{found.value:+.2f}", interval, p_text(found.p), "rows"]


def _commands(board: Board) -> Section:
    rows = [
        [label, column, str(result.seed), result.command]
        for label, cells in board.rows.items()
        for column, cell in sorted(cells.items())
        for result in cell
    ]
    return Section("Commands", ["model", "column", "seed", "command"], rows, (2,))


def main(flags: Namespace) -> None:
    """`ke-t5 board`: prints the table and writes the files."""
    set_up_logging(debug=flags.debug)
    import_modules(flags.module_import)
    check_page(flags.html)
    check_page(flags.markdown, flag="--markdown")
    folders = {run.resolve(): run for path in flags.runs for run in runs_below(Path(path))}
    all_results = [result for folder in folders.values() for result in results_of(folder)]
    results = latest(all_results)
    if not results:
        fix = "test the runs first, or name others"
        raise UserError("the runs there have no scores", str(flags.runs[0]), fix, Exit.DATA)
    sections = sections_of(board_of(results))
    console.tell(text_of(sections[:-1]))  # without the commands, which are for the page
    if num_replaced := len(all_results) - len(results):
        console.tell(f"omitted: {counted(num_replaced, 'result')} of runs that were trained again")
    about = TITLE, f"{counted(len(results), 'result')} of {counted(len(folders), 'run')}", sections
    if flags.html:
        write_page(flags.html, page_of(*about))
    if flags.markdown:
        write_page(flags.markdown, markdown_of(*about), flag="--markdown")
