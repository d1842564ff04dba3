"""Data parallelism with a full model in each process: torch's DistributedDataParallel."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import bf16_compress_hook
from torch.futures import Future
from torch.nn.parallel import DistributedDataParallel


def wrap(
    model: nn.Module,
    device: torch.device,
    *,
    find_unused_parameters: bool,
    compresses: bool,
    apart: Sequence[nn.Parameter],
    mean_: Callable[[Tensor], None] | None,
) -> DistributedDataParallel:
    """The wrapped model: it averages gradients over processes and starts at rank 0's weights.

    Args:
        compresses: whether gradients are exchanged in bf16.
        apart: parameters whose gradients the caller synchronizes.
        mean_: replaces each value by its mean over processes; default: the backend's.
    """
    if apart:
        _exclude(model, apart)
    # The models' buffers are constants that need no synchronization; torch 2.13 renamed the option.
    parameters = inspect.signature(DistributedDataParallel).parameters
    is_new = "forward_sync_buffers" in parameters
    options: dict[str, Any] = {
        "device_ids": [device.index] if device.type == "cuda" else None,
        "forward_sync_buffers" if is_new else "broadcast_buffers": False,
        "find_unused_parameters": find_unused_parameters,
        "gradient_as_bucket_view": True,
    }
    wrapped = DistributedDataParallel(model, **options)
    # DDP checks the annotations of a hook that is not a lambda: it refuses bf16 on CPUs, although
    # gloo supports it.
    if compresses:
        wrapped.register_comm_hook(None, lambda state, bucket: bf16_compress_hook(state, bucket))
    elif mean_ is not None:
        wrapped.register_comm_hook(None, lambda _, bucket: _averaged(bucket.buffer(), mean_))
    return wrapped


def _averaged(gradients: Tensor, mean_: Callable[[Tensor], None]) -> Future[Tensor]:
    mean_(gradients)
    future: Future[Tensor] = Future()
    future.set_result(gradients)
    return future


def _exclude(model: nn.Module, parameters: Sequence[nn.Parameter]) -> None:
    """Makes DDP ignore these parameters; broadcasts rank 0's values, as DDP would."""
    keys = {id(parameter) for parameter in parameters}
    named = model.named_parameters(remove_duplicate=False)
    names = [name for name, parameter in named if id(parameter) in keys]
    DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(model, names)
    for parameter in parameters:
        dist.broadcast(parameter.data, src=0)
