"""The names of a checkpoint's tensors without torch, and what follows if there is no pooler."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import save_file

from ke_t5.lookup.choice import choose_model
from ke_t5.lookup.hub import Pretrained
from ke_t5.lookup.tensor_names import (
    POOLED_FOR_CHOICES,
    POOLED_TYPES,
    head_for_pooling,
    tensor_names,
)

NAMES = ("embeddings.word_embeddings.weight", "encoder.layer.0.output.dense.weight")
MEAN = "EncoderForSequenceClassificationMean"


def checkpoint(folder: Path, kind: str, *names: str, form="model.safetensors") -> Pretrained:
    """A folder with tensors of these names, and a configuration of this type."""
    folder.mkdir(exist_ok=True)
    tensors = {name: torch.zeros(1) for name in (*NAMES, *names)}
    if form == "model.safetensors":
        save_file(tensors, folder / form)
    elif form.endswith(".index.json"):
        (folder / form).write_text(json.dumps({"weight_map": dict.fromkeys(tensors, "part")}))
    else:
        torch.save(tensors, folder / form, _use_new_zipfile_serialization=form != "old.bin")
        (folder / form).rename(folder / "pytorch_model.bin")
    return Pretrained(str(folder), folder, True, {"model_type": kind})


@pytest.mark.parametrize(
    "form",
    ["model.safetensors", "model.safetensors.index.json", "pytorch_model.bin",
     "pytorch_model.bin.index.json"],
)  # fmt: skip
def test_names_are_read_without_the_weights(tmp_path, form, monkeypatch):
    found = checkpoint(tmp_path, "bert", "pooler.dense.weight", form=form)
    monkeypatch.setattr(torch, "load", None)
    assert tensor_names(found) >= {*NAMES, "pooler.dense.weight"}
    assert not any(name.startswith("__") for name in tensor_names(found))


def test_names_that_cannot_be_known(tmp_path):
    assert tensor_names(checkpoint(tmp_path / "old", "bert", form="old.bin")) is None
    (tmp_path / "model.safetensors").write_bytes(b"\x00" * 4)
    assert tensor_names(Pretrained("x", tmp_path, True, {"model_type": "bert"})) is None
    assert tensor_names(Pretrained("no/such", None, True, {"model_type": "bert"})) is None


def test_damaged_files_have_no_names(tmp_path):
    found = checkpoint(tmp_path / "zip", "bert", form="pytorch_model.bin")
    path = tmp_path / "zip" / "pytorch_model.bin"
    content = path.read_bytes()
    path.write_bytes(content.replace(b"word_embeddings", b"word_embeddingz", 1))  # a wrong CRC
    assert tensor_names(found) is None
    index, header = "model.safetensors.index.json", b"[" * 100_000
    for number, text in enumerate(("[" * 100_000, '{"weight_map": [1]}')):
        found = checkpoint(tmp_path / f"index{number}", "bert", form=index)
        (found.folder / index).write_text(text)
        assert tensor_names(found) is None and head_for_pooling(found) is None
    (tmp_path / "zip" / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    assert tensor_names(Pretrained("x", tmp_path / "zip", True, {"model_type": "bert"})) is None
    (tmp_path / "zip" / "1_Pooling").mkdir()
    (tmp_path / "zip" / "1_Pooling" / "config.json").write_bytes(header)
    assert head_for_pooling(Pretrained("x", tmp_path / "zip", True, {"model_type": "bert"})) is None


def test_the_headers_on_the_hub_are_asked_for(monkeypatch):
    import huggingface_hub

    class Metadata:
        weight_map = {"bert.pooler.dense.weight": "model.safetensors"}

    monkeypatch.setattr(huggingface_hub, "get_safetensors_metadata", lambda name: Metadata)
    found = Pretrained("some/model", None, False, {"model_type": "bert"})
    assert tensor_names(found) == {"bert.pooler.dense.weight"}


@pytest.mark.parametrize(
    ("kind", "names", "expected"),
    [
        ("bert", ["cls.predictions.bias"], MEAN),
        ("bert", [], MEAN),
        ("bert", ["pooler.dense.weight"], "transformers:BertForSequenceClassification"),
        ("bert", ["bert.pooler.dense.bias"], "transformers:BertForSequenceClassification"),
        ("roberta", ["lm_head.bias"], "transformers:RobertaForSequenceClassification"),
        ("xlm-roberta", [], MEAN),
        ("electra", ["discriminator_predictions.dense.weight"],
         "transformers:ElectraForSequenceClassification"),
        ("modernbert", ["head.dense.weight", "decoder.bias"],
         "transformers:ModernBertForSequenceClassification"),
        ("qwen3", [], "transformers:Qwen3ForSequenceClassification"),
    ],
)  # fmt: skip
def test_without_a_trained_pooler_the_mean_is_read(tmp_path, kind, names, expected):
    found = checkpoint(tmp_path, kind, *names)
    assert choose_model("sequence_classification", found).model_name == expected
    if expected == MEAN:
        reason = choose_model("sequence_classification", found).reason
        assert reason == "the checkpoint has no trained pooler"


@pytest.mark.parametrize(
    ("kind", "names", "expected"),
    [
        ("roberta", ["lm_head.bias"], "EncoderForMultipleChoice"),
        ("roberta", ["roberta.pooler.dense.bias"], "transformers:RobertaForMultipleChoice"),
        ("electra", ["discriminator_predictions.dense.weight"],
         "transformers:ElectraForMultipleChoice"),
    ],
)  # fmt: skip
def test_choices_are_read_without_an_untrained_pooler(tmp_path, kind, names, expected):
    found = checkpoint(tmp_path, kind, *names)
    assert choose_model("multiple_choice", found).model_name == expected


@pytest.mark.parametrize(
    ("mode", "head"), [("mean_tokens", "Mean"), ("cls_token", "First"), ("lasttoken", "Last")]
)
def test_a_sentence_encoder_is_read_as_it_was_trained(tmp_path, mode, head):
    found = checkpoint(tmp_path, "xlm-roberta", "pooler.dense.weight")
    (tmp_path / "1_Pooling").mkdir()
    modes = {"word_embedding_dimension": 8, f"pooling_mode_{mode}": True}
    (tmp_path / "1_Pooling" / "config.json").write_text(json.dumps(modes))
    assert head_for_pooling(found)[0] == f"EncoderForSequenceClassification{head}"


@pytest.mark.parametrize(
    "kind", ["bert", "albert", "ernie", "rembert", "mobilebert", "roberta", "electra", "big_bird"]
)
def test_the_types_with_a_pooler_are_those_whose_class_reads_it(kind):
    assert reads_pooler("SequenceClassification", kind) == (kind in POOLED_TYPES)


@pytest.mark.parametrize(
    "kind",
    ["bert", "albert", "roberta", "camembert", "xlm-roberta", "mpnet", "electra", "deberta-v2",
     "modernbert"],
)  # fmt: skip
def test_more_types_read_the_pooler_for_choices(kind):
    pooled = (*POOLED_TYPES, *POOLED_FOR_CHOICES)
    assert reads_pooler("MultipleChoice", kind) == (kind in pooled)


def reads_pooler(suffix: str, kind: str) -> bool:
    """Whether the loss of transformers' class gives a gradient to the pooler of the body."""
    config = transformers.CONFIG_MAPPING[kind](
        vocab_size=9, hidden_size=8, embedding_size=8, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=8, true_hidden_size=8, intra_bottleneck_size=8, pad_token_id=0,
        bos_token_id=1, eos_token_id=2, cls_token_id=1, sep_token_id=2,
    )  # fmt: skip
    model = getattr(transformers, f"AutoModelFor{suffix}").from_config(config)
    shape = (1, 2, 4) if suffix == "MultipleChoice" else (1, 4)
    ids = torch.ones(shape, dtype=torch.long)
    model(input_ids=ids, labels=torch.zeros(1).long()).loss.backward()
    body = getattr(model, model.base_model_prefix)
    pooler = [p.grad for name, p in body.named_parameters() if name.startswith("pooler")]
    return any(grad is not None for grad in pooler) or (kind == "mobilebert" and bool(pooler))
