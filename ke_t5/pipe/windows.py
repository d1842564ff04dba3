"""Documents that exceed a model's length: their windows are concatenated in a column and stacked in
a batch."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

# The column with the length in tokens of each window of a document.
LENGTHS = "window_lengths"


def side_by_side(batch: Mapping[str, np.ndarray], pads: Mapping[str, int]) -> dict[str, np.ndarray]:
    """The batch with its columns of documents [B, T] as [B, W, S], and their `attention_mask`.

    The first token of a missing window is unmasked, because attention over nothing is NaN on some
    machines.

    Args:
        batch: contains the column `window_lengths`, [B, W].
        pads: name of each column of documents -> the value that pads shorter windows.

    >>> batch = {"window_lengths": np.array([[2, 1]]), "input_ids": np.array([[5, 6, 7]])}
    >>> side_by_side(batch, {"input_ids": 0})["input_ids"].tolist()
    [[[5, 6], [7, 0]]]
    """
    lengths = batch[LENGTHS]
    place = np.arange(int(lengths.max(initial=1)))
    is_token = place < lengths[..., None]
    begins = np.cumsum(lengths, axis=1) - lengths
    index = np.where(is_token, begins[..., None] + place, 0)
    found = dict(batch)
    for name, pad in pads.items():
        values = np.take_along_axis(batch[name], index.reshape(len(index), -1), axis=1)
        found[name] = np.where(is_token, values.reshape(index.shape), pad).astype(values.dtype)
    mask = is_token.astype(np.int64)
    mask[..., 0] = 1
    return {**found, "attention_mask": mask}
