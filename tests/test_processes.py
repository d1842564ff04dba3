"""Processes as the kernel describes them, and the time since a value changed."""

from __future__ import annotations

import os
import signal
import subprocess
import time

import pytest

from ke_t5 import processes
from ke_t5.processes import CpuMeter, Idleness, ProcessId


@pytest.fixture
def sleeper():
    """A process that does nothing."""
    with subprocess.Popen(["sleep", "60"]) as started:
        yield started
        started.kill()


def id_of(process):
    return processes.own_id()._replace(pid=process.pid, start=processes.start_of(process.pid))


def test_this_process_exists_and_computes():
    own = processes.own_id()
    assert own == ProcessId(own.machine, os.getpid(), processes.start_of(os.getpid()))
    assert processes.is_here(own) and not processes.is_here(own._replace(machine="other"))
    assert not processes.is_here(own._replace(machine=""))
    state = processes.state_of(own)
    assert state is not None and state.letter == "R" and state.cpu_seconds > 0


def test_a_later_process_with_the_same_id_is_a_different_one(sleeper):
    there = id_of(sleeper)
    assert processes.state_of(there) is not None
    assert processes.state_of(there._replace(start="1")) is None
    processes.kill(there._replace(start="1"))
    processes.kill(there._replace(machine="other"))
    assert sleeper.poll() is None


def test_children_are_the_running_processes_that_this_one_started(sleeper):
    there = id_of(sleeper)
    assert there in processes.children() and processes.own_id() not in processes.children()
    sleeper.kill()
    while processes.state_of(there) is not None:  # its exit code is not read yet
        time.sleep(0.01)
    assert there not in processes.children()


def test_no_children_are_known_without_proc(monkeypatch):
    def no_folder(_path):
        raise FileNotFoundError

    monkeypatch.setattr(processes.os, "listdir", no_folder)
    assert processes.children() == []


def test_a_suspended_process_is_ended_and_a_dead_one_has_no_state(sleeper):
    there = id_of(sleeper)
    sleeper.send_signal(signal.SIGSTOP)
    processes.kill(there)
    os.waitid(os.P_PID, sleeper.pid, os.WEXITED | os.WNOWAIT)
    assert processes.state_of(there) is None, "a zombie"
    assert sleeper.wait() == -signal.SIGKILL
    assert processes.state_of(there) is None and processes.start_of(sleeper.pid) == ""


def test_idleness_counts_from_the_last_change(monkeypatch):
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    idle = Idleness()
    assert idle.look("a") == 0
    now = 107.0
    assert idle.look("a") == idle.seconds == 7
    assert idle.look("a", is_busy=True) == 0
    now = 110.0
    assert idle.look("a") == 3 and idle.look("b") == 0


def test_a_process_computes_from_a_hundredth_of_a_core_on(monkeypatch):
    now, used = 0.0, 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    meter = CpuMeter(lambda: used)
    for seconds, share, is_busy in ((10, 0.001, False), (10, 0.02, True), (5, 0.0, False)):
        now, used = now + seconds, used + share * seconds
        assert meter.is_busy() == is_busy
