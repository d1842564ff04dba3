"""`fit.padding`: what a run chooses, logs and records, and that a resumed run keeps it."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from support.recipe_runs import SMALL, run_folder, state_files, train
from support.training import examples_in
from transformers import BertConfig, BertForSequenceClassification

from ke_t5.errors import UserError
from ke_t5.models.unpadding import Unpadding
from ke_t5.pipe.batches import BatchSettings
from ke_t5.recipes import resume_check
from ke_t5.recipes.padding import better_padded, find_unpadding
from ke_t5.recipes.resume_check import fixed_settings
from ke_t5.train.model_checks import computes_the_same

TC = ("--task", "klue_tc", *SMALL, "--epochs", 2)
CPU = torch.device("cpu")


def padded_as(padding):
    return ("--gin_param", f"fit.padding='{padding}'")


def test_a_run_without_padding_says_so_and_goes_on_as_it_began(tmp_path, cache_dir, capfd):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    train(*TC, output=whole, cache=cache_dir)
    assert "no padding in random order" in " ".join(capfd.readouterr().err.split())
    settings = (run_folder(whole) / "config.gin").read_text()
    assert "fit.padding = 'none'" in settings and "get_batches.window = 1\n" in settings
    train(*TC, *padded_as("none"), "--max_steps", 3, output=cut, cache=cache_dir)
    with pytest.raises(UserError, match="fit.padding was 'none' and is 'rows' now"):
        rows = (*padded_as("rows"), "--gin_param", "get_batches.window=1")
        train(*TC, *rows, "--resume", "true", output=cut, cache=cache_dir)
    train(*TC, *padded_as("auto"), "--resume", "true", output=cut, cache=cache_dir)
    assert state_files(cut) == state_files(whole)


def test_a_padded_run_stays_padded_when_it_is_resumed(tmp_path, cache_dir, capfd, monkeypatch):
    def without_padding(*arguments, **named):  # the settings as an older version recorded them
        found = fixed_settings(*arguments, **named)
        del found["fit.padding"]
        return found

    with monkeypatch.context() as patch:
        patch.setattr(resume_check, "fixed_settings", without_padding)
        train(*TC, *padded_as("rows"), "--max_steps", 1, output=tmp_path, cache=cache_dir)
    for num_steps in (2, 3):
        words = ("--resume", "true", "--max_steps", num_steps)
        train(*TC, *words, output=tmp_path, cache=cache_dir)
    said = " ".join(capfd.readouterr().err.split())
    assert said.count("padded rows in windows of 8 batches by length") == 3
    assert "no padding" not in said


def test_padding_that_cannot_be_left_out_is_an_error_if_asked_for(tmp_path, cache_dir, capfd):
    words = (*TC, "--gin_param", "model.config={'output_hidden_states': True}", "--max_steps", 1)
    reason = "T5EncoderForSequenceClassificationMean: it returns the states of its layers"
    fix = "drop it, or give --gin_param \"fit.padding='rows'\""
    with pytest.raises(UserError, match=f"fit.padding='none': {reason}; {fix}"):
        train(*words, *padded_as("none"), output=tmp_path, cache=cache_dir)
    train(*words, output=tmp_path, cache=cache_dir)
    said = " ".join(capfd.readouterr().err.split())
    assert f"fit.padding: rows are padded: {reason}" in said
    assert "padded rows in windows of 8 batches by length" in said


def test_a_model_that_is_compiled_is_padded():
    config = SimpleNamespace(fit=SimpleNamespace(compile=True))
    found = find_unpadding(config, torch.nn.Linear(1, 1), None, None)
    assert found == (None, "fit.compile needs padding")


@pytest.mark.parametrize(
    ("change", "device", "reason"),
    [
        ({}, "cpu", None),
        ({"form": "seq2seq"}, "cpu", None),
        ({"batch_tokens": 512}, "cpu", None),
        ({"is_sharded": True}, "cpu", "--parallel fsdp shards the weights"),
        ({}, "cuda", "kernel launches cost more than padding on a GPU"),
    ],
)
def test_rows_are_padded_without_a_word_of_the_users_if_that_is_better(change, device, reason):
    batches = SimpleNamespace(settings=BatchSettings(change.get("batch_tokens")))
    task = SimpleNamespace(form=change.get("form", "sequence_classification"))
    is_sharded = change.get("is_sharded", False)
    config = SimpleNamespace(task=task, batches=batches, is_sharded=is_sharded)
    assert better_padded(config, torch.device(device)) == reason


class ReadsPadding(BertForSequenceClassification):
    """A model whose logits depend on the ids of padding."""

    def forward(self, input_ids=None, attention_mask=None, labels=None):
        states = self.bert(input_ids, attention_mask=attention_mask).last_hidden_state
        logits = self.classifier(states.amax(dim=1))
        loss = torch.nn.functional.cross_entropy(logits, labels)
        return {"loss": loss, "logits": logits}


class ReadsTokens(BertForSequenceClassification):
    """A model whose logits depend on every token."""

    def forward(self, input_ids=None, attention_mask=None, labels=None):
        states = self.bert(input_ids, attention_mask=attention_mask).last_hidden_state
        states = states.masked_fill(attention_mask[..., None] == 0, -1e9).amax(dim=1)
        loss = torch.nn.functional.cross_entropy(self.classifier(states), labels)
        return {"loss": loss}


@pytest.mark.parametrize(
    ("model_class", "expected", "reads_first"),
    [
        (BertForSequenceClassification, True, True),
        (ReadsTokens, True, False),
        (ReadsPadding, False, False),
    ],
)
def test_a_few_rows_show_what_a_model_reads(tmp_path, model_class, expected, reads_first):
    torch.manual_seed(0)
    sizes = {"vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
             "intermediate_size": 16, "num_labels": 3}  # fmt: skip
    model = model_class(BertConfig(**sizes)).eval()
    before = [parameter.clone() for parameter in model.parameters()]
    unpadding = Unpadding(model)
    found = computes_the_same(unpadding, model, examples_in(tmp_path), CPU)
    assert (found, unpadding.only_first) == (expected, reads_first)
    assert all(map(torch.equal, before, model.parameters()))
    assert all(parameter.grad is None for parameter in model.parameters())
