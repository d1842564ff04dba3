"""Upper bounds on scores of tagging and mention linking, given the tokenizer and the length."""

from __future__ import annotations

import numpy as np

from ke_t5.forms import FORMS
from ke_t5.pipe import EvaluationHelper, Examples, Task
from ke_t5.pipe.model_outputs import RowOutput
from ke_t5.pipe.scoring import score
from ke_t5.report.scores import format_scores
from ke_t5.task.coreference import ALONE, labelled_chains
from ke_t5.task.coreference import UNREACHABLE as MENTIONS_UNREACHABLE
from ke_t5.task.steps import ENTITIES_CUT
from ke_t5.task.tags import UNREACHABLE

MENTIONS_LOST = (MENTIONS_UNREACHABLE, ALONE)


def upper_bounds(task: Task, examples: Examples) -> dict[str, float]:
    """The scores below 100 that perfect predictions for these examples would get.

    {} if preparing the examples lost no entity or mention, or if they consist of the model's
    columns alone, so that scores do not depend on the losses.
    """
    is_lossy = bool({UNREACHABLE, ENTITIES_CUT, *MENTIONS_LOST} & set(examples.lost()))
    form = FORMS[task.form]
    is_bounded = form.predicts_tags or form.links_mentions
    if not is_bounded or not is_lossy or not examples.has_kept:
        return {}
    labels = examples.columns["labels"]
    answers = [
        (i, _links(own) if form.links_mentions else _tags(own))
        for i, own in enumerate(map(labels.of_places, examples.places[:, None]))
    ]
    scores = score(EvaluationHelper(task), examples, answers).scores
    return {name: value for name, value in scores.items() if value < 100}


def _tags(labels: np.ndarray) -> RowOutput:
    return {"tags": np.maximum(labels, 0).tolist()}


def _links(labels: np.ndarray) -> RowOutput:
    return {"chains": labelled_chains(labels[labels[:, 0] >= 0].tolist())}


def upper_bounds_line(task: Task, scores: dict[str, float]) -> str:
    """The log line about upper bounds."""
    line = f"with this tokenizer, perfect predictions would give {format_scores(scores)}"
    unlimited = FORMS.get(FORMS[task.form].unlimited_form or "")
    if unlimited is not None:
        models = f"{unlimited.default_model} and {unlimited.any_encoder_model}"
        line += f" ({models} do not have this limit)"
    return line
