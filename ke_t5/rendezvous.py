"""Lets the processes of a launch wait for each other before they create their process group.

Each posts to the launch's key-value store that it is ready, or the fault that ended it, so that a
fault on one node ends all processes with the same line. Waiting is done in Python, which handles
signals; torch is imported inside the functions.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ke_t5 import processes, stops
from ke_t5.errors import START_AGAIN, Exit, UserError
from ke_t5.files import write_atomically
from ke_t5.launchers import (
    is_store_of_launcher,
    launch_folder,
    launched_processes,
    launched_rank,
)
from ke_t5.processes import Idleness, ProcessId

if TYPE_CHECKING:
    from torch.distributed import Store  # pyright: ignore[reportPrivateImportUsage]

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.1
# A launcher's own store is up before its processes start: if it does not answer, it is gone.
LAUNCHER_SECONDS = 15.0
# Other processes may prepare data for a long time, including the one that hosts the store.
PATIENCE_SECONDS = 1800.0
# How long a failed process keeps the store alive for those that have not yet read its fault.
FAREWELL_SECONDS = 5.0
REMINDER_SECONDS = 20.0
# A process without progress for this long has stalled.
STALL_SECONDS = 600.0
# A younger signature may belong to a launch that is just starting.
STALE_SECONDS = 60.0
# By then all processes of a launch on one machine have started.
STARTING_SECONDS = 5.0


class FaultElsewhere(UserError):
    """Another process of the launch failed; has its line and exit code."""

    def __init__(self, line: str, code: int, rank: int, host: str) -> None:
        super().__init__(line, f"process {rank} on {host}", "", Exit.MACHINE)
        self.line, self.exit_code = line, code

    def __str__(self) -> str:
        return f"{self.line} ({self.where})"


def _wait() -> None:
    stops.check()  # an import that a signal interrupts may swallow the exception
    time.sleep(POLL_SECONDS)


class _Met:
    """Whether the processes have met; from then on each notices by itself if another is gone."""

    is_over = False


def gone(rank: int, host: str, during: str) -> UserError:
    """The error for a process that has ended without reporting an error."""
    fix = f"look at the machine's log, {START_AGAIN}"
    what = f"is gone (killed, or out of memory?), last seen {during}"
    return UserError(what, f"process {rank} on {host}", fix, Exit.MACHINE)


def stalled(
    rank: int, host: str, seconds: float, during: str, *, done: str = "nothing"
) -> UserError:
    """The error for a process that makes no progress."""
    fix = f"look at the machine, {START_AGAIN}, perhaps with a longer --stall_timeout"
    what = f"has stalled: {done} for {seconds:.0f} s, {during}"
    return UserError(what, f"process {rank} on {host}", fix, Exit.MACHINE)


def sign_in() -> None:
    """Tells the processes of this launch on this machine that this one has started."""
    if launched_processes() > 1:
        with suppress(OSError):
            file = _signature(launched_rank())
            file.parent.mkdir(exist_ok=True)
            write_atomically(file, json.dumps(processes.own_id()))
        for folder in sorted(launch_folder().parent.glob("ke_t5-*/")):
            with suppress(OSError, ValueError, TypeError):
                _remove_if_stale(folder)


def sign_out() -> None:
    """Reverts `sign_in`."""
    if launched_processes() > 1:
        with suppress(OSError):
            _signature(launched_rank()).unlink(missing_ok=True)
            launch_folder().rmdir()  # succeeds for the last process


def _remove_if_stale(folder: Path) -> None:
    """Removes the folder of an old launch whose processes were all killed, and never signed out."""
    if folder == launch_folder() or folder.is_symlink() or folder.stat().st_uid != os.getuid():
        return
    signatures = list(folder.iterdir())
    for file in signatures:
        signed = ProcessId(*json.loads(file.read_bytes()))
        is_dead = processes.is_here(signed) and processes.state_of(signed) is None
        if not is_dead or time.time() - file.stat().st_mtime < STALE_SECONDS:
            return
    for file in signatures:
        file.unlink()
    if signatures:
        folder.rmdir()


def _signature(rank: int) -> Path:
    return launch_folder() / f"process-{rank}.json"


class _Absent:
    """Finds processes of this machine that have died or stalled before they arrived."""

    def __init__(self, timeout: float) -> None:
        self._timeout, self._begin = timeout, time.monotonic()
        self._idle: dict[int, Idleness] = {}

    def check(self, ranks: Iterable[int]) -> None:
        """Raises UserError if one of them will never arrive."""
        for rank in ranks:
            try:
                signed = ProcessId(*json.loads(_signature(rank).read_bytes()))
            except (OSError, ValueError, TypeError):
                continue  # it has not started yet, or is on another machine
            if not processes.is_here(signed):
                continue
            state, host = processes.state_of(signed), socket.gethostname()
            during = "before training began"
            # A file left by an earlier launch is replaced as soon as the process starts.
            if state is None and time.monotonic() - self._begin > STARTING_SECONDS:
                raise gone(rank, host, during)
            seconds = self._idle.setdefault(rank, Idleness()).look(state)
            if state is not None and seconds > self._timeout:
                processes.kill(signed)  # a suspended process ignores the launcher's SIGTERM
                raise stalled(rank, host, seconds, during)


def meet(
    facts: Mapping[str, Any], *, stall_timeout: float = STALL_SECONDS
) -> tuple[Store, list[dict[str, Any]]]:
    """The launch's store, and the facts of every process (with its `host` and its `process`, see
    `ProcessId`), by rank.

    Raises:
        FaultElsewhere: a process failed before it arrived here.
        UserError: exit 5, the store does not answer or a process never arrives.
    """
    rank, size = launched_rank(), launched_processes()
    absent = _Absent(stall_timeout)
    store = open_store(rank, seconds=PATIENCE_SECONDS, absent=absent)
    store.set(f"ready/{rank}", json.dumps({**facts, **identity()}))
    try:
        _wait_for_all(store, rank, size, absent)
        all_facts = [json.loads(store.get(f"ready/{other}")) for other in range(size)]
    except RuntimeError as error:  # torch's DistError: the process that hosts the store has ended
        raise _no_store(f"lost the launch's key-value store ({type(error).__name__})") from error
    _Met.is_over = True
    return store, all_facts


def identity() -> dict[str, Any]:
    """The `host` and the `process` (see `ProcessId`) of this process."""
    return {"host": socket.gethostname(), "process": processes.own_id()}


def _wait_for_all(store: Any, rank: int, size: int, absent: _Absent) -> None:
    """Returns as soon as every process is ready; raises the fault of another process."""
    begin = reminded = time.monotonic()
    missing = list(range(size))
    while True:
        if store.check(["fault"]):
            fault = json.loads(store.get("fault"))
            store.add("fault_seen", 1)
            _Met.is_over = True
            if rank == 0 and not is_store_of_launcher():
                time.sleep(5 * POLL_SECONDS)  # the others read it from this process
            raise FaultElsewhere(**fault)
        missing = [other for other in missing if not store.check([f"ready/{other}"])]
        if not missing:
            return
        absent.check(missing)
        now = time.monotonic()
        if now - begin > PATIENCE_SECONDS:
            raise _no_store(f"no sign of process(es) {_listed(missing)} for {now - begin:.0f} s")
        if now - reminded > REMINDER_SECONDS:
            reminded = now
            logger.info("waiting for process(es) %s (preparing data?)", _listed(missing))
        _wait()


def _listed(ranks: Sequence[int]) -> str:
    shown = ", ".join(map(str, ranks[:8]))
    return shown + (" and more" if len(ranks) > 8 else "")


def post_fault(line: str, code: int) -> None:
    """Ends the processes that wait in `meet` with this line and code; never raises an exception.

    Does nothing once they have met, or if a single torchrun supervises all processes.
    """
    size = launched_processes()
    local_size = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if _Met.is_over or size == 1 or (is_store_of_launcher() and local_size == size):
        return
    # Importing torch again after an interrupted import ends in a segmentation fault.
    is_whole = hasattr(sys.modules.get("torch"), "distributed")
    if not is_whole and (stops.requested() or "torch._C" in sys.modules):
        return
    rank = launched_rank()
    with suppress(Exception):
        store = open_store(rank, seconds=FAREWELL_SECONDS)
        if store.check(["fault"]):
            store.add("fault_seen", 1)  # the process that posted it waits for this one
            return
        fault = {"line": line, "code": code, "rank": rank, "host": socket.gethostname()}
        store.set("fault", json.dumps(fault))
        others = [other for other in range(size) if other != rank]
        hosts = rank == 0 and not is_store_of_launcher()
        # A stop signal reaches all processes of a machine: few are left to read it.
        is_patient = hosts and not stops.requested()
        end = time.monotonic() + FAREWELL_SECONDS * (6 if is_patient else 1)
        while time.monotonic() < end:
            waiting = sum(store.check([f"ready/{other}"]) for other in others)
            if store.add("fault_seen", 0) >= (len(others) if hosts else waiting):
                break
            time.sleep(POLL_SECONDS)
        if not hosts:
            store.add("fault_seen", 1)  # the host may have posted one at the same time


def open_store(
    rank: int,
    *,
    seconds: float = LAUNCHER_SECONDS,
    hosts: bool | None = None,
    absent: _Absent | None = None,
) -> Any:
    """A connection to the launch's store, with a separate prefix for each restart.

    Args:
        seconds: how long the store may take to answer.
        hosts: whether this process hosts the store; by default rank 0 does, if no launcher does.
        absent: checks whether rank 0 has died or stalled before it opened the store.
    """
    host, port = os.environ.get("MASTER_ADDR"), os.environ.get("MASTER_PORT", "")
    if not host or not (port.isdigit() and int(port) < 65536):
        raise _no_store("MASTER_ADDR or MASTER_PORT is not set")
    # We report a store whose host has ended; torch would add a C++ stack trace.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    # torch documents both names here but does not export them.
    from torch.distributed import PrefixStore, TCPStore  # pyright: ignore[reportPrivateImportUsage]

    hosts = rank == 0 and not is_store_of_launcher() if hosts is None else hosts
    if not hosts:
        limit = min(seconds, LAUNCHER_SECONDS) if is_store_of_launcher() else seconds
        _wait_for_port(host, int(port), limit, None if is_store_of_launcher() else absent)
    store = TCPStore(
        host, int(port), is_master=hosts, wait_for_workers=False, timeout=timedelta(seconds=300)
    )
    return PrefixStore(f"ke_t5/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)


def _wait_for_port(host: str, port: int, seconds: float, absent: _Absent | None) -> None:
    """Returns when the port answers; torch's own wait ignores signals and logs every attempt."""
    end = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection((host, port), timeout=2).close()
            return
        except OSError as error:
            if time.monotonic() > end:
                raise _no_store(
                    f"{host}:{port} does not answer ({error.strerror or error})"
                ) from None
        if absent is not None:
            absent.check([0])
        _wait()


def _no_store(what: str) -> UserError:
    fix = f"look at the messages of the other nodes, {START_AGAIN}"
    return UserError(what, f"process {os.environ.get('RANK', '0')}", fix, Exit.MACHINE)
