"""Scores of multi-label classification over a whole split."""

from __future__ import annotations

from collections.abc import Sequence

from ke_t5.task.metrics.metric import Metric, metric
from ke_t5.task.metrics.statistics import (
    ClassCounts,
    Mean,
    Pairs,
    Statistic,
    macro_f1_of,
    micro,
    share,
)

LabelSet = Sequence[str]


def _pairs(gold: LabelSet, predicted: LabelSet | None) -> Pairs:
    """(label, label) for a hit, (label, None) for a miss, (None, label) for a false alarm."""
    found = set(predicted or ())
    sides = [(label, label if label in found else None) for label in gold]
    return [*sides, *((None, label) for label in predicted or () if label not in gold)]


def label_sets_by_class(
    targets: Sequence[LabelSet], predictions: Sequence[LabelSet | None]
) -> ClassCounts:
    """The macro F1 of the labels."""
    rows = [_pairs(*both) for both in zip(targets, predictions, strict=True)]
    return macro_f1_of(rows)


def label_sets(num_labels: int) -> Metric:
    """The metric of sets of labels, each a list of names without repetition.

    `micro_f1` and `macro_f1` are scikit-learn's over the labels that occur in gold or predictions;
    `exact_match` is the share of rows with the right set (its `accuracy_score`); `hamming_score` is
    the share of right decisions (1 - its `hamming_loss`). For a prediction of None, no label is
    predicted, and every decision is wrong.

    Args:
        num_labels: the number of labels of the task, including those that do not occur.
    """

    @metric("micro_f1", "macro_f1", "exact_match", "hamming_score")
    def label_set_scores(
        targets: Sequence[LabelSet], predictions: Sequence[LabelSet | None]
    ) -> dict[str, Statistic]:
        """Micro and macro F1, exact match and Hamming score of sets of labels."""
        by_class = label_sets_by_class(targets, predictions)
        rows, classes = by_class.pairs, by_class.classes
        num_wrong = [
            num_labels if predicted is None else sum(a != b for a, b in pairs)
            for pairs, predicted in zip(rows, predictions, strict=True)
        ]
        return {
            "micro_f1": ClassCounts(rows, micro, classes),
            "macro_f1": by_class,
            "exact_match": Mean([count == 0 for count in num_wrong], share),
            "hamming_score": Mean([1 - count / num_labels for count in num_wrong]),
        }

    return label_set_scores
