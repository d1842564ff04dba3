"""A tokenizer is loaded as its files specify, and adjusted to its model."""

from __future__ import annotations

import json
import logging

import pytest
import torch
import transformers
from support.tokenizer_toys import byte_level, fast, with_marks, word_pieces

from ke_t5.errors import UserError
from ke_t5.lookup.tokenizer_fit import fit_tokenizer, position_limit, read_config
from ke_t5.models.vocabulary import fit_config, fit_generation
from ke_t5.pipe.generation import drop_model_values
from ke_t5.task.tokenizer_files import load_tokenizer

MARKS = ("<pad>", "</s>", "<unk>", "<s>", "<mask>")
SIZES = dict(vocab_size=400, hidden_size=8, num_attention_heads=2, intermediate_size=8)
ONE_LAYER = {**SIZES, "num_hidden_layers": 1}
NAMES = dict(eos_token="</s>", bos_token="<s>", pad_token="<pad>", unk_token="<unk>")


def bart(**changes):
    return {"model_type": "bart", "is_encoder_decoder": True, "max_position_embeddings": 64,
            "eos_token_id": 1, **changes}  # fmt: skip


def fit(tokenizer, config):
    return fit_tokenizer(tokenizer, config, where="--pre_trained_model x")


# ------------------------------------------------------------------------------------- end tokens


@pytest.mark.parametrize("kind", ["bart", "t5", "umt5", "ke_t5_token"])
def test_an_end_mark_is_added_if_the_tokenizer_writes_none(kind):
    tokenizer = fast(byte_level(MARKS), **NAMES)
    lines = fit(tokenizer, {"model_type": kind, "eos_token_id": 1})
    assert [line for line in lines if "writes no end token: </s> is added" in line]
    one, two = tokenizer("금리")["input_ids"], tokenizer("금리", "전망")["input_ids"]
    plain = tokenizer("금리", add_special_tokens=False)["input_ids"]
    assert one == [*plain, 1] and two[: len(one)] == one and two[-1] == 1 and two.count(1) == 2
    assert tokenizer.num_special_tokens_to_add() == 1
    assert tokenizer("금리", truncation=True, max_length=2)["input_ids"] == [plain[0], 1]
    assert fit(tokenizer, {"model_type": kind, "eos_token_id": 1}) == []


def test_an_end_mark_joins_the_marks_that_are_there(tmp_path):
    tokenizer = fast(with_marks(byte_level(MARKS), "<s> $A", "<s> $A $B:1"), **NAMES)
    fit(tokenizer, bart())
    tokenizer.save_pretrained(tmp_path)
    for each in (tokenizer, load_tokenizer(str(tmp_path))):
        assert each("금리", "전망").tokens()[0] == "<s>"
        assert (
            each("금리")["input_ids"][-1] == 1 and each("금리", "전망")["input_ids"].count(1) == 2
        )


@pytest.mark.parametrize(
    ("single", "config"),
    [
        ("<s> $A </s>", bart()),
        ("$A </s> <mask>", bart(model_type="mbart")),  # a language code behind it
        ("$A", {"model_type": "gpt2"}),  # a decoder's classifier reads the last token
        ("$A", {"model_type": "roberta"}),
    ],
)
def test_nothing_is_added_where_an_end_mark_is_there_or_not_needed(single, config):
    tokenizer = fast(with_marks(byte_level(MARKS), single, f"{single} $B:1"), **NAMES)
    before = tokenizer("금리")["input_ids"]
    assert not [line for line in fit(tokenizer, config) if "end token" in line]
    assert tokenizer("금리")["input_ids"] == before


def test_the_separator_can_be_the_end_mark_and_without_any_the_model_is_refused():
    bert = fast(with_marks(byte_level(("[PAD]", "[SEP]", "[CLS]")), "[CLS] $A [SEP]", "$A $B"),
                pad_token="[PAD]", sep_token="[SEP]", cls_token="[CLS]")  # fmt: skip
    encoder = {"model_type": "bert", **ONE_LAYER}
    both = {"model_type": "encoder-decoder", "encoder": encoder, "decoder": dict(encoder)}
    assert not [line for line in fit(bert, both) if "added" in line]
    config = transformers.EncoderDecoderConfig(**both)
    assert "the tokenizer appends 1, which is used" in fit_config(config, bert)[0]
    assert (config.eos_token_id, config.decoder_start_token_id) == (1, 2)
    bare = fast(byte_level(("<pad>",)), pad_token="<pad>")
    with pytest.raises(UserError, match="has no end token, so a model would never stop"):
        fit(bare, {"model_type": "bart", "eos_token_id": None})


def test_a_configuration_is_left_as_it_was_read(monkeypatch):
    """transformers 5.17 removes the types from the parts of an encoder-decoder."""

    def take_apart(model_type, **values):
        return transformers.BertConfig(hidden_size=values["encoder"].pop("hidden_size"))

    monkeypatch.setattr(transformers.AutoConfig, "for_model", take_apart)
    raw = {"model_type": "encoder-decoder", "encoder": {"hidden_size": 8}}
    assert read_config(raw, "x").hidden_size == 8
    assert raw["encoder"] == {"hidden_size": 8}


def test_generation_stops_at_the_mark_that_the_tokenizer_writes():
    tokenizer = fast(byte_level(MARKS), **NAMES)
    fit(tokenizer, bart(eos_token_id=2))
    config = transformers.BartConfig(**bart(eos_token_id=2, d_model=8, vocab_size=400,
        encoder_layers=1, decoder_layers=1, encoder_attention_heads=1, decoder_attention_heads=1,
        encoder_ffn_dim=8, decoder_ffn_dim=8, pad_token_id=0))  # fmt: skip
    line = "config.json has the end token 2, but the tokenizer appends 1, which is used"
    assert fit_config(config, tokenizer) == [line]
    model = transformers.BartForConditionalGeneration(config)
    model.generation_config.eos_token_id = 2
    fit_generation(model)
    assert model.generation_config.eos_token_id == 1


# --------------------------------------------------------------------------------------- padding


def test_a_decoder_pads_with_its_own_token_or_the_end_mark():
    for pad, expected in (("<pad>", 0), (None, 1)):
        tokenizer = fast(byte_level(MARKS), **{**NAMES, "pad_token": pad})
        tokenizer.padding_side = "left"
        lines = fit(tokenizer, {"model_type": "qwen3", "vocab_size": 400, "pad_token_id": None})
        assert bool([x for x in lines if "no pad token: </s> is used" in x]) == (pad is None)
        assert (tokenizer.pad_token_id, tokenizer.padding_side) == (expected, "right")
        config = transformers.Qwen3Config(vocab_size=400, pad_token_id=None)
        fit_config(config, tokenizer)
        assert config.pad_token_id == expected
    fit(tokenizer, {"model_type": "xlnet"})
    assert tokenizer.padding_side == "left"


# ---------------------------------------------------------------------------------------- length


LEARNED = {
    "roberta": (20, dict(pad_token_id=0), 19),
    "xlm-roberta": (20, dict(pad_token_id=1), 18),
    "bert": (20, {}, 20),
    "electra": (20, dict(embedding_size=8), 20),
    "big_bird": (20, dict(attention_type="original_full"), 20),
    "bart": (20, {}, 20),
    "gpt2": (20, {}, 20),
    "deberta-v2": (20, dict(position_biased_input=True), 20),
}


@pytest.mark.parametrize("kind", LEARNED)
def test_the_limit_is_what_the_model_can_take(kind):
    positions, changes, expected = LEARNED[kind]
    sizes = {**SIZES, "max_position_embeddings": positions, "pad_token_id": 0, **changes}
    sizes |= dict.fromkeys(("num_hidden_layers", "encoder_layers", "decoder_layers"), 1)
    sizes |= dict.fromkeys(("encoder_attention_heads", "decoder_attention_heads"), 2)
    config = transformers.AutoConfig.for_model(kind, **sizes)
    assert position_limit(config) == expected
    model = transformers.AutoModel.from_config(config).eval()
    for length in (expected, expected + 1):
        ids = torch.full((1, length), 7)
        if length == expected:
            model(input_ids=ids)
        else:
            with pytest.raises((IndexError, RuntimeError)):
                model(input_ids=ids)


def test_relative_positions_have_no_limit_and_the_tokenizers_own_stays():
    for kind in ("t5", "umt5", "longt5", "xlnet"):
        assert position_limit(transformers.AutoConfig.for_model(kind)) is None
    tokenizer = fast(byte_level(MARKS), **NAMES)
    config = {"model_type": "electra", "max_position_embeddings": 512}
    assert (
        "limited to 512 tokens, the positions of the electra model (the tokenizer says no limit)"
        in (fit(tokenizer, config)[0])
    )
    assert tokenizer.model_max_length == 512 and fit(tokenizer, config) == []
    tokenizer.model_max_length = 128
    assert fit(tokenizer, config) == [] and tokenizer.model_max_length == 128


# ------------------------------------------------------------------------------- tokenizer.json


def test_a_byte_level_tokenizer_behind_another_class_is_loaded_as_it_is(tmp_path, caplog):
    """pko-t5's layout."""
    backend = with_marks(byte_level(MARKS), "$A </s>", "$A </s> $B </s>")
    backend.save(str(tmp_path / "tokenizer.json"))
    about = {"tokenizer_class": "T5TokenizerFast", "model_max_length": 512}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(about))
    (tmp_path / "config.json").write_text('{"model_type": "t5"}')
    with caplog.at_level(logging.INFO, logger="ke_t5"):
        tokenizer = load_tokenizer(str(tmp_path))
    text = "오늘 금리 전망?"
    assert tokenizer(text)["input_ids"] == backend.encode(text).ids
    assert tokenizer.decode(tokenizer(text)["input_ids"], skip_special_tokens=True) == text
    assert (tokenizer.eos_token, tokenizer.pad_token, tokenizer.unk_token) == (
        "</s>", "<pad>", "<unk>",
    )  # fmt: skip
    assert tokenizer.model_max_length == 512 and "tokenizer.json" in caplog.text


def test_an_ordinary_tokenizer_is_loaded_by_its_class(tmp_path, caplog):
    vocabulary = {token: i for i, token in enumerate(dict.fromkeys(word_pieces()))}
    transformers.BertTokenizer(vocab=vocabulary, do_lower_case=False).save_pretrained(tmp_path)
    with caplog.at_level(logging.INFO, logger="ke_t5"):
        tokenizer = load_tokenizer(str(tmp_path))
    assert type(tokenizer).__name__.startswith("BertTokenizer") and not caplog.text


# ------------------------------------------------------------------------------------ generation


def test_the_folders_generation_settings_do_not_rule_the_task():
    model = transformers.T5ForConditionalGeneration(
        transformers.T5Config(vocab_size=40, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2)
    )
    own = model.generation_config
    own.min_length, own.num_beams, own.no_repeat_ngram_size = 40, 2, 2
    own.forced_bos_token_id = 7
    first, second = drop_model_values(model, {"num_beams": 2, "max_new_tokens": 8})
    assert (
        "ignoring min_length 40, no_repeat_ngram_size 2; the task's" in first
        and "num_beams" not in first
    )
    assert second.endswith("keeping forced_bos_token_id 7")
    plain = transformers.GenerationConfig()
    for name in ("min_length", "num_beams", "no_repeat_ngram_size"):
        assert getattr(own, name) == getattr(plain, name)
    assert (own.eos_token_id, own.pad_token_id) == (1, 0)
    assert len(drop_model_values(model, {"num_beams": 2})) == 1
