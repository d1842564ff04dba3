"""The names of the two programs, and the commands that start them again."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import pytest

from ke_t5 import programs
from ke_t5.config.flags import parse_test, parse_train
from ke_t5.errors import UserError
from ke_t5.launchers import adopt_launcher
from ke_t5.programs import TEST, TRAIN, command, program_name, shell_line

TORCHRUN = "torchrun --nproc_per_node=2"


@pytest.fixture
def entry_points(monkeypatch, tmp_path) -> Path:
    """A folder with both entry points; the first was started by its path."""
    for name in programs.ENTRY_POINTS.values():
        (tmp_path / name).touch(mode=0o755)
    monkeypatch.setattr(sys, "argv", [str(tmp_path / "ke-t5-train")])
    return tmp_path


@pytest.fixture
def one_command(monkeypatch, tmp_path) -> Path:
    """A folder with `ke-t5`, which was started by its path."""
    (tmp_path / "ke-t5").touch(mode=0o755)
    monkeypatch.setattr(sys, "argv", [str(tmp_path / "ke-t5"), "train"])
    return tmp_path


@pytest.mark.parametrize(
    ("started", "expected"),
    [("train_ddp.py", "test_ddp.py"), ("../code/train_ddp.py", "../code/test_ddp.py")],
)
def test_the_scripts_are_named_as_they_were_started(monkeypatch, started, expected):
    monkeypatch.setattr(sys, "argv", [started])
    assert command(TEST) == f"python {expected}"
    assert command(TEST, TORCHRUN) == f"{TORCHRUN} {expected}"
    assert program_name(TEST) == "test_ddp.py"


def test_the_scripts_are_found_from_any_folder(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["pytest"])
    python, script = command(TEST).split()
    assert python == "python" and Path(script).name == "test_ddp.py" and Path(script).exists()


def test_an_entry_point_on_the_path_is_named_without_its_folder(monkeypatch, entry_points):
    monkeypatch.setenv("PATH", str(entry_points))
    assert command(TEST) == "ke-t5-test"
    assert command(TRAIN, TORCHRUN) == f"{TORCHRUN} --no-python ke-t5-train"


def test_an_entry_point_that_the_shell_does_not_find_is_named_by_its_path(
    monkeypatch, entry_points
):
    monkeypatch.setenv("PATH", "")
    assert command(TEST) == str(entry_points / "ke-t5-test")


def test_without_a_clone_the_entry_points_are_named(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "argv", ["-c"])
    monkeypatch.setattr(programs, "CLONE", tmp_path)
    assert command(TRAIN) == "ke-t5-train"


def test_help_and_errors_name_the_entry_points(monkeypatch, entry_points, capsys):
    monkeypatch.setenv("PATH", str(entry_points))
    with pytest.raises(SystemExit):
        parse_train(["--help"])
    shown = capsys.readouterr().out
    assert "usage: [torchrun ... --no-python] ke-t5-train [flags]" in shown
    assert f"\n  {TORCHRUN} --no-python ke-t5-train --task klue_tc --sample\n" in shown
    assert "_ddp.py" not in shown
    with pytest.raises(UserError, match="a flag of ke-t5-train, not of ke-t5-test; drop it"):
        parse_test(["--epochs", "2"])
    line = "write it before ke-t5-train: torchrun --nnodes=... --no-python ke-t5-train ..."
    with pytest.raises(UserError, match=line):
        parse_train(["--nnodes", "2"])
    with pytest.raises(UserError, match="see ke-t5-train --help"):
        parse_train(["--zzzz"])


def test_the_torchrun_command_starts_the_entry_point(monkeypatch, entry_points):
    monkeypatch.setattr(sys, "argv", [*sys.argv, "--task", "klue_tc"])
    line = "torchrun --nproc_per_node=2 --no-python ke-t5-train --task klue_tc"
    with pytest.raises(UserError, match=line):
        adopt_launcher({"WORLD_SIZE": "2"})


def test_ke_t5_is_named_if_it_was_started(monkeypatch, one_command, capsys):
    monkeypatch.setenv("PATH", str(one_command))
    assert command(TEST) == "ke-t5 test"
    assert command(TRAIN, TORCHRUN) == "ke-t5 train --nproc 2"
    nodes = "torchrun --nnodes=2 --nproc_per_node=8 --rdzv_backend=c10d --rdzv_endpoint=n:1"
    assert command(TEST, nodes) == "ke-t5 test --nnodes 2 --nproc 8 --rdzv_endpoint n:1"
    with pytest.raises(SystemExit):
        parse_train(["--help"], launches=True)
    shown = capsys.readouterr().out
    assert "\n  ke-t5 train --nproc 2 --task klue_tc --sample\n" in shown
    assert "\nusage: ke-t5 train [flags]\n" in shown and "\nProcesses:\n  --nproc N|gpu  " in shown
    assert "_ddp.py" not in shown and "ke-t5-train" not in shown
    with pytest.raises(UserError, match="a flag of ke-t5 train, not of ke-t5 test; drop it"):
        parse_test(["--epochs", "2"])
    with pytest.raises(UserError, match="2 --no-python ke-t5 train$"):
        adopt_launcher({"WORLD_SIZE": "2"})
    monkeypatch.setenv("PATH", "")
    assert command(TEST) == f"{one_command / 'ke-t5'} test"


def test_a_clone_runs_the_package(monkeypatch):
    monkeypatch.setattr(sys, "argv", [str(programs.PACKAGE / "__main__.py"), "test"])
    assert command(TEST) == "python -m ke_t5 test"
    assert command(TRAIN, TORCHRUN) == "python -m ke_t5 train --nproc 2"
    assert program_name(TEST) == "ke-t5 test"
    with pytest.raises(UserError, match="2 -m ke_t5 test$"):
        adopt_launcher({"WORLD_SIZE": "2"})


@pytest.mark.parametrize(
    ("word", "shown"),
    [
        ("감정", "감정"),
        ("AdamW.lr=1e-4", "AdamW.lr=1e-4"),
        ("a b", "'a b'"),
        ("", "''"),
        ("f.x={'inputs': 256}", "\"f.x={'inputs': 256}\""),
        ("it's $HOME", """'it'"'"'s $HOME'"""),  # double quotes would expand the variable
    ],
)
def test_a_word_has_as_few_quotes_as_a_shell_allows(word, shown):
    assert shell_line(["--flag", word]) == f"--flag {shown}"
    assert shlex.split(shown) == [word]
