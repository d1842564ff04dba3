"""How a process ends: one line for people, files for programs, and an exit code.

The line is printed once per launch, by the process that fails first. It also goes where a launcher
looks for it, so that torchrun's own report shows it.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, NoReturn

from ke_t5.errors import Exit, Stopped, UserError
from ke_t5.faults import machine_fault
from ke_t5.hub import network_fault
from ke_t5.programs import ENTRY_POINTS
from ke_t5.rendezvous import interrupt

STARTED = time.time()
BUG = 1  # the exit code of what is our own fault


class Ending(NamedTuple):
    """What is told of a failure, and whether its traceback is for the user to read."""

    line: str
    code: int
    keep_traceback: bool = False


class _Run:
    """The folder of this process's run, once there is one."""

    folder: Path | None = None


def announce_run_folder(folder: Path | str) -> None:
    """From here on failures are recorded in `folder`; what an earlier launch left there goes."""
    _Run.folder = Path(folder)
    mark = marker()
    # Whoever fails makes the mark before error.json: without a mark, an error.json is an old one.
    if rank() == 0 and not (mark and mark.exists()):
        with suppress(OSError):  # no folder at all: whoever needs it will say so
            (_Run.folder / "error.json").unlink(missing_ok=True)


def run_and_exit(
    main: Callable[[], int | None],
    *,
    debug: bool = False,
    post_fault: Callable[[str, int], None] | None = None,
) -> NoReturn:
    """Calls `main` and ends the process with what it returns, or with the code of its failure.

    SIGTERM interrupts it as Ctrl-C does, wherever it does not note such signals itself.

    Args:
        debug: show the traceback of any failure on stderr.
        post_fault: passes line and code of a failure on to the processes of other machines.
    """
    signal.signal(signal.SIGTERM, interrupt)
    try:
        code = main() or 0
    except SystemExit:
        raise
    except BaseException as error:
        ending, is_first = tell(error, debug=debug)
        code = ending.code
        if post_fault is not None:
            post_fault(ending.line, code)
        if not is_first and "TORCHELASTIC_RUN_ID" in os.environ:
            # torchrun ends it at once, and then reports the first failure alone.
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            time.sleep(3)
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # whoever was reading may have gone
            stream.flush()
    if num_processes() > 1:
        # An ordinary exit tears down the process group, and that can wait for ever.
        os._exit(code)
    raise SystemExit(code)


def tell(error: BaseException, *, debug: bool = False) -> tuple[Ending, bool]:
    """How the launch ends, and whether this process is its first to fail on this machine: then the
    failure is told. It is recorded in any case."""
    ending = ending_of(original(error))
    text = "".join(traceback.format_exception(error))
    log = write_log(text, ending) if ending.code != Exit.STOPPED else None
    line = ending.line
    if ending.code == BUG:
        line += f"; please report it with {log or 'the traceback above'}"
    elif ending.keep_traceback and log:
        line += f" (traceback: {log})"
    first = claim(Ending(line, ending.code))
    is_first = first is None
    if first is None:
        if debug or (ending.code == BUG and not log):
            sys.stderr.write(text)
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()
        first = Ending(line, ending.code)
        write_json(
            _Run.folder and _Run.folder / "error.json",
            {
                "code": first.code,
                "message": line,
                "rank": rank(),
                "traceback_file": log and str(log),
            },
        )
    # A process that fails because another did reports, and ends like, that other one.
    told = {"py_callstack": first.line, "timestamp": str(int(time.time()))}
    place = os.environ.get("TORCHELASTIC_ERROR_FILE")
    write_json(place and Path(place), {"message": {"message": first.line, "extraInfo": told}})
    return first, is_first


def ending_of(error: BaseException) -> Ending:
    """The line and the exit code of an exception."""
    if isinstance(error, Stopped):
        what = " ".join(str(error).split()) or "the run was asked to stop and has saved"
        return Ending(f"stopped: {what}; go on with --resume true", Exit.STOPPED)
    if isinstance(error, KeyboardInterrupt):
        fix = "start it again (a training goes on with --resume auto)"
        return Ending(f"stopped: interrupted; {fix}", Exit.STOPPED)
    if not isinstance(error, UserError):
        error = fault_of_machine(error) or network_fault(error) or error
    if isinstance(error, UserError):
        keep = getattr(error, "keep_traceback", False)
        return Ending(str(error), int(error.exit_code), keep)
    what = " ".join(f"{type(error).__name__}: {error}".split())
    place = users_place(error)
    if place:
        line = f"error: {place}: {what:.300}; mend the module"
        return Ending(line, int(Exit.FLAGS), keep_traceback=True)
    return Ending(f"error: internal: {what:.300}", BUG)


def users_place(error: BaseException) -> str | None:
    """`file:line` of the innermost call in a module of the user's own, which lies in the current
    folder and is neither this package nor an installed one; None where no such module is in it."""
    ours, here = Path(__file__).resolve().parent, Path.cwd()
    scripts = {ours.parent / name for name in ENTRY_POINTS}
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = here / frame.filename
        is_installed = "site-packages" in path.parts or path.is_relative_to(ours)
        if path.suffix == ".py" and path.is_relative_to(here) and not is_installed:
            if path not in scripts:
                return f"{path.relative_to(here)}:{frame.lineno}"
    return None


def fault_of_machine(error: BaseException) -> UserError | None:
    """The fault of the machine or of another process behind an exception; else None."""
    return machine_fault(error, folder=_Run.folder, rank=rank(), num_processes=num_processes())


def original(error: BaseException) -> BaseException:
    """The exception itself, where gin has raised a copy with more text in its place."""
    inner = error.__context__
    while inner and type(error).__mro__[1] is type(inner) and _same_name(error, inner):
        error, inner = inner, inner.__context__
    return error


def _same_name(error: BaseException, inner: BaseException) -> bool:
    return type(error).__name__ == type(inner).__name__


def rank() -> int:
    """The number of this process in its launch, from 0."""
    return int(os.environ.get("RANK", "0"))


def num_processes() -> int:
    """How many processes were launched together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def launch() -> str:
    """A name that the processes of one launch on one machine share, and other launches do not."""
    if num_processes() == 1:
        return str(os.getpid())
    names = "TORCHELASTIC_RUN_ID", "TORCHELASTIC_RESTART_COUNT", "MASTER_ADDR", "MASTER_PORT"
    parts = [os.environ.get(name, "") for name in names] + [str(os.getppid())]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def marker() -> Path | None:
    """The file that the first process to fail makes; None where there is only one process."""
    if num_processes() == 1:
        return None
    place = os.environ.get("TORCHELASTIC_ERROR_FILE")
    if place and Path(place).parent.parent.is_dir():
        # torchrun's own folder for this attempt, one folder per process below it.
        return Path(place).parent.parent / "first_failure.json"
    return Path(tempfile.gettempdir()) / f"ke_t5-{launch()}.failed"


def claim(ending: Ending) -> Ending | None:
    """None if this process is the first of its launch to fail, else how the first one ended."""
    mark = marker()
    if mark is None:
        return None
    with suppress(OSError):
        # A mark from before this launch (same parent, same port) says nothing about it; processes
        # of one launch may start a few seconds apart.
        if mark.stat().st_mtime < STARTED - 5:
            mark.unlink(missing_ok=True)
    try:
        handle = os.open(mark, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except FileExistsError:
        return _first(mark)
    except OSError:
        return None  # told twice is better than never told
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        json.dump(ending, file)
    return None


def _first(mark: Path) -> Ending | None:
    for _ in range(20):  # made, but perhaps not written yet
        try:
            return Ending(*json.loads(mark.read_text(encoding="utf-8")))
        except ValueError:
            time.sleep(0.05)
        except OSError:
            break
    return None


def write_log(text: str, ending: Ending) -> Path | None:
    """The file that now ends with the traceback `text`; None where there is none to write to.

    Before a run has its folder, only a traceback of the user's own code is kept, in a file of the
    system's folder for temporary files.
    """
    try:
        # A command that starts nothing leaves no folder.
        is_slip = ending.code in (Exit.FLAGS, Exit.CHECKPOINT) and not ending.keep_traceback
        if _Run.folder and (_Run.folder.exists() or not is_slip):
            log = _Run.folder / "logs" / f"rank{rank()}.log"
            log.parent.mkdir(parents=True, exist_ok=True)
            with log.open("a", encoding="utf-8", errors="backslashreplace") as file:
                file.write(text)
            return log
        if ending.keep_traceback:
            log = Path(tempfile.gettempdir()) / f"ke_t5-{launch()}.log"
            flags = os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_NOFOLLOW
            with os.fdopen(os.open(log, flags, 0o600), "w", encoding="utf-8") as file:
                file.write(text)
            return log
    except OSError:  # a full disk may be the very failure; the line must come out all the same
        pass
    return None


def write_json(place: Path | None, content: dict) -> None:
    """Replaces the file `place` in one step; where that cannot be done, nothing happens."""
    if not place:
        return
    new = place.with_name(f"{place.name}.{os.getpid()}.tmp")
    with suppress(OSError):
        try:
            new.write_text(json.dumps(content, ensure_ascii=False) + "\n", encoding="utf-8")
            os.replace(new, place)
        finally:
            new.unlink(missing_ok=True)
