"""Finds the process of a launch that has died or stalled, and ends the others with its name.

Each process tells the launch's key-value store once a second that it is alive, and in which phase.
It stalls if it neither gets ahead (`phase`, `beat`) nor uses a core, and does not wait for others
(`waiting`): so a long preparation, loading or compilation is no stall. Each process judges itself
and its neighbour; those of one machine also see at once if one of them is gone.

Two threads do this. One talks to the store, which blocks for good if the store's host is
suspended; the other one judges. Neither touches a GPU.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from ke_t5 import processes, stops
from ke_t5.errors import Exit, UserError
from ke_t5.launchers import is_store_of_launcher
from ke_t5.processes import CpuMeter, Idleness, ProcessId
from ke_t5.rendezvous import FaultElsewhere, gone, stalled

POLL_SECONDS = 1.0


class _Pulse:
    """What the main thread is doing."""

    phase = "starting"
    beats = 0
    num_waits = 0


@contextmanager
def phase(name: str) -> Iterator[None]:
    """A context with a name for people, such as "saving a checkpoint"."""
    before, _Pulse.phase = _Pulse.phase, name
    _Pulse.beats += 1
    try:
        yield
    finally:
        _Pulse.phase = before
        _Pulse.beats += 1


def beat() -> None:
    """The main thread gets ahead."""
    _Pulse.beats += 1


@contextmanager
def waiting() -> Iterator[None]:
    """A context in which the main thread may have to wait for other processes."""
    _Pulse.num_waits += 1
    try:
        yield
    finally:
        _Pulse.num_waits -= 1
        _Pulse.beats += 1


class Watch:
    """Watches over the processes of a launch from the time they have met.

    Args:
        facts: of each process, by rank: `host`, `process` (see `ProcessId`).
        open_store: a connection to the store of its own.
        timeout: seconds without a sign of life after which a process has stalled.
        end: ends this process with an error, from another thread.
    """

    current: Watch | None = None

    def __init__(
        self,
        rank: int,
        facts: Sequence[Mapping[str, Any]],
        *,
        open_store: Callable[[], Any],
        timeout: float,
        end: Callable[[BaseException], None],
    ) -> None:
        self.rank, self.facts, self.timeout = rank, facts, timeout
        self._open_store, self._end = open_store, end
        ids = {other: ProcessId(*fact["process"]) for other, fact in enumerate(facts)}
        self._here = {r: one for r, one in ids.items() if r != rank and processes.is_here(one)}
        self._is_over = threading.Event()
        self._next = (rank + 1) % len(facts)
        self._next_pulse: list = [0, "starting"]
        self._fault: dict | None = None
        self._posting: dict | None = None
        self._is_posted = threading.Event()
        self._is_store_lost, self._num_exchanges = False, 0
        self._own, self._neighbour, self._store = Idleness(), Idleness(), Idleness()
        self._cpu = CpuMeter(time.process_time)
        self._next_cpu = CpuMeter(self._ticks_of_neighbour)
        self._suspects: set[int] = set()

    def start(self) -> None:
        """Begins to watch."""
        Watch.current = self
        for target in (self._exchange, self._judge):
            threading.Thread(target=target, name="heartbeat", daemon=True).start()

    def close(self) -> None:
        """Ends the watch: from now on a process may end."""
        Watch.current = None
        self._is_over.set()

    # ------------------------------------------------------------------------------- the store

    def _exchange(self) -> None:
        try:
            store = self._open_store()
            while not self._is_over.is_set():
                self._num_exchanges += 1
                self._talk(store)
                self._is_over.wait(POLL_SECONDS)
        except Exception:  # of several classes, by torch's version: the store is gone
            self._is_store_lost = True

    def _talk(self, store: Any) -> None:
        pulse = [self._num_exchanges, _Pulse.phase]
        store.set(f"pulse/{self.rank}", json.dumps(pulse))
        if self._posting is not None:
            store.set("fault", json.dumps(self._posting))
            self._is_posted.set()
        elif store.check(["fault"]):
            self._fault = json.loads(store.get("fault"))
        key = f"pulse/{self._next}"
        if store.check([key]):
            self._next_pulse = json.loads(store.get(key))

    def post(self, line: str, code: int) -> None:
        """Tells the processes of other machines how this one ends."""
        if len(self._here) + 1 < len(self.facts):
            host = self.facts[self.rank]["host"]
            self._posting = {"line": line, "code": code, "rank": self.rank, "host": host}
            is_host = self.rank == 0 and not is_store_of_launcher()
            self._is_posted.wait(3 * POLL_SECONDS)
            time.sleep(2 * POLL_SECONDS if is_host else 0)  # the others read it from this process

    # ------------------------------------------------------------------------------ the judge

    def _judge(self) -> None:
        before = time.monotonic()
        while not self._is_over.wait(POLL_SECONDS):
            now = time.monotonic()
            if now - before > 10 * POLL_SECONDS:  # this process, or the machine, was suspended
                self._own, self._neighbour, self._store = Idleness(), Idleness(), Idleness()
            before = now
            fault = self._find_fault()
            if fault is not None and not self._is_over.is_set():
                self._end(fault)

    def _find_fault(self) -> UserError | None:
        if self._fault is not None:
            return FaultElsewhere(**self._fault)
        missing = {rank for rank, one in self._here.items() if processes.state_of(one) is None}
        lost, self._suspects = missing & self._suspects, missing
        if lost:  # seen twice: one that fails has told the others of it before it ended
            return self.gone_process()
        if self._is_store_lost and not stops.requested():
            return self._lost_store()
        return self._find_stall()

    def _lost_store(self) -> UserError:
        if not is_store_of_launcher():
            return gone(0, self.facts[0]["host"], self._last_phase(0))
        what = "the launcher is gone: its key-value store does not answer"
        fix = "look at the machine's log, then continue with --resume auto"
        return UserError(what, f"process {self.rank}", fix, Exit.MACHINE)

    def _find_stall(self) -> UserError | None:
        silent = self._neighbour.look(self._next_pulse[0], is_busy=self._next_cpu.is_busy())
        unheard = self._store.look(self._num_exchanges)
        if unheard > self.timeout and not is_store_of_launcher():
            return self._stalled_process(0, unheard)
        # Without the store nobody is heard of: its host is to be named.
        if silent > self.timeout and unheard < self.timeout / 2:
            return self._stalled_process(self._next, silent)
        is_busy = self._cpu.is_busy() or _Pulse.num_waits > 0
        idle = self._own.look(_Pulse.beats, is_busy=is_busy)
        if idle > self.timeout + 2 * POLL_SECONDS:  # later: one that waits blames itself last
            return stalled(self.rank, self.facts[self.rank]["host"], idle, _Pulse.phase)
        return None

    def _stalled_process(self, rank: int, seconds: float) -> UserError:
        if rank in self._here:  # suspended, it would not hear the launcher's SIGTERM either
            processes.kill(self._here[rank])
        return stalled(rank, self.facts[rank]["host"], seconds, self._last_phase(rank))

    def _ticks_of_neighbour(self) -> float:
        state = processes.state_of(self._here[self._next]) if self._next in self._here else None
        return state.cpu_seconds if state else 0.0

    def gone_process(self) -> UserError | None:
        """The error for a process of this machine that has ended; None if all are there."""
        for rank, one in self._here.items():
            if processes.state_of(one) is None:
                return gone(rank, self.facts[rank]["host"], self._last_phase(rank))
        return None

    def _last_phase(self, rank: int) -> str:
        """What a process was last known to do; of one that is not heard of, what all do."""
        is_heard = rank == self._next and self._store.seconds < 2 * POLL_SECONDS
        return self._next_pulse[1] if is_heard else _Pulse.phase


@contextmanager
def watching(
    rank: int, facts: Sequence[Mapping[str, Any]], timeout: float, open_store: Callable[[], Any]
) -> Iterator[Callable[[], None]]:
    """A context in which the processes of a launch watch over each other; gives what ends it.

    After an error the watch goes on: it knows which process is to blame.
    """
    if len(facts) == 1:
        yield lambda: None
        return
    watch = Watch(rank, facts, open_store=open_store, timeout=timeout, end=_Ending.end)
    watch.start()
    yield watch.close
    watch.close()


class _Ending:
    """How this process ends with an error that another thread has found."""

    @staticmethod
    def by_default(error: BaseException) -> None:
        sys.stderr.write(f"{error}\n")
        sys.stderr.flush()
        os._exit(Exit.MACHINE)

    end: Callable[[BaseException], None] = by_default


def end_with(end: Callable[[BaseException], None]) -> None:
    """Lets `end` end this process, instead of a bare line on stderr."""
    _Ending.end = staticmethod(end)


def is_watching() -> bool:
    """Whether processes have met, and none has come to its end."""
    return Watch.current is not None


def gone_process() -> UserError | None:
    """See `Watch.gone_process`; None before processes have met, too."""
    return Watch.current.gone_process() if Watch.current is not None else None


def post(line: str, code: int) -> None:
    """See `Watch.post`; does nothing before processes have met."""
    if Watch.current is not None:
        Watch.current.post(line, code)
