"""Scoring: the outputs of all rows are decoded, and metrics run once over the whole split."""

from __future__ import annotations

import inspect
import itertools
import math
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from ke_t5.errors import Exit, UserError, suggestion
from ke_t5.forms import FORMS
from ke_t5.pipe.examples import Examples
from ke_t5.pipe.lines import Line
from ke_t5.pipe.model_outputs import RowOutput
from ke_t5.pipe.prediction import EvaluationHelper
from ke_t5.pipe.preprocessors import Example
from ke_t5.pipe.task import Task

if TYPE_CHECKING:
    from ke_t5.pipe.mixture import Mixture


# Prefixes of the names of scores (see `score_prefix`).
SCORE_PREFIXES = ("", "teacher_forced_", "model_io_", "teacher_forced_model_io_")
# Rows read from disk at once, four times as fast as one by one.
ROWS_AT_ONCE = 200


@dataclass(frozen=True)
class Evaluated:
    """The result of an evaluation.

    Attributes:
        scores: name -> value x 100 (NaN where it is undefined), the same on every rank.
        num_rows: number of predicted rows.
        num_scored: number of predicted rows with a label.
        unparsable: number of predictions that could not be parsed.
        predictions: on rank 0, one line per row in the order of `_id`; elsewhere empty.
        row_scores: on rank 0, the scores that decoding returned for each row, in the same order.
        loss: the mean loss, reduced like the training loss; None if it was not computed.
        engine: the engine that generated; None for transformers.
    """

    scores: dict[str, float]
    num_rows: int
    num_scored: int
    unparsable: int
    predictions: Sequence[Mapping[str, Any]]
    row_scores: list[Any] = field(default_factory=list)
    loss: float | None = None
    engine: str | None = None


def score(
    helper: EvaluationHelper, examples: Examples, outputs: Iterable[tuple[int, RowOutput]]
) -> Evaluated:
    """Decodes the (position, output) pairs and computes the metrics over all rows."""
    by_position: dict[int, RowOutput] = {}
    num_outputs = 0
    for position, output in outputs:
        by_position[position] = output
        num_outputs += 1
    if num_outputs != len(examples) or by_position.keys() != set(range(len(examples))):
        raise RuntimeError(
            f"{num_outputs} outputs for {len(examples)} examples: each must be predicted once"
        )
    texts = _Texts(helper.task, examples)
    predictions, row_scores = [], []
    for row_id, positions, rows in _rows(examples):
        windows = [by_position.pop(position) for position in positions]
        values, scores = _values(helper.task, windows, rows)
        place = texts.add(positions[0])
        if place == 0:
            _text_of(helper.task, rows[0])
        predictions.append(Line({"id": row_id, **values}, texts, place))
        row_scores.append(scores)
    labelled = [
        (line["gold"], line["prediction"], scores)
        for line, scores in zip(predictions, row_scores, strict=True)
        if line["gold"] is not None
    ]
    targets, decoded, scores = map(list, zip(*labelled, strict=True)) if labelled else ([], [], [])
    prefix = score_prefix(helper, examples)
    return Evaluated(
        compute_scores(helper.task, targets, decoded, scores, prefix=prefix),
        len(predictions),
        len(labelled),
        sum(prediction is None for prediction in decoded),
        predictions,
        row_scores,
    )


class _Texts:
    """The inputs of rows as texts, read from disk `ROWS_AT_ONCE` at a time."""

    def __init__(self, task: Task, examples: Examples) -> None:
        self._task, self._examples = task, examples
        self._positions = array("q")
        self._block, self._texts = -1, []

    def add(self, position: int) -> int:
        """Adds the row whose first example has this position; returns its place."""
        self._positions.append(position)
        return len(self._positions) - 1

    def __call__(self, place: int) -> str:
        block, row = divmod(place, ROWS_AT_ONCE)
        if block != self._block:
            first = block * ROWS_AT_ONCE
            positions = self._positions[first : first + ROWS_AT_ONCE]
            rows = self._examples.lazy_examples(positions)
            self._block, self._texts = block, [_text_of(self._task, row) for row in rows]
        return self._texts[row]


def _rows(examples: Examples) -> Iterator[tuple[int, list[int], list[Example]]]:
    """(`_id`, positions, examples) of each row, in the order of `_id`; one position per window."""
    windows: dict[int, list[int]] = {}
    for position, row_id in enumerate(examples.ids.tolist()):
        windows.setdefault(row_id, []).append(position)
    rows = sorted(windows.items())
    for start in range(0, len(rows), ROWS_AT_ONCE):
        chunk = rows[start : start + ROWS_AT_ONCE]
        contents = iter(examples.examples([p for _, positions in chunk for p in positions]))
        for row_id, positions in chunk:
            yield row_id, positions, list(itertools.islice(contents, len(positions)))


def _values(
    task: Task, outputs: list[RowOutput], rows: list[Example]
) -> tuple[dict[str, Any], Any]:
    """The values of a row's line in `predictions.jsonl`, and the scores from decoding it."""
    assert task.decode is not None and task.target is not None
    with _needing_columns(task, rows[0]):
        prediction, scores = task.decode(outputs, rows)
        # Every window has the kept gold, but labels only the window that covers them.
        golds = [task.target(row) for row in rows]
    gold = golds[0] if len(rows) == 1 else next((one for one in golds if one), golds[0])
    values: dict[str, Any] = {"gold": gold, "prediction": prediction}
    if FORMS[task.form].has_choices and scores is not None:
        first, second = sorted(scores, reverse=True)[:2]
        values["margin"] = first - second
    if scores is not None:
        values["score"] = float(max(scores)) if isinstance(scores, (list, tuple)) else scores
    elif "score" in outputs[0]:
        values["score"] = outputs[0]["score"]
    if "sequences" in outputs[0]:
        of_windows = (output["sequences"] for output in outputs)
        sequences = ["\n".join(texts) for texts in zip(*of_windows, strict=True)]
        if sequences != [prediction]:
            values["sequences"] = sequences
    return values, scores


def _text_of(task: Task, row: Mapping[str, Any]) -> str:
    """A row's inputs as text, for display."""
    assert task.inputs is not None
    with _needing_columns(task, row):
        return task.inputs(cast(Example, row))


@contextmanager
def _needing_columns(task: Task, row: Mapping[str, Any]) -> Iterator[None]:
    """A context in which reading a kept column that was dropped is a UserError."""
    try:
        yield
    except KeyError as error:
        if error.args[0] not in task.keep or error.args[0] in row:
            raise
        raise UserError(
            f"the scores of {task.name} need its column {error.args[0]!r}",
            "--pass_only_model_io",
            "drop it for this task",
        ) from error


def score_prefix(helper: EvaluationHelper, examples: Examples) -> str:
    """The prefix of the scores' names, which says what is unusual about how they were computed."""
    is_bare = not examples.has_kept and helper.task.without_kept
    return ("teacher_forced_" if helper.is_teacher_forced else "") + ("model_io_" * bool(is_bare))


def compute_scores(
    task: Task, targets: list, predictions: list, scores: list, *, prefix: str = ""
) -> dict[str, float]:
    """All metrics of a task by name, x 100; {} if no row has a label."""
    if not targets:
        return {}
    values: dict[str, float] = {}
    for metric in task.metric_fns:
        wants_scores = "scores" in inspect.signature(metric).parameters
        arguments = (targets, predictions, scores) if wants_scores else (targets, predictions)
        values |= {prefix + name: float(value) for name, value in metric(*arguments).items()}
    return values


def best_score(task: Task | Mixture, scores: Mapping[str, float]) -> float:
    """The score that picks the best checkpoint; NaN if the task monitors none or no row has a
    label.

    Raises:
        UserError: no metric returns the score.
    """
    if task.best is None or not scores:
        return math.nan
    for prefix in SCORE_PREFIXES:
        if prefix + task.best.metric in scores:
            return scores[prefix + task.best.metric]
    raise UserError(
        f"no metric returns {task.best.metric!r}; they return {', '.join(sorted(scores))}",
        f"task {task.name!r}",
        suggestion(task.best.metric, scores),
        Exit.DATA,
    )
