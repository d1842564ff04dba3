"""The best scores that a tokenizer, or a length, leaves within reach of a tagger."""

from __future__ import annotations

import numpy as np

from ke_t5.forms import FORMS
from ke_t5.pipe import EvaluationHelper, Examples, Task
from ke_t5.pipe.evaluation import score
from ke_t5.report.scores import format_scores
from ke_t5.task.steps import ENTITIES_CUT
from ke_t5.task.tags import UNREACHABLE


def ceiling(task: Task, examples: Examples) -> dict[str, float]:
    """The scores of a model that gets every label of these examples right, put through the task's
    own decoding and metrics, as far as they are below 100.

    {} where no entity was lost on the way to the examples, and where they hold no more than the
    model's columns: their scores know nothing of what was lost.
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


def ceiling_line(task: Task, best: dict[str, float]) -> str:
    """What a ceiling means, for people."""
    line = f"with this tokenizer, perfect predictions would give {format_scores(best)}"
    unlimited = FORMS.get(FORMS[task.form].unlimited_form or "")
    if unlimited is not None:
        models = f"{unlimited.default_model} and {unlimited.any_encoder_model}"
        line += f" ({models} have no such limit)"
    return line
