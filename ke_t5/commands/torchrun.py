"""torchrun for `--nproc`: exits with the exit code of the process that failed first, without a
traceback of its own, and leaves no process behind."""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress

from ke_t5.errors import Exit, UserError
from ke_t5.processes import children, state_of

# torchrun's defaults, and SLURM's SIGUSR1 before the time limit, at which a training saves.
SIGNALS = "SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR1"
STOP_SECONDS = 30.0  # as torchrun waits before it kills
POLL_SECONDS = 0.05


def main(words: Sequence[str]) -> int:
    """Runs torchrun with these words; returns the exit code."""
    try:
        from torch.distributed import run
        from torch.distributed.elastic.multiprocessing import SignalException
        from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
        from torch.distributed.elastic.rendezvous import RendezvousError
    except KeyboardInterrupt:
        return Exit.STOPPED
    logging.disable(logging.ERROR)  # the failing process has reported the failure itself
    try:
        settings = run.parse_args(list(words))
        settings.signals_to_handle = SIGNALS
        run.run(settings)
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        if failure.exitcode >= 0:
            return failure.exitcode
        what = f"killed by signal {-failure.exitcode}"
        fix = "see the machine's log (out of memory?)"
        sys.stderr.write(f"{UserError(what, f'process {rank}', fix)}\n")
        return Exit.MACHINE
    except (SignalException, KeyboardInterrupt) as error:
        with suppress(SignalException, KeyboardInterrupt):  # of a second signal
            end_children(getattr(error, "sigval", signal.SIGINT), STOP_SECONDS)
        for name in SIGNALS.split(","):
            signal.signal(signal.Signals[name], signal.SIG_IGN)
        end_children(signal.SIGKILL, STOP_SECONDS)
        return Exit.STOPPED
    except RendezvousError as error:
        what = f"the machines cannot connect ({error})"
        fix = "give every machine the HOST:PORT of the first"
        sys.stderr.write(f"{UserError(what, '--rdzv_endpoint', fix)}\n")
        return Exit.MACHINE
    return 0


def end_children(number: int, seconds: float) -> None:
    """Sends a signal to the processes that this one has started, and waits until they have ended.

    torchrun does so itself, but not for processes whose start the signal has interrupted.
    """
    running = children()
    for child in running:
        with suppress(OSError):
            os.killpg(child.pid, number)  # torchrun starts each in a session of its own
    end = time.monotonic() + seconds
    while any(state_of(child) is not None for child in running) and time.monotonic() < end:
        time.sleep(POLL_SECONDS)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
