"""Loaded weights equal the file's weights."""

from __future__ import annotations

import json

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertModel,
    BertPreTrainedModel,
    T5Config,
    T5ForConditionalGeneration,
    T5Gemma2Config,
    T5Gemma2ForConditionalGeneration,
)

from ke_t5.errors import Exit, UserError
from ke_t5.lookup.hub import find_pretrained
from ke_t5.lookup.loader import load_model
from ke_t5.models.build import build_model, quiet
from ke_t5.models.fidelity import compare_with_files

T5_SIZES = dict(vocab_size=40, d_model=16, d_kv=4, d_ff=24, num_layers=1, num_heads=4,
                feed_forward_proj="gated-gelu", decoder_start_token_id=0)  # fmt: skip
BERT_SIZES = dict(vocab_size=40, hidden_size=16, num_hidden_layers=1, num_attention_heads=4,
                  intermediate_size=24, max_position_embeddings=40)  # fmt: skip
SEQ2SEQ = "transformers:T5ForConditionalGeneration"
T5_MEAN = "T5EncoderForSequenceClassificationMean"
MEAN = "EncoderForSequenceClassificationMean"
SHARED, ENCODER, HEAD = "shared.weight", "encoder.embed_tokens.weight", "lm_head.weight"


def table(name):
    torch.manual_seed(len(name))
    return torch.randn(40, 16)


def t5_folder(folder, names, *, tied=False):
    """A T5 folder with only these tables: `table(name)`, but the same one for both embeddings."""
    folder.mkdir()
    with quiet():
        weights = T5ForConditionalGeneration(T5Config(**T5_SIZES)).state_dict()
    weights = {k: v.clone() for k, v in weights.items() if "embed_tokens" not in k}
    del weights[SHARED], weights[HEAD]
    weights |= {name: table(HEAD if name == HEAD else SHARED) for name in names}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    config = {"model_type": "t5", **T5_SIZES, "tie_word_embeddings": tied}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def build(name, folder):
    names = {0: "가", 1: "나"}
    task = {} if name == SEQ2SEQ else {"id2label": names, "label2id": {"가": 0, "나": 1}}
    return build_model(load_model(name), folder, from_scratch=False, seed=1, task_config=task)


@pytest.mark.parametrize("name", [SEQ2SEQ, T5_MEAN, MEAN])
@pytest.mark.parametrize("names", [(SHARED, HEAD), (ENCODER, HEAD), (SHARED, ENCODER, HEAD)])
def test_the_tables_of_a_t5_are_the_files(tmp_path, name, names):
    if (name, names) == (SEQ2SEQ, (ENCODER, HEAD)) and transformers.__version__ < "5.18":
        # transformers fills the decoder's embedding from the head, which is detected.
        with pytest.raises(UserError, match=r"shared\.weight missing; choose the model class"):
            build(name, t5_folder(tmp_path / "t5", names))
        return
    model, note = build(name, t5_folder(tmp_path / "t5", names))
    assert torch.equal(model.get_input_embeddings().weight, table(SHARED))
    if name == SEQ2SEQ:
        assert torch.equal(model.lm_head.weight, table(HEAD))
        assert torch.equal(model.decoder.embed_tokens.weight, table(SHARED))
        assert "new head" not in note


@pytest.mark.parametrize("name", [SEQ2SEQ, T5_MEAN, MEAN])
def test_a_head_is_never_taken_for_the_embedding(tmp_path, name):
    with pytest.raises(UserError, match=r"(shared|embed_tokens)\.weight missing") as caught:
        build(name, t5_folder(tmp_path / "t5", [HEAD]))
    assert caught.value.exit_code == Exit.CHECKPOINT


def test_a_tied_t5_may_hold_its_only_table_as_the_head(tmp_path):
    model, _ = build(SEQ2SEQ, t5_folder(tmp_path / "t5", [HEAD], tied=True))
    assert torch.equal(model.shared.weight, table(HEAD))


@pytest.fixture
def bert(tmp_path):
    torch.manual_seed(0)
    with quiet():
        model = BertForMaskedLM(BertConfig(**BERT_SIZES))
        model.save_pretrained(tmp_path / "bert")
    return tmp_path / "bert", model


def old_names(weights):
    rename = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}
    for new, old in rename.items():
        weights = {name.replace(new, old): tensor for name, tensor in weights.items()}
    return weights


@pytest.mark.parametrize("name", ["transformers:BertForSequenceClassification", MEAN])
@pytest.mark.parametrize("form", ["old names", "sharded", "bin", "sharded bin"])
def test_berts_of_every_layout_are_the_files(bert, name, form):
    folder, whole = bert
    weights = load_file(folder / "model.safetensors")
    torch.manual_seed(5)
    for key in weights:
        weights[key] = torch.randn_like(weights[key])
    (folder / "model.safetensors").unlink()
    expected = weights["bert.embeddings.LayerNorm.weight"]
    if form == "old names":
        save_file(old_names(weights), folder / "model.safetensors", metadata={"format": "pt"})
    elif form == "bin":
        torch.save(old_names(weights), folder / "pytorch_model.bin")
    else:
        kind, stem = ("bin", "pytorch_model") if "bin" in form else ("safetensors", "model")
        parts, places = {}, {}
        for number, (key, tensor) in enumerate(weights.items()):
            places[key] = f"{stem}-0000{number % 2 + 1}-of-00002.{kind}"
            parts.setdefault(places[key], {})[key] = tensor
        for file, part in parts.items():
            write = torch.save if kind == "bin" else save_file
            write(part, folder / file, **({} if kind == "bin" else {"metadata": {"format": "pt"}}))
        index = {"metadata": {"total_size": 1}, "weight_map": places}
        (folder / f"{stem}.{kind}.index.json").write_text(json.dumps(index))
    model, note = build(name, folder)
    body = model.backbone if name == MEAN else model.bert
    assert torch.equal(body.embeddings.LayerNorm.weight, expected)
    words = weights["bert.embeddings.word_embeddings.weight"]
    assert torch.equal(model.get_input_embeddings().weight, words)


def test_what_the_library_gets_wrong_is_set_right_or_refused(bert):
    """As if `from_pretrained` had left the embedding zero, or another tensor random."""
    folder, _ = bert
    model, _ = build("transformers:BertForSequenceClassification", folder)
    info = {"missing_keys": {"classifier.weight", "classifier.bias"}, "mismatched_keys": [],
            "unexpected_keys": set()}  # fmt: skip
    info["missing_keys"] |= {"bert.pooler.dense.weight", "bert.pooler.dense.bias"}
    expected = model.get_input_embeddings().weight.detach().clone()
    with torch.no_grad():
        model.get_input_embeddings().weight.zero_()
    found = find_pretrained(folder)
    compare_with_files(model, info, found, where="--pre_trained_model")
    assert torch.equal(model.get_input_embeddings().weight, expected)
    with torch.no_grad():
        model.bert.encoder.layer[0].output.dense.bias.add_(1)
    message = r"encoder.layer.0.output.dense.bias differs from the file after loading"
    with pytest.raises(UserError, match=message) as caught:
        compare_with_files(model, info, found, where="--pre_trained_model")
    assert caught.value.exit_code == Exit.CHECKPOINT


class WithoutPostInit(BertPreTrainedModel):
    """As users wrote models for transformers 4."""

    def __init__(self, config):
        super().__init__(config)
        self.bert = BertModel(config, add_pooling_layer=False)
        self.out = torch.nn.Linear(config.hidden_size, config.num_labels)
        self.init_weights()


@pytest.mark.parametrize("from_scratch", [True, False])
def test_a_class_without_post_init_is_named_with_the_fix(bert, from_scratch):
    with pytest.raises(UserError) as caught:
        build_model(WithoutPostInit, bert[0], from_scratch=from_scratch, seed=1, task_config={})
    assert str(caught.value) == (
        "error: --model_name test_fidelity:WithoutPostInit: its __init__ never calls post_init(), "
        "which transformers 5 needs; end __init__ with self.post_init() (instead of "
        "self.init_weights())"
    )


def test_a_tensor_that_nothing_uses_is_named(bert):
    folder, _ = bert
    weights = load_file(folder / "model.safetensors")
    weights["bert.adapter.weight"] = torch.zeros(2)
    weights["bert.embeddings.position_ids"] = torch.arange(40)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    _, note = build(MEAN, folder)
    assert "adapter" in note.rpartition("left out: ")[2] and "position_ids" not in note


GEMMA2 = "transformers:T5Gemma2ForConditionalGeneration"


def t5gemma2_folder(folder):
    """A tiny T5Gemma 2, whose tensors have other names in files than in memory."""
    text = dict(vocab_size=40, hidden_size=16, intermediate_size=16, num_hidden_layers=1,
                num_attention_heads=2, num_key_value_heads=1, head_dim=8,
                layer_types=["full_attention"])  # fmt: skip
    vision = dict(hidden_size=16, intermediate_size=16, num_hidden_layers=1,
                  num_attention_heads=2, image_size=28, patch_size=14)  # fmt: skip
    config = T5Gemma2Config(
        encoder={"text_config": dict(text), "vision_config": vision, "mm_tokens_per_image": 4,
                 "image_token_index": 39},
        decoder=dict(text),
        image_token_index=39,
    )  # fmt: skip
    torch.manual_seed(0)
    with quiet():
        T5Gemma2ForConditionalGeneration(config).save_pretrained(folder)
    return folder


def test_tensors_that_transformers_renames_are_compared(tmp_path):
    folder = t5gemma2_folder(tmp_path / "t5gemma2")
    written = load_file(folder / "model.safetensors")
    assert "model.encoder.embed_tokens.weight" in written
    model, note = build_model(
        load_model(GEMMA2), folder, from_scratch=False, seed=1, task_config={}
    )
    embedding = model.model.encoder.text_model.embed_tokens.weight
    assert torch.equal(embedding, written["model.encoder.embed_tokens.weight"])
    assert "left out" not in note and "new head" not in note

    info = {"missing_keys": set(), "mismatched_keys": set(), "unexpected_keys": set()}
    with quiet():
        model = T5Gemma2ForConditionalGeneration.from_pretrained(folder)
    with torch.no_grad():
        model.model.encoder.text_model.norm.weight += 1
    with pytest.raises(UserError, match="norm.weight differs from the file after loading"):
        compare_with_files(model, info, find_pretrained(folder), where="--pre_trained_model")
