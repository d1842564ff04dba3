"""Batches: which examples make which step.

The order is a pure function of (seed, epoch): a permutation (in a mixture, of what each member
gives to the epoch) is cut into global batches, and row j of a global batch goes to rank j mod R. It
knows neither workers nor ranks, so a resumed run needs one integer, and any number of processes
sees the same global batches.
"""

from __future__ import annotations

from dataclasses import dataclass

import gin
import numpy as np

from ke_t5.errors import UserError

# Batches are sorted by length inside windows of so many, then shuffled: padding stays small and the
# order random. Sorted batches in their order ruined training (accuracy 0.29 instead of 0.80).
WINDOW_BATCHES = 50

# Target lengths are sorted in steps of so many tokens, so that inputs of like length meet too.
TARGET_STEP = 4


@dataclass(frozen=True)
class BatchPlan:
    """The global batches of any epoch.

    Attributes:
        input_lengths: [N] tokens.
        target_lengths: [N] tokens that the decoder sees; zeros where there is none.
        batch_size: rows of a global batch (per process x processes x accumulation).
        batch_tokens: padded tokens of a global batch instead, or None.
        seed: of the run.
        quotas: of a mixture, (examples, examples in an epoch) of each member; the members' examples
            stand one after the other.
    """

    input_lengths: np.ndarray
    target_lengths: np.ndarray
    batch_size: int
    batch_tokens: int | None
    seed: int
    quotas: tuple[tuple[int, int], ...] = ()

    def num_batches(self, epoch: int) -> int:
        """How many global batches this epoch has; without `batch_tokens`, at no cost."""
        if self.batch_tokens is None:
            return -(-len(self.input_lengths) // self.batch_size)
        return len(self.epoch(epoch))

    def epoch(self, epoch: int) -> list[np.ndarray]:
        """The positions of each global batch of this epoch, in order."""
        generator = np.random.default_rng([self.seed, epoch])
        order = generator.permutation(self._drawn(epoch))
        window = self.batch_size * WINDOW_BATCHES
        batches: list[np.ndarray] = []
        for start in range(0, len(order), window):
            pool = order[start : start + window]
            steps = self.target_lengths[pool] // TARGET_STEP
            pool = pool[np.lexsort((self.input_lengths[pool], steps))]
            cut = self._cut(pool)
            batches += [cut[i] for i in generator.permutation(len(cut))]
        # The rows of a batch are shuffled too: ranks and accumulated parts get like lengths.
        return [generator.permutation(batch) for batch in batches]

    def _drawn(self, epoch: int) -> np.ndarray:
        """The positions that an epoch holds: all, or of each member of a mixture the next `quota`
        of its passes, each a permutation of (seed, member, pass)."""
        if not self.quotas:
            return np.arange(len(self.input_lengths))
        drawn, start = [], 0
        for member, (size, quota) in enumerate(self.quotas):
            begin, end = epoch * quota, (epoch + 1) * quota
            passes = [
                # numpy reads [seed, epoch] as [seed, epoch, 0]: members are counted from 1.
                np.random.default_rng([self.seed, number, member + 1]).permutation(size)
                for number in range(begin // size, -(-end // size))
            ]
            skipped = begin // size * size
            drawn.append(start + np.concatenate(passes)[begin - skipped : end - skipped])
            start += size
        return np.concatenate(drawn)

    def _cut(self, pool: np.ndarray) -> list[np.ndarray]:
        """A sorted pool cut into batches of `batch_size` rows, or of `batch_tokens` tokens."""
        if self.batch_tokens is None:
            return [pool[i : i + self.batch_size] for i in range(0, len(pool), self.batch_size)]
        lengths = np.stack([self.input_lengths[pool], self.target_lengths[pool]])
        batches, start, longest = [], 0, np.zeros(2, dtype=np.int64)
        for place in range(len(pool)):
            widened = np.maximum(longest, lengths[:, place])
            if place > start and widened.sum() * (place - start + 1) > self.batch_tokens:
                batches.append(pool[start:place])
                start, widened = place, lengths[:, place]
            longest = widened
        return [*batches, pool[start:]]


@gin.configurable(allowlist=["batch_tokens"])
def get_batches(
    input_lengths: np.ndarray,
    target_lengths: np.ndarray | None = None,
    *,
    batch_size: int,
    num_parts: int,
    seed: int,
    quotas: tuple[tuple[int, int], ...] = (),
    batch_tokens: int | None = None,
) -> BatchPlan:
    """The plan of a run's batches.

    Args:
        input_lengths: [N] tokens of each example.
        target_lengths: [N] tokens of each target, for sequence-to-sequence models.
        batch_size: rows per process and accumulated part.
        num_parts: processes x accumulated parts: a global batch is that many times larger.
        seed: of the run.
        quotas: of a mixture, as `BatchPlan` has it.
        batch_tokens: gin's seam: padded tokens per process and part, instead of a number of rows.
    """
    if batch_tokens is not None and batch_tokens < 1:
        raise UserError(f"is {batch_tokens}", "get_batches.batch_tokens", "give at least 1")
    if target_lengths is None:
        target_lengths = np.zeros_like(input_lengths)
    total_tokens = None if batch_tokens is None else batch_tokens * num_parts
    size = batch_size * num_parts
    return BatchPlan(input_lengths, target_lengths, size, total_tokens, seed, quotas)


def share(batch: np.ndarray, *, rank: int, num_ranks: int, num_parts: int) -> list[np.ndarray]:
    """What one rank computes of a global batch: a list of `num_parts` arrays, some maybe empty.

    >>> [part.tolist() for part in share(np.arange(7), rank=0, num_ranks=2, num_parts=2)]
    [[0, 2], [4, 6]]
    >>> [part.tolist() for part in share(np.arange(7), rank=1, num_ranks=2, num_parts=2)]
    [[1, 3], [5]]
    """
    mine = batch[rank::num_ranks]
    per_part = -(-len(batch) // (num_ranks * num_parts))
    return [mine[part * per_part : (part + 1) * per_part] for part in range(num_parts)]


def evaluation_batches(lengths: np.ndarray, batch_size: int) -> list[np.ndarray]:
    """Fixed batches of positions, longest first.

    The cut does not depend on the number of processes: batch i goes to rank i mod R.
    """
    order = np.argsort(-np.asarray(lengths), kind="stable")
    return [order[i : i + batch_size] for i in range(0, len(order), batch_size)]
