"""Checkpoints of a run: a complete one exists at all times, and is checked when it is read.

    weights/step-00000240/   model.safetensors, model.json (tied names; the hash of frozen weights
                             that are left out), optimizer.safetensors, optimizer.json,
                             progress.json, MANIFEST.json (sizes and hashes); for sharded weights
                             `shard-...safetensors` of each process for the tensors of both
    weights/last.json        {"pointer": "last", "snapshot": "step-00000240", "step": 240}
    weights/best.json        the same for the best one, once there is one

Only rank 0 writes, except for shards.
"""

from __future__ import annotations

import errno
import functools
import json
import logging
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import NoneType

import safetensors
from torch import Tensor, nn
from torch.optim import Optimizer

from ke_t5.checkpoint import serialization
from ke_t5.checkpoint.finding import FIX, check_hashes, find_checkpoint
from ke_t5.checkpoint.folders import (
    clean,
    folder_name,
    has_shards,
    list_checkpoints,
    read_pointer,
    write_folder,
    write_pointer,
)
from ke_t5.checkpoint.settings import EARLIER_BATCHES
from ke_t5.checkpoint.writer import Writer
from ke_t5.errors import Exit, UserError
from ke_t5.fault_points import fault_point
from ke_t5.files import remove_folder, sync_folder
from ke_t5.frozen_weights import BASE, base_of, kept_state
from ke_t5.seals import read_manifest

__all__ = [
    "clean",
    "find_checkpoint",
    "load_checkpoint",
    "read_progress",
    "read_run_progress",
    "save_checkpoint",
]

logger = logging.getLogger(__name__)

TENSOR_FILES = ("model.safetensors", "optimizer.safetensors")


def save_checkpoint(
    weights: Path,
    *,
    model: nn.Module,
    optimizer: Optimizer,
    progress: dict,
    is_best: bool,
    keep: Collection[int] = (),
    has_tensors: bool = False,
    writer: Writer | None = None,
    is_own: bool = False,
) -> Path:
    """Writes `weights/step-<progress["step"]>` and returns it; the best and the last two stay.

    Args:
        model: the unwrapped model.
        progress: numbers (including NaN and inf), texts, lists, tuples and mappings; `step` is an
            int.
        is_best: whether `best.json` is to name it.
        keep: steps of further checkpoints to keep.
        has_tensors: whether a checkpoint of this step has the same tensors, so that only the
            progress is new.
        writer: writes it while the training continues, and passes errors on; None to write now.
        is_own: whether these tensors are not changed elsewhere and need not be copied.

    Raises:
        UserError: exit 5, the disk is full or cannot be written; older checkpoints are unchanged.
    """
    contents = _contents(model, optimizer, progress)
    write = functools.partial(
        write_checkpoint, weights, progress["step"],
        is_best=is_best, keep=keep, has_tensors=has_tensors,
    )  # fmt: skip
    if writer is None:
        write(contents)
    elif is_own:
        writer.submit(functools.partial(write, contents))
    elif (copies := _copies(contents, writer, is_made=has_tensors)) is None:
        write(contents)  # there is too little memory for a copy
    else:
        writer.submit(lambda: (writer.copy.wait(), write(copies)))
    return weights / folder_name(progress["step"])


def _copies(
    contents: Mapping[str, dict], writer: Writer, *, is_made: bool
) -> dict[str, dict] | None:
    """The contents with copies of all tensors; None if these do not fit into memory.

    Args:
        is_made: whether the writer's last copies are of these tensors.
    """
    tensors = {
        f"{file} {name}": tensor
        for file in TENSOR_FILES
        for name, tensor in contents[file].items()
    }  # fmt: skip
    writer.check()
    if not is_made:
        writer.wait()  # its old copies are overwritten
    copies = writer.copy.make(tensors, is_made=is_made)
    if copies is None:
        writer.wait()
        return None
    copied = {
        file: {name: copies[f"{file} {name}"] for name in contents[file]} for file in TENSOR_FILES
    }
    return {**contents, **copied}


def write_checkpoint(
    weights: Path,
    step: int,
    contents: Mapping[str, dict],
    *,
    is_best: bool,
    keep: Collection[int],
    has_tensors: bool,
) -> None:
    """Writes a checkpoint of these files and updates the pointers."""
    needed = int(1.1 * _num_bytes(contents))
    with on_disk(weights, needed):
        make_room(weights, 0 if has_tensors else needed)
        write_folder(weights / folder_name(step), step, contents, has_tensors=has_tensors)
        point_at(weights, step, is_best=is_best)
    remove_older(weights, step, keep)


@contextmanager
def on_disk(weights: Path, needed: int) -> Iterator[None]:
    """A context that raises UserError if a checkpoint of `needed` bytes cannot be written."""
    try:
        yield
    except OSError as error:
        raise _machine_error(error, weights, needed) from error


def make_room(weights: Path, needed: int) -> None:
    """Creates the checkpoint folder if needed; raises OSError if its disk has fewer than `needed`
    bytes free."""
    if not weights.is_dir():
        weights.mkdir(parents=True)
        sync_folder(weights.parent)
    if shutil.disk_usage(weights).free < needed:
        raise OSError(errno.ENOSPC, "too little space is left")


def point_at(weights: Path, step: int, *, is_best: bool) -> None:
    """Makes the pointers name a new checkpoint."""
    # Best first: a run killed between the two resumes from the older one and does both again.
    for pointer in ("best", "last") if is_best else ("last",):
        fault_point(f"checkpoint.before_{pointer}")
        write_pointer(weights, pointer, step)


def _contents(model: nn.Module, optimizer: Optimizer, progress: dict) -> dict[str, dict]:
    """File name -> content: tensors by name for safetensors, plain JSON for the others."""
    model_tensors, aliases = serialization.model_tensors(kept_state(model))
    optimizer_json, optimizer_tensors = serialization.optimizer_state(optimizer)
    return {
        "model.safetensors": model_tensors,
        "model.json": about_model(model, aliases),
        "optimizer.safetensors": optimizer_tensors,
        "optimizer.json": optimizer_json,
        "progress.json": plain_progress(progress),
    }


def about_model(model: nn.Module, aliases: dict[str, str]) -> dict:
    """The content of model.json: tied names, the hash of weights that are left out."""
    base = base_of(model)
    return {"aliases": aliases, **({} if base is None else {BASE: base})}


def plain_progress(progress: dict) -> dict:
    """Progress as plain JSON."""
    stray: dict[str, Tensor] = {}
    content = serialization.encode(progress, "progress", stray)
    if stray:
        raise TypeError(f"{', '.join(stray)}: a tensor, but progress is written as JSON")
    return content


def _num_bytes(contents: Mapping[str, dict]) -> int:
    tensors = [tensor for file in TENSOR_FILES for tensor in contents.get(file, {}).values()]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def remove_older(weights: Path, step: int, keep: Collection[int]) -> None:
    """Deletes older checkpoints except the one before `step`, the best and those in `keep`; later
    steps stay."""
    earlier = {s: path for s, path in list_checkpoints(weights).items() if s < step}
    try:
        best = read_pointer(weights, "best")
    except UserError as error:
        logger.warning("no older checkpoint is deleted: %s", error)
        return
    for old_step in list(earlier)[:-1]:
        try:
            if old_step != best and old_step not in keep:
                fault_point("checkpoint.before_delete")
                remove_folder(earlier[old_step])
        except OSError as error:
            logger.warning("%s could not be deleted: %s", earlier[old_step], error.strerror)


def _machine_error(error: OSError, weights: Path, needed: int) -> UserError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        free = shutil.disk_usage(weights).free
        what = f"the checkpoint needs {needed / 1e9:.3g} GB, {free / 1e9:.3g} GB are free"
        fix = "free some space or choose another --output_dir (earlier checkpoints are intact)"
    else:
        what = f"the checkpoint cannot be written ({error.strerror or error})"
        fix = "make the folder writable or choose another --output_dir"
    return UserError(what, str(weights), fix, Exit.MACHINE)


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """A context that raises UserError if a checkpoint with intact hashes does not have the contents
    that this program writes."""
    try:
        yield
    except (
        KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError, RecursionError,
        FileNotFoundError, safetensors.SafetensorError,
    ) as error:  # fmt: skip
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        what = f"not what this program writes ({reason:.80})"
        if not path.exists():
            what = "it was deleted meanwhile; does its training go on?"
        raise UserError(what, str(path), FIX, Exit.CHECKPOINT) from error


def read_progress(path: Path) -> dict:
    """The `progress` that `save_checkpoint` was given; needs no model and checks no hash.

    Raises:
        UserError: the file has other contents.
    """
    with readable(path):
        progress = serialization.decode(_read_json(path / "progress.json"), {})
        _check_progress(progress)
        return progress


def read_run_progress(path: Path) -> dict:
    """`read_progress` of a run's checkpoint, which has all that a resume needs.

    Raises:
        UserError: something is missing, or the file has other contents.
    """
    progress = read_progress(path)
    with readable(path):
        if missing := [name for name in REQUIRED if name not in progress]:
            raise KeyError(*missing)
        for step, rows in progress["fixed"].get(EARLIER_BATCHES) or ():
            _check_progress({"step": step, "rows": rows})
    return progress


# What `Checkpointer` has written since the first version.
REQUIRED = ("step", "rows", "loss_sum", "loss_steps", "best", "waited", "fixed")
# Name -> the types of its value.
_PROGRESS: dict[str, tuple[type, ...]] = {
    "step": (int,), "rows": (int,), "loss_sum": (float, int), "loss_steps": (int,),
    "loss_shares": (list,), "epoch_steps": (int, NoneType), "waited": (int,), "validated": (int,),
    "fixed": (dict,), "best": (dict, NoneType), "closing": (dict, NoneType),
}  # fmt: skip
_COUNTS = ("step", "rows", "loss_steps", "epoch_steps", "waited")
_VALIDATION: dict[str, tuple[type, ...]] = {
    "step": (int,), "score": (float, int, NoneType), "scores": (dict,), "is_best": (bool,)
}  # fmt: skip


def _check_progress(progress: dict, types: dict = _PROGRESS) -> None:
    for name, value in {"step": None, **progress}.items():
        if type(value) not in types.get(name, (type(value),)):
            raise TypeError(f"{name} is {value!r:.40}")
        if isinstance(value, int) and abs(value) >= 1 << 63:
            raise OverflowError(f"{name} is {value!r:.40}")
        if name in _COUNTS and value is not None and value < 0:
            raise ValueError(f"{name} is {value!r:.40}")
    if types is _PROGRESS:
        for share in progress.get("loss_shares", ()):
            _check_progress({"step": 0, "loss_sum": share})
        for name in ("best", "closing"):
            if progress.get(name) is not None:
                validation = {"score": "", "scores": None, **progress[name]}
                _check_progress(validation, _VALIDATION)
                for score in validation["scores"].values():
                    _check_progress({"step": 0, "score": score}, _VALIDATION)


def _read_json(path: Path) -> dict:
    return json.loads(path.read_bytes())


def load_checkpoint(
    path: Path, *, model: nn.Module, optimizer: Optimizer | None = None, is_checked: bool = False
) -> dict:
    """Restores the unwrapped model (and the optimizer) bit for bit; returns the progress.

    Args:
        is_checked: whether `find_checkpoint` has just checked its hashes.

    Raises:
        UserError: exit 4, the checkpoint is damaged, or from another model or optimizer. Nothing is
            loaded from a damaged one.
    """
    if not is_checked:
        check_hashes(path)
    progress = read_progress(path)
    with readable(path):
        read = _reader_of(path)
        about = _read_json(path / "model.json")
        tensors = read("model", dict(model.named_parameters(remove_duplicate=False)))
        serialization.load_model(model, tensors, about["aliases"], str(path), base=about.get(BASE))
        if optimizer is not None:
            content = _read_json(path / "optimizer.json")
            tensors = read("optimizer", serialization.parameters_of(optimizer, content))
            serialization.load_optimizer(optimizer, content, tensors, str(path))
    return progress


def _reader_of(path: Path) -> Callable[[str, Mapping[str, Tensor]], Mapping[str, Tensor]]:
    """A function that reads the tensors of a checkpoint's "model" or "optimizer", from shards with
    the sharding of the given tensors."""
    files = (read_manifest(path) or {})["files"]
    if not has_shards(files):
        return lambda of, like: serialization.read_tensors(path / f"{of}.safetensors")
    from ke_t5.checkpoint.shard_files import ShardFiles

    return ShardFiles(path, files).read
