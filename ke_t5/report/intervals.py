"""Confidence intervals of scores, mostly by the bootstrap.

All rows are resampled with replacement, and the task's own metrics score each resample. The
interval is bias-corrected and accelerated (BCa; Efron 1987), because resamples of a mean over
classes are biased low: they lose rare classes. A share of correct rows gets Wilson's interval, a
rank correlation the jackknife's. `python -m benchmarks.coverage` measures how often the intervals
contain the true score; where they would not, a reason is given instead.

A metric's statistics (see `task.metrics.statistics`) score many resamples at once, provided that
they reproduce the score of the evaluation: files of older runs may lack some of its inputs.
"""

from __future__ import annotations

import inspect
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import NormalDist

import numpy as np

from ke_t5.pipe import Evaluated, Task
from ke_t5.pipe.scoring import SCORE_PREFIXES
from ke_t5.report import resamples
from ke_t5.report.resamples import Resampled
from ke_t5.task.metrics.metric import Metric
from ke_t5.task.metrics.statistics import Mean, RankCorrelation, Statistic, Support

LEVEL = 95  # confidence level in percent
SEED = 0
NUM_DRAWS = 1000
NUM_SLOW_DRAWS = 200  # for a user's metric without statistics, which is called for each draw
# From `benchmarks.coverage`. For a mean over classes: the minimum number of rows of each class, of
# rows that raise it, and of rows that lower it. For other scores: of rows that raise or lower it.
MIN_ROWS = 5
MIN_PULLS = 3
MAX_UNDEFINED = 0.1  # share of the draws
UNDEFINED = "the score is undefined without some of the rows"
ROUNDING = 1e-7  # scores that differ by less are equal
DIGITS = 6  # decimals of the bounds: later ones depend on the number of threads


@dataclass(frozen=True)
class Interval:
    """A confidence interval.

    Attributes:
        num_draws: 0 for methods without draws.
        num_undefined: draws for which the score is undefined.
        method: "BCa", "Wilson" (shares of correct rows) or "jackknife" (rank correlations).
    """

    low: float
    high: float
    num_draws: int
    num_undefined: int = 0
    method: str = "BCa"


@dataclass(frozen=True)
class Bootstrap:
    """The intervals of an evaluation.

    Attributes:
        intervals: score -> interval.
        reasons: score -> why it has no interval.
        row_values: score -> its value for each labelled row, if it is a mean over rows.
        seed: the seed of the draws.
    """

    intervals: dict[str, Interval] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    row_values: dict[str, np.ndarray] = field(default_factory=dict)
    seed: int = SEED


class NoInterval(Exception):
    """Raised with the reason why a score has no interval."""


def bootstrap(
    task: Task, evaluated: Evaluated, *, seed: int = SEED, num_draws: int = NUM_DRAWS
) -> Bootstrap:
    """The intervals of an evaluation's scores; rank 0 only, as the others have no predictions.

    Equal evaluations give equal intervals.
    """
    resampled = resample(task, evaluated, seed=seed, num_draws=num_draws)
    result = Bootstrap(seed=seed)
    if resampled is None:
        return result
    for name, statistic in resampled.statistics.items():
        if isinstance(statistic, Mean):
            result.row_values[name] = statistic.values
    for name, score in evaluated.scores.items():
        try:
            result.intervals[name] = interval_of(
                score, resampled.scores.get(name), resampled.statistics.get(name)
            )
        except NoInterval as reason:
            result.reasons[name] = str(reason)
    return result


@dataclass(frozen=True)
class Resamples:
    """Statistics and resampled scores by the name of the score, as far as available."""

    statistics: dict[str, Statistic]
    scores: dict[str, Resampled]


def resample(
    task: Task, evaluated: Evaluated, *, seed: int, num_draws: int, has_all: bool = False
) -> Resamples | None:
    """The scores of an evaluation on resamples of its labelled rows; None if there are none.

    Evaluations of the same rows get the same resamples.

    Args:
        has_all: whether to include statistics whose interval needs no draws.
    """
    labelled = _labelled(evaluated)
    if labelled is None:
        return None
    columns, row_scores = labelled
    statistics, slow = _statistics_of(task, columns, row_scores, evaluated.scores)
    draw_from = resamples.draw if has_all else draw
    resampled = draw_from(statistics, len(columns[0]), seed=seed, num_draws=num_draws)
    for metric, inputs in slow:
        num_slow = min(num_draws, NUM_SLOW_DRAWS)
        keys = _keys_given(metric(*inputs), evaluated.scores)
        called = resamples.draw_slowly(metric, inputs, seed=seed, num_draws=num_slow)
        for name, key in keys.items():
            if key not in statistics:
                resampled.setdefault(key, called[name])
    return Resamples(statistics, resampled)


def row_values(task: Task, evaluated: Evaluated) -> dict[str, np.ndarray]:
    """score -> its value for each labelled row, for scores that are means over rows."""
    labelled = _labelled(evaluated)
    if labelled is None:
        return {}
    statistics, _ = _statistics_of(task, *labelled, evaluated.scores)
    return {name: one.values for name, one in statistics.items() if isinstance(one, Mean)}


def _labelled(evaluated: Evaluated) -> tuple[list[list], list] | None:
    """([golds, predictions], row scores) of the labelled rows; None if there are none."""
    is_labelled = [line["gold"] is not None for line in evaluated.predictions]
    lines = list(itertools.compress(evaluated.predictions, is_labelled))
    row_scores = list(itertools.compress(evaluated.row_scores, is_labelled))
    columns = [[line[side] for line in lines] for side in ("gold", "prediction")]
    return (columns, row_scores) if lines else None


def _statistics_of(
    task: Task, columns: Sequence[Sequence], row_scores: Sequence, scores: Mapping[str, float]
) -> tuple[dict[str, Statistic], list[tuple[Callable, Sequence[Sequence]]]]:
    """score -> its statistic, and (metric, arguments) of the metrics that must be called."""
    statistics: dict[str, Statistic] = {}
    slow = []
    for metric in task.metric_fns:
        inputs = columns
        if "scores" in inspect.signature(metric).parameters:
            if not row_scores:
                continue
            inputs = [*columns, row_scores]
        own = _official_statistics(metric, inputs, scores) if isinstance(metric, Metric) else {}
        statistics = {**{name: one for name, one in own.items() if one is not None}, **statistics}
        if not own or None in own.values():
            slow.append((metric, inputs))
    return statistics, slow


def _official_name(scores: Mapping[str, float], name: str) -> str | None:
    """The name of a metric's value in an evaluation's scores, or None."""
    return next((prefix + name for prefix in SCORE_PREFIXES if prefix + name in scores), None)


def _keys_given(values: Mapping[str, float], scores: Mapping[str, float]) -> dict[str, str]:
    """The metric's value names -> names of the scores that they reproduce; an older file of
    predictions may lack inputs of a score."""
    keys = {name: _official_name(scores, name) for name in values}
    return {
        name: key for name, key in keys.items() if key and _are_equal(values[name], scores[key])
    }


def _are_equal(value: float, score: float) -> bool:
    is_equal = math.isclose(value, score, rel_tol=0, abs_tol=1e-6)
    return is_equal or (math.isnan(value) and math.isnan(score))


def _official_statistics(
    metric: Metric, inputs: Sequence[Sequence], scores: Mapping[str, float]
) -> dict[str, Statistic | None]:
    """score -> its statistic, or None if that does not reproduce the score."""
    statistics: dict[str, Statistic | None] = {}
    for name, statistic in metric.statistics(*inputs).items():
        key = _official_name(scores, name)
        if key is None:
            continue
        value = float(statistic(np.ones((1, len(inputs[0]))))[0])
        statistics[key] = statistic if _are_equal(value, scores[key]) else None
    return statistics


# ------------------------------------------------------------------------------------ intervals


def interval_of(score: float, resampled: Resampled | None, statistic: Statistic | None) -> Interval:
    """The interval of a score.

    Args:
        resampled: None if no draws are needed, or if the rows are not available.
        statistic: None for a metric without statistics.

    Raises:
        NoInterval: the score has no interval.
    """
    if not math.isfinite(score):
        raise NoInterval("the score is undefined")
    if statistic is not None:
        if isinstance(statistic, Mean) and statistic.is_share:
            return _around(score, *_wilson(score / 100, len(statistic.values)), 0, method="Wilson")
        check_classes(statistic.support())
    if resampled is None:
        raise NoInterval("the predictions do not reproduce this score")
    draws, left_out = resampled.draws, resampled.left_out
    defined = draws[np.isfinite(draws)]
    num_undefined = len(draws) - len(defined)
    if num_undefined > MAX_UNDEFINED * len(draws):
        raise NoInterval(f"it is undefined for {num_undefined} of {len(draws)} resamples")
    if not np.isfinite(left_out).all():
        raise NoInterval(UNDEFINED)
    pulls = score - left_out
    is_over_classes = statistic is not None and statistic.support() is not None
    _check_pulls(pulls, MIN_ROWS if is_over_classes else MIN_PULLS)
    if isinstance(statistic, RankCorrelation):
        return _around(score, *_jackknife(score, left_out), 0, method="jackknife")
    ends = np.quantile(defined, _bca_levels(score, defined, pulls))
    return _around(score, *ends.tolist(), len(draws), num_undefined)


def _around(score: float, low: float, high: float, *counts: int, method: str = "BCa") -> Interval:
    """The interval with rounded bounds, extended to include the score."""
    low, high = round(low, DIGITS), round(high, DIGITS)
    return Interval(min(low, score), max(high, score), *counts, method=method)


def _wilson(share: float, num_rows: int) -> tuple[float, float]:
    """Wilson's interval of a share of rows, in percent."""
    z = NormalDist().inv_cdf(0.5 + LEVEL / 200)
    middle = share + z * z / (2 * num_rows)
    half = z * math.sqrt(share * (1 - share) / num_rows + (z / (2 * num_rows)) ** 2)
    scale = 1 + z * z / num_rows
    return 100 * max(0.0, (middle - half) / scale), 100 * min(1.0, (middle + half) / scale)


def check_classes(support: Support | None) -> None:
    """Raises NoInterval if a mean over classes has a class with too few rows: resamples lose it,
    and another sample would have other rare classes."""
    rare = _rare_classes(support)
    if rare:
        count, name = rare[0]
        others = f" and {len(rare) - 1} more" if len(rare) > 1 else ""
        raise NoInterval(
            f"a mean over classes of which {name} ({count} row{'s' * (count != 1)}){others} "
            f"have fewer than {MIN_ROWS} rows"
        )


def _check_pulls(pulls: np.ndarray, needed: int) -> None:
    """Raises NoInterval if a score depends on few rows: hardly any errors, or hardly any hits."""
    counts = {"lower": int((pulls < -ROUNDING).sum()), "raise": int((pulls > ROUNDING).sum())}
    side = min(counts, key=counts.__getitem__)
    fewest = counts[side]
    if fewest < needed:
        verb = side if any(counts.values()) else "raise or lower"
        who = {0: f"no rows {verb}", 1: f"only 1 row {verb}s"}
        found = who.get(fewest, f"only {fewest} rows {verb}")
        raise NoInterval(f"{found} it, at least {needed} are needed")


def _jackknife(score: float, left_out: np.ndarray) -> tuple[float, float]:
    """The interval of a correlation on Fisher's z scale, with the jackknife's standard error;
    bootstrap resamples of ranks are full of ties."""
    places = np.arctanh(left_out / 100)
    size = len(places)
    error = math.sqrt((size - 1) / size * ((places - places.mean()) ** 2).sum())
    half = NormalDist().inv_cdf(0.5 + LEVEL / 200) * error
    middle = math.atanh(score / 100)
    return 100 * math.tanh(middle - half), 100 * math.tanh(middle + half)


def _rare_classes(support: Support | None) -> list[tuple[int, str]]:
    """(rows, name) of the classes with too few rows, rarest first."""
    counts = sorted((count, str(name)) for name, count in (support or {}).items())
    return [(count, name) for count, name in counts if count < MIN_ROWS]


def _bca_levels(score: float, draws: np.ndarray, pulls: np.ndarray) -> list[float]:
    """The quantiles of the draws that bound the BCa interval (Efron 1987).

    Args:
        pulls: the contribution of each fold of the rows to the score.
    """
    normal = NormalDist()
    bias, skew = place_of(score, draws), skew_of(pulls)
    levels = []
    for tail in (0.5 - LEVEL / 200, 0.5 + LEVEL / 200):
        moved = bias + normal.inv_cdf(tail)
        levels.append(normal.cdf(bias + moved / (1 - skew * moved)))
    return levels


def place_of(value: float, draws: np.ndarray) -> float:
    """The rank of a value among the draws, as a quantile of the normal distribution."""
    below = (draws < value - ROUNDING).sum() + (np.abs(draws - value) <= ROUNDING).sum() / 2
    share = np.clip(below / len(draws), 1 / len(draws), 1 - 1 / len(draws))
    return NormalDist().inv_cdf(float(share))


def skew_of(pulls: np.ndarray) -> float:
    """The acceleration, from the contribution of each fold of the rows to the score."""
    around = pulls - pulls.mean()
    return float((around**3).sum() / (6 * (around**2).sum() ** 1.5))


# ------------------------------------------------------------------------------------- drawing


def draw(
    statistics: Mapping[str, Statistic], num_rows: int, *, seed: int, num_draws: int
) -> dict[str, Resampled]:
    """The statistics on common draws, except those that need none."""
    needed = {name: one for name, one in statistics.items() if _needs_draws(one)}
    return resamples.draw(needed, num_rows, seed=seed, num_draws=num_draws)


def _needs_draws(statistic: Statistic) -> bool:
    """Whether the statistic can have an interval that is based on draws."""
    if isinstance(statistic, Mean) and statistic.is_share:
        return False
    return not _rare_classes(statistic.support())
