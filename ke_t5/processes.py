"""Processes of this machine, read from `/proc`."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

# A process that uses less than this share of a core is idle. Our own threads use a tenth of it.
BUSY_SHARE = 0.01
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


class ProcessId(NamedTuple):
    """Identifies a process, even if a later one has the same pid.

    Attributes:
        machine: the host and its PID namespace; containers on one host have different ones.
        start: the start time in the kernel's ticks.
    """

    machine: str
    pid: int
    start: str


class ProcessState(NamedTuple):
    """The state of a process: its `letter`, as `ps` shows it, and the CPU seconds used so far."""

    letter: str
    cpu_seconds: float


def own_id() -> ProcessId:
    """The id of this process."""
    return ProcessId(_machine(), os.getpid(), start_of(os.getpid()))


def _machine() -> str:
    try:
        table = str(os.stat("/proc/self/ns/pid").st_ino)
    except OSError:
        return ""
    return f"{socket.gethostname()}/{table}"


def start_of(pid: int) -> str:
    """The start time of a process in the kernel's ticks; "" if it is not available."""
    fields = _fields(pid)
    return fields[19] if fields else ""


def _fields(pid: int) -> list[str]:
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return file.read().rpartition(")")[2].split()
    except OSError:
        return []


def children() -> list[ProcessId]:
    """The running processes that this one has started; none without `/proc`."""
    with suppress(OSError):
        found = [int(name) for name in os.listdir("/proc") if name.isdecimal()]
        fields = {pid: _fields(pid) for pid in found}
        own = str(os.getpid())
        return [
            ProcessId(_machine(), pid, of[19])
            for pid, of in fields.items()
            if of and of[1] == own and of[0] not in "ZX"
        ]
    return []


def is_here(process: ProcessId) -> bool:
    """Whether the process is in the PID namespace of this one."""
    return bool(process.machine) and process.machine == _machine()


def state_of(process: ProcessId) -> ProcessState | None:
    """The state of a process of this machine; None if it has ended."""
    fields = _fields(process.pid)
    if not fields or fields[19] != process.start or fields[0] in "ZX":
        return None
    return ProcessState(fields[0], (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND)


def kill(process: ProcessId) -> None:
    """Kills a process of this machine, even a suspended one."""
    if is_here(process) and state_of(process) is not None:
        with suppress(OSError):
            os.kill(process.pid, signal.SIGKILL)


class Idleness:
    """The `seconds` for which a value had not changed when it was last looked at."""

    def __init__(self) -> None:
        self.seconds, self._since, self._last = 0.0, time.monotonic(), None

    def look(self, value: Any, *, is_busy: bool = False) -> float:
        """The seconds for which the value has not changed; `is_busy` counts as a change."""
        now = time.monotonic()
        if value != self._last or is_busy:
            self._since, self._last = now, value
        self.seconds = now - self._since
        return self.seconds


class CpuMeter:
    """Measures the CPU use of a process between two calls."""

    def __init__(self, used: Callable[[], float]) -> None:
        self._used, self._before, self._at = used, used(), time.monotonic()

    def is_busy(self) -> bool:
        """Whether the process has used the CPU since the last call."""
        used, now = self._used(), time.monotonic()
        share = (used - self._before) / max(now - self._at, 1e-9)
        self._before, self._at = used, now
        return share > BUSY_SHARE
