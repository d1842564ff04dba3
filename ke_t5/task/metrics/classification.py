"""Scores of labels and numbers over a whole split, and what all metrics are made with.

A metric is `f(targets, predictions[, scores]) -> {name: value x 100}`, made by
`over_labelled_rows`. A prediction of None is an output that could not be read: it is wrong.
"""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any

from ke_t5.task.labels import KLUE_RE

Scores = dict[str, float]
Metric = Callable[..., Scores]

UNREAD = -1  # the id of a prediction that is None: no class, so it is only ever a miss
UNREAD_NUMBER = -1.0  # stands for an unread number, as in T5: below every scale in use (0..5)


def over_labelled_rows(*names: str) -> Callable[[Metric], Metric]:
    """A decorator that makes a metric see the labelled rows only.

    Rows whose target is None (hidden test sets) are left out, of predictions and scores too; where
    no row is left, each of `names` is NaN.

    Raises:
        ValueError: targets, predictions and scores differ in number.
    """

    def decorate(function: Metric) -> Metric:
        @functools.wraps(function)
        def metric(targets: Sequence, predictions: Sequence, *others: Any, **named: Any) -> Scores:
            columns = [targets, predictions, *others, *named.values()]
            if len({len(column) for column in columns}) > 1:
                sizes = ", ".join(str(len(column)) for column in columns)
                raise ValueError(f"{function.__name__}: targets and the rest differ: {sizes} rows")
            labelled = [i for i, target in enumerate(targets) if target is not None]
            if not labelled:
                return dict.fromkeys(names, math.nan)
            kept = [[column[i] for i in labelled] for column in columns]
            num_positional = 2 + len(others)
            return function(
                *kept[:num_positional], **dict(zip(named, kept[num_positional:], strict=True))
            )

        return metric

    return decorate


def percent(values: Sequence[float]) -> float:
    """The mean of values in 0..1, x 100."""
    import numpy as np

    return float(np.mean(values) * 100.0)


# -------------------------------------------------------------------------------------- classes


def _ids(targets: Iterable, predictions: Iterable) -> tuple[list[int], list[int], list[Hashable]]:
    """Both columns as ids of the classes seen in either, and those classes; None is UNREAD."""
    targets, predictions = list(targets), list(predictions)
    seen = dict.fromkeys([*targets, *(p for p in predictions if p is not None)])
    ids = {label: i for i, label in enumerate(seen)}
    return [ids[t] for t in targets], [ids.get(p, UNREAD) for p in predictions], list(seen)


def f1_score_of(targets: Sequence[int], predictions: Sequence[int], **options: Any) -> float:
    """scikit-learn's F1 of two columns of ids, x 100; what is undefined is 0 unless asked else."""
    from sklearn.metrics import f1_score

    options = {"zero_division": 0, **options}
    return float(f1_score(targets, predictions, **options) * 100.0)


def mean_f1(targets: Iterable, predictions: Iterable) -> float:
    """The mean F1, x 100, of the classes in either column; None is a miss and no class."""
    gold, predicted, classes = _ids(targets, predictions)
    return f1_score_of(gold, predicted, labels=range(len(classes)), average="macro")


@over_labelled_rows("accuracy")
def accuracy(targets: Sequence[Hashable], predictions: Sequence[Hashable]) -> Scores:
    """The share of right labels. Source: KLUE-baseline, klue_nli_acc."""
    hits = sum(t == p for t, p in zip(targets, predictions, strict=True))
    return {"accuracy": 100.0 * hits / len(targets)}


@over_labelled_rows("macro_f1")
def macro_f1(targets: Sequence[Hashable], predictions: Sequence[Hashable]) -> Scores:
    """The mean F1 of the classes. Source: KLUE-baseline, ynat_macro_f1 (scikit-learn's f1_score).

    The classes averaged are those of the gold or predicted labels: one in neither is left out, one
    that is only predicted counts 0. None is a miss of the gold class and no class of its own.
    """
    return {"macro_f1": mean_f1(targets, predictions)}


def f1_of(positive: Hashable) -> Metric:
    """The metric `f1` of one class, 0 where it is neither in gold nor predicted."""

    @over_labelled_rows("f1")
    def f1(targets: Sequence[Hashable], predictions: Sequence[Hashable]) -> Scores:
        """The F1 of one class, by scikit-learn."""
        gold = [int(target == positive) for target in targets]
        return {
            "f1": f1_score_of(gold, [int(prediction == positive) for prediction in predictions])
        }

    f1.positive = positive  # the bootstrap counts the same class
    return f1


@over_labelled_rows("matthews_correlation")
def matthews(targets: Sequence[Hashable], predictions: Sequence[Hashable]) -> Scores:
    """Matthews correlation, by scikit-learn, x 100: -100 to 100; 0 where either side is constant.

    The NIKL CoLA sources name no program; KE-T5 reports this one. None is one more predicted value,
    as in KE-T5: this score averages over no classes but correlates two columns, so leaving None out
    or giving it a label would reward it, and another value that is never right does not.
    """
    from sklearn.metrics import matthews_corrcoef

    gold, predicted, _ = _ids(targets, predictions)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one label in all: the score is 0 by definition
        return {"matthews_correlation": float(matthews_corrcoef(gold, predicted) * 100.0)}


def micro_f1_without(excluded: Hashable) -> Metric:
    """The metric `micro_f1` over all classes but one (for KLUE-RE: "no_relation").

    Source: KLUE-baseline, klue_re_micro_f1. A relation predicted for an example of the excluded
    class is a false alarm, the excluded class predicted for a relation a miss; all of the excluded
    class on both sides gives 0.
    """

    @over_labelled_rows("micro_f1")
    def micro_f1(targets: Sequence[Hashable], predictions: Sequence[Hashable]) -> Scores:
        """Micro F1 over all classes but the excluded one."""
        gold, predicted, classes = _ids(targets, predictions)
        counted = [i for i, label in enumerate(classes) if label != excluded]
        if not counted:
            return {"micro_f1": 0.0}
        return {"micro_f1": f1_score_of(gold, predicted, labels=counted, average="micro")}

    micro_f1.excluded = excluded  # the bootstrap leaves out the same class
    return micro_f1


@over_labelled_rows("auprc")
def auprc(
    targets: Sequence[str | int], predictions: Sequence, scores: Sequence[Sequence[float]]
) -> Scores:
    """Area under the precision-recall curve, mean over the classes, each against the rest.

    Source: KLUE-baseline, klue_re_auprc, with scikit-learn >= 1: trapezoids under (recall,
    precision), no_relation included, every class with one weight; a class without a positive
    example gives 0.5 (with the 0.24 that the baseline pins, the whole score is NaN).

    Args:
        targets: relation names of KLUE-RE, or class ids.
        predictions: not looked at.
        scores: probabilities after softmax, [rows, classes]; ranks over rows need them so.
    """
    import numpy as np
    from sklearn.metrics import auc, precision_recall_curve

    probabilities = np.asarray(scores, dtype=np.float64)
    if np.isnan(probabilities).any():
        return {"auprc": math.nan}
    gold = np.array([KLUE_RE.id_of(t) if isinstance(t, str) else int(t) for t in targets])
    areas = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # no positive example: recall is set to 1, as said above
        for label in range(probabilities.shape[1]):
            precision, recall, _ = precision_recall_curve(gold == label, probabilities[:, label])
            areas.append(auc(recall, precision))
    return {"auprc": float(np.average(areas) * 100.0)}


# -------------------------------------------------------------------------------------- numbers


def _numbers(targets: Sequence, predictions: Sequence) -> tuple[Any, Any]:
    import numpy as np

    read = [UNREAD_NUMBER if value is None else value for value in predictions]
    return np.asarray(targets, dtype=np.float64), np.asarray(read, dtype=np.float64)


def _correlation(statistic: Any, targets: Sequence, predictions: Sequence) -> float:
    import numpy as np

    if len(targets) < 2:
        return math.nan
    numbers = _numbers(targets, predictions)
    # Of two rows, scipy before 1.15 gives 0.
    if any(np.ptp(side) == 0 for side in numbers):
        return math.nan
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # nearly constant or not finite: NaN
        return float(statistic(*numbers)[0] * 100.0)


@over_labelled_rows("pearson")
def pearson(targets: Sequence[float], predictions: Sequence[float | None]) -> Scores:
    """Pearson's r, x 100. Source: KLUE-baseline, klue_sts_pearsonr (scipy, nothing is clipped).

    NaN where either side is constant, or there is one row. None counts as -1, as in T5.
    """
    from scipy.stats import pearsonr

    return {"pearson": _correlation(pearsonr, targets, predictions)}


@over_labelled_rows("spearman")
def spearman(targets: Sequence[float], predictions: Sequence[float | None]) -> Scores:
    """Spearman's rank correlation by scipy, x 100: what KorSTS reports. NaN and None as above."""
    from scipy.stats import spearmanr

    return {"spearman": _correlation(spearmanr, targets, predictions)}


@over_labelled_rows("f1")
def f1_at_3(targets: Sequence[float], predictions: Sequence[float | None]) -> Scores:
    """F1 of "alike": both sides cut at >= 3. Source: KLUE-baseline, klue_sts_f1.

    0 where nothing is alike on either side. None is never alike: a miss where gold is.
    """
    gold, predicted = _numbers(targets, predictions)
    return {"f1": f1_score_of(gold >= 3, predicted >= 3)}
