"""The tiny models of the sample: any class, without a word, within its positions."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.sample_help import KLUE, read

from ke_t5.errors import UserError
from ke_t5.sample import sample_model_dir, sample_tokenizer_dir
from ke_t5.sample.cache import CHECKSUMS

TEXT = "한빛전자는 3월 5일 서울에서 새 전기차를 공개했다."


@pytest.mark.parametrize("model", ["t5", "roberta", "bert", "electra"])
def test_tiny_models_load_without_a_word_and_run(
    cache_dir: Path, model: str, capfd: pytest.CaptureFixture
):
    from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

    folder = sample_model_dir(cache_dir, model)
    assert sample_model_dir(cache_dir, model) == folder
    tokenizer, config = AutoTokenizer.from_pretrained(folder), AutoConfig.from_pretrained(folder)
    assert config.pad_token_id == tokenizer.pad_token_id
    assert config.eos_token_id == tokenizer.eos_token_id
    assert len(tokenizer) <= config.vocab_size < 4500
    ids = tokenizer(TEXT)["input_ids"]
    assert tokenizer.unk_token_id not in ids
    assert tokenizer.decode(ids, skip_special_tokens=True) == TEXT
    pair = tokenizer([TEXT], ["짧은 글"], return_tensors="pt")
    network = AutoModelForSequenceClassification.from_config(config).eval()
    assert network(**pair).logits.shape == (1, 2)
    assert sum(p.numel() for p in network.parameters()) < 2_000_000
    assert capfd.readouterr() == ("", "")


def test_roberta_has_one_token_type_and_bert_two(cache_dir: Path):
    from transformers import AutoConfig, AutoTokenizer

    for model, num_types in (("roberta", 1), ("bert", 2)):
        folder = sample_model_dir(cache_dir, model)
        assert AutoConfig.from_pretrained(folder).type_vocab_size == num_types
        pair = AutoTokenizer.from_pretrained(folder)("하나", "둘")
        assert ("token_type_ids" in pair) == (num_types == 2)
    assert set(pair["token_type_ids"]) == {0, 1}


def test_longest_input_fits_the_positions(cache_dir: Path):
    from transformers import AutoConfig, AutoModel, AutoTokenizer

    folder = sample_model_dir(cache_dir, "roberta")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    batch = tokenizer(TEXT * 100, truncation=True, return_tensors="pt")
    assert batch["input_ids"].shape == (1, 512)
    AutoModel.from_config(AutoConfig.from_pretrained(folder))(**batch)


def test_a_class_or_a_name_of_it_gives_the_same_folder(cache_dir: Path):
    from transformers import RobertaConfig

    from ke_t5.models.configs import MeanSequenceConfig

    names = ("roberta", "RobertaConfig", "RobertaForTokenClassification", RobertaConfig)
    assert len({sample_model_dir(cache_dir, name) for name in names}) == 1
    t5 = sample_model_dir(cache_dir, "t5")
    assert sample_model_dir(cache_dir, MeanSequenceConfig) == t5
    wider = sample_model_dir(cache_dir, "t5", width=256)
    assert wider != t5 and json.loads((wider / "config.json").read_text())["d_model"] == 256


@pytest.mark.parametrize(
    "model", ["xlm-roberta", "distilbert", "deberta-v2", "albert", "gpt2", "bart", "mt5"]
)
def test_other_classes_are_made_tiny(cache_dir: Path, model: str):
    from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

    folder = sample_model_dir(cache_dir, model)
    network = AutoModelForSequenceClassification.from_config(AutoConfig.from_pretrained(folder))
    batch = AutoTokenizer.from_pretrained(folder)([TEXT], return_tensors="pt")
    assert network.eval()(**batch).logits.isfinite().all()
    assert sum(p.numel() for p in network.parameters()) < 2_000_000


def test_what_cannot_be_made_tiny_is_one_line(cache_dir: Path):
    with pytest.raises(UserError, match="ViTConfig: a tiny model needs a known vocabulary size"):
        sample_model_dir(cache_dir, "vit")
    with pytest.raises(UserError, match="'robberta': .*did you mean .*'roberta'"):
        sample_model_dir(cache_dir, "robberta")


def test_t5_tokenizer_has_the_files_of_ke_t5(cache_dir: Path):
    folder = sample_tokenizer_dir(cache_dir, "t5")
    assert sorted(path.name for path in folder.iterdir()) == [
        CHECKSUMS,
        "spiece.model",
        "tokenizer_config.json",
    ]
    config = json.loads((folder / "tokenizer_config.json").read_text())
    assert config["tokenizer_class"] == "T5Tokenizer" and config["extra_ids"] == 100
    model = json.loads((sample_model_dir(cache_dir, "t5") / "config.json").read_text())
    assert model["vocab_size"] % 128 == 0


def test_pieces_end_where_answers_end(cache_dir: Path, sample_data: Path):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(sample_tokenizer_dir(cache_dir, "bert"))
    for article in json.loads(read(sample_data, KLUE.format("klue-mrc", "dev", "json")))["data"]:
        (paragraph,) = article["paragraphs"]
        ends = {end for _, end in tokenizer(
            paragraph["context"], return_offsets_mapping=True)["offset_mapping"]}  # fmt: skip
        for answer in (answer for qa in paragraph["qas"] for answer in qa["answers"]):
            assert answer["answer_start"] + len(answer["text"]) in ends
