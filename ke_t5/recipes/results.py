"""What an evaluation leaves in the run's folder: scores, predictions and a report of a split."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from ke_t5.files import write_json
from ke_t5.pipe import Evaluated, EvaluationHelper, Mixture
from ke_t5.recipes.job import Job
from ke_t5.recipes.predictions import read_predictions, write_predictions
from ke_t5.recipes.task_splits import Evaluation, TaskSplit
from ke_t5.report.intervals import LEVEL, Bootstrap, bootstrap
from ke_t5.report.report import write_report

SCORES, PREDICTIONS, REPORT = "scores.json", "predictions.jsonl", "report.html"


def write_evaluation(
    job: Job,
    part: TaskSplit,
    evaluated: Evaluated,
    *,
    weights: str,
    sha256: str | None = None,
    folder: Path | None = None,
) -> None:
    """Writes scores and predictions, removes the report of older ones.

    Args:
        weights: what predicted: the name of a checkpoint, or a folder.
        sha256: of these weights, if they are not a checkpoint of the run.
        folder: where to (default: the one of a validation).
    """
    folder = folder or job.run.evaluation(part.name)
    for old in (folder / REPORT, *folder.glob("*.png")):
        old.unlink(missing_ok=True)
    scores: dict[str, Any] = {
        "task": part.task.name,
        "split": part.split,
        "weights": weights,
        "rows": evaluated.num_rows,
        "scored": evaluated.num_scored,
        "unparsable": evaluated.unparsable,
        "scores": evaluated.scores,
        "lost": {what: count for what, (count, _) in part.examples.lost().items()},
    }
    scores |= _more(job, sha256)
    of_mixture = {}
    if part.task is not job.task:
        scores["mixture"] = job.task.name
        of_mixture = {"task": part.task.name}
    write_predictions(folder / PREDICTIONS, part.task, evaluated, first=of_mixture)
    write_json(folder / SCORES, scores)


def _more(job: Job, sha256: str | None) -> dict[str, str]:
    """What else tells whose results these are, where that is not a matter of course."""
    more = {} if sha256 is None else {"weights_sha256": sha256}
    if job.is_resumed:
        trained_on = job.run.read_run().get("task", job.task.name)
        if trained_on != job.task.name:
            more["trained_on"] = trained_on
    return more


def write_mixture(
    job: Job,
    split: str,
    evaluation: Evaluation,
    *,
    weights: str,
    sha256: str | None = None,
    folder: Path | None = None,
) -> None:
    """Writes the scores of a mixture: the mean and those of all its tasks; of a task nothing."""
    if not isinstance(job.task, Mixture):
        return
    found = [evaluated for _, evaluated in evaluation.of_parts]
    told = {
        "task": job.task.name,
        "tasks": [part.task.name for part, _ in evaluation.of_parts],
        "split": split,
        "weights": weights,
        "rows": sum(one.num_rows for one in found),
        "scored": sum(one.num_scored for one in found),
        "unparsable": sum(one.unparsable for one in found),
        "scores": evaluation.scores,
    }
    told |= _more(job, sha256)
    write_json((folder or job.run.evaluation(split)) / SCORES, told)


def add_intervals(folder: Path, found: Bootstrap) -> None:
    """Adds the intervals to the scores that are in the folder, and how they were made."""
    intervals = {name: [interval.low, interval.high] for name, interval in found.intervals.items()}
    of_draws = {
        "level": LEVEL,
        "seed": found.seed,
        "draws": {name: interval.num_draws for name, interval in found.intervals.items()},
        "method": {name: interval.method for name, interval in found.intervals.items()},
        "not_shown": found.reasons,
    }
    told = {**_read_scores(folder), "intervals": intervals, "bootstrap": of_draws}
    write_json(folder / SCORES, told)


def read_evaluation(folder: Path) -> Evaluated:
    """What `write_evaluation` wrote there; scores of the rows only where a metric needs them."""
    told = _read_scores(folder)
    scores = {name: math.nan if x is None else x for name, x in told["scores"].items()}
    predictions, row_scores = read_predictions(folder / PREDICTIONS)
    return Evaluated(
        scores, told["rows"], told["scored"], told["unparsable"], predictions, row_scores
    )


def _read_scores(folder: Path) -> dict[str, Any]:
    return json.loads((folder / SCORES).read_text(encoding="utf-8"))


def report_validation(job: Job, helper: EvaluationHelper, part: TaskSplit) -> None:
    """Writes `report.html` of the validation that is in the run's folder, unless it has one.

    Once, when a training is over: intervals and pictures take seconds, and after each validation
    they would show checkpoints that the next one replaces. It is made of the predictions on disk,
    because the best validation may have been before this launch resumed the run.
    """
    folder = job.run.evaluation(part.name)
    if not (folder / SCORES).exists() or (folder / REPORT).exists():
        return
    evaluated = read_evaluation(folder)
    facts = facts_of(job, helper, part, weights=_read_scores(folder)["weights"])
    title = f"{part.task.name} {part.split}, validated in training"
    found = bootstrap(part.task, evaluated)
    add_intervals(folder, found)
    write_report(
        folder, task=part.task, evaluated=evaluated, bootstrap=found, title=title, facts=facts
    )


def facts_of(
    job: Job, helper: EvaluationHelper, part: TaskSplit, *, weights: str
) -> dict[str, object]:
    """What a report says of a run besides its scores."""
    facts: dict[str, object] = {
        "split": part.split,
        "model": job.class_name,
        "weights": weights,
        "predicted by": helper.model_fn,
    }
    # The flag says nothing of the sample's model, nor of a folder that `--hf_path` names.
    if not job.flags.sample and Path(weights).name.startswith("step-"):
        facts["pre-trained model"] = job.flags.pre_trained_model
    facts.update({f"{helper.model_fn}: {name}": x for name, x in helper.model_kwargs.items()})
    if helper.is_teacher_forced:
        facts["teacher-forced"] = "yes: the decoder saw the gold answers, this is no generation"
    for what, (count, total) in part.examples.lost().items():
        of = f" of {total:,}" if total else ""
        facts[f"lost: {what}"] = f"{count:,}{of}"
    return facts
