"""Scores of bootstrap resamples, and jackknife scores."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ke_t5.task.metrics.statistics import RankCorrelation, Statistic

MAX_FOLDS = 500  # jackknife folds, for the acceleration
MAX_FOLDS_SLOW = 50
CHUNK = 20  # draws per matrix product


@dataclass(frozen=True)
class Resampled:
    """A score on bootstrap draws, and on all rows but one fold for each of some equal folds."""

    draws: np.ndarray
    left_out: np.ndarray


def draw(
    statistics: Mapping[str, Statistic], num_rows: int, *, seed: int, num_draws: int
) -> dict[str, Resampled]:
    """The statistics on common draws and folds; a rank correlation gets no draws."""
    draws: dict[str, list[np.ndarray]] = {name: [] for name in statistics}
    left_out: dict[str, list[np.ndarray]] = {name: [] for name in statistics}
    drawn_rows = samples(num_rows, seed=seed, num_draws=num_draws)
    counts = (np.bincount(sample, minlength=num_rows) for sample in drawn_rows)
    for scores, rows in ((draws, counts), (left_out, _folds_left_out(num_rows, MAX_FOLDS))):
        while statistics and (chunk := list(itertools.islice(rows, CHUNK))):
            weights = np.asarray(chunk, dtype=np.float64)
            for name, statistic in statistics.items():
                if scores is left_out or not isinstance(statistic, RankCorrelation):
                    scores[name].append(statistic(weights))
    return {
        name: Resampled(np.concatenate(parts or [np.zeros(0)]), np.concatenate(left_out[name]))
        for name, parts in draws.items()
    }


def samples(num_rows: int, *, seed: int, num_draws: int) -> Iterator[np.ndarray]:
    """Yields the row numbers of each draw: all rows, resampled with replacement."""
    generator = np.random.default_rng(seed)
    for _ in range(num_draws):
        yield generator.integers(num_rows, size=num_rows)


def _folds_left_out(num_rows: int, max_folds: int) -> Iterator[np.ndarray]:
    """Yields, for each of at most `max_folds` folds, weights [N]: 0 for its rows, otherwise 1."""
    folds = np.arange(num_rows) % min(num_rows, max_folds)
    for fold in range(min(num_rows, max_folds)):
        yield (folds != fold).astype(np.float64)


def draw_slowly(
    metric: Callable, columns: Sequence[Sequence], *, seed: int, num_draws: int
) -> dict[str, Resampled]:
    """Like `draw`, but calls a metric for each draw and fold."""
    num_rows = len(columns[0])

    def scored(row_samples: Iterator[np.ndarray]) -> dict[str, np.ndarray]:
        scores: dict[str, list[float]] = {}
        for sample in row_samples:
            values = metric(*([column[i] for i in sample.tolist()] for column in columns))
            for name, value in values.items():
                scores.setdefault(name, []).append(float(value))
        return {name: np.array(values) for name, values in scores.items()}

    draws = scored(samples(num_rows, seed=seed, num_draws=num_draws))
    folds = _folds_left_out(num_rows, MAX_FOLDS_SLOW)
    left_out = scored(np.flatnonzero(fold) for fold in folds)
    return {name: Resampled(values, left_out[name]) for name, values in draws.items()}
