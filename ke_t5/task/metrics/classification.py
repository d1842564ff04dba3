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

UNREAD = object()  # the class of a prediction of None, for metrics that make it one
UNREAD_NUMBER = -1.0  # for an unread number, as in T5: below the scale of 0 to 5 of sentence pairs

# -------------------------------------------------------------------------------------- classes


def _pairs(targets: Iterable, predictions: Iterable) -> list[Pairs]:
    """The (gold, predicted) pair of each row."""
    return [[pair] for pair in zip(targets, predictions, strict=True)]


@metric("accuracy")
def accuracy(targets: Sequence[Hashable], predictions: Sequence[Hashable]) -> dict[str, Mean]:
    """The share of right labels. Source: KLUE-baseline, klue_nli_acc."""
    hits = [t == p for t, p in zip(targets, predictions, strict=True)]
    return {"accuracy": Mean(hits, share)}


def labels_by_class(targets: Sequence[Hashable], predictions: Sequence[Hashable]) -> ClassCounts:
    """The mean F1 of the classes."""
    return macro_f1_of(_pairs(targets, predictions))


@metric("macro_f1")
def macro_f1(
    targets: Sequence[Hashable], predictions: Sequence[Hashable]
) -> dict[str, ClassCounts]:
    """The mean F1 of the classes. Source: KLUE-baseline, ynat_macro_f1 (scikit-learn's f1_score).

    The classes averaged are those of the gold or predicted labels: one in neither is left out, one
    that is only predicted counts 0. None is a miss of the gold class and not a class.
    """
    return {"macro_f1": labels_by_class(targets, predictions)}


def f1_of(positive: Hashable) -> Metric:
    """The metric `f1` of one class, 0 if it is neither in gold nor predicted."""

    @metric("f1")
    def f1(targets: Sequence[Hashable], predictions: Sequence[Hashable]) -> dict[str, ClassCounts]:
        """The F1 of one class, as scikit-learn computes it."""
        return {"f1": ClassCounts(_pairs(targets, predictions), micro, [positive])}

    return f1


@metric("matthews_correlation")
def matthews(
    targets: Sequence[Hashable], predictions: Sequence[Hashable]
) -> dict[str, ClassCounts]:
    """Matthews correlation as scikit-learn computes it, x 100: -100 to 100; 0 if either side is
    constant.

    The NIKL CoLA sources name no program; KE-T5 reports this one. None is one more predicted value,
    as in KE-T5: this score averages over no classes but correlates two columns, so leaving None out
    or giving it a label would reward it, and another value that is never right does not.
    """
    pairs = _pairs(targets, [UNREAD if label is None else label for label in predictions])
    return {"matthews_correlation": ClassCounts(pairs, matthews_of, classes_of(pairs))}


def micro_f1_without(excluded: Hashable) -> Metric:
    """The metric `micro_f1` over all classes but one (for KLUE-RE: "no_relation").

    Source: KLUE-baseline, klue_re_micro_f1. A relation predicted for an example of the excluded
    class is a false alarm, the excluded class predicted for a relation a miss; all of the excluded
    class on both sides gives 0.
    """

    @metric("micro_f1")
    def micro_f1(
        targets: Sequence[Hashable], predictions: Sequence[Hashable]
    ) -> dict[str, ClassCounts]:
        """Micro F1 over all classes but the excluded one."""
        pairs = _pairs(targets, predictions)
        classes = [name for name in classes_of(pairs) if name != excluded]
        return {"micro_f1": ClassCounts(pairs, micro, classes)}

    return micro_f1


@metric("auprc")
def auprc(
    targets: Sequence[str | int], predictions: Sequence, scores: Sequence[Sequence[float]]
) -> dict[str, Areas]:
    """Area under the precision-recall curve, mean over the classes, each against the rest.

    Source: KLUE-baseline, klue_re_auprc, with scikit-learn >= 1: trapezoids under (recall,
    precision), no_relation included, every class with one weight; a class without a positive
    example gives 0.5 (with the 0.24 that the baseline pins, the whole score is NaN).

    Args:
        targets: relation names of KLUE-RE, or class ids.
        predictions: not looked at.
        scores: probabilities after softmax, [rows, classes]; ranks over rows need them so.
    """
    probabilities = np.asarray(scores, dtype=np.float64).T
    gold = np.array([KLUE_RE.id_of(t) if isinstance(t, str) else int(t) for t in targets])
    is_klue = len(probabilities) == len(KLUE_RE.names)
    names = KLUE_RE.names if is_klue else range(len(probabilities))
    return {"auprc": Areas(gold, probabilities, names)}


# -------------------------------------------------------------------------------------- numbers


def _numbers(column: Sequence[float | None]) -> np.ndarray:
    return np.array([UNREAD_NUMBER if x is None else x for x in column], dtype=np.float64)


def _mean_error(sums: np.ndarray) -> np.ndarray:
    return sums[..., 0] / sums[..., 1]


@metric("mean_squared_error")
def mean_squared_error(
    targets: Sequence[float], predictions: Sequence[float | None]
) -> dict[str, Sums]:
    """The mean of the squared differences, not x 100: 0 is the best. An unread number is 0."""
    errors = [((p or 0.0) - t) ** 2 for t, p in zip(targets, predictions, strict=True)]
    rows = np.array([[error, 1.0] for error in errors])
    return {"mean_squared_error": Sums(rows, _mean_error)}


@metric("pearson")
def pearson(
    targets: Sequence[float], predictions: Sequence[float | None]
) -> dict[str, Correlation]:
    """Pearson's r, x 100. Source: KLUE-baseline, klue_sts_pearsonr (scipy, nothing is clipped).

    NaN if either side is constant, or there is one row. None counts as -1, as in T5.
    """
    return {"pearson": Correlation(_numbers(targets), _numbers(predictions))}


@metric("spearman")
def spearman(
    targets: Sequence[float], predictions: Sequence[float | None]
) -> dict[str, RankCorrelation]:
    """Spearman's rank correlation by scipy, x 100: what KorSTS reports. NaN and None as above."""
    return {"spearman": RankCorrelation(_numbers(targets), _numbers(predictions))}


@metric("f1")
def f1_at_3(
    targets: Sequence[float], predictions: Sequence[float | None]
) -> dict[str, ClassCounts]:
    """F1 of "alike": both sides cut at >= 3. Source: KLUE-baseline, klue_sts_f1.

    0 if nothing is alike on either side. None is never alike: a miss if the gold is.
    """
    pairs = _pairs(*((_numbers(column) >= 3).tolist() for column in (targets, predictions)))
    return {"f1": ClassCounts(pairs, micro, [True])}
