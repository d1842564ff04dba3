"""Stop signals: what the first one does depends on whether there is something to save.

During a step of training or a checkpoint (`postponed`) it is only noted; everywhere else it
interrupts immediately, like Ctrl-C, because everything worth keeping is on disk. A second one ends
the process: what was being written is written again at the next start.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ke_t5.errors import Exit

# SIGHUP: the terminal is gone; SIGUSR1: SLURM's warning that the time is nearly up.
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)
# A stop signal for a whole job reaches a process twice: from the system or the scheduler, and from
# torchrun, which receives and forwards it.
SAME_STOP_SECONDS = 2.0
# How long an interrupted process may take to end: it may wait in C code for another process, and
# an import that is interrupted may swallow the exception.
GRACE_SECONDS = 6.0


class _State:
    """What this process knows of stop signals."""

    noted_at: float | None = None
    is_dropped = False  # the KeyboardInterrupt was raised where Python drops exceptions
    has_interrupted = False  # we have raised KeyboardInterrupt
    is_postponed = False
    is_listening = False
    is_over = False  # the process is ending anyway


def requested() -> bool:
    """Whether the process was asked to stop."""
    return _State.noted_at is not None


def check() -> None:
    """Raises KeyboardInterrupt if the process was asked to stop and is not ending already."""
    if requested() and not _State.is_over:
        _State.has_interrupted = True
        raise KeyboardInterrupt


def has_interrupted() -> bool:
    """Whether a stop has raised KeyboardInterrupt, which an interrupted import, or C++ that calls
    Python, may have turned into another error."""
    return _State.has_interrupted


def ending() -> None:
    """From now on signals interrupt nothing: the process is ending."""
    _State.is_over = True


@contextmanager
def postponed() -> Iterator[None]:
    """A context in which a stop is only noted, for `requested`."""
    with _postponing(True):
        yield


@contextmanager
def at_once() -> Iterator[None]:
    """A context within `postponed` in which a stop interrupts, even one noted before."""
    with _postponing(False):
        check()
        yield


@contextmanager
def _postponing(is_postponed: bool) -> Iterator[None]:
    before, _State.is_postponed = _State.is_postponed, is_postponed
    try:
        yield
    finally:
        _State.is_postponed = before


@contextmanager
def listening() -> Iterator[None]:
    """A context in which stop signals are handled; an inner one has no effect."""
    if _State.is_listening or threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    if handlers[signal.SIGHUP] == signal.SIG_IGN:  # started by nohup
        del handlers[signal.SIGHUP]
    for number in handlers:
        signal.signal(number, _note)
    _State.is_listening = True
    unraisable, sys.unraisablehook = sys.unraisablehook, _interrupt_later
    try:
        yield
    finally:
        sys.unraisablehook = unraisable
        _State.is_listening, _State.noted_at, _State.has_interrupted = False, None, False
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _interrupt_later(dropped: sys.UnraisableHookArgs) -> None:
    """The hook for exceptions in destructors and in callbacks of weak references, which nothing can
    catch: a stop that was lost there interrupts again a moment later."""
    if issubclass(dropped.exc_type, KeyboardInterrupt) and requested():
        _State.is_dropped = True
        # A real signal: `_thread.interrupt_main` does not wake a main thread that waits.
        main = threading.main_thread().ident
        threading.Timer(0.05, signal.pthread_kill, [main, signal.SIGTERM]).start()
    else:
        sys.__unraisablehook__(dropped)


def _note(_number: int, _frame: object) -> None:
    if _State.is_dropped:
        _State.is_dropped = False
        if not _State.is_postponed:
            check()
        return
    now = time.monotonic()
    if _State.noted_at is not None:
        if now - _State.noted_at > SAME_STOP_SECONDS:
            os._exit(Exit.STOPPED)
        return
    _State.noted_at = now
    if not _State.is_postponed:
        check()


def end_overdue(end: Callable[[], None]) -> None:
    """Calls `end` in a thread if the process still runs some time after a stop signal. The thread
    notices signals even while the main thread is in C code, where no handler runs."""
    pipe, alarm = os.pipe()
    os.set_blocking(alarm, False)
    signal.set_wakeup_fd(alarm, warn_on_full_buffer=False)
    # A forked child shares the pipe: signals to the child must not end this process.
    os.register_at_fork(after_in_child=_reset_child)
    threading.Thread(target=_guard, args=(pipe, end), name="stops", daemon=True).start()


def _reset_child() -> None:
    signal.set_wakeup_fd(-1)
    for number in SIGNALS:
        if signal.getsignal(number) is _note:
            signal.signal(number, signal.SIG_DFL)


def _guard(pipe: int, end: Callable[[], None]) -> None:
    first = due = 0.0
    while True:
        ready, _, _ = select.select([pipe], [], [], 0.2 if first else None)
        now = time.monotonic()
        if ready and any(number in SIGNALS for number in os.read(pipe, 64)):
            if first and now - first > SAME_STOP_SECONDS:
                os._exit(Exit.STOPPED)
            first, due = first or now, due or now + GRACE_SECONDS
        if _State.is_postponed and not _State.is_over:
            due = now + GRACE_SECONDS
        elif first and now > due:
            end()
