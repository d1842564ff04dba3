"""Every metric of the package, by name.

A metric is `f(targets, predictions[, scores]) -> {name: value x 100}` over a whole split, never
over a batch. A target of None is an unlabelled row, which is ignored; a prediction of None is
unparsable: it is wrong, but not a class of its own. NaN means that the score is undefined. Scores
equal those of the official program; the docstrings name it, or say that there is none.

A metric is defined once, by the statistics of its rows (`@metric`, `metrics.statistics`), from
which its scores, their intervals and the tables of a report are computed. Libraries are imported
in the functions that use them, because this takes seconds.
"""

from ke_t5.task.metrics.classification import (
    accuracy,
    auprc,
    f1_at_3,
    f1_of,
    macro_f1,
    matthews,
    mean_squared_error,
    micro_f1_without,
    pearson,
    pearson_around_0,
    spearman,
)
from ke_t5.task.metrics.coreference import coreference
from ke_t5.task.metrics.multilabel import label_sets
from ke_t5.task.metrics.tagging import (
    attachment,
    character_f1,
    entity_f1,
    entity_f1_micro,
    klue_dp,
    token_accuracy,
    word_accuracy,
)
from ke_t5.task.metrics.text import (
    bleu,
    dialogue_state,
    exact_match,
    klue_mrc,
    korquad,
    korquad2,
    rouge,
)

__all__ = [
    "accuracy",
    "attachment",
    "auprc",
    "bleu",
    "character_f1",
    "coreference",
    "dialogue_state",
    "entity_f1",
    "entity_f1_micro",
    "exact_match",
    "f1_at_3",
    "f1_of",
    "klue_dp",
    "klue_mrc",
    "korquad",
    "korquad2",
    "label_sets",
    "macro_f1",
    "matthews",
    "mean_squared_error",
    "micro_f1_without",
    "pearson",
    "pearson_around_0",
    "rouge",
    "spearman",
    "token_accuracy",
    "word_accuracy",
]
