"""The metric that picks the best of a run's checkpoints."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Monitor:
    """The metric that picks the best checkpoint.

    Attributes:
        metric: the name of a score, as returned by a metric function.
        mode: "max" if higher is better, "min" if lower is better.
    """

    metric: str
    mode: Literal["max", "min"] = "max"

    def __post_init__(self) -> None:
        if self.mode not in ("max", "min"):
            raise ValueError(f"Monitor({self.metric!r}): mode is {self.mode!r}, not 'max' or 'min'")

    def improves(self, value: float, best: float | None) -> bool:
        """Whether `value` is better than `best`; False for NaN and for an equal value."""
        if value != value:
            return False
        return best is None or (value > best if self.mode == "max" else value < best)


def greatest(metric: str) -> Monitor:
    """`Monitor(metric, mode="max")`."""
    return Monitor(metric, mode="max")


def least(metric: str) -> Monitor:
    """`Monitor(metric, mode="min")`."""
    return Monitor(metric, mode="min")
