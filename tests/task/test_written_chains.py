"""Chains in brackets: windows, target texts, and decoding of arbitrary generated text."""

from __future__ import annotations

import random
from types import SimpleNamespace

import pytest
from support.toys import T5, character_tokenizer, examples_on, save_tokenizers

from ke_t5.pipe import EvaluationHelper, TaskRegistry
from ke_t5.pipe.scoring import score
from ke_t5.serving.content import content_of
from ke_t5.task.coreference import in_order
from ke_t5.task.inputs import input_form, render_input
from ke_t5.task.written_chains import (
    decode_windows,
    marked,
    merged,
    placed,
    read_marks,
    window_chains,
    windows_of,
)

TEXT = "[속보] 나는 서울에 간다\n\n거기서 나는 논다."


def random_document(seed: int) -> tuple[str, list]:
    """A text of several lines, and chains of nested mentions in them."""
    pick = random.Random(seed)
    lines = [
        "".join(pick.choice("가나다라 [") for _ in range(pick.randrange(4, 12))) for _ in "abcde"
    ]
    text = "\n".join(lines)
    found: set[tuple[int, int]] = set()
    for _ in range(20):
        start = pick.randrange(len(text))
        end = start + pick.randrange(1, 4)
        span = text[start:end]
        if "\n" not in span and span.strip() == span != "" and end <= len(text):
            found.add((start, end))
    mentions = sorted(found)
    chains = [[list(one) for one in mentions if pick.random() < 0.5]]
    chains.append([list(one) for one in mentions if list(one) not in chains[0]])
    return text, chains


@pytest.mark.parametrize("seed", range(20))
def test_what_is_written_is_read_back(seed):
    text, gold = random_document(seed)
    window = (0, len(text))
    chains = window_chains(gold, window)
    written = marked(text, window, chains)
    assert "\n" not in written
    found = placed(written, text, window)
    assert {number: sorted(chain) for number, chain in found.items()} == {
        number: sorted(chain) for number, chain in chains.items()
    }
    kept = {mention for chain in chains.values() for mention in chain}
    assert kept <= {tuple(mention) for chain in gold for mention in chain}
    for a, b in kept:  # none crosses another
        assert not any(a < c < b < d for c, d in kept)


@pytest.mark.parametrize("seed", range(20))
def test_nothing_that_a_model_writes_raises(seed):
    pick = random.Random(seed)
    text, gold = random_document(seed)
    window = (0, len(text))
    written = list(marked(text, window, window_chains(gold, window)))
    for _ in range(pick.randrange(12)):
        place = pick.randrange(len(written) + 1)
        written[place : place + pick.randrange(3)] = pick.choice(
            ["[", "]", "[7 ", "9", "하하", " "]
        )
    found = placed("".join(written), text, window)
    spans = [span for chain in found.values() for span in chain]
    assert all(0 <= start < len(text) and end <= len(text) for start, end in spans)
    merged([found])
    for odd in ("", "]", "[", "[1 ]", "[1 [2 ", "]]] [", "[" + "9" * 5000 + " 가]", "[1"):
        assert merged([placed(odd, text, window)]) == []


def test_other_text_costs_only_the_mentions_in_it():
    window = (0, len(TEXT))
    written = "(속보) [1 나]는 [2 부산]에 간다 [2 거기]서 [1 나]는"
    found = placed(written, TEXT, window)
    assert [TEXT[a:b] for a, b in found[1]] == ["나", "나"]
    assert [TEXT[a:b] for a, b in found[2]] == ["거기"]


def test_chains_of_two_windows_that_share_a_mention_are_one():
    first = {1: [(0, 2), (5, 6)], 2: [(3, 4), (7, 8)]}
    second = {1: [(5, 6), (9, 10)], 2: [(11, 12), (13, 14)]}
    assert merged([first, second]) == [
        [[0, 2], [5, 6], [9, 10]], [[3, 4], [7, 8]], [[11, 12], [13, 14]],
    ]  # fmt: skip


@pytest.mark.parametrize("seed", range(10))
def test_windows_are_whole_lines_that_overlap_and_cover_the_text(seed):
    pick = random.Random(seed)
    text = "\n".join("가" * pick.randrange(9) for _ in range(30))
    room = pick.randrange(8, 30)
    found = windows_of(character_tokenizer(T5), text, room)
    borders = {
        i for i in range(len(text) + 1) if i in (0, len(text)) or "\n" in text[i - 1 : i + 1]
    }
    for start, end in found:
        assert {start, end} <= borders and text[start:end].count("가") <= room
    covered = {i for window in found for i in range(*window)}
    assert {i for i, character in enumerate(text) if character != "\n"} <= covered
    for (a, b), (c, d) in zip(found, found[1:], strict=False):
        assert a < c and b < d  # each has new text
        last, following = text[a:b].split("\n")[-1], text[c:d].split("\n")[0]
        # And half of the one before, unless its last line is longer or leaves no room.
        most = min(text[a:b].count("가") / 2, room - len(following))
        assert c < b or len(last) > most


@pytest.fixture
def examples(tmp_path):
    vocabularies = save_tokenizers(tmp_path / "tokenizers")
    lines = [f"{name}가 왔다. 그는 웃었다." for name in "나다나다"]
    text = "\n".join(lines)
    mans = [[i, i + 1] for i, letter in enumerate(text) if letter in "그"]
    chains = [[{"start": a, "end": b} for a, b in mans]]
    far = [0, text.rindex("다가")]
    chains.append([{"start": a, "end": a + 1} for a in far])
    row = {"id": "a", "text": text, "chains": chains}
    _, found = examples_on(
        "nikl_cr_gen", [row], vocabulary=vocabularies[T5], cache=tmp_path, inputs=200, targets=60
    )
    return found


def test_a_long_document_is_written_in_windows_and_joined_again(examples):
    rows = [examples.example(i) for i in range(len(examples))]
    assert len(rows) > 1 and {row["_id"] for row in rows} == {0}
    tokenizer = character_tokenizer(T5)
    written = [tokenizer.decode(row["labels"], skip_special_tokens=True) for row in rows]
    outputs = [{"sequences": [one]} for one in written]
    assert decode_windows(outputs, rows) == ([rows[0]["gold"][1]], None)
    assert len(rows[0]["gold"][1]) == 4
    name = "chains are not those of any window, nor linked by a mention in two of them"
    assert examples.lost()[name] == (1, 2)


def test_a_document_keeps_the_texts_of_all_windows(examples):
    task = TaskRegistry.get("nikl_cr_gen")
    texts = [[f"{number}. 창", f"{number}. 다른 창"] for number in range(len(examples))]
    outputs = enumerate({"sequences": one} for one in texts)
    (line,) = score(EvaluationHelper(task), examples, outputs).predictions
    assert line["sequences"] == ["\n".join(written) for written in zip(*texts, strict=True)]
    content = content_of(task, {"text": examples.example(0)["document"]}, line)
    assert content == {"chains": [], "text": line["sequences"][0]}


def test_without_its_document_the_first_window_with_chains_counts(examples):
    names = {*examples.features, "_id"}
    rows = [
        {name: value for name, value in examples.example(i).items() if name in names}
        for i in range(len(examples))
    ]
    outputs = [{"sequences": ["[1 가]나[1 다]"]}] + [{"sequences": [""]}] * (len(rows) - 1)
    assert decode_windows(outputs, rows)[0] == in_order([[[0, 1], [2, 3]]])


def test_marks_are_read_strictly_inside_out():
    assert read_marks("[1 나]는 [2 [1 나]의 집]다]") == (
        "나는나의집다",
        {1: [(0, 1), (2, 3)], 2: [(2, 5)]},
    )
    assert read_marks("가 [나] [3]") == ("가[나[3", {})


def test_a_windows_input_is_not_made_of_the_row():
    tokenizer = SimpleNamespace(sep_token=None)
    with pytest.raises(ValueError, match="nikl_cr_gen reads 'window_text', which the row does not"):
        render_input("nikl_cr_gen", {"text": "그는 웃었다."}, tokenizer)
    assert input_form(TaskRegistry.get("nikl_cr_gen"), tokenizer) == "nikl_cr text: {window_text}"
