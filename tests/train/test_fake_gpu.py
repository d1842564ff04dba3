"""No tensor on the wrong device and no host sync in a step of `fit`, without a GPU."""

from __future__ import annotations

import re

from support.processes import run_script

from ke_t5.models.models import MODEL_FORMS


def test_no_step_waits_for_the_device_or_leaves_it():
    # In a separate process, because the registration of the fake GPU is permanent.
    done = run_script("tests/support/fake_gpu.py")
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    lines = dict(line.split(": ", 1) for line in done.stdout.splitlines())
    # Reading a value or mixing devices is caught; our own steps do neither.
    assert "DataDependentOutputException" in lines.pop("asking")
    assert re.search("fakegpu:0(,| and) cpu", lines.pop("astray"))
    assert lines.pop("heads") == f"{len(MODEL_FORMS)} classes"
    assert lines == {name: "3 steps" for name in ("BERT", "T5 mean", "CRF", "T5", "used rows")}
