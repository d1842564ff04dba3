"""The guard that keeps non-finite values out of the weights and the checkpoints."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable, Iterator

import torch
from torch.distributed.tensor import DTensor

from ke_t5.errors import Exit, UserError
from ke_t5.sharding import local


class NonFiniteGuard:
    """Ends the run if a loss or gradient is not finite, before it reaches the weights.

    In general the run ends before the update. With a fused Adam or AdamW, or our Adafactor, on a
    GPU, the device itself skips the update without waiting for the host, and the run ends when
    `check` is called, at the latest after 100 steps.
    """

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self.optimizer = optimizer
        self.pending: list[tuple[torch.Tensor, str]] = []

    @functools.cached_property
    def skips_on_device(self) -> bool:
        """Whether the optimizer skips a bad update on the device; evaluated at first use, because
        loading the optimizer's state may change the answer."""
        if getattr(self.optimizer, "is_fused", False):  # our Adafactor
            return True
        groups = self.optimizer.param_groups
        # torch's other fused optimizers count a skipped update, or initialize momentum with it.
        return (
            isinstance(self.optimizer, (torch.optim.Adam, torch.optim.AdamW))
            and all(group["fused"] for group in groups)
            and all(
                parameter.is_cuda and not isinstance(parameter, DTensor)
                for group in groups
                for parameter in group["params"]
            )
        )

    def watch(self, is_finite: torch.Tensor, place: str) -> None:
        """Handles one step; call it between the backward pass and the optimizer's step."""
        if self.skips_on_device:
            self.skip_if(~is_finite)
        self.remember(is_finite, place)

    def skip_if(self, is_bad: torch.Tensor) -> None:
        """Makes an optimizer that skips on the device skip its next step if `is_bad` is true."""
        # torch's fused kernels read this attribute, which GradScaler sets.
        vars(self.optimizer)["found_inf"] = is_bad.float()

    def remember(self, is_finite: torch.Tensor, place: str) -> None:
        """Records for `check` whether the loss and gradient of a step were finite."""
        self.pending.append((is_finite, place))
        if not self.skips_on_device or len(self.pending) >= 100:
            self.check()

    def check(self) -> None:
        """Raises UserError naming the first step whose loss or gradient was not finite."""
        pending, self.pending = self.pending, []
        if pending and not bool(torch.stack([flag for flag, _ in pending]).all()):
            place = next(place for flag, place in pending if not bool(flag))
            raise UserError(
                "the loss or its gradient is not finite; no weight was changed",
                f"training at {place}",
                "look at these rows, or start a new run with a lower learning rate",
                Exit.DIVERGED,
            )

    def check_state(self, model: torch.nn.Module, step: int) -> None:
        """Raises UserError if the weights, the optimizer's state or a recent gradient are not
        finite, so that no checkpoint is saved. Waits for the device."""
        self.check()
        if _are_finite([*_floating(model.parameters()), *_floating(self._state_tensors())]):
            named = _buffers(model)
        else:  # a value is not finite, or only the squares overflow
            named = itertools.chain(_weights(model), _buffers(model), self._averages(model))
        name = next((name for name, flag in named if not bool(flag)), None)
        if name is None:
            return
        raise UserError(
            f"{name} is not finite after this update; no checkpoint of it is saved",
            f"training at step {step}",
            "start a new run with a lower learning rate",
            Exit.DIVERGED,
        )

    def _state_tensors(self) -> Iterator[torch.Tensor]:
        for state in self.optimizer.state.values():
            yield from (value for value in state.values() if torch.is_tensor(value) and value.ndim)

    def _averages(self, model: torch.nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
        names = {id(parameter): name for name, parameter in model.named_parameters()}
        for parameter, state in self.optimizer.state.items():
            for key, value in state.items():
                if torch.is_tensor(value) and value.ndim and value.is_floating_point():
                    yield f"{key} of {names.get(id(parameter), 'a weight')}", _is_finite(value)


def _floating(tensors: Iterable[torch.Tensor]) -> Iterator[torch.Tensor]:
    return (one.detach() for one in tensors if one.numel() and one.is_floating_point())


def _are_finite(tensors: list[torch.Tensor]) -> bool:
    """Whether the norms of all tensors are finite, and therefore all values.

    False may mean that only the squares overflow. Takes one pass at memory speed, and on a GPU few
    kernels and one wait.
    """
    foreach_norm = getattr(torch, "_foreach_norm")  # noqa: B009 - not in torch's types
    norms = foreach_norm(tensors) if tensors else []
    devices = {norm.device for norm in norms}
    sums = [torch.stack([x.double() for x in norms if x.device == one]).sum() for one in devices]
    return all(bool(torch.isfinite(one)) for one in sums)


def _weights(model: torch.nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    for name, parameter in model.named_parameters():
        if parameter.numel() and parameter.is_floating_point():
            yield name, _is_finite(parameter.detach())


def _buffers(model: torch.nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    for name, buffer in model.named_buffers():
        if buffer.numel() and buffer.is_floating_point():
            yield name, ~buffer.isnan().any()  # a mask may contain -inf


def _is_finite(tensor: torch.Tensor) -> torch.Tensor:
    tensor = local(tensor)
    if not tensor.numel():
        return torch.ones((), dtype=torch.bool)
    # Both bounds are NaN if any value is; unlike isfinite, this allocates no memory.
    low, high = torch.aminmax(tensor)
    return (low > -torch.inf) & (high < torch.inf)
