"""Work that forked processes share, with its results in order.

A process inherits what there is, so nothing has to be picklable but the results: not the steps, nor
a tokenizer, nor what gin binds. It imports nothing either.
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

# Results that wait for their turn, for each process.
AHEAD = 2
PR_SET_PDEATHSIG = 1  # of Linux's prctl

_work: list[Callable[[Any], Any]] = []


def in_order(
    work: Callable[[int], Result], numbers: Sequence[int], num_proc: int, *, where: str
) -> Generator[Result, None, None]:
    """`work(number)` of each number, computed by that many processes.

    Raises:
        UserError: a process was killed; `where` says what was being done.
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
            f"one of {num_proc} processes was killed, by lack of memory perhaps",
            where,
            "lower get_dataset.num_proc",
            Exit.MACHINE,
        ) from None
    finally:
        _work.pop()
        if pending:  # an error or a stop: nobody waits for what is being computed
            for process in set(multiprocessing.active_children()).difference(others):
                process.kill()
        pool.shutdown(cancel_futures=True)


def _run(number: int) -> Any:
    return _work[-1](number)


def _begin(parent: int) -> None:
    """In a new process: it ends with its parent, which alone answers an interrupt."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


@contextmanager
def _quiet_fork() -> Iterator[None]:
    """Processes forked here compute on one thread each: the threads of the tokenizer's library do
    not outlast a fork. Others that there are, which Python warns of, hold no lock of ours."""
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
