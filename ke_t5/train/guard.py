"""The guard between a gradient and the weights."""

from __future__ import annotations

import functools

import torch

from ke_t5.errors import Exit, UserError


class NonFiniteGuard:
    """Keeps a loss or gradient that is not finite from the weights.

    As a rule the run ends before the update. With a fused Adam or AdamW on a GPU no step waits for
    the host: the update is skipped where it is computed, and the run ends when `check` is called,
    or at the latest after 100 steps.
    """

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self.optimizer = optimizer
        self.pending: list[tuple[torch.Tensor, str]] = []

    @functools.cached_property
    def skips_on_device(self) -> bool:
        """Whether the optimizer skips an update by itself; the state that it was saved with, which
        is loaded after the guard is made, has a say in that."""
        groups = self.optimizer.param_groups
        # torch's other fused optimizers count a skipped update, or begin with a momentum of noise.
        return (
            isinstance(self.optimizer, (torch.optim.Adam, torch.optim.AdamW))
            and all(group["fused"] for group in groups)
            and all(parameter.is_cuda for group in groups for parameter in group["params"])
        )

    def watch(self, is_finite: torch.Tensor, place: str) -> None:
        """Call it between the backward pass and the optimizer's step."""
        if self.skips_on_device:
            # torch's fused kernels look for this attribute, as GradScaler sets it.
            vars(self.optimizer)["found_inf"] = (~is_finite).float()
        self.pending.append((is_finite, place))
        if not self.skips_on_device or len(self.pending) >= 100:
            self.check()

    def check(self) -> None:
        """Raises UserError naming the first step whose loss or gradient was not finite."""
        pending, self.pending = self.pending, []
        if pending and not bool(torch.stack([flag for flag, _ in pending]).all()):
            place = next(place for flag, place in pending if not bool(flag))
            raise UserError(
                "the loss or its gradient is not finite; no weight was changed by it",
                f"training at {place}",
                "lower the learning rate, look at these rows, or resume from the last checkpoint",
                Exit.DIVERGED,
            )
