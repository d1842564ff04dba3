"""What a model is called with: the columns of a batch as tensors.

torch is imported inside the functions, as in `ke_t5.pipe.prediction`.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING

import numpy as np

from ke_t5.lookup.families import takes_segments
from ke_t5.pipe.model_outputs import Arrays

if TYPE_CHECKING:
    import torch

GOLD_COLUMNS = ("labels", "start_positions", "end_positions", "relation_labels")


def model_inputs(
    model: torch.nn.Module, batch: Arrays, device: torch.device
) -> dict[str, torch.Tensor]:
    """The batch as tensors on `device`, without the columns that this model cannot take."""
    return {
        name: tensor.to(device, non_blocking=True)
        for name, tensor in host_inputs(model, batch, device).items()
    }


def host_inputs(
    model: torch.nn.Module, batch: Arrays, device: torch.device
) -> dict[str, torch.Tensor]:
    """The same tensors on the host, from where they are copied to `device`.

    Only `token_type_ids` may be dropped (see `takes_segments`).
    """
    import torch

    inputs = {}
    for name, array in batch.items():
        if name == "token_type_ids" and not takes_segments(model):
            continue
        dtype = np.float32 if array.dtype.kind == "f" else np.int64
        tensor = torch.from_numpy(np.ascontiguousarray(array, dtype=dtype))
        if device.type == "cuda":
            # From pageable memory CUDA copies only after all work queued on the GPU.
            tensor = tensor.pin_memory()
        inputs[name] = tensor
    return inputs


def without_cache(model: torch.nn.Module) -> dict[str, bool]:
    """The argument that keeps a model with a decoder from building a cache of keys and values,
    which only generation reads; {} for others."""
    is_generator = getattr(getattr(model, "config", None), "is_encoder_decoder", False)
    takes_it = is_generator and "use_cache" in inspect.signature(model.forward).parameters
    return {"use_cache": False} if takes_it else {}
