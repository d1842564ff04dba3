"""P12: NaN and Inf in loss, gradient or weights, also on only one of several processes.

Each is put into a real training by `support/poison.py`. The run ends with exit code 6 before the
next update; its checkpoints are clean; without the poison it continues to the bytes of a run that
never had it.
"""

from __future__ import annotations

import json
import re

import pytest
from safetensors.torch import load_file
from support.processes import run_script, run_script_on_ranks
from support.recipe_runs import SMALL, run_folder, state_files

from ke_t5.checkpoint.checkpoints import find_checkpoint
from ke_t5.config.resume import LAST
from ke_t5.errors import Exit

pytestmark = pytest.mark.promise("P12")

POISON = "tests/support/poison.py"
STEP = 3
WORDS = ("--task", "klue_tc", *SMALL, "--epochs", 2)
CASES = [
    (place, value, ranks, rank)
    for place in ("loss", "gradient", "weights")
    for value in ("nan", "inf", "-inf")
    for ranks, rank in ((1, "all"), (2, "all"), (2, "0"), (2, "1"))
]
QUICK = [("loss", "inf", 2, "1"), ("weights", "nan", 1, "all")]


def words(ranks, output, cache):
    """A training of eight updates on a number of processes."""
    size = 16 // ranks
    places = ("--output_dir", output, "--hf_cache_dir", cache, "--batch_size", size)
    return (*WORDS, "--save_every", 1, *places)


def check_poisoned(place, done, output):
    """Asserts how the poisoned training ended, and that its files are clean."""
    assert {process.returncode for process in done} == {Exit.DIVERGED}
    lines = "".join(process.stderr for process in done).splitlines()
    (line,) = [line for line in lines if line.startswith("error: ")]
    assert "finite" in line and len(line) <= 200, line
    assert not [line for line in lines if "Traceback" in line]
    run = run_folder(output)
    error = json.loads((run / "error.json").read_text())
    assert (error["code"], error["message"]) == (Exit.DIVERGED, line)
    # A weight is poisoned after its update, and is not saved by its own process.
    steps = (STEP - 1, STEP) if place == "weights" else (STEP - 1,)
    saved = sorted(int(folder.name[5:]) for folder in run.glob("weights/step-*"))
    assert saved and saved[-1] in steps, saved
    for file in run.glob("weights/step-*/*.safetensors"):
        for name, tensor in load_file(file).items():
            assert tensor.isfinite().all(), f"{file}: {name}"
    assert find_checkpoint(run / "weights", LAST).name == f"step-{saved[-1]:08}"


def run_cases(cases, tally, path, cache, *, continued=(1, 2)):
    """Runs each case, and continues those on so many processes without their poison."""
    clean = {}
    for number, (place, value, ranks, rank) in enumerate(cases):
        with tally.case(f"{place} {value}, {ranks} process(es), rank {rank}"):
            output = path / str(number)
            train = words(ranks, output, cache)
            done = run_script_on_ranks(ranks, POISON, place, value, rank, STEP, *train)
            check_poisoned(place, done, output)
            if ranks not in continued:
                continue
            if ranks not in clean:
                clean[ranks] = path / f"clean{ranks}"
                run_script_on_ranks(ranks, "train_ddp.py", *words(ranks, clean[ranks], cache))
            again = run_script_on_ranks(ranks, "train_ddp.py", *train, "--resume", "auto")
            assert {process.returncode for process in again} == {0}, again[0].stderr
            assert state_files(output) == state_files(clean[ranks])


def test_some_values_that_are_not_finite(tally, tmp_path, cache_dir, is_full):
    run_cases([] if is_full else QUICK, tally, tmp_path, cache_dir, continued=(1,))


@pytest.mark.full
@pytest.mark.parametrize("place", ["loss", "gradient", "weights"])
def test_every_value_that_is_not_finite(place, tally, tmp_path, cache_dir):
    run_cases([case for case in CASES if case[0] == place], tally, tmp_path, cache_dir)


@pytest.mark.parametrize(
    ("rate", "option", "told"),
    [
        ("3e38", ("--max_steps", 1), "not finite"),
        ("1e38", ("--save_every", 1), "training at step 1: .* is not finite after this update"),
        ("1e400", (), "--learning_rate"),
        ("nan", (), "--learning_rate"),
    ],
)
def test_a_learning_rate_without_bounds(rate, option, told, tmp_path, cache_dir):
    places = ("--output_dir", tmp_path, "--hf_cache_dir", cache_dir)
    done = run_script("train_ddp.py", *WORDS, *places, "--learning_rate", rate, *option)
    is_flag = told.startswith("--")
    assert done.returncode == (Exit.FLAGS if is_flag else Exit.DIVERGED), done.stderr
    *_, last = done.stderr.splitlines()
    assert last.startswith("error: ")
    assert re.search(told, last)
    assert not list(tmp_path.glob("*/*/weights/step-*"))
    assert not list(tmp_path.glob("*/*/eval/*"))


@pytest.mark.parametrize("binding", ["AdamW.lr = 1e400", "SGD.lr = -1e400"])
def test_an_infinite_rate_from_gin(binding, tmp_path, cache_dir):
    places = ("--output_dir", tmp_path / "out", "--hf_cache_dir", cache_dir)
    done = run_script("train_ddp.py", *WORDS, *places, "--gin_param", binding)
    assert done.returncode == Exit.FLAGS
    assert "inf; give" in done.stderr
    assert not (tmp_path / "out").exists()
