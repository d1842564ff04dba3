"""Two launches never write the same files, and the lock of a dead owner does not block."""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
import signal
import threading

import pytest
from support.processes import Script, run_script, run_script_on_ranks
from support.recipe_runs import SMALL, run_folder, state_files, test, train

from ke_t5.errors import Exit, UserError
from ke_t5.launchers import launch_name
from ke_t5.recipes import run_locks
from ke_t5.recipes.folders import RunFolder
from ke_t5.recipes.run_locks import RunLocks, check_unused, held_locks, lock_file

TC = ("--task", "klue_tc", *SMALL)


@pytest.fixture
def run(tmp_path):
    return RunFolder(tmp_path / "model" / "task")


def test_a_second_owner_is_refused_in_one_line_that_names_the_first(run, monkeypatch):
    monkeypatch.setattr(run_locks, "GRACE_SECONDS", 0.0)
    with held_locks() as first:
        first.take(run, action="training")
        with pytest.raises(UserError) as told:
            RunLocks().take(run, action="training")
        name = f"process {os.getpid()} on {os.uname().nodename}"
        assert f"{run.path}: {name} has been training there since 20" in str(told.value)
        assert str(told.value).endswith("wait until it ends, or choose another --output_dir")
        assert told.value.exit_code == Exit.MACHINE
        with pytest.raises(UserError, match="has been training there"):
            check_unused(run)
        RunLocks().take(RunFolder(run.path.with_name("other")), action="training")
    check_unused(run)
    assert not lock_file(run).exists()
    assert not run.path.exists()


def test_the_splits_of_a_run_are_locked_one_by_one(run, monkeypatch):
    monkeypatch.setattr(run_locks, "GRACE_SECONDS", 0.0)
    with held_locks() as training, held_locks() as testing:
        training.take(run, action="training")
        training.take(run, split="validation[:31]", action="training")
        testing.take(run, split="test", action="testing")
        with pytest.raises(UserError, match=r"training there, on validation\[:31\]"):
            testing.take(run, split="validation[:31]", action="testing")


def test_a_glance_at_the_lock_does_not_keep_an_owner_out(run, monkeypatch):
    monkeypatch.setattr(run_locks, "GRACE_SECONDS", 20.0)
    run.path.parent.mkdir(parents=True)
    glance = os.open(lock_file(run), os.O_RDWR | os.O_CREAT)
    fcntl.flock(glance, fcntl.LOCK_SH)
    threading.Timer(0.2, os.close, [glance]).start()
    with held_locks() as locks:
        locks.take(run, action="training")


def test_a_process_that_torchrun_has_started_again_waits_for_the_old_one(run, monkeypatch):
    monkeypatch.setattr(run_locks, "GRACE_SECONDS", 0.0)
    monkeypatch.setattr(run_locks, "RESTART_SECONDS", 20.0)
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    old = RunLocks()
    old.take(run, action="training")
    assert json.loads(lock_file(run).read_text())["launch"] == launch_name()
    check_unused(run)
    threading.Timer(0.2, old.release).start()
    with held_locks() as locks:
        locks.take(run, action="training")


def test_a_lock_that_its_owner_removes_meanwhile_is_no_lock(run, monkeypatch):
    """Its file is not the one that a third process would open."""
    flock, removed = fcntl.flock, []

    def remove_first(file, how):
        flock(file, how)
        if not removed:
            removed.append(lock_file(run).unlink())

    monkeypatch.setattr(run_locks.fcntl, "flock", remove_first)
    with held_locks() as locks:
        locks.take(run, action="training")
        assert lock_file(run).exists()


def test_a_disk_without_locks_is_reported_and_used(run, monkeypatch, caplog):
    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(run_locks.fcntl, "flock", refuse)
    with caplog.at_level(logging.WARNING), held_locks() as locks:
        locks.take(run, action="training")
        check_unused(run)
    assert "this disk has no locks; start no other run in the folder" in caplog.text


def test_a_folder_that_cannot_be_locked_cannot_be_written_to(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="--output_dir .*: nothing can be written there"):
        RunLocks().take(RunFolder(tmp_path / "file" / "task"), action="training")


# -------------------------------------------------------------------------------- real processes


def started(*words, **options):
    """A training that has finished its second update."""
    script = Script("train_ddp.py", *words, **options)
    script.wait_until(lambda: "step 3/" in script.errors)
    return script


@pytest.mark.parametrize("second", [(), ("--resume", "auto"), ("--hf_path", "default")])
def test_a_second_training_is_refused_and_the_first_is_what_it_would_be(
    second, tmp_path, cache_dir, alone
):
    places = ("--output_dir", tmp_path, "--hf_cache_dir", cache_dir)
    first = started(*TC, *places, "--epochs", 8)
    first.kill(signal.SIGSTOP)
    done = run_script("train_ddp.py", *TC, *places, *second)
    files = {str(file) for file in tmp_path.rglob("*.json")}
    first.kill(signal.SIGCONT)
    assert done.returncode == Exit.MACHINE
    assert f"process {first.process.pid} on " in done.stderr.splitlines()[-1]
    assert not [file for file in files if file.endswith("error.json")]
    assert first.end().returncode == 0
    assert state_files(tmp_path) == alone
    assert [path.name for path in tmp_path.glob("*/.*")] == []
    assert len(list(tmp_path.glob("*/*"))) == 1


@pytest.fixture(scope="module")
def alone(tmp_path_factory, cache_dir):
    """The state of an undisturbed training."""
    output = tmp_path_factory.mktemp("alone")
    places = ("--output_dir", output, "--hf_cache_dir", cache_dir)
    assert run_script("train_ddp.py", *TC, *places, "--epochs", 8).returncode == 0
    return state_files(output)


def test_the_lock_of_a_killed_training_is_taken_over(tmp_path, cache_dir, alone):
    places = ("--output_dir", tmp_path, "--hf_cache_dir", cache_dir)
    first = started(*TC, *places, "--epochs", 8, "--save_every", 2)
    first.kill(signal.SIGKILL)
    first.end()
    (lock,) = tmp_path.glob("*/.klue_tc.lock")
    words = (*TC, *places, "--epochs", 8, "--save_every", 2, "--resume", "auto")
    done = run_script("train_ddp.py", *words)
    assert done.returncode == 0, done.stderr
    assert f"taken over from process {first.process.pid} on {os.uname().nodename}" in done.stderr
    assert state_files(tmp_path) == alone
    assert not lock.exists()


def test_two_processes_of_one_launch_share_the_lock(tmp_path, cache_dir):
    words = (*TC, "--output_dir", tmp_path, "--hf_cache_dir", cache_dir, "--max_steps", 2)
    done = run_script_on_ranks(2, "train_ddp.py", *words)
    assert [process.returncode for process in done] == [0, 0]
    assert not list(tmp_path.glob("*/.*"))


def test_what_is_being_trained_is_not_tested_on_the_split_that_it_writes(
    tmp_path, cache_dir, monkeypatch
):
    monkeypatch.setattr(run_locks, "GRACE_SECONDS", 0.0)
    train(*TC, "--max_steps", 4, "--epochs", 1, output=tmp_path, cache=cache_dir)
    words = ("--task", "klue_tc", "--sample", "--resume", "best", "--test_split")
    with held_locks() as training:
        run = RunFolder(run_folder(tmp_path))
        training.take(run, split="validation[:31]", action="training")
        with pytest.raises(UserError, match=r"has been training there, on validation\[:31\]"):
            test(*words, "validation[:31]", output=tmp_path, cache=cache_dir)
        test(*words, "validation[31:62]", output=tmp_path, cache=cache_dir)
