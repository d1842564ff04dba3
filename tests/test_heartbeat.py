"""Which process is reported as stalled, with a simulated clock, neighbour and store."""

from __future__ import annotations

import time

import pytest

from ke_t5 import heartbeat
from ke_t5.heartbeat import Heard, Watch


class Scene:
    """Process 1 watches two processes on two machines; each look is some seconds later."""

    def __init__(self, monkeypatch):
        self.now, self.cpu, self.begun, self.limit = 1000.0, 0.0, 7, None
        monkeypatch.setattr(time, "monotonic", lambda: self.now)
        monkeypatch.setattr(time, "process_time", lambda: self.cpu)
        facts = [{"host": f"h{rank}", "process": ["elsewhere", 1, "1"]} for rank in range(2)]
        self.watch = Watch(
            1, facts, open_store=lambda: None, timeout=60.0, end=pytest.fail, num_begun=lambda: 7
        )

    def look(self, seconds, *, store=True, neighbour=True, cpu=0.0):
        self.now += seconds
        self.cpu += cpu * seconds
        self.watch._num_exchanges += store
        count = self.watch._next_pulse.count + neighbour
        self.watch._next_pulse = Heard(count, "saving a checkpoint", self.begun, self.limit)
        if store and self.watch._asks:
            self.watch._fewest_begun, self.watch._asks = self.begun, False
        fault = self.watch._find_fault()
        return None if fault is None else str(fault)


@pytest.fixture
def scene(monkeypatch):
    return Scene(monkeypatch)


def test_an_idle_process_reports_itself_with_its_phase(scene):
    with heartbeat.phase("validating"):
        assert all(scene.look(10) is None for _ in range(7))
        assert "process 1 on h1: has stalled: nothing for 70 s, validating;" in scene.look(10)


def test_a_process_that_progresses_computes_or_waits_has_not_stalled(scene):
    for _ in range(10):
        heartbeat.beat()
        assert scene.look(30) is None
    assert all(scene.look(30, cpu=0.5) is None for _ in range(10))
    with heartbeat.waiting():
        assert all(scene.look(30) is None for _ in range(10))
    assert [scene.look(30) for _ in range(3)] == [None] * 3
    assert "nothing for 90 s" in scene.look(30)


def test_a_silent_neighbor_is_reported(scene):
    with heartbeat.waiting():
        assert all(scene.look(10, neighbour=False) is None for _ in range(7))
        told = scene.look(10, neighbour=False)
    assert "process 0 on h0: has stalled: nothing for " in told and "saving a checkpoint;" in told


def test_without_the_store_its_host_is_reported(scene):
    with heartbeat.waiting():
        assert all(scene.look(10, store=False) is None for _ in range(7))
        assert "process 0 on h0: has stalled" in scene.look(10, store=False)


def test_a_loop_must_progress_even_if_it_uses_a_core(scene):
    for _ in heartbeat.beating(range(1)):  # the first step may have to compile
        assert all(scene.look(30, cpu=1.0) is None for _ in range(7))
        assert "stalled: no step or batch for 210 s, starting;" in scene.look(30, cpu=1.0)
    assert all(scene.look(30, cpu=1.0) is None for _ in range(10)), "after the loop"


def test_a_step_may_take_three_times_the_longest_so_far(scene):
    for number in heartbeat.beating(range(3)):
        if number < 2:
            assert all(scene.look(10, cpu=1.0) is None for _ in range(4))
        else:
            assert all(scene.look(10, cpu=1.0) is None for _ in range(13))
            assert "no step or batch for 130 s" in scene.look(10, cpu=1.0)


def test_another_phase_within_a_loop_may_take_long_and_is_not_a_step(scene):
    for number in heartbeat.beating(range(3)):
        if number == 1:
            with heartbeat.phase("saving a checkpoint"):
                assert all(scene.look(30, cpu=1.0) is None for _ in range(20))
        if number == 2:
            assert all(scene.look(10, cpu=1.0) is None for _ in range(7))
            assert "no step or batch for 70 s" in scene.look(10, cpu=1.0)


def test_a_process_held_up_by_another_has_not_stalled(scene):
    scene.begun = 6
    for number in heartbeat.beating(range(3)):
        if number == 1:
            assert all(scene.look(10) is None for _ in range(40))
            scene.begun = 7  # now both have started the same, and neither makes progress
            answers = [scene.look(10) for _ in range(8)]
            assert any(answer and "process 1 on h1: has stalled" in answer for answer in answers)
            break


def test_a_neighbor_in_a_loop_that_holds_the_gil_is_reported(scene, monkeypatch):
    monkeypatch.setattr(scene.watch._next_cpu, "is_busy", lambda: True)
    with heartbeat.waiting():
        assert all(scene.look(10, neighbour=False) is None for _ in range(20))
        scene.limit = 90.0
        scene.look(10)
        assert all(scene.look(10, neighbour=False) is None for _ in range(9))
        assert "process 0 on h0: has stalled" in scene.look(10, neighbour=False)


def test_a_phase_ends_with_the_one_around_it():
    with heartbeat.phase("training"):
        before = heartbeat._Pulse.beats
        with heartbeat.phase("saving"):
            assert heartbeat._Pulse.phase == "saving"
        assert heartbeat._Pulse.phase == "training" and heartbeat._Pulse.beats == before + 2
