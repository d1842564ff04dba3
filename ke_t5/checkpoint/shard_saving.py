"""Saves a checkpoint of sharded weights: each process writes its own shards from a copy while the
training continues, and process 0 completes the checkpoint."""

from __future__ import annotations

import functools
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from ke_t5 import heartbeat
from ke_t5.checkpoint import serialization
from ke_t5.checkpoint.checkpoints import (
    about_model,
    make_room,
    on_disk,
    plain_progress,
    point_at,
    remove_older,
    write_checkpoint,
)
from ke_t5.checkpoint.folders import complete_folder, folder_name
from ke_t5.checkpoint.shard_files import MODEL, ShardWriter, save_parts
from ke_t5.checkpoint.writer import Writer
from ke_t5.files import temporary_path
from ke_t5.sharding import divided_state, local


def save_shards(
    weights: Path,
    *,
    model: nn.Module,
    optimizer: Optimizer,
    progress: dict,
    is_best: bool,
    keep: Collection[int],
    has_tensors: bool,
    writer: Writer,
    group: Any,
    is_main: bool,
) -> None:
    """Writes `weights/step-<progress["step"]>`, together with all other processes. See
    `checkpoints.save_checkpoint` for the other arguments.

    Args:
        writer: this process's, which writes while the training continues.
        group: a gloo group of all processes, for the writers' threads only.

    Raises:
        UserError: exit 5, an earlier checkpoint could not be written; the same on all processes.
    """
    state, aliases = divided_state(model)
    optimizer_json, tensors = serialization.optimizer_state(optimizer)
    tensors |= {f"{MODEL}{name}": tensor for name, tensor in state.items()}
    contents = {
        "model.json": about_model(model, aliases),
        "optimizer.json": optimizer_json,
        "progress.json": plain_progress(progress),
    }
    options = {"is_best": is_best, "keep": keep}
    step: int = progress["step"]
    if has_tensors:  # the shards exist: process 0 does the rest
        if is_main:
            rest = functools.partial(write_checkpoint, weights, step, contents, has_tensors=True)
            writer.submit(functools.partial(rest, **options))
        return
    write = functools.partial(
        _write, weights, step, contents, tensors, group=group, is_main=is_main, **options
    )
    with heartbeat.waiting():
        writer.wait()  # its old copies are overwritten
    values = {name: local(tensor.detach()) for name, tensor in tensors.items()}
    copies = writer.copy.make(values)
    if copies is not None:
        writer.submit(lambda: (writer.copy.wait(), write(values=copies)))
        return
    with heartbeat.waiting():  # there is too little memory for a copy here
        write(values=values)


def _write(
    weights: Path,
    step: int,
    contents: Mapping[str, dict],
    tensors: dict[str, Tensor],
    *,
    values: Mapping[str, Tensor],
    group: Any,
    is_main: bool,
    is_best: bool,
    keep: Collection[int],
) -> None:
    """Writes this process's shards; process 0 also completes the checkpoint."""
    target = weights / folder_name(step)
    temporary = temporary_path(target)
    num_bytes = sum(one.numel() * one.element_size() for one in tensors.values())
    needed = int(1.1 * num_bytes)

    def begin() -> Path:
        make_room(weights, needed)
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        return temporary

    def commit(folder: Path, seals: dict[str, dict]) -> None:
        complete_folder(folder, target, step, contents, seals)
        point_at(weights, step, is_best=is_best)

    with on_disk(weights, needed):
        try:
            save_parts(tensors, values, ShardWriter(begin, commit), group)
        finally:
            if is_main:
                shutil.rmtree(temporary, ignore_errors=True)
    if is_main:
        remove_older(weights, step, keep)
