"""No tensor on the wrong device and no host sync in a step of `fit`, without a GPU."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parents[1] / "support"


def test_no_step_waits_for_the_device_or_leaves_it():
    # In a process of its own: the device that stands for the GPU is registered for good.
    done = subprocess.run(
        [sys.executable, HERE / "fake_gpu.py"],
        env=os.environ | {"PYTHONPATH": str(HERE.parents[1]), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    lines = dict(line.split(": ", 1) for line in done.stdout.splitlines())
    # What asks for a value, or mixes devices, is caught; our own steps do neither.
    assert "DataDependentOutputException" in lines.pop("asking")
    assert "fakegpu:0 and cpu" in lines.pop("astray")
    assert lines == {name: "3 steps" for name in ("BERT", "T5 mean", "T5")}
