"""Learning rate schedules: pure functions of the step, without state to restore."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from ke_t5.config.configurable import configurable
from ke_t5.config.ranges import CountOrZero, Fraction, check_values
from ke_t5.errors import UserError
from ke_t5.registry import Registry

if TYPE_CHECKING:
    from torch.optim import Optimizer


def _share(step: int, warmup: int, total: int) -> float:
    """The share of the steps after the warm-up that is done, 0 to 1."""
    return min(1.0, (step - warmup) / max(1, total - warmup))


def _linear(step: int, warmup: int, total: int) -> float:
    return 1.0 - _share(step, warmup, total)


def _cosine(step: int, warmup: int, total: int) -> float:
    return 0.5 * (1.0 + math.cos(math.pi * _share(step, warmup, total)))


def _constant(step: int, warmup: int, total: int) -> float:
    return 1.0


def _inverse_sqrt(step: int, warmup: int, total: int) -> float:
    # Without a warm-up the time scale is T5's 10,000 steps.
    scale = warmup or 10_000
    return math.sqrt(scale / (scale + step - warmup))


RELATIVE_STEP = "Adafactor.relative_step=True sets its own learning rate"
RELATIVE_STEP_FIX = "drop --schedule, or set Adafactor.relative_step=False"

# Functions of (step, warm-up steps, total steps) to the factor of a step after the warm-up, 0 to 1.
SCHEDULES: Registry[Callable[[int, int, int], float]] = Registry("schedule")
SCHEDULES.add("linear", _linear)
SCHEDULES.add("cosine", _cosine)
SCHEDULES.add("constant", _constant)
SCHEDULES.add("constant_with_warmup", _constant)
SCHEDULES.add("inverse_sqrt", _inverse_sqrt)


class ScheduleSettings(NamedTuple):
    """The settings of a schedule.

    Attributes:
        warmup_ratio: warm-up as a share of all steps, rounded up.
        warmup_steps: overrides the ratio unless None.
        min_ratio: lower bound of the decaying factor.
    """

    warmup_ratio: float
    warmup_steps: int | None
    min_ratio: float

    @property
    def has_warmup(self) -> bool:
        """Whether the rate rises at first."""
        return bool(self.warmup_ratio if self.warmup_steps is None else self.warmup_steps)

    def num_warmup_steps(self, total_steps: int) -> int:
        """The updates of the warm-up in a schedule of `total_steps`."""
        steps = self.warmup_steps
        return math.ceil(self.warmup_ratio * total_steps) if steps is None else steps


@configurable("get_scheduler")
def schedule_settings(
    warmup_ratio: Fraction = 0.1,
    warmup_steps: CountOrZero | None = None,
    min_ratio: Fraction = 0.0,
) -> ScheduleSettings:
    """The settings bound to gin's `get_scheduler`."""
    check_values("get_scheduler", schedule_settings, locals())
    return ScheduleSettings(warmup_ratio, warmup_steps, min_ratio)


@configurable("resume_schedule")
def allows_stretching(stretch: bool = False) -> bool:
    """Whether a resumed run may change the number of steps of its schedule."""
    return bool(stretch)


def get_scheduler(
    name: str, total_steps: int, settings: ScheduleSettings | None = None
) -> Callable[[int], float]:
    """A pure function of the number of updates done to the factor on the next learning rate.

    A resumed run has no state to restore. The warm-up rises linearly and reaches 1 with its last
    update, so that no update is wasted at 0; the decay reaches `min_ratio` after the last update.

        linear, 10 updates, 2 of warm-up: 0.5, 1, 1, 7/8, 6/8, ..., 1/8

    Args:
        name: one of `SCHEDULES` (only "constant" has no warm-up).
        total_steps: number of updates in all --epochs, regardless of --max_steps.
        settings: warm-up and decay; None for the settings that gin binds to `get_scheduler`.

    Raises:
        UserError: unknown name, or settings out of range.
    """
    after_warmup = SCHEDULES.get(name, f"--schedule {name!r}")
    settings = settings or schedule_settings()
    warmup = 0 if name == "constant" else settings.num_warmup_steps(total_steps)
    min_ratio = settings.min_ratio

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        return min_ratio + (1.0 - min_ratio) * after_warmup(step, warmup, total_steps)

    return factor


def set_learning_rate(optimizer: Optimizer, factor: float) -> None:
    """Sets each group's `lr` to its `initial_lr` x `factor` for the next update.

    The first call stores `initial_lr` in the group, so a checkpoint of the optimizer contains it
    and a resumed run needs only the step number: `set_learning_rate(optimizer, schedule(step))`.

    Raises:
        UserError: the optimizer sets its own learning rate (Adafactor's relative_step).
    """
    for group in optimizer.param_groups:
        base = group.setdefault("initial_lr", group["lr"])
        if base is not None:
            group["lr"] = base * factor
        elif factor != 1.0:
            raise UserError(RELATIVE_STEP, "--schedule", RELATIVE_STEP_FIX)


def full_learning_rate(optimizer: Optimizer) -> float:
    """The largest learning rate of the parameter groups at a factor of 1."""
    rates = (group.get("initial_lr", group["lr"]) for group in optimizer.param_groups)
    return max((float(rate) for rate in rates if rate is not None), default=0.0)
