"""The CPU threads of a process: how many compute, and how they wait."""

from __future__ import annotations

import logging
import os

from ke_t5.errors import counted

logger = logging.getLogger(__name__)

# Iterations of GNU OpenMP's spin loop. 600 gave 67 steps a second on idle cores, 1,000 gave 75 and
# 10,000 gave 78; beside a process that kept one of the cores busy 42, 35 and 13.
SPINS = "1000"


def set_wait_policy() -> None:
    """Lets idle threads spin for an instant and then sleep; call it before torch is imported,
    which reads the settings once.

    By default OpenMP's threads spin for long. If other work keeps the cores busy, a spinning thread
    takes the time slice of the thread that it waits for: with 100,000 spins RoBERTa of 4 x 256 made
    5 steps a second on 2 cores beside a busy process, 58 with none. If threads sleep at once,
    waking them takes time: 41 steps instead of 75 on cores that nothing else used.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"  # the standard's variable
        os.environ.setdefault("GOMP_SPINCOUNT", SPINS)
    os.environ.setdefault("KMP_BLOCKTIME", "0")  # Intel's and LLVM's


def threads_per_process(local_size: int) -> int:
    """OMP_NUM_THREADS if the machine has that many cores for every process; otherwise an equal
    share of the cores, with a warning.

    A 1 for several processes is ignored: torchrun sets it if the user does not.
    """
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS
        cores = os.cpu_count() or 1
    threads = max(1, cores // local_size)
    # OpenMP takes a number for each level of nested regions; the first one is meant.
    asked = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    number = int(asked) if asked.isascii() and asked.isdigit() else 0
    if number == 0 or (number == 1 and local_size > 1):
        return threads
    if number <= threads:
        return number
    logger.warning(
        "OMP_NUM_THREADS=%s x %s is more than %s (3-5 times slower); using %s per process",
        asked,
        counted(local_size, "process", "processes"),
        counted(cores, "core"),
        counted(threads, "thread"),
    )
    return threads
