"""A stop signal in each phase: exit code 75 within seconds, and a resume to the same bytes."""

from __future__ import annotations

import signal
import time
from itertools import product

import pytest
from support.injected import write_module
from support.processes import Script, free_port, rank_variables, run_script_on_ranks
from support.recipe_runs import SMALL, state_files

from ke_t5.errors import Exit

pytestmark = pytest.mark.promise("P4")

SECONDS = 10
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)
PLACES = ("data", "model", "training", "saving", "validating", "exporting")
TRAIN = ("train_ddp.py", "--task", "klue_tc", *SMALL, "--epochs", "1", "--hf_path", "default")


@pytest.fixture(scope="module")
def whole(tmp_path_factory, cache_dir):
    """A function: the files of an uninterrupted training on a number of processes."""
    found = {}

    def left(num_ranks):
        if num_ranks not in found:
            folder = tmp_path_factory.mktemp(f"whole{num_ranks}")
            for done in run_script_on_ranks(num_ranks, *words(folder, cache_dir), folder=folder):
                assert done.returncode == 0, done.stderr
            found[num_ranks] = state_files(folder / "out")
        return found[num_ranks]

    return left


def words(folder, cache):
    """The command line of a training with a user's module in the folder."""
    return (*TRAIN, *write_module(folder), "--output_dir", "out", "--hf_cache_dir", cache)


def stop(folder, cache, place, number, num_ranks):
    """Stops a training at this place, in whichever process is there; returns the seconds taken."""
    port = free_port()
    scripts = [
        Script(
            *words(folder, cache), folder=folder, FAULT=f"pause {place} 0", TMPDIR=str(folder),
            **(rank_variables(rank, num_ranks, port) if num_ranks > 1 else {}),
        )
        for rank in range(num_ranks)
    ]  # fmt: skip
    scripts[0].wait_until((folder / "struck").exists)
    time.sleep(0.2)
    begin = time.monotonic()
    for script in scripts:
        script.kill(number)
    done = [script.end() for script in scripts]
    seconds = time.monotonic() - begin
    told = "".join(one.stderr for one in done)
    assert [one.returncode for one in done] == [Exit.STOPPED] * num_ranks, told
    assert told.count("stopped: ") == 1 and "Traceback" not in told, told
    assert ("saved in" in told) == (place in ("training", "saving", "validating")), told
    return seconds


ORDINARY = {("validating", 1)}


@pytest.mark.parametrize(("place", "num_ranks"), [
    pytest.param(place, num, marks=() if (place, num) in ORDINARY else pytest.mark.full)
    for place, num in product(PLACES, (1, 2))
])  # fmt: skip
def test_a_stopped_training_resumes_to_the_same_bytes(
    place, num_ranks, tmp_path, cache_dir, whole, notes
):
    number = SIGNALS[(PLACES.index(place) + num_ranks) % len(SIGNALS)]
    seconds = stop(tmp_path, cache_dir, place, number, num_ranks)
    assert seconds < SECONDS, f"{seconds:.1f} s"
    notes.append(f"{number.name} while {place}, {num_ranks} process(es): {seconds:.1f} s")
    again = (*words(tmp_path, cache_dir), "--resume", "auto")
    for done in run_script_on_ranks(num_ranks, *again, folder=tmp_path):
        assert done.returncode == 0, done.stderr
    assert state_files(tmp_path / "out") == whole(num_ranks)
    assert list(tmp_path.glob("out/*/*/hf/config.json"))
