"""Weights that are not trained (`--lora`): they are stored with the pre-trained model, the *base*;
a checkpoint has the trained ones and the hash of these."""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor, nn

BASE = "base_sha256"  # an attribute of the model


def frozen_weights(model: nn.Module) -> dict[str, Tensor]:
    """The weights that are not trained, each under all of its names."""
    named = model.named_parameters(remove_duplicate=False)
    return {name: weight for name, weight in named if not weight.requires_grad}


def leave_out_base(model: nn.Module, sha256: str | None = None) -> None:
    """Excludes the frozen weights from the model's checkpoints.

    Args:
        sha256: their hash, if it is known.
    """
    setattr(model, BASE, sha256 or hash_of(frozen_weights(model)))


def base_of(model: Any) -> str | None:
    """The hash of the frozen weights that the model's checkpoints leave out; None if complete."""
    return getattr(model, BASE, None)


def kept_state(model: nn.Module) -> dict[str, Tensor]:
    """The part of a model's state that its checkpoints contain."""
    state = model.state_dict()
    if base_of(model) is None:
        return state
    frozen = frozen_weights(model)
    return {name: tensor for name, tensor in state.items() if name not in frozen}


def hash_of(tensors: dict[str, Tensor]) -> str:
    """The SHA-256 of names, types, shapes and values."""

    def line(name: str) -> str:
        tensor = tensors[name].detach().cpu().contiguous()
        digest = hashlib.sha256(tensor.reshape(-1).view(torch.uint8).numpy().data)
        return f"{name} {tensor.dtype} {list(tensor.shape)} {digest.hexdigest()}\n"

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        lines = pool.map(line, sorted(tensors))
        return hashlib.sha256("".join(lines).encode()).hexdigest()
