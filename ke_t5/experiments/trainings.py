"""Trainings as processes of their own, one after the other."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence

from ke_t5.errors import Exit, UserError
from ke_t5.programs import COMMAND_NAMES, MODULE, TRAIN


def train(words: Sequence[str], *, nproc: str = "1") -> None:
    """Runs `ke-t5 train` to its end; what it prints appears as usual.

    Args:
        words: its flags.
        nproc: as `--nproc`.

    Raises:
        UserError: it failed, with its exit code; its own line stands above.
        KeyboardInterrupt: this process or the training was stopped; the training has been saved.
    """
    launch = [] if nproc == "1" else ["--nproc", nproc]
    command = [sys.executable, "-m", MODULE, COMMAND_NAMES[TRAIN], *launch, *words]
    with subprocess.Popen(command) as process:
        try:
            code = process.wait()
        except KeyboardInterrupt:
            process.terminate()  # a stop for this process alone; a second one is taken for the same
            process.wait()
            raise
    if code == Exit.STOPPED:
        raise KeyboardInterrupt
    if code:
        known = {int(each) for each in Exit}
        fix = "fix what its line says, then start the same command again: finished ones are kept"
        where = " ".join(words[:2])
        raise UserError(
            f"the training ended with code {code}", where, fix, Exit(code if code in known else 5)
        )
