"""Batches of an evaluation: of rows of one length, the same for any number of processes."""

from __future__ import annotations

import numpy as np

# Padded tokens with which a GPU is busy: at fewer it waits for its launches.
GPU_TOKENS = 16_384
# Logits of the targets of a batch, each a row of the vocabulary: a GiB of fp32.
GPU_LOGITS = 2**28
# Of a generation on a CPU: its rows share the reading of the weights, most of a step's time.
# At least so many batches, so that every thread and process has some.
CPU_ROWS, CPU_TOKENS, CPU_LOGITS, CPU_BATCHES = 64, 8192, 2**26, 8


def evaluation_batches(
    lengths: np.ndarray,
    batch_size: int,
    *,
    tokens: int | None = None,
    copies: int = 1,
    logits: int = 1,
    device: str = "cpu",
    is_generated: bool = False,
) -> list[np.ndarray]:
    """Fixed batches of positions, longest first.

    They do not depend on the number of processes: batch i goes to rank i mod R. Without `tokens` a
    batch has `batch_size` rows; on a GPU more of short ones, up to `GPU_TOKENS` and `GPU_LOGITS`.
    On a CPU so does a generation; for others larger batches gain nothing there.

    Args:
        tokens: padded tokens of a batch, which has at least one row.
        copies: how often each row is computed: the beams of a generation.
        logits: how many a row may have.
        device: the type of the device.
        is_generated: whether answers are written token by token.
    """
    lengths = np.asarray(lengths)
    order = np.argsort(-lengths, kind="stable")
    share = min(CPU_ROWS, -(-len(order) // CPU_BATCHES), CPU_LOGITS // max(1, logits))
    batches, start = [], 0
    while start < len(order):
        cost = max(1, int(lengths[order[start]])) * copies
        rows = batch_size
        if tokens is not None:
            rows = max(1, tokens // cost)
        elif device == "cuda":
            rows = max(batch_size, min(GPU_TOKENS // cost, GPU_LOGITS // max(1, logits)))
        elif is_generated:
            rows = max(batch_size, min(CPU_TOKENS // cost, share))
        batches.append(order[start : start + rows])
        start += rows
    return batches
