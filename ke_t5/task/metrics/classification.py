"""Scores of labels and numbers over a whole split."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence

import numpy as np

from ke_t5.task.labels import KLUE_RE
from ke_t5.task.metrics.metric import Metric, metric
from ke_t5.task.metrics.statistics import (
    Areas,
    ClassCounts,
    Correlation,
    Mean,
    Pairs,
    RankCorrelation,
    Sums,
    classes_of,
    macro_f1_of,
    matthews_of,
    micro,
    share,
)

UNREAD = object()  # the class of unparsable predictions, for metrics that need one
UNREAD_NUMBER = -1.0  # replaces unparsable numbers, as in T5: below the 0-to-5 scale of STS

# -------------------------------------------------------------------------------------- classes


def _pairs(targets: Iterable, predictions: Iterable) -> list[Pairs]:
    """The (gold, predicted) pair of each row."""
    return [[pair] for pair in zip(targets, predictions, strict=True)]


@metric("accuracy")
def accuracy(targets: Sequence[Hashable], predictions: Sequence[Hashable]) -> dict[str, Mean]:
    """The share of correct labels. Source: KLUE-baseline, klue_nli_acc."""
    hits = [t == p for t, p in zip(targets, predictions, strict=True)]
    return {"accuracy": Mean(hits, share)}


def labels_by_class(targets: Sequence[Hashable], predictions: Sequence[Hashable]) -> ClassCounts:
    """The macro F1 of the classes."""
    return macro_f1_of(_pairs(targets, predictions))


@metric("macro_f1")
def macro_f1(
    targets: Sequence[Hashable], predictions: Sequence[Hashable]
) -> dict[str, ClassCounts]:
    """The mean F1 of the classes. Source: KLUE-baseline, ynat_macro_f1 (scikit-learn's f1_score).

    The mean is over the classes in gold or predictions; a class that is only predicted counts 0.
    None is a miss of the gold class, not a class of its own.
    """
    return {"macro_f1": labels_by_class(targets, predictions)}


def f1_of(positive: Hashable) -> Metric:
    """The metric `f1` of one class; 0 if it is in neither gold nor predictions."""

    @metric("f1")
    def f1(targets: Sequence[Hashable], predictions: Sequence[Hashable]) -> dict[str, ClassCounts]:
        """The F1 of one class, as in scikit-learn."""
        return {"f1": ClassCounts(_pairs(targets, predictions), micro, [positive])}

    return f1


@metric("matthews_correlation")
def matthews(
    targets: Sequence[Hashable], predictions: Sequence[Hashable]
) -> dict[str, ClassCounts]:
    """Matthews correlation as in scikit-learn, x 100: -100 to 100; 0 if either side is constant.

    NIKL CoLA has no official program; KE-T5 reports this score. None is an additional class, as in
    KE-T5: the score correlates two columns, so that ignoring None or giving it a label would reward
    unparsable output, which a class that is always wrong does not.
    """
    pairs = _pairs(targets, [UNREAD if label is None else label for label in predictions])
    return {"matthews_correlation": ClassCounts(pairs, matthews_of, classes_of(pairs))}


def micro_f1_without(excluded: Hashable) -> Metric:
    """The metric `micro_f1` over all classes except one (for KLUE-RE: "no_relation").

    Source: KLUE-baseline, klue_re_micro_f1. A relation predicted for an example of the excluded
    class is a false alarm; the excluded class predicted for a relation is a miss. If only the
    excluded class occurs, the score is 0.
    """

    @metric("micro_f1")
    def micro_f1(
        targets: Sequence[Hashable], predictions: Sequence[Hashable]
    ) -> dict[str, ClassCounts]:
        """Micro F1 over all classes except the excluded one."""
        pairs = _pairs(targets, predictions)
        classes = [name for name in classes_of(pairs) if name != excluded]
        return {"micro_f1": ClassCounts(pairs, micro, classes)}

    return micro_f1


@metric("auprc")
def auprc(
    targets: Sequence[str | int], predictions: Sequence, scores: Sequence[Sequence[float]]
) -> dict[str, Areas]:
    """Area under the precision-recall curve, one class against the rest, mean over the classes.

    Source: KLUE-baseline, klue_re_auprc, with scikit-learn >= 1: trapezoids under (recall,
    precision), no_relation included, all classes with equal weight; a class without a positive
    example scores 0.5 (with scikit-learn 0.24, as pinned by the baseline, the score is NaN).

    Args:
        targets: relation names of KLUE-RE, or class ids.
        predictions: ignored.
        scores: probabilities, [rows, classes]; logits would not be comparable between rows.
    """
    probabilities = np.asarray(scores, dtype=np.float64).T
    gold = np.array([KLUE_RE.id_of(t) if isinstance(t, str) else int(t) for t in targets])
    is_klue = len(probabilities) == len(KLUE_RE.names)
    names = KLUE_RE.names if is_klue else range(len(probabilities))
    return {"auprc": Areas(gold, probabilities, names)}


# -------------------------------------------------------------------------------------- numbers


def _numbers(column: Sequence[float | None], *, unread: float = UNREAD_NUMBER) -> np.ndarray:
    return np.array([unread if x is None else x for x in column], dtype=np.float64)


def _mean_error(sums: np.ndarray) -> np.ndarray:
    return sums[..., 0] / sums[..., 1]


@metric("mean_squared_error")
def mean_squared_error(
    targets: Sequence[float], predictions: Sequence[float | None]
) -> dict[str, Sums]:
    """The mean squared error, not x 100; 0 is best. An unparsable number counts as 0."""
    errors = [((p or 0.0) - t) ** 2 for t, p in zip(targets, predictions, strict=True)]
    rows = np.array([[error, 1.0] for error in errors])
    return {"mean_squared_error": Sums(rows, _mean_error)}


@metric("pearson")
def pearson(
    targets: Sequence[float], predictions: Sequence[float | None]
) -> dict[str, Correlation]:
    """Pearson's r, x 100. Source: KLUE-baseline, klue_sts_pearsonr (scipy, without clipping).

    NaN if either side is constant, or for a single row. None counts as -1, as in T5.
    """
    return {"pearson": Correlation(_numbers(targets), _numbers(predictions))}


@metric("pearson")
def pearson_around_0(
    targets: Sequence[float], predictions: Sequence[float | None]
) -> dict[str, Correlation]:
    """Pearson's r, x 100, for a scale with 0 in its middle, such as that of nikluge_nli.

    None counts as 0, as in `mean_squared_error` and in the contest's submission: -1 would be an
    answer on this scale. NaN as in `pearson`.
    """
    return {"pearson": Correlation(_numbers(targets), _numbers(predictions, unread=0.0))}


@metric("spearman")
def spearman(
    targets: Sequence[float], predictions: Sequence[float | None]
) -> dict[str, RankCorrelation]:
    """Spearman's rank correlation by scipy, x 100, as for KorSTS. NaN and None as in `pearson`."""
    return {"spearman": RankCorrelation(_numbers(targets), _numbers(predictions))}


@metric("f1")
def f1_at_3(
    targets: Sequence[float], predictions: Sequence[float | None]
) -> dict[str, ClassCounts]:
    """F1 of "similar", a score of 3 or more. Source: KLUE-baseline, klue_sts_f1.

    0 if no pair is similar on either side. None is not similar.
    """
    pairs = _pairs(*((_numbers(column) >= 3).tolist() for column in (targets, predictions)))
    return {"f1": ClassCounts(pairs, micro, [True])}
