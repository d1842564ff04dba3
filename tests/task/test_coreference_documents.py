"""Windows of documents: tokens, sentences and mentions; chains decoded to characters."""

from __future__ import annotations

import random

import numpy as np
import pytest
from support.toys import BERT, T5, character_tokenizer, examples_on, save_tokenizers

from ke_t5.errors import UserError
from ke_t5.pipe.windows import side_by_side
from ke_t5.task.coreference import chains_of, decode_chains, documents, labelled_chains, lines_of

TEXT = "나는 서울에 간다\n\n거기서 나는 논다."
CHAINS = [
    [{"start": 0, "end": 1}, {"start": 15, "end": 16}],
    [{"start": 3, "end": 5}, {"start": 11, "end": 13}],
]


@pytest.fixture(scope="module")
def vocabularies(tmp_path_factory):
    return save_tokenizers(tmp_path_factory.mktemp("tokenizers"))


@pytest.fixture
def build(vocabularies, tmp_path):
    def built(*rows, kind=BERT, **lengths):
        return examples_on(
            "nikl_cr", list(rows), vocabulary=vocabularies[kind], cache=tmp_path, **lengths
        )

    return built


def row(text=TEXT, chains=CHAINS, key="a"):
    return {"id": key, "text": text, "chains": chains}


@pytest.mark.parametrize("kind", [T5, BERT])
@pytest.mark.parametrize("seed", range(6))
def test_every_line_is_in_one_window_and_every_character_in_one_token(kind, seed):
    pick = random.Random(seed)
    lines = ["가나다라마바사"[: pick.randrange(8)] for _ in range(30)]
    text, limit = "\n".join(lines), pick.randrange(10, 30)
    tokenizer = character_tokenizer(kind)
    (found,) = documents(tokenizer, [text], limit)
    assert max(found.lengths) <= limit and sum(found.lengths) == len(found.ids)
    read = "".join(text[start:end] for start, end in found.offsets)
    assert read == text.replace("\n", "")
    ends = np.cumsum(found.lengths)
    for start, end in zip([0, *ends], ends, strict=False):
        window = found.ids[start:end]
        inner = tokenizer("".join(text[a:b] for a, b in found.offsets[start:end]))
        assert window == inner["input_ids"]
    sentences = {n for n in found.sentences if n >= 0}
    assert len(sentences) == sum(1 for _ in lines_of(text))


def test_a_sentence_longer_than_a_window_is_cut_and_no_mention_crosses_the_cut():
    (found,) = documents(character_tokenizer(T5), ["가나다라마바사\n가"], 4)
    assert found.lengths == [4, 4, 3]
    assert found.sentences == [0, 0, 0, -1, 1, 1, 1, -1, 2, 3, -1]
    assert found.place_of(1, 3) == (1, 2)
    assert found.place_of(2, 4) is None and found.place_of(6, 9) is None


def test_labels_are_the_tokens_of_the_mentions(build):
    _, examples = build(row())
    example = examples.example(0)
    assert example["labels"] == [[1, 1, 0], [14, 14, 0], [4, 5, 1], [10, 11, 1]]
    assert example["gold"] == [[[0, 1], [15, 16]], [[3, 5], [11, 13]]]
    assert examples.lost() == {}
    chains = labelled_chains(example["labels"])
    assert decode_chains([{"chains": chains}], [example]) == (example["gold"], None)


def test_windows_are_side_by_side_in_a_batch(build):
    _, examples = build(row(), row("나는 간다", [], "b"), inputs=12)
    batch = examples.batch([0, 1])
    assert batch["window_lengths"].tolist() == [[11, 12], [7, 0]]
    assert batch["input_ids"].shape == batch["sentence_ids"].shape == (2, 2, 12)
    assert batch["attention_mask"].sum(-1).tolist() == [[11, 12], [7, 1]]
    assert batch["sentence_ids"][0, 1].tolist() == [-1, *[1] * 10, -1]
    assert (batch["sentence_ids"][1, 1] == -1).all()
    flat = batch["input_ids"][batch["attention_mask"].astype(bool)]
    assert flat[:23].tolist() == examples.example(0)["input_ids"]


def test_what_is_out_of_reach_is_counted(build):
    chains = [
        *CHAINS,
        [{"start": 6, "end": 12}, {"start": 20, "end": 21}],
        [{"start": 7, "end": 9}],
    ]
    _, examples = build(row(chains=chains))
    assert examples.lost() == {
        "mentions are not a run of whole tokens of one sentence and window": (1, 7),
        "mentions are alone in their chain, which is never predicted": (1, 7),
    }


def test_a_document_without_labels_is_no_example_to_learn_from(build):
    _, examples = build(row(), row(chains=None, key="b"), row("비", [], "c"))
    assert examples.labelled().ids.tolist() == [0, 2]


def test_spans_that_are_the_same_characters_are_one_mention():
    example = {"text": "가 나", "offsets": [[0, 1], [1, 2], [2, 3]]}
    chains = [[[0, 0], [2, 2]], [[0, 1], [1, 2], [1, 1]]]
    assert decode_chains([{"chains": chains}], [example])[0] == [[[0, 1], [2, 3]]]


@pytest.mark.parametrize(
    ("chains", "message"),
    [
        ([[{"start": 3, "end": 99}]], r"mention 3\.\.99: empty or outside 0\.\.21"),
        ([[{"start": 3, "end": 3}]], r"mention 3\.\.3: empty"),
        ([[{"start": 0, "end": 1}], [{"start": 0, "end": 1}]], "the mention '나' is in two chains"),
    ],
)
def test_faults_name_the_row(build, chains, message):
    with pytest.raises(ValueError, match=message):
        chains_of(row(chains=chains))
    with pytest.raises(UserError, match=rf"row 0 \(a\): {message}.*; fix or remove that row"):
        build(row(chains=chains))


def test_no_room_for_text_is_an_error():
    with pytest.raises(UserError, match="max length 2 leaves no room for text"):
        documents(character_tokenizer(BERT), ["가"], 2)


def test_an_empty_window_has_one_unmasked_token():
    batch = {"window_lengths": np.array([[2, 0]]), "input_ids": np.array([[5, 6]])}
    assert side_by_side(batch, {"input_ids": 9})["attention_mask"].tolist() == [[[1, 1], [1, 0]]]
