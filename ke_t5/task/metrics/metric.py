"""Metrics: functions from rows to statistics, which are called to compute scores."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ke_t5.task.metrics.statistics import Statistic

Scores = dict[str, float]


class Metric:
    """`metric(targets, predictions[, scores])` -> {name: value x 100} over a whole split.

    Attributes:
        statistics: (targets, predictions[, scores]) of labelled rows -> {name: statistic}, from
            which scores, intervals, the tables per class and the worst rows are computed.
        names: the names of the scores.
    """

    __name__: str
    __qualname__: str

    def __init__(
        self, statistics: Callable[..., Mapping[str, Statistic]], names: Sequence[str]
    ) -> None:
        functools.update_wrapper(self, statistics)
        self.statistics = statistics
        self.names = tuple(names)

    def __call__(
        self, targets: Sequence, predictions: Sequence, scores: Sequence | None = None
    ) -> Scores:
        """The scores; rows with a target of None (hidden test sets) are ignored, and all scores are
        NaN if there are no others.

        Raises:
            ValueError: targets, predictions and scores differ in number.
        """
        columns: list[Any] = [targets, predictions, *([] if scores is None else [scores])]
        sizes = [len(column) for column in columns]
        if len(set(sizes)) > 1:
            counts = ", ".join(map(str, sizes))
            raise ValueError(f"{self.__name__}: targets and the rest differ: {counts} rows")
        labelled = [i for i, target in enumerate(targets) if target is not None]
        if not labelled:
            return dict.fromkeys(self.names, math.nan)
        columns = [[column[i] for i in labelled] for column in columns]
        return {name: one.total() for name, one in self.statistics(*columns).items()}

    def __reduce__(self) -> str:
        """Pickled and copied by name, like a function."""
        return self.__qualname__


def metric(*names: str) -> Callable[[Callable[..., Mapping[str, Statistic]]], Metric]:
    """A decorator that makes a metric of a function that returns the statistics `names`."""
    return lambda statistics: Metric(statistics, names)
