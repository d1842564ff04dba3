"""The gin files of the package: each binds what exists and starts with a command that works."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.commands import Command, check_names, commands_in

import ke_t5.recipes.prepare  # noqa: F401 - registers everything that gin may bind
from ke_t5.config.gin_config import Configuration, configure

FOLDER = Path(__file__).resolve().parents[2] / "gin"
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
    """Name as written -> value, for all bindings."""
    return {b.name: repr(b.value) for b in configuration.bindings.values()}


@pytest.mark.parametrize("name", FILES)
def test_it_binds_only_what_exists_and_nothing_twice(name):
    assert configure([name]).notes == ()


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


# file -> rate, length, warm-up and rows per update, as KLUE published them for its baselines, and
# KoELECTRA's author for that.
PUBLISHED = {
    "klue_roberta_small.gin": (5e-5, 128, 0.1, 32),
    "klue_roberta_base.gin": (5e-5, 128, 0.1, 32),
    "klue_roberta_large.gin": (5e-5, 128, 0.2, 32),
    "klue_roberta_ner.gin": (5e-5, 510, 0.0, 32),
    "klue_roberta_mrc.gin": (3e-5, 510, 0.0, 16),
    "klue_roberta_dp.gin": (5e-5, 256, 0.1, 32),
    "koelectra.gin": (5e-5, 128, 0.0, 32),
    "koelectra_korquad.gin": (5e-5, 512, 0.0, 8),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_settings_called_published_are_the_published_ones(name):
    rate, length, warmup, rows = PUBLISHED[name]
    settings = configure([name])
    assert settings.value("AdamW.lr") == rate
    assert settings.value("AdamW.weight_decay") == 0
    assert settings.value("AdamW.eps") == 1e-8
    assert settings.value("fit.clip_norm") == 1
    assert settings.value("get_dataset.sequence_length") == {"inputs": length}
    assert settings.value("get_scheduler.warmup_ratio") == warmup
    (command,) = header_commands(name)
    assert "--nproc_per_node=2" in command.launcher and command.parse().schedule == "linear"
    assert 2 * command.parse().batch_size * settings.value("fit.accumulate", 1) == rows
    text = " ".join((FOLDER / name).read_text(encoding="utf-8").split())
    sources = {"klue": "KLUE-baseline's run_all.sh", "koelectra": "KoELECTRA's finetune/config"}
    source = next(source for start, source in sources.items() if name.startswith(start))
    assert "published settings" in text and f"Source: {source}" in text


def test_only_files_with_published_settings_call_them_so():
    calling = {
        name
        for name in FILES
        if "published settings" in (FOLDER / name).read_text(encoding="utf-8").replace("\n# ", " ")
    }
    assert calling - {"klue_roberta_tc.gin"} == set(PUBLISHED)  # that one names the other
