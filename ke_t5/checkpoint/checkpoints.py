"""Checkpoints of a run: a complete one exists at every instant, and is checked when it is read.

    weights/step-00000240/   model.safetensors, model.json (tied names; the hash of frozen weights
                             that are left out), optimizer.safetensors, optimizer.json,
                             progress.json, MANIFEST.json (sizes and SHA-256)
    weights/last.json        {"pointer": "last", "snapshot": "step-00000240", "step": 240}
    weights/best.json        the same for the best one, once a run has said which that is

Only rank 0 writes.
"""

from __future__ import annotations

import errno
import functools
import json
import logging
import shutil
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import NoneType

import safetensors
from torch import Tensor, nn
from torch.optim import Optimizer

from ke_t5.checkpoint import serialization
from ke_t5.checkpoint.folders import (
    MANIFEST,
    NAME,
    clean,
    find_fault,
    folder_name,
    list_checkpoints,
    locate,
    read_pointer,
    write_folder,
    write_pointer,
)
from ke_t5.checkpoint.writer import Writer
from ke_t5.config.resume import ResumeMode, ResumeRequest
from ke_t5.errors import Exit, UserError
from ke_t5.fault_points import fault_point
from ke_t5.files import remove_folder, sync_folder
from ke_t5.frozen_weights import BASE, base_of, kept_state

__all__ = [
    "clean",
    "find_checkpoint",
    "load_checkpoint",
    "read_progress",
    "save_checkpoint",
]

logger = logging.getLogger(__name__)

TENSOR_FILES = ("model.safetensors", "optimizer.safetensors")
FIX = "use --resume auto, or name another checkpoint"


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
        progress: numbers (NaN and inf too), texts, lists, tuples and mappings; `step` is an int.
        is_best: whether `best.json` is to name it.
        keep: steps whose checkpoints stay as well.
        has_tensors: whether there is a checkpoint of this step with the same tensors, so that only
            progress is new.
        writer: writes it while the training goes on, and passes errors on; None to write it now.
        is_own: whether nobody else changes these tensors, so that they need not be copied.

    Raises:
        UserError: exit 5, the disk is full or refuses; the older checkpoints are as they were.
    """
    contents = _contents(model, optimizer, progress)
    write = functools.partial(
        _write_checkpoint, weights, progress["step"],
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
    """The contents with copies of all tensors; None if these do not fit in memory.

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
        writer.wait()  # its copies are overwritten
    copies = writer.copy.make(tensors, is_made=is_made)
    if copies is None:
        writer.wait()
        return None
    copied = {
        file: {name: copies[f"{file} {name}"] for name in contents[file]} for file in TENSOR_FILES
    }
    return {**contents, **copied}


def _write_checkpoint(
    weights: Path,
    step: int,
    contents: Mapping[str, dict],
    *,
    is_best: bool,
    keep: Collection[int],
    has_tensors: bool,
) -> None:
    path = weights / folder_name(step)
    needed = int(1.1 * _num_bytes(contents))
    try:
        if not weights.is_dir():
            weights.mkdir(parents=True)
            sync_folder(weights.parent)
        if not has_tensors and shutil.disk_usage(weights).free < needed:
            raise OSError(errno.ENOSPC, "too little space is left")
        write_folder(path, step, contents, has_tensors=has_tensors)
        # Best first: a run killed between the two resumes from the older one and does both again.
        for pointer in ("best", "last") if is_best else ("last",):
            fault_point(f"checkpoint.before_{pointer}")
            write_pointer(weights, pointer, step)
    except OSError as error:
        raise _machine_error(error, weights, needed) from error
    remove_older(weights, step, keep)


def _contents(model: nn.Module, optimizer: Optimizer, progress: dict) -> dict[str, dict]:
    """File name -> its content: tensors by name for safetensors, plain JSON for the others."""
    model_tensors, aliases = serialization.model_tensors(kept_state(model))
    base = base_of(model)
    optimizer_json, optimizer_tensors = serialization.optimizer_state(optimizer)
    stray: dict[str, Tensor] = {}
    progress_json = serialization.encode(progress, "progress", stray)
    if stray:
        raise TypeError(f"{', '.join(stray)}: a tensor, but progress is written as JSON")
    return {
        "model.safetensors": model_tensors,
        "model.json": {"aliases": aliases, **({} if base is None else {BASE: base})},
        "optimizer.safetensors": optimizer_tensors,
        "optimizer.json": optimizer_json,
        "progress.json": progress_json,
    }


def _num_bytes(contents: Mapping[str, dict]) -> int:
    tensors = [tensor for file in TENSOR_FILES for tensor in contents[file].values()]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def remove_older(weights: Path, step: int, keep: Collection[int]) -> None:
    """Keeps the checkpoint of `step`, the one before it, the best and those to keep; later
    steps are left alone."""
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


def find_checkpoint(
    weights: Path, resume: ResumeRequest, *, is_checked: bool = True
) -> Path | None:
    """The whole checkpoint that --resume means, its hashes checked.

    Args:
        resume: the last one, the best, "auto" (the last whole one, None if there is none), or
            the one at a path.
        is_checked: whether to check the hashes, which takes seconds for a large model.

    Raises:
        UserError: exit 4, there is none, or it is damaged. Never with "auto", which warns of each
            damaged one that it skips.
    """
    if resume.mode is ResumeMode.AUTO:
        return _last_complete(weights, is_checked=is_checked)
    if resume.path is None:
        pointer = "best" if resume.mode is ResumeMode.BEST else "last"
        path = _pointed(weights, pointer, f"--resume {resume}")
    else:
        path = _by_path(weights, resume.path)
    if is_checked:
        _check(path)
    return path


def _last_complete(weights: Path, *, is_checked: bool) -> Path | None:
    checkpoints = list_checkpoints(weights)
    try:
        last = read_pointer(weights, "last")
    except UserError as error:
        logger.warning("--resume auto uses the folders' names: %s", error)
        last = None
    last = max(checkpoints, default=0) if last is None else last
    # Steps beyond the last one are of a run that was taken back to an earlier checkpoint.
    for step in sorted(checkpoints, key=lambda step: (step > last, -step)):
        fault = find_fault(checkpoints[step]) if is_checked else None
        if fault is None:
            return checkpoints[step]
        logger.warning("--resume auto skips %s: %s", checkpoints[step], fault)
    if checkpoints:
        logger.warning("--resume auto: no complete checkpoint in %s", weights)
    return None


def _pointed(weights: Path, pointer: str, where: str) -> Path:
    """The checkpoint that a pointer names; without `last.json` the latest one."""
    checkpoints = list_checkpoints(weights)
    step = read_pointer(weights, pointer)
    if step is None and pointer == "last":
        step = max(checkpoints, default=None)
    if step is None or step not in checkpoints:
        what = (
            f"no {pointer} checkpoint in {weights}" if step is None else f"step {step} is missing"
        )
        raise UserError(what, where, _advice(weights), Exit.CHECKPOINT)
    return checkpoints[step]


def _by_path(weights: Path, resume: str) -> Path:
    where = f"--resume {resume}"
    for candidate in (Path(resume), weights / resume):
        path = locate(candidate)
        if path.is_dir() and (NAME.fullmatch(path.name) or (path / MANIFEST).exists()):
            return path
        for folder in (candidate / "weights", candidate):
            if list_checkpoints(folder):
                return _pointed(folder, "last", where)
    raise UserError("no such checkpoint", where, _advice(weights), Exit.CHECKPOINT)


def _advice(weights: Path) -> str:
    names = ", ".join(folder_name(step) for step in list_checkpoints(weights))
    return (
        f"available: {names}" if names else "none available; leave --resume out to start a new run"
    )


def _check(path: Path) -> None:
    if fault := find_fault(path):
        raise UserError(fault, str(path), FIX, Exit.CHECKPOINT)


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Raises UserError if its block fails because a checkpoint with intact hashes has other
    contents than this program writes."""
    try:
        yield
    except (
        KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError, RecursionError,
        FileNotFoundError, safetensors.SafetensorError,
    ) as error:  # fmt: skip
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise UserError(
            f"not what this program writes ({reason:.80})", str(path), FIX, Exit.CHECKPOINT
        ) from error


def read_progress(path: Path) -> dict:
    """What `save_checkpoint` was given as `progress`, without a model; checks no hash.

    Raises:
        UserError: it is something else.
    """
    with readable(path):
        progress = serialization.decode(_read_json(path / "progress.json"), {})
        _check_progress(progress)
        return progress


# Name -> the types of its value.
_PROGRESS: dict[str, tuple[type, ...]] = {
    "step": (int,), "rows": (int,), "loss_sum": (float, int), "loss_steps": (int,),
    "loss_shares": (list,), "epoch_steps": (int, NoneType), "waited": (int,), "validated": (int,),
    "fixed": (dict,), "best": (dict, NoneType), "closing": (dict, NoneType),
}  # fmt: skip
_VALIDATION: dict[str, tuple[type, ...]] = {
    "step": (int,), "score": (float, int, NoneType), "scores": (dict,), "is_best": (bool,)
}  # fmt: skip


def _check_progress(progress: dict, types: dict = _PROGRESS) -> None:
    for name, value in {"step": None, **progress}.items():
        if type(value) not in types.get(name, (type(value),)):
            raise TypeError(f"{name} is {value!r:.40}")
        if isinstance(value, int) and abs(value) >= 1 << 63:
            raise OverflowError(f"{name} is {value!r:.40}")
    if types is _PROGRESS:
        for share in progress.get("loss_shares", ()):
            _check_progress({"step": 0, "loss_sum": share})
        for name in ("best", "closing"):
            if progress.get(name) is not None:
                validation = {"score": "", "scores": None, **progress[name]}
                _check_progress(validation, _VALIDATION)


def _read_json(path: Path) -> dict:
    return json.loads(path.read_bytes())


def load_checkpoint(
    path: Path, *, model: nn.Module, optimizer: Optimizer | None = None, is_checked: bool = False
) -> dict:
    """Fills the unwrapped model (and the optimizer) bit for bit and returns the progress.

    Args:
        is_checked: whether its hashes have just been checked, by `find_checkpoint`.

    Raises:
        UserError: exit 4, the checkpoint is damaged, or of another model or optimizer. Nothing is
            loaded from a damaged one.
    """
    if not is_checked:
        _check(path)
    progress = read_progress(path)
    with readable(path):
        tensors = serialization.read_tensors(path / "model.safetensors")
        about = _read_json(path / "model.json")
        serialization.load_model(model, tensors, about["aliases"], str(path), base=about.get(BASE))
        if optimizer is not None:
            tensors = serialization.read_tensors(path / "optimizer.safetensors")
            serialization.load_optimizer(
                optimizer, _read_json(path / "optimizer.json"), tensors, str(path)
            )
    return progress
