"""How often each class is hit, is gold and is predicted in each row, and the F1 scores of that."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from functools import partial

import numpy as np

from ke_t5.report.statistics import Sums
from ke_t5.task.spans import entity_spans

Pairs = Iterable[tuple[Hashable, Hashable]]


def counts_of(rows: Sequence[Pairs], classes: Sequence[Hashable] | None = None) -> np.ndarray:
    """[N, 3 C]: how often each class is hit, is gold and is predicted in each row's (gold,
    predicted) pairs; the classes are all that occur, None (nothing on that side) aside."""
    names = classes_of(rows) if classes is None else [name for name in classes if name is not None]
    ids = {name: i for i, name in enumerate(names)}
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
    """All classes on either side of the pairs but None, as they come."""
    seen = dict.fromkeys(name for row in rows for pair in row for name in pair)
    return [name for name in seen if name is not None]


def _class_f1(sums: np.ndarray, *, absent: float) -> np.ndarray:
    """[D, C] F1 of each class, `absent` where it is neither gold nor predicted."""
    hits, gold, predicted = np.moveaxis(sums.reshape(len(sums), 3, -1), 1, 0)
    asked = gold + predicted
    return np.where(asked > 0, 2 * hits / np.maximum(asked, 1), absent)


def macro(sums: np.ndarray) -> np.ndarray:
    """[D] mean F1 x 100 of the classes that occur, NaN where none does."""
    f1 = _class_f1(sums, absent=math.nan)
    seen = np.isfinite(f1)
    total = np.where(seen, f1, 0).sum(1)
    return np.where(seen.any(1), 100 * total / np.maximum(seen.sum(1), 1), math.nan)


def micro(sums: np.ndarray, *, absent: float = math.nan) -> np.ndarray:
    """[D] F1 x 100 of all classes together, `absent` where none occurs."""
    hits, gold, predicted = sums.reshape(len(sums), 3, -1).sum(2).T
    asked = gold + predicted
    return np.where(asked > 0, 200 * hits / np.maximum(asked, 1), absent)


micro_or_zero = partial(micro, absent=0.0)


def macro_with_absent(sums: np.ndarray) -> np.ndarray:
    """[D] mean F1 x 100 of all classes; one that does not occur counts as 100."""
    return 100 * _class_f1(sums, absent=1.0).mean(1)


def macro_of(rows: Sequence[Pairs]) -> Sums:
    """The mean F1 of all classes that occur."""
    return Sums(counts_of(rows), macro, classes_of(rows))


def entity_pairs(gold: Sequence[str], predicted: Sequence[str] | None) -> list[tuple]:
    """(gold type, predicted type) of each entity on either side, None where it is on one only."""
    wanted = {(start, end, kind) for start, end, kind in entity_spans(gold)}
    found = {(start, end, kind) for start, end, kind in entity_spans(predicted or ())}
    return [
        (entity[2] if entity in wanted else None, entity[2] if entity in found else None)
        for entity in sorted(wanted | found)
    ]
