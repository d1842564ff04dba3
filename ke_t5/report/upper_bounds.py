"""The best scores that a tokenizer, or a length, leaves within reach of a tagger."""

from __future__ import annotations

import numpy as np

from ke_t5.forms import FORMS
from ke_t5.pipe import EvaluationHelper, Examples, Task
from ke_t5.pipe.evaluation import score
from ke_t5.report.scores import format_scores
from ke_t5.task.steps import ENTITIES_CUT
from ke_t5.task.tags import UNREACHABLE


def upper_bounds(task: Task, examples: Examples) -> dict[str, float]:
    """The scores of perfect predictions for these examples, decoded and scored as the task does,
    as far as they are below 100.

    {} if no entity was lost in preparing the examples, or if they consist of the model's columns
    alone, so that scores do not depend on what was lost.
    """
    is_lossy = bool({UNREACHABLE, ENTITIES_CUT} & set(examples.lost()))
    if not FORMS[task.form].predicts_tags or not is_lossy or not examples.has_kept:
        return {}
    labels = examples.columns["labels"]
    answers = [
        (i, {"tags": np.maximum(labels.of_places(place), 0).tolist()})
        for i, place in enumerate(examples.places[:, None])
    ]
    scores = score(EvaluationHelper(task), examples, answers).scores
    return {name: value for name, value in scores.items() if value < 100}


def upper_bounds_line(task: Task, scores: dict[str, float]) -> str:
    """What an upper bound means, for people."""
    line = f"with this tokenizer, perfect predictions would give {format_scores(scores)}"
    unlimited = FORMS.get(FORMS[task.form].unlimited_form or "")
    if unlimited is not None:
        models = f"{unlimited.default_model} and {unlimited.any_encoder_model}"
        line += f" ({models} do not have this limit)"
    return line
