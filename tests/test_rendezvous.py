"""The processes of a launch meet, or end together with the message of the failed one."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ke_t5 import processes, rendezvous
from ke_t5.errors import Exit, UserError

CHECKOUT = Path(__file__).parent.parent
# Each is a process of one launch on a machine of its own: no launcher watches all of them.
WAITS = """
from ke_t5.failure import run_and_exit
from ke_t5.rendezvous import meet, post_fault

def main():
    print("waiting", flush=True)
    print(meet({"resumes": False})[1], flush=True)

run_and_exit(main, post_fault=post_fault)
"""
FAILS = WAITS.replace(
    'print(meet({"resumes": False})[1], flush=True)',
    'from ke_t5.errors import Exit, UserError; raise UserError("w", "x.tsv:3", "f", Exit.DATA)',
)


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def started(program: str, rank: int, port: str, folder: Path) -> subprocess.Popen:
    """One of two processes, with its own temporary folder, as on another machine."""
    folder = folder / str(rank)
    folder.mkdir()
    launch = {
        "RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1",
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "TMPDIR": str(folder),
        "PYTHONPATH": str(CHECKOUT),
    }  # fmt: skip
    return subprocess.Popen(
        [sys.executable, "-c", program], env={**os.environ, **launch}, cwd=folder,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def test_a_failure_on_one_machine_ends_the_other_with_its_message(tmp_path):
    """The process that hosts the store must not end before the other has read it."""
    failing, port = 0, free_port()
    programs = [FAILS if rank == failing else WAITS for rank in range(2)]
    processes = [started(program, rank, port, tmp_path) for rank, program in enumerate(programs)]
    told = [process.communicate(timeout=100)[1] for process in processes]
    assert [process.returncode for process in processes] == [Exit.DATA] * 2
    assert told[failing] == "error: x.tsv:3: w; f\n"
    there = f"(process {failing} on {socket.gethostname()})"
    assert told[1 - failing] == f"error: x.tsv:3: w; f {there}\n"


def test_machines_that_all_fail_do_not_wait_for_each_other(tmp_path):
    port, begin = free_port(), time.monotonic()
    processes = [started(FAILS, rank, port, tmp_path) for rank in range(2)]
    told = [process.communicate(timeout=100)[1] for process in processes]
    assert [process.returncode for process in processes] == [Exit.DATA] * 2
    assert told == ["error: x.tsv:3: w; f\n"] * 2
    assert time.monotonic() - begin < 20


def test_a_process_waiting_for_another_machine_handles_a_signal(tmp_path):
    process = started(WAITS, 1, free_port(), tmp_path)  # rank 0 never comes
    assert process.stdout.readline() == "waiting\n"
    time.sleep(0.5)
    begin = time.monotonic()
    process.send_signal(signal.SIGTERM)
    _, told = process.communicate(timeout=60)
    assert process.returncode == Exit.STOPPED
    assert told.startswith("stopped: interrupted; ")
    assert time.monotonic() - begin < 30


def test_a_store_that_does_not_answer_is_a_one_line_error(monkeypatch):
    monkeypatch.setattr(rendezvous, "LAUNCHER_SECONDS", 0.0)
    launch = {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1",
              "MASTER_PORT": free_port(), "TORCHELASTIC_USE_AGENT_STORE": "True"}  # fmt: skip
    for name, value in launch.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match="process 1: 127.0.0.1:.* does not answer") as caught:
        rendezvous.meet({})
    assert caught.value.exit_code == Exit.MACHINE


def test_signatures_of_killed_launches_are_removed(tmp_path, monkeypatch):
    monkeypatch.setattr(rendezvous, "launch_folder", lambda: tmp_path / "ke_t5-own")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    here = processes.own_id()
    dead = here._replace(start="0")
    kept = {
        "ke_t5-alive": [here, dead], "ke_t5-elsewhere": [dead._replace(machine="other")],
        "ke_t5-new": [dead], "ke_t5-strange": ["not a signature"], "other-dead": [dead],
    }  # fmt: skip
    for name, signed in {**kept, "ke_t5-dead": [dead, dead]}.items():
        (tmp_path / name).mkdir()
        for rank, content in enumerate(signed):
            file = tmp_path / name / f"process-{rank}.json"
            file.write_text(json.dumps(content))
            age = 0 if name == "ke_t5-new" else 2 * rendezvous.STALE_SECONDS
            os.utime(file, times=(time.time() - age,) * 2)
    (tmp_path / "ke_t5-link").symlink_to(tmp_path / "other-dead")
    rendezvous.sign_in()
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == sorted([*kept, "ke_t5-link", "ke_t5-own"])
    assert all(len(list((tmp_path / name).iterdir())) == len(kept[name]) for name in kept)
