"""Model folders with an odd configuration, tokenizer or weights end in one line."""

from __future__ import annotations

import json
import re

import numpy
import pytest
import torch
from support.tokenizer_toys import sentencepiece_model, unigrams, word_pieces
from transformers import BertConfig, BertForMaskedLM, BertForSequenceClassification

from ke_t5.errors import Exit, UserError
from ke_t5.lookup.hub import find_pretrained
from ke_t5.lookup.tokenizer_fit import fit_tokenizer
from ke_t5.models.build import build_model, quiet
from ke_t5.task import utils

SIZES = {"vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
TASK = {"num_labels": 2}
SENTENCEPIECE = sentencepiece_model(unigrams(("<pad>", "</s>", "<unk>")))


@pytest.fixture
def bert(tmp_path):
    """A folder with a masked language model."""
    with quiet():
        BertForMaskedLM(BertConfig(**SIZES, intermediate_size=16)).save_pretrained(tmp_path / "b")
    return tmp_path / "b"


def refusal(function, *arguments, **settings):
    """The line of the UserError that a call raises, which must name the model's folder."""
    with pytest.raises(UserError) as caught:
        function(*arguments, **settings)
    line = str(caught.value)
    assert caught.value.exit_code == Exit.CHECKPOINT and "\x1b" not in line
    return line


def change(folder, **values):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "not JSON (Expecting value"),
        (b"[" * 100_000, "not JSON (maximum recursion depth"),
        (b"\xff\xfe\x00", "not JSON ('utf-8' codec"),
        (b"[]", "names no model_type"),
        (b'{"model_type": 5}', "names no model_type"),
        (b'{"model_type": ["bert"]}', "names no model_type"),
        (None, "cannot be read (Is a directory)"),
    ],
)
def test_a_configuration_that_cannot_be_read(bert, content, what):
    (bert / "config.json").unlink()
    if content is None:
        (bert / "config.json").mkdir()
    else:
        (bert / "config.json").write_bytes(content)
    assert refusal(find_pretrained, bert).startswith(f"error: {bert}/config.json: {what}")


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"vocab_size": "many"}, r"Field 'vocab_size' expected int, got str \(value: 'many'"),
        # The second is the message of transformers 5.17.
        ({"id2label": ["a"]}, "(AttributeError: 'list' object|Field 'id2label' expected NoneType)"),
    ],
)
def test_a_value_of_the_wrong_type_is_named_before_the_tokenizer(bert, values, reason):
    change(bert, **values)
    raw = json.loads((bert / "config.json").read_text())
    line = refusal(fit_tokenizer, None, raw, where="--pre_trained_model b")
    start = r"error: --pre_trained_model b: its config.json cannot be read \("
    assert re.match(start + reason, line)
    assert len(line) <= 200


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"hidden_size": 15}, "ValueError: The hidden size (15) is not a multiple"),
        ({"hidden_act": "nope"}, "KeyError: 'nope'"),
        ({"pad_token_id": 999}, "AssertionError: Padding_idx must be within"),
        ({"initializer_range": float("nan")}, "RuntimeError: normal expects std"),
    ],
)
@pytest.mark.parametrize("from_scratch", [True, False])
def test_values_that_make_no_model(bert, values, reason, from_scratch):
    if from_scratch or "initializer_range" not in values:
        change(bert, **values)
        line = refusal(
            build_model, BertForSequenceClassification, bert,
            from_scratch=from_scratch, seed=1, task_config=TASK,
        )  # fmt: skip
        assert "config.json is invalid" in line and reason in line or not from_scratch


@pytest.mark.parametrize(
    "content",
    [[torch.zeros(2)], torch.zeros(2), {"a": numpy.zeros(3)}, torch.nn.Linear(2, 2)],
    ids=["list", "tensor", "array", "module"],
)
def test_pickled_weights_that_are_no_weights(bert, content):
    (bert / "model.safetensors").unlink()
    torch.save(content, bert / "pytorch_model.bin")
    line = refusal(
        build_model, BertForSequenceClassification, bert,
        from_scratch=False, seed=1, task_config=TASK,
    )  # fmt: skip
    assert "its weights cannot be read: " in line and "Re-running" not in line
    if not isinstance(content, list | torch.Tensor):
        assert "its pickle contains" in line and "which could run code" in line


@pytest.mark.parametrize(
    "index", ["", "[]", '{"metadata": {}}', '{"weight_map": {"a": "model-1.safetensors"}}']
)
def test_an_index_of_weights_that_is_none(bert, index):
    (bert / "model.safetensors").unlink()
    (bert / "model.safetensors.index.json").write_text(index)
    refusal(
        build_model, BertForSequenceClassification, bert,
        from_scratch=False, seed=1, task_config=TASK,
    )  # fmt: skip


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json"])
@pytest.mark.parametrize("content", [b"", b"[]", b"\xff", b'{"a": '])
def test_a_file_of_a_tokenizer_that_is_not_json_is_named(tmp_path, name, content):
    (tmp_path / "tokenizer.json").write_bytes(b"{}")
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    (tmp_path / name).write_bytes(content)
    line = refusal(utils._load, str(tmp_path))
    assert line.startswith(f"error: {tmp_path / name}: not a tokenizer's JSON (")


@pytest.mark.parametrize(
    ("files", "place", "reason"),
    [
        ({}, "", "the folder contains no tokenizer (none of tokenizer.json, spiece.model,"),
        ({"vocab.txt": b""}, "vocab.txt", "is empty; download or save the tokenizer again"),
        ({"vocab.txt": "가".encode("cp949")}, "vocab.txt", "not UTF-8 ("),
        ({"vocab.txt": "[PAD]\n가\n".encode()}, "", "cannot be loaded (Exception: WordPiece error"),
        ({"spiece.model": b""}, "spiece.model", "is empty;"),
        ({"spiece.model": b"\x00garbage"}, "spiece.model", "not a SentencePiece model;"),
        ({"spiece.model": SENTENCEPIECE[:-9]}, "spiece.model", "not a SentencePiece model;"),
        (
            {"spiece.model": SENTENCEPIECE, "tokenizer_config.json": b'{"extra_ids": 1000000000}'},
            "tokenizer_config.json",
            "extra_ids is 1000000000 (0 to 10,000); download or save",
        ),
    ],
)
def test_files_that_are_no_tokenizer(tmp_path, files, place, reason):
    kind = "t5" if "spiece.model" in files else "bert"
    (tmp_path / "config.json").write_text(f'{{"model_type": "{kind}"}}')
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    line = refusal(utils._load, str(tmp_path))
    where = tmp_path / place if place else f"tokenizer '{tmp_path}'"
    assert line.startswith(f"error: {where}: {reason}")


def test_a_vocabulary_that_older_transformers_cannot_read(tmp_path, monkeypatch):
    """Before 5.20: a SentencePiece vocabulary without normalization rules."""

    def refuse(_name):
        raise Exception("Error while attempting to build Precompiled normalizer: Cannot parse "
                        "precompiled_charsmap")  # fmt: skip

    pieces = (("<unk>", 0.0), ("<s>", 0.0), ("</s>", 0.0), ("가", -1.0))
    (tmp_path / "spiece.model").write_bytes(sentencepiece_model(pieces))
    monkeypatch.setattr(utils, "load_tokenizer", refuse)
    assert refusal(utils._load, str(tmp_path)).endswith("use transformers 5.20 or newer")


@pytest.mark.parametrize("length", [0, -1, 4, 0.5, True])
def test_a_tokenizer_whose_length_leaves_no_room(tmp_path, length):
    (tmp_path / "vocab.txt").write_text("\n".join(word_pieces()), encoding="utf-8")
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    settings = {"tokenizer_class": "BertTokenizer", "model_max_length": length}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    tokenizer = utils._load(str(tmp_path))
    line = refusal(fit_tokenizer, tokenizer, {"model_type": "bert"}, where="--pre_trained_model")
    assert line == (
        f"error: {tmp_path}/tokenizer_config.json: model_max_length is {length}; give 5 or more: "
        "two texts have 3 special tokens"
    )
    tokenizer.model_max_length = 512
    few = {"model_type": "bert", "max_position_embeddings": 4}
    line = refusal(fit_tokenizer, tokenizer, few, where="--pre_trained_model")
    assert line.startswith(f"error: {tmp_path}/config.json: the number of positions is 4; give 5")
