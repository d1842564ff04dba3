"""How far the scores would move on another sample of rows: bootstrap intervals.

Rows are drawn with replacement, as many as there are, and the task's own metrics score each draw.
Metrics that a sum over rows decides are scored for all draws at once; such a shortcut is taken only
where it gives the official number for the rows themselves.
"""

from __future__ import annotations

import inspect
import math
import time
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ke_t5.pipe import Evaluated, Task
from ke_t5.task import metrics
from ke_t5.task.labels import KLUE_DP, KLUE_DP_FIRST_RARE, KLUE_NER
from ke_t5.task.spans import entity_spans
from ke_t5.task.tag_metrics import RARE, WRONG_HEAD

LEVEL = 95  # percent of the draws that an interval holds
NUM_DRAWS = 1000
FEWEST_DRAWS = 200  # of a slow metric, unless these take longer than `PATIENCE` times the budget
PATIENCE = 3
FEWEST_FOR_AN_INTERVAL = 100  # below, a percentile of 2.5 is hardly more than the least draw
SECONDS = 8.0
CHUNK = 20  # draws per matrix product
PREFIXES = ("", "teacher_forced_")


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


@dataclass(frozen=True)
class Sums:
    """A score that sums over rows decide: `score` takes [draws, K] sums of `rows` [N, K] and N."""

    rows: np.ndarray
    score: Callable[[np.ndarray, int], np.ndarray]


def bootstrap(
    task: Task,
    evaluated: Evaluated,
    *,
    seed: int = 0,
    num_draws: int = NUM_DRAWS,
    seconds: float = SECONDS,
) -> Bootstrap:
    """Intervals of an evaluation's scores (rank 0's, which holds the predictions).

    Args:
        seconds: what the metrics without a shortcut may take together; they stop early then, but
            with no fewer than `FEWEST_DRAWS` draws while these are to be had in reasonable time.
    """
    lines = [line for line in evaluated.predictions if line["gold"] is not None]
    found = Bootstrap()
    if len(lines) < 2:
        return found
    columns = [[line["gold"] for line in lines], [line["prediction"] for line in lines]]
    slow = []
    for metric in task.metric_fns:
        sums = SHORTCUTS[metric](metric, *columns) if metric in SHORTCUTS else {}
        for name, value in sums.items():
            if value.rows.shape[1] == 1:
                found.row_values[name] = value.rows[:, 0]
            draws = _all_at_once(value, seed=seed, num_draws=num_draws)
            _keep(found, evaluated.scores, {name: draws}, check=_on_the_rows(value))
        if not _is_done(metric, sums, found, evaluated.scores):
            slow.append(metric)
    for metric in slow:
        inputs = [*columns, evaluated.row_scores] if _wants_scores(metric) else columns
        draws = _one_by_one(
            metric, inputs, seed=seed, num_draws=num_draws, seconds=seconds / len(slow)
        )
        _keep(found, evaluated.scores, draws)
    return found


def _wants_scores(metric: Callable) -> bool:
    return "scores" in inspect.signature(metric).parameters


def _official(scores: Mapping[str, float], name: str) -> str | None:
    """The name under which an evaluation lists a metric's value."""
    return next((prefix + name for prefix in PREFIXES if prefix + name in scores), None)


def _keep(
    found: Bootstrap,
    scores: Mapping[str, float],
    draws: Mapping[str, np.ndarray],
    *,
    check: float | None = None,
) -> None:
    """Adds the intervals of scores that have none yet; `check` must be the official number."""
    for name, values in draws.items():
        key = _official(scores, name)
        if key is None or key in found.intervals:
            continue
        if check is not None and not math.isclose(check, scores[key], rel_tol=0, abs_tol=1e-6):
            found.row_values.pop(name, None)
            continue
        defined = values[np.isfinite(values)]
        if len(defined) >= FEWEST_FOR_AN_INTERVAL:
            tail = (100 - LEVEL) / 2
            low, high = np.percentile(defined, [tail, 100 - tail])
            undefined = len(values) - len(defined)
            found.intervals[key] = Interval(float(low), float(high), len(values), undefined)


def _is_done(
    metric: Callable, sums: Mapping[str, Sums], found: Bootstrap, scores: Mapping[str, float]
) -> bool:
    """Whether shortcuts served all of a metric's names."""
    return bool(sums) and all(
        _official(scores, name) in found.intervals or _official(scores, name) is None
        for name in sums
    )


# ------------------------------------------------------------------------------------- drawing


def _samples(num_rows: int, *, seed: int, num_draws: int) -> Iterator[np.ndarray]:
    generator = np.random.default_rng(seed)
    for _ in range(num_draws):
        yield generator.integers(num_rows, size=num_rows)


def _all_at_once(sums: Sums, *, seed: int, num_draws: int) -> np.ndarray:
    num_rows = len(sums.rows)
    counts = (
        np.bincount(sample, minlength=num_rows)
        for sample in _samples(num_rows, seed=seed, num_draws=num_draws)
    )
    drawn = []
    while chunk := [row for row, _ in zip(counts, range(CHUNK), strict=False)]:
        drawn.append(sums.score(np.asarray(chunk, dtype=np.float64) @ sums.rows, num_rows))
    return np.concatenate(drawn)


def _on_the_rows(sums: Sums) -> float:
    return float(sums.score(sums.rows.sum(0, keepdims=True), len(sums.rows))[0])


def _one_by_one(
    metric: Callable, columns: Sequence[Sequence], *, seed: int, num_draws: int, seconds: float
) -> dict[str, np.ndarray]:
    """Score -> its value on each draw, by calling the metric; fewer draws where time runs out."""
    drawn: dict[str, list[float]] = {}
    began = time.monotonic()
    for number, sample in enumerate(_samples(len(columns[0]), seed=seed, num_draws=num_draws)):
        spent = time.monotonic() - began
        if spent > seconds and (number >= FEWEST_DRAWS or spent > PATIENCE * seconds):
            break
        places = sample.tolist()
        values = metric(*([column[i] for i in places] for column in columns))
        for name, value in values.items():
            drawn.setdefault(name, []).append(float(value))
    return {name: np.array(values) for name, values in drawn.items()}


# ----------------------------------------------------------------------------------- shortcuts


def mean_over_rows(metric: Callable, targets: Sequence, predictions: Sequence) -> dict[str, Sums]:
    """Sums of what the metric says of each row alone."""
    rows = [metric([gold], [said]) for gold, said in zip(targets, predictions, strict=True)]
    return {
        name: Sums(np.array([[row[name]] for row in rows]), lambda sums, count: sums[:, 0] / count)
        for name in rows[0]
    }


Pairs = Iterable[tuple[Hashable, Hashable]]


def counts_of(rows: Sequence[Pairs], classes: Sequence[Hashable] | None = None) -> np.ndarray:
    """[N, 3 C]: how often each class is hit, is gold and is predicted in each row's (gold,
    predicted) pairs; the classes are all that occur, None (nothing on that side) aside."""
    if classes is None:
        classes = list(dict.fromkeys(c for row in rows for pair in row for c in pair))
    ids = {name: i for i, name in enumerate(name for name in classes if name is not None)}
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


def _class_f1(sums: np.ndarray, *, absent: float) -> np.ndarray:
    """[D, C] F1 of each class, `absent` where it is neither gold nor predicted."""
    hits, gold, predicted = np.moveaxis(sums.reshape(len(sums), 3, -1), 1, 0)
    asked = gold + predicted
    return np.where(asked > 0, 2 * hits / np.maximum(asked, 1), absent)


def _macro(sums: np.ndarray, num_rows: int) -> np.ndarray:
    f1 = _class_f1(sums, absent=math.nan)
    seen = np.isfinite(f1)
    total = np.where(seen, f1, 0).sum(1)
    return np.where(seen.any(1), 100 * total / np.maximum(seen.sum(1), 1), math.nan)


def _micro(sums: np.ndarray, num_rows: int) -> np.ndarray:
    hits, gold, predicted = sums.reshape(len(sums), 3, -1).sum(2).T
    asked = gold + predicted
    return np.where(asked > 0, 200 * hits / np.maximum(asked, 1), math.nan)


def _macro_with_absent(sums: np.ndarray, num_rows: int) -> np.ndarray:
    return 100 * _class_f1(sums, absent=1.0).mean(1)


def _label_counts(metric: Callable, targets: Sequence, predictions: Sequence) -> dict[str, Sums]:
    pairs = [[pair] for pair in zip(targets, predictions, strict=True)]
    return {"macro_f1": Sums(counts_of(pairs), _macro)}


def entity_pairs(gold: Sequence[str], predicted: Sequence[str] | None) -> list[tuple]:
    """(gold type, predicted type) of each entity on either side, None where it is on one only."""
    wanted = {(start, end, kind) for start, end, kind in entity_spans(gold)}
    found = {(start, end, kind) for start, end, kind in entity_spans(predicted or ())}
    return [
        (entity[2] if entity in wanted else None, entity[2] if entity in found else None)
        for entity in sorted(wanted | found)
    ]


def _entity_counts(metric: Callable, targets: Sequence, predictions: Sequence) -> dict[str, Sums]:
    rows = [entity_pairs(*pair) for pair in zip(targets, predictions, strict=True)]
    if metric is metrics.entity_f1:
        return {"entity_f1": Sums(counts_of(rows), _macro)}
    return {"entity_f1_micro": Sums(counts_of(rows), _micro)}


def _tag_counts(metric: Callable, targets: Sequence, predictions: Sequence) -> dict[str, Sums]:
    rows = [
        [("O", "O"), *zip(gold, said or ["O"] * len(gold), strict=True), ("O", "O")]
        for gold, said in zip(targets, predictions, strict=True)
    ]
    inside = [name for name in KLUE_NER.names if name != "O"]
    return {
        "character_f1": Sums(counts_of(rows, KLUE_NER.names), _macro_with_absent),
        "character_f1_without_o": Sums(counts_of(rows, inside), _macro_with_absent),
    }


def _tree_counts(metric: Callable, targets: Sequence, predictions: Sequence) -> dict[str, Sums]:
    common = set(KLUE_DP.names[:KLUE_DP_FIRST_RARE])
    heads, relations, shares = [], [], []
    for gold, said in zip(targets, predictions, strict=True):
        nothing = [None] * len(gold["heads"])
        said = said or {"heads": nothing, "relations": nothing}
        pairs = list(zip(gold["heads"], said["heads"], strict=True))
        names = list(zip(gold["relations"], said["relations"], strict=True))
        right = [g == p for g, p in pairs]
        merged = [[n if n is None or n in common else RARE for n in pair] for pair in names]
        heads.append(pairs)
        relations.append(
            [(g, p if ok else WRONG_HEAD) for (g, p), ok in zip(merged, right, strict=True)]
        )
        both = sum(ok and g == p for ok, (g, p) in zip(right, names, strict=True))
        shares.append([sum(right), both, len(right)])
    counts = np.array(shares, dtype=np.float64)
    return {
        "uas": Sums(counts_of(heads), _macro),
        "las": Sums(counts_of(relations), _macro),
        "uas_accuracy": Sums(counts[:, [0, 2]], _share),
        "las_accuracy": Sums(counts[:, [1, 2]], _share),
    }


def _share(sums: np.ndarray, num_rows: int) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        return 100 * sums[:, 0] / sums[:, 1]


SHORTCUTS: Mapping[Callable, Callable[[Callable, Any, Any], dict[str, Sums]]] = {
    **dict.fromkeys(
        (metrics.accuracy, metrics.klue_mrc, metrics.korquad, metrics.rouge,
         metrics.dialogue_state),
        mean_over_rows,
    ),
    metrics.macro_f1: _label_counts,
    metrics.entity_f1: _entity_counts,
    metrics.entity_f1_micro: _entity_counts,
    metrics.character_f1: _tag_counts,
    metrics.klue_dp: _tree_counts,
}  # fmt: skip
