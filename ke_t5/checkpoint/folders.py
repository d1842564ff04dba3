"""Checkpoint folders on disk: created atomically, checked, cleaned up.

A folder is written as `step-00000240.tmp-<pid>`, flushed to disk, read back and renamed. To replace
one of the same step, the old one is renamed to `step-00000240.old`, and is found under that name
until the new one is in place. A folder with its final name is never written to.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

from ke_t5.checkpoint import serialization
from ke_t5.checkpoint.names import NAME, folder_name
from ke_t5.errors import Exit, UserError
from ke_t5.fault_points import fault_point
from ke_t5.files import (
    remove_folder,
    remove_leftovers,
    replace_folder,
    sync_folder,
    temporary_path,
    write_atomically,
)
from ke_t5.seals import MANIFEST, first_fault, read_manifest, sealed

logger = logging.getLogger(__name__)

TENSORS, SHARD = ".safetensors", "shard-"


def write_folder(
    target: Path, step: int, contents: Mapping[str, dict], *, has_tensors: bool = False
) -> None:
    """Creates `target` from tensors (`*.safetensors`) and plain JSON (`*.json`) by file name.

    An existing one with the same bytes is left alone, any other is replaced.

    Args:
        has_tensors: whether `target` already has these tensors: its files are linked rather than
            written again, which takes seconds per gigabyte. `contents` need not have its shards.

    Raises:
        OSError: from the disk; `target` is unchanged.
    """
    temporary = temporary_path(target)
    try:
        _write(temporary, step, contents, _tensor_files(target) if has_tensors else {})
        fault = find_fault(temporary, target.name)
        if fault and has_tensors and any(name.endswith(TENSORS) for name in contents):
            _write(temporary, step, contents, {})  # the linked files are damaged
            fault = find_fault(temporary, target.name)
        if fault:
            raise OSError(errno.EIO, f"what was written cannot be read back: {fault}")
        _commit(temporary, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def complete_folder(
    folder: Path,
    target: Path,
    step: int,
    contents: Mapping[str, dict],
    seals: Mapping[str, dict],
) -> None:
    """Creates `target` from the shards in a folder beside it, and from plain JSON.

    Args:
        seals: the seals of the shards, which have been read back.

    Raises:
        OSError: from the disk; `target` is unchanged.
    """
    seals = _add(folder, step, contents, seals)
    if fault := first_fault(folder, {name: seals[name] for name in contents}):
        raise OSError(errno.EIO, f"what was written cannot be read back: {fault}")
    _commit(folder, target)


def has_shards(files: Iterable[str]) -> bool:
    """Whether a checkpoint with these files is in shards."""
    return any(name.startswith(SHARD) and name.endswith(TENSORS) for name in files)


def _tensor_files(folder: Path) -> dict[Path, dict]:
    """The safetensors files of a checkpoint and their seals."""
    try:
        manifest = read_manifest(folder) or {}
    except FileNotFoundError:
        return {}
    files = manifest.get("files", {}).items()
    return {folder / name: seal for name, seal in files if name.endswith(TENSORS)}


def _write(
    folder: Path, step: int, contents: Mapping[str, dict], finished: Mapping[Path, dict]
) -> None:
    """Fills the folder; `finished` files are linked if the disk supports it, otherwise copied."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    seals = {}
    for path, seal in finished.items():
        try:
            os.link(path, folder / path.name)
        except OSError:
            if path.name in contents:
                continue
            shutil.copyfile(path, folder / path.name)
            sync_folder(folder / path.name)
        seals[path.name] = seal
    _add(folder, step, contents, seals)


def _add(
    folder: Path, step: int, contents: Mapping[str, dict], finished: Mapping[str, dict]
) -> dict[str, dict]:
    """Adds the missing files and the manifest to a folder; returns the seals of all files.

    Args:
        finished: the seals of the files that it already has.
    """
    seals = dict(finished)
    for name, content in contents.items():
        if name in seals:
            continue
        write = serialization.write_json if name.endswith(".json") else serialization.write_tensors
        seals[name] = write(folder / name, content)
    # In this order, so that equal checkpoints have equal manifests.
    shards = sorted(name for name in seals if name not in contents)
    seals = {name: seals[name] for name in (*shards, *contents)}
    # Last, so that a folder with a manifest has all files that it lists.
    content = sealed({"format": 2, "step": step, "files": seals})
    serialization.write_json(folder / MANIFEST, content)
    sync_folder(folder)
    return seals


def _commit(temporary: Path, target: Path) -> None:
    fault_point("checkpoint.before_rename")
    old = _old(target)
    _settle(old)
    if not (_is_equal(temporary, target) and find_fault(target) is None):
        replace_folder(temporary, target, old=old, is_durable=True)
    fault_point("checkpoint.after_rename")


def _old(path: Path) -> Path:
    return path.with_name(f"{path.name}.old")


def _is_equal(one: Path, other: Path) -> bool:
    manifest = other / MANIFEST
    return manifest.exists() and (one / MANIFEST).read_bytes() == manifest.read_bytes()


def _settle(old: Path) -> None:
    """Ends a replacement: `old` is deleted, or gets its name back if it has no successor."""
    if not old.exists():
        return
    target = old.with_suffix("")
    if target.exists():
        remove_folder(old)
    else:
        os.rename(old, target)
        sync_folder(old.parent)


def list_checkpoints(weights: Path) -> dict[int, Path]:
    """Step -> folder, in the order of the steps, complete or not."""
    names = sorted(path.name for path in weights.iterdir()) if weights.is_dir() else []
    matches = [match for name in names if (match := NAME.fullmatch(name))]
    return {int(match[2]): locate(weights / match[1]) for match in matches}


def locate(path: Path) -> Path:
    """The folder of that name, or its `.old` if a process was killed while replacing it."""
    old = _old(path)
    return old if old.is_dir() and not path.exists() else path


def find_fault(folder: Path, name: str | None = None) -> str | None:
    """What is wrong with a checkpoint, beginning with the file's name; None if it is complete.

    If a training replaces it meanwhile, the new one is checked.

    Args:
        name: the folder's final name, if it does not have it yet.
    """
    try:
        manifest = read_manifest(folder)
    except FileNotFoundError:
        return f"{MANIFEST} is missing"
    if manifest is None or type(step := manifest.get("step")) is not int:
        return f"{MANIFEST} is damaged"
    match = NAME.fullmatch(name or folder.name)
    if match and int(match[2]) != step:
        return f"{MANIFEST} is for step {step}"
    fault = first_fault(folder, manifest["files"])
    if fault is not None and _is_other(folder, manifest):
        return find_fault(folder, name)
    return fault


def _is_other(folder: Path, manifest: Mapping[str, object]) -> bool:
    """Whether a folder has another manifest now, or is gone."""
    try:
        return read_manifest(folder) != manifest
    except FileNotFoundError:
        return True


def write_pointer(weights: Path, pointer: str, step: int) -> None:
    """Makes `<pointer>.json` name the checkpoint of `step`, atomically."""
    content = serialization.json_bytes(_pointer(pointer, step))
    write_atomically(weights / f"{pointer}.json", content, is_durable=True)


def correct_pointer(weights: Path, pointer: str, step: int) -> None:
    """Makes `<pointer>.json` name the checkpoint of `step`, if that exists."""
    try:
        named = read_pointer(weights, pointer)
    except UserError:  # damaged
        named = None
    if named != step and locate(weights / folder_name(step)).is_dir():
        write_pointer(weights, pointer, step)


def _pointer(pointer: str, step: int) -> dict:
    # The step is there twice, so that a flipped digit does not lead to another checkpoint.
    return {"pointer": pointer, "snapshot": folder_name(step), "step": step}


def read_pointer(weights: Path, pointer: str) -> int | None:
    """The step that `<pointer>.json` names; None if there is no such file.

    Raises:
        UserError: the file is damaged.
    """
    path = weights / f"{pointer}.json"
    try:
        content = path.read_bytes()
        step = json.loads(content)["step"]
        is_intact = content == serialization.json_bytes(_pointer(pointer, step))
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, OSError, RecursionError):
        is_intact = False
    if not is_intact:
        fix = "name a checkpoint with --resume PATH, or use --resume auto"
        raise UserError("the file is damaged", str(path), fix, Exit.CHECKPOINT)
    return step


def clean(weights: Path) -> None:
    """Removes what killed processes have left; call it on rank 0 before anything is saved."""
    leftovers = remove_leftovers(weights)
    for path in sorted(weights.iterdir()) if weights.is_dir() else ():
        if path.suffix == ".old" and NAME.fullmatch(path.name):
            _settle(path)
            leftovers.append(path)
    for path in leftovers:
        logger.info("cleaned up %s, left by a process that was killed", path)
