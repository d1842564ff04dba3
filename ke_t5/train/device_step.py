"""A whole training step as a function of tensors on the device, for `StepGraphs`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ke_t5 import heartbeat
from ke_t5.fault_points import fault_point
from ke_t5.module_state import reset_module_state
from ke_t5.pipe.masks import MASK
from ke_t5.pipe.model_inputs import host_inputs
from ke_t5.train.graphs import Inputs, StepGraphs
from ke_t5.train.guard import NonFiniteGuard

Columns = Mapping[str, np.ndarray]


class DeviceStep:
    """Runs the steps of a training as graphs: forward and backward pass, clipping, guard, and the
    update of a fused Adam or AdamW. Other optimizers use the gradient that the graph computes.

    Args:
        backward: a function of (tensors, columns, weight of the loss) that computes the gradient
            and returns the loss.
        clip: clips the gradient and returns its norm.
    """

    def __init__(
        self,
        module: torch.nn.Module,
        optimizer: torch.optim.Optimizer,
        *,
        guard: NonFiniteGuard,
        graphs: StepGraphs,
        backward: Callable[[Inputs, Columns, Tensor], Tensor],
        clip: Callable[[], Tensor],
    ) -> None:
        self.module, self.optimizer, self.guard = module, optimizer, guard
        self.graphs, self.backward, self.clip = graphs, backward, clip
        is_adam = isinstance(optimizer, (torch.optim.Adam, torch.optim.AdamW))
        self.is_updating = is_adam and guard.skips_on_device
        self.parameters = [one for group in optimizer.param_groups for one in group["params"]]
        # For other optimizers: the gradient, in memory shared by all graphs.
        self._shared: dict[Tensor, Tensor] = {}
        self._columns: Columns = {}

    def make(
        self, columns: Columns, weight: float, *, seed: Callable[[], None], place: str
    ) -> tuple[Tensor, Tensor]:
        """Runs a step; returns its weighted loss and the norm of its gradient.

        Args:
            seed: seeds the generators for this step.
            place: the step and its rows, for error messages.
        """
        heartbeat.beat()
        device = self.graphs.device
        self._columns = columns
        rates = [group["lr"] or 0.0 for group in self.optimizer.param_groups]
        numbers = torch.tensor([weight, 0.0, *rates], dtype=torch.float32)
        host = host_inputs(self.module, columns, device)
        host["numbers"] = numbers.pin_memory() if device.type == "cuda" else numbers
        # Attention has other kernels if nothing is masked.
        key = bool(columns[MASK].all()) if MASK in columns else None
        loss, norm, is_finite = self.graphs.run(self, host, key=key, seed=seed).unbind()
        if self.is_updating:
            self.guard.remember(is_finite, place)
        else:
            self.guard.watch(is_finite.bool(), place)
            self.optimizer.step()
        fault_point("train.after_optimizer")
        return loss, norm

    def _gradient(self, inputs: Inputs) -> Tensor:
        inputs = dict(inputs)
        weight, is_kept, *_ = inputs.pop("numbers").unbind()
        self.optimizer.zero_grad(set_to_none=True)
        reset_module_state(self.module)
        loss = self.backward(inputs, self._columns, weight)
        norm = self.clip()
        is_finite = torch.isfinite(norm) & torch.isfinite(loss)
        if self.is_updating:
            self.guard.skip_if(~is_finite | (is_kept > 0))
        return torch.stack([loss.float(), norm.float(), is_finite.float()])

    def checked(self, inputs: Inputs) -> Tensor:
        output = self._gradient(inputs)
        known = self.optimizer.state
        has_new = any(one.grad is not None and one not in known for one in self.parameters)
        if self.is_updating and has_new:
            raise ValueError("a weight has a gradient for the first time")
        self.optimizer.zero_grad(set_to_none=True)
        return output

    def whole(self, inputs: Inputs) -> Tensor:
        output = self._gradient(inputs)
        if self.is_updating:
            with rates_on_device(self.optimizer, inputs["numbers"][2:]):
                self.optimizer.step()
        return output

    def recorded(self, inputs: Inputs) -> Tensor:
        output = self.whole(inputs)
        if not self.is_updating:
            grads = {one: one.grad for one in self.parameters if one.grad is not None}
            self._shared = self._shared or {one: torch.empty_like(one) for one in grads}
            if grads.keys() != self._shared.keys():
                raise ValueError("the weights that have a gradient differ between shapes")
            for one, grad in grads.items():
                self._shared[one].copy_(grad)
        # The next graph may use this memory.
        self.optimizer.zero_grad(set_to_none=True)
        return output

    def attach(self) -> None:
        for one, grad in self._shared.items():
            one.grad = grad


@contextmanager
def rates_on_device(optimizer: torch.optim.Optimizer, rates: Tensor) -> Iterator[None]:
    """A context in which the groups' learning rates are these tensors, on any device."""
    # Also used outside of graphs, so that a step computes the same in both.
    vars(optimizer)["_warned_capturable_if_run_uncaptured"] = True
    before: list[dict[str, Any]] = [
        {name: group[name] for name in ("lr", "capturable")} for group in optimizer.param_groups
    ]
    for group, rate in zip(optimizer.param_groups, rates.unbind(), strict=True):
        group.update(lr=rate, capturable=rate.is_cuda)
    try:
        yield
    finally:
        for group, values in zip(optimizer.param_groups, before, strict=True):
            group.update(values)
