"""How a process ends: one line for the user, files for programs, and an exit code.

The line is printed once per launch, by the process that fails first. It is also written where a
launcher looks for it, so that torchrun's own report shows it.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, NoReturn

from ke_t5 import heartbeat, stops
from ke_t5.errors import LONGEST_LINE, Exit, Stopped, UserError, shortened
from ke_t5.faults import is_connection_lost, is_current_folder_gone, machine_fault
from ke_t5.files import write_atomically
from ke_t5.hub import network_fault
from ke_t5.launchers import attempt_folder, launch_id, launched_processes, launched_rank
from ke_t5.programs import ENTRY_POINTS
from ke_t5.rendezvous import sign_out
from ke_t5.standard_streams import keep_standard_streams

STARTED = time.time()
BUG = 1  # the exit code of our own bugs


class Ending(NamedTuple):
    """The reported line and the exit code of a failure; whether the user needs its traceback."""

    line: str
    code: int
    keep_traceback: bool = False


class _Run:
    """The folder of this process's run, once it is known.

    `reporting` is held by the thread that reports how the process ends.
    """

    folder: Path | None = None
    reporting = threading.Lock()


def announce_run_folder(folder: Path | str) -> None:
    """Records failures in `folder` from now on, and removes the error.json of an earlier launch."""
    _Run.folder = Path(folder)
    mark = marker()
    # A failing process creates the marker before error.json: without it, error.json is stale.
    if launched_rank() == 0 and not (mark and mark.exists()):
        with suppress(OSError):  # an unusable folder is reported when it is needed
            (_Run.folder / "error.json").unlink(missing_ok=True)


def forget_run_folder() -> None:
    """Stops recording failures in the announced folder: another launch is using it."""
    _Run.folder = None


def run_and_exit(
    main: Callable[[], int | None],
    *,
    debug: bool = False,
    post_fault: Callable[[str, int], None] | None = None,
) -> NoReturn:
    """Calls `main` and exits with the code it returns, or with that of its failure.

    A stop signal interrupts `main` like Ctrl-C unless `main` postpones it (see `stops`).

    Args:
        debug: print the traceback of any failure to stderr.
        post_fault: sends the line and the code of a failure to the processes of other machines.
    """
    keep_standard_streams()
    stops.end_overdue(_end_overdue)
    heartbeat.end_with(_end_with)
    with stops.postponed(), stops.listening():
        try:
            with stops.at_once():
                code = main() or 0
            stops.ending()
            sign_out()
        except SystemExit:
            sign_out()
            raise
        except BaseException as error:
            stops.ending()
            _Run.reporting.acquire()
            ending, is_first = report_failure(error, debug=debug)
            code = ending.code
            sign_out()
            heartbeat.post(ending.line, code)
            if post_fault is not None:
                post_fault(ending.line, code)
            if not is_first and "TORCHELASTIC_RUN_ID" in os.environ:
                # torchrun ends this process soon, and then reports only the first failure. If its
                # signal has come already, there is nothing to wait for.
                signal.signal(signal.SIGTERM, signal.SIG_DFL)
                if not stops.requested():
                    time.sleep(3)
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):  # the disk of the file may be full
                stream.flush()
        if launched_processes() > 1 or code == Exit.STOPPED:
            # An ordinary exit waits for threads and destroys the process group, which can hang.
            os._exit(code)
    raise SystemExit(code)


def _end_overdue() -> NoReturn:
    """Ends, from another thread, a process that was asked to stop and still runs."""
    if _Run.reporting.acquire(blocking=False):
        report_failure(KeyboardInterrupt())
    os._exit(Exit.STOPPED)


def _end_with(error: BaseException) -> None:
    """Ends the process with an error found by another thread, unless it is already ending."""
    if _Run.reporting.acquire(blocking=False):
        ending, _ = report_failure(error)
        sign_out()
        heartbeat.post(ending.line, ending.code)
        os._exit(ending.code)


def report_failure(error: BaseException, *, debug: bool = False) -> tuple[Ending, bool]:
    """How the launch ends, and whether this process is the first on this machine to fail.

    The first one prints the line and writes error.json; every process passes it to torchrun.
    """
    if stops.has_interrupted() and _follows_from_a_stop(error):
        error = _caused_by(KeyboardInterrupt(), error)
    if isinstance(error, (KeyboardInterrupt, Stopped)):
        # A launcher that has lost a process stops the others.
        error = heartbeat.gone_process() or error
    ending = ending_of(original(error))
    text = "".join(traceback.format_exception(error))
    log = write_log(text, ending) if ending.code != Exit.STOPPED else None
    suffix = ""
    if ending.code == BUG:
        suffix = f"; please report it with {log or 'the traceback above'}"
    elif ending.keep_traceback and log:
        suffix = f" (traceback: {log})"
    line = shortened(ending.line, LONGEST_LINE - len(suffix)) + suffix
    first = claim(Ending(line, ending.code))
    is_first = first is None
    if first is None:
        if debug or (ending.code == BUG and not log):
            sys.stderr.write(text)
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()
        first = Ending(line, ending.code)
        if _Run.folder:
            _write_json(
                _Run.folder / "error.json",
                {
                    "code": first.code,
                    "message": line,
                    "rank": launched_rank(),
                    "traceback_file": log and str(log),
                },
            )
    # A process that fails because another one did reports that failure, and ends with its code.
    if path := os.environ.get("TORCHELASTIC_ERROR_FILE"):
        details = {"py_callstack": first.line, "timestamp": str(int(time.time()))}
        _write_json(Path(path), {"message": {"message": first.line, "extraInfo": details}})
    return first, is_first


def _follows_from_a_stop(error: BaseException) -> bool:
    """Whether an error was caused by the stop that has interrupted the process."""
    if not isinstance(error, (UserError, Stopped)):
        return True  # C++ may have dropped the cause
    inner: BaseException | None = error
    while inner is not None and not isinstance(inner, KeyboardInterrupt):
        inner = inner.__cause__ or inner.__context__
    return inner is not None and not isinstance(error, Stopped)


def _caused_by(error: BaseException, cause: BaseException) -> BaseException:
    error.__cause__ = cause
    return error


def ending_of(error: BaseException) -> Ending:
    """The line and the exit code of an exception."""
    if isinstance(error, Stopped):
        what = " ".join(str(error).split()) or "the run was asked to stop and has saved"
        return Ending(f"stopped: {what}; continue with --resume true", Exit.STOPPED)
    if isinstance(error, KeyboardInterrupt):
        fix = "start it again (to continue a training: --resume auto)"
        return Ending(f"stopped: {str(error) or f'interrupted; {fix}'}", Exit.STOPPED)
    if not isinstance(error, UserError):
        error = fault_of_machine(error) or network_fault(error) or error
    if isinstance(error, UserError):
        line = shortened(str(error), fix=" ".join(error.fix.split()))
        return Ending(line, int(error.exit_code), error.keep_traceback)
    what = " ".join(f"{type(error).__name__}: {error}".split())
    place = user_code_location(error)
    if place:
        line = f"error: {place}: {what:.300}; fix the module"
        return Ending(line, int(Exit.FLAGS), keep_traceback=True)
    return Ending(f"error: internal: {what:.300}", BUG)


def user_code_location(error: BaseException) -> str | None:
    """`file:line` of the innermost call in the user's own code: a module in the current folder that
    is neither part of this package nor an installed one. None if no such module is involved."""
    if is_current_folder_gone():
        return None
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
    """The fault of the machine or of another process behind an exception, if any."""
    if launched_processes() > 1 and is_connection_lost(error):
        # A process that ends closes its connections a moment before it is gone.
        for _ in range(10):
            if (gone := heartbeat.gone_process()) is not None:
                return gone
            time.sleep(0.05 if heartbeat.is_watching() else 0)
    return machine_fault(
        error, folder=_Run.folder, rank=launched_rank(), num_processes=launched_processes()
    )


def original(error: BaseException) -> BaseException:
    """The original exception if `error` is gin's copy of it with more text, else `error`."""
    inner = error.__context__
    while inner and type(error).__mro__[1] is type(inner) and _same_name(error, inner):
        error, inner = inner, inner.__context__
    return error


def _same_name(error: BaseException, inner: BaseException) -> bool:
    return type(error).__name__ == type(inner).__name__


def marker() -> Path | None:
    """The file that the first process to fail creates; None if there is only one process."""
    if launched_processes() == 1:
        return None
    folder = attempt_folder()
    if folder is not None:
        return folder / "first_failure.json"
    return Path(tempfile.gettempdir()) / f"ke_t5-{launch_id()}.failed"


def claim(ending: Ending) -> Ending | None:
    """How the first process of the launch to fail has ended; None if this one is the first."""
    mark = marker()
    if mark is None:
        return None
    with suppress(OSError):
        # A mark that an earlier launch (same parent, same port) has left is removed; the processes
        # of one launch may start a few seconds apart.
        if mark.stat().st_mtime < STARTED - 5:
            mark.unlink(missing_ok=True)
    try:
        handle = os.open(mark, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except FileExistsError:
        return _first(mark)
    except OSError:
        return None  # better reported twice than never
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        json.dump(ending, file)
    return None


def _first(mark: Path) -> Ending | None:
    for _ in range(20):  # created, but perhaps not yet written
        try:
            return Ending(*json.loads(mark.read_text(encoding="utf-8")))
        except ValueError:
            time.sleep(0.05)
        except OSError:
            break
    return None


def write_log(text: str, ending: Ending) -> Path | None:
    """The log to which the traceback was appended; None if there is nowhere to write it.

    Before a run has its folder, only a traceback of the user's own code is kept, in a temporary
    file.
    """
    try:
        # A command that does not start leaves no folder behind.
        is_user_error = ending.code != BUG
        if _Run.folder and (_Run.folder.exists() or not is_user_error):
            log = _Run.folder / "logs" / f"rank{launched_rank()}.log"
            log.parent.mkdir(parents=True, exist_ok=True)
            with log.open("a", encoding="utf-8", errors="backslashreplace") as file:
                file.write(text)
            return log
        if ending.keep_traceback:
            log = Path(tempfile.gettempdir()) / f"ke_t5-{launch_id()}.log"
            flags = os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_NOFOLLOW
            with os.fdopen(os.open(log, flags, 0o600), "w", encoding="utf-8") as file:
                file.write(text)
            return log
    except OSError:  # a full disk may be the failure; the line must be printed all the same
        pass
    return None


def _write_json(path: Path, content: dict) -> None:
    """Replaces the file; does nothing if its folder is missing or it cannot be written."""
    if path.parent.is_dir():
        with suppress(OSError):
            write_atomically(path, json.dumps(content, ensure_ascii=False) + "\n")
