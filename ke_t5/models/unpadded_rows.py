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

from ke_t5.models.attention import (
    attention,
    dropped_out,
    exact_dtype,
    input_gradients,
    score_gradients,
)
from ke_t5.models.dropout import factors
from ke_t5.products import small_products

ATTENTION = "ke_t5_unpadded"
# The cost of a token besides its attention to the tokens of its row, and of another block of rows,
# in pairs of tokens; measured on a CPU with rows of 4 to 60 tokens.
COST_OF_TOKEN, COST_OF_BLOCK = 40, 8192
# For products of a new number of tokens, oneDNN generates code: 0.5 ms and 0.5 MB each.
TOKENS_STEP = 8


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

    On a CPU some padding follows, so that the batches have few different numbers of tokens.

    Attributes:
        shape: (B, S) of the padded batch.
        tokens: [T], the index of each token in the flattened padded batch of B x S.
        firsts: [B], the index of each row's first token among the T.
        rows: [T], the row of each token in the order of concatenation.
        num_real: the number of the T that are not padding.
        blocks: the rows, split into blocks of similar length.
        only_first: whether attention is computed for the rows' first tokens only.
    """

    shape: tuple[int, int]
    tokens: Tensor
    firsts: Tensor
    rows: Tensor
    num_real: int
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
        real = self.num_real
        return self._spread(flat[:, :real], self.tokens[:real], filling)

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
    num_real = len(tokens)
    if device.type == "cpu":
        padding = np.flatnonzero(~mask)[: _missing(num_real)]
        tokens = np.concatenate([tokens, padding])
        numbers = np.concatenate([numbers, np.zeros_like(padding)])
    tokens, firsts, numbers = (on_device(array, device) for array in (tokens, firsts, numbers))
    return UnpaddedRows((len(mask), width), tokens, firsts, numbers, num_real, blocks)


def _missing(num_tokens: int) -> int:
    """How many more tokens make the number a multiple of `TOKENS_STEP`, or of up to a 32nd of it if
    that is more."""
    step = max(TOKENS_STEP, 1 << max(0, num_tokens.bit_length() - 6))
    return -num_tokens % step


def _within(lengths: np.ndarray) -> np.ndarray:
    """Each token's position in its row, for concatenated rows of these lengths."""
    return np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)


def on_device(array: np.ndarray, device: torch.device) -> Tensor:
    """The array on a device, copied to a GPU without waiting."""
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
    return Block(
        total, (rows, longest), on_device(places, device), on_device(mask, device)[:, None, None]
    )


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
    whole = [states.squeeze(0).transpose(0, 1) for states in (query, key, value)]
    sizes = [block.tokens for block in unpadded.blocks]
    num_padding = len(whole[0]) - sum(sizes)
    sizes[-1] += num_padding
    parts = [[one] if len(sizes) == 1 else one.split(sizes) for one in whole]
    is_plain = position_bias is None and sliding_window is None
    is_ours = dropout > 0 and is_plain and query.device.type == "cpu"
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    seen: list[Any] = []
    for block, *states in zip(unpadded.blocks, *parts, strict=True):
        if is_ours:
            seen.append(_DroppedOut.apply(block, *states, dropout, scale))
            continue
        query, key, value = (_rows_of(block, one[: block.tokens]) for one in states)
        mask = _mask_of(block, key, position_bias, sliding_window)
        values = attention(query, key, value, mask, dropout, scale).transpose(1, 2).flatten(0, 1)
        seen.append(values if block.places is None else _Taken.apply(values, block.places))
    if num_padding and not is_ours:
        seen.append(seen[0].new_zeros(num_padding, *seen[0].shape[1:]))
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
    """[N, H, D]: `attention` with dropout in a block; zeros for those of the N queries that are
    after the block's tokens."""

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
        (rows, longest), (ctx.size, heads, _) = block.shape, query.shape
        places, ctx.dtype = _places_by_head(block, heads, query.device), query.dtype
        query, key, value = (
            _by_head(states, places, rows * heads, longest) for states in (query, key, value)
        )
        values, kept = dropped_out(query, key, value, block.mask, heads, dropout, scale)
        ctx.save_for_backward(*kept, places)
        ctx.scale, ctx.heads = scale, heads
        return _by_token(values, places, ctx.size, heads, ctx.dtype)

    @staticmethod
    @small_products()
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:
        *kept, places = ctx.saved_tensors
        gradient = _by_head(gradients[0], places, *kept[0].shape[:2])
        of_scores, of_value = score_gradients(gradient, kept)
        found = (*input_gradients(of_scores, kept, ctx.scale), of_value)
        size = ctx.size, ctx.heads, ctx.dtype
        return None, *(_by_token(one, places, *size) for one in found), None, None


def _places_by_head(block: Block, heads: int, device: torch.device) -> Tensor:
    """[tokens x H]: the index of each token and head in a flattened [rows, H, longest]."""
    rows, longest = block.shape
    places = torch.arange(rows * longest, device=device) if block.places is None else block.places
    firsts = places + places.div(longest, rounding_mode="floor") * (longest * (heads - 1))
    return (firsts[:, None] + torch.arange(heads, device=device) * longest).flatten()


def _by_head(states: Tensor, places: Tensor, rows: int, longest: int) -> Tensor:
    """[rows x H, longest, D] from [N, H, D], in at least 32 bits; padding is zero."""
    width = states.shape[-1]
    exact = states.reshape(-1, width)[: len(places)].to(exact_dtype(states))
    spread = exact.new_zeros(rows * longest, width)
    return spread.index_copy_(0, places, exact).view(rows, longest, width)


def _by_token(states: Tensor, places: Tensor, size: int, heads: int, dtype: torch.dtype) -> Tensor:
    """[N, H, D] from [rows x H, longest, D], zero after the block's tokens."""
    taken = states.new_empty(size * heads, states.shape[-1])
    torch.index_select(states.flatten(0, 1), 0, places, out=taken[: len(places)])
    taken[len(places) :].zero_()
    return taken.unflatten(0, (size, heads)).to(dtype)


def _rows_of(block: Block, states: Tensor) -> Tensor:
    """[rows, H, longest, D] from a block's [tokens, H, D]."""
    rows, longest = block.shape
    if block.places is not None:
        states = cast(Tensor, _Spread.apply(states, block.places, rows * longest))
    return states.unflatten(0, (rows, longest)).transpose(1, 2)


def _mask_of(
    block: Block, key: Tensor, bias: Tensor | None, sliding_window: int | None
) -> Tensor | None:
    """The mask of a block, with its biases, for `attention`; None without any."""
    longest = block.shape[1]
    added = [] if block.mask is None else [block.mask]
    if sliding_window is not None and longest > sliding_window:
        places = torch.arange(longest, device=key.device)
        is_far = (places - places[:, None]).abs() >= sliding_window
        added.append(key.new_zeros(longest, longest).masked_fill(is_far, -torch.inf))
    if bias is not None:
        added.append(bias[:, :, :longest, :longest])
    return sum(added[1:], added[0]) if added else None


AttentionInterface.register(ATTENTION, unpadded_attention)
