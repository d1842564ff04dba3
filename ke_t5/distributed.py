"""The ranks of a run and their collective operations.

torch is imported inside the functions: flags, gin and data are checked before it is needed.
"""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from ke_t5 import heartbeat, stops
from ke_t5.devices import check_gpus, gpu_id, pick_device
from ke_t5.errors import Exit, UserError
from ke_t5.launchers import launched_processes, launched_rank
from ke_t5.rendezvous import STALL_SECONDS, identity, meet, open_store
from ke_t5.threads import threads_per_process

if TYPE_CHECKING:
    import torch

    from ke_t5.shared_memory import SharedMean

# Per batch, whatever the number of processes: matrix products then sum in the same order, and 1, 2
# and 3 processes compute the same scores to the last digit. The other threads compute other batches
# (see `pipe.workers`).
EVALUATION_THREADS = 1
# Each concurrent batch takes memory of its own.
MOST_BATCHES_AT_ONCE = 16

# The timeout of a collective.
PATIENCE = timedelta(minutes=30)
WRITERS, WRITERS_PATIENCE = "writers of checkpoints", timedelta(days=1)  # disks may be slow


def say(text: str) -> None:
    """Writes a line to stderr on rank 0 immediately; for use before logging is set up."""
    if launched_rank() == 0:
        sys.stderr.write(text + "\n")
        sys.stderr.flush()


@dataclass
class Ranks:
    """This process's place among `size` processes.

    Attributes:
        rank: 0 to size - 1; rank 0 writes the files.
        size: the number of processes.
        device: the device on which this process computes.
        threads: the CPU threads of this process during training.
        facts: the facts that each process passed to `session`, by rank.
        has_one_disk: whether all processes see the run's folder.
    """

    rank: int
    size: int
    device: torch.device
    threads: int
    facts: list[dict[str, Any]] = field(default_factory=list)
    has_one_disk: bool = True
    _host_group: Any = None
    _shared_mean: SharedMean | None = field(default=None, repr=False)
    _writers_group: Any = None
    _pending_wishes: Any = field(default=None, repr=False)

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    def gather(self, thing: Any) -> list[Any] | None:
        """The objects of all ranks in rank order on rank 0; None on the other ranks."""
        if self.size == 1:
            return [thing]
        import torch.distributed as dist

        things = [None] * self.size if self.is_main else None
        with heartbeat.waiting():
            dist.gather_object(thing, things, dst=0, group=self._host_group)
        return things

    def broadcast(self, thing: Any) -> Any:
        """Rank 0's object, on every rank."""
        if self.size == 1:
            return thing
        import torch.distributed as dist

        box = [thing]
        with heartbeat.waiting():
            dist.broadcast_object_list(box, src=0, group=self._host_group)
        return box[0]

    def barrier(self) -> None:
        """Waits until every rank has reached this call."""
        if self.size > 1:
            import torch.distributed as dist

            with heartbeat.waiting():
                dist.barrier(group=self._host_group)

    def writers_group(self) -> Any:
        """A process group of all ranks for the threads that write checkpoints."""
        import torch.distributed as dist

        if self._writers_group is None:
            with heartbeat.waiting():
                self._writers_group = dist.new_group(
                    backend="gloo", timeout=WRITERS_PATIENCE, group_desc=WRITERS
                )
        return self._writers_group

    def mean(self, value: torch.Tensor) -> torch.Tensor:
        """The mean over ranks of a one-element tensor."""
        if self.size > 1:
            value = value.clone()
            self.mean_(value)
        return value

    def mean_(self, *tensors: torch.Tensor) -> None:
        """Replaces each value by its mean over ranks."""
        import torch.distributed as dist

        shared = self._shared_mean
        with heartbeat.waiting():
            for values in tensors:
                if shared is None or not shared.accepts(values):
                    dist.all_reduce(values)
                    values /= self.size
            if shared is not None:
                shared.mean_([values for values in tensors if shared.accepts(values)])

    def maximum_(self, values: torch.Tensor) -> None:
        """Replaces each value by its maximum over ranks."""
        import torch.distributed as dist

        with heartbeat.waiting():
            dist.all_reduce(values, op=dist.ReduceOp.MAX)

    def least(self, number: int) -> int:
        """The minimum of the ranks' numbers."""
        import torch
        import torch.distributed as dist

        box = torch.tensor(number)
        with heartbeat.waiting():
            dist.all_reduce(box, op=dist.ReduceOp.MIN, group=self._host_group)
        return int(box)

    def agree(self, *wishes: bool) -> tuple[bool, ...]:
        """Whether any rank has each wish; the same answer on every rank.

        The answer is that to the previous call, so that no step waits for the other hosts.
        """
        if self.size == 1:
            return wishes
        import torch
        import torch.distributed as dist

        agreed = (False,) * len(wishes)
        if self._pending_wishes is not None:
            flags, work = self._pending_wishes
            with heartbeat.waiting():
                work.wait()
            agreed = tuple(map(bool, flags.tolist()))
        flags = torch.tensor(wishes, dtype=torch.float32)
        work = dist.all_reduce(flags, op=dist.ReduceOp.MAX, group=self._host_group, async_op=True)
        self._pending_wishes = (flags, work)
        return agreed

    def settle(self) -> None:
        """Waits for the pending exchange of `agree`; call it after the last step."""
        if self._pending_wishes is not None:
            with heartbeat.waiting():
                self._pending_wishes[1].wait()
            self._pending_wishes = None

    def shard(self, model: torch.nn.Module) -> torch.nn.Module:
        """The model with its weights sharded over the processes; its parameters are new objects."""
        if self.size == 1:
            return model
        from ke_t5.sharding import shard

        with heartbeat.waiting():
            return shard(model, self.device, self.size)

    @contextmanager
    def layers_in_turn(self, model: torch.nn.Module) -> Iterator[bool]:
        """A context in which each rank may call the model any number of times, even a sharded one.

        Yields whether the model is sharded: then only one thread may call it, and not in
        `torch.inference_mode`, whose tensors training could not use.
        """
        from ke_t5.sharding import is_sharded, layers_in_turn

        if self.size == 1 or not is_sharded(model):
            yield False
            return
        with layers_in_turn(model, self.least):
            yield True

    def wrap(
        self,
        model: torch.nn.Module,
        *,
        find_unused_parameters: bool,
        compresses: bool = False,
        apart: Sequence[torch.nn.Parameter] = (),
    ) -> torch.nn.Module:
        """The model for training, with rank 0's weights.

        With several processes it is in DistributedDataParallel, unless they share memory: then the
        training averages the gradients itself (`averages_gradients`).

        Args:
            compresses: whether gradients are exchanged in bf16.
            apart: parameters whose gradients the caller synchronizes.
        """
        if self.size == 1:
            return model
        from ke_t5.data_parallel import start_equal, wrap
        from ke_t5.shared_memory import shared_mean

        with heartbeat.waiting():
            self._shared_mean = None
            if self.device.type == "cpu" and not compresses:
                exchanges = {"broadcast": self.broadcast, "least": self.least}
                self._shared_mean = shared_mean(self.rank, self.size, **exchanges)
            if self.averages_gradients:
                start_equal([*model.parameters(), *model.buffers()])
                return model
            options = {"find_unused_parameters": find_unused_parameters, "compresses": compresses}
            return wrap(model, self.device, apart=apart, **options)

    @property
    def averages_gradients(self) -> bool:
        """Whether the model is not wrapped, and the training averages its gradients."""
        return self._shared_mean is not None

    @contextmanager
    def evaluation_threads(self) -> Iterator[int]:
        """A context in which each batch is computed on `EVALUATION_THREADS` CPU threads; yields
        the number of batches that may be computed at once."""
        import torch

        torch.set_num_threads(EVALUATION_THREADS)
        try:
            yield min(self.threads, MOST_BATCHES_AT_ONCE) if self.device.type == "cpu" else 1
        finally:
            torch.set_num_threads(self.threads)


def no_sync(model: torch.nn.Module) -> Any:
    """A context in which backward passes do not synchronize gradients."""
    if hasattr(model, "set_requires_gradient_sync"):
        return _no_shard_sync(model)
    context = getattr(model, "no_sync", nullcontext)
    return context()


@contextmanager
def _no_shard_sync(model: Any) -> Iterator[None]:
    model.set_requires_gradient_sync(False)
    try:
        yield
    finally:
        model.set_requires_gradient_sync(True)


def seed_generators(*numbers: int) -> None:
    """Seeds the generators of torch (on all devices), Python and numpy.

    With the numbers (seed, step, rank), a resume needs no saved generator state.
    """
    import numpy as np
    import torch

    mixed = int(np.random.SeedSequence(numbers).generate_state(1)[0])
    # Like torch.manual_seed, which walks the whole stack for each kind of device that is not in
    # use: that takes longer than loading a small batch.
    torch.default_generator.manual_seed(mixed)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(mixed)
    if torch.backends.mps.is_available():
        torch.mps.manual_seed(mixed)
    random.seed(mixed)
    np.random.seed(mixed)


def _launch() -> tuple[int, int, int]:
    """(world size, local world size, local rank)."""
    size = launched_processes()
    if size > 1 and "LOCAL_RANK" not in os.environ:
        # All processes of a machine would use its first GPU.
        what = f"WORLD_SIZE is {size}, but LOCAL_RANK is not set"
        raise UserError(what, "launcher", "start the processes with torchrun", Exit.MACHINE)
    local_size = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return size, local_size, int(os.environ.get("LOCAL_RANK", "0"))


@contextmanager
def session(*, stall_timeout: float | None = None, **facts: Any) -> Iterator[Ranks]:
    """The ranks of this launch; creates the process group, and waits for all ranks at the end.

    Stop signals interrupt immediately unless they are postponed (see `stops`). The process group is
    never destroyed but ends with the process: gloo's destructor joins its threads while it holds
    the GIL, and hangs if one of them needs it; and after an error the other ranks may never join.

    Args:
        stall_timeout: seconds without progress after which a process has stalled; default:
            STALL_SECONDS for several processes, no limit for one.
        facts: shared with the other processes (`Ranks.facts`).
    """
    import torch

    size, local_size, local_rank = _launch()
    device = pick_device(local_rank, local_size)
    # First: the steps below wait without handling signals, even for a process that has failed.
    seconds = stall_timeout or STALL_SECONDS
    alone = None, [{**facts, **identity()}]
    if size > 1 and device.type == "cuda":
        facts["gpu"] = gpu_id(device.index)
    store, known = meet(facts, stall_timeout=seconds) if size > 1 else alone
    check_gpus(known)
    ranks = Ranks(launched_rank(), size, device, threads_per_process(local_size), known)
    torch.set_num_threads(ranks.threads)
    with (
        stops.listening(),
        heartbeat.watching(
            ranks.rank, known, stall_timeout, open_store=_own_connection, num_begun=_num_exchanges
        ) as end_watch,
    ):
        stops.check()
        if size > 1:
            _join(ranks, store)
        yield ranks
        ranks.settle()
        ranks.barrier()
        end_watch()
        ranks.barrier()  # no process exits while another still watches it


def _join(ranks: Ranks, store: Any) -> None:
    """Creates the process groups."""
    import torch.distributed as dist

    backend = "nccl" if ranks.device.type == "cuda" else "gloo"
    with heartbeat.waiting():
        # The device is given so that no collective has to guess it.
        dist.init_process_group(
            backend, store=store, rank=ranks.rank, world_size=ranks.size, timeout=PATIENCE,
            device_id=ranks.device if ranks.device.type == "cuda" else None,
        )  # fmt: skip
        # Objects and agreements are exchanged by gloo, whatever the gradients use.
        ranks._host_group = dist.new_group(backend="gloo") if backend == "nccl" else None


def _num_exchanges() -> int:
    """How many collectives the main thread has started; all processes start the same ones."""
    from torch.distributed import distributed_c10d

    try:
        groups: list[Any] = [g for g in distributed_c10d._world.pg_map if g.group_desc != WRITERS]
        return sum(group._get_sequence_number_for_group() for group in groups)
    except (AttributeError, RuntimeError):  # a backend or a torch that does not count
        return 0


def _own_connection() -> Any:
    return open_store(launched_rank(), hosts=False)
