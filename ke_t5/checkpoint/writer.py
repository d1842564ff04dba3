"""Writes checkpoints while the training continues: from a copy of the tensors, in a thread.

The copy is in host memory, as large as the checkpoint, and its memory is reused for the next one. A
GPU copies into it asynchronously between two steps.
"""

from __future__ import annotations

import contextlib
import logging
import math
import weakref
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path

import torch
from torch import Tensor

logger = logging.getLogger(__name__)

ALIGNMENT = 64  # bytes
PORTABLE = 1  # a flag of cudaHostRegister


class Writer:
    """Runs jobs in a thread, one after the other; none after one that has failed."""

    def __init__(self) -> None:
        self._pool: ThreadPoolExecutor | None = None
        self._pending: list[Future] = []
        self._failure: BaseException | None = None
        self._has_failed = False
        self.copy = HostCopy()

    def submit(self, job: Callable[[], object]) -> None:
        """Queues a job and returns."""
        self.check()
        if self._has_failed:
            raise RuntimeError("a job before this one has failed")
        if self._pool is None:
            self._pool = ThreadPoolExecutor(1, thread_name_prefix="checkpoints")
        self._pending = [one for one in self._pending if not one.done()]
        self._pending.append(self._pool.submit(self._do, job))

    def _do(self, job: Callable[[], object]) -> None:
        if not self._has_failed:
            try:
                job()
            except BaseException as error:  # it is raised in the main thread
                self._failure, self._has_failed = error, True

    def check(self) -> None:
        """Raises the error of a failed job, once; does not wait."""
        failure, self._failure = self._failure, None  # its traceback would keep frames alive
        if failure is not None:
            raise failure

    def settle(self) -> None:
        """Waits for all jobs, whether they fail or not."""
        wait(self._pending)
        self._pending = []

    def wait(self) -> None:
        """Waits for all jobs, and raises the error of one that has failed."""
        self.settle()
        self.check()


class HostCopy:
    """Copies tensors to host memory, into one block that is reused."""

    def __init__(self) -> None:
        self._block = torch.empty(0, dtype=torch.uint8)
        self._copies: dict[str, Tensor] | None = None
        self._is_copied: torch.cuda.Event | None = None
        self._device = 0

    def make(
        self, tensors: Mapping[str, Tensor], *, is_made: bool = False
    ) -> dict[str, Tensor] | None:
        """Copies by name, which overwrite the previous ones; None if there is too little memory.
        Copies from a GPU are complete after `wait`.

        Args:
            is_made: whether the previous copies are of the same tensors, and are returned.
        """
        if is_made:
            return self._copies
        self._copies = None
        sizes = {name: one.numel() * one.element_size() for name, one in tensors.items()}
        steps = {name: math.ceil(size / ALIGNMENT) * ALIGNMENT for name, size in sizes.items()}
        is_cuda = any(one.is_cuda for one in tensors.values())
        if not self._reserve(sum(steps.values()), is_pinned=is_cuda):
            return None
        copies, begin = {}, 0
        for name, tensor in tensors.items():
            flat = self._block[begin : begin + sizes[name]]
            copies[name] = flat.view(tensor.dtype).view(tensor.shape)
            copies[name].copy_(tensor.detach(), non_blocking=is_cuda)
            begin += steps[name]
        if is_cuda:
            self._is_copied = torch.cuda.Event()
            self._is_copied.record()
            self._device = torch.cuda.current_device()
        self._copies = copies
        return copies

    def wait(self) -> None:
        """Waits until a GPU has finished copying."""
        if self._is_copied is None:
            return
        # In a thread, whose device would be the first: waiting would set that up for this process.
        with torch.cuda.device(self._device):
            self._is_copied.synchronize()

    def _reserve(self, size: int, *, is_pinned: bool) -> bool:
        if self._block.numel() >= size:
            return True
        self._block = torch.empty(0, dtype=torch.uint8)  # freed first
        if size > available_memory():
            logger.warning(
                "too little memory for a copy of the checkpoint (%.3g GB): training waits while it "
                "is written",
                size / 1e9,
            )
            return False
        self._block = torch.empty(size, dtype=torch.uint8)
        if is_pinned:
            _pin(self._block)
        return True


def _pin(block: Tensor) -> None:
    """Pins the memory, so that the GPU copies asynchronously. torch's own pinned memory would be
    rounded up to a power of two."""
    address, runtime = block.data_ptr(), torch.cuda.cudart()
    assert runtime is not None
    if int(runtime.cudaHostRegister(address, block.numel(), PORTABLE)) == 0:
        weakref.finalize(block.untyped_storage(), runtime.cudaHostUnregister, address)
        return
    # CUDA keeps the error for the next kernel, here one whose failure does not matter. Without
    # pinned memory, the training waits for the copy.
    with contextlib.suppress(RuntimeError):
        torch.ones(1, device="cuda").add_(1)


def available_memory() -> float:
    """The bytes of memory that this process may still allocate; infinite if unknown."""
    limits = [math.inf]
    with contextlib.suppress(OSError, ValueError):
        lines = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
        limits.append(1024 * int(lines["MemAvailable"].split()[0]))
    with contextlib.suppress(OSError, ValueError):  # the limit of a container
        group = Path("/sys/fs/cgroup")
        most, used = (int((group / f"memory.{name}").read_text()) for name in ("max", "current"))
        stat = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        limits.append(most - used + int(stat["inactive_file"]))
    return min(limits)
