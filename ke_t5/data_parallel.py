"""Data parallelism with a full model in each process: torch's DistributedDataParallel."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
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
    """The wrapped model: it averages gradients over processes and starts at rank 0's weights.

    Args:
        compresses: whether gradients are exchanged in bf16.
        apart: parameters whose gradients the caller synchronizes.
    """
    if apart:
        _exclude(model, apart)
    # Buffers are constants: equal at the start is enough. torch 2.13 renamed the option that
    # synchronizes them in each step; before, it left them out at the start, too.
    parameters = inspect.signature(DistributedDataParallel).parameters
    is_new = "forward_sync_buffers" in parameters
    if not is_new:
        start_equal(model.buffers())
    options: dict[str, Any] = {
        "device_ids": [device.index] if device.type == "cuda" else None,
        "forward_sync_buffers" if is_new else "broadcast_buffers": False,
        "find_unused_parameters": find_unused_parameters,
        "gradient_as_bucket_view": True,
    }
    wrapped = DistributedDataParallel(model, **options)
    if compresses:
        # DDP refuses the hook itself on CPUs, although gloo supports it; it accepts a lambda.
        wrapped.register_comm_hook(None, lambda state, bucket: bf16_compress_hook(state, bucket))
    return wrapped


def start_equal(tensors: Iterable[Tensor]) -> None:
    """Sets the tensors to those of rank 0."""
    for tensor in tensors:
        values = tensor.detach().contiguous()  # gloo ignores strides
        dist.broadcast(values, src=0)
        if values.data_ptr() != tensor.data_ptr():
            tensor.detach().copy_(values)


def _exclude(model: nn.Module, parameters: Sequence[nn.Parameter]) -> None:
    """Makes DDP ignore these parameters; broadcasts rank 0's values, as DDP would."""
    keys = {id(parameter) for parameter in parameters}
    named = model.named_parameters(remove_duplicate=False)
    names = [name for name, parameter in named if id(parameter) in keys]
    DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(model, names)
    start_equal(parameters)
