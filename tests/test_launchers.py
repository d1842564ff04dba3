"""Launchers other than torchrun: read or refused; and restarts by torchrun."""

from __future__ import annotations

import sys

import pytest

from ke_t5 import launchers
from ke_t5.errors import Exit, UserError
from ke_t5.launchers import adopt_launcher, is_on_another_node, is_restart, launch_name, place_of

MASTER = {"MASTER_ADDR": "node1", "MASTER_PORT": "29500"}
SRUN = {
    "SLURM_JOB_ID": "7", "SLURM_STEP_ID": "0", "SLURM_PROCID": "3", "SLURM_NTASKS": "4",
    "SLURM_STEP_NUM_TASKS": "4", "SLURM_LOCALID": "1", "SLURM_NODEID": "1", "SLURM_NNODES": "2",
    "SLURM_STEP_TASKS_PER_NODE": "2(x2)",
}  # fmt: skip
OPEN_MPI = {
    "OMPI_COMM_WORLD_RANK": "3", "OMPI_COMM_WORLD_SIZE": "4",
    "OMPI_COMM_WORLD_LOCAL_RANK": "1", "OMPI_COMM_WORLD_LOCAL_SIZE": "2",
}  # fmt: skip
MVAPICH = {name.replace("OMPI", "MV2"): value for name, value in OPEN_MPI.items()}
PMI = {"PMI_RANK": "3", "PMI_SIZE": "4", "MPI_LOCALRANKID": "1", "MPI_LOCALNRANKS": "2"}


@pytest.mark.parametrize("launcher", [SRUN, OPEN_MPI, MVAPICH, PMI])
def test_with_an_address_it_is_read_like_torchruns(launcher):
    environment = {**launcher, **MASTER}
    adopt_launcher(environment)
    names = "RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"
    assert [environment[name] for name in names] == ["3", "4", "1", "2"]


@pytest.mark.parametrize(
    ("launcher", "who"),
    [(SRUN, "srun"), (OPEN_MPI, "Open MPI"), (MVAPICH, "MVAPICH"), (PMI, "PMI"),
     ({**SRUN, "MASTER_ADDR": "node1"}, "srun"),
     ({"SLURM_PROCID": "0", "SLURM_NTASKS": "2"}, "srun"),
     ({"PMI_RANK": "0", "PMI_SIZE": "2", **MASTER}, "PMI")],
)  # fmt: skip
def test_without_one_the_torchrun_command_is_suggested(launcher, who, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["train_ddp.py", "--task", "klue_tc"])
    environment = dict(launcher)
    with pytest.raises(UserError, match=who) as caught:
        adopt_launcher(environment)
    assert "torchrun --n" in str(caught.value)
    assert "train_ddp.py --task klue_tc" in str(caught.value)
    assert caught.value.exit_code == Exit.FLAGS
    # Reported once per machine, as `failure.claim` decides.
    assert environment["WORLD_SIZE"] != "1" and "LOCAL_RANK" not in environment


def test_the_suggested_command_fits_the_nodes(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["train_ddp.py"])
    with pytest.raises(
        UserError, match=r"on each node torchrun --nnodes=2 --nproc_per_node=2 --rd"
    ):
        adopt_launcher(dict(SRUN))
    one = {**OPEN_MPI, "OMPI_COMM_WORLD_LOCAL_SIZE": "4"}
    with pytest.raises(UserError, match="run: torchrun --nproc_per_node=4 train_ddp.py"):
        adopt_launcher(one)


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "4"},  # a shell of salloc
        {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "4", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"},
        {**SRUN, "SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "1"},  # salloc's interactive step
        {"SLURM_STEP_ID": "0", "SLURM_PROCID": "0", "SLURM_NTASKS": "1"},  # srun --ntasks=1
        {"OMPI_COMM_WORLD_RANK": "0", "OMPI_COMM_WORLD_SIZE": "1"},
        {**SRUN, "RANK": "0", "WORLD_SIZE": "1"},  # srun torchrun
    ],
)
def test_a_single_process_and_torchrun_are_left_alone(environment):
    before = dict(environment)
    adopt_launcher(environment)
    assert environment == before


def test_a_size_without_a_rank_is_refused():
    with pytest.raises(UserError, match="launcher: WORLD_SIZE is 2, but RANK is not set; run: tor"):
        adopt_launcher({"WORLD_SIZE": "2", **MASTER})


TORCH = {"RANK": "3", "WORLD_SIZE": "4", **MASTER}


@pytest.mark.parametrize(
    "environment",
    [
        *({**launcher, **TORCH} for launcher in (SRUN, OPEN_MPI, MVAPICH, PMI)),
        *({**launcher, **TORCH, "LOCAL_RANK": "1"} for launcher in (SRUN, OPEN_MPI, MVAPICH, PMI)),
        {**TORCH, "LOCAL_RANK": "1", "LOCAL_SIZE": "2"},  # DeepSpeed
        {**SRUN, **TORCH, "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"},
    ],
)
def test_a_script_that_sets_rank_and_size_gets_the_local_ones(environment):
    adopt_launcher(environment)
    assert (environment["LOCAL_RANK"], environment["LOCAL_WORLD_SIZE"]) == ("1", "2")


@pytest.mark.parametrize(
    "other",
    [
        {},
        {**SRUN, "SLURM_PROCID": "0"},  # of another launch than the one that RANK counts
        {**SRUN, "SLURM_NTASKS": "8", "SLURM_STEP_NUM_TASKS": "8"},
    ],
)
def test_a_local_rank_without_a_local_size_is_refused(other):
    with pytest.raises(UserError) as caught:
        adopt_launcher({**other, **TORCH, "LOCAL_RANK": "1"})
    assert str(caught.value) == (
        "error: launcher: LOCAL_RANK is 1, but LOCAL_WORLD_SIZE is not set; "
        "set it to the number of processes on this machine, or start with torchrun"
    )
    assert caught.value.exit_code == Exit.FLAGS


def test_a_local_rank_of_another_machine_is_refused():
    environment = {**SRUN, **TORCH, "LOCAL_RANK": "3"}
    with pytest.raises(UserError, match="LOCAL_RANK: is 3 of 2 processes"):
        adopt_launcher(environment)


def test_one_process_needs_no_local_size():
    for environment in (
        {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0"},
        {"LOCAL_RANK": "0"},
        {"RANK": "0"},
    ):
        before = dict(environment)
        adopt_launcher(environment)
        assert environment == before
    with pytest.raises(UserError, match="launcher: LOCAL_RANK is 1, but WORLD_SIZE is not set"):
        adopt_launcher({"LOCAL_RANK": "1"})


@pytest.mark.parametrize(
    ("tasks", "node", "expected"), [("2(x2)", "1", 2), ("3,1", "0", 3), ("3,1", "1", 1)]
)
def test_tasks_of_a_machine(tasks, node, expected):
    told = {**SRUN, "SLURM_STEP_TASKS_PER_NODE": tasks, "SLURM_NODEID": node}
    assert place_of(told).local_size == expected


def test_a_launch_keeps_its_name_across_restarts(monkeypatch):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    names = set()
    for count in ("0", "1"):
        monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", count)
        names.add(launch_name())
        assert is_restart() == (count == "1")
    assert len(names) == 1
    monkeypatch.setattr(launchers.os, "getppid", lambda: 1)
    assert launch_name() not in names
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "run7")
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert launch_name() == "run7"


def test_the_node_that_writes_is_known(monkeypatch):
    for rank, local_rank, expected in (("0", "0", False), ("1", "1", False), ("2", "0", True)):
        monkeypatch.setenv("RANK", rank)
        monkeypatch.setenv("LOCAL_RANK", local_rank)
        assert is_on_another_node() == expected


def test_a_rank_that_is_not_a_number_is_ignored(monkeypatch):
    monkeypatch.setenv("RANK", "\N{SUPERSCRIPT TWO}")  # `str.isdigit` takes it for one
    assert launchers.launched_rank() == 0
