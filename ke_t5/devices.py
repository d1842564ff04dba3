"""The device on which a process computes.

torch is imported inside the functions.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ke_t5.errors import Exit, UserError

if TYPE_CHECKING:
    import torch


def pick_device(local_rank: int, local_size: int) -> torch.device:
    """The device of a process: its GPU, or the CPU if there is none.

    Args:
        local_rank: the number of the process among the `local_size` of this machine.

    Raises:
        UserError: processes would have to share a GPU.
    """
    import torch

    if not torch.cuda.is_available():
        return torch.device("cpu")
    count = torch.cuda.device_count()
    # A launcher may show each process a GPU of its own only (srun --gpus-per-task=1).
    if count < local_size and (count > 1 or gpu_id(0) is None):
        raise _shared_gpus(local_size, count)
    index = local_rank if count >= local_size else 0
    torch.cuda.set_device(index)
    _keep_float32()
    return torch.device("cuda", index)


def _keep_float32() -> None:
    """Makes a GPU compute float32 convolutions in float32; torch rounds to 10 bits by default."""
    import torch

    with warnings.catch_warnings():
        # torch 2.9 prefers names that break code which reads this one.
        warnings.simplefilter("ignore", UserWarning)
        torch.backends.cudnn.allow_tf32 = False


def gpu_id(index: int) -> str | None:
    """A number of a GPU that no other has; None if torch does not know it."""
    import torch

    found = getattr(torch.cuda.get_device_properties(index), "uuid", None)
    return None if found is None else str(found)


def check_gpus(facts: Sequence[dict[str, Any]]) -> None:
    """Raises UserError if processes share a GPU.

    Args:
        facts: those of all processes; `gpu` is the number of a process's GPU, if it has one.
    """
    counts = Counter(fact["gpu"] for fact in facts if fact.get("gpu") is not None)
    if counts and max(counts.values()) > 1:
        raise _shared_gpus(max(counts.values()), 1)


def _shared_gpus(num_processes: int, num_gpus: int) -> UserError:
    return UserError(
        f"{num_processes} processes on this machine share {num_gpus} visible GPU(s)",
        "--nproc_per_node",
        "start one process per GPU, or hide the GPUs with CUDA_VISIBLE_DEVICES= to use the CPU",
        Exit.MACHINE,
    )
