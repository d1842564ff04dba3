"""`fit.embedding_rows`: what a run chooses, logs and records, and that a resumed run keeps it."""

from __future__ import annotations

import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from support.helpers import toy_tokenizer
from support.processes import run_script_on_ranks
from support.recipe_runs import SMALL, run_folder, scores, state_files, test, train
from support.training import examples_in, one_rank
from transformers import RobertaConfig, RobertaForSequenceClassification

from ke_t5.errors import UserError
from ke_t5.models.ngrams import HashedNgramConfig, HashedNgramForSequenceClassification
from ke_t5.models.used_rows import UsedRows, find_used_rows
from ke_t5.recipes import embedding_rows, modelling, resume_check
from ke_t5.recipes.embedding_rows import choose_embedding_rows, used_tokens, why_all
from ke_t5.recipes.resume_check import fixed_settings
from ke_t5.train.model_checks import has_unused_parameters, used_rows_suffice
from ke_t5.train.settings import get_fit_settings

TC = ("--task", "klue_tc", *SMALL, "--epochs", 2)
ROBERTA = ("--model_name", "transformers:RobertaForSequenceClassification")
CPU = torch.device("cpu")


def with_rows(rows):
    return ("--gin_param", f"fit.embedding_rows='{rows}'")


def weights(output):
    return {name: content for name, content in state_files(output).items() if "safetensors" in name}


@pytest.mark.parametrize("model", [(), ROBERTA])
def test_the_weights_and_scores_are_those_of_a_training_of_all_rows(
    model, tmp_path, cache_dir, capfd
):
    outputs = {}
    for rows in ("all", "used"):
        outputs[rows] = tmp_path / rows
        # Without clipping, so that the gradient's norm cannot change the last bit.
        words = (
            *with_rows(rows),
            "--gin_param",
            "fit.clip_norm=None",
            "--hf_path",
            outputs[rows] / "best",
        )
        train(*TC, *model, *words, output=outputs[rows], cache=cache_dir)
        assert (
            f"fit.embedding_rows = '{rows}'"
            in (run_folder(outputs[rows]) / "config.gin").read_text()
        )
    assert weights(outputs["used"]) == weights(outputs["all"])
    exported = [one / "best" / "model.safetensors" for one in outputs.values()]
    assert exported[0].read_bytes() == exported[1].read_bytes()
    facts = [json.loads((run_folder(one) / "run.json").read_text()) for one in outputs.values()]
    assert facts[0]["parameters"] == facts[1]["parameters"] == facts[0]["trainable_parameters"]
    assert facts[1]["trainable_parameters"] < facts[1]["parameters"]
    said = " ".join(capfd.readouterr().err.split())
    assert said.count("rows, whose tokens are in the training data") == 1
    words = ("--task", "klue_tc", *model, "--resume", "best", "--sample")
    test(*words, output=outputs["used"], cache=cache_dir)
    assert scores(outputs["used"], "validation")


def test_a_resumed_run_goes_on_as_it_began(tmp_path, cache_dir, monkeypatch, capfd):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    train(*TC, *with_rows("used"), output=whole, cache=cache_dir)
    train(*TC, *with_rows("used"), "--max_steps", 3, output=cut, cache=cache_dir)
    monkeypatch.setattr(embedding_rows, "LARGE", 1 << 40)  # a new run would train all rows
    train(*TC, "--resume", "true", output=cut, cache=cache_dir)
    assert state_files(cut) == state_files(whole)
    assert " ".join(capfd.readouterr().err.split()).count("whose tokens are in") == 3


def test_a_run_of_an_older_version_trains_all_rows(tmp_path, cache_dir, monkeypatch, capfd):
    def without_rows(*arguments, **named):
        found = fixed_settings(*arguments, **named)
        del found["fit.embedding_rows"]
        return found

    with monkeypatch.context() as patch:
        patch.setattr(resume_check, "fixed_settings", without_rows)
        train(*TC, "--max_steps", 1, output=tmp_path, cache=cache_dir)
    monkeypatch.setattr(embedding_rows, "LARGE", 0)
    train(*TC, "--resume", "true", output=tmp_path, cache=cache_dir)
    assert "whose tokens are in" not in " ".join(capfd.readouterr().err.split())


def test_a_change_on_a_resume_is_reported(tmp_path, cache_dir, capfd):
    train(*TC, *with_rows("used"), "--max_steps", 3, output=tmp_path, cache=cache_dir)
    train(*TC, *with_rows("all"), "--resume", "true", output=tmp_path, cache=cache_dir)
    said = " ".join(capfd.readouterr().err.split())
    assert "fit.embedding_rows was 'used' and is 'all' now" in said


def test_two_processes_train_the_same_rows(tmp_path, cache_dir):
    for rows in ("all", "used"):
        words = (*TC, *ROBERTA, *with_rows(rows), "--gin_param", "fit.clip_norm=None")
        places = ("--output_dir", tmp_path / rows, "--hf_cache_dir", cache_dir)
        for done in run_script_on_ranks(2, "train_ddp.py", *words, *places):
            assert done.returncode == 0, done.stderr
    assert weights(tmp_path / "used") == weights(tmp_path / "all")


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("--gin_param", "get_optimizer.optimizer_cls=@Adafactor"), "Adafactor may change rows"),
        (
            (
                "--gin_param", "get_optimizer.optimizer_cls=@SGD",
                "--gin_param", "SGD.weight_decay=0.1",
            ),
            "SGD.weight_decay is a gradient of every row",
        ),
    ],
)  # fmt: skip
def test_rows_that_cannot_be_trained_apart_are_an_error_if_requested(
    words, reason, tmp_path, cache_dir
):
    fix = "drop it, or give --gin_param \"fit.embedding_rows='all'\""
    with pytest.raises(UserError, match=f"fit.embedding_rows='used': .*{reason}.*; {fix}"):
        train(*TC, *words, *with_rows("used"), output=tmp_path, cache=cache_dir)


def settings_of(name, *, is_own=True, is_sharded=False, **settings):
    optimizer = SimpleNamespace(name=name, is_own=is_own, settings=settings)
    return SimpleNamespace(is_sharded=is_sharded, optimizer=optimizer)


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (settings_of("AdamW", weight_decay=0.1), None),
        (settings_of("Adam", weight_decay=0), None),
        (settings_of("Adam", weight_decay=0.1, decoupled_weight_decay=True), None),
        (settings_of("Adam", weight_decay=0.1, decoupled_weight_decay=False), "is a gradient of"),
        (settings_of("Mine", is_own=False), "Mine may change rows without a gradient"),
        (settings_of("AdamW", is_sharded=True, weight_decay=0), "--parallel fsdp shards"),
    ],
)
def test_only_some_optimizers_leave_rows_without_a_gradient_alone(config, reason):
    found = why_all(config)
    assert found is None if reason is None else reason in found


def small_roberta(kind=RobertaForSequenceClassification):
    torch.manual_seed(0)
    return kind(RobertaConfig(
        vocab_size=60, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=16, num_labels=3, pad_token_id=1, bos_token_id=50, eos_token_id=[51, 52],
    ))  # fmt: skip


def test_the_used_tokens_are_those_of_the_data_and_all_special_ones(tmp_path, monkeypatch):
    vocabulary = SimpleNamespace(all_special_ids=[57, 70])
    monkeypatch.setattr(embedding_rows, "get_vocabulary", lambda: vocabulary)
    examples = examples_in(tmp_path)
    ids = np.unique(np.concatenate([examples.example(i)["input_ids"] for i in range(23)]))
    found = used_tokens(small_roberta(), examples, 60)
    assert set(ids) < set(found) and set(found) == {*ids, 0, 1, 50, 51, 52, 57}
    assert used_tokens(small_roberta(), examples, 2).tolist() == [0, 1]


class ReadsTheTable(RobertaForSequenceClassification):
    """A model whose loss depends on every row."""

    def forward(self, **inputs):
        output = super().forward(**inputs)
        table = self.roberta.embeddings.word_embeddings.weight
        output["loss"] = output.loss + table.square().mean()
        return output


class Renamed(RobertaForSequenceClassification):
    """A user's own class."""


class ShiftsTokens(RobertaForSequenceClassification):
    """A model that looks up other tokens than those of the data."""

    def forward(self, input_ids, **inputs):
        return super().forward(input_ids=(input_ids + 20) % 50, **inputs)


def test_a_few_rows_show_whether_other_rows_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr(embedding_rows, "get_vocabulary", toy_tokenizer)
    examples = examples_in(tmp_path)
    rows = used_tokens(small_roberta(), examples, 60)
    kinds = {RobertaForSequenceClassification: True, ReadsTheTable: False, ShiftsTokens: False}
    for kind, expected in kinds.items():
        model = kind(small_roberta().config)
        before = {name: one.clone() for name, one in model.named_parameters()}
        assert used_rows_suffice(UsedRows(model, rows), model, examples, CPU) is expected
        after = dict(model.named_parameters())
        assert list(after) == list(before)
        assert all(torch.equal(after[name], before[name]) for name in before)
        assert all(one.grad is None for one in after.values())
        assert type(model.get_input_embeddings()) is torch.nn.Embedding


def test_hashed_ngrams_train_all_rows(tmp_path, monkeypatch):
    monkeypatch.setattr(embedding_rows, "get_vocabulary", toy_tokenizer)
    monkeypatch.setattr(embedding_rows, "LARGE", 1)
    torch.manual_seed(0)
    config = HashedNgramConfig(num_buckets=1024, hidden_size=8, num_heads=2, num_labels=3)
    model = HashedNgramForSequenceClassification(config)
    found = choose_embedding_rows(config_with("auto"), model, examples_in(tmp_path), one_rank())
    assert found.fit.embedding_rows == "all" and find_used_rows(model) is None


def config_with(rows):
    config = settings_of("AdamW", weight_decay=0.1)
    config.origin = SimpleNamespace(is_resumed=False)
    config.fit = get_fit_settings(embedding_rows=rows)
    return dataclasses.make_dataclass("Config", vars(config))(**vars(config))


@pytest.mark.parametrize(
    ("kind", "setting", "large", "chosen"),
    [
        (RobertaForSequenceClassification, "auto", 1, "used"),
        (RobertaForSequenceClassification, "auto", 1 << 20, "all"),  # too little is saved
        (RobertaForSequenceClassification, "used", 1 << 20, "used"),
        (RobertaForSequenceClassification, "all", 1, "all"),
        (Renamed, "auto", 1, "all"),  # the user's own code may draw tokens
        (Renamed, "used", 1, "used"),
        (ReadsTheTable, "auto", 1, "all"),
    ],
)
def test_the_choice(kind, setting, large, chosen, tmp_path, monkeypatch):
    monkeypatch.setattr(embedding_rows, "get_vocabulary", toy_tokenizer)
    monkeypatch.setattr(embedding_rows, "LARGE", large)
    model, examples = small_roberta(kind), examples_in(tmp_path)
    config = choose_embedding_rows(config_with(setting), model, examples, one_rank())
    assert config.fit.embedding_rows == chosen
    assert (find_used_rows(model) is not None) is (chosen == "used")
    assert not has_unused_parameters(model, examples, CPU)


@pytest.mark.parametrize(("is_sharded", "chosen"), [(False, "used"), (True, "all")])
def test_a_run_of_used_rows_may_be_resumed_with_sharded_weights(
    is_sharded, chosen, tmp_path, monkeypatch
):
    monkeypatch.setattr(embedding_rows, "get_vocabulary", toy_tokenizer)
    progress = {"fixed": {"fit.embedding_rows": "used"}}
    monkeypatch.setattr(embedding_rows, "progress_of_run", lambda *_: progress)
    config = config_with("auto")
    config.origin.is_resumed, config.is_sharded = True, is_sharded
    found = choose_embedding_rows(config, small_roberta(), examples_in(tmp_path), one_rank())
    assert found.fit.embedding_rows == chosen


def test_a_different_loss_is_an_error_if_requested(tmp_path, monkeypatch):
    monkeypatch.setattr(embedding_rows, "get_vocabulary", toy_tokenizer)
    words = (config_with("used"), small_roberta(ReadsTheTable), examples_in(tmp_path), one_rank())
    with pytest.raises(UserError, match="ReadsTheTable computes a different loss with these"):
        choose_embedding_rows(*words)


def test_the_model_is_whole_again_before_its_export(tmp_path, cache_dir, monkeypatch):
    exported = []
    monkeypatch.setattr(
        modelling, "export_best", lambda _, module, *__, **___: exported.append(module)
    )
    words = ("--max_steps", 1, "--hf_path", tmp_path / "best")
    train(*TC, *with_rows("used"), *words, output=tmp_path, cache=cache_dir)
    (model,) = exported
    assert find_used_rows(model) is None
    assert type(model.get_input_embeddings()) is torch.nn.Embedding
