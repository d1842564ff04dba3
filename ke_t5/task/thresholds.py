"""Decision thresholds of multi-label tasks, tuned on the validation split.

The thresholds are chosen from `GRID`; of equally good ones, the closest to 0.5. A threshold for all
labels maximizes the score of the task, a threshold per label the F1 of that label.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from ke_t5.pipe import Evaluated, Mixture, Task

GRID = np.arange(1, 100) / 100


def tuned_thresholds(task: Task, evaluated: Evaluated, *, per_label: bool) -> dict[str, float]:
    """Label -> threshold, from an evaluation with the probabilities of each row.

    Args:
        per_label: whether to tune each label separately; labels without a gold row keep 0.5.
    """
    labels = list(task.labels or ())
    rows = [
        (line["gold"], scores)
        for line, scores in zip(evaluated.predictions, evaluated.row_scores, strict=True)
        if line["gold"] is not None
    ]
    gold = np.array([[label in marked for label in labels] for marked, _ in rows], dtype=bool)
    found = np.array([scores for _, scores in rows], dtype=np.float64)
    if not rows:
        return dict.fromkeys(labels, 0.5)
    if per_label:
        f1 = np.stack([_f1(gold, found >= cut) for cut in GRID])
        columns = enumerate(labels)
        return {name: _nearest(f1[:, i]) if gold[:, i].any() else 0.5 for i, name in columns}
    metric = task.best.metric if task.best is not None else "micro_f1"
    best = _nearest(np.array([_score(metric, gold, found >= cut) for cut in GRID]))
    return dict.fromkeys(labels, best)


def _nearest(scores: np.ndarray) -> float:
    """The threshold with the best score; of several, the closest to 0.5."""
    best = GRID[scores >= scores.max() - 1e-12]
    return float(best[np.abs(best - 0.5).argmin()])


def _f1(gold: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """The F1 of each label; 0 for a label in neither gold nor predictions."""
    hits = (gold & predicted).sum(0)
    return 2 * hits / np.maximum(gold.sum(0) + predicted.sum(0), 1)


def _score(name: str, gold: np.ndarray, predicted: np.ndarray) -> float:
    """A score of `metrics.label_sets` (0..1), vectorized because there are many candidates."""
    if name == "exact_match":
        return float((gold == predicted).all(1).mean())
    if name == "hamming_score":
        return float((gold == predicted).mean())
    if name == "macro_f1":
        occurs = gold.any(0) | predicted.any(0)
        return float(_f1(gold, predicted)[occurs].mean()) if occurs.any() else 0.0
    return 2 * float((gold & predicted).sum()) / max(1, int(gold.sum() + predicted.sum()))


def with_thresholds(
    task: Task | Mixture, of_tasks: Mapping[str, Mapping[str, float]]
) -> Task | Mixture:
    """The task or mixture with these decision thresholds.

    Args:
        of_tasks: task -> label -> threshold.
    """
    if isinstance(task, Mixture):
        members = tuple(task_with_thresholds(one, of_tasks.get(one.name)) for one in task.members)
        return dataclasses.replace(task, members=members)
    return task_with_thresholds(task, of_tasks.get(task.name))


def task_with_thresholds(task: Task, values: Mapping[str, float] | None) -> Task:
    """The task with these decision thresholds; unchanged if they are not valid for its labels."""
    if values is None or task.decode is None or not is_usable(task, values):
        return task
    cuts = tuple(values[label] for label in task.labels or ())
    decode: Any = task.decode  # of label sets: it takes thresholds
    return dataclasses.replace(task, decode=functools.partial(decode, thresholds=cuts))


def is_usable(task: Task, values: object) -> bool:
    """Whether these are valid thresholds for all labels of the task."""
    if task.problem_type != "multi_label_classification" or not isinstance(values, Mapping):
        return False
    numbers = [values.get(label) for label in task.labels or ()]
    return all(isinstance(x, float) and math.isfinite(x) for x in numbers)
