"""NIKL coreference: made-up documents in the documented format."""

import json
import logging

import pytest
from support.releases import put, refusal, rows

from ke_t5.readers.nikl_cr import ANTECEDENTS, DOCUMENTS, MENTIONS, marked

NAME = "NWRW1800000029.315"
PLACE = "NIKL/v1.0/CR_2020"
FORMS = ("강릉은 바다다.", "", "그곳에 민수가 산다.", "그는 강릉을 사랑한다.")
WHOLE = "강릉은 바다다. 그곳에 민수가 산다. 그는 강릉을 사랑한다."
CITY = [(1, "강릉"), (3, "그곳"), (4, "강릉")]
MAN = [(3, "민수"), (4, "그")]


def mention(number, form, **change):
    begin = FORMS[number - 1].index(form)
    place = {"sentence_id": f"{NAME}.1.{number}", "form": form, "NE_id": 1}
    return place | {"begin": begin, "end": begin + len(form)} | change


def document(*chains, key=NAME):
    sentences = [
        {"id": f"{NAME}.1.{number}", "form": form, "word": []}
        for number, form in enumerate(FORMS, 1)
    ]
    return {"id": key, "metadata": {"title": "글"}, "sentence": sentences,
            "CR": [{"mention": list(chain)} for chain in chains]}  # fmt: skip


def chain(mentions):
    return [mention(*one) for one in mentions]


def written(folder, *documents, mark="", name="NXCR2002008030.json"):
    content = json.dumps({"id": name, "document": list(documents)}, ensure_ascii=False)
    return put(folder, f"{PLACE}/{name}", mark + content)


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("place", [".", "NIKL", "NIKL/v1.0", PLACE])
def test_sentences_with_their_mentions(tmp_path, mark, place):
    written(tmp_path, document(chain(CITY[::-1]), chain(MAN)), mark=mark)
    found = rows(MENTIONS, tmp_path / place, "train")
    assert [row["text"] for row in found] == [form for form in FORMS if form]
    assert {row["document"] for row in found} == {NAME}
    assert [row["id"] for row in found] == [f"{NAME}.1.{number}" for number in (1, 3, 4)]
    assert [[(e["start"], e["end"], e["label"]) for e in row["entities"]] for row in found] == [
        [(0, 2, "MENTION")],
        [(0, 2, "MENTION"), (4, 6, "MENTION")],
        [(0, 1, "MENTION"), (3, 5, "MENTION")],
    ]


def test_each_mention_with_all_earlier_ones_of_its_chain(tmp_path):
    """Mentions are in any order in the file; an empty sentence adds no space to the text."""
    written(tmp_path, document(chain(CITY[::-1]), chain(MAN), chain([(1, "바다")])))
    found = rows(ANTECEDENTS, tmp_path, "train")
    assert [row["question"] for row in found] == [
        "*그곳*에 민수가 산다.", "그는 *강릉*을 사랑한다.", "*그*는 강릉을 사랑한다.",
    ]  # fmt: skip
    assert [[(a["text"], a["start"]) for a in row["answers"]] for row in found] == [
        [("강릉", 0)],
        [("그곳", 9), ("강릉", 0)],
        [("민수", 13)],
    ]
    assert [row["context"] for row in found] == [WHOLE[:9], WHOLE[:24], WHOLE[:21]]
    assert [row["id"] for row in found] == [
        f"{NAME}.1.3:0-2", f"{NAME}.1.4:3-5", f"{NAME}.1.4:0-1",
    ]  # fmt: skip
    assert not any(row["is_impossible"] for row in found)


def test_a_document_has_its_sentences_as_lines_and_its_chains_in_order(tmp_path):
    written(tmp_path, document(chain(MAN), [], chain(CITY[::-1])), document(key="none"))
    first, second = rows(DOCUMENTS, tmp_path, "train")
    assert first["text"] == "\n".join(FORMS) and first["id"] == NAME
    places = [[(m["start"], m["end"]) for m in one] for one in first["chains"]]
    assert [[first["text"][start:end] for start, end in one] for one in places] == [
        ["강릉", "그곳", "강릉"], ["민수", "그"],
    ]  # fmt: skip
    assert places[0] == [(0, 2), (10, 12), (25, 27)]
    assert second["chains"] == []


def test_of_mentions_in_each_other_the_outer_one_is_tagged_and_none_is_an_antecedent(
    tmp_path, caplog
):
    outer, inner = mention(3, "그곳에 민수"), mention(3, "그곳")
    written(tmp_path, document([inner, outer]))
    assert [e["end"] for e in rows(MENTIONS, tmp_path, "train")[1]["entities"]] == [6]
    assert rows(ANTECEDENTS, tmp_path, "train") == []
    assert caplog.messages == [
        f"{tmp_path}/{PLACE}: left out 1 mention overlapping an earlier or longer one"
    ]


def test_what_cannot_be_placed_is_left_out_and_reported(tmp_path, caplog):
    unknown = mention(1, "바다", sentence_id="NWRW1800000029.316.1.1")
    known = document([*chain(CITY), unknown, mention(1, "강릉")], chain([*MAN, (1, "강릉")]))
    written(tmp_path, known, document(key="other"))
    written(tmp_path, document(chain([(1, "바다")])), name="SXCR2002007240.json")
    with caplog.at_level(logging.INFO):
        assert len(rows(ANTECEDENTS, tmp_path, "train")) == 3
    folder = f"{tmp_path}/{PLACE}"
    assert caplog.messages == [
        f"{folder}: left out 1 repeated document",
        f"{folder}: left out 1 mention in sentences that the document does not have",
        f"{folder}: left out 1 mention of an earlier chain",
    ]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"CR": [{"mention": [mention(1, "강릉", end=3)]}]},
            f", sentence {NAME}.1.1: expected '강릉' at 0..3, found '강릉은'; "
            "fix the span: offsets count the characters of the unchanged text",
        ),
        (
            {"sentence": 2 * [{"id": f"{NAME}.1.1", "form": "강릉"}]},
            f": sentence {NAME}.1.1 occurs twice; give each sentence an id of its own",
        ),
        ({"CR": None}, ": 'CR' is null, expected a list; fix that row"),
    ],
)
@pytest.mark.parametrize(
    "release", [MENTIONS, ANTECEDENTS, DOCUMENTS], ids=lambda release: release.name
)
def test_faults_name_the_document(tmp_path, release, changed, message):
    written(tmp_path, document() | changed)
    where = f"{PLACE}/NXCR2002008030.json:1, document {NAME}"
    assert refusal(release, tmp_path) == where + message


def test_a_question_has_whole_words_around_its_mention():
    sentence = "가나다라마바사 " * 9 + "민수는 " + "아자차카타파하 " * 9
    start = sentence.index("민수")
    left, right = " ".join(["가나다라마바사"] * 3), " ".join(["아자차카타파하"] * 3)
    assert marked(sentence, start, start + 2) == f"{left} *민수*는 {right}"
