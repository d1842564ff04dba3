"""Other processes of this machine, as the kernel's `/proc` describes them."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

# The share of a core that a process uses at least that is not asleep. Our threads use a tenth.
BUSY_SHARE = 0.01
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


class ProcessId(NamedTuple):
    """A process that no later one is taken for.

    Attributes:
        machine: the host with its process table: containers on one host have several.
        start: when it was started, in the kernel's ticks.
    """

    machine: str
    pid: int
    start: str


class ProcessState(NamedTuple):
    """A process as it is. Attributes: letter: as `ps` shows it; cpu_seconds: used so far."""

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
    """When a process was started, in the kernel's ticks; "" if the system does not say."""
    fields = _fields(pid)
    return fields[19] if fields else ""


def _fields(pid: int) -> list[str]:
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return file.read().rpartition(")")[2].split()
    except OSError:
        return []


def is_here(process: ProcessId) -> bool:
    """Whether the process belongs to the process table of this machine."""
    return bool(process.machine) and process.machine == _machine()


def state_of(process: ProcessId) -> ProcessState | None:
    """The state of a process of this machine; None if it has ended."""
    fields = _fields(process.pid)
    if not fields or fields[19] != process.start or fields[0] in "ZX":
        return None
    return ProcessState(fields[0], (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND)


def kill(process: ProcessId) -> None:
    """Ends a process of this machine, also one that is suspended."""
    if is_here(process) and state_of(process) is not None:
        with suppress(OSError):
            os.kill(process.pid, signal.SIGKILL)


class Idleness:
    """For how many `seconds` something that counts up had stood still at the last look."""

    def __init__(self) -> None:
        self.seconds, self._since, self._last = 0.0, time.monotonic(), None

    def look(self, value: Any, *, is_busy: bool = False) -> float:
        """For how many seconds the value has been the same; `is_busy` counts as a change."""
        now = time.monotonic()
        if value != self._last or is_busy:
            self._since, self._last = now, value
        self.seconds = now - self._since
        return self.seconds


class CpuMeter:
    """Whether a process computes: what it has used of a core since the last look."""

    def __init__(self, used: Callable[[], float]) -> None:
        self._used, self._before, self._at = used, used(), time.monotonic()

    def is_busy(self) -> bool:
        """Since the last call."""
        used, now = self._used(), time.monotonic()
        share = (used - self._before) / max(now - self._at, 1e-9)
        self._before, self._at = used, now
        return share > BUSY_SHARE
