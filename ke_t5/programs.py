"""The two programs' names, and the command that starts one again from the current folder.

In a clone they are scripts; a package that pip has installed has entry points for them.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path

TRAIN, TEST = "train_ddp.py", "test_ddp.py"
ENTRY_POINTS = {TRAIN: "ke-t5-train", TEST: "ke-t5-test"}
CLONE = Path(__file__).resolve().parents[1]


def program_name(script: str) -> str:
    """What a program is called in this process: its script, or the entry point."""
    return ENTRY_POINTS[script] if _uses_entry_points() else script


def command(script: str, launcher: str = "") -> str:
    """The words that start a program, without flags, as they can be typed in the current folder.

    Args:
        launcher: such as "torchrun --nproc_per_node=2"; "" for a single process.

    In a clone "python train_ddp.py" or "torchrun --nproc_per_node=2 train_ddp.py"; installed
    "ke-t5-train" or "torchrun --nproc_per_node=2 --no-python ke-t5-train".
    """
    if not _uses_entry_points():
        return f"{launcher or 'python'} {shlex.quote(str(_scripts_folder() / script))}"
    program = shlex.quote(_entry_point(ENTRY_POINTS[script]))
    return f"{launcher} --no-python {program}" if launcher else program


def _uses_entry_points() -> bool:
    started = Path(sys.argv[0])
    if started.name in ENTRY_POINTS:
        return False
    return started.stem in ENTRY_POINTS.values() or not (CLONE / TRAIN).exists()


def _entry_point(name: str) -> str:
    """The entry point's name if the shell finds the one of this environment, else its path."""
    started = Path(sys.argv[0])
    if started.stem not in ENTRY_POINTS.values():
        return name
    path = started.with_name(name)
    on_path = shutil.which(name)
    return name if on_path and Path(on_path).resolve() == path.resolve() else str(path)


def _scripts_folder() -> Path:
    started = Path(sys.argv[0])
    return started.parent if started.name in ENTRY_POINTS else Path(os.path.relpath(CLONE))
