"""transformers' Adafactor, with few kernels on a GPU.

transformers launches 20 kernels per parameter, 6,000 for T5-base, which takes longer than the
backward pass. Here parameters of one shape are updated together. On a CPU it is transformers' own.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from transformers.optimization import Adafactor as OneByOne

# Elements updated together; limits the memory for temporary copies.
MOST_ELEMENTS = 1 << 26


class Adafactor(OneByOne):
    """transformers' Adafactor; its state has the same names, so checkpoints of either fit both.

    If the attribute `found_inf` is a tensor of 1 (see `NonFiniteGuard`), a step changes nothing.
    """

    @property
    def is_fused(self) -> bool:
        """Whether parameters are updated together, and a bad update is skipped on the device."""
        parameters = [one for group in self.param_groups for one in group["params"]]
        return all(one.is_cuda and one.dtype == torch.float32 for one in parameters)

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Updates the parameters."""
        if not self.is_fused:
            return super().step(closure)
        loss = None if closure is None else closure()
        for group in self.param_groups:
            for parameters in self._alike(group):
                self._update(group, parameters)
        return loss

    def _alike(self, group: dict[str, Any]) -> Iterator[list[Tensor]]:
        """The parameters that have a gradient, grouped by shape and number of updates."""
        found: defaultdict[tuple, list[Tensor]] = defaultdict(list)
        for parameter in group["params"]:
            if parameter.grad is not None:
                if not self.state[parameter]:
                    self._begin(group, parameter)
                found[parameter.shape, self.state[parameter]["step"]].append(parameter)
        for parameters in found.values():
            number = max(1, MOST_ELEMENTS // max(1, parameters[0].numel()))
            for begin in range(0, len(parameters), number):
                yield parameters[begin : begin + number]

    def _begin(self, group: dict[str, Any], parameter: Tensor) -> None:
        state, shape = self.state[parameter], parameter.shape
        state["step"] = 0
        if group["beta1"] is not None:
            state["exp_avg"] = torch.zeros_like(parameter)
        if parameter.ndim >= 2:
            state["exp_avg_sq_row"] = parameter.new_zeros(shape[:-1])
            state["exp_avg_sq_col"] = parameter.new_zeros(shape[:-2] + shape[-1:])
        else:
            state["exp_avg_sq"] = torch.zeros_like(parameter)
        state["RMS"] = parameter.new_zeros(())

    def _update(self, group: dict[str, Any], parameters: list[Tensor]) -> None:
        """Updates parameters of one shape, stacked along a new first dimension."""
        step = self.state[parameters[0]]["step"] + 1
        weights = torch.stack(parameters)
        rms = _rms(weights)
        rate = self._rate(group, step, rms).view(-1, *(1,) * parameters[0].ndim)
        update = self._direction(group, parameters, 1.0 - step ** group["decay_rate"])
        spread = (_rms(update) / group["clip_threshold"]).clamp_(min=1.0)
        update.div_(spread.view(rate.shape)).mul_(rate)
        if group["beta1"] is not None:
            update = self._average(parameters, "exp_avg", update, group["beta1"])
        if group["weight_decay"] != 0:
            weights = weights * (1 - group["weight_decay"] * rate)
        self._keep(parameters, (weights - update).unbind())
        self._keep([self._rms_of(one) for one in parameters], rms.unbind())
        for parameter in parameters:
            self.state[parameter]["step"] = step

    def _rms_of(self, parameter: Tensor) -> Tensor:
        """The tensor of a parameter's root mean square, which transformers starts as a number."""
        state = self.state[parameter]
        if not torch.is_tensor(state["RMS"]):
            state["RMS"] = torch.full((), state["RMS"], device=parameter.device)
        return state["RMS"]

    def _rate(self, group: dict[str, Any], step: int, rms: Tensor) -> Tensor:
        rate = group["lr"]
        if group["relative_step"]:
            rate = min(1e-6 * step if group["warmup_init"] else 1e-2, step**-0.5)
        if not group["scale_parameter"]:
            return torch.full_like(rms, rate)
        return rms.clamp(min=group["eps"][1]) * rate

    def _direction(self, group: dict[str, Any], parameters: list[Tensor], decay: float) -> Tensor:
        """The gradients divided by the root of their mean squares."""
        grads = torch.stack([one.grad for one in parameters if one.grad is not None])
        squares = grads**2 + group["eps"][0]
        if parameters[0].ndim < 2:
            return self._average(parameters, "exp_avg_sq", squares, decay).rsqrt().mul_(grads)
        rows = self._average(parameters, "exp_avg_sq_row", squares.mean(-1), decay)
        columns = self._average(parameters, "exp_avg_sq_col", squares.mean(-2), decay)
        return self._approx_sq_grad(rows, columns).mul_(grads)

    def _average(self, parameters: list[Tensor], name: str, values: Tensor, decay: float) -> Tensor:
        """The moving averages `name` of the state, updated with these values."""
        places = [self.state[one][name] for one in parameters]
        averages = torch.stack(places).mul_(decay).add_(values, alpha=1.0 - decay)
        self._keep(places, averages.unbind())
        return averages

    def _keep(self, places: list[Tensor], values: tuple[Tensor, ...]) -> None:
        found_inf = getattr(self, "found_inf", None)
        if found_inf is not None:
            is_bad = found_inf.bool().view(())
            values = torch.where(is_bad, torch.stack(places), torch.stack(values)).unbind()
        foreach_copy = getattr(torch, "_foreach_copy_")  # noqa: B009 - not in torch's types
        foreach_copy(places, list(values))


def _rms(stacked: Tensor) -> Tensor:
    """[N]: the root mean square of each of N tensors."""
    flat = stacked.reshape(len(stacked), -1)
    return flat.norm(2, dim=1) / (flat.size(1) ** 0.5)
