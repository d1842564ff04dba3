"""The order of an epoch that is too large to be stored: each window of batches is drawn on demand,
and a process holds only one.

A permutation that is computed element by element (a Feistel network over the smallest power of two
that covers the rows; results outside the range are permuted again) replaces the shuffled array.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

ROUNDS = 8
# splitmix64, whose output bits each depend on all input bits.
_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_MIX = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))


def permuted(places: np.ndarray, size: int, key: Sequence[int]) -> np.ndarray:
    """The images of these places under a permutation of `range(size)` that `key` determines."""
    num_bits = max(2, int(size - 1).bit_length())
    low_bits = num_bits // 2
    rounds = np.random.SeedSequence(list(key)).generate_state(ROUNDS, np.uint64)
    values = np.asarray(places, dtype=np.uint64)
    outside = np.ones(len(values), dtype=bool)
    result = values.copy()
    while outside.any():
        result[outside] = _network(result[outside], low_bits, num_bits - low_bits, rounds)
        outside = result >= np.uint64(size)
    return result.astype(np.int64)


def _network(values: np.ndarray, low: int, high: int, rounds: np.ndarray) -> np.ndarray:
    """A permutation of the numbers of `low` + `high` bits: each half in turn is combined with a
    hash of the other by an exclusive or, which is invertible."""
    shift = np.uint64(low)
    low_mask, high_mask = np.uint64((1 << low) - 1), np.uint64((1 << high) - 1)
    left, right = values >> shift, values & low_mask
    for number, key in enumerate(rounds):
        if number % 2:
            left = left ^ (_mixed(right, key) & high_mask)
        else:
            right = right ^ (_mixed(left, key) & low_mask)
    return (left << shift) | right


def _mixed(values: np.ndarray, key: np.uint64) -> np.ndarray:
    values = (values + key) * _GAMMA
    values = (values ^ (values >> np.uint64(30))) * _MIX[0]
    values = (values ^ (values >> np.uint64(27))) * _MIX[1]
    return values ^ (values >> np.uint64(31))


@dataclass(frozen=True)
class Part:
    """Consecutive batches of one size.

    Attributes:
        size: rows per batch.
        count: number of batches.
        first: index of the first batch in the epoch.
        head: positions left over by the part before, which come first.
        start: place in the permutation from which the other positions are drawn.
    """

    size: int
    count: int
    first: int
    head: np.ndarray
    start: int


class LazyEpoch(Sequence[np.ndarray]):
    """The batches of an epoch, in order.

    Args:
        seed: numbers that determine the order.
        num_rows: rows of the epoch.
        window: number of batches that are sorted by length together.
        parts: (batch size, number of batches) of each part; see `BatchPlan.earlier`.
        positions: maps places in the unshuffled epoch to positions.
        by_length: returns the indices that sort positions by length.
    """

    def __init__(
        self,
        seed: Sequence[int],
        num_rows: int,
        window: int,
        parts: Sequence[tuple[int, int]],
        *,
        positions: Callable[[np.ndarray], np.ndarray],
        by_length: Callable[[np.ndarray], np.ndarray],
    ) -> None:
        self._seed, self._num_rows, self._window = list(seed), num_rows, window
        self._positions, self._by_length = positions, by_length
        self._made: tuple[tuple[int, int], list[np.ndarray]] | None = None
        self._parts: list[Part] = []
        head, start, first = np.zeros(0, dtype=np.int64), 0, 0
        for size, count in parts:
            self._parts.append(Part(size, count, first, head, start))
            head, start = self._left(len(self._parts) - 1)
            first += count

    def __len__(self) -> int:
        return sum(part.count for part in self._parts)

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[number] for number in range(len(self)))

    def __getitem__(self, number):  # type: ignore[override]  # slices are not supported
        if not 0 <= number < len(self):
            raise IndexError(number)
        index = max(i for i, part in enumerate(self._parts) if part.first <= number and part.count)
        window, place = divmod(number - self._parts[index].first, self._window)
        if self._made is None or self._made[0] != (index, window):
            self._made = ((index, window), self._batches(index, window))
        return self._made[1][place]

    def _pool(self, part: Part, window: int) -> np.ndarray:
        """The positions of a window in the order in which they are drawn."""
        begin = window * part.size * self._window
        end = begin + part.size * self._window
        num_head = len(part.head)
        places = np.arange(
            part.start + max(0, begin - num_head),
            min(part.start + max(0, end - num_head), self._num_rows),
        )
        drawn = self._positions(permuted(places, self._num_rows, self._seed))
        return np.concatenate([part.head[begin:end], drawn])

    def _batches(self, index: int, window: int) -> list[np.ndarray]:
        """The batches of a window; their order and their rows are shuffled."""
        part = self._parts[index]
        pool = self._pool(part, window)
        pool = pool[self._by_length(pool)]
        cut = [pool[i : i + part.size] for i in range(0, len(pool), part.size)]
        generator = np.random.default_rng([*self._seed, window, index + 1])
        return [generator.permutation(cut[i]) for i in generator.permutation(len(cut))]

    def _left(self, index: int) -> tuple[np.ndarray, int]:
        """The `head` and `start` of the part that follows this one."""
        part = self._parts[index]
        window, num_used = divmod(part.count, self._window)
        head = np.zeros(0, dtype=np.int64)
        if num_used:
            pool, made = self._pool(part, window), self._batches(index, window)[:num_used]
            head = without(pool, made)
            window += 1
        taken = window * part.size * self._window
        rest = part.head[taken:]
        return np.concatenate([head, rest]), part.start + max(0, taken - len(part.head))


def without(order: np.ndarray, batches: list[np.ndarray]) -> np.ndarray:
    """The positions of an order that are in none of the batches; duplicates, as in mixtures, are
    removed as many times as they occur in the batches."""
    seen = Counter(np.concatenate(batches).tolist())
    keep = np.ones(len(order), dtype=bool)
    for i, position in enumerate(order.tolist()):
        if seen[position] > 0:
            seen[position] -= 1
            keep[i] = False
    return order[keep]
