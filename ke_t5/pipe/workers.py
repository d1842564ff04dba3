"""Batches computed in parallel, each on one thread, so that results do not depend on the number of
threads.

Measured on a CPU (AMD, MKL, torch 2.13; 1 against 2, 3 and 4 threads; 2,100 shapes of fp32 and
bf16): softmax, layer norm, GELU, attention, log-softmax, top-k and batched products gave equal bits
on any number of threads, and so did linear layers in bf16. An fp32 linear layer of 7 rows, whatever
its width, gave other bits on 2 threads: MKL divides the rows among threads and has other kernels
for remainders, on other CPUs for other numbers of rows. So each batch is computed on one thread,
and as many batches at once as there are threads; torch releases Python's lock while it computes.

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
from ke_t5.module_state import reset_module_state

if TYPE_CHECKING:
    import torch

Result = TypeVar("Result")

# Libraries whose models keep no state of a forward pass except what `module_state` resets.
KNOWN = ("torch", "transformers", "ke_t5", "peft")

# Target logits of all batches that are computed at once: a GiB of fp32.
MOST_LOGITS = 2**28


def workers_within(num_workers: int, logits: int) -> int:
    """The number of workers, at most `num_workers`, whose batches' logits fit in a GiB together.

    >>> workers_within(16, 32 * 128 * 64_000), workers_within(16, 32)
    (1, 16)
    """
    return max(1, min(num_workers, MOST_LOGITS // max(1, logits)))


class _Cancelled(BaseException):
    """Ends the computation of a batch that is no longer needed."""


def computed(
    compute: Callable[[int], Result],
    numbers: Sequence[int],
    *,
    model: torch.nn.Module,
    seed: int,
    num_workers: int,
    context: Callable[[], AbstractContextManager],
) -> Generator[Result, None, None]:
    """Yields `compute(number)` for each number, in order; a result depends neither on the numbers
    before it nor on the number of workers.

    A model that draws random numbers or changes itself, as the first results show, computes its
    batches one after the other; so do compiled models and those of a user's own class.

    Args:
        seed: random generators are seeded with it and the number.
        context: entered by each worker, for settings that torch keeps per thread.
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
    """Whether threads may share the model: it consists of known classes and is not compiled."""
    is_compiled = (getattr(one, "_compiled_call_impl", None) for one in model.modules())
    return is_known(model) and all(one is None for one in is_compiled)


def is_known(model: torch.nn.Module) -> bool:
    """Whether a model consists of classes of known libraries only."""
    return all(type(one).__module__.partition(".")[0] in KNOWN for one in model.modules())


def _random_states() -> list[Any]:
    """The states of all random generators on the CPU."""
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
    """A context in which threads compute; yields the futures of their results. On exit, a thread
    stops at the model's next forward pass."""
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
