"""The settings that ship: each binds what exists, and opens with a command that works."""

from __future__ import annotations

from pathlib import Path

import pytest
from commands import Command, check_names, commands_in

import ke_t5.recipes.job  # noqa: F401 - registers everything that gin may bind
from ke_t5.config import Configuration, configure

FOLDER = Path(__file__).resolve().parents[1] / "gin"
FILES = sorted(path.name for path in FOLDER.glob("*.gin"))

ADAMW = {"AdamW.betas": "(0.9, 0.999)", "AdamW.eps": "1e-06", "AdamW.weight_decay": "0.01"}
VOCABULARY = "ke_t5.task.utils.get_vocabulary.vocab_name"
PROMISED = {
    "train_default.gin": {
        "get_dataset.sequence_length": "{'inputs': 512, 'targets': 512}",
        VOCABULARY: "'KETI-AIR/ke-t5-base'",
        "get_optimizer.optimizer_cls": "@AdamW",
        "AdamW.lr": "0.001",
        **ADAMW,
    },
    "klue_roberta_tc.gin": {
        "get_dataset.sequence_length": "{'inputs': 512, 'targets': 8}",
        VOCABULARY: "'klue/roberta-small'",
        "get_optimizer.optimizer_cls": "@AdamW",
        "AdamW.lr": "5e-05",
        **ADAMW,
    },
    "test_default_gen.gin": {
        "get_dataset.sequence_length": "{'inputs': 512, 'targets': 512}",
        VOCABULARY: "'KETI-AIR/ke-t5-base'",
        "EvaluationHelper.model_fn": "'generate'",
        "EvaluationHelper.model_kwargs": "{'early_stopping': True, 'length_penalty': 2.0, "
        "'max_length': 200, 'min_length': 30, 'no_repeat_ngram_size': 3, 'num_beams': 4}",
    },
}


def header_commands(name: str) -> list[Command]:
    """The commands in the first paragraph of a file, which is a comment."""
    text = (FOLDER / name).read_text(encoding="utf-8")
    lines = []
    for line in text.splitlines():
        if not line.startswith("#") or line == "#":
            break
        lines.append(line.removeprefix("#").removeprefix(" "))
    return commands_in("\n".join(lines))


def bound(configuration: Configuration) -> dict[str, str]:
    """name as written -> value, of everything that is bound."""
    return {b.name: repr(b.value) for b in configuration.bindings.values()}


@pytest.mark.parametrize("name", FILES)
def test_it_binds_only_what_exists_and_nothing_twice(name):
    assert configure([name]).notes == []


@pytest.mark.parametrize("name", FILES)
def test_it_opens_with_the_command_that_uses_it(name):
    (command,) = header_commands(name)
    assert command.is_ours
    flags = command.parse()
    assert flags.gin_file == [name] and not flags.notes
    check_names(flags)


@pytest.mark.parametrize("name", PROMISED)
def test_it_binds_exactly_what_was_promised(name):
    assert bound(configure([name])) == PROMISED[name]
