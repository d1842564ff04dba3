"""The output layer of T5: separate since v1.1, tied to the embedding before."""

from __future__ import annotations

import copy
import json

import pytest
import torch
from support.model_folders import T5_SIZES, build, edit_weights, make_tokenizer
from transformers import T5Config, T5ForConditionalGeneration

from ke_t5.errors import UserError
from ke_t5.models.build import quiet
from ke_t5.models.export import export
from ke_t5.seals import seal_folder

IDS = torch.tensor([[5, 6, 7, 1]])


def same_logits(one, other):
    return torch.equal(*(model(input_ids=IDS, labels=IDS).logits for model in (one, other)))


def test_t5_v11_has_a_head_of_its_own_wherever_it_goes(v11, tmp_path):
    model, _ = build(T5ForConditionalGeneration, v11, from_scratch=True, task_config={})
    assert model.lm_head.weight is not model.shared.weight
    assert 0.5 < model.lm_head.weight.std() * 16**0.5 < 1.5
    model.tie_weights()
    assert not torch.equal(model.lm_head.weight, model.shared.weight)

    export(model, make_tokenizer(), tmp_path / "out", card="")
    with quiet():
        plain = T5ForConditionalGeneration.from_pretrained(tmp_path / "out").eval()
    assert same_logits(model, plain)
    assert json.loads((tmp_path / "out/config.json").read_text())["tie_word_embeddings"] is False

    loaded, _ = build(T5ForConditionalGeneration, tmp_path / "out", task_config={})
    loaded.tie_weights()
    assert same_logits(model, loaded)
    with quiet():
        loaded.save_pretrained(tmp_path / "again")
        plain = T5ForConditionalGeneration.from_pretrained(tmp_path / "again").eval()
    assert same_logits(model, plain)


def test_t5_v11_survives_copies_of_its_state(v11):
    one, _ = build(T5ForConditionalGeneration, v11, from_scratch=True, task_config={})
    other, _ = build(T5ForConditionalGeneration, v11, from_scratch=True, task_config={}, seed=2)
    assert not same_logits(one, other)
    state = {f"module.{key}": value.clone() for key, value in one.state_dict().items()}
    other.load_state_dict({key.removeprefix("module."): value for key, value in state.items()})
    assert same_logits(one, other) and same_logits(one, copy.deepcopy(one))
    assert "lm_head.weight" in dict(one.named_parameters())


def test_t5_v11_without_its_head_is_refused(v11, tmp_path):
    model, _ = build(T5ForConditionalGeneration, v11, from_scratch=True, task_config={})
    export(model, make_tokenizer(), tmp_path / "out", card="")
    edit_weights(tmp_path / "out", lambda weights: weights.pop("lm_head.weight"))
    seal_folder(tmp_path / "out")
    with pytest.raises(UserError, match="lm_head.weight missing"):
        build(T5ForConditionalGeneration, tmp_path / "out", task_config={})


def test_the_first_t5_keeps_its_tied_and_scaled_head(tmp_path):
    with quiet():
        model = T5ForConditionalGeneration(T5Config(**T5_SIZES, decoder_start_token_id=0)).eval()
    export(model, make_tokenizer(), tmp_path / "out", card="")
    loaded, _ = build(T5ForConditionalGeneration, tmp_path / "out", task_config={})
    assert loaded.lm_head.weight is loaded.shared.weight
    assert same_logits(model, loaded)
