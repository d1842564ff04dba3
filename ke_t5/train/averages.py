"""Averaging gradients over processes after the backward pass, if the model is not wrapped."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ke_t5.distributed import Ranks
from ke_t5.models.kept_gradients import KeptGradients


def averaged_weights(model: nn.Module, kept: KeptGradients | None) -> list[nn.Parameter]:
    """The trained weights of a model, except those whose gradients `kept` exchanges."""
    exchanged = set() if kept is None else set(map(id, kept.apart))
    trained = (one for one in model.parameters() if one.requires_grad)
    return [one for one in trained if id(one) not in exchanged]


def average_gradients(parameters: Sequence[nn.Parameter], ranks: Ranks) -> None:
    """Averages the gradients over processes; those that no process has stay None."""
    has_gradient = torch.tensor([one.grad is not None for one in parameters], dtype=torch.uint8)
    ranks.maximum_(has_gradient)
    gradients: list[Tensor] = []
    for parameter, is_used in zip(parameters, has_gradient.tolist(), strict=True):
        if is_used:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            gradients.append(parameter.grad)
    ranks.mean_(*gradients)
