"""Answers in passages: windows, null positions, unreachable answers."""

from __future__ import annotations

import numpy as np
import pytest
from support.evaluation import perfect_scores
from support.toys import (
    BERT,
    T5,
    all_of,
    changed,
    character_tokenizer,
    examples_on,
    save_tokenizers,
)

from ke_t5.errors import UserError
from ke_t5.pipe import IGNORED
from ke_t5.task.qa import passages

CONTEXT = "첫째 글이다. 둘째 글은 길다. 셋째 글에 정답이 있다. 넷째 글은 끝이다."


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory):
    return save_tokenizers(tmp_path_factory.mktemp("tokenizers"))


@pytest.fixture
def build(tokenizers, tmp_path):
    def built(name, rows, kind=BERT, **lengths):
        folder = {"vocabulary": tokenizers[kind], "cache": tmp_path}
        return examples_on(name, rows, **folder, **lengths)

    return built


def question(answer: str | None, **columns) -> dict:
    spans = [] if answer is None else [{"text": answer, "start": CONTEXT.index(answer)}]
    return changed("klue_mrc", context=CONTEXT, question="답은?", answers=spans, **columns)


def span_of(example: dict, kind: str) -> str:
    ids = example["input_ids"][example["start_positions"] : example["end_positions"] + 1]
    return character_tokenizer(kind).decode(ids)


@pytest.mark.parametrize(("kind", "length"), [(BERT, 26), (T5, 42)])
def test_windows_overlap_and_the_best_answer_over_them_wins(kind, length, build):
    task, examples = build(
        "klue_mrc", [question("정답"), question("글은 길다")], kind, inputs=length
    )
    assert len(examples) > 4
    assert examples.lengths("input_ids").max() == length
    assert set(examples.ids.tolist()) == {0, 1}
    for example in all_of(examples):
        is_null = example["start_positions"] == passages.NULL_POSITION
        answer = ("정답", "글은 길다")[example["_id"]]
        assert is_null or span_of(example, kind) == answer
    assert len({tuple(e["offsets"][-2]) for e in all_of(examples) if e["_id"] == 0}) > 2
    evaluated = perfect_scores(task, examples, character_tokenizer(kind))
    assert [line["prediction"] for line in evaluated.predictions] == ["정답", "글은 길다"]
    assert evaluated.scores["exact_match"] == 100.0 and evaluated.num_rows == 2


@pytest.mark.parametrize(("kind", "length"), [(BERT, 26), (T5, 42)])
def test_windows_together_hold_every_character_of_the_passage(kind, length, build):
    _, examples = build("korquad", [question("정답")], kind, inputs=length)
    seen = {i for example in all_of(examples) for s, e in example["offsets"] for i in range(s, e)}
    assert seen == set(range(len(CONTEXT)))
    for example in all_of(examples):
        held = "".join(CONTEXT[s:e] for s, e in example["offsets"])
        assert held in character_tokenizer(kind).decode(example["input_ids"])


def test_only_the_first_window_keeps_the_passage(build):
    _, examples = build("klue_mrc", [question("정답")], inputs=26)
    kept = [(example["context"], example["gold"]) for example in all_of(examples)]
    assert kept[0] == (CONTEXT, ["정답"])
    assert set(map(str, kept[1:])) == {"('', [])"}


def test_an_impossible_question_learns_the_null_position_in_every_window(build):
    task, examples = build(
        "klue_mrc", [question(None, is_impossible=True), question("정답")], inputs=26
    )
    nulls = [e for e in all_of(examples) if e["_id"] == 0]
    assert {e["start_positions"] for e in nulls} == {e["end_positions"] for e in nulls} == {0}
    evaluated = perfect_scores(task, examples, character_tokenizer(BERT))
    assert [line["prediction"] for line in evaluated.predictions] == ["", "정답"]
    assert evaluated.scores["exact_match"] == 100.0


def test_a_question_of_korquad_is_always_answered(build):
    task, examples = build("korquad", [question("정답")])
    example = examples.example(0)
    size = len(example["input_ids"])
    start, end = np.zeros(size), np.zeros(size)
    start[0] = end[0] = 99.0
    prediction, _ = task.decode([{"start": start, "end": end}], [example])
    assert prediction
    task, examples = build("klue_mrc", [question("정답")])
    assert task.decode([{"start": start, "end": end}], [examples.example(0)])[0] == ""


def test_an_unlabelled_question_has_no_positions(build):
    _, examples = build("klue_mrc", [question("정답"), question(None)], inputs=26)
    places = {e["start_positions"] for e in all_of(examples) if e["_id"] == 1}
    assert places == {IGNORED}
    assert set(examples.labelled().ids.tolist()) == {0}


def test_a_long_question_is_cut_and_counted_once(build):
    row = {**question("정답"), "question": "가" * 100}
    _, examples = build("klue_mrc", [row, question("정답")], inputs=80)
    assert len(examples) > 2
    assert examples.lost()[passages.QUESTION_CUT] == (1, 2)
    ids = examples.example(0)["input_ids"]
    assert ids.count(character_tokenizer(BERT).convert_tokens_to_ids("가")) == 64


def test_answers_out_of_reach_are_counted_once_per_question(build):
    long = question("둘째 글은 길다. 셋째 글에 정답이 있다. 넷째 글은")
    _, examples = build("korquad", [question("정답"), long, long], inputs=26)
    assert examples.lost() == {passages.UNREACHABLE: (2, 3)}
    found = {e["start_positions"] for e in all_of(examples) if e["_id"] == 1}
    assert found == {passages.NULL_POSITION}


@pytest.mark.parametrize("name", ["korquad", "korquad_gen"])
@pytest.mark.parametrize("start", [CONTEXT.index("정답") + 1, -2, 999])
def test_an_answer_that_is_elsewhere_is_refused(build, name, start):
    shifted = {**question("정답"), "answers": [{"text": "정답", "start": start}]}
    message = rf"task '{name}', split 'train', row 1 \(q\): the answer '정답' is not at {start}:"
    with pytest.raises(UserError, match=message):
        build(name, [question("정답"), shifted], T5 if name.endswith("gen") else BERT)


def test_windows_without_room_are_one_line(build):
    with pytest.raises(UserError, match="get_dataset.sequence_length: max length 6 leaves no room"):
        build("klue_mrc", [question("정답")], inputs=6)


def test_a_written_answer_that_was_cut_off_is_counted(build):
    rows = [question("첫째"), question("끝이다"), question(None, is_impossible=True)]
    _, examples = build("klue_mrc_gen", rows, T5, inputs=50)
    lost = examples.lost()
    assert lost[passages.CUT_OFF] == (1, 2)
    assert lost["inputs cut at 50 tokens"] == (3, 3)
    _, examples = build("klue_mrc_gen_context_free", rows, T5, inputs=50)
    assert examples.lost() == {}


def test_only_the_end_of_a_passage_is_given_if_it_matters_most(tmp_path):
    """The generative input has the last 700 characters before a mention."""
    near, far = "김가는 또 ", "서울은 "
    tokenizer = character_tokenizer(T5)
    tokenizer.model_max_length = 1000
    tokenizer.save_pretrained(tmp_path)
    rows = [
        {"id": "d:1", "document": "d", "question": "*그*가 왔다.", "context": context,
         "answers": [{"text": answer, "start": context.index(answer)}], "is_impossible": False}
        for context, answer in ((700 * "가" + near, "김가"), (far + 700 * "가", "서울"))
    ]  # fmt: skip
    name = "nikl_cr_coref_span_prediction_gen"
    folders = {"vocabulary": str(tmp_path), "cache": tmp_path / "cache"}
    _, examples = examples_on(name, rows, **folders, inputs=900)
    texts = [example["text"] for example in all_of(examples)]
    assert [text.partition("context: ")[2] for text in texts] == [694 * "가" + near, 700 * "가"]
    assert examples.lost() == {passages.CUT_OFF: (1, 2)}
    _, examples = examples_on(name, rows, **folders, inputs=100)
    assert examples.lost()[passages.CUT_OFF] == (2, 2)


def test_an_impossible_question_is_written_as_such(build):
    task, examples = build("klue_mrc_gen", [question(None, is_impossible=True)], T5)
    assert character_tokenizer(T5).decode(examples.example(0)["labels"][:-1]) == "impossible"
    assert task.decode([{"sequences": ["impossible"]}], [examples.example(0)])[0] == ""
