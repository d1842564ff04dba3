"""Attention with dropout on a CPU, for which torch has no kernel.

torch's fallback copies each tensor several times; this makes a whole step 6 to 10 % faster. As in
torch, bfloat16 is computed in float32.

Shape letters: R rows, H heads, N rows times heads, L queries and S keys of a row, D width of a
head.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional

from ke_t5.models.dropout import factors
from ke_t5.products import small_products


def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    added: Tensor | None,
    dropout: float,
    scale: float | None = None,
) -> Tensor:
    """[R, H, L, D]: torch's scaled_dot_product_attention, faster with dropout on a CPU.

    Args:
        query: [R, H, L, D].
        key, value: [R, H, S, D].
        added: added to the scores, of a shape that broadcasts to [R, H, L, S]; may need a gradient.
        dropout: the probability with which a share of the attention is dropped.
        scale: a factor of the scores; None: D ** -0.5.
    """
    if dropout > 0 and query.device.type == "cpu":
        scale = query.shape[-1] ** -0.5 if scale is None else scale
        return cast(Tensor, _DroppedOut.apply(query, key, value, added, dropout, scale))
    mask = None if added is None else added.to(query.dtype)
    return functional.scaled_dot_product_attention(
        query, key, value, attn_mask=mask, dropout_p=dropout, scale=scale
    )


class _DroppedOut(torch.autograd.Function):
    @staticmethod
    @small_products()
    def forward(
        ctx: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        added: Tensor | None,
        dropout: float,
        scale: float,
    ) -> Tensor:
        ctx.shape, ctx.dtype, ctx.scale = query.shape[:2], query.dtype, scale
        ctx.added = None if added is None else (added.shape, added.dtype)
        query, key, value = (
            states.flatten(0, 1).to(exact_dtype(states)) for states in (query, key, value)
        )
        values, kept = dropped_out(query, key, value, added, ctx.shape[1], dropout, scale)
        ctx.save_for_backward(*kept)
        return values.unflatten(0, ctx.shape).to(ctx.dtype)

    @staticmethod
    @small_products()
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:
        gradient = gradients[0].flatten(0, 1).to(exact_dtype(gradients[0]))
        of_scores, of_value = score_gradients(gradient, ctx.saved_tensors)
        of_added = None
        if ctx.needs_input_grad[3]:
            shape, dtype = ctx.added
            of_added = of_scores.unflatten(0, ctx.shape).sum_to_size(shape).to(dtype)
        found = (*input_gradients(of_scores, ctx.saved_tensors, ctx.scale), of_value)
        found = (one.unflatten(0, ctx.shape).to(ctx.dtype) for one in found)
        return *found, of_added, None, None


def exact_dtype(states: Tensor) -> torch.dtype:
    """The type of these states, with at least 32 bits."""
    return torch.promote_types(states.dtype, torch.float32)


def dropped_out(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    added: Tensor | None,
    heads: int,
    dropout: float,
    scale: float,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """[N, L, D], the values seen, and the tensors that their gradient needs.

    Args:
        query: [N, L, D].
        key, value: [N, S, D].
        added: see `attention`.
    """
    scores = query.new_empty(len(query), query.shape[1], key.shape[1])
    with torch.autocast(query.device.type, enabled=False):
        scores.baddbmm_(query, key.mT, beta=0, alpha=scale)
        if added is not None:
            scores.unflatten(0, (-1, heads)).add_(added)
        shares = scores.softmax(-1)
        kept = factors(shares, dropout)
        seen = shares * kept
        return seen @ value, (query, key, value, shares, kept, seen)


def score_gradients(gradient: Tensor, kept: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """The gradients of the scores, [N, L, S], and of the values, [N, S, D].

    Args:
        gradient: [N, L, D], that of the values seen.
        kept: the tensors from `dropped_out`.
    """
    _, _, value, shares, factor, seen = kept
    of_value = seen.mT @ gradient
    of_shares = (gradient @ value.mT).mul_(factor).mul_(shares)
    # The gradient of softmax: s * (g - sum(s * g)).
    return of_shares.addcmul_(shares, of_shares.sum(-1, keepdim=True), value=-1), of_value


def input_gradients(
    of_scores: Tensor, kept: Sequence[Tensor], scale: float
) -> tuple[Tensor, Tensor]:
    """The gradients of the queries, [N, L, D], and of the keys, [N, S, D]."""
    query, key = kept[:2]
    return (of_scores @ key).mul_(scale), (of_scores.mT @ query).mul_(scale)
