"""The significance of the difference between two models' scores on the same rows.

Scores: a paired bootstrap, in which both models get the same resampled rows, with BCa intervals
(see `report.intervals`); for rank correlations, the jackknife. The p value is two-sided: the level
at which the interval would end at 0, so it is below 0.05 exactly if the 95 % interval excludes 0.
Right and wrong rows: McNemar's exact test.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from ke_t5.pipe import Evaluated, Task
from ke_t5.report import intervals
from ke_t5.report.intervals import NoInterval, Resamples
from ke_t5.report.resamples import Resampled
from ke_t5.task.metrics.statistics import RankCorrelation, Statistic

SEED = 0
NUM_DRAWS = 2000


@dataclass(frozen=True)
class Difference:
    """The difference of two scores, second minus first.

    Attributes:
        low, high: the ends of the 95 % interval; None if there is none.
        p: the two-sided p value, at least 2 / `num_draws`; None if there is no interval.
        method: "BCa" or "jackknife".
        reason: why there is no interval.
    """

    first: float
    second: float
    low: float | None = None
    high: float | None = None
    p: float | None = None
    method: str = ""
    num_draws: int = 0
    reason: str = ""

    @property
    def value(self) -> float:
        """Second minus first."""
        return self.second - self.first


def differences(
    tasks: tuple[Task, Task],
    pair: tuple[Evaluated, Evaluated],
    *,
    seed: int = SEED,
    num_draws: int = NUM_DRAWS,
) -> dict[str, Difference]:
    """The differences of the scores that both evaluations have; they must be of the same rows."""
    first, second = pair
    names = [name for name in first.scores if name in second.scores]
    drawn = [
        intervals.resample(task, evaluated, seed=seed, num_draws=num_draws, has_all=True)
        for task, evaluated in zip(tasks, pair, strict=True)
    ]
    found = {}
    for name in names:
        scores = first.scores[name], second.scores[name]
        try:
            found[name] = _difference(scores, *_of_score(drawn, name))
        except NoInterval as reason:
            found[name] = Difference(*scores, reason=str(reason))
    return found


def _of_score(
    drawn: list[Resamples | None], name: str
) -> tuple[Resampled, Resampled, Statistic | None]:
    """Both models' resampled values of a score, and its statistic.

    Raises:
        NoInterval: the score cannot be computed from the predictions.
    """
    statistics = []
    for one in drawn:
        if one is None or name not in one.scores:
            raise NoInterval("the score cannot be computed from the predictions")
        statistics.append(one.statistics.get(name))
        if statistics[-1] is not None:
            intervals.check_classes(statistics[-1].support())
    first, second = (one.scores[name] for one in drawn if one is not None)
    return first, second, statistics[0]


def _difference(
    scores: tuple[float, float], first: Resampled, second: Resampled, statistic: Statistic | None
) -> Difference:
    """The difference with interval and p value.

    Raises:
        NoInterval: with the reason.
    """
    value = scores[1] - scores[0]
    both = Resampled(second.draws - first.draws, second.left_out - first.left_out)
    pulls = value - both.left_out
    if np.isfinite(pulls).all() and np.abs(pulls).max() <= intervals.ROUNDING and value == 0:
        raise NoInterval("both models score alike on all parts of the rows")
    if isinstance(statistic, RankCorrelation):
        return _jackknife(scores, both.left_out)
    interval = intervals.interval_of(value, both, None)
    defined = both.draws[np.isfinite(both.draws)]
    p = _p_value(value, defined, pulls)
    ends = interval.low, interval.high
    return Difference(*scores, *ends, p, interval.method, interval.num_draws)


def _p_value(value: float, draws: np.ndarray, pulls: np.ndarray) -> float:
    """The two-sided level at which an end of the BCa interval would be 0."""
    bias, skew = intervals.place_of(value, draws), intervals.skew_of(pulls)
    away = intervals.place_of(0.0, draws) - bias
    # The inverse of what `intervals` does to a tail's quantile.
    tail = NormalDist().cdf(away / (1 + skew * away) - bias)
    return float(np.clip(2 * min(tail, 1 - tail), 2 / len(draws), 1))


def _jackknife(scores: tuple[float, float], left_out: np.ndarray) -> Difference:
    """The difference of two rank correlations; resampled rows would have too many ties."""
    size = len(left_out)
    around = left_out - left_out.mean()
    error = math.sqrt((size - 1) / size * (around**2).sum())
    if not (size > 1 and math.isfinite(error) and error > 0):
        raise NoInterval(intervals.UNDEFINED)
    value = scores[1] - scores[0]
    half = NormalDist().inv_cdf(0.5 + intervals.LEVEL / 200) * error
    p = 2 * (1 - NormalDist().cdf(abs(value) / error))
    return Difference(*scores, value - half, value + half, p, "jackknife")


def mcnemar(only_first: int, only_second: int) -> float:
    """The exact two-sided p value of McNemar's test.

    Args:
        only_first, only_second: how many rows only the first, or only the second, model has right.
    """
    from scipy.stats import binomtest

    discordant = only_first + only_second
    return float(binomtest(only_first, discordant, 0.5).pvalue) if discordant else 1.0


def p_text(p: float | None) -> str:
    """A p value for display.

    >>> p_text(0.0123), p_text(2e-5), p_text(None)
    ('0.012', '< 0.001', '–')
    """
    if p is None:
        return "–"
    return "< 0.001" if p <= 0.001 else f"{p:.3f}"


def as_json(found: Mapping[str, Difference]) -> dict[str, dict[str, object]]:
    """The differences as a JSON object."""
    return {
        name: {
            "a": _number(one.first),
            "b": _number(one.second),
            "difference": _number(one.value),
            "interval": None if one.low is None else [one.low, one.high],
            "p": one.p,
            "method": one.method or None,
            "draws": one.num_draws,
            "reason": one.reason or None,
        }
        for name, one in found.items()
    }


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
