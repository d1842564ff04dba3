"""Folders that are rejected, and the reasons."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from support.model_folders import MEAN, build, edit_weights, make_tokenizer
from transformers import BertForSequenceClassification, PegasusConfig, PreTrainedModel

from ke_t5.errors import Exit, UserError
from ke_t5.lookup.hub import find_pretrained


def test_a_folder_without_weights_says_from_scratch(v11):
    message = "contains no weights .*; add --from_scratch true"
    with pytest.raises(UserError, match=message) as caught:
        build(MEAN, v11)
    assert caught.value.exit_code == Exit.CHECKPOINT


def test_a_missing_key_outside_the_head_is_named(bert):
    key = "bert.encoder.layer.1.attention.self.query.weight"
    edit_weights(bert, lambda weights: weights.pop(key))
    with pytest.raises(UserError, match=f"do not fit BertForSequenceC.*: {key} missing") as caught:
        build("transformers:BertForSequenceClassification", bert)
    assert caught.value.exit_code == Exit.CHECKPOINT


def test_another_shape_outside_the_head_is_named(bert):
    key = "bert.embeddings.word_embeddings.weight"
    edit_weights(bert, lambda weights: weights.update({key: torch.zeros(7, 16)}))
    message = r"word_embeddings.weight \(file \[7, 16\], model \[40, 16\]\) have another shape"
    with pytest.raises(UserError, match=message):
        build("transformers:BertForSequenceClassification", bert)


@pytest.mark.parametrize("name", ["transformers:RobertaForSequenceClassification", MEAN])
def test_a_model_of_another_type_is_refused(bert, name):
    with pytest.raises(UserError, match="checkpoint is 'bert', but .* expects '(roberta|t5)'"):
        build(name, bert)


def test_a_decoder_that_its_encoder_cannot_do_without_is_refused(tmp_path):
    PegasusConfig(vocab_size=40, d_model=16).save_pretrained(tmp_path)
    message = "checkpoint is 'pegasus', but .*WithCRF expects a stand-alone encoder of transformers"
    with pytest.raises(UserError, match=message):
        build("EncoderForEntityRecognitionWithCRF", tmp_path, from_scratch=True)


def test_a_class_without_a_configuration_class_is_one_line(bert):
    class Bare(PreTrainedModel):
        """A user's class without `config_class`."""

    with pytest.raises(UserError, match="Bare has no config_class; set it to"):
        build(Bare, bert)


def test_an_error_of_the_class_is_not_laid_on_the_weights(bert):
    class Broken(BertForSequenceClassification):
        """A user's class with a bug."""

        def __init__(self, config):
            super().__init__(config)
            raise ValueError("three is not a number of heads")

    with pytest.raises(ValueError, match="three is not a number of heads"):
        build(Broken, bert)


def test_a_tokenizer_with_too_many_ids_names_both(bert):
    tokenizer = make_tokenizer(41)
    tokenizer.name_or_path = "some/vocabulary"
    message = f"'some/vocabulary' has 41 ids, but the embedding of '{bert}' has 40 rows"
    for name in (BertForSequenceClassification, "EncoderForCharacterTagging"):
        with pytest.raises(UserError, match=message):
            build(name, bert, tokenizer=tokenizer)
        build(name, bert, tokenizer=make_tokenizer(40))


def test_a_truncated_file_is_one_line(bert):
    path = bert / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UserError, match="its weights cannot be read") as caught:
        build("transformers:BertForSequenceClassification", bert)
    assert caught.value.exit_code == Exit.CHECKPOINT


def test_pickled_weights_load_and_run_no_code(bert, tmp_path):
    from safetensors.torch import load_file

    weights = load_file(bert / "model.safetensors")
    (bert / "model.safetensors").unlink()
    torch.save(weights, bert / "pytorch_model.bin")
    model, _ = build("transformers:BertForSequenceClassification", bert)
    key = "bert.embeddings.word_embeddings.weight"
    assert torch.equal(model.state_dict()[key], weights[key])

    canary = tmp_path / "canary"
    torch.save({"x": Canary(canary)}, bert / "pytorch_model.bin")
    with pytest.raises(UserError, match="its weights cannot be read"):
        build("transformers:BertForSequenceClassification", bert)
    assert not canary.exists()


class Canary:
    """Touches a file when it is unpickled without restrictions."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON"),
        ("{}", "names no model_type"),
        (None, "there is no config.json in it"),
    ],
)
def test_a_folder_that_is_no_model(tmp_path, text, message):
    if text is not None:
        (tmp_path / "config.json").write_text(text)
    with pytest.raises(UserError, match=message):
        build(MEAN, tmp_path)


def test_a_folder_that_does_not_exist_names_its_neighbour(v11):
    with pytest.raises(UserError, match="no such folder; did you mean '.*t5-v11'"):
        build(MEAN, v11.with_name("t5-v1"))


def test_a_hub_name_without_network_is_one_line():
    with pytest.raises(UserError, match="HF_HUB_OFFLINE is set; .*hf download KETI-AIR/no-such"):
        find_pretrained("KETI-AIR/no-such")
