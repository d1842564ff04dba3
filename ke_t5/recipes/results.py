"""What an evaluation leaves in the run's folder: scores, predictions and a report of a split."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from ke_t5.pipe import Evaluated, EvaluationHelper, Examples
from ke_t5.recipes.folders import write_json, write_json_lines
from ke_t5.recipes.intervals import Bootstrap, bootstrap
from ke_t5.recipes.job import Job
from ke_t5.recipes.report import write_report

SCORES, PREDICTIONS, REPORT = "scores.json", "predictions.jsonl", "report.html"


def write_evaluation(
    job: Job, split: str, evaluated: Evaluated, examples: Examples, *, weights: str
) -> Path:
    """Writes scores and predictions, removes the report of older ones; returns the folder.

    Args:
        weights: what predicted: the name of a snapshot, or a folder.
    """
    folder = job.run.evaluation(split)
    for old in (folder / REPORT, *folder.glob("*.png")):
        old.unlink(missing_ok=True)
    scores: dict[str, Any] = {
        "task": job.task.name,
        "split": split,
        "weights": weights,
        "rows": evaluated.num_rows,
        "scored": evaluated.num_scored,
        "unparsable": evaluated.unparsable,
        "scores": evaluated.scores,
        "lost": {what: count for what, (count, _) in examples.lost().items()},
    }
    write_json_lines(folder / PREDICTIONS, evaluated.predictions)
    write_json(folder / SCORES, scores)
    return folder


def add_intervals(folder: Path, found: Bootstrap) -> None:
    """Adds the intervals to the scores that are in the folder."""
    intervals = {name: [interval.low, interval.high] for name, interval in found.intervals.items()}
    write_json(folder / SCORES, {**_read_scores(folder), "intervals": intervals})


def read_evaluation(folder: Path) -> Evaluated:
    """What `write_evaluation` wrote there, without the scores that decoding gave of each row."""
    told = _read_scores(folder)
    scores = {name: math.nan if x is None else x for name, x in told["scores"].items()}
    with (folder / PREDICTIONS).open(encoding="utf-8") as lines:
        predictions = [json.loads(line) for line in lines]
    return Evaluated(scores, told["rows"], told["scored"], told["unparsable"], predictions)


def _read_scores(folder: Path) -> dict[str, Any]:
    return json.loads((folder / SCORES).read_text(encoding="utf-8"))


def report_validation(job: Job, helper: EvaluationHelper, examples: Examples) -> None:
    """Writes `report.html` of the validation that is in the run's folder, unless it has one.

    Once, when a training is over: intervals and pictures take seconds, and after each validation
    they would be of snapshots that the next one puts out of date. It is made of the predictions on
    the disk, because the best validation may have been before this launch resumed the run.
    """
    split = job.flags.valid_split
    folder = job.run.evaluation(split)
    if not (folder / SCORES).exists() or (folder / REPORT).exists():
        return
    evaluated = read_evaluation(folder)
    facts = facts_of(job, helper, examples, split=split, weights=_read_scores(folder)["weights"])
    title = f"{job.task.name} {split}, validated in training"
    found = bootstrap(job.task, evaluated)
    write_report(
        folder, task=job.task, evaluated=evaluated, bootstrap=found, title=title, facts=facts
    )


def facts_of(
    job: Job, helper: EvaluationHelper, examples: Examples, *, split: str, weights: str
) -> dict[str, object]:
    """What a report says of a run besides its scores."""
    facts: dict[str, object] = {
        "split": split,
        "model": job.class_name,
        "pre-trained model": job.flags.pre_trained_model,
        "weights": weights,
        "predicted by": helper.model_fn,
    }
    facts.update({f"{helper.model_fn}: {name}": x for name, x in helper.model_kwargs.items()})
    if helper.is_teacher_forced:
        facts["teacher-forced"] = "yes: the decoder saw the gold answers, this is no generation"
    for what, (count, total) in examples.lost().items():
        of = f" of {total:,}" if total else ""
        facts[f"lost: {what}"] = f"{count:,}{of}"
    return facts
