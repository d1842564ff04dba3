"""Finds the process of a launch that has died or stalled, and ends the others with its name.

Once a second each process tells the launch's key-value store that it is alive, and its phase. It
has stalled if it makes no progress (`phase`, `beat`), does not use the CPU and is not waiting for
others (`waiting`): a long preparation, loading or compilation is not a stall. In a loop that beats
for each step or batch (`beating`) it must make progress even if it uses the CPU. A process that
has started more collectives than another one is waiting for it. Each process checks itself and its
neighbour; those of one machine also notice immediately if one of them is gone.

Two threads do this. One talks to the store, and blocks forever if the store's host is suspended;
the other one checks. Neither touches a GPU.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar

from ke_t5 import processes, stops
from ke_t5.errors import START_AGAIN, Exit, UserError
from ke_t5.launchers import is_store_of_launcher
from ke_t5.processes import CpuMeter, Idleness, ProcessId
from ke_t5.rendezvous import STALL_SECONDS, FaultElsewhere, gone, stalled

T = TypeVar("T")
POLL_SECONDS = 1.0


# A step may take this many times the longest one so far; the first one, this many timeouts.
PATIENCE = 3


class _Loop:
    """A loop of steps or batches: how many have begun, and the `longest` seconds between beats."""

    def __init__(self) -> None:
        self.num_begun, self.longest, self.at = 0, 0.0, time.monotonic()

    def beat(self) -> None:
        now = time.monotonic()
        self.longest, self.at = max(self.longest, now - self.at), now

    def limit(self, timeout: float) -> float:
        """The seconds within which the next beat is due; the first step may have to compile."""
        return max(timeout, PATIENCE * (self.longest if self.num_begun > 1 else timeout))


class _Pulse:
    """What the main thread is doing."""

    phase = "starting"
    beats = 0
    num_waits = 0
    loop: _Loop | None = None


@contextmanager
def phase(name: str) -> Iterator[None]:
    """A context with a name for messages, such as "saving a checkpoint"."""
    before = _Pulse.phase, _Pulse.loop
    _Pulse.phase, _Pulse.loop = name, None
    _Pulse.beats += 1
    try:
        yield
    finally:
        _resume(*before)


def _resume(phase: str, loop: _Loop | None) -> None:
    _Pulse.phase, _Pulse.loop = phase, loop
    if loop is not None:
        loop.at = time.monotonic()
    _Pulse.beats += 1


def beat() -> None:
    """Records progress of the main thread."""
    _Pulse.beats += 1
    if _Pulse.loop is not None:
        _Pulse.loop.beat()


def beating(steps: Iterable[T]) -> Generator[T, None, None]:
    """Yields the steps or batches of a loop and beats for each: one that takes long is a stall.

    Close it (`contextlib.closing`) if the loop's body may fail: the traceback keeps it alive, so
    that the steps would not end with the loop.
    """
    before = _Pulse.phase, _Pulse.loop
    _Pulse.loop = loop = _Loop()
    try:
        for step in steps:
            beat()
            loop.num_begun += 1
            yield step
    finally:
        if _Pulse.loop is loop:  # an abandoned generator may be closed later
            _resume(*before)


@contextmanager
def waiting() -> Iterator[None]:
    """A context in which the main thread may have to wait for other processes."""
    _Pulse.num_waits += 1
    try:
        yield
    finally:
        _Pulse.num_waits -= 1
        _resume(_Pulse.phase, _Pulse.loop)


class Heard(NamedTuple):
    """A process's message about itself: its number, the phase, how many collectives the process has
    started, and the seconds within which progress is due in a loop that beats."""

    count: int = 0
    phase: str = "starting"
    num_begun: int = 0
    limit: float | None = None


class Watch:
    """Watches the processes of a launch once they have met.

    Args:
        facts: `host` and `process` (see `ProcessId`) of each process, by rank.
        open_store: opens a separate connection to the store; None for a single process.
        timeout: seconds without progress after which a process has stalled.
        num_begun: returns how many collectives this process has started.
        end: ends this process with an error; called from another thread.
    """

    current: Watch | None = None

    def __init__(
        self,
        rank: int,
        facts: Sequence[Mapping[str, Any]],
        *,
        open_store: Callable[[], Any] | None,
        timeout: float,
        end: Callable[[BaseException], None],
        num_begun: Callable[[], int] = int,
    ) -> None:
        self.rank, self.facts, self.timeout = rank, facts, timeout
        self._open_store, self._end, self._num_begun = open_store, end, num_begun
        ids = {other: ProcessId(*fact["process"]) for other, fact in enumerate(facts)}
        self._here = {r: one for r, one in ids.items() if r != rank and processes.is_here(one)}
        self._is_over = threading.Event()
        self._next = (rank + 1) % len(facts)
        self._next_pulse = Heard()
        self._fault: dict | None = None
        self._posting: dict | None = None
        self._is_posted = threading.Event()
        self._is_store_lost, self._num_exchanges = False, 0
        # The fewest collectives of another process; asked for if this one may have stalled.
        self._fewest_begun: int | None = None
        self._asks = False
        self._restart()
        self._cpu = CpuMeter(time.process_time)
        self._next_cpu = CpuMeter(self._ticks_of_neighbour)
        self._suspects: set[int] = set()

    def start(self) -> None:
        """Starts the watch."""
        Watch.current = self
        for target in (self._exchange, self._judge) if self._open_store else (self._judge,):
            threading.Thread(target=target, name="heartbeat", daemon=True).start()

    def close(self) -> None:
        """Ends the watch: from now on processes may exit."""
        Watch.current = None
        self._is_over.set()

    # ------------------------------------------------------------------------------- the store

    def _exchange(self) -> None:
        assert self._open_store is not None
        try:
            store = self._open_store()
            while not self._is_over.is_set():
                self._num_exchanges += 1
                self._talk(store)
                self._is_over.wait(POLL_SECONDS)
        except Exception:  # the class depends on torch's version: the store is gone
            self._is_store_lost = True

    def _talk(self, store: Any) -> None:
        loop = None if _Pulse.num_waits else _Pulse.loop
        limit = loop and loop.limit(self.timeout)
        pulse = Heard(self._num_exchanges, _Pulse.phase, self._num_begun(), limit)
        store.set(f"pulse/{self.rank}", json.dumps(pulse))
        if self._posting is not None:
            store.set("fault", json.dumps(self._posting))
            self._is_posted.set()
        elif store.check(["fault"]):
            self._fault = json.loads(store.get("fault"))
        key = f"pulse/{self._next}"
        if store.check([key]):
            self._next_pulse = Heard(*json.loads(store.get(key)))
        if self._asks:
            keys = [f"pulse/{other}" for other in range(len(self.facts)) if other != self.rank]
            heard = [json.loads(store.get(key)) for key in keys] if store.check(keys) else []
            self._fewest_begun = min((Heard(*one).num_begun for one in heard), default=-1)
            self._asks = False

    def post(self, line: str, code: int) -> None:
        """Tells the processes of other machines how this one has ended."""
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
                self._restart()
            before = now
            fault = self._find_fault()
            if fault is not None and not self._is_over.is_set():
                self._end(fault)

    def _restart(self) -> None:
        """Restarts all clocks."""
        self._own, self._loop = Idleness(), Idleness()
        self._neighbour, self._next_loop, self._store = Idleness(), Idleness(), Idleness()

    def _find_fault(self) -> UserError | None:
        if self._fault is not None:
            return FaultElsewhere(**self._fault)
        missing = {rank for rank, one in self._here.items() if processes.state_of(one) is None}
        lost, self._suspects = missing & self._suspects, missing
        if lost:  # missing twice in a row: a failing process tells the others before it exits
            return self.gone_process()
        if self._is_store_lost and not stops.requested():
            return self._lost_store()
        return self._find_stall()

    def _lost_store(self) -> UserError:
        if not is_store_of_launcher():
            return gone(0, self.facts[0]["host"], self._last_phase(0))
        what = "the launcher is gone: its key-value store does not answer"
        fix = f"look at the machine's log, {START_AGAIN}"
        return UserError(what, f"process {self.rank}", fix, Exit.MACHINE)

    def _find_stall(self) -> UserError | None:
        unheard = self._store.look(self._num_exchanges)
        if self._open_store and unheard > self.timeout and not is_store_of_launcher():
            return self._stalled_process(0, unheard)
        # Without the store no process is heard from: its host is to blame.
        silent = self._silence()
        if len(self.facts) > 1 and silent and unheard < self.timeout / 2:
            return self._stalled_process(self._next, silent)
        return self._own_stall()

    def _silence(self) -> float:
        """The seconds for which the neighbour was not heard from; 0 if it may be working."""
        count, limit = self._next_pulse.count, self._next_pulse.limit
        silent = self._neighbour.look(count, is_busy=self._next_cpu.is_busy())
        # A computation may hold the GIL for long, but not in a loop that beats.
        silent_in_loop = self._next_loop.look(count)
        if limit is not None and silent_in_loop > limit:
            return silent_in_loop
        return silent if silent > self.timeout else 0.0

    def _own_stall(self) -> UserError | None:
        loop, is_busy = _Pulse.loop, self._cpu.is_busy()
        waits = _Pulse.num_waits > 0 or self._waits_for_another()
        idle = self._own.look(_Pulse.beats, is_busy=waits or is_busy)
        in_step = self._loop.look(_Pulse.beats, is_busy=waits or loop is None)
        who, late = (self.rank, self.facts[self.rank]["host"]), 2 * POLL_SECONDS
        if idle > self.timeout + late:  # later, so that a process that waits blames itself last
            return stalled(*who, idle, _Pulse.phase)
        if loop is not None and in_step > loop.limit(self.timeout) + late:
            return stalled(*who, in_step, _Pulse.phase, done="no step or batch")
        return None

    def _waits_for_another(self) -> bool:
        """Whether another process has started fewer collectives, so that this one waits for it.

        The store is asked only if this process would soon count as stalled.
        """
        seconds = max(self._own.seconds, self._loop.seconds)
        if len(self.facts) == 1 or seconds < self.timeout / 2:
            self._fewest_begun, self._asks = None, False
            return False
        if self._fewest_begun is None:
            self._asks = True
            return False
        is_later, self._fewest_begun = self._fewest_begun < self._num_begun(), None
        return is_later

    def _stalled_process(self, rank: int, seconds: float) -> UserError:
        if rank in self._here:  # a suspended process ignores the launcher's SIGTERM, too
            processes.kill(self._here[rank])
        return stalled(rank, self.facts[rank]["host"], seconds, self._last_phase(rank))

    def _ticks_of_neighbour(self) -> float:
        state = processes.state_of(self._here[self._next]) if self._next in self._here else None
        return state.cpu_seconds if state else 0.0

    def gone_process(self) -> UserError | None:
        """The error for a process of this machine that has ended; None if all are running."""
        for rank, one in self._here.items():
            if processes.state_of(one) is None:
                return gone(rank, self.facts[rank]["host"], self._last_phase(rank))
        return None

    def _last_phase(self, rank: int) -> str:
        """The last known phase of a process; our own for one that is not heard from."""
        is_heard = rank == self._next and self._store.seconds < 2 * POLL_SECONDS
        return self._next_pulse.phase if is_heard else _Pulse.phase


@contextmanager
def watching(
    rank: int,
    facts: Sequence[Mapping[str, Any]],
    timeout: float | None,
    *,
    open_store: Callable[[], Any],
    num_begun: Callable[[], int],
) -> Iterator[Callable[[], None]]:
    """A context in which the processes of a launch watch each other; yields what ends the watch.

    After an error the watch continues: it knows which process is to blame. A single process is
    watched only if `timeout` is given.
    """
    is_alone = len(facts) == 1
    if is_alone and timeout is None:
        yield lambda: None
        return
    watch = Watch(
        rank, facts, open_store=None if is_alone else open_store,
        timeout=timeout or STALL_SECONDS, end=_Ending.end, num_begun=num_begun,
    )  # fmt: skip
    watch.start()
    yield watch.close
    watch.close()


class _Ending:
    """How this process ends with an error found by another thread."""

    @staticmethod
    def by_default(error: BaseException) -> None:
        sys.stderr.write(f"{error}\n")
        sys.stderr.flush()
        os._exit(Exit.MACHINE)

    end: Callable[[BaseException], None] = by_default


def end_with(end: Callable[[BaseException], None]) -> None:
    """Sets what ends this process; by default that writes a line to stderr and exits."""
    _Ending.end = staticmethod(end)


def is_watching() -> bool:
    """Whether a watch is running."""
    return Watch.current is not None


def gone_process() -> UserError | None:
    """See `Watch.gone_process`; None without a watch."""
    return Watch.current.gone_process() if Watch.current is not None else None


def post(line: str, code: int) -> None:
    """See `Watch.post`; does nothing without a watch."""
    if Watch.current is not None:
        Watch.current.post(line, code)
