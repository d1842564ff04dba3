"""torchrun that is slow to learn of the processes that it has started, as on a busy machine."""

from __future__ import annotations

import sys
import time

from torch.distributed.elastic.multiprocessing.subprocess_handler import subprocess_handler

from ke_t5.commands.torchrun import main

popen = subprocess_handler.Popen


def slow_popen(*args, **kwargs):
    process = popen(*args, **kwargs)
    time.sleep(2)
    return process


subprocess_handler.Popen = slow_popen

if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
