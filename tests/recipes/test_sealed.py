"""The files of a run are used only if they are unchanged."""

from __future__ import annotations

import json

import pytest
from support.recipe_runs import SMALL, run_folder, test, train

from ke_t5.errors import UserError
from ke_t5.lookup.task_record import RECORD, read_record
from ke_t5.seals import MANIFEST, seal_folder

TC = ("--task", "klue_tc", *SMALL)
TEST = ("--task", "klue_tc", "--sample", "--batch_size", 16, "--test_split", "validation[:31]")


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("name", "words", "message"),
    [
        ("hf/model.safetensors", ("--hf_path", "default"), "hf: model.safetensors is damaged"),
        ("hf/config.json", ("--hf_path", "default"), "hf: config.json is damaged"),
        ("hf/ke_t5.json", ("--hf_path", "default"), "hf: ke_t5.json is damaged"),
        ("model/tokenizer.json", ("--resume", "best"), "model: tokenizer.json is damaged"),
        (f"model/{MANIFEST}", ("--resume", "best"), f"model: {MANIFEST} is damaged"),
    ],
)
def test_a_flipped_bit_is_found_by_a_test(run, cache_dir, name, words, message):
    flip(run_folder(run) / name)
    with pytest.raises(UserError, match=message):
        test(*TEST, *words, output=run, cache=cache_dir)


@pytest.mark.parametrize("name", ["hf", "model"])
def test_both_folders_say_what_the_model_is_for(finished_run, name):
    record = read_record(run_folder(finished_run) / name)
    assert (record.task, record.form) == ("klue_tc", "sequence_classification")
    assert record.model_class.endswith(":T5EncoderForSequenceClassificationMean")
    assert record.members["klue_tc"]["sequence_length"] == {"inputs": 512, "targets": 512}
    assert record.members["klue_tc"]["generation"]["model_fn"] == "forward"
    assert record.own_data is None


def test_a_flipped_bit_is_found_by_a_resumption(run, cache_dir):
    flip(run_folder(run) / "model/config.json")
    with pytest.raises(UserError, match="--resume auto: .*model: config.json is damaged"):
        train(*TC, "--epochs", 2, "--schedule", "--resume", "auto", output=run, cache=cache_dir)


def test_a_manifest_that_is_gone_is_missed(run, cache_dir):
    assert json.loads((run_folder(run) / "run.json").read_text())["sealed"] is True
    for name, words in (("model", ("--resume", "best")), ("hf", ("--hf_path", "default"))):
        (run_folder(run) / name / MANIFEST).unlink()
        with pytest.raises(UserError, match=f"{name}: {MANIFEST} is missing"):
            test(*TEST, *words, output=run, cache=cache_dir)


def test_folders_of_earlier_versions_are_used_as_before(run, cache_dir):
    folder = run_folder(run)
    content = json.loads((folder / "run.json").read_text())
    del content["sealed"]
    (folder / "run.json").write_text(json.dumps(content))
    (folder / "hf" / "README.md").unlink()
    for name, words in (("model", ("--resume", "best")), ("hf", ("--hf_path", "default"))):
        for file in (MANIFEST, RECORD):
            (folder / name / file).unlink()
        test(*TEST, *words, output=run, cache=cache_dir)


def test_a_deliberate_change_is_used_once_it_is_sealed(run, cache_dir):
    folder = run_folder(run) / "hf"
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "dropout_rate": 0.25}))
    seal_folder(folder)
    test(*TEST, "--hf_path", "default", output=run, cache=cache_dir)
