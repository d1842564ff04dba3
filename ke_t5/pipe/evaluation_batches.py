"""Evaluation batches: rows of similar length, the same for any number of processes."""

from __future__ import annotations

import numpy as np

# Padded tokens that keep a GPU busy; with fewer it waits for kernel launches.
GPU_TOKENS = 16_384
# Logits of a batch's targets over the vocabulary: a GiB of fp32.
GPU_LOGITS = 2**28
# Limits of a batch that is generated on a CPU, where its rows share the reading of the weights,
# most of a step's time; and the least number of batches, for all threads and processes.
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
    """Fixed batches of positions, longest first; batch i goes to rank i mod R.

    Without `tokens` a batch has `batch_size` rows, or more if they are short: up to `GPU_TOKENS`
    and `GPU_LOGITS` on a GPU, and up to the `CPU_` limits for generation on a CPU, where larger
    batches gain nothing otherwise.

    Args:
        tokens: budget of padded tokens per batch; a longer row is a batch by itself.
        copies: how many times each row is computed, such as the beams of a generation.
        logits: the largest number of logits of a row.
        device: the type of the device.
        is_generated: whether outputs are generated token by token.
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
