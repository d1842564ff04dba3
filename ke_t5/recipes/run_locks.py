"""Locks of a run's folder, so that two launches never write the same files.

A lock is an open file beside the folder, `.<task>.lock`, which names its owner. The kernel releases
it when the owner ends, for whatever reason. On NFS the server must run a lock service (mounts with
`nolock` or `local_lock=all` only keep out processes on the same machine). If the file system has no
locks, a warning is logged and the folder is used without one.
"""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ke_t5.errors import Exit, UserError
from ke_t5.failure import forget_run_folder
from ke_t5.launchers import is_restart, launch_name
from ke_t5.recipes.folders import RunFolder, make_folder, safe_name, unwritable

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.05
# A killed process takes a moment to end, and a launch that checks the lock holds it for a moment.
GRACE_SECONDS = 2.0
# torchrun restarts processes while the old ones are still ending.
RESTART_SECONDS = 60.0
NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL)


class RunLocks:
    """The locks that this process holds."""

    def __init__(self) -> None:
        self._held: list[tuple[int, Path]] = []

    def take(self, run: RunFolder, *, split: str | None = None, action: str) -> None:
        """Locks the folder, or its results on an evaluation split, until `release`.

        Args:
            action: what the owner is doing, for the error of another launch.

        Raises:
            UserError: exit 5, a live process has the lock.
        """
        path = lock_file(run, split)
        make_folder(path.parent, where=f"--output_dir {run.path}", probe=False)
        started = time.monotonic()
        while (file := _open_locked(path, run)) is None:
            owner = _owner_of(path)
            patience = RESTART_SECONDS if _is_of_this_launch(owner) else GRACE_SECONDS
            if time.monotonic() - started > patience:
                raise _in_use(run, split, owner)
            time.sleep(POLL_SECONDS)
        self._held.append((file, path))
        if left := _owner_of(path):
            logger.info("%s: taken over from %s, which was killed", run.path, _name_of(left))
        since = time.strftime("%Y-%m-%d %H:%M")
        owner = {"host": socket.gethostname(), "pid": os.getpid(), "action": action,
                 "since": since, "launch": launch_name()}  # fmt: skip
        os.ftruncate(file, 0)
        os.pwrite(file, json.dumps(owner).encode(), 0)

    def release(self) -> None:
        """Releases all locks, and removes their files."""
        while self._held:
            file, path = self._held.pop()
            with suppress(OSError):
                path.unlink()
            os.close(file)


@contextmanager
def held_locks() -> Iterator[RunLocks]:
    """Locks that are released at the end of the block."""
    locks = RunLocks()
    try:
        yield locks
    finally:
        locks.release()


def check_unused(run: RunFolder) -> None:
    """Raises UserError if a live process is training in the folder; leaves nothing there."""
    path, started = lock_file(run), time.monotonic()
    while _is_locked(path):
        owner = _owner_of(path)
        if _is_of_this_launch(owner):
            return
        if time.monotonic() - started > GRACE_SECONDS:
            raise _in_use(run, None, owner)
        time.sleep(POLL_SECONDS)


def _is_locked(path: Path) -> bool:
    try:
        file = os.open(path, os.O_RDWR)
    except OSError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        pass  # a disk without locks
    finally:
        os.close(file)
    return False


def lock_file(run: RunFolder, split: str | None = None) -> Path:
    """The lock file, beside the folder because an older run is moved aside under the lock."""
    part = "" if split is None else f".{safe_name(split)}"
    return run.path.with_name(f".{run.path.name}{part}.lock")


def _open_locked(path: Path, run: RunFolder) -> int | None:
    """The locked file; None if another process has locked it."""
    try:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise unwritable(error, where=f"--output_dir {run.path}") from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(file)
        return None
    except OSError as error:
        if error.errno not in NO_LOCKS:
            os.close(file)
            raise
        logger.warning("%s: this disk has no locks; start no other run in the folder", path)
        return file
    with suppress(FileNotFoundError):
        if os.path.samestat(os.fstat(file), path.stat()):
            return file
    os.close(file)  # its owner has just removed it
    return None


def _owner_of(path: Path) -> dict[str, Any]:
    """The owner that is recorded in a lock file; {} if there is none yet."""
    try:
        owner = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return owner if isinstance(owner, dict) else {}


def _is_of_this_launch(owner: dict[str, Any]) -> bool:
    """Whether the owner is an earlier process of this launch, which torchrun restarted."""
    return is_restart() and owner.get("launch") == launch_name()


def _name_of(owner: dict[str, Any]) -> str:
    if not owner:
        return "another process"
    return f"process {owner.get('pid')} on {owner.get('host')}"


def _in_use(run: RunFolder, split: str | None, owner: dict[str, Any]) -> UserError:
    forget_run_folder()
    action = owner.get("action", "working")
    since = f" since {owner['since']}" if "since" in owner else ""
    place = "there" if split is None else f"there, on {split}"
    return UserError(
        f"{_name_of(owner)} has been {action} {place}{since}",
        str(run.path),
        "wait until it ends, or choose another --output_dir",
        Exit.MACHINE,
    )
