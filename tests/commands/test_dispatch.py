"""`ke-t5`: help, version, the choice of the command, and its arguments."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest
from support.processes import ROOT

from ke_t5 import __version__, cli
from ke_t5.commands.arguments import Parser, typed
from ke_t5.commands.table import COMMANDS
from ke_t5.config.flags import parse_train, whole
from ke_t5.errors import Exit, UserError


@pytest.fixture
def parser() -> Parser:
    """The parser of a command."""
    made = Parser("count", "Counts rows.")
    made.add_argument("--task", required=True)
    made.add_argument("--hf_data_dir")
    made.add_argument("--rows", type=typed(whole(1)))
    return made


def run(*words: str) -> subprocess.CompletedProcess[str]:
    """The result of `python -m ke_t5 words`."""
    return subprocess.run(
        [sys.executable, "-m", "ke_t5", *words],
        capture_output=True, text=True, cwd=ROOT, timeout=60,
    )  # fmt: skip


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"], ["help"]])
def test_the_help_lists_every_command(words, capsys):
    assert cli.command_of(words) is None
    shown = capsys.readouterr().out.splitlines()
    for command in COMMANDS:
        assert [line for line in shown if line.split()[:1] == [command.name]]
        assert any(line.endswith(command.summary) for line in shown)


def test_the_program_prints_its_version():
    done = run("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"ke-t5 {__version__}\n", "")


def test_an_unknown_command_is_an_error_with_a_suggestion():
    done = run("trian")
    assert (done.returncode, done.stdout) == (Exit.FLAGS, "")
    assert done.stderr == "error: 'trian': no such command; did you mean 'train'?\n"


def test_a_flag_before_the_command_is_an_error():
    with pytest.raises(UserError, match="error: --task: a flag before the command; begin with a"):
        cli.command_of(["--task", "klue_tc"])


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_every_command_has_a_parser_and_a_main(command, capsys):
    module = importlib.import_module(command.module)
    assert callable(module.main)
    with pytest.raises(SystemExit) as caught:
        module.parser().parse_args(["--help"])
    assert not caught.value.code
    assert f"ke-t5 {command.name}" in capsys.readouterr().out or command.name in cli.LAUNCHED


def test_train_takes_the_flags_of_its_script(monkeypatch):
    given = []
    monkeypatch.setattr("ke_t5.recipes.train.main", given.append)
    words = ["--task", "klue_ner", "--batch=4", "--lr", "1e-3"]
    cli._main(["train", *words])
    assert given == [parse_train(words)]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (
            ["--tesk", "x", "--task", "y"],
            "error: --tesk: unknown flag of ke-t5 count; did you",
        ),
        (["--hf-data-dir", "x", "--task", "y"], "--hf-data-dir: .*; did you mean --hf_data_dir"),
        (["--task", "x", "more"], "error: 'more': unexpected argument; see ke-t5 count --help"),
        (["--task", "x", "--rows", "0"], "error: --rows: '0' is too small; give 1 or more"),
        (["--task", "x", "--rows"], "error: --rows: expected one argument; see ke-t5 count --help"),
        ([], "error: ke-t5 count: the following arguments are required: --task; see ke-t5 count -"),
    ],
)
def test_a_wrong_argument_is_a_one_line_error_with_a_fix(words, line, parser):
    with pytest.raises(UserError, match=line) as caught:
        parser.parse_args(words)
    assert caught.value.exit_code == Exit.FLAGS
