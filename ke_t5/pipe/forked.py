"""Work shared by forked processes, with the results in order.

A forked process inherits the parent's memory: it imports nothing, and only results have to be
picklable, not the steps, the tokenizer or the gin bindings.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from ke_t5.errors import Exit, UserError

Result = TypeVar("Result")

# Tasks per process that are submitted ahead.
AHEAD = 2
PR_SET_PDEATHSIG = 1  # of Linux's prctl

_work: list[Callable[[Any], Any]] = []


def in_order(
    work: Callable[[int], Result], numbers: Sequence[int], num_proc: int, *, where: str
) -> Generator[Result, None, None]:
    """`work(number)` for each number, in order, computed by `num_proc` processes.

    Args:
        where: what the work is for, for messages.

    Raises:
        UserError: a process was killed.
    """
    if min(num_proc, len(numbers)) < 2:
        yield from map(work, numbers)
        return
    others = multiprocessing.active_children()
    pool = ProcessPoolExecutor(
        min(num_proc, len(numbers)), multiprocessing.get_context("fork"), _begin, (os.getpid(),)
    )
    pending: deque[Any] = deque()
    _work.append(work)
    try:
        with _quiet_fork():
            pending.append(pool.submit(_run, numbers[0]))
        for number in numbers[1:]:
            pending.append(pool.submit(_run, number))
            if len(pending) >= AHEAD * num_proc:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    except BrokenProcessPool:
        raise UserError(
            f"one of {num_proc} processes was killed, perhaps for lack of memory",
            where,
            "lower get_dataset.num_proc",
            Exit.MACHINE,
        ) from None
    finally:
        _work.pop()
        if pending:  # an error or a stop: the running tasks are no longer needed
            for process in set(multiprocessing.active_children()).difference(others):
                process.kill()
        pool.shutdown(cancel_futures=True)


def _run(number: int) -> Any:
    return _work[-1](number)


def _begin(parent: int) -> None:
    """Initializes a process: it ends with its parent and leaves interrupts to it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


@contextmanager
def _quiet_fork() -> Iterator[None]:
    """A context for forking: the tokenizer's library, whose threads do not survive a fork, uses
    none, and Python does not warn of other threads, which hold no locks that matter here."""
    name = "TOKENIZERS_PARALLELISM"
    before = os.environ.get(name)
    os.environ[name] = "false"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
