"""Attention over the concatenated rows of a batch, without padding.

Shape letters: B rows, S tokens of the longest row, T tokens in total, H heads, D width of a head.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from transformers import AttentionInterface

from ke_t5.models.dropout import factors
from ke_t5.products import small_products

ATTENTION = "ke_t5_unpadded"
# The cost of a token besides its attention to the tokens of its row, and of another block of rows,
# in pairs of tokens; measured on a CPU with rows of 4 to 60 tokens.
COST_OF_TOKEN, COST_OF_BLOCK = 40, 8192


@dataclass(frozen=True)
class Block:
    """Rows of similar length: attention computes them together, padded to the longest.

    Attributes:
        tokens: total number of tokens.
        shape: (rows, tokens of the longest).
        places: [tokens], the position of each among the padded rows; None if all are equally long.
        mask: [rows, 1, 1, longest] to add to scores, -inf for padding; None if all rows are equally
            long.
    """

    tokens: int
    shape: tuple[int, int]
    places: Tensor | None = None
    mask: Tensor | None = None


@dataclass(frozen=True)
class UnpaddedRows:
    """The layout of a padded batch's rows when concatenated, the longest first.

    Attributes:
        shape: (B, S) of the padded batch.
        tokens: [T], the index of each token in the flattened padded batch of B x S.
        firsts: [B], the index of each row's first token among the T.
        rows: [T], the row of each token in the order of concatenation.
        blocks: the rows, split into blocks of similar length.
        only_first: whether attention is computed for the rows' first tokens only.
    """

    shape: tuple[int, int]
    tokens: Tensor
    firsts: Tensor
    rows: Tensor
    blocks: tuple[Block, ...]
    only_first: bool = False

    @property
    def columns(self) -> Tensor:
        """[1, T]: each token's column in the padded batch."""
        return self.tokens.remainder(self.shape[1])[None]

    def flat(self, padded: Tensor) -> Tensor:
        """[1, T, ...] from [B, S, ...]."""
        return cast(Tensor, _Taken.apply(padded.flatten(0, 1), self.tokens)).unsqueeze(0)

    def padded(self, flat: Tensor, filling: float = 0.0) -> Tensor:
        """[B, S, ...] from [1, T, ...]; padding is `filling`."""
        return self._spread(flat, self.tokens, filling)

    def first(self, flat: Tensor) -> Tensor:
        """[1, B, ...] from [1, T, ...]: the rows' first tokens."""
        return cast(Tensor, _Taken.apply(flat.squeeze(0), self.firsts)).unsqueeze(0)

    def repeated(self, firsts: Tensor) -> Tensor:
        """[1, T, ...] from [1, B, ...]: each row's value for all its tokens."""
        return firsts.index_select(1, self.rows)

    def padded_first(self, flat: Tensor) -> Tensor:
        """[B, S, ...] from [1, B, ...]; NaN for all but the rows' first tokens."""
        return self._spread(flat, self.tokens[self.firsts], torch.nan)

    def _spread(self, flat: Tensor, places: Tensor, filling: float) -> Tensor:
        rows, longest = self.shape
        spread = cast(Tensor, _Spread.apply(flat.squeeze(0), places, rows * longest, filling))
        return spread.unflatten(0, (rows, longest))


def unpadded_rows(mask: np.ndarray, device: torch.device) -> UnpaddedRows | None:
    """The layout of a batch's rows when concatenated; None if there is no padding, or if a row has
    no token or has padding between its tokens.

    Args:
        mask: [..., S], nonzero for a token.
    """
    mask = mask.reshape(-1, mask.shape[-1]) != 0
    width, lengths, firsts = mask.shape[1], mask.sum(axis=1), mask.argmax(axis=1)
    ends = width - mask[:, ::-1].argmax(axis=1)
    if mask.all() or not lengths.all() or (ends - firsts != lengths).any():
        return None
    order = np.argsort(-lengths, kind="stable")
    lengths = lengths[order]
    starts = order * width + firsts[order]
    tokens = np.repeat(starts, lengths) + _within(lengths)
    blocks = tuple(_block(lengths[first:end], device) for first, end in _cuts(lengths))
    firsts, numbers = np.cumsum(lengths) - lengths, np.repeat(np.arange(len(lengths)), lengths)
    return UnpaddedRows(
        (len(mask), width), _on(tokens, device), _on(firsts, device), _on(numbers, device), blocks
    )


def _within(lengths: np.ndarray) -> np.ndarray:
    """Each token's position in its row, for concatenated rows of these lengths."""
    return np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)


def _on(array: np.ndarray, device: torch.device) -> Tensor:
    tensor = torch.from_numpy(array)
    if device.type == "cuda":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


def _block(lengths: np.ndarray, device: torch.device) -> Block:
    rows, longest, total = len(lengths), int(lengths[0]), int(lengths.sum())
    if total == rows * longest:
        return Block(total, (rows, longest))
    places = np.repeat(np.arange(rows) * longest, lengths) + _within(lengths)
    mask = np.where(np.arange(longest) < lengths[:, None], 0, -np.inf).astype(np.float32)
    return Block(total, (rows, longest), _on(places, device), _on(mask, device)[:, None, None])


def _cuts(lengths: np.ndarray, first: int = 0) -> Iterator[tuple[int, int]]:
    """(first, end) of each block of rows, the longest first.

    Rows are split in two as long as that saves more padding than another block costs.
    """
    widths = lengths.astype(np.int64)
    costs = widths * (widths + COST_OF_TOKEN)
    cuts = np.arange(1, len(lengths))
    saved = (len(lengths) - cuts) * (costs[0] - costs[1:])
    if not len(cuts) or saved.max() <= COST_OF_BLOCK:
        yield first, first + len(lengths)
        return
    cut = int(cuts[saved.argmax()])
    yield from _cuts(lengths[:cut], first)
    yield from _cuts(lengths[cut:], first + cut)


class _Spread(torch.autograd.Function):
    """[N, ...] from [T, ...]: its rows at these places, `filling` elsewhere."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, places: Tensor, size: int, filling: float = 0.0) -> Tensor:
        ctx.save_for_backward(places)
        filled = rows.new_full((size, *rows.shape[1:]), filling)
        return filled.index_copy_(0, places, rows)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        (places,) = ctx.saved_tensors
        return gradients[0].index_select(0, places), None, None, None


class _Taken(torch.autograd.Function):
    """[T, ...] from [N, ...]: the rows at these places, which must be distinct."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, places: Tensor) -> Tensor:
        ctx.save_for_backward(places)
        ctx.size = len(rows)
        return rows.index_select(0, places)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (places,) = ctx.saved_tensors
        zeros = gradients[0].new_zeros((ctx.size, *gradients[0].shape[1:]))
        return zeros.index_copy_(0, places, gradients[0]), None


def unpadded_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    unpadded: UnpaddedRows,
    dropout: float = 0.0,
    scaling: float | None = None,
    position_bias: Tensor | None = None,
    sliding_window: int | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """[1, T, H, D]: attention of each token to its own row; None for the attention weights.

    Args:
        query, key, value: [1, H, T, D].
        attention_mask: None; the mask follows from the rows.
        position_bias: [1, H, S, S], added to the scores by the tokens' positions in their rows.
        sliding_window: tokens at this distance or further are masked.
    """
    if unpadded.only_first:
        return _attention_of_firsts(unpadded, query, key, value, dropout, scaling), None
    sizes = [block.tokens for block in unpadded.blocks]
    whole = [states.squeeze(0).transpose(0, 1) for states in (query, key, value)]
    parts = [[one] if len(sizes) == 1 else one.split(sizes) for one in whole]
    is_plain = position_bias is None and sliding_window is None
    is_ours = dropout > 0 and is_plain and query.device.type == "cpu"
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    seen: list[Any] = []
    for block, *states in zip(unpadded.blocks, *parts, strict=True):
        if is_ours:
            seen.append(_DroppedOut.apply(block, *states, dropout, scale))
            continue
        query, key, value = (_rows_of(block, one) for one in states)
        mask = _mask_of(block, key, position_bias, sliding_window)
        values = functional.scaled_dot_product_attention(
            query, key, value, attn_mask=mask, dropout_p=dropout, scale=scale
        )
        values = values.transpose(1, 2).flatten(0, 1)
        seen.append(values if block.places is None else _Taken.apply(values, block.places))
    return (seen[0] if len(seen) == 1 else torch.cat(seen)).unsqueeze(0), None


def _attention_of_firsts(
    rows: UnpaddedRows,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    dropout: float,
    scaling: float | None,
) -> Tensor:
    """[1, T, H, D]: attention of the rows' first tokens, zeros for the others.

    Args:
        query: [1, H, T, D], each row's first query repeated for all its tokens.
    """
    of_first, key, value = (
        states.squeeze(0).transpose(0, 1).to(torch.promote_types(states.dtype, torch.float32))
        for states in (query, key, value)
    )
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    scores = ((of_first * key).sum(-1) * scale).unsqueeze(0)
    shares = rows.flat(rows.padded(scores, -torch.inf).softmax(1)).squeeze(0)
    if dropout > 0:
        on_cpu = shares.device.type == "cpu"
        shares = (
            shares * factors(shares, dropout) if on_cpu else functional.dropout(shares, dropout)
        )
    seen = torch.zeros_like(value).index_add_(0, rows.firsts[rows.rows], shares[..., None] * value)
    return seen.to(query.dtype).unsqueeze(0)


class _DroppedOut(torch.autograd.Function):
    """[tokens, H, D]: attention in a block with dropout, for which torch has no kernel on a CPU.

    torch's fallback copies each tensor several times; this makes a whole step a tenth faster.
    As in torch, bfloat16 is computed in float32.
    """

    @staticmethod
    @small_products()
    def forward(
        ctx: Any,
        block: Block,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        dropout: float,
        scale: float,
    ) -> Tensor:
        (rows, longest), heads = block.shape, query.shape[1]
        places, ctx.dtype = _places_by_head(block, heads, query.device), query.dtype
        query, key, value = (
            _by_head(states, places, rows * heads, longest) for states in (query, key, value)
        )
        scores = query.new_empty(rows * heads, longest, longest)
        with torch.autocast(query.device.type, enabled=False):
            scores.baddbmm_(query, key.mT, beta=0, alpha=scale)
            if block.mask is not None:
                scores.view(rows, heads, longest, longest).add_(block.mask)
            shares = scores.softmax(-1)
            kept = factors(shares, dropout)
            seen = shares * kept
            values = seen @ value
        ctx.save_for_backward(query, key, value, shares, kept, seen, places)
        ctx.scale, ctx.heads = scale, heads
        return _by_token(values, places, heads, ctx.dtype)

    @staticmethod
    @small_products()
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:
        query, key, value, shares, kept, seen, places = ctx.saved_tensors
        gradient = _by_head(gradients[0], places, *query.shape[:2])
        of_value = seen.mT @ gradient
        of_shares = (gradient @ value.mT).mul_(kept).mul_(shares)
        # The gradient of softmax: s * (g - sum(s * g)).
        of_scores = of_shares.addcmul_(shares, of_shares.sum(-1, keepdim=True), value=-1)
        of_scores.mul_(ctx.scale)
        found = (of_scores @ key, of_scores.mT @ query, of_value)
        return None, *(_by_token(one, places, ctx.heads, ctx.dtype) for one in found), None, None


def _places_by_head(block: Block, heads: int, device: torch.device) -> Tensor:
    """[tokens x H]: the index of each token and head in a flattened [rows, H, longest]."""
    rows, longest = block.shape
    places = torch.arange(rows * longest, device=device) if block.places is None else block.places
    firsts = places + places.div(longest, rounding_mode="floor") * (longest * (heads - 1))
    return (firsts[:, None] + torch.arange(heads, device=device) * longest).flatten()


def _by_head(states: Tensor, places: Tensor, rows: int, longest: int) -> Tensor:
    """[rows x H, longest, D] from [tokens, H, D], in at least 32 bits; padding is zero."""
    width = states.shape[-1]
    exact = states.reshape(-1, width).to(torch.promote_types(states.dtype, torch.float32))
    spread = exact.new_zeros(rows * longest, width)
    return spread.index_copy_(0, places, exact).view(rows, longest, width)


def _by_token(states: Tensor, places: Tensor, heads: int, dtype: torch.dtype) -> Tensor:
    """[tokens, H, D] from [rows x H, longest, D]."""
    return states.flatten(0, 1).index_select(0, places).unflatten(0, (-1, heads)).to(dtype)


def _rows_of(block: Block, states: Tensor) -> Tensor:
    """[rows, H, longest, D] from a block's [tokens, H, D]."""
    rows, longest = block.shape
    if block.places is not None:
        states = cast(Tensor, _Spread.apply(states, block.places, rows * longest))
    return states.unflatten(0, (rows, longest)).transpose(1, 2)


def _mask_of(
    block: Block, key: Tensor, bias: Tensor | None, sliding_window: int | None
) -> Tensor | None:
    """The mask of a block, with its biases, for scaled_dot_product_attention; None without any."""
    longest = block.shape[1]
    added = [] if block.mask is None else [block.mask]
    if sliding_window is not None and longest > sliding_window:
        places = torch.arange(longest, device=key.device)
        is_far = (places - places[:, None]).abs() >= sliding_window
        added.append(key.new_zeros(longest, longest).masked_fill(is_far, -torch.inf))
    if bias is not None:
        added.append(bias[:, :, :longest, :longest])
    return sum(added[1:], added[0]).to(key.dtype) if added else None


AttentionInterface.register(ATTENTION, unpadded_attention)
