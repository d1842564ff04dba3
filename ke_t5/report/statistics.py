"""Scores as functions of how often each row was drawn, so that many draws are scored at once.

A statistic is `f([D, N]) -> [D]`: from how often each of N rows is in each of D draws to D scores
x 100, NaN where a draw has none. `take(rows)` is the same of some of the rows, `support()` says how
many rows hold each class that the score is a mean of (None: no such classes).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

Support = Mapping[Hashable, int]


class Statistic(Protocol):
    """See above."""

    def __call__(self, draws: np.ndarray) -> np.ndarray: ...

    def take(self, rows: np.ndarray) -> Statistic: ...

    def support(self) -> Support | None: ...


@dataclass(frozen=True)
class Mean:
    """The mean of a score of each row alone."""

    values: np.ndarray

    def __call__(self, draws: np.ndarray) -> np.ndarray:
        return draws @ self.values / draws.sum(1)

    def take(self, rows: np.ndarray) -> Mean:
        return Mean(self.values[rows])

    def support(self) -> None:
        return None

    @property
    def is_share(self) -> bool:
        """Whether each row is right or wrong, so that the score is a share of the rows."""
        return bool(np.isin(self.values, (0.0, 100.0)).all())


@dataclass(frozen=True)
class Sums:
    """A score made of sums over the rows: `score` of [D, K] sums of `rows` [N, K].

    Attributes:
        classes: where the score is a mean over classes: their names, in the order of `rows`, which
            is then [N, 3 C] as `shortcuts.counts_of` makes it.
        is_fixed: whether the mean is over all of `classes`, or over those that occur.
    """

    rows: np.ndarray
    score: Callable[[np.ndarray], np.ndarray]
    classes: Sequence[Hashable] | None = None
    is_fixed: bool = False

    def __call__(self, draws: np.ndarray) -> np.ndarray:
        return self.score(draws @ self.rows)

    def take(self, rows: np.ndarray) -> Sums:
        return replace(self, rows=self.rows[rows])

    def support(self) -> Support | None:
        """Rows with a gold of the class; of a class without any, rows where it is predicted."""
        if self.classes is None:
            return None
        held = (self.rows.reshape(len(self.rows), 3, -1) > 0).sum(0)
        found = np.where(held[1] > 0, held[1], held[2]).tolist()
        pairs = zip(self.classes, found, strict=True)
        return {name: count for name, count in pairs if count or self.is_fixed}


@dataclass(frozen=True)
class Areas:
    """The mean area under the precision-recall curves of C classes.

    Attributes:
        gold: [N] ids; probabilities: [C, N]; names: of the classes.
        order: [C, N] rows by falling probability; is_class: whether these are of the class.
        ends: [C, N] the last position with the same probability (only there is a threshold); None
            where all probabilities differ.
    """

    gold: np.ndarray
    probabilities: np.ndarray
    names: Sequence[Hashable]
    order: np.ndarray
    is_class: np.ndarray
    ends: np.ndarray | None

    @classmethod
    def of(cls, gold: np.ndarray, probabilities: np.ndarray, names: Sequence[Hashable]) -> Areas:
        """The areas of [N] gold ids and [C, N] probabilities."""
        order = np.argsort(-probabilities, axis=1, kind="stable")
        ordered = np.take_along_axis(probabilities, order, 1)
        is_end = np.ones(order.shape, dtype=bool)
        is_end[:, :-1] = ordered[:, :-1] != ordered[:, 1:]
        ends = np.where(is_end, np.arange(len(gold)), len(gold))
        ends = np.minimum.accumulate(ends[:, ::-1], axis=1)[:, ::-1]
        is_class = gold[order] == np.arange(len(order))[:, None]
        ends = None if is_end.all() else ends
        return cls(gold, probabilities, names, order, is_class, ends)

    def take(self, rows: np.ndarray) -> Areas:
        return Areas.of(self.gold[rows], self.probabilities[:, rows], self.names)

    def support(self) -> Support:
        """Rows with a gold of each class; one without any would count as half an area."""
        counts = np.bincount(self.gold, minlength=len(self.names)).tolist()
        return dict(zip(self.names, counts, strict=True))

    def __call__(self, draws: np.ndarray) -> np.ndarray:
        return np.array([self._mean_area(draw) for draw in draws])

    def _mean_area(self, draw: np.ndarray) -> float:
        counts = draw[self.order]
        found = np.cumsum(counts, axis=1)
        hits = np.cumsum(counts * self.is_class, axis=1)
        if self.ends is not None:
            hits, found = (np.take_along_axis(x, self.ends, 1) for x in (hits, found))
        # The curve begins at recall 0 and precision 1, and stays there while nothing is drawn.
        precision = np.where(found > 0, hits / np.maximum(found, 1), 1.0)
        widths = np.diff(hits, axis=1, prepend=0.0)
        heights = (precision + np.concatenate([np.ones((len(hits), 1)), precision[:, :-1]], 1)) / 2
        total = hits[:, -1]
        areas = np.where(total > 0, (widths * heights).sum(1) / np.maximum(total, 1), 0.5)
        return float(100 * areas.mean())


@dataclass(frozen=True)
class RankCorrelation:
    """Spearman's correlation of two columns of N numbers; of equal ones each has the mean rank."""

    first: np.ndarray
    second: np.ndarray

    def __call__(self, draws: np.ndarray) -> np.ndarray:
        first, second = (_mean_ranks(column, draws) for column in (self.first, self.second))
        total = draws.sum(1, keepdims=True)
        first, second = (x - (draws * x).sum(1, keepdims=True) / total for x in (first, second))
        products = (first * second, first * first, second * second)
        return correlation(*((draws * product).sum(1) for product in products))

    def take(self, rows: np.ndarray) -> RankCorrelation:
        return RankCorrelation(self.first[rows], self.second[rows])

    def support(self) -> None:
        return None


def _mean_ranks(values: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """[D, N]: the rank of each row among those drawn."""
    _, place = np.unique(values, return_inverse=True)
    order = np.argsort(place, kind="stable")
    starts = np.flatnonzero(np.diff(place[order], prepend=-1))
    counts = np.add.reduceat(draws[:, order], starts, axis=1)
    ends = np.cumsum(counts, axis=1)
    return (ends - (counts - 1) / 2)[:, place]


def correlation(product: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """[D] correlations x 100 from sums of products of centred columns; NaN where one is constant,
    rounding aside."""
    size = first * second
    with np.errstate(invalid="ignore", divide="ignore"):
        found = 100 * product / np.sqrt(size)
    return np.where(size > 1e-18, np.clip(found, -100, 100), np.nan)
