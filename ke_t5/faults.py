"""Faults of the machine, recognized by class name, error number and text.

The classes are torch's, which is not imported here; libraries in other languages pass on only the
text.
"""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path

from ke_t5.errors import START_AGAIN, Exit, UserError

OUT_OF_MEMORY = "out of memory|allocate memory|not enough memory|status_alloc_failed"
DISK_FULL = "no space left on device|disk quota exceeded|os error 28"
FILE_TOO_LARGE = r"file too large|os error 27\b"
OPEN_FILES = r"too many open files|os error (23|24)\b"
CONNECTION_LOST = "connection (closed|reset) by peer|remote process exited|broken pipe"
UNREACHABLE = "connection refused|timed? ?out|connectfullmesh|failed to connect|no route to host"
TAKEN = dict.fromkeys((errno.ENOTDIR, errno.EEXIST), "a file has the name of a folder")
TAKEN[errno.EISDIR] = "a folder has the name of a file"
PORT_TAKEN = "eaddrinuse|address already in use"


def machine_fault(
    error: BaseException, *, folder: object, rank: int, num_processes: int
) -> UserError | None:
    """The fault of the machine behind an exception: memory, disk, permissions, another process or
    a port. None for other exceptions.

    Args:
        folder: the run's folder, named if the disk is full and the exception names no file.
    """
    if isinstance(error, UserError) or not isinstance(error, Exception):
        return None
    names = {cls.__name__ for cls in type(error).__mro__}
    # tokenizers raises a plain Exception.
    is_technical = type(error) is Exception or bool(
        names & {"RuntimeError", "OSError", "MemoryError", "SafetensorError"}
    )
    text = str(error).lower() if is_technical else ""
    if names & {"MemoryError", "OutOfMemoryError"} or re.search(OUT_OF_MEMORY, text):
        return _memory_fault(str(error))
    place = str(getattr(error, "filename", None) or folder or "disk")
    number = getattr(error, "errno", None)
    if (fault := _file_fault(number, text, place)) is not None:
        return fault
    if number in TAKEN and folder is not None:
        taken = Path(getattr(error, "filename2", None) or place)
        if taken.is_relative_to(str(folder)):
            taken = next((one for one in (taken, *taken.parents) if one.exists()), taken)
            return UserError(TAKEN[number], str(taken), "move it away", Exit.MACHINE)
    if "RuntimeError" in names and num_processes > 1:
        fault = _process_fault(text, rank)
        if fault:
            return fault
    if re.search(PORT_TAKEN, text):
        fix = "another run may be using it: choose another --master_port"
        return UserError("the port of the process group is taken", "launcher", fix, Exit.MACHINE)
    return None


def _file_fault(number: int | None, text: str, place: str) -> UserError | None:
    """The fault of a disk, or of files on it, by the error's number or text."""
    if number in (errno.ENOSPC, errno.EDQUOT) or re.search(DISK_FULL, text):
        fix = "free some space, or choose another --output_dir or --hf_cache_dir"
        return UserError("no space left on the disk", place, fix, Exit.MACHINE)
    if number == errno.EFBIG or re.search(FILE_TOO_LARGE, text):
        fix = "raise the limit (ulimit -f), or choose another --output_dir or --hf_cache_dir"
        return UserError("a file would exceed the size limit", place, fix, Exit.MACHINE)
    if number in (errno.EMFILE, errno.ENFILE) or re.search(OPEN_FILES, text):
        fix = "raise the limit of the process or the system (ulimit -n)"
        return UserError("too many open files", "machine", fix, Exit.MACHINE)
    if number in (errno.EACCES, errno.EPERM, errno.EROFS):
        fix = "check its owner and permissions, or choose another folder"
        return UserError(os.strerror(number).lower(), place, fix, Exit.MACHINE)
    if number in (errno.EIO, errno.ESTALE):
        fix = f"check the disk or its mount, {START_AGAIN}"
        return UserError(os.strerror(number).lower(), place, fix, Exit.MACHINE)
    if number == errno.ENOENT and is_current_folder_gone():
        what, fix = "it was deleted", "change to another folder (cd)"
        return UserError(what, "the current folder", fix, Exit.MACHINE)
    return None


def is_current_folder_gone() -> bool:
    """Whether the current folder was deleted."""
    try:
        os.getcwd()
    except FileNotFoundError:
        return True
    return False


def _memory_fault(text: str) -> UserError:
    size = re.search(r"(?i)tried to allocate ([\d.]+ \w+)", text)
    what = "out of memory" + (f" (tried to allocate {size[1]})" if size else "")
    where = "GPU" if re.search(r"\b(cuda|hip|gpu|cublas)", text.lower()) else "machine"
    fix = "try a smaller --batch_size, and fit.accumulate to keep the number of rows per update"
    if where == "GPU":  # where evaluations have batches of their own
        fix = "try a smaller --batch_size and a larger fit.accumulate; if it was evaluating, "
        fix += "EvaluationHelper.eval_batch_tokens=4096"
    return UserError(what, where, fix, Exit.MACHINE)


def is_connection_lost(error: BaseException) -> bool:
    """Whether another process has closed its connection to this one."""
    return isinstance(error, RuntimeError) and bool(re.search(CONNECTION_LOST, str(error).lower()))


def _process_fault(text: str, rank: int) -> UserError | None:
    where = f"process {rank}"
    if re.search(CONNECTION_LOST, text):
        what = "another process of this run is gone (killed, or out of memory?)"
        fix = f"look at the machine's log, {START_AGAIN}"
        return UserError(what, where, fix, Exit.MACHINE)
    if re.search(UNREACHABLE, text):
        what = "another process of this run cannot be reached"
        fix = f"look at the messages of the other nodes, {START_AGAIN}"
        return UserError(what, where, fix, Exit.MACHINE)
    return None
