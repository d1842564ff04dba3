"""Batches in few shapes: with more padding, and filled up with unlabelled rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from transformers import PreTrainedConfig

from ke_t5.forms import IGNORED
from ke_t5.lookup.tokenizer_fit import position_limit
from ke_t5.models.unpadding import losses_agree
from ke_t5.module_state import reset_module_state
from ke_t5.pipe.examples import Examples
from ke_t5.pipe.losses import loss_of
from ke_t5.pipe.masks import MASK
from ke_t5.pipe.model_inputs import GOLD_COLUMNS, model_inputs

# Steps with more tokens keep a GPU busy without a graph.
MOST_TOKENS = 16_384
# Batches of a token budget are filled up to a multiple of it.
ROWS = 8


@dataclass(frozen=True)
class StaticShapes:
    """The shapes of batches.

    Attributes:
        pads: the padding value of each padded column.
        side: the side that is padded.
        limit: number of tokens that the model has positions for, None if unlimited.
        num_rows: number of rows of a full batch; None for a token budget.
        fills_rows: whether batches are filled up with unlabelled rows, which the loss must ignore.
    """

    pads: Mapping[str, int]
    side: str = "right"
    limit: int | None = None
    num_rows: int | None = None
    fills_rows: bool = True

    def fitted(self, columns: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The columns of a batch with more padding and more rows; a large batch unchanged."""
        columns = dict(columns)
        widths = {name: columns[name].shape[-1] for name in self.pads if name in columns}
        rows = len(columns["input_ids"])
        if rows * sum(widths.get(name, 0) for name in ("input_ids", "labels")) > MOST_TOKENS:
            return columns
        for name, width in widths.items():
            more = self._width(width) - width
            ends = (more, 0) if self.side == "left" else (0, more)
            sides = [(0, 0)] * (columns[name].ndim - 1) + [ends]
            columns[name] = np.pad(columns[name], sides, constant_values=self.pads[name])
        missing = self._rows(rows) - rows if self.fills_rows else 0
        return _with_fillers(columns, missing) if missing > 0 else columns

    def _width(self, width: int) -> int:
        whole = _multiple(width, 8 if width <= 64 else 16)
        return whole if self.limit is None else min(whole, max(width, self.limit))

    def _rows(self, rows: int) -> int:
        if self.num_rows is not None:
            return self.num_rows
        return rows if rows < ROWS else _multiple(rows, ROWS)


def _multiple(number: int, of: int) -> int:
    return -(-number // of) * of


def _with_fillers(columns: dict[str, np.ndarray], missing: int) -> dict[str, np.ndarray]:
    """The columns with `missing` copies of the first row appended, without its label."""
    filled = {}
    for name, column in columns.items():
        fillers = np.repeat(column[:1], missing, axis=0)
        filled[name] = np.concatenate(
            [column, np.full_like(fillers, IGNORED) if name in GOLD_COLUMNS else fillers]
        )
    return filled


def find_shapes(
    examples: Examples,
    module: torch.nn.Module,
    *,
    num_rows: int | None,
    fills_rows: bool,
    device: torch.device,
) -> StaticShapes:
    """The shapes of the batches of these examples.

    Raises:
        ValueError("reason"): batches cannot be fitted to few shapes.
    """
    has_choices = examples.features["input_ids"].rank == 2
    pads = {MASK: 0}
    for name, column in examples.columns.items():
        feature = examples.features[name]
        if feature.rank == 2 and not has_choices:
            raise ValueError(f"the shape of {name} differs from batch to batch")
        if column.offsets is not None and not feature.dtype.startswith("float"):
            pads[name] = feature.pad_value()
    gold = [name for name in examples.columns if name in GOLD_COLUMNS]
    are_left_out = gold == ["labels"] and examples.features["labels"].dtype.startswith("int")
    config = getattr(module, "config", None)
    limit = position_limit(config) if isinstance(config, PreTrainedConfig) else None
    shapes = StaticShapes(
        pads, examples.padding_side(), limit, num_rows, fills_rows and are_left_out
    )
    tries = [shapes, replace(shapes, fills_rows=False)] if shapes.fills_rows else [shapes]
    for one in tries:
        if _is_exact(one, module, examples, device):
            return one
    raise ValueError("its loss changes with more padding")


@torch.no_grad()
def _is_exact(
    shapes: StaticShapes, module: torch.nn.Module, examples: Examples, device: torch.device
) -> bool:
    """Whether a few rows of different lengths have the same loss when fitted to the shapes."""
    labelled = np.flatnonzero(examples.row_counts()[:1000] > 0)
    lengths = examples.row_lengths("input_ids")[labelled]
    by_length = labelled[np.argsort(lengths, kind="stable")]
    # Not the longest rows: their batch may have no room for more padding.
    columns = examples.batch(by_length[np.linspace(0, len(by_length) // 2, 3).astype(int)])
    was_training = module.training
    module.eval()
    try:
        losses = []
        for batch in (columns, replace(shapes, num_rows=ROWS).fitted(columns)):
            reset_module_state(module)
            losses.append(loss_of(module(**model_inputs(module, batch, device))))
    finally:
        module.train(was_training)
    return losses_agree(*losses)
