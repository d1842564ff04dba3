"""NIKL's contest: rows of all tasks, the latest year, refusals, and submissions."""

import json
import unicodedata

import pytest
from support.releases import put, refusal, rows

from ke_t5.readers import nikluge
from ke_t5.task.submission import format_of, write_submission

TALK = [{"speaker": "A", "utterance": "비 와", "utterance_id": "u1"},
        {"speaker": "B", "utterance": "그래", "utterance_id": "u2"}]  # fmt: skip
CELLS = [{"value": "연도", "is_header": True, "row": 0}, {"value": 2018, "row": 1},
         {"value": "매출", "is_header": True, "row": 0}]  # fmt: skip


@pytest.mark.parametrize(
    ("release", "given", "output", "expected"),
    [
        (
            nikluge.EA,
            {"form": "좋다", "target": {"form": None}},
            {"joy": "True", "fear": "False"},
            {"text": "좋다", "target": "", "label": ["joy"]},
        ),
        (nikluge.AU, "꺼져", 1, {"text": "꺼져", "label": "1"}),
        (nikluge.AU, {"form": "꺼져"}, "0", {"text": "꺼져", "label": "0"}),
        (nikluge.IAU, "미치게 좋다", "POSITIVE", {"text": "미치게 좋다", "label": "POSITIVE"}),
        (
            nikluge.NLI,
            {"context": "가", "prompt": "나"},
            [1, -2],
            {"context": "가", "prompt": "나", "score": -0.5},
        ),
        (
            nikluge.SC,
            {"sentence1": "가", "sentence3": "다"},
            "나",
            {"sentence1": "가", "sentence3": "다", "summary": "나"},
        ),
        (
            nikluge.GTPS,
            {"metadata": {"title": "표"}, "table": CELLS},
            ["하나", "둘"],
            {"table": "표 / [연도] | [매출] / 2018", "summary": "하나"},
        ),
        (
            nikluge.GTPS,
            {
                "metadata": {
                    "title": "결산 분석",
                    "table_title": "총수입",
                    "highlighted_cells": [[1, 0], [0, 1]],
                },
                "table": [
                    {"value": value, "is_header": row == 0, "col": col, "row": row}
                    for row, values in enumerate([["구분", "예산"], ["12", "34"]])
                    for col, value in enumerate(values)
                ],
            },
            ["하나"],
            {
                "table": "결산 분석 / 총수입 / [구분] | *[예산]* / *12* | 34",
                "summary": "하나",
            },
        ),
        (
            nikluge.CCI,
            {
                "conversation": TALK,
                "reference_id": ["u2"],
                "category": "원인",
                **{f"inference_{i}": str(i) for i in (1, 2, 3)},
            },
            "inference_2",
            {
                "conversation": "A: 비 와 B: 그래",
                "reference": "B: 그래",
                "category": "원인",
                "choice1": "1",
                "choice2": "2",
                "choice3": "3",
                "label": "inference_2",
            },
        ),
        (
            nikluge.DCS,
            {"conversation": TALK, "subject_keyword": ["날씨", "비"]},
            "요약",
            {"conversation": "A: 비 와 B: 그래", "keyword": "날씨, 비", "summary": "요약"},
        ),
    ],
)
def test_rows(tmp_path, release, given, output, expected):
    task = release.name.removeprefix("nikluge_")
    raw = {"id": "x-1", "input": given, "output": output}
    put(tmp_path, f"nikluge/a/nikluge-{task.upper()}-2024-train.json", [raw])
    put(tmp_path, f"nikluge/nikluge-{task}-2021-dev.jsonl", "not read")
    (row,) = rows(release, tmp_path, "train")
    assert json.loads(row.pop("raw")) == raw
    assert row == {"guid": "x-1", **expected}
    assert list(release.find(tmp_path)) == ["train"]


def test_sentiment_of_2022_has_names_of_its_own(tmp_path):
    raw = {"id": "1", "sentence_form": "좋다"}
    labelled = {**raw, "annotation": [["본품#품질", ["폰", 0, 1], "positive"]] * 2}
    put(tmp_path, "NIKL/nikluge/nikluge-sa-2022-dev.jsonl", json.dumps(labelled) + "\n")
    put(tmp_path, "NIKL/nikluge/nikluge-sa-2022-test.jsonl", json.dumps({**raw, "annotation": []}))
    (row,) = rows(nikluge.SA, tmp_path, "validation")
    assert row["label"] == ["본품#품질#positive"]
    (row,) = rows(nikluge.SA, tmp_path, "test")
    assert row["label"] is None


@pytest.mark.parametrize(
    ("release", "name"),
    [
        (nikluge.AU, "nikluge-au-2022-train.jsonl"),
        (nikluge.AU, "nikluge-2022-au-train.jsonl"),
        (nikluge.CCI, "대화맥락추론_train.json"),
        (nikluge.DCS, "일상대화요약_train.json"),
        (nikluge.DCS, unicodedata.normalize("NFD", "일상대화요약_train.json")),
    ],
)
def test_files_have_the_names_of_their_year(tmp_path, release, name):
    put(tmp_path, f"nikluge/{name}", "")
    put(tmp_path, "nikluge/nikluge-2022-nli-train.jsonl", "")
    put(tmp_path, "nikluge/일상대화_train.json", "")
    (found,) = release.find(tmp_path).values()
    assert [file.name for file in found.files] == [name]


@pytest.mark.parametrize("output", ["0", 1, "positive"])
def test_how_an_utterance_is_meant_is_one_of_two_words(tmp_path, output):
    raw = {"id": "1", "input": "가", "output": output}
    put(tmp_path, "nikluge/nikluge-2023-iau-train.jsonl", json.dumps(raw) + "\n")
    message = f"output {output!r}, expected NEGATIVE or POSITIVE; fix that row"
    assert message in refusal(nikluge.IAU, tmp_path)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({"id": "1", "output": 1}, "no 'input' and no 'sentence_form'; fix that row"),
        ({"id": "1", "input": "가"}, "no 'output'; fix that row"),
        ({"id": "1", "input": 3, "output": 1}, "'input' is neither an object nor a string; fix"),
        ({"id": "1", "input": "가", "output": 2}, "output 2, expected 0 or 1; fix that row"),
    ],
)
def test_a_fault_is_named(tmp_path, raw, message):
    put(tmp_path, "nikluge/nikluge-au-2022-train.jsonl", json.dumps(raw) + "\n")
    assert message in refusal(nikluge.AU, tmp_path)


@pytest.mark.parametrize(
    ("release", "given", "output", "message"),
    [
        (nikluge.EA, "가", {}, "'input' is a string, expected an object"),
        (nikluge.EA, {"form": "가"}, {"joy": "yes"}, "'joy' is 'yes', expected True or False"),
        (nikluge.NLI, {}, "x", "output 'x', expected a number or a list of numbers"),
        (nikluge.NLI, {}, [], "output [], expected a number or a list of numbers"),
        (nikluge.SA, "가", ["나"], "annotation '나', expected a list from an aspect to a polarity"),
        (nikluge.SA, "가", [["나"]], "annotation ['나'], expected a list from an aspect to a"),
        (nikluge.GTPS, {"table": []}, [], "no text in 'output'"),
        (nikluge.GTPS, {"table": []}, [1], "'an entry of output' is a number, expected a string"),
        (nikluge.DCS, {"conversation": []}, 1.5, "'output' is a number, expected a string"),
    ],
)
def test_a_label_of_another_kind_is_refused(tmp_path, release, given, output, message):
    task = release.name.removeprefix("nikluge_")
    raw = {"id": "1", "input": given, "output": output}
    put(tmp_path, f"nikluge/nikluge-{task}-2022-train.jsonl", json.dumps(raw) + "\n")
    assert f"-train.jsonl:1: {message}" in refusal(release, tmp_path)


@pytest.mark.parametrize(
    ("task", "predictions", "outputs"),
    [
        ("nikluge_au", ["insulting", None], [1, 0]),
        ("nikluge_iau", ["positive", None], ["POSITIVE", "NEGATIVE"]),
        (
            "nikluge_sa",
            [["본품#품질#positive"], None],
            [[["본품#품질", [None, 0, 0], "positive"]], []],
        ),
        ("nikluge_nli_gen", [1.5, None], [1.5, 0.0]),
        ("nikluge_gtps_gen", ["글", None], [["글"], [""]]),
        ("nikluge_cci", ["3", None], ["inference_3", "inference_1"]),
        ("nikluge_dcs_gen", ["요약", None], ["요약", ""]),
    ],
)
def test_a_submission_is_the_test_with_its_output(tmp_path, task, predictions, outputs):
    raws = [json.dumps({"id": name, "input": "가", "output": ""}) for name in "ab"]
    path = write_submission(format_of(task), tmp_path / "out.jsonl", raws, predictions)
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert [line["output"] for line in lines] == outputs
    assert [line["id"] for line in lines] == ["a", "b"] and lines[0]["input"] == "가"


def test_emotions_are_all_in_a_submission(tmp_path):
    path = write_submission("nikluge_ea", tmp_path / "o", ['{"id": "a"}'], [["joy"]])
    output = json.loads(path.read_text(encoding="utf-8"))["output"]
    assert output.pop("joy") == "True" and set(output.values()) == {"False"} and len(output) == 7
