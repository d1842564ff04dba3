"""The results of an evaluation in the run's folder: scores, predictions and report of a split."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ke_t5.errors import Exit, UserError
from ke_t5.fault_points import fault_point
from ke_t5.files import new_folder, write_json
from ke_t5.pipe import Evaluated, EvaluationHelper, Mixture, Task
from ke_t5.recipes.predictions import read_predictions, write_predictions
from ke_t5.recipes.task_splits import Evaluation, TaskSplit
from ke_t5.report.intervals import LEVEL, Bootstrap, bootstrap
from ke_t5.report.report import write_report

SCORES, PREDICTIONS, REPORT = "scores.json", "predictions.jsonl", "report.html"


@dataclass(frozen=True)
class Origin:
    """What an evaluation is of.

    Attributes:
        task: task of the run or the test; a mixture if its members are evaluated.
        weights: name of the evaluated checkpoint, or a folder.
        sha256: hash of these weights, if they are not a checkpoint of the run.
        trained_on: task of the run, if it differs.
    """

    task: Task | Mixture
    weights: str
    sha256: str | None = None
    trained_on: str | None = None

    def details(self) -> dict[str, str]:
        """The optional entries of scores.json."""
        details = {"weights_sha256": self.sha256, "trained_on": self.trained_on}
        return {name: value for name, value in details.items() if value is not None}


def write_evaluation(folder: Path, part: TaskSplit, evaluated: Evaluated, origin: Origin) -> None:
    """Replaces the folder atomically by one with these scores and predictions."""
    scores: dict[str, Any] = {
        "task": part.task.name,
        "split": part.split,
        "weights": origin.weights,
        "rows": evaluated.num_rows,
        "scored": evaluated.num_scored,
        "unparsable": evaluated.unparsable,
        "scores": evaluated.scores,
        "lost": {what: count for what, (count, _) in part.examples.lost().items()},
    }
    scores |= origin.details()
    first = {}
    if part.task is not origin.task:
        scores["mixture"] = origin.task.name
        first["task"] = part.task.name
    if evaluated.engine is not None:
        scores["engine"] = first["engine"] = evaluated.engine
    with new_folder(folder, is_durable=True) as temporary:
        write_predictions(temporary / PREDICTIONS, part.task, evaluated, first=first)
        write_json(temporary / SCORES, scores)
        fault_point("results.before_rename")
    fault_point("results.after_rename")


def write_mixture(folder: Path, split: str, evaluation: Evaluation, origin: Origin) -> None:
    """Replaces the folder atomically by one with a mixture's scores: the mean and each task's."""
    evaluations = [evaluated for _, evaluated in evaluation.of_parts]
    scores = {
        "task": origin.task.name,
        "tasks": [part.task.name for part, _ in evaluation.of_parts],
        "split": split,
        "weights": origin.weights,
        "rows": sum(one.num_rows for one in evaluations),
        "scored": sum(one.num_scored for one in evaluations),
        "unparsable": sum(one.unparsable for one in evaluations),
        "scores": evaluation.scores,
    }
    with new_folder(folder, is_durable=True) as temporary:
        write_json(temporary / SCORES, scores | origin.details())


def add_intervals(folder: Path, result: Bootstrap) -> None:
    """Adds the intervals, and how they were computed, to the scores in the folder."""
    intervals = {name: [interval.low, interval.high] for name, interval in result.intervals.items()}
    of_draws = {
        "level": LEVEL,
        "seed": result.seed,
        "draws": {name: interval.num_draws for name, interval in result.intervals.items()},
        "method": {name: interval.method for name, interval in result.intervals.items()},
        "not_shown": result.reasons,
    }
    content = {**_read_scores(folder), "intervals": intervals, "bootstrap": of_draws}
    write_json(folder / SCORES, content, is_durable=True)


def weights_of(folder: Path) -> str | None:
    """The name of the weights whose results are in the folder; None if there are none."""
    try:
        return Path(_read_scores(folder)["weights"]).name
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def read_evaluation(folder: Path) -> Evaluated:
    """The evaluation that `write_evaluation` wrote; with row scores only if a metric needs them."""
    content = _read_scores(folder)
    scores = {name: math.nan if x is None else x for name, x in content["scores"].items()}
    predictions, row_scores = read_predictions(folder / PREDICTIONS)
    return Evaluated(
        scores, content["rows"], content["scored"], content["unparsable"], predictions, row_scores
    )


def own_evaluation(folder: Path) -> Evaluated:
    """Like `read_evaluation`, for results that the current run can compute again.

    Raises:
        UserError: exit 4, a file is damaged.
    """
    try:
        return read_evaluation(folder)
    except (
        ValueError, KeyError, TypeError, AttributeError, RecursionError, FileNotFoundError
    ) as error:  # fmt: skip
        fix = "remove the folder, then --resume true evaluates again"
        raise UserError("a file in it is damaged", str(folder), fix, Exit.CHECKPOINT) from error


def _read_scores(folder: Path) -> dict[str, Any]:
    return json.loads((folder / SCORES).read_text(encoding="utf-8"))


def report_validation(
    folder: Path, helper: EvaluationHelper, part: TaskSplit, *, facts: Mapping[str, Any]
) -> None:
    """Writes `report.html` for the validation in the folder, unless there is one.

    It is written once, after the training: intervals and plots take seconds, and the next
    validation may replace them. It uses the predictions on disk, because the best validation may
    be one of an earlier launch.

    Args:
        facts: see `facts_of`.
    """
    if not (folder / SCORES).exists() or (folder / REPORT).exists():
        return
    evaluated = own_evaluation(folder)
    all_facts = facts_of(helper, part, weights=_read_scores(folder)["weights"], **facts)
    title = f"{part.task.name} {part.split}, validated in training"
    intervals = bootstrap(part.task, evaluated)
    add_intervals(folder, intervals)
    write_report(
        folder, task=part.task, evaluated=evaluated, bootstrap=intervals, title=title,
        facts=all_facts,
    )  # fmt: skip


def facts_of(
    helper: EvaluationHelper,
    part: TaskSplit,
    *,
    weights: str,
    model: str,
    pre_trained_model: str | None,
) -> dict[str, object]:
    """The facts that a report shows beside the scores.

    Args:
        model: the name of the model class.
        pre_trained_model: the model that the run started from; None for the sample's.
    """
    facts: dict[str, object] = {
        "split": part.split,
        "model": model,
        "weights": weights,
        "predicted by": " of ".join(filter(None, (helper.model_fn, helper.engine))),
    }
    # The flag does not describe a folder given as `--hf_path`.
    if pre_trained_model is not None and Path(weights).name.startswith("step-"):
        facts["pre-trained model"] = pre_trained_model
    facts.update({f"{helper.model_fn}: {name}": x for name, x in helper.model_kwargs.items()})
    if helper.is_teacher_forced:
        facts["teacher-forced"] = "yes: the decoder saw the gold answers, this is not generation"
    for what, (count, total) in part.examples.lost().items():
        of = f" of {total:,}" if total else ""
        facts[f"lost: {what}"] = f"{count:,}{of}"
    return facts
