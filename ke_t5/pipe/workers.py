"""Batches computed side by side, each on one thread, so that its bits depend on nothing else.

What a batch's result depends on was tried on a CPU (AMD, MKL, torch 2.13; 1 against 2, 3 and 4
threads; 2,100 shapes of fp32 and bf16): softmax, layer norm, GELU, attention, log-softmax, top-k
and batched products gave equal bits on any number of threads, and so did linear layers in bf16. An
fp32 linear layer of 7 rows, whatever its width, gave others on 2 threads: MKL divides the rows
among the threads and has other kernels for what remains, on another CPU for other numbers of rows.
So a batch gets one thread and as many batches are computed at once as there are threads; torch
holds no lock of Python's while it computes.

torch is imported inside the functions.
"""

from __future__ import annotations

import contextlib
import queue
import random
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from ke_t5.distributed import EVALUATION_THREADS, seed_generators
from ke_t5.pipe.module_state import reset_module_state

if TYPE_CHECKING:
    import torch

Result = TypeVar("Result")

# Libraries whose models keep nothing of a forward pass but what `module_state` knows of.
KNOWN = ("torch", "transformers", "ke_t5", "peft")


# Logits of the targets of all batches that are computed at once: a GiB of fp32.
MOST_LOGITS = 2**28


def workers_within(num_workers: int, logits: int) -> int:
    """As many workers, up to that number, as hold the logits of a batch each in a GiB together.

    >>> workers_within(16, 32 * 128 * 64_000), workers_within(16, 32)
    (1, 16)
    """
    return max(1, min(num_workers, MOST_LOGITS // max(1, logits)))


class _Cancelled(BaseException):
    """Ends the computation of a batch that nobody waits for."""


def computed(
    compute: Callable[[int], Result],
    numbers: Sequence[int],
    *,
    model: torch.nn.Module,
    seed: int,
    num_workers: int,
    context: Callable[[], AbstractContextManager],
) -> Generator[Result, None, None]:
    """Yields `compute(number)` of each number, in order. What it is depends neither on the numbers
    before it nor on the number of workers.

    A model that draws random numbers or changes itself computes one batch after the other: the
    first results tell. So does one of a user's own class, and one that is compiled.

    Args:
        seed: the generators are seeded with it and the number.
        context: entered by each worker, for what torch keeps per thread.
    """
    num_yielded = 0
    if min(num_workers, len(numbers)) > 1 and _can_be_shared(model):
        seed_generators(seed, numbers[0])
        reset_module_state(model)
        before = _random_states()
        with _side_by_side(compute, numbers, model, num_workers, context) as futures:
            for future in futures:
                future.exception()  # waits
                if reset_module_state(model) or _random_states() != before:
                    break
                yield future.result()
                num_yielded += 1
    with context():
        for number in numbers[num_yielded:]:
            reset_module_state(model)
            seed_generators(seed, number)
            yield compute(number)


def _can_be_shared(model: torch.nn.Module) -> bool:
    """Whether threads may call the model at once: it is made of known classes, and not compiled."""
    return all(
        type(module).__module__.partition(".")[0] in KNOWN
        and getattr(module, "_compiled_call_impl", None) is None
        for module in model.modules()
    )


def _random_states() -> list[Any]:
    """What every number that is drawn on the CPU changes."""
    import numpy as np
    import torch

    numpy_state = np.random.get_state(legacy=False)
    return [random.getstate(), torch.get_rng_state().tolist(), str(numpy_state)]


@contextmanager
def _side_by_side(
    compute: Callable[[int], Result],
    numbers: Sequence[int],
    model: torch.nn.Module,
    num_workers: int,
    context: Callable[[], AbstractContextManager],
) -> Iterator[list[Future[Result]]]:
    """A context in which threads compute; gives what they promise. On exit they end with the
    model's next forward pass."""
    promised: list[Future[Result]] = [Future() for _ in numbers]
    pending: queue.SimpleQueue[tuple[int, Future[Result]]] = queue.SimpleQueue()
    for pair in zip(numbers, promised, strict=True):
        pending.put(pair)
    is_over = threading.Event()

    def stop_if_over(*_: object) -> None:
        if is_over.is_set():
            raise _Cancelled

    def work() -> None:
        import torch

        torch.set_num_threads(EVALUATION_THREADS)  # of this thread
        with contextlib.suppress(queue.Empty), context():
            while not is_over.is_set():
                number, future = pending.get_nowait()
                try:
                    future.set_result(compute(number))
                except BaseException as error:
                    future.set_exception(error)

    threads = [threading.Thread(target=work) for _ in range(min(num_workers, len(numbers)))]
    hook = model.register_forward_pre_hook(stop_if_over)
    try:
        for thread in threads:
            thread.start()
        yield promised
    finally:
        is_over.set()
        for thread in threads:
            if thread.ident is not None:
                thread.join()
        hook.remove()
