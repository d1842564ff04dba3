"""Building models: loaded and initialized weights, and the line about them."""

from __future__ import annotations

import pytest
import torch
from support.model_folders import MEAN, NAMES, TASK, build, edit_config, make_tokenizer
from transformers import BertForMaskedLM
from transformers.utils import logging as transformers_logging

from ke_t5.errors import UserError
from ke_t5.lookup.settings import get_model_config
from ke_t5.models.build import quiet
from ke_t5.models.export import export


def test_the_note_names_the_new_head_and_what_was_left_out(bert, capfd):
    model, note = build("transformers:BertForSequenceClassification", bert)
    # This checkpoint has no pooler, like many Korean ones.
    assert note.startswith(
        f"{bert}: weights loaded, 0.0 M parameters; new head: bert.pooler, classifier; "
        "risk: bert.pooler is untrained and may learn nothing for hundreds of steps "
        "(EncoderForSequenceClassificationMean needs no pooler); "
    )
    assert note.endswith("left out: cls")
    assert model.config.id2label == TASK["id2label"] and not model.training
    assert capfd.readouterr() == ("", "")


def test_loaded_weights_begin_where_torch_would_allocate_them(bert):
    """Otherwise kernels sum them in another order than the weights of a checkpoint."""
    with quiet():
        mapped = BertForMaskedLM.from_pretrained(bert)
    assert any(weight.data_ptr() % 64 for weight in mapped.parameters())
    model, _ = build("transformers:BertForSequenceClassification", bert)
    assert not any(weight.data_ptr() % 64 for weight in model.parameters())
    same = model.bert.embeddings.word_embeddings.weight
    assert torch.equal(same, mapped.bert.embeddings.word_embeddings.weight)


def test_a_user_changes_the_configuration(v11):
    name, options = "T5EncoderForCharacterTagging", {"from_scratch": True}
    config = {"character_crf": False, "dropout_rate": 0}
    model, _ = build(name, v11, model_config=config, **options)
    assert model.crf is None and model.config.dropout_rate == 0
    assert build(name, v11, **options)[0].crf is not None
    for config, message in (
        ({"crf_iob": True}, "model.config: T5CharacterConfig has no 'crf_iob'; did you mean"),
        ({"crf_iob2": "yes"}, "model.config: 'crf_iob2' must be like True, not 'yes'"),
    ):
        with pytest.raises(UserError, match=message):
            build(name, v11, model_config=config, **options)
    with pytest.raises(UserError, match="model.config: 'id2label' is set by the task"):
        get_model_config({"dropout_rate": 0.2, "id2label": {}})


def test_a_user_changes_the_configuration_of_an_encoder_under_our_head(bert):
    name = "EncoderForSequenceClassificationMean"
    model, _ = build(name, bert, model_config={"hidden_dropout_prob": 0.3})
    assert model.config.backbone.hidden_dropout_prob == 0.3
    assert model.backbone.embeddings.dropout.p == 0.3
    for config, message in (
        ({"hidden_dropout_pro": 0.3}, "has no 'hidden_dropout_pro'; did you mean 'hidden_dropout"),
        ({"hidden_dropout_prob": 2}, "'hidden_dropout_prob' is 2; give a number from 0 to 1"),
        ({"pad_token_id": -5}, "'pad_token_id' is -5; give the id of a token"),
        ({"backbone": {}}, "AnyMeanSequenceConfig with BertConfig has no 'backbone'"),
    ):
        with pytest.raises(UserError, match=message):
            build(name, bert, model_config=config)


def test_nothing_is_said_of_a_decoder(v11, tmp_path, capfd):
    whole, _ = build("transformers:T5ForConditionalGeneration", v11, from_scratch=True)
    export(whole, make_tokenizer(), tmp_path / "whole", card="")
    _, note = build(MEAN, tmp_path / "whole")
    assert note.endswith("parameters; new head: classifier, pooler")
    assert capfd.readouterr() == ("", "")


def test_fresh_weights_depend_on_the_seed_alone(v11):
    torch.manual_seed(5)
    state = torch.get_rng_state()
    one, note = build(MEAN, v11, from_scratch=True, seed=3)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(6)
    same, _ = build(MEAN, v11, from_scratch=True, seed=3)
    other, _ = build(MEAN, v11, from_scratch=True, seed=4)
    assert all(map(torch.equal, one.state_dict().values(), same.state_dict().values()))
    assert not torch.equal(one.shared.weight, other.shared.weight)
    assert note.startswith(f"{v11}: fresh weights (seed 3), ")


def test_a_new_head_depends_on_the_seed_alone(bert):
    heads = [
        build("transformers:BertForSequenceClassification", bert, seed=seed)[0].classifier.weight
        for seed in (1, 1, 2)
    ]
    assert torch.equal(heads[0], heads[1]) and not torch.equal(heads[0], heads[2])


def test_a_fine_tuned_model_starts_another_task(bert, tmp_path):
    model, _ = build("transformers:BertForSequenceClassification", bert)
    export(model, make_tokenizer(), tmp_path / "tuned", card="")
    name = "transformers:BertForSequenceClassification"
    again, note = build(name, tmp_path / "tuned")
    assert torch.equal(again.classifier.weight, model.classifier.weight) and "new" not in note
    other, note = build(name, tmp_path / "tuned", task_config={"num_labels": 7})
    assert other.classifier.weight.shape == (7, 16) and note.endswith("; new head: classifier")
    message = "classifier.bias, classifier.weight .*another shape; choose .* that they belong to$"
    with pytest.raises(UserError, match=message):
        build(name, tmp_path / "tuned", task_config={"num_labels": 7}, new_head=False)


def of_somebody(folder):
    """An export as another program would write it: unsealed, and of a class that is not ours."""
    (folder / "MANIFEST.json").unlink()
    edit_config(folder, lambda config: config.update(architectures=["Some"]))
    return folder


def test_a_head_for_the_same_labels_in_another_order_is_not_tested(v11, tmp_path):
    """Its ids would be read as other labels: 84 % would look like 7 %."""
    model, _ = build(MEAN, v11, from_scratch=True)
    export(model, make_tokenizer(), tmp_path / "tuned", card="")
    labels = {"id2label": dict(enumerate(NAMES[::-1]))}
    told = "labels 정치, 경제, 사회, the task 사회, 경제, 정치"
    with pytest.raises(UserError, match=f"{told}: the same in another order"):
        build(MEAN, tmp_path / "tuned", task_config=labels, new_head=False)
    _, note = build(MEAN, tmp_path / "tuned", task_config=labels)
    assert note.endswith(told)
    other = {"id2label": {0: "가", 1: "나", 2: "다"}}
    told = "labels 정치, 경제, 사회, the task 가, 나, 다"
    with pytest.raises(UserError, match=f"{told}; test it on a task with its labels"):
        build(MEAN, tmp_path / "tuned", task_config=other, new_head=False)
    foreign = of_somebody(tmp_path / "tuned")
    _, note = build(MEAN, foreign, task_config=other, new_head=False)
    assert note.endswith(told)
    edit_config(foreign, lambda config: config["id2label"].pop("2"))
    with pytest.raises(
        UserError, match="labels 정치, 경제, the task 가, 나, 다; test it on a task"
    ):
        build(MEAN, foreign, task_config=other, new_head=False)
    edit_config(foreign, lambda config: config["id2label"].update({"2": "사회"}))
    _, note = build(MEAN, tmp_path / "tuned", new_head=False)
    assert "labels" not in note


def test_one_of_our_heads_can_follow_another(v11, tmp_path):
    model, _ = build(MEAN, v11, from_scratch=True)
    export(model, make_tokenizer(), tmp_path / "mean", card="")
    tagger, note = build("T5EncoderForTokenClassification", tmp_path / "mean")
    assert torch.equal(tagger.shared.weight, model.shared.weight)
    assert note.endswith("left out: pooler")
    assert tagger.config.model_type == "ke_t5_token"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_the_weights_have_the_type_asked_for(v11, tmp_path, dtype):
    model, _ = build(MEAN, v11, from_scratch=True, dtype=dtype)
    export(model, make_tokenizer(), tmp_path / "out", card="")
    again, _ = build(MEAN, tmp_path / "out", dtype=dtype)
    for one, other in zip(model.parameters(), again.parameters(), strict=True):
        assert one.dtype == other.dtype == dtype and torch.equal(one, other)


def test_quiet_gives_the_screen_back():
    before = transformers_logging.get_verbosity()
    with quiet():
        assert transformers_logging.get_verbosity() > before
    assert transformers_logging.get_verbosity() == before
    assert transformers_logging.is_progress_bar_enabled()


def test_the_class_without_a_pooler_is_one_for_the_form(bert):
    _, note = build("transformers:BertForMultipleChoice", bert)
    assert (
        "bert.pooler is untrained" in note and "(EncoderForMultipleChoice needs no pooler)" in note
    )
