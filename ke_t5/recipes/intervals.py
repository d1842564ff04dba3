"""How far the scores would move on another sample of rows: bootstrap intervals.

Rows are drawn with replacement, as many as there are, and the task's own metrics score each draw.
Where there is a shortcut for a metric, many draws are scored at once; it is believed only where it
gives the official number for the rows themselves.
"""

from __future__ import annotations

import inspect
import itertools
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ke_t5.pipe import Evaluated, Task
from ke_t5.pipe.evaluation import SCORE_PREFIXES
from ke_t5.recipes.shortcuts import SHORTCUTS, Mean, Shortcut

LEVEL = 95  # percent of the draws that an interval holds
NUM_DRAWS = 1000
FEWEST_DRAWS = 200  # of a slow metric, unless these take longer than `PATIENCE` times the budget
PATIENCE = 3
FEWEST_FOR_AN_INTERVAL = 100  # below, a percentile of 2.5 is hardly more than the least draw
SECONDS = 8.0
CHUNK = 20  # draws per matrix product


@dataclass(frozen=True)
class Interval:
    """Where `LEVEL` % of the draws lie; `num_undefined` of `num_draws` had no number."""

    low: float
    high: float
    num_draws: int
    num_undefined: int = 0


@dataclass(frozen=True)
class Bootstrap:
    """What the draws gave.

    Attributes:
        intervals: score -> interval; a score whose draws are too few has none.
        row_values: score -> its value on each labelled row alone, for means over rows.
    """

    intervals: dict[str, Interval] = field(default_factory=dict)
    row_values: dict[str, np.ndarray] = field(default_factory=dict)


def bootstrap(
    task: Task,
    evaluated: Evaluated,
    *,
    seed: int = 0,
    num_draws: int = NUM_DRAWS,
    seconds: float = SECONDS,
) -> Bootstrap:
    """Intervals of an evaluation's scores (rank 0's, which holds the predictions).

    A metric that needs scores of the rows gets none where the evaluation does not hold them.

    Args:
        seconds: what the metrics without a shortcut may take together (and each shortcut, half
            of it); draws end then, but there are no fewer than `FEWEST_DRAWS` while these are to
            be had in `PATIENCE` times as long.
    """
    is_labelled = [line["gold"] is not None for line in evaluated.predictions]
    lines = list(itertools.compress(evaluated.predictions, is_labelled))
    row_scores = list(itertools.compress(evaluated.row_scores, is_labelled))
    found = Bootstrap()
    if len(lines) < 2:
        return found
    columns = [[line["gold"] for line in lines], [line["prediction"] for line in lines]]
    slow = []
    for metric in task.metric_fns:
        if _wants_scores(metric) and not row_scores:
            continue
        inputs = [*columns, row_scores] if _wants_scores(metric) else columns
        shortcuts = SHORTCUTS[metric](metric, *inputs) if metric in SHORTCUTS else {}
        believed = {
            name: shortcut
            for name, shortcut in shortcuts.items()
            if _is_official(shortcut, name, len(lines), evaluated.scores)
        }
        for name, shortcut in believed.items():
            if isinstance(shortcut, Mean):
                found.row_values[name] = shortcut.values
            draws = _by_shortcut(
                shortcut, len(lines), seed=seed, num_draws=num_draws, seconds=seconds / 2
            )
            _keep(found, evaluated.scores, {name: draws})
        if not shortcuts or len(believed) < len(shortcuts):
            slow.append((metric, inputs))
    for metric, inputs in slow:
        draws = _by_metric(
            metric, inputs, seed=seed, num_draws=num_draws, seconds=seconds / len(slow)
        )
        _keep(found, evaluated.scores, draws)
    return found


def _wants_scores(metric: Callable) -> bool:
    return "scores" in inspect.signature(metric).parameters


def _official(scores: Mapping[str, float], name: str) -> str | None:
    """The name under which an evaluation lists a metric's value."""
    return next((prefix + name for prefix in SCORE_PREFIXES if prefix + name in scores), None)


def _keep(found: Bootstrap, scores: Mapping[str, float], draws: Mapping[str, np.ndarray]) -> None:
    """Adds the intervals of scores that have none yet."""
    for name, values in draws.items():
        key = _official(scores, name)
        if key is None or key in found.intervals:
            continue
        defined = values[np.isfinite(values)]
        if len(defined) >= FEWEST_FOR_AN_INTERVAL:
            tail = (100 - LEVEL) / 2
            low, high = np.percentile(defined, [tail, 100 - tail])
            undefined = len(values) - len(defined)
            found.intervals[key] = Interval(float(low), float(high), len(values), undefined)


def _is_official(shortcut: Shortcut, name: str, num_rows: int, scores: Mapping[str, float]) -> bool:
    """Whether a shortcut gives, for each row once, what the metric gave."""
    key = _official(scores, name)
    value = float(shortcut(np.ones((1, num_rows)))[0])
    return key is not None and math.isclose(value, scores[key], rel_tol=0, abs_tol=1e-6)


# ------------------------------------------------------------------------------------- drawing


def _samples(num_rows: int, *, seed: int, num_draws: int) -> Iterator[np.ndarray]:
    generator = np.random.default_rng(seed)
    for _ in range(num_draws):
        yield generator.integers(num_rows, size=num_rows)


def _by_shortcut(
    shortcut: Shortcut, num_rows: int, *, seed: int, num_draws: int, seconds: float
) -> np.ndarray:
    """A score on each draw; fewer draws where time runs out."""
    clock = _Clock(seconds)
    counts = (
        np.bincount(sample, minlength=num_rows)
        for sample in _samples(num_rows, seed=seed, num_draws=num_draws)
    )
    drawn = []
    while chunk := list(itertools.islice(counts, CHUNK)):
        if drawn and clock.is_over(CHUNK * len(drawn)):
            break
        drawn.append(shortcut(np.asarray(chunk, dtype=np.float64)))
    return np.concatenate(drawn)


class _Clock:
    """Says when enough time was spent on the draws of one metric."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self.began = seconds, time.monotonic()

    def is_over(self, num_draws: int) -> bool:
        spent = time.monotonic() - self.began
        return spent > (self.seconds if num_draws >= FEWEST_DRAWS else PATIENCE * self.seconds)


def _by_metric(
    metric: Callable, columns: Sequence[Sequence], *, seed: int, num_draws: int, seconds: float
) -> dict[str, np.ndarray]:
    """Score -> its value on each draw, by calling the metric; fewer draws where time runs out."""
    drawn: dict[str, list[float]] = {}
    clock = _Clock(seconds)
    for number, sample in enumerate(_samples(len(columns[0]), seed=seed, num_draws=num_draws)):
        if number and clock.is_over(number):
            break
        places = sample.tolist()
        values = metric(*([column[i] for i in places] for column in columns))
        for name, value in values.items():
            drawn.setdefault(name, []).append(float(value))
    return {name: np.array(values) for name, values in drawn.items()}
