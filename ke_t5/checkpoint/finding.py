"""Finds the checkpoint that `--resume` names."""

from __future__ import annotations

import logging
from pathlib import Path

from ke_t5.checkpoint.folders import (
    MANIFEST,
    NAME,
    find_fault,
    folder_name,
    list_checkpoints,
    locate,
    read_pointer,
)
from ke_t5.config.resume import ResumeMode, ResumeRequest
from ke_t5.errors import Exit, UserError

logger = logging.getLogger(__name__)

FIX = "use --resume auto, or name another checkpoint"


def find_checkpoint(
    weights: Path, resume: ResumeRequest, *, is_checked: bool = True
) -> Path | None:
    """The complete checkpoint that --resume names, its hashes checked.

    Args:
        resume: the last one, the best, "auto" (the last complete one, None if there is none), or
            the one at a path.
        is_checked: whether to check the hashes, which takes seconds for a large model.

    Raises:
        UserError: exit 4, there is none, or it is damaged. Never with "auto", which skips damaged
            ones with a warning.
    """
    if resume.mode is ResumeMode.AUTO:
        return _last_complete(weights, is_checked=is_checked)
    path = _meant(weights, resume)
    while is_checked and (fault := find_fault(path)):
        checked, path = path, _meant(weights, resume)
        if path == checked:  # otherwise a training has replaced it by a newer one
            raise _damaged(path, fault)
    return path


def _meant(weights: Path, resume: ResumeRequest) -> Path:
    """The last checkpoint, the best, or the one at a path, complete or not."""
    if resume.path is not None:
        return _by_path(weights, resume.path)
    pointer = "best" if resume.mode is ResumeMode.BEST else "last"
    return _pointed(weights, pointer, f"--resume {resume}")


def _last_complete(weights: Path, *, is_checked: bool) -> Path | None:
    checkpoints = list_checkpoints(weights)
    try:
        last = read_pointer(weights, "last")
    except UserError as error:
        logger.warning("--resume auto uses the folders' names: %s", error)
        last = None
    last = max(checkpoints, default=0) if last is None else last
    # Steps beyond the last one remain if a run was resumed from an earlier checkpoint.
    for step in sorted(checkpoints, key=lambda step: (step > last, -step)):
        fault = find_fault(checkpoints[step]) if is_checked else None
        if fault is None:
            return checkpoints[step]
        logger.warning("--resume auto skips %s: %s", checkpoints[step], fault)
    if checkpoints:
        logger.warning("--resume auto: no complete checkpoint in %s", weights)
    return None


def _pointed(weights: Path, pointer: str, where: str) -> Path:
    """The checkpoint that a pointer names; the latest one if `last.json` is missing."""
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
    return f"available: {names}" if names else "none available; drop --resume to start a new run"


def check_hashes(path: Path) -> None:
    """Raises UserError if a checkpoint has changed since it was written."""
    if fault := find_fault(path):
        raise _damaged(path, fault)


def _damaged(path: Path, fault: str) -> UserError:
    return UserError(fault, str(path), FIX, Exit.CHECKPOINT)
