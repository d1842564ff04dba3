"""The metric that picks the best of a run's checkpoints."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Monitor:
    """Which metric picks the best checkpoint, and whether its maximum or its minimum does.

    Attributes:
        metric: the name of a score, as a metric function returns it.
        mode: "max" if more is better, "min" if less is.
    """

    metric: str
    mode: Literal["max", "min"] = "max"

    def __post_init__(self) -> None:
        if self.mode not in ("max", "min"):
            raise ValueError(f"Monitor({self.metric!r}): mode is {self.mode!r}, not 'max' or 'min'")

    def improves(self, value: float, best: float | None) -> bool:
        """Whether `value` beats `best`. NaN never does; of two equal values the earlier is kept."""
        if value != value:
            return False
        return best is None or (value > best if self.mode == "max" else value < best)


def greatest(metric: str) -> Monitor:
    """The same as `Monitor(metric, mode="max")`."""
    return Monitor(metric, mode="max")


def least(metric: str) -> Monitor:
    """The same as `Monitor(metric, mode="min")`."""
    return Monitor(metric, mode="min")
