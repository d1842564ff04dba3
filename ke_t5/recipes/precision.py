"""The precision of the steps of a training (`fit.precision`)."""

from __future__ import annotations

import dataclasses
import logging

import torch
from torch import nn

from ke_t5.checkpoint.settings import PRECISION
from ke_t5.config.run_config import RunConfig
from ke_t5.distributed import Ranks
from ke_t5.products import cpu_words
from ke_t5.recipes.batch_change import progress_of_run
from ke_t5.train.settings import AUTO, BF16, BF16_STEPS, PRECISIONS, resolved_precision

logger = logging.getLogger(__name__)

# A step of RoBERTa on 300 tokens in bf16 compared with fp32 by oneDNN, in CPU seconds on a Zen 5: 2
# layers of width 64 take 1.3 times as long (by MKL); 4 of 128 or 192 are 1.05 times as fast, of 256
# 1.1, 6 of 384 1.2, 4 of 768 1.25. In narrow layers the casts cost what the products save.
WIDE = 256


def choose_precision(config: RunConfig, module: nn.Module, ranks: Ranks) -> RunConfig:
    """The configuration with the precision in force, the same on all processes.

    A resumed run keeps its precision on any machine.
    """
    chosen = config.fit.precision
    if chosen == AUTO and config.origin.is_resumed:
        chosen = _precision_of_run(config, ranks)
    has_bf16 = ranks.device.type != "cpu" or _all_have_bf16(ranks)
    if chosen == AUTO:
        chosen = resolved_precision(config.fit, ranks.device)
        if ranks.device.type == "cpu" and has_bf16 and not config.is_sharded and is_wide(module):
            chosen = BF16_STEPS
    elif chosen in (BF16, BF16_STEPS) and not has_bf16:
        logger.warning("%s: %r is slow here: the CPU has no instructions for it", PRECISION, chosen)
    return dataclasses.replace(config, fit=dataclasses.replace(config.fit, precision=chosen))


def _precision_of_run(config: RunConfig, ranks: Ranks) -> str:
    """The precision of the resumed checkpoint. Earlier versions wrote "auto" into it, and the
    resolved precision into run.json."""
    progress = progress_of_run(config, ranks) or {"fixed": {}}
    found = progress["fixed"].get(PRECISION, AUTO)
    if found == AUTO:
        found = ranks.broadcast(config.run.read_run().get("precision") if ranks.is_main else None)
    return found if found in PRECISIONS else AUTO


def _all_have_bf16(ranks: Ranks) -> bool:
    found = ranks.gather(has_bf16_instructions())
    return ranks.broadcast(found is not None and all(found))


def is_wide(module: nn.Module) -> bool:
    """Whether most weights of its linear layers are in layers of at least 256 x 256."""
    sizes = [tuple(part.weight.shape) for part in module.modules() if isinstance(part, nn.Linear)]
    wide = sum(rows * columns for rows, columns in sizes if min(rows, columns) >= WIDE)
    return 2 * wide > sum(rows * columns for rows, columns in sizes)


def has_bf16_instructions() -> bool:
    """Whether this CPU has bf16 instructions (AVX-512 BF16 or AMX) that torch can use."""
    if not torch.backends.mkldnn.is_available():
        return False
    get_capabilities = getattr(torch.cpu, "get_capabilities", None)
    if get_capabilities is not None:
        known = get_capabilities()
        return bool(known.get("avx512_bf16") or known.get("amx_bf16"))
    # Older versions of torch do not report it.
    return not cpu_words().isdisjoint({"avx512_bf16", "amx_bf16"})
