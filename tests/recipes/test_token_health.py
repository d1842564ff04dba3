"""Unknown tokens are counted before training; too many are an error that names the cause."""

from __future__ import annotations

import json
import logging
import unicodedata

import numpy as np
import pytest
from support.helpers import folders, task_on

from ke_t5.errors import Exit, UserError
from ke_t5.pipe import Feature, tokenize
from ke_t5.recipes.token_health import check_tokens, sample_of, unknown_ids, unknown_share

TEXTS = [
    "선수들이 낡은 건물을 열었다", "정말 좋았다", "비가 많이 온다", "경제가 살아난다",
    "오늘 서울 날씨", "배우의 연기", "새로운 영화", "어제 본 책", "학교에 간다", "집에서 논다",
]  # fmt: skip
SYLLABLES = sorted({c for text in TEXTS for c in text if c != " "})
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def bert(folder, known=SYLLABLES, **settings):
    """A WordPiece tokenizer that knows these characters, from a plain `vocab.txt`."""
    from transformers import AutoTokenizer

    folder.mkdir()
    words = [*SPECIAL, *"abcdefghijklmnopqrstuvwxyz", *known, *(f"##{c}" for c in known)]
    (folder / "vocab.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
    (folder / "config.json").write_text('{"model_type": "bert"}')
    if settings:
        (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return AutoTokenizer.from_pretrained(str(folder))


def words(known, *, normalizer=None, unk="<unk>"):
    """A whole-word tokenizer with this normalizer."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: i for i, word in enumerate([unk, "<pad>", *known])}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token=unk))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    if normalizer is not None:
        backend.normalizer = normalizer
    return PreTrainedTokenizerFast(tokenizer_object=backend, unk_token=unk, pad_token="<pad>")


def check(tokenizer, path, texts=TEXTS, *, with_target=False):
    """The log of `check_tokens` for these texts."""
    features = {"input_ids": Feature(lambda: tokenizer, pad=None)}
    steps = [tokenize]
    if with_target:
        from functools import partial

        features["labels"] = Feature(lambda: tokenizer, pad=-100)
        steps.append(partial(tokenize, source="target", into="labels"))
    rows = [{"inputs": text, "text": text, "target": text} for text in texts]
    task = task_on(
        rows, steps, output_features=features, keep={"text": "string"},
        columns=dict.fromkeys(("inputs", "text", "target"), "string"),
        inputs=lambda example: example["text"],
    )  # fmt: skip
    check_tokens(task, "train", task.get_dataset("train", folders=folders(path)))


@pytest.fixture
def said(caplog):
    caplog.set_level(logging.INFO, "ke_t5")
    preparing = "toy train: preparing"
    return lambda: [
        message
        for message in caplog.messages
        if "toy train" in message and not message.startswith(preparing)
    ]


def test_special_tokens_that_the_text_contains_come_back(tmp_path):
    """Such as `<extra_id_0>` in the inputs of span corruption."""
    tokenizer = bert(tmp_path / "bert", do_lower_case=False)
    assert sample_of(tokenizer, ["정말 [MASK] 좋았다", "경제가 모른다"]).num_whole == 1


def test_a_good_tokenizer_gets_one_line(tmp_path, said):
    check(bert(tmp_path / "model", do_lower_case=False), tmp_path, with_target=True)
    assert said() == [
        "toy train: 0.0 % unknown tokens; 10 of 10 texts come back from the tokens; "
        "10 distinct texts, 10 token sequences; 0.0 % unknown target tokens"
    ]


def test_lower_casing_that_decomposes_hangul_is_refused_with_the_entry_to_write(tmp_path):
    folder = tmp_path / "model"
    with pytest.raises(UserError) as caught:
        check(bert(folder), tmp_path)
    message = str(caught.value)
    assert caught.value.exit_code == Exit.DATA
    assert "100 % of the tokens of toy train are unknown, 100 % of the Hangul is lost" in message
    assert "do_lower_case strips accents and so decomposes Hangul" in message
    assert "becomes '[UNK]" in message
    entry = f'{{"strip_accents": false}} into {folder / "tokenizer_config.json"}'
    assert message.endswith(f"write {entry}")
    # The cure is one.
    settings = json.loads(entry.partition(" into ")[0])
    check(bert(tmp_path / "cured", **settings), tmp_path / "again")


def test_capitals_in_the_vocabulary_ask_for_no_lower_casing(tmp_path):
    with pytest.raises(UserError, match=r'write {"do_lower_case": false} into '):
        check(bert(tmp_path / "model", known=[*SYLLABLES, "A"]), tmp_path)


def test_a_class_that_decomposes_is_named(tmp_path):
    from tokenizers import normalizers

    known = {word for text in TEXTS for word in text.split()}
    tokenizer = words(known, normalizer=normalizers.NFKD())
    message = r"decomposes Hangul \(NFKD\).*wrong tokenizer class; name the class"
    with pytest.raises(UserError, match=message):
        check(tokenizer, tmp_path)


def test_a_class_that_decomposes_is_refused_though_some_text_survives(tmp_path):
    """KoBERT loaded as XLNetTokenizer: its vocabulary has a few letters."""
    from tokenizers import normalizers

    known = sorted({word for text in TEXTS for word in text.split()})
    survive = sorted({unicodedata.normalize("NFD", word) for word in known[::3] + known[::2]})
    tokenizer = words([*known, *survive], normalizer=normalizers.NFKD())
    with pytest.raises(UserError, match="3. % of the Hangul is lost.*wrong tokenizer class"):
        check(tokenizer, tmp_path)


def test_a_tokenizer_without_korean_is_told_so(tmp_path):
    with pytest.raises(
        UserError, match="it does not cover Korean .none of its 4 tokens contains Hangul"
    ):
        check(words(["the", "of"]), tmp_path)


def test_names_and_spaces_do_not_hide_unknown_text(tmp_path):
    """Field names before a text that is lost: less than half of the tokens are unknown."""
    texts = [f"a b c d e f g {text}" for text in TEXTS]
    with pytest.raises(UserError, match="are unknown, 100 % of the Hangul is lost"):
        check(words(list("abcdefg")), tmp_path, texts)


@pytest.mark.parametrize(("num_known", "is_warned"), [(18, True), (19, False)])
def test_a_warning_begins_above_five_percent(tmp_path, said, num_known, is_warned):
    known = [f"말{i}" for i in range(num_known)]
    texts = [" ".join([*known, "낯"])]
    check(words(known), tmp_path, texts)
    line = f"{100 / (num_known + 1):.1f} % unknown tokens"
    assert any(line in message for message in said())
    assert any("of the tokens of toy train are unknown" in m for m in said()) == is_warned


def test_unknown_targets_are_refused_too(tmp_path):
    from functools import partial

    tokenizer = words(["a"])
    features = {
        "input_ids": Feature(lambda: tokenizer, pad=None),
        "labels": Feature(lambda: tokenizer, pad=-100),
    }
    steps = [tokenize, partial(tokenize, source="target", into="labels")]
    task = task_on(
        [{"inputs": "a a", "target": "정치"}] * 4, steps, output_features=features,
        columns={"inputs": "string", "target": "string"},
    )  # fmt: skip
    with pytest.raises(UserError, match="100 % of the target tokens of toy train are unknown"):
        check_tokens(task, "train", task.get_dataset("train", folders=folders(tmp_path)))


def test_a_tokenizer_that_drops_what_it_does_not_know_is_refused(tmp_path):
    """No unknown token at all: every text becomes empty."""
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE({"<pad>": 0, "a": 1}, []))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="<pad>")
    assert unknown_ids(tokenizer) == []
    found = sample_of(tokenizer, TEXTS)
    assert (found.num_distinct, found.num_sequences, found.lost_hangul) == (10, 1, 1.0)
    assert found.is_all_alike
    with pytest.raises(UserError, match="10 texts become 1 token sequences"):
        check(tokenizer, tmp_path, [f"a{text}" for text in TEXTS])


def test_a_byte_level_tokenizer_has_no_unknowns_and_gives_texts_back():
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = pre_tokenizers.ByteLevel.alphabet()
    backend = Tokenizer(models.BPE({c: i for i, c in enumerate(["<unk>", *letters])}, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>")
    found = sample_of(tokenizer, TEXTS)
    assert (found.num_whole, found.lost_hangul, found.num_sequences) == (10, 0.0, 10)


def test_a_tokenizer_of_letters_that_are_composed_again_loses_nothing(tmp_path, said):
    """Such as bert-base-multilingual-uncased: it decomposes Hangul, and knows the letters."""
    letters = sorted(set(unicodedata.normalize("NFD", "".join(SYLLABLES))))
    check(bert(tmp_path / "model", known=letters), tmp_path)
    assert "0.0 % unknown tokens; 10 of 10 texts come back" in said()[0]


def test_shares_count_neither_special_tokens_nor_ignored_places(tmp_path):
    tokenizer = bert(tmp_path / "model", do_lower_case=False)
    # [CLS] [UNK] a b [SEP] [PAD] and an ignored target: one of three.
    ids = np.array([2, 1, 5, 6, 3, 0, -100])
    assert unknown_share(tokenizer, [ids[:2], ids[2:]]) == pytest.approx(1 / 3)
    assert unknown_share(tokenizer, [ids[:0]]) == 0.0
