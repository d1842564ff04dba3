"""If a process dies or stalls, all end soon, and the message names it."""

from __future__ import annotations

import json
import socket
import time
from itertools import product

import pytest
from support.injected import PLACES, write_module
from support.processes import Script, free_port, rank_variables
from support.recipe_runs import SMALL, command

from ke_t5.errors import Exit

pytestmark = pytest.mark.promise("P5")

STALL_SECONDS, SECONDS = 5, 30
KINDS = ("raise", "exit", "kill", "sleep", "suspend")
STALLS = ("sleep", "suspend", "spin", "block", "hold")
IN_LOOPS = ("training", "backward", "validating")
TRAIN = ("train_ddp.py", "--task", "klue_tc", *SMALL, "--epochs", "1", "--hf_path", "default")
PHASES = {
    "data": "before training began", "model": "building the model", "training": "training",
    "backward": "training", "saving": "saving a checkpoint", "validating": "validating",
    "exporting": "exporting",
}  # fmt: skip


def launch(folder, cache, fault, num_ranks=2):
    """The processes of a training, started as by a launcher, one of them with a fault."""
    flags = (*write_module(folder), "--output_dir", "out", "--hf_cache_dir", cache)
    flags = (*flags, "--stall_timeout", STALL_SECONDS)
    variables = {"FAULT": fault, "TMPDIR": str(folder)}
    port = free_port()
    return [
        Script(*TRAIN, *flags, folder=folder, **variables, **rank_variables(rank, num_ranks, port))
        for rank in range(num_ranks)
    ]


def expected(kind, place, rank):
    """The beginning of the message, and the exit code of the remaining processes."""
    who = f"error: process {rank} on {socket.gethostname()}: "
    if kind == "raise":
        return "error: injected_fault.py:", Exit.FLAGS
    if kind in ("exit", "kill"):
        return f"{who}is gone (killed, or out of memory?), last seen ", Exit.MACHINE
    done = "no step or batch" if kind == "spin" else "nothing"
    return f"{who}has stalled: {done} for ", Exit.MACHINE


def check(folder, cache, kind, place, rank):
    """Injects the fault into a training on two processes."""
    folder.mkdir()
    scripts = launch(folder, cache, f"{kind} {place} {rank}")
    done = [script.end() for script in scripts]
    assert (folder / "struck").exists(), [one.stderr for one in done]
    seconds = time.time() - (folder / "struck").stat().st_mtime
    # The first step may take longer, because it may include compilation.
    limit = SECONDS + (3 * STALL_SECONDS if kind in STALLS else 0)
    assert seconds < limit, f"{seconds:.0f} s"
    start, code = expected(kind, place, rank)
    lines = [line for one in done for line in one.stderr.splitlines() if line[:6] == "error:"]
    assert len(lines) == 1 and lines[0].startswith(start), [one.stderr for one in done]
    assert len(lines[0]) <= 200
    if kind in STALLS:
        assert f" s, {PHASES[place]}; " in lines[0], lines[0]
    assert done[1 - rank].returncode == code, done[1 - rank]
    assert [lines[0]] in [one.stderr.splitlines()[-1:] for one in done], "not the last line"
    found = list(folder.glob("out/*/*/error.json"))
    assert all(json.loads(file.read_text())["message"] == lines[0] for file in found)
    assert found or place in ("data", "model")
    return seconds


ORDINARY = {("kill", "validating"), ("suspend", "training"), ("sleep", "data")}


@pytest.mark.parametrize(("kind", "place"), [
    pytest.param(kind, place, marks=() if (kind, place) in ORDINARY else pytest.mark.full)
    for kind, place in product(KINDS, PLACES)
    if kind in STALLS or place != "backward"
])  # fmt: skip
def test_all_processes_end_and_name_the_one_that_failed(kind, place, tmp_path, cache_dir, notes):
    rank = (KINDS.index(kind) + list(PLACES).index(place)) % 2
    seconds = check(tmp_path / "run", cache_dir, kind, place, rank)
    notes.append(f"{kind} while {place}, process {rank}: all ended after {seconds:.0f} s")


@pytest.mark.full
@pytest.mark.parametrize("place", IN_LOOPS)
@pytest.mark.parametrize("kind", ["spin", "block", "hold"])
def test_endless_loops_and_calls_that_never_return_are_detected(
    kind, place, tmp_path, cache_dir, notes
):
    rank = (STALLS.index(kind) + IN_LOOPS.index(place)) % 2
    seconds = check(tmp_path / "run", cache_dir, kind, place, rank)
    notes.append(f"{kind} while {place}, process {rank}: all ended after {seconds:.0f} s")


@pytest.mark.parametrize("kind", [pytest.param("spin", marks=pytest.mark.full), "block"])
def test_a_single_process_is_watched_on_request(kind, tmp_path, cache_dir):
    flags = (*write_module(tmp_path), "--output_dir", "out", "--hf_cache_dir", cache_dir)
    flags = (*flags, "--stall_timeout", 1)
    script = Script(*TRAIN, *flags, folder=tmp_path, FAULT=f"{kind} backward 0")
    done = script.end()
    start, code = expected(kind, "backward", 0)
    last = done.stderr.splitlines()[-1]
    assert done.returncode == code and last.startswith(start), done.stderr
    assert " s, training; look at the machine, then start again (a training: --resume auto)" in last
    (file,) = tmp_path.glob("out/*/*/error.json")
    assert json.loads(file.read_text())["message"] == last


@pytest.mark.full
def test_a_run_restarted_by_torchrun_continues(tmp_path, cache_dir, monkeypatch):
    monkeypatch.setenv("FAULT", "kill training 1")
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2")
    flags = (*write_module(tmp_path), "--output_dir", "out", "--hf_cache_dir", cache_dir)
    done = command(
        *TRAIN, *flags, "--save_every", 1, launcher=(*torchrun, "--max-restarts=3"), folder=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert "error: process 1 on " in done.stderr and "(step 1)" in done.stderr
    assert not list(tmp_path.glob("out/*/*/error.json"))
