"""A run that was killed before its first checkpoint starts again in the same folder."""

from __future__ import annotations

import os
import shutil

import pytest
from support.recipe_runs import SMALL, run_folder, state_files, train

WORDS = ("--task", "klue_tc", *SMALL, "--epochs", 1)
DEAD = 999_999_999


@pytest.fixture(scope="module")
def whole(tmp_path_factory, cache_dir):
    output = tmp_path_factory.mktemp("whole")
    train(*WORDS, output=output, cache=cache_dir)
    return output


@pytest.fixture
def killed(whole, tmp_path):
    """As after a kill during the first save: a complete checkpoint under a temporary name."""
    shutil.copytree(whole, tmp_path / "output")
    folder = run_folder(tmp_path / "output")
    (checkpoint,) = (folder / "weights").glob("step-*")
    checkpoint.rename(checkpoint.with_name(f"{checkpoint.name}.tmp-{DEAD}"))
    for name in ("last.json", "best.json"):
        (folder / "weights" / name).unlink()
    shutil.rmtree(folder / "eval")
    (folder / "eval" / "test").mkdir(parents=True)
    (folder / "eval" / "test" / f"confusion.png.tmp-{DEAD}").touch()
    (folder / "eval" / f"validation.tmp-{DEAD}").mkdir()
    (folder / f"run.json.tmp-{DEAD}").touch()
    (folder / f".write-test.tmp-{DEAD}").touch()
    (folder / "trained_rows" / f"klue_tc.npy.tmp-{DEAD}").touch()
    return tmp_path / "output"


def names_in(output):
    return sorted(
        str(path.relative_to(output))
        for path in output.rglob("*") if not path.name.startswith("events.out")
    )  # fmt: skip


def test_it_starts_again_in_its_place_and_leaves_nothing(killed, whole, cache_dir, capfd):
    train(*WORDS, "--resume", "auto", output=killed, cache=cache_dir)
    assert "has no checkpoint yet, the run starts again" in capfd.readouterr().err
    assert state_files(killed) == state_files(whole)
    (run_folder(killed) / "eval" / "test").rmdir()  # a test's, which stays
    assert names_in(killed) == names_in(whole)


def test_what_holds_a_checkpoint_is_not_removed(killed, cache_dir):
    """Such as one without its manifest."""
    folder = run_folder(killed)
    (folder / "weights" / "step-00000004").mkdir()
    train(*WORDS, "--resume", "auto", output=killed, cache=cache_dir)
    moved = folder.with_name("klue_tc.1")
    assert (moved / "weights" / "step-00000004").is_dir()


def test_a_kill_while_the_old_run_is_removed_does_no_harm(killed, whole, cache_dir, monkeypatch):
    real = shutil.rmtree

    def kill(path, *args, **kwargs):
        if os.path.basename(path).startswith("trained_rows"):
            raise KeyboardInterrupt
        real(path, *args, **kwargs)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(shutil, "rmtree", kill)
        train(*WORDS, "--resume", "auto", output=killed, cache=cache_dir)
    train(*WORDS, "--resume", "auto", output=killed, cache=cache_dir)
    assert state_files(killed) == state_files(whole)
    assert [path.name for path in killed.glob("*/*")] == ["klue_tc"]
