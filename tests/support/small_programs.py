"""Small programs that end like ours, without torch; each takes a tenth of a second."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
LAUNCH_NAMES = ("RANK", "WORLD_SIZE", "TORCHELASTIC_ERROR_FILE", "TORCHELASTIC_RUN_ID")
PROGRAM = """
import os, sys, time, warnings
from ke_t5.errors import Exit, Stopped, UserError
from ke_t5.failure import announce_run_folder, run_and_exit

def main():
    {body}

run_and_exit(main, debug="--debug" in sys.argv)
"""


def started(body: str, folder: Path, *argv: str, **environment: str) -> subprocess.Popen:
    """A process whose main function has this body; its temporary files go to `folder`."""
    program = PROGRAM.format(body=textwrap.indent(textwrap.dedent(body), " " * 4).strip())
    clean = {name: value for name, value in os.environ.items() if name not in LAUNCH_NAMES}
    return subprocess.Popen(
        [sys.executable, "-c", program, *argv],
        env={**clean, "PYTHONPATH": str(CHECKOUT), "TMPDIR": str(folder), **environment},
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process: subprocess.Popen) -> tuple[int, str]:
    """Its exit code and what it wrote to stderr."""
    _, told = process.communicate(timeout=200)
    return process.returncode, told
