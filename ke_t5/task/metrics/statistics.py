"""Statistics: scores as functions of sums over rows, for confidence intervals by resampling.

A statistic computes the score of all rows (`total()`) and the scores of many resamples at once:
called with counts [D, N] of N rows in D draws, it returns [D] scores x 100, NaN if undefined. Both
correlations (in the last digit) and the area under the precision-recall curve are not functions of
sums over rows: their `total()` is computed by their libraries.
"""

from __future__ import annotations

import abc
import functools
import itertools
import math
import warnings
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

Pairs = Sequence[tuple[Hashable, Hashable]]
Score = Callable[[np.ndarray], np.ndarray]
Support = Mapping[Hashable, int]


class Statistic(abc.ABC):
    """Statistics of rows, and the score computed from them."""

    @abc.abstractmethod
    def total(self) -> float:
        """The score of all rows."""

    @abc.abstractmethod
    def __call__(self, draws: np.ndarray) -> np.ndarray:
        """[D] scores x 100 of [D, N] draws."""

    @abc.abstractmethod
    def take(self, rows: np.ndarray) -> Statistic:
        """The statistic of the rows with these indices."""

    def support(self) -> Support | None:
        """The number of rows with each class; None if the score is not a mean over classes."""
        return None


# ------------------------------------------------------------------------------------------ sums


@dataclass(frozen=True)
class Sums(Statistic):
    """A score of column sums.

    Attributes:
        rows: [N, K] numbers of each row.
        score: [..., K] sums -> [...] scores.
    """

    rows: np.ndarray
    score: Score

    def total(self) -> float:
        # Contiguous columns are added pairwise, as numpy does for the mean of a list.
        return float(self.score(np.ascontiguousarray(self.rows.T).sum(-1)))

    def __call__(self, draws: np.ndarray) -> np.ndarray:
        return self.score(draws @ self.rows)

    def take(self, rows: np.ndarray) -> Sums:
        return replace(self, rows=self.rows[rows])


def mean(sums: np.ndarray) -> np.ndarray:
    """The mean x 100 from (sum, count)."""
    return _ratio(sums[..., 0], sums[..., 1]) * 100.0


def share(sums: np.ndarray) -> np.ndarray:
    """Percent from (hits, count), rounded once: 29 of 100 is exactly 29.0, unlike with `mean`."""
    return _ratio(100.0 * sums[..., 0], sums[..., 1])


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """The quotient; NaN for 0 / 0."""
    with np.errstate(invalid="ignore"):
        return np.divide(numerator, denominator)


class Mean(Sums):
    """The mean of a value (0..1) of each row, x 100."""

    def __init__(self, values: Sequence[float] | np.ndarray, score: Score = mean) -> None:
        column = np.asarray(values, dtype=np.float64)
        super().__init__(np.stack([column, np.ones(len(column))], axis=1), score)

    @property
    def values(self) -> np.ndarray:
        """[N] the score of each single row."""
        return self.score(self.rows)

    @property
    def is_share(self) -> bool:
        """Whether each row is right or wrong, so that the score is a share of the rows."""
        return bool(np.isin(self.rows[:, 0], (0.0, 1.0)).all())

    def take(self, rows: np.ndarray) -> Mean:
        return Mean(self.rows[rows, 0], self.score)


# --------------------------------------------------------------------------------------- classes


def counts_of(rows: Sequence[Iterable[tuple]], classes: Sequence[Hashable]) -> np.ndarray:
    """[N, 3 C]: the numbers of hits, golds and predictions of each class in each row's (gold,
    predicted) pairs; values that are not in `classes`, such as None, are not counted."""
    ids = {name: i for i, name in enumerate(classes)}
    counts = np.zeros((len(rows), 3, len(ids)))
    for row, pairs in enumerate(rows):
        for (gold, predicted), count in Counter(pairs).items():
            if gold == predicted and gold in ids:
                counts[row, 0, ids[gold]] += count
            if gold in ids:
                counts[row, 1, ids[gold]] += count
            if predicted in ids:
                counts[row, 2, ids[predicted]] += count
    return counts.reshape(len(rows), -1)


def classes_of(rows: Sequence[Pairs]) -> list[Hashable]:
    """All classes of the pairs except None, in order of appearance, gold before predicted."""
    names = dict.fromkeys(pair[side] for side in (0, 1) for row in rows for pair in row)
    return [name for name in names if name is not None]


@dataclass(frozen=True)
class ClassCounts(Statistic):
    """A score of the numbers of hits, golds and predictions of each class.

    Attributes:
        pairs: the (gold, predicted) pairs of each row; None for a missing side.
        score: [..., 3 C] sums of `counts_of` -> [...] scores.
        classes: the classes that are counted.
        averages: the classes that the score is a mean over: "all", those "occurring", or "none" if
            it is not such a mean.
    """

    pairs: Sequence[Pairs]
    score: Score
    classes: Sequence[Hashable]
    averages: Literal["none", "occurring", "all"] = "none"

    @functools.cached_property
    def rows(self) -> np.ndarray:
        """[N, 3 C] counts of each row; large for many classes, and only needed for draws."""
        return counts_of(self.pairs, self.classes)

    @property
    def sums(self) -> np.ndarray:
        """[3 C] counts of all rows."""
        return counts_of([itertools.chain.from_iterable(self.pairs)], self.classes)[0]

    def total(self) -> float:
        return float(self.score(self.sums))

    def __call__(self, draws: np.ndarray) -> np.ndarray:
        return self.score(draws @ self.rows)

    def take(self, rows: np.ndarray) -> ClassCounts:
        return replace(self, pairs=[self.pairs[row] for row in rows.tolist()])

    def support(self) -> Support | None:
        """Rows with the class in gold; for classes that are never gold, rows that predict them."""
        if self.averages == "none":
            return None
        num_rows = (self.rows.reshape(len(self.rows), 3, -1) > 0).sum(0)
        counts = np.where(num_rows[1] > 0, num_rows[1], num_rows[2]).tolist()
        named = zip(self.classes, counts, strict=True)
        return {name: count for name, count in named if count or self.averages == "all"}


def by_class(sums: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """[..., C] hits, golds and predictions of each class from [..., 3 C]."""
    hits, gold, predicted = np.moveaxis(
        sums.reshape(*sums.shape[:-1], 3, sums.shape[-1] // 3), -2, 0
    )
    return hits, gold, predicted


def f1_of_counts(
    hits: np.ndarray, gold: np.ndarray, predicted: np.ndarray, *, absent: float
) -> np.ndarray:
    """F1 (0..1) as in scikit-learn; `absent` for classes that are neither gold nor predicted."""
    total = gold + predicted
    return np.where(total > 0, 2 * hits / np.maximum(total, 1), absent)


def f1_of_ratios(
    hits: np.ndarray, gold: np.ndarray, predicted: np.ndarray, *, absent: float
) -> np.ndarray:
    """F1 (0..1) from precision and recall, as in seqeval: differs in the last digits."""
    precision, recall = hits / np.maximum(predicted, 1), hits / np.maximum(gold, 1)
    total = precision + recall
    f1 = 2 * precision * recall / np.where(total > 0, total, 1)
    return np.where(gold + predicted > 0, f1, absent)


def macro(sums: np.ndarray, *, f1: Callable[..., np.ndarray] = f1_of_counts) -> np.ndarray:
    """Mean F1 x 100 of the classes that occur; NaN if none does."""
    scores = f1(*by_class(sums), absent=math.nan)
    occurs = np.isfinite(scores)
    return _ratio(np.where(occurs, scores, 0.0).sum(-1), occurs.sum(-1)) * 100.0


def macro_of_all(sums: np.ndarray) -> np.ndarray:
    """Mean F1 x 100 of all classes; classes that do not occur count as 100."""
    return f1_of_counts(*by_class(sums), absent=1.0).mean(-1) * 100.0


def micro(
    sums: np.ndarray, *, f1: Callable[..., np.ndarray] = f1_of_counts, absent: float = 0.0
) -> np.ndarray:
    """F1 x 100 of all classes together; 100 x `absent` if none occurs."""
    return f1(*(counts.sum(-1) for counts in by_class(sums)), absent=absent) * 100.0


def matthews_of(sums: np.ndarray) -> np.ndarray:
    """Matthews correlation x 100 as in scikit-learn; 0 if one side is constant."""
    hits, gold, predicted = by_class(sums)
    total = gold.sum(-1)
    product = hits.sum(-1) * total - (gold * predicted).sum(-1)
    size = (total**2 - (predicted**2).sum(-1)) * (total**2 - (gold**2).sum(-1))
    return np.where(size > 0, product / np.sqrt(np.maximum(size, 1)), 0.0) * 100.0


def macro_f1_of(rows: Sequence[Pairs]) -> ClassCounts:
    """The statistic of the mean F1 of all classes that occur."""
    return ClassCounts(rows, macro, classes_of(rows), averages="occurring")


# ---------------------------------------------------------------------------- not sums over rows


@dataclass(frozen=True)
class Correlation(Statistic):
    """Pearson's correlation of two columns of N numbers, x 100; NaN if one is constant."""

    first: np.ndarray
    second: np.ndarray

    def _library(self) -> Callable[..., Any]:
        from scipy.stats import pearsonr

        return pearsonr

    def _columns(self, draws: np.ndarray) -> Iterable[np.ndarray]:
        """Both columns, [D, N] or [N], standardized so that no digits are lost."""
        return ((x - x.mean()) / (x.std() or 1.0) for x in (self.first, self.second))

    def total(self) -> float:
        # For two rows, scipy before 1.15 returns 0.
        if len(self.first) < 2 or any(np.ptp(x) == 0 for x in (self.first, self.second)):
            return math.nan
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # nearly constant or not finite: NaN
            return float(self._library()(self.first, self.second)[0] * 100.0)

    def __call__(self, draws: np.ndarray) -> np.ndarray:
        total = np.maximum(draws.sum(1, keepdims=True), 1)  # a draw of no rows is all zeros below
        first, second = (
            x - (draws * x).sum(1, keepdims=True) / total for x in self._columns(draws)
        )
        product, *squares = (
            (draws * x).sum(1) for x in (first * second, first * first, second * second)
        )
        size = squares[0] * squares[1]
        with np.errstate(invalid="ignore", divide="ignore"):
            scores = np.clip(100 * product / np.sqrt(size), -100, 100)
        return np.where(size > 1e-18, scores, np.nan)  # constant up to rounding

    def take(self, rows: np.ndarray) -> Correlation:
        return replace(self, first=self.first[rows], second=self.second[rows])


class RankCorrelation(Correlation):
    """Spearman's rank correlation; equal numbers get their mean rank."""

    def _library(self) -> Callable[..., Any]:
        from scipy.stats import spearmanr

        return spearmanr

    def _columns(self, draws: np.ndarray) -> Iterable[np.ndarray]:
        return (_mean_ranks(column, draws) for column in (self.first, self.second))


def _mean_ranks(values: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """[D, N]: the mean rank of each row in each draw."""
    _, place = np.unique(values, return_inverse=True)
    order = np.argsort(place, kind="stable")
    starts = np.flatnonzero(np.diff(place[order], prepend=-1))
    counts = np.add.reduceat(draws[:, order], starts, axis=1)
    ends = np.cumsum(counts, axis=1)
    return (ends - (counts - 1) / 2)[:, place]


@dataclass(frozen=True)
class Areas(Statistic):
    """The mean area under the precision-recall curves of C classes, x 100.

    Attributes:
        gold: [N] class ids.
        probabilities: [C, N].
        names: names of the classes.
    """

    gold: np.ndarray
    probabilities: np.ndarray
    names: Sequence[Hashable]

    def total(self) -> float:
        from sklearn.metrics import auc, precision_recall_curve

        if np.isnan(self.probabilities).any():
            return math.nan
        areas = []
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # without a positive example, recall is set to 1
            for label, column in enumerate(self.probabilities):
                precision, recall, _ = precision_recall_curve(self.gold == label, column)
                areas.append(auc(recall, precision))
        return float(np.average(areas) * 100.0)

    @functools.cached_property
    def order(self) -> np.ndarray:
        """[C, N] rows by decreasing probability."""
        return np.argsort(-self.probabilities, axis=1, kind="stable")

    @functools.cached_property
    def is_class(self) -> np.ndarray:
        """[C, N] whether the gold of these rows is the class."""
        return self.gold[self.order] == np.arange(len(self.order))[:, None]

    @functools.cached_property
    def ends(self) -> np.ndarray | None:
        """[C, N] the last position with the same probability, where the threshold is; None if all
        probabilities differ."""
        ordered = np.take_along_axis(self.probabilities, self.order, 1)
        is_end = np.ones(ordered.shape, dtype=bool)
        is_end[:, :-1] = ordered[:, :-1] != ordered[:, 1:]
        if is_end.all():
            return None
        ends = np.where(is_end, np.arange(len(self.gold)), len(self.gold))
        return np.minimum.accumulate(ends[:, ::-1], axis=1)[:, ::-1]

    def take(self, rows: np.ndarray) -> Areas:
        return Areas(self.gold[rows], self.probabilities[:, rows], self.names)

    def support(self) -> Support:
        """Rows with each class in gold; a class without any would count as an area of 0.5."""
        counts = np.bincount(self.gold, minlength=len(self.names)).tolist()
        return dict(zip(self.names, counts, strict=True))

    def __call__(self, draws: np.ndarray) -> np.ndarray:
        return np.array([self._mean_area(draw) for draw in draws])

    def _mean_area(self, draw: np.ndarray) -> float:
        counts = draw[self.order]
        num_rows = np.cumsum(counts, axis=1)
        hits = np.cumsum(counts * self.is_class, axis=1)
        if self.ends is not None:
            hits, num_rows = (np.take_along_axis(x, self.ends, 1) for x in (hits, num_rows))
        # The curve starts at recall 0 and precision 1, and stays there until a row is drawn.
        precision = np.where(num_rows > 0, hits / np.maximum(num_rows, 1), 1.0)
        widths = np.diff(hits, axis=1, prepend=0.0)
        heights = (precision + np.concatenate([np.ones((len(hits), 1)), precision[:, :-1]], 1)) / 2
        total = hits[:, -1]
        areas = np.where(total > 0, (widths * heights).sum(1) / np.maximum(total, 1), 0.5)
        return float(100 * areas.mean())
