"""Atomic writes: a reader sees the old content of a file or folder or the new, never a mixture.

The content is written under a temporary name, `<name>.tmp-<process id>`, and then renamed: a killed
process leaves at most a temporary file behind (see `remove_leftovers`). A replaced folder swaps
names with the new one; where the system cannot do that, it is briefly called
`<name>.replaced-<process id>`. With `is_durable` the content is flushed to disk before and after
the rename, and survives a power failure as well.
"""

from __future__ import annotations

import errno
import json
import math
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

TEMPORARY = re.compile(r"(?P<name>.*)\.(?P<kind>tmp|replaced)-(?P<pid>\d+)")

# Arguments of Linux's renameat2.
AT_FDCWD, RENAME_EXCHANGE = -100, 2
UNSUPPORTED = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP)


Stamp = tuple[int, int, int, int]


def stamp_of(path: Path) -> Stamp:
    """A stamp that changes with each write, even if size and modification time are restored."""
    stat = path.stat()
    return stat.st_ino, stat.st_ctime_ns, stat.st_size, stat.st_mtime_ns


def temporary_path(path: Path) -> Path:
    """The temporary name under which this process writes `path`."""
    return path.with_name(f"{path.name}.tmp-{os.getpid()}")


def write_atomically(
    path: Path, content: str | bytes | Iterable[str], *, is_durable: bool = False
) -> None:
    """Replaces the file's content, given whole or in parts; creates its folder if needed."""
    parts = [content] if isinstance(content, (str, bytes)) else content
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_path(path)
    try:
        with temporary.open("wb") as file:
            for part in parts:
                file.write(part.encode("utf-8") if isinstance(part, str) else part)
            if is_durable:
                file.flush()
                os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    if is_durable:
        sync_folder(path.parent)


@contextmanager
def new_folder(path: Path, *, is_durable: bool = False) -> Iterator[Path]:
    """A temporary folder that replaces `path` when its block ends; it is deleted after an error."""
    temporary = temporary_path(path)
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir(parents=True)
        yield temporary
        if is_durable:
            for content in (*temporary.rglob("*"), temporary):
                sync_folder(content)
        replace_folder(temporary, path, is_durable=is_durable)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def replace_folder(
    source: Path, target: Path, *, old: Path | None = None, is_durable: bool = False
) -> None:
    """Renames a folder to `target` and deletes the folder that had that name.

    Args:
        old: the interim name of the latter, if the system cannot swap two names atomically.

    Raises:
        OSError: the rename failed; `target` is unchanged.
    """
    old = target.with_name(f"{target.name}.replaced-{os.getpid()}") if old is None else old
    if not target.exists():
        os.rename(source, target)
    elif exchange(source, target):
        old = source
    else:
        os.rename(target, old)
        try:
            os.rename(source, target)
        except OSError:
            os.rename(old, target)
            raise
    if is_durable:
        sync_folder(target.parent)
    if old.exists():
        remove_folder(old)


def exchange(one: Path, other: Path) -> bool:
    """Swaps two names atomically; False if the system cannot."""
    import ctypes  # not needed for --help

    swap = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if swap is None:
        return False
    names = (AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(other))
    if swap(*names, RENAME_EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in UNSUPPORTED:
        return False
    raise OSError(number, os.strerror(number), str(other))


def remove_folder(folder: Path) -> None:
    """Deletes a folder under a temporary name, so that no partial one looks complete."""
    doomed = folder
    if not TEMPORARY.fullmatch(folder.name):
        doomed = temporary_path(folder)
        os.rename(folder, doomed)
    if doomed.is_symlink():
        doomed.unlink()
    else:
        shutil.rmtree(doomed)


def move_aside(path: Path) -> Path:
    """Renames a file or folder to the first free of `<name>.1`, `.2`, ...; returns the path."""
    number = 1
    while (target := path.with_name(f"{path.name}.{number}")).exists():
        number += 1
    os.rename(path, target)
    return target


def is_temporary(path: Path) -> bool:
    """Whether a file or folder has a temporary name, and so is being written or was left behind."""
    return TEMPORARY.fullmatch(path.name) is not None


def set_aside_from(path: Path) -> tuple[Path, int] | None:
    """The original path of a file or folder that `move_aside` has renamed, and its number; None for
    other names."""
    match = re.fullmatch(r"(.+)\.(\d+)", path.name)
    return (path.with_name(match[1]), int(match[2])) if match else None


def is_replaced(path: Path) -> bool:
    """Whether a file or folder was moved aside and its original name is in use again."""
    aside = set_aside_from(path)
    return aside is not None and aside[0].exists()


def remove_leftovers(
    folder: Path, name: str | None = None, *, is_alone: bool = False
) -> list[Path]:
    """Removes the temporary files and folders that killed processes have left in a folder; a
    replaced folder without a successor gets its name back.

    Args:
        name: the final name that they were written for, None for any.
        is_alone: no other process can be writing there now (a lock is held): ids are ignored.

    Returns:
        the removed paths.
    """
    removed = []
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        match = TEMPORARY.fullmatch(path.name)
        if match is None or name not in (None, match["name"]):
            continue
        if not is_alone and _is_alive(int(match["pid"])):
            continue
        target = path.with_name(match["name"])
        if match["kind"] == "replaced" and not target.exists():
            os.rename(path, target)
            continue
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        removed.append(path)
    return removed


def _is_alive(pid: int) -> bool:
    # A file from before we started can have our id: in a container every run is process 1.
    if pid == os.getpid():
        return False
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def sync_folder(folder: Path) -> None:
    """Flushes the names in a folder, or the content of a file, to disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network file systems cannot flush a folder.
        if error.errno != errno.EINVAL:
            raise
    finally:
        os.close(descriptor)


def write_json(path: Path, value: Any, *, is_durable: bool = False) -> None:
    """Writes a value atomically as indented JSON."""
    text = json.dumps(plain(value), ensure_ascii=False, indent=2) + "\n"
    write_atomically(path, text, is_durable=is_durable)


def write_json_lines(path: Path, values: Iterable[Any]) -> None:
    """Writes one line of JSON per value, atomically."""
    lines = (json.dumps(plain(value), ensure_ascii=False) + "\n" for value in values)
    write_atomically(path, lines)


def plain(value: Any) -> Any:
    """The value as plain JSON: numpy and torch scalars unpacked, None for non-finite numbers."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if not isinstance(value, (int, float, str)) and hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    return value
