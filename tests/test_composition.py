"""Decomposed text (NFD) is composed on reading, and positions in it are adjusted."""

from __future__ import annotations

import json
import logging
import unicodedata

import pytest
from support.helpers import folders

import ke_t5.task.task  # noqa: F401 - registers the tasks
from ke_t5.composition import compose, compose_row, decomposed_places
from ke_t5.errors import Exit, UserError
from ke_t5.pipe import Folders, FunctionDataSource, HFDataSource, TaskRegistry
from ke_t5.readers.release import text_at
from ke_t5.task.checks import known_labels
from ke_t5.task.labels import Labels


def nfd(value):
    """The value with all of its texts decomposed."""
    if isinstance(value, str):
        return unicodedata.normalize("NFD", value)
    if isinstance(value, list):
        return [nfd(item) for item in value]
    if isinstance(value, dict):
        return {name: nfd(item) for name, item in value.items()}
    return value


def rows_of(source, path, split="train"):
    rows = source.rows(split, folders(path)).dataset.remove_columns("_id")
    return rows.to_list()


@pytest.mark.parametrize("text", ["한글 값, 뷁 ㅋㅋ", "café ガギ", "", "no marks"])
def test_compose_undoes_nfd(text):
    assert compose(nfd(text)) == text
    assert compose(text) is text


# Compatibility ideographs, the Angstrom sign, old Hangul, a mark without a letter: NFC would
# replace the first two, and the others have no composed form.
@pytest.mark.parametrize("text", ["\uf914 \u212b", "\u1102\u119e", " \u0301", "각\u11ab"])
def test_compose_leaves_other_text_unchanged(text):
    assert compose(text) == text


@pytest.mark.parametrize(
    ("text", "places"),
    [
        ("가 나", [0, 1, 2, 3]),
        (nfd("각") + "1" + nfd("가"), [0, 3, 4, 6]),
        ("e\u0301\u0301.", [0, 2, 3, 4]),  # the second accent has no composed form
        ("", [0]),
    ],
)
def test_offsets_in_composed_text_are_mapped_to_the_decomposed_text(text, places):
    assert decomposed_places(text) == places
    assert len(places) == len(compose(text)) + 1


def test_every_position_moves_with_its_text():
    sentence = "이순신 장군은 서울에서"
    row = {
        "sentence": sentence,
        "subject": {"word": "이순신", "start": 0, "end": 3, "type": "PER"},
        "object": {"word": "서울", "start": 8, "end": 10, "type": "LOC"},
        "context": sentence,
        "answers": [{"text": "장군", "start": 4}, {"text": "서울", "start": 8}],
        "plausible_answers": [{"text": "x", "start": 99}],
        "text": "서울 값",
        "entities": [{"start": 0, "end": 2, "label": "LC"}],
        "tags": ["B-LC", "I-LC", "O", "B-QT"],
        "label": "IT과학",
    }

    def offset(text, old):
        return len(nfd(text[:old]))

    decomposed = nfd(row)
    for name in ("subject", "object"):
        for end in ("start", "end"):
            decomposed[name][end] = offset(sentence, row[name][end])
    for answer, old in zip(decomposed["answers"], (4, 8), strict=True):
        answer["start"] = offset(sentence, old)
    decomposed["entities"][0]["end"] = offset("서울", 2)
    # 서 = 2 letters, 울 = 3, the space, 값 = 3
    decomposed["tags"] = ["B-LC", *["I-LC"] * 4, "O", "B-QT", "I-QT", "I-QT"]
    assert compose_row(decomposed, "row 0") == row
    assert compose_row(row, "row 0") is row


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ({"text": nfd("한글"), "entities": [{"start": 1, "end": 6}]}, "inside a character (1)"),
        ({"text": nfd("한"), "tags": ["O", "B-X", "I-X"]}, "tagged O and B-X"),
        ({"body": nfd("한글"), "answer": {"answer_start": [3]}}, "'answer' contains positions"),
    ],
)
def test_positions_that_cannot_be_adjusted_are_errors_with_a_fix(row, problem):
    with pytest.raises(UserError, match=r"decomposed \(NFD\).*compose the file") as caught:
        compose_row(row, "f.json, row 7")
    assert problem in str(caught.value) and "f.json, row 7" in str(caught.value)
    assert caught.value.exit_code == Exit.DATA


def test_a_span_that_counts_composed_characters_of_decomposed_text_is_an_error():
    with pytest.raises(UserError, match=r"'글' is not at 1..2 .*\(NFD\); compose the file"):
        text_at(nfd("한글"), 1, 2, "글", "f.json:1")


def test_sources_compose_and_report_it_in_one_line(tmp_path, caplog):
    rows = [{"text": "한글", "label": "경제"}, {"text": "abc", "label": "사회"}]
    columns = {"text": "string", "label": "string"}
    source = FunctionDataSource(lambda split: nfd(rows), ["train"], columns, name="composed_1")
    file = tmp_path / "rows.jsonl"
    file.write_text("\n".join(json.dumps(nfd(row)) for row in rows))
    hub = HFDataSource("json", data_files={"train": str(file)})
    with caplog.at_level(logging.WARNING, "ke_t5"):
        for one, told in ((source, "composed_1"), (hub, "json train")):
            caplog.clear()
            assert rows_of(one, tmp_path) == rows
            rows_of(one, tmp_path)
            line = f"{told}: 2 of 2 rows contain decomposed text (NFD), composed (NFC) on reading"
            assert caplog.messages == [line]


def test_a_release_with_decomposed_labels_is_read(tmp_path):
    titles = [{"guid": f"ynat-v1_{i}", "title": "한글 제목", "label": "IT과학"} for i in range(3)]
    for part in ("train", "dev"):
        (tmp_path / f"ynat-v1.1_{part}.json").write_text(json.dumps(nfd(titles)))
    task = TaskRegistry.get("klue_tc")
    rows = task.rows("train", Folders(tmp_path, tmp_path / "cache")).dataset
    assert rows["label"] == ["IT과학"] * 3 and rows["title"] == ["한글 제목"] * 3


def test_labels_are_composed_whatever_form_they_are_typed_in():
    labels = Labels((nfd("경제"), nfd("사회")))
    assert labels.names == labels.keys == ("경제", "사회")


@pytest.mark.parametrize(
    ("value", "shown"), [("경제\u200b", "U+ACBD U+C81C U+200B"), ("경 제", "U+ACBD U+0020 U+C81C")]
)
def test_a_label_that_only_looks_right_is_shown_by_its_characters(value, shown):
    import datasets

    dataset = datasets.Dataset.from_dict({"label": ["사회", value]})
    with pytest.raises(UserError) as caught:
        known_labels(dataset, "here", labels=Labels(("경제", "사회")), column="label")
    assert str(caught.value).endswith(
        f"only looks like the label '경제'; write U+ACBD U+C81C instead of {shown}"
    )
