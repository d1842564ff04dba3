"""Metrics as functions of how often each row was drawn, so that many draws are scored at once.

Each shortcut restates a metric of `ke_t5.task.metrics`, which stays the judge: `intervals` asks
whether a shortcut gives the metric's own number before it believes it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ke_t5.task import metrics
from ke_t5.task.labels import KLUE_DP, KLUE_DP_FIRST_RARE, KLUE_NER, KLUE_RE
from ke_t5.task.spans import entity_spans
from ke_t5.task.tag_metrics import RARE, WRONG_HEAD

Pairs = Iterable[tuple[Hashable, Hashable]]


# [D, N], how often each of N rows is in each of D draws -> [D] scores x 100
Shortcut = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Mean:
    """The mean of a score of each row alone."""

    values: np.ndarray

    def __call__(self, draws: np.ndarray) -> np.ndarray:
        return draws @ self.values / draws.sum(1)


@dataclass(frozen=True)
class Sums:
    """A score that sums over rows decide: `score` is of [D, K] sums of `rows` [N, K]."""

    rows: np.ndarray
    score: Callable[[np.ndarray], np.ndarray]

    def __call__(self, draws: np.ndarray) -> np.ndarray:
        return self.score(draws @ self.rows)


def _mean_over_rows(metric: Callable, targets: Sequence, predictions: Sequence) -> dict[str, Mean]:
    """Means of what the metric says of each row alone."""
    rows = [metric([gold], [said]) for gold, said in zip(targets, predictions, strict=True)]
    return {name: Mean(np.array([row[name] for row in rows])) for name in rows[0]}


# ------------------------------------------------------------------------------ counts of classes


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


def _macro(sums: np.ndarray) -> np.ndarray:
    f1 = _class_f1(sums, absent=math.nan)
    seen = np.isfinite(f1)
    total = np.where(seen, f1, 0).sum(1)
    return np.where(seen.any(1), 100 * total / np.maximum(seen.sum(1), 1), math.nan)


def _micro(sums: np.ndarray) -> np.ndarray:
    hits, gold, predicted = sums.reshape(len(sums), 3, -1).sum(2).T
    asked = gold + predicted
    return np.where(asked > 0, 200 * hits / np.maximum(asked, 1), math.nan)


def _macro_with_absent(sums: np.ndarray) -> np.ndarray:
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


def _share(sums: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        return 100 * sums[:, 0] / sums[:, 1]


# ------------------------------------------------------------------------------ order of scores


@dataclass(frozen=True)
class Areas:
    """The mean area under the precision-recall curves of C classes.

    Attributes:
        order: [C, N] rows by falling probability; is_class: whether these are of the class.
        ends: [C, N] the last position with the same probability (only there is a threshold); None
            where all probabilities differ.
    """

    order: np.ndarray
    is_class: np.ndarray
    ends: np.ndarray | None

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
        doubled = (widths[:, 1:] * (precision[:, 1:] + precision[:, :-1])).sum(1)
        doubled += widths[:, 0] * (precision[:, 0] + 1)
        total = hits[:, -1]
        areas = np.where(total > 0, doubled / 2 / np.maximum(total, 1), 0.5)
        return 100 * float(areas.mean())


def _precision_recall_areas(
    metric: Callable, targets: Sequence, predictions: Sequence, scores: Any
) -> dict[str, Areas]:
    probabilities = np.asarray(scores, dtype=np.float64).T
    gold = np.array([KLUE_RE.id_of(t) if isinstance(t, str) else int(t) for t in targets])
    order = np.argsort(-probabilities, axis=1, kind="stable")
    ordered = np.take_along_axis(probabilities, order, 1)
    is_end = np.ones(order.shape, dtype=bool)
    is_end[:, :-1] = ordered[:, :-1] != ordered[:, 1:]
    ends = np.where(is_end, np.arange(len(gold)), len(gold))
    ends = np.minimum.accumulate(ends[:, ::-1], axis=1)[:, ::-1]
    is_class = gold[order] == np.arange(len(order))[:, None]
    return {"auprc": Areas(order, is_class, None if is_end.all() else ends)}


SHORTCUTS: Mapping[Callable, Callable[..., Mapping[str, Shortcut]]] = {
    **dict.fromkeys(
        (metrics.accuracy, metrics.klue_mrc, metrics.korquad, metrics.rouge,
         metrics.dialogue_state),
        _mean_over_rows,
    ),
    metrics.macro_f1: _label_counts,
    metrics.entity_f1: _entity_counts,
    metrics.entity_f1_micro: _entity_counts,
    metrics.character_f1: _tag_counts,
    metrics.klue_dp: _tree_counts,
    metrics.auprc: _precision_recall_areas,
}  # fmt: skip
