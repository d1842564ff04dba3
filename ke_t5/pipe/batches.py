"""Batches: which examples make up which step.

The order is a pure function of (seed, epoch): a permutation (in a mixture, of the examples that
each member contributes to the epoch) is cut into global batches. It depends neither on workers nor
on ranks, so a resumed run needs one integer, and any number of processes sees the same global
batches. `micro_batches` deals their rows to the ranks. Above `LAZY_ABOVE` rows the permutation is
computed on demand rather than stored (`lazy_order`).
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from ke_t5.config.configurable import configurable
from ke_t5.config.ranges import Count, check_values
from ke_t5.pipe.columns import RowNumbers
from ke_t5.pipe.lazy_order import LazyEpoch, permuted, without

# Rows are sorted by length inside windows of this many batches, and the batches are shuffled. If
# labels correlate with length, batches of one length contain few labels: windows of 50 cost
# accuracy, windows of 8 do not (benchmarks/RESULTS_WINDOWS.md). 1 is random order.
WINDOW_BATCHES = 8

# Above this many rows an epoch's order is drawn window by window: stored, it takes 20 bytes a row.
# Changing the number changes the order of resumed runs.
LAZY_ABOVE = 1 << 22

# Without padding, a batch may have up to this many times its token budget after padding: the last
# layer's states are padded for the head.
MOST_PADDED = 16

# Batches whose padding is counted for the report.
COUNTED_BATCHES = 1000

# Target lengths are sorted in buckets of this many tokens, so that input lengths are similar too.
TARGET_BUCKET = 4


@dataclass(frozen=True)
class BatchPlan:
    """The global batches of any epoch.

    Attributes:
        input_lengths: [N] tokens.
        target_lengths: [N] tokens that the decoder sees; zeros without a decoder.
        batch_size: rows of a global batch (per process x processes x accumulation).
        batch_tokens: token budget of a global batch, which replaces `batch_size`, or None.
        seed: the run's seed.
        examples_per_epoch: (examples, examples per epoch) of each member of a mixture; the
            members' examples are concatenated.
        window: batches in a window that is sorted by length; 1 is random order.
        earlier: (last update, batch_size) of each earlier batch size of a resumed run. The rest of
            the epoch in which it changed is cut again: each row still comes once per epoch. Not
            with `batch_tokens`.
        is_padded: whether the rows of a batch are padded; if not, `batch_tokens` counts real
            tokens only.
    """

    input_lengths: np.ndarray | RowNumbers
    target_lengths: np.ndarray | RowNumbers
    batch_size: int
    batch_tokens: int | None
    seed: int
    examples_per_epoch: tuple[tuple[int, int], ...] = ()
    window: int = WINDOW_BATCHES
    earlier: tuple[tuple[int, int], ...] = ()
    is_padded: bool = True
    # A cache: cutting by tokens takes seconds for a million rows, and both the number of steps and
    # the batches themselves need it; 4 bytes per row and epoch.
    _by_tokens: dict[int, list[np.ndarray]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def num_batches(self, epoch: int) -> int:
        """The number of global batches in this epoch; constant time without `batch_tokens`."""
        if self.batch_tokens is None:
            return sum(count for _, count in self._parts(epoch))
        return len(self.epoch(epoch))

    def num_steps(self, num_epochs: int) -> int:
        """The number of global batches in the first `num_epochs` epochs."""
        if self.batch_tokens is not None:
            return sum(map(self.num_batches, range(num_epochs)))
        begun = min(num_epochs, len(self._earlier_parts))
        return sum(map(self.num_batches, range(begun))) + (
            (num_epochs - begun) * self.num_batches(len(self._earlier_parts))
        )

    @property
    def is_lazy(self) -> bool:
        """Whether epochs are drawn window by window; never with a token budget, with which each
        window depends on all before it."""
        return self.batch_tokens is None and len(self.input_lengths) > LAZY_ABOVE

    def epoch(self, epoch: int) -> Sequence[np.ndarray]:
        """The positions of each global batch of this epoch, in order."""
        if self.is_lazy:
            return LazyEpoch(
                [self.seed, epoch],
                self._epoch_rows,
                self.window,
                self._parts(epoch),
                positions=functools.partial(self._lazy_positions, epoch),
                by_length=self._by_length,
            )
        if self.batch_tokens is None:
            return self._ordered(epoch)
        if epoch not in self._by_tokens:
            batches = self._ordered(epoch)
            self._by_tokens[epoch] = [batch.astype(np.int32) for batch in batches]
        return self._by_tokens[epoch]

    def num_tokens(self, batch: np.ndarray) -> np.ndarray:
        """The tokens of each row, of input and target."""
        return self.input_lengths[batch] + self.target_lengths[batch]

    def padding(self) -> float:
        """The fraction of the computed tokens that is padding, in the first batches of a run."""
        real = computed = 0
        for batch in itertools.islice(self.epoch(0) if self.is_padded else (), COUNTED_BATCHES):
            for lengths in (self.input_lengths[batch], self.target_lengths[batch]):
                real += int(lengths.sum())
                computed += len(batch) * int(lengths.max())
        return 1 - real / computed if computed else 0.0

    def _parts(self, epoch: int) -> list[tuple[int, int]]:
        """(batch size, number of batches) of each part of an epoch: a single part unless the batch
        size changed within it."""
        if epoch < len(self._earlier_parts):
            return self._earlier_parts[epoch]
        return [(self.batch_size, -(-self._epoch_rows // self.batch_size))]

    @property
    def _epoch_rows(self) -> int:
        if self.examples_per_epoch:  # rounded shares: not always as many as there are examples
            return sum(per_epoch for _, per_epoch in self.examples_per_epoch)
        return len(self.input_lengths)

    @functools.cached_property
    def _earlier_parts(self) -> list[list[tuple[int, int]]]:
        """The parts of the epochs that began with an earlier batch size."""
        epochs, step, left = [], 0, 0
        for end, size in self.earlier:
            while step < end:
                if not left:
                    epochs.append([])
                    left = self._epoch_rows
                count = min(-(-left // size), end - step)
                epochs[-1].append((size, count))
                left, step = max(0, left - count * size), step + count
        if left:
            epochs[-1].append((self.batch_size, -(-left // self.batch_size)))
        return epochs

    def _ordered(self, epoch: int) -> list[np.ndarray]:
        generator = np.random.default_rng([self.seed, epoch])
        order = generator.permutation(self._epoch_positions(epoch))
        by_tokens: list[tuple[int, int | None]] = [(0, None)]
        parts = by_tokens if self.batch_tokens is not None else self._parts(epoch)
        batches: list[np.ndarray] = []
        for size, count in parts:
            made: list[np.ndarray] = []
            for window in self._windows(order, size):
                made += [window[i] for i in generator.permutation(len(window))]
            batches += made[:count]
            if len(parts) > 1:
                order = without(order, made[:count])
        # The rows of a batch are shuffled too: ranks and micro-batches get similar lengths.
        return [generator.permutation(batch) for batch in batches]

    def _windows(self, order: np.ndarray, size: int = 0) -> Iterator[list[np.ndarray]]:
        """The batches of each window, sorted by length.

        Args:
            size: rows per batch; ignored with a token budget.
        """
        if self.batch_tokens is None:
            for start in range(0, len(order), size * self.window):
                pool = order[start : start + size * self.window]
                pool = pool[self._by_length(pool)]
                yield [pool[i : i + size] for i in range(0, len(pool), size)]
            return
        start = 0
        while start < len(order):
            window = self._largest_window(order[start:])
            start += sum(map(len, window))
            yield window

    def _by_length(self, pool: np.ndarray) -> np.ndarray:
        """The indices into a pool that sort its rows, shortest first."""
        buckets = self.target_lengths[pool] // TARGET_BUCKET
        return np.lexsort((self.input_lengths[pool], buckets))

    def _epoch_positions(self, epoch: int) -> np.ndarray:
        """The positions of an epoch before it is shuffled: all, or in a mixture the next ones of
        each member, which passes through permutations of its own, seeded by (seed, pass, member).
        """
        if not self.examples_per_epoch:
            return np.arange(len(self.input_lengths))
        positions, start = [], 0
        for member, (size, per_epoch) in enumerate(self.examples_per_epoch):
            begin, end = epoch * per_epoch, (epoch + 1) * per_epoch
            passes = [
                # To numpy the seeds [a, b] and [a, b, 0] are the same: members count from 1.
                np.random.default_rng([self.seed, number, member + 1]).permutation(size)
                for number in range(begin // size, -(-end // size))
            ]
            skipped = begin // size * size
            positions.append(start + np.concatenate(passes)[begin - skipped : end - skipped])
            start += size
        return np.concatenate(positions)

    def _lazy_positions(self, epoch: int, places: np.ndarray) -> np.ndarray:
        """Like `_epoch_positions`, at these places only, with permutations of another kind."""
        if not self.examples_per_epoch:
            return places
        sizes, quotas = np.array(self.examples_per_epoch).T
        starts, ends = np.cumsum(sizes) - sizes, np.cumsum(quotas)
        owners = np.searchsorted(ends, places, side="right")
        positions = np.zeros(len(places), dtype=np.int64)
        for member in np.unique(owners).tolist():
            size, quota = self.examples_per_epoch[member]
            is_own = owners == member
            place = places[is_own] - (ends[member] - quota) + epoch * quota
            passes = place // size
            found = np.zeros(len(place), dtype=np.int64)
            for number in np.unique(passes).tolist():
                of_pass, key = passes == number, [self.seed, number, member + 1]
                found[of_pass] = permuted(place[of_pass] % size, size, key)
            positions[is_own] = starts[member] + found
        return positions

    def _largest_window(self, order: np.ndarray) -> list[np.ndarray]:
        """The batches of the longest head of `order` that makes at most `window` of them.

        Cutting sorted rows greedily makes the fewest batches possible, so fewer rows never make
        more batches, and the head's length can be bisected.
        """
        assert self.batch_tokens is not None
        # A row costs at least its real tokens.
        budget = self.batch_tokens * self.window
        longest = order[: max(budget, self.window)]
        costs = np.cumsum(self.input_lengths[longest] + self.target_lengths[longest])
        limit = max(self.window, int(np.searchsorted(costs, budget, side="right")))
        head = order[:limit]
        ranks = self._by_length(head)
        low, high = min(self.window, len(head)), len(head)  # `low` rows fit: one per batch
        while low < high:
            middle = (low + high + 1) // 2
            if len(self._cut(head[ranks[ranks < middle]])) <= self.window:
                low = middle
            else:
                high = middle - 1
        return self._cut(head[ranks[ranks < low]])

    def _cut(self, pool: np.ndarray) -> list[np.ndarray]:
        """A sorted pool cut into batches of at most `batch_tokens` tokens; a row that exceeds them
        is a batch by itself."""
        assert self.batch_tokens is not None
        inputs, targets = self.input_lengths[pool], self.target_lengths[pool]
        batches, start = [], 0
        while start < len(pool):
            # The batch is at least as wide as its first row.
            limit = self.batch_tokens // max(1, int(inputs[start] + targets[start])) + 1
            head = slice(start, start + limit)
            widths = np.maximum.accumulate(inputs[head]) + np.maximum.accumulate(targets[head])
            costs = widths * np.arange(1, len(widths) + 1)
            if not self.is_padded:
                real = np.cumsum(inputs[head] + targets[head])
                costs = np.maximum(real, costs // MOST_PADDED)
            fits = costs <= self.batch_tokens
            end = start + max(1, int(fits.sum()))
            batches.append(pool[start:end])
            start = end
        return batches


@dataclass(frozen=True)
class BatchSettings:
    """The gin settings of training batches.

    Attributes:
        batch_tokens: token budget per process and micro-batch, which replaces the batch size; it
            includes padding unless `fit.padding` is off.
        window: batches in a window that is sorted by length; 1 is random order, the default
            without padding.
    """

    batch_tokens: int | None = None
    window: int = WINDOW_BATCHES


@configurable("get_batches", module="ke_t5.pipe.batches")
def batch_settings(
    batch_tokens: Count | None = None, window: Count = WINDOW_BATCHES
) -> BatchSettings:
    """The settings bound to gin's `get_batches`."""
    settings = locals()
    check_values("get_batches", batch_settings, settings)
    return BatchSettings(**settings)


def get_batches(
    input_lengths: np.ndarray | RowNumbers,
    target_lengths: np.ndarray | RowNumbers | None = None,
    *,
    batch_size: int,
    num_parts: int,
    seed: int,
    examples_per_epoch: tuple[tuple[int, int], ...] = (),
    batch_tokens: int | None = None,
    window: int | None = None,
    is_padded: bool = True,
) -> BatchPlan:
    """The plan of a run's batches.

    Args:
        input_lengths: [N] tokens of each example.
        target_lengths: [N] tokens of each target, for sequence-to-sequence models.
        batch_size: rows per process and micro-batch.
        num_parts: processes x accumulated micro-batches; a global batch is larger by this factor.
        seed: the run's seed.
        examples_per_epoch: see `BatchPlan`.
        batch_tokens, window: see `BatchSettings`; None: gin's values.
        is_padded: as in `BatchPlan`.
    """
    arguments = {"batch_tokens": batch_tokens, "window": window}
    settings = batch_settings(**{name: x for name, x in arguments.items() if x is not None})
    if target_lengths is None:
        target_lengths = np.broadcast_to(np.int64(0), len(input_lengths))
    tokens = settings.batch_tokens
    total_tokens = None if tokens is None else tokens * num_parts
    size = batch_size * num_parts
    return BatchPlan(
        input_lengths,
        target_lengths,
        size,
        total_tokens,
        seed,
        examples_per_epoch=examples_per_epoch,
        window=settings.window,
        is_padded=is_padded,
    )


def micro_batches(
    batch: np.ndarray, lengths: np.ndarray, *, rank: int, num_ranks: int, accumulation: int
) -> list[np.ndarray]:
    """The rows of a global batch that one rank computes: `accumulation` arrays, possibly empty.

    All ranks get about as many tokens, as each step lasts as long as the slowest of them takes.

    Args:
        lengths: [rows of the batch] tokens.

    >>> batch, lengths = np.arange(7), np.array([3, 9, 2, 2, 9, 3, 2])
    >>> options = {"num_ranks": 2, "accumulation": 2}
    >>> [rows.tolist() for rows in micro_batches(batch, lengths, rank=0, **options)]
    [[1, 2], [5]]
    >>> [rows.tolist() for rows in micro_batches(batch, lengths, rank=1, **options)]
    [[0, 3], [4, 6]]
    """
    # The longest rows first: to ranks 0, 1, ..., R - 1, R - 1, ..., 1, 0, 0, 1, ...
    turns, seats = np.divmod(np.arange(len(batch)), num_ranks)
    ranks = np.empty(len(batch), dtype=np.int64)
    ranks[np.argsort(-lengths, kind="stable")] = np.where(turns % 2, num_ranks - 1 - seats, seats)
    rows = batch[ranks == rank]
    size = -(-len(batch) // (num_ranks * accumulation))
    return [rows[number * size : (number + 1) * size] for number in range(accumulation)]
