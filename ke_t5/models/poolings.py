"""Poolings of the vectors of tokens, or of layers, into one vector.

Shape letters: B rows, S tokens, D width, L layers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

Pool = Callable[[Tensor, Tensor], Tensor]


def first_token(hidden: Tensor, mask: Tensor) -> Tensor:
    """[B, D]: the first unmasked token of [B, S, D]."""
    first = mask.int().argmax(dim=1)
    return hidden[torch.arange(hidden.size(0), device=hidden.device), first]


def last_token(hidden: Tensor, mask: Tensor) -> Tensor:
    """[B, D]: the last unmasked token of [B, S, D]."""
    places = torch.arange(hidden.size(1), device=hidden.device)
    last = places.where(mask, 0).argmax(dim=1)
    return hidden[torch.arange(hidden.size(0), device=hidden.device), last]


def mean_over_tokens(hidden: Tensor, mask: Tensor) -> Tensor:
    """[B, D]: the mean of [B, S, D] over the mask; 0 if it is empty."""
    mask = mask.unsqueeze(-1).to(hidden.dtype)
    return (hidden * mask).sum(1) / mask.sum(1).clamp(min=1)


def sum_over_root_length(hidden: Tensor, mask: Tensor) -> Tensor:
    """[B, D]: the sum of [B, S, D] over the mask, divided by the square root of its length."""
    mask = mask.unsqueeze(-1).to(hidden.dtype)
    return (hidden * mask).sum(1) / mask.sum(1).clamp(min=1).sqrt()


def span_mean(hidden: Tensor, spans: Tensor) -> Tensor:
    """[B, D]: the mean of [B, S, D] over token spans [B, 2] (end exclusive); 0 if it is empty."""
    places = torch.arange(hidden.size(1), device=hidden.device)
    inside = (places >= spans[:, :1]) & (places < spans[:, 1:])
    weights = inside.to(hidden.dtype)
    weights = weights / weights.sum(1, keepdim=True).clamp(min=1)
    return torch.bmm(weights.unsqueeze(1), hidden).squeeze(1)


class Pooler(nn.Module):
    """A text's vector [B, D]: the result of `pool`, through two layers."""

    def __init__(self, width: int, dropout: float, pool: Pool) -> None:
        super().__init__()
        self.dense1 = nn.Linear(width, width)
        self.dense2 = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)
        self.pool = pool

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        pooled = functional.relu(self.dense1(self.pool(hidden, mask)))
        return self.dense2(self.dropout(pooled))


class TokenAttention(nn.Module):
    """A text's vector [B, D]: the mean of its tokens weighted by attention to a learned query.

    It is initialized to the plain mean. 0 if the mask is empty.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.zeros(width))

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        scores = (hidden @ self.query.to(hidden.dtype)).float() * hidden.size(-1) ** -0.5
        weights = scores.masked_fill(~mask, torch.finfo(scores.dtype).min).softmax(-1) * mask
        return torch.bmm(weights.to(hidden.dtype).unsqueeze(1), hidden).squeeze(1)


class LayerMix(nn.Module):
    """Token vectors [B, S, D]: a mean of all layers, including the embedding, with learned weights
    that start equal.

    Each layer is first standardized (mean 0, variance 1 per token), an option of ELMo's mix:
    vectors grow from layer to layer, and most encoders normalize only the last layer.
    """

    def __init__(self, layers: int) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.zeros(layers))

    def forward(self, layers: Sequence[Tensor]) -> Tensor:
        if len(layers) != len(self.weights):
            raise ValueError(f"the encoder has {len(layers)} layers, not {len(self.weights)}")
        shares = self.weights.softmax(0).to(layers[0].dtype)
        mixed = torch.zeros_like(layers[0])
        for share, layer in zip(shares, layers, strict=True):
            mixed = mixed + share * functional.layer_norm(layer, layer.shape[-1:])
        return mixed
