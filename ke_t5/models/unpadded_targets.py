"""Attention of a decoder on concatenated targets.

Shape letters: B rows, S input tokens of the longest row, L targets of the longest row, T targets in
total, H heads, D width of a head.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import AttentionInterface

from ke_t5.models.attention import attention
from ke_t5.models.unpadded_rows import UnpaddedRows, on_device, unpadded_rows

ATTENTION = "ke_t5_unpadded_targets"


@dataclass(frozen=True)
class UnpaddedTargets:
    """The layout of a batch's concatenated targets, and the mask of their inputs.

    Attributes:
        rows: the targets.
        mask: [B, 1, 1, S] to add to scores, -inf for padding.
    """

    rows: UnpaddedRows
    mask: Tensor

    def future(self) -> Tensor:
        """[L, L] to add to scores: -inf for the targets after a target."""
        width = self.rows.shape[1]
        return self.mask.new_full((width, width), -torch.inf).triu_(1)


def unpadded_targets(
    mask: np.ndarray, is_target: np.ndarray, device: torch.device
) -> UnpaddedTargets | None:
    """The layout of a batch's targets, concatenated; None if they have no padding, or if a row has
    no input, no target, or something else before its targets.

    Args:
        mask: [B, S], nonzero for an input.
        is_target: [B, L].
    """
    # A single row has nothing to be concatenated with.
    if mask.ndim != 2 or is_target.ndim != 2 or len(mask) < 2 or not mask.any(axis=1).all():
        return None
    rows = unpadded_rows(is_target, device) if is_target[:, 0].all() else None
    if rows is None:
        return None
    added = np.where(mask != 0, 0, -np.inf).astype(np.float32)[:, None, None]
    return UnpaddedTargets(rows, on_device(added, device))


def attention_of_targets(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    unpadded: UnpaddedTargets,
    dropout: float = 0.0,
    scaling: float | None = None,
    position_bias: Tensor | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """[1, T, H, D]: attention of each target to its row's targets or inputs; None for the weights.

    Args:
        query: [1, H, T, D].
        key, value: [1, H, T, D] of targets, or [B, H, S, D] of inputs.
        attention_mask: None; the mask follows from the rows and the bias.
        position_bias: [1, H, L, L], including `UnpaddedTargets.future`; ignored for inputs.
    """
    rows, mask = unpadded.rows, unpadded.mask
    if len(key) == 1:
        assert position_bias is not None
        key, value, mask = _padded(rows, key), _padded(rows, value), position_bias
    query = _padded(rows, query)
    values = attention(query, key, value, mask, dropout, scaling)
    return rows.flat(values.transpose(1, 2)), None


def _padded(rows: UnpaddedRows, states: Tensor) -> Tensor:
    """[B, H, L, D] from [1, H, T, D]."""
    return rows.padded(states.transpose(1, 2)).transpose(1, 2)


AttentionInterface.register(ATTENTION, attention_of_targets)
