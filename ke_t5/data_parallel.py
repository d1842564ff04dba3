"""Whole models on several processes, which exchange gradients: torch's DistributedDataParallel."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import bf16_compress_hook
from torch.nn.parallel import DistributedDataParallel


def wrap(
    model: nn.Module,
    device: torch.device,
    *,
    find_unused_parameters: bool,
    compresses: bool,
    apart: Sequence[nn.Parameter],
) -> DistributedDataParallel:
    """The model as it computes the mean gradients of all processes, from rank 0's weights on.

    Args:
        compresses: whether gradients are exchanged in bf16.
        apart: parameters whose gradients the caller exchanges.
    """
    if apart:
        _leave_apart(model, apart)
    # The buffers of these models are constants; torch 2.13 has a new name for not sending them.
    parameters = inspect.signature(DistributedDataParallel).parameters
    is_new = "forward_sync_buffers" in parameters
    options: dict[str, Any] = {
        "device_ids": [device.index] if device.type == "cuda" else None,
        "forward_sync_buffers" if is_new else "broadcast_buffers": False,
        "find_unused_parameters": find_unused_parameters,
        "gradient_as_bucket_view": True,
    }
    wrapped = DistributedDataParallel(model, **options)
    if compresses:
        # By its own name DDP refuses it on a CPU, where gloo has it too.
        wrapped.register_comm_hook(None, lambda state, bucket: bf16_compress_hook(state, bucket))
    return wrapped


def _leave_apart(model: nn.Module, parameters: Sequence[nn.Parameter]) -> None:
    """Tells DistributedDataParallel to ignore them, and sends rank 0's to all, as it would."""
    keys = {id(parameter) for parameter in parameters}
    named = model.named_parameters(remove_duplicate=False)
    names = [name for name, parameter in named if id(parameter) in keys]
    DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(model, names)
    for parameter in parameters:
        dist.broadcast(parameter.data, src=0)
