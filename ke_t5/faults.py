"""Faults of the machine, told from our own by class name, error number and text."""

from __future__ import annotations

import errno
import os
import re

from ke_t5.errors import Exit, UserError


def machine_fault(
    error: BaseException, *, folder: object, rank: int, num_processes: int
) -> UserError | None:
    """The fault of the machine behind an exception: memory, disk, permissions, a port; else None.

    Told by class name, error number and text: the classes are torch's, which is not imported here,
    and libraries in other languages pass on only the text.
    """
    if isinstance(error, UserError) or not isinstance(error, Exception):
        return None
    text = str(error).lower()
    number = getattr(error, "errno", None)
    names = {cls.__name__ for cls in type(error).__mro__}
    technical = bool(names & {"RuntimeError", "OSError", "MemoryError", "SafetensorError"})
    memory = "out of memory", "allocate memory", "not enough memory", "status_alloc_failed"
    if names & {"MemoryError", "OutOfMemoryError"} or (
        technical and any(t in text for t in memory)
    ):
        wanted = re.search(r"(?i)tried to allocate ([\d.]+ \w+)", str(error))
        what = "out of memory" + (f" ({wanted[1]} more wanted)" if wanted else "")
        where = "GPU" if re.search(r"\b(cuda|hip|gpu|cublas)", text) else "machine"
        fix = (
            "try a smaller --batch_size, with fit.accumulate for the same number of rows per update"
        )
        return UserError(what, where, fix, Exit.MACHINE)
    where = str(getattr(error, "filename", None) or folder or "disk")
    full = "no space left on device", "disk quota exceeded", "os error 28"
    if number in (errno.ENOSPC, errno.EDQUOT) or (technical and any(t in text for t in full)):
        fix = "free some, or choose another --output_dir or --hf_cache_dir"
        return UserError("no space left on the disk", where, fix, Exit.MACHINE)
    if number in (errno.EACCES, errno.EPERM, errno.EROFS):
        fix = "check its owner and permissions, or choose another place"
        return UserError(os.strerror(number).lower(), where, fix, Exit.MACHINE)
    gone = "connection (closed|reset) by peer|remote process exited|broken pipe"
    if "RuntimeError" in names and num_processes > 1 and re.search(gone, text):
        what = "another process of this run is gone (killed, or out of memory?)"
        fix = "look at the machine's log, then go on with --resume auto"
        return UserError(what, f"process {rank}", fix, Exit.MACHINE)
    never = "connection refused|timed? ?out|connectfullmesh|failed to connect|no route to host"
    if "RuntimeError" in names and num_processes > 1 and re.search(never, text):
        what = "another process of this run cannot be reached"
        fix = "look at the messages of the other nodes, then start again (--resume auto)"
        return UserError(what, f"process {rank}", fix, Exit.MACHINE)
    if technical and re.search("eaddrinuse|address already in use", text):
        fix = "another run may have it: choose another --master_port"
        return UserError("the port of the process group is taken", "launcher", fix, Exit.MACHINE)
    return None
