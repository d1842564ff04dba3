"""`--nproc`: `ke-t5 train` and `ke-t5 test` start themselves with torchrun."""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from collections.abc import Callable, Sequence

from ke_t5.commands import torchrun
from ke_t5.config.flags import LAUNCH_FLAGS
from ke_t5.distributed import say
from ke_t5.errors import UserError, shortened
from ke_t5.programs import SUITES, own_words

NAMES = {"nproc_per_node", *(flag.name for flag in LAUNCH_FLAGS)}


def launch(
    name: str, words: Sequence[str], parse: Callable[[Sequence[str]], Namespace]
) -> Sequence[str]:
    """The words for a single process; for several, replaces this process by torchrun.

    Args:
        name: the command.
        parse: parses the words, so that errors are reported before torchrun starts.
    """
    own, rest = separated(words)
    if not own:
        return rest
    flags = parse(words)
    if "RANK" in os.environ:
        what, fix = "a launcher has started this process", "drop it, or start without torchrun"
        raise UserError(what, own[0], fix)
    is_several = getattr(flags, "seeds", None) is not None or flags.task in SUITES
    if is_several and name != "test":  # each training starts its own processes
        return words
    nnodes, rendezvous = _rendezvous(flags)
    if not flags.quiet:
        say(shortened(f"{flags.task}: starting the processes"))  # seconds pass until the next line
    nproc = _num_processes(flags)
    if nproc == nnodes == 1:
        return rest
    if nproc > 1:
        # torchrun would set it with a warning; `distributed` chooses the number of threads.
        os.environ.setdefault("OMP_NUM_THREADS", "1")
    program = [sys.executable, "-m", torchrun.__name__, f"--nproc_per_node={nproc}"]
    rest = [word.replace("$", "$$") for word in rest]  # torchrun expands ${local_rank}
    os.execv(sys.executable, [*program, *rendezvous, *own_words(), name, *rest])


def separated(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """The words of the flags for the number of processes, and the other words.

    >>> separated(["--task", "klue_tc", "--nproc", "2", "--sample"])
    (['--nproc', '2'], ['--task', 'klue_tc', '--sample'])
    """
    own: list[str] = []
    rest: list[str] = []
    is_value = False  # whether the next word is the value of such a flag
    for word in words:
        name, equals, _ = word.removeprefix("--").partition("=")
        is_flag = word.startswith("--")
        is_own = is_value if not is_flag else name in NAMES
        (own if is_own else rest).append(word)
        is_value = is_flag and is_own and not equals
    return own, rest


def _rendezvous(flags: Namespace) -> tuple[int, list[str]]:
    """The number of machines, and torchrun's flags for it."""
    nnodes, endpoint = getattr(flags, "nnodes", 1), getattr(flags, "rdzv_endpoint", None)
    if nnodes > 1 and endpoint is None:
        fix = "add --rdzv_endpoint HOST:29400 with the first machine's name, on each machine"
        raise UserError("has no rendezvous endpoint", f"--nnodes {nnodes}", fix)
    if nnodes == 1 and endpoint is not None:
        raise UserError("applies to several machines only", "--rdzv_endpoint", "add --nnodes N")
    if nnodes == 1:
        return 1, ["--standalone"]
    return nnodes, [f"--nnodes={nnodes}", "--rdzv_backend=c10d", f"--rdzv_endpoint={endpoint}"]


def _num_processes(flags: Namespace) -> int:
    """The number of processes on this machine; for "gpu", the number of GPUs, at least 1."""
    nproc = getattr(flags, "nproc", 1)
    if nproc != "gpu":
        return nproc
    import torch

    return max(1, torch.cuda.device_count())
