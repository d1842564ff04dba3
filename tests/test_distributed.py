"""Ranks: the variables of the launch, threads per process, and agreement on stopping."""

from __future__ import annotations

import os
import random
import signal
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from support.processes import run_on_ranks

from ke_t5 import devices, stops
from ke_t5.devices import check_gpus, pick_device
from ke_t5.distributed import (
    no_sync,
    say,
    seed_generators,
    session,
)
from ke_t5.errors import Exit, UserError
from ke_t5.threads import set_wait_policy, threads_per_process


@pytest.fixture
def same_threads():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def eight_cores(monkeypatch, asked):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if asked is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", asked)


@pytest.mark.parametrize(
    ("asked", "local_size", "expected"),
    [
        (None, 1, 8), (None, 2, 4), (None, 3, 2), (None, 9, 1), ("", 1, 8), ("0", 1, 8),
        ("x", 1, 8), ("1", 1, 1), ("3", 1, 3), ("8", 1, 8), ("3", 2, 3),
        ("4,2", 1, 4), (" 3 ", 1, 3), ("\N{SUPERSCRIPT TWO}", 1, 8),
        ("1", 2, 4),  # set by torchrun
    ],
)  # fmt: skip
def test_threads_default_to_the_cores_divided_among_processes(
    monkeypatch, caplog, asked, local_size, expected
):
    eight_cores(monkeypatch, asked)
    assert threads_per_process(local_size) == expected
    assert not caplog.messages


@pytest.mark.parametrize(
    ("asked", "local_size", "processes", "expected"),
    [("9", 1, "1 process", 8), ("4", 3, "3 processes", 2)],
)
def test_more_threads_than_cores_are_reduced_with_a_message(
    monkeypatch, caplog, asked, local_size, processes, expected
):
    eight_cores(monkeypatch, asked)
    assert threads_per_process(local_size) == expected
    (message,) = caplog.messages
    assert message == (
        f"OMP_NUM_THREADS={asked} x {processes} is more than 8 cores (3-5 times slower); "
        f"using {expected} threads per process"
    )


def test_idle_threads_sleep_soon_unless_the_user_sets_a_policy(monkeypatch):
    names = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
    for name in names:
        monkeypatch.delenv(name, raising=False)
    set_wait_policy()
    assert [os.environ[name] for name in names] == ["PASSIVE", "1000", "0"]
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    monkeypatch.delenv("GOMP_SPINCOUNT")
    set_wait_policy()
    assert os.environ["OMP_WAIT_POLICY"] == "ACTIVE" and "GOMP_SPINCOUNT" not in os.environ


def test_only_process_0_writes_a_line_and_at_once(monkeypatch, capfd):
    for rank, expected in (("0", "klue_tc: reading\n"), ("1", "")):
        monkeypatch.setenv("RANK", rank)
        say("klue_tc: reading")
        assert capfd.readouterr().err == expected


def test_fewer_gpus_than_processes_is_a_one_line_error(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(UserError, match="--nproc_per_node: 3 processes .* share 2 visible") as e:
        pick_device(0, 3)
    assert e.value.exit_code == Exit.MACHINE


def test_a_launcher_may_show_each_process_its_own_gpu_only(monkeypatch):
    """As `srun --gpus-per-task=1` does; whether they share one is seen when they have met."""
    chosen = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    properties = SimpleNamespace(uuid="1b4e28ba")
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: properties)
    monkeypatch.setattr(devices, "_keep_float32", lambda: None)
    assert pick_device(3, 4) == torch.device("cuda", 0) and chosen == [0]
    check_gpus([{"gpu": "a"}, {"gpu": "b"}, {"gpu": None}, {}, {"gpu": None}])
    with pytest.raises(UserError, match="--nproc_per_node: 2 processes .* share 1 visible") as e:
        check_gpus([{"gpu": "a"}, {"gpu": "b"}, {"gpu": "a"}])
    assert e.value.exit_code == Exit.MACHINE
    # Older versions of torch do not know which GPU it is.
    del properties.uuid
    with pytest.raises(UserError, match="--nproc_per_node: 4 processes .* share 1 visible"):
        pick_device(3, 4)


def test_each_process_has_its_own_gpu(monkeypatch):
    chosen = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    assert pick_device(3, 4) == torch.device("cuda", 3)
    assert not torch.backends.cudnn.allow_tf32  # `fit.precision` holds for convolutions, too
    assert chosen == [3]


def test_processes_without_ranks_are_a_one_line_error(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    with pytest.raises(UserError, match="launcher: WORLD_SIZE is 2, but LOCAL_RANK is not set"):
        session().__enter__()


def test_a_step_draws_the_same_random_numbers_from_any_generator_state():
    def drawn(*place):
        seed_generators(*place)
        return torch.rand(1).item(), random.random(), np.random.rand()

    assert drawn(1, 2, 3) == drawn(1, 2, 3)
    others = [drawn(0, 2, 3), drawn(1, 0, 3), drawn(1, 2, 0), drawn(1, 2, 3)]
    assert all(len(set(numbers)) == 4 for numbers in zip(*others, strict=True))


def test_a_model_that_is_not_wrapped_exchanges_nothing():
    with no_sync(torch.nn.Linear(1, 1)):
        pass


def test_two_simultaneous_stop_signals_are_one_stop(monkeypatch, same_threads):
    """The scheduler and torchrun may both send one; the run must have time to save."""
    left, now = [], [100.0]
    monkeypatch.setattr(stops.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(stops.os, "_exit", left.append)
    before = signal.getsignal(signal.SIGTERM)
    with session() as ranks, stops.postponed():
        assert ranks.agree(stops.requested()) == (False,)
        for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGINT):
            signal.raise_signal(number)
            now[0] += 0.5
        assert ranks.agree(stops.requested()) == (True,) and not left
        now[0] += 5
        signal.raise_signal(signal.SIGTERM)
        assert left == [Exit.STOPPED]
    assert signal.getsignal(signal.SIGTERM) is before and not stops.requested()


def _stopped_at(ranks):
    """The step before which each rank stops if only rank 1 is asked to, at its third, and the step
    of rank 0's other wish."""
    other = None
    with stops.postponed():
        for step in range(10):
            if ranks.rank == 1 and step == 3:
                signal.raise_signal(signal.SIGTERM)
            must_stop, is_other = ranks.agree(stops.requested(), ranks.rank == 0 and step == 1)
            other = step if is_other else other
            if must_stop:
                break
    shared = ranks.broadcast({"from": ranks.rank})
    mean = float(ranks.mean(torch.tensor(ranks.rank + 1.0)))
    return step, other, ranks.gather(ranks.rank), shared, mean


def test_ranks_stop_at_the_same_step_gather_and_share():
    first, second = run_on_ranks(_stopped_at, 2)
    assert first == (4, 2, [0, 1], {"from": 0}, 1.5)
    assert second == (4, 2, None, {"from": 0}, 1.5)
