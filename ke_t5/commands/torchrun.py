"""torchrun for `--nproc`: exits with the exit code of the process that failed first, without a
traceback of its own."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence

from ke_t5.errors import Exit, UserError

# torchrun's defaults, and SLURM's SIGUSR1 before the time limit, at which a training saves.
SIGNALS = "SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR1"


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
    except (SignalException, KeyboardInterrupt):
        return Exit.STOPPED
    except RendezvousError as error:
        what = f"the machines cannot connect ({error})"
        fix = "give every machine the HOST:PORT of the first"
        sys.stderr.write(f"{UserError(what, '--rdzv_endpoint', fix)}\n")
        return Exit.MACHINE
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
