"""A metric: a function from rows to statistics, and a call from rows to scores."""

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
        statistics: the same of labelled rows -> {name: statistic}, from which their scores, the
            intervals, the tables per class and the worst rows are made.
        names: what each score is called.
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
        """The scores; rows whose target is None (hidden test sets) are left out, and if no row
        remains, each score is NaN.

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
        """Pickled and copied by name, as a function is."""
        return self.__qualname__


def metric(*names: str) -> Callable[[Callable[..., Mapping[str, Statistic]]], Metric]:
    """A decorator: the metric of a function that makes the statistics called `names`."""
    return lambda statistics: Metric(statistics, names)
