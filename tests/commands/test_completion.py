"""Shell completion, called as bash does, through the function that argcomplete registers."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys

import pytest
from support.processes import python_path

from ke_t5.commands import completion
from ke_t5.commands.completion import parser_for, tasks
from ke_t5.commands.table import COMMANDS
from ke_t5.pipe import MixtureRegistry, TaskRegistry

# Typed line -> the completions that the Tab key offers.
LINES = {
    "ke-t5 ": {command.name for command in COMMANDS},
    "ke-t5 train --ta": {"--task"},
    "ke-t5 train --sample --task klue_t": {"klue_tc", "klue_tc_gen"},
    "ke-t5 train --task=klue_st": {"klue_sts", "klue_sts_binary", "klue_sts_gen"},
    "ke-t5 test --gin_file klue_roberta_l": {"klue_roberta_large.gin"},
    "ke-t5 train --model_name EncoderForQ": {"EncoderForQuestionAnswering"},
    "ke-t5 train --pre_trained_model klue/": {"klue/roberta-base"},
    "ke-t5 tasks --form dep": {"dependency_parsing"},
    "ke-t5 test --resume b": {"best"},
}
BASH = """
eval "$(python -m argcomplete.scripts.register_python_argcomplete ke-t5)" || exit 1
for line in %s; do
    COMP_LINE=$line COMP_POINT=${#line} COMP_TYPE=9 COMP_KEY=9 COMPREPLY=()
    COMP_WORDS=($line) COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
    _python_argcomplete ke-t5 2> errors
    (IFS=$'\\t'; echo "${COMPREPLY[*]}")
done
cat errors >&2
"""


@pytest.fixture(scope="module")
def completed(tmp_path_factory) -> dict[str, set[str]]:
    """The completions that bash offers for each of the lines."""
    home = tmp_path_factory.mktemp("home")
    (home / "ke-t5").write_text(
        f"#!{sys.executable}\n# PYTHON_ARGCOMPLETE_OK\nfrom ke_t5.cli import main\nmain()\n"
    )
    (home / "ke-t5").chmod(0o755)
    (home / ".cache/huggingface/hub/models--klue--roberta-base").mkdir(parents=True)
    environment = {
        **os.environ, "HOME": str(home), "PYTHONPATH": python_path(),
        "PATH": os.pathsep.join([str(home), os.path.dirname(sys.executable), os.environ["PATH"]]),
    }  # fmt: skip
    for name in ("HF_HOME", "HF_HUB_CACHE"):
        environment.pop(name, None)
    program = BASH % shlex.join(LINES)
    done = subprocess.run(
        ["bash", "-c", program], capture_output=True, text=True, cwd=home, env=environment,
        timeout=120,
    )  # fmt: skip
    assert done.returncode == 0 and not done.stderr, done.stderr
    assert (home / ".cache/ke_t5/task_names.json").is_file()
    answers = [set(map(str.strip, line.split("\t"))) for line in done.stdout.splitlines()]
    return dict(zip(LINES, answers, strict=True))


@pytest.mark.parametrize("line", LINES)
def test_bash_completes(line, completed):
    if line == "ke-t5 ":
        assert completed[line] >= LINES[line]
    else:
        assert completed[line] == LINES[line]


def test_task_names_are_cached_until_a_task_changes(monkeypatch, tmp_path):
    monkeypatch.setattr(completion, "CACHE", tmp_path / "new" / "names.json")
    names = tasks()
    assert names == [*TaskRegistry.names(), *MixtureRegistry.names()] and "klue_tc" in names
    kept = json.loads(completion.CACHE.read_text())
    completion.CACHE.write_text(json.dumps({**kept, "names": ["kept"]}))
    assert tasks() == ["kept"]
    completion.CACHE.write_text(json.dumps({"state": [], "names": ["kept"]}))
    assert tasks() == names
    completion.CACHE.write_text("damaged")
    assert tasks() == names


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_every_command_can_be_completed(command):
    parser = parser_for(["ke-t5", command.name])
    (commands,) = [action for action in parser._actions if action.choices]
    assert "--debug" in commands.choices[command.name]._option_string_actions or (
        command.name in ("train", "test")
    )


def test_nothing_heavy_is_imported_for_a_completion(tmp_path):
    program = (
        "import sys, ke_t5.cli; from ke_t5.commands.completion import parser_for;"
        "parser_for(['ke-t5', 'train']); print({'torch', 'numpy', 'gin'} & sys.modules.keys())"
    )
    environment = {**os.environ, "PYTHONPATH": python_path()}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=environment,
        cwd=tmp_path,
    )  # fmt: skip
    assert done.stdout == "set()\n", done.stderr
