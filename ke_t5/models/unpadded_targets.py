"""Attention of a decoder whose targets are laid end to end.

Shape letters: B rows, S input tokens of the longest, L targets of the longest, T targets in all,
H heads, D width of a head.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from transformers import AttentionInterface

from ke_t5.models.unpadded_rows import UnpaddedRows, unpadded_rows

ATTENTION = "ke_t5_unpadded_targets"


@dataclass(frozen=True)
class UnpaddedTargets:
    """How the targets of a batch lie end to end, and what they see of the inputs.

    Attributes:
        rows: the targets.
        mask: [B, 1, 1, S] to be added to scores, -inf where there is no input.
    """

    rows: UnpaddedRows
    mask: Tensor

    def future(self) -> Tensor:
        """[L, L] to be added to scores: -inf for the targets behind a target."""
        width = self.rows.shape[1]
        return self.mask.new_full((width, width), -torch.inf).triu_(1)


def unpadded_targets(
    mask: np.ndarray, is_target: np.ndarray, device: torch.device
) -> UnpaddedTargets | None:
    """How a batch's targets lie end to end; None if there is no padding among them, or if some row
    has no input, no target, or something else in front of its targets.

    Args:
        mask: [B, S], not 0 for an input.
        is_target: [B, L].
    """
    # One row is laid end to end in no other way.
    if mask.ndim != 2 or is_target.ndim != 2 or len(mask) < 2 or not mask.any(axis=1).all():
        return None
    rows = unpadded_rows(is_target, device) if is_target[:, 0].all() else None
    if rows is None:
        return None
    added = np.where(mask != 0, 0, -np.inf).astype(np.float32)[:, None, None]
    return UnpaddedTargets(rows, torch.from_numpy(added).to(device))


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
    """[1, T, H, D]: the values that each target sees, of its row's targets or inputs; no weights.

    Args:
        query: [1, H, T, D].
        key, value: the same of targets, or [B, H, S, D] of inputs.
        attention_mask: None; what is masked follows from the rows and the bias.
        position_bias: [1, H, L, L] with `UnpaddedTargets.future`; not read for inputs.
    """
    rows, mask = unpadded.rows, unpadded.mask
    if len(key) == 1:
        assert position_bias is not None
        key, value, mask = _padded(rows, key), _padded(rows, value), position_bias
    query = _padded(rows, query)
    values = functional.scaled_dot_product_attention(
        query, key, value, attn_mask=mask.to(query.dtype), dropout_p=dropout, scale=scaling
    )
    return rows.flat(values.transpose(1, 2)), None


def _padded(rows: UnpaddedRows, states: Tensor) -> Tensor:
    """[B, H, L, D] of [1, H, T, D]."""
    return rows.padded(states.transpose(1, 2)).transpose(1, 2)


AttentionInterface.register(ATTENTION, attention_of_targets)
