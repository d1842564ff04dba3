"""Evaluation: every example predicted exactly once, metrics once over the whole split.

torch is imported inside the functions: this module is read before it is paid for.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ke_t5.errors import Exit, UserError, suggestion
from ke_t5.pipe.batches import evaluation_batches
from ke_t5.pipe.examples import Examples
from ke_t5.pipe.generation import being_evaluated
from ke_t5.pipe.prediction import EvaluationHelper, Record
from ke_t5.pipe.task import Task

if TYPE_CHECKING:
    import torch

    from ke_t5.distributed import Ranks


@dataclass(frozen=True)
class Evaluated:
    """What an evaluation found.

    Attributes:
        scores: name -> value x 100 (NaN where it is undefined), the same on every rank.
        num_rows: rows predicted; num_scored: those of them that have a label.
        unparsable: answers that could not be read.
        predictions: on rank 0, one dict per row in the order of `_id`; elsewhere empty.
        row_scores: on rank 0, what decoding gave as scores of each labelled row, in that order.
    """

    scores: dict[str, float]
    num_rows: int
    num_scored: int
    unparsable: int
    predictions: list[dict[str, Any]]
    row_scores: list[Any] = field(default_factory=list)


def evaluate(
    helper: EvaluationHelper,
    model: torch.nn.Module,
    examples: Examples,
    *,
    batch_size: int,
    ranks: Ranks,
    autocast: Callable[[], AbstractContextManager] = nullcontext,
    watch: Callable[[Iterable], Iterable] = iter,
) -> Evaluated:
    """The scores of the examples; the model is left in the mode it was in.

    Args:
        batch_size: rows per batch; the batches do not depend on the number of processes.
        autocast: the precision that the run computes in.
        watch: wraps the batches, for a progress bar.
    """
    import torch

    batches = evaluation_batches(examples.lengths("input_ids"), batch_size)
    was_training = model.training
    model.eval()
    answers: list[tuple[int, Record]] = []
    mine = range(ranks.rank, len(batches), ranks.size)
    with torch.inference_mode(), ranks.evaluation_threads(), autocast():
        for number in watch(mine):
            torch.manual_seed(helper.seed + number)
            records = helper.predict(model, examples.batch(batches[number]))
            answers += zip(batches[number].tolist(), records, strict=True)
    model.train(was_training)
    gathered = ranks.gather(answers)
    if not ranks.is_main:
        scores, num_rows, num_scored, unparsable = ranks.broadcast(None)
        return Evaluated(scores, num_rows, num_scored, unparsable, [])
    evaluated = score(helper, examples, [answer for part in gathered for answer in part])
    ranks.broadcast(
        (evaluated.scores, evaluated.num_rows, evaluated.num_scored, evaluated.unparsable)
    )
    return evaluated


def score(
    helper: EvaluationHelper, examples: Examples, answers: Sequence[tuple[int, Record]]
) -> Evaluated:
    """Decodes the (position, record) answers and computes the metrics over all of them."""
    task = helper.task
    by_position = dict(answers)
    if len(answers) != len(examples) or set(by_position) != set(range(len(examples))):
        raise RuntimeError(
            f"{len(answers)} answers for {len(examples)} examples: each must be predicted once"
        )
    windows: dict[int, list[int]] = {}
    for position, row_id in enumerate(examples.ids.tolist()):
        windows.setdefault(row_id, []).append(position)
    predictions, targets, decoded, all_scores = [], [], [], []
    for row_id in sorted(windows):
        rows = [examples.example(position) for position in windows[row_id]]
        records = [by_position[position] for position in windows[row_id]]
        prediction, scores = task.decode(records, rows)
        target = task.target(rows[0])
        line = {"id": row_id, "inputs": task.inputs(rows[0]), "gold": target}
        line["prediction"] = prediction
        if scores is not None:
            line["score"] = float(max(scores)) if isinstance(scores, (list, tuple)) else scores
        if len(records[0].get("sequences", ())) > 1:
            line["sequences"] = records[0]["sequences"]
        predictions.append(line)
        if target is not None:
            targets.append(target)
            decoded.append(prediction)
            all_scores.append(scores)
    return Evaluated(
        compute_scores(task, targets, decoded, all_scores, prefix=_score_prefix(helper)),
        len(windows),
        len(targets),
        sum(prediction is None for prediction in decoded),
        predictions,
        all_scores,
    )


def _score_prefix(helper: EvaluationHelper) -> str:
    return "teacher_forced_" if helper.is_teacher_forced else ""


def compute_scores(
    task: Task, targets: list, predictions: list, scores: list, *, prefix: str = ""
) -> dict[str, float]:
    """All metrics of a task by name, x 100; {} where no row has a label."""
    if not targets:
        return {}
    found: dict[str, float] = {}
    for metric in task.metric_fns:
        wants_scores = "scores" in inspect.signature(metric).parameters
        values = (
            metric(targets, predictions, scores) if wants_scores else metric(targets, predictions)
        )
        found.update({prefix + name: float(value) for name, value in values.items()})
    return found


def best_score(task: Task, scores: Mapping[str, float]) -> float:
    """The score that picks the best snapshot; NaN where the run did not compute it."""
    if task.best is None:
        return math.nan
    for prefix in ("", "teacher_forced_"):
        if prefix + task.best.score in scores:
            return scores[prefix + task.best.score]
    raise UserError(
        f"no metric gives {task.best.score!r}, they give {', '.join(sorted(scores)) or 'nothing'}",
        f"task {task.name!r}",
        suggestion(task.best.score, scores),
        Exit.DATA,
    )
