"""Which of a run's checkpoints is the best."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Best:
    """Which score picks the best checkpoint, and whether more of it is better."""

    score: str
    greater: bool = True

    def improves(self, value: float, best: float | None) -> bool:
        """Whether `value` beats `best`. NaN never does, and of two equal ones the earlier stays."""
        if value != value:
            return False
        return best is None or (value > best if self.greater else value < best)


def greatest(score: str) -> Best:
    """The checkpoint with the greatest value of this score is the best."""
    return Best(score, greater=True)


def least(score: str) -> Best:
    """The checkpoint with the least value of this score is the best."""
    return Best(score, greater=False)
