"""KLUE-MRC and KorQuAD: questions, and answers at right and wrong offsets."""

import json

import pytest
from support.releases import hub_rows, put, refusal, rows

from ke_t5.readers import klue
from ke_t5.readers.korquad import KORQUAD

CONTEXT = "강릉은 바다의\n도시다."


def squad(*questions):
    paragraph = {"context": CONTEXT, "qas": list(questions)}
    return {"data": [{"title": "강릉", "paragraphs": [paragraph], "source": "hankyung"}]}


ANSWERED = {
    "guid": "klue-mrc-v1_dev_01891",
    "question": "어디?",
    "answers": [{"text": "강릉", "answer_start": 0}, {"text": "바다의\n도시", "answer_start": 4}],
    "is_impossible": False,
}
IMPOSSIBLE = {
    "guid": "klue-mrc-v1_dev_00001",
    "question": "누가?",
    "answers": [],
    "plausible_answers": [{"text": "도시다", "answer_start": 3}],
    "is_impossible": True,
}
MRC_ROWS = [
    {
        "guid": "klue-mrc-v1_dev_01891",
        "title": "강릉",
        "context": CONTEXT,
        "question": "어디?",
        "is_impossible": False,
        "answers": [{"text": "강릉", "start": 0}, {"text": "바다의\n도시", "start": 4}],
        "plausible_answers": [],
    },
    {
        "guid": "klue-mrc-v1_dev_00001",
        "title": "강릉",
        "context": CONTEXT,
        "question": "누가?",
        "is_impossible": True,
        "answers": [],
        "plausible_answers": [{"text": "도시다", "start": 3}],
    },
]


def test_mrc_rows(tmp_path):
    folder = put(
        tmp_path, "klue_benchmark/klue-mrc-v1.1/klue-mrc-v1.1_dev.json", squad(ANSWERED, IMPOSSIBLE)
    )
    assert rows(klue.MRC, folder, "validation") == MRC_ROWS


@pytest.mark.parametrize("as_lists", [True, False])
def test_mrc_from_the_hub_takes_plausible_answers_out(as_lists):
    for raw, row in zip((ANSWERED, IMPOSSIBLE), MRC_ROWS, strict=True):
        answers = raw["answers"] + raw.get("plausible_answers", [])
        if as_lists:
            answers = {key: [answer[key] for answer in answers] for key in ("answer_start", "text")}
        hub = {**raw, "title": "강릉", "context": CONTEXT, "answers": answers}
        hub.pop("plausible_answers", None)
        assert hub_rows(klue.MRC, hub) == [row]


def test_mrc_optional_fields_are_none(tmp_path):
    content = {"data": [{"paragraphs": [{"context": CONTEXT, "qas": [ANSWERED]}]}]}
    put(tmp_path, "klue-mrc-v1.1_train.json", content)
    question = {"guid": "g", "question": "어디?"}
    content = {"data": [{"title": "", "paragraphs": [{"context": CONTEXT, "qas": [question]}]}]}
    folder = put(tmp_path, "klue-mrc-v1.1_test.json", content)
    assert rows(klue.MRC, folder, "train")[0]["title"] is None
    row = rows(klue.MRC, folder, "test")[0]
    assert (row["title"], row["is_impossible"], row["answers"]) == (None, False, None)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"answers": [{"text": "강릉", "answer_start": 1}]},
            "expected '강릉' at 1..3, found '릉은'; "
            "fix the span: offsets count the characters of the unchanged text",
        ),
        (
            {"answers": []},
            "answerable, but without an answer; add it or set is_impossible",
        ),
        ({"answers": {}}, "'answers' is an object, expected a list; fix that row"),
        (
            {"is_impossible": True, "answers": [{"text": "강릉", "answer_start": 10**12}]},
            "'answer_start' is 1000000000000, which does not fit in 32 bits; fix that row",
        ),
    ],
)
def test_mrc_faults_name_the_question(tmp_path, change, message):
    folder = put(tmp_path, "klue-mrc-v1.1_train.json", squad(ANSWERED | change))
    where = "klue-mrc-v1.1_train.json:3, question klue-mrc-v1_dev_01891"
    assert refusal(klue.MRC, folder) == f"{where}: {message}"


def test_korquad_rows(tmp_path):
    question = {"id": "6548850-0-0", "question": "어디?", "answers": ANSWERED["answers"][:1]}
    content = {"version": "KorQuAD_v1.0_train", **squad(question)}
    put(tmp_path, "KorQuAD/KorQuAD_v1.0_train.json", json.dumps(content))
    folder = put(tmp_path, "KorQuAD/KorQuAD_v1.0_dev.json", content)
    row = {**MRC_ROWS[0], "guid": "6548850-0-0", "answers": [{"text": "강릉", "start": 0}]}
    assert list(KORQUAD.find(folder)) == ["train", "validation"]
    assert list(KORQUAD.find(folder / "KorQuAD")) == ["train", "validation"]
    assert rows(KORQUAD, folder, "train") == [row]
    hub = {**question, "title": "강릉", "context": CONTEXT}
    hub["answers"] = {"text": ["강릉"], "answer_start": [0]}
    assert hub_rows(KORQUAD, hub) == [row]


def test_korquad_refuses_klue_mrc(tmp_path):
    folder = put(tmp_path, "KorQuAD_v1.0_dev.json", squad(ANSWERED))
    assert refusal(KORQUAD, folder, "validation").startswith("KorQuAD_v1.0_dev.json:3: no 'id'; ")
