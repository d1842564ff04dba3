"""A model's inputs: the columns of a batch as tensors.

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
    """The batch as tensors on `device`, without columns that the model does not accept."""
    return {
        name: tensor.to(device, non_blocking=True)
        for name, tensor in host_inputs(model, batch, device).items()
    }


def host_inputs(
    model: torch.nn.Module, batch: Arrays, device: torch.device
) -> dict[str, torch.Tensor]:
    """The tensors of `model_inputs` on the host; in pinned memory if `device` is a GPU.

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
            # A copy from pageable memory waits for all work queued on the GPU.
            tensor = tensor.pin_memory()
        inputs[name] = tensor
    return inputs


def without_cache(model: torch.nn.Module) -> dict[str, bool]:
    """The argument that keeps an encoder-decoder from building a key-value cache, which only
    generation reads; {} for other models."""
    is_generator = getattr(getattr(model, "config", None), "is_encoder_decoder", False)
    takes_it = is_generator and "use_cache" in inspect.signature(model.forward).parameters
    return {"use_cache": False} if takes_it else {}
