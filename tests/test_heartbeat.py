"""Who is told to have stalled: a judge whose clock, neighbour and store are made up."""

from __future__ import annotations

import time

import pytest

from ke_t5 import heartbeat
from ke_t5.heartbeat import Watch


class Scene:
    """A watch of two processes on two machines, by process 1; each look is some seconds later."""

    def __init__(self, monkeypatch):
        self.now, self.cpu = 1000.0, 0.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now)
        monkeypatch.setattr(time, "process_time", lambda: self.cpu)
        facts = [{"host": f"h{rank}", "process": ["elsewhere", 1, "1"]} for rank in range(2)]
        self.watch = Watch(1, facts, open_store=lambda: None, timeout=60.0, end=pytest.fail)

    def look(self, seconds, *, store=True, neighbour=True, cpu=0.0):
        self.now += seconds
        self.cpu += cpu * seconds
        self.watch._num_exchanges += store
        self.watch._next_pulse = [self.watch._next_pulse[0] + neighbour, "saving a checkpoint"]
        fault = self.watch._find_fault()
        return None if fault is None else str(fault)


@pytest.fixture
def scene(monkeypatch):
    return Scene(monkeypatch)


def test_who_does_nothing_says_so_itself_with_its_phase(scene):
    with heartbeat.phase("validating"):
        assert all(scene.look(10) is None for _ in range(7))
        assert "process 1 on h1: has stalled: nothing for 70 s, validating;" in scene.look(10)


def test_who_gets_ahead_computes_or_waits_has_not_stalled(scene):
    for _ in range(10):
        heartbeat.beat()
        assert scene.look(30) is None
    assert all(scene.look(30, cpu=0.5) is None for _ in range(10))
    with heartbeat.waiting():
        assert all(scene.look(30) is None for _ in range(10))
    assert [scene.look(30) for _ in range(3)] == [None] * 3
    assert "nothing for 90 s" in scene.look(30)


def test_a_neighbour_that_is_not_heard_of_is_named(scene):
    with heartbeat.waiting():
        assert all(scene.look(10, neighbour=False) is None for _ in range(7))
        told = scene.look(10, neighbour=False)
    assert "process 0 on h0: has stalled: nothing for " in told and "saving a checkpoint;" in told


def test_without_the_store_its_host_is_named(scene):
    with heartbeat.waiting():
        assert all(scene.look(10, store=False) is None for _ in range(7))
        assert "process 0 on h0: has stalled" in scene.look(10, store=False)


def test_a_phase_ends_with_the_one_around_it():
    with heartbeat.phase("training"):
        before = heartbeat._Pulse.beats
        with heartbeat.phase("saving"):
            assert heartbeat._Pulse.phase == "saving"
        assert heartbeat._Pulse.phase == "training" and heartbeat._Pulse.beats == before + 2
