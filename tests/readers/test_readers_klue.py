"""KLUE's JSON tasks: rows from files and from the hub, and refusals."""

import json

import pytest
from support.releases import hub_rows, put, refusal, rows

from ke_t5.readers import klue

YNAT_RAW = {
    "guid": "ynat-v1_dev_00000",
    "title": "제목 …",
    "label": "경제",
    "url": "u",
    "date": "d",
}
YNAT_ROW = {"guid": "ynat-v1_dev_00000", "title": "제목 …", "label": "경제"}

STS_RAW = {
    "guid": "klue-sts-v1_dev_00000",
    "source": "airbnb-rtt",
    "sentence1": "가",
    "sentence2": "나",
    "labels": {"label": 4.9, "real-label": 4.857142857142857, "binary-label": 1},
    "annotations": {"agreement": "0:0:0:0:1:6"},
}
STS_ROW = {
    "guid": "klue-sts-v1_dev_00000",
    "source": "airbnb-rtt",
    "sentence1": "가",
    "sentence2": "나",
    "label": 4.9,
    "real_label": 4.857142857142857,
    "binary_label": "1",
}
STS_HUB = {**STS_RAW, "labels": {**STS_RAW["labels"], "binary-label": "positive"}}

NLI_RAW = {
    "guid": "klue-nli-v1_train_00000",
    "genre": "NSMC",
    "premise": "가",
    "hypothesis": "나",
    "gold_label": "entailment",
    "author": "neutral",
}
NLI_ROW = {
    "guid": "klue-nli-v1_train_00000",
    "source": "NSMC",
    "premise": "가",
    "hypothesis": "나",
    "label": "entailment",
}

RE_RAW = {
    "guid": "klue-re-v1_dev_00000",
    "sentence": "(주)아성은 C++를 만든 박정부의 회사다.",
    "subject_entity": {"word": "(주)아성", "start_idx": 0, "end_idx": 4, "type": "ORG"},
    "object_entity": {"word": "C++", "start_idx": 7, "end_idx": 9, "type": "POH"},
    "label": "org:product",
    "source": "wikitree",
}
RE_ROW = {
    "guid": "klue-re-v1_dev_00000",
    "source": "wikitree",
    "sentence": "(주)아성은 C++를 만든 박정부의 회사다.",
    "subject": {"word": "(주)아성", "start": 0, "end": 5, "type": "ORG"},
    "object": {"word": "C++", "start": 7, "end": 10, "type": "POH"},
    "label": "org:product",
}


@pytest.mark.parametrize(
    ("release", "stem", "raw", "hub", "row"),
    [
        (klue.YNAT, "ynat", YNAT_RAW, YNAT_RAW, YNAT_ROW),
        (klue.STS, "klue-sts", STS_RAW, STS_HUB, STS_ROW),
        (klue.NLI, "klue-nli", NLI_RAW, NLI_ROW, NLI_ROW),
        (klue.RE, "klue-re", RE_RAW, RE_RAW, RE_ROW),
    ],
    ids=["ynat", "sts", "nli", "re"],
)
def test_raw_files_and_the_hub_give_one_row(tmp_path, release, stem, raw, hub, row):
    folder = put(tmp_path, f"klue_benchmark/{stem}-v1.1/{stem}-v1.1_train.json", [raw])
    assert rows(release, folder, "train") == [row]
    assert hub_rows(release, hub) == [row]


@pytest.mark.parametrize(
    ("release", "stem", "raw", "missing", "nothing"),
    [
        (klue.YNAT, "ynat", YNAT_RAW, "label", {"label": None}),
        (
            klue.STS,
            "klue-sts",
            STS_RAW,
            "labels",
            {"label": None, "real_label": None, "binary_label": None},
        ),
        (klue.NLI, "klue-nli", NLI_RAW, "gold_label", {"label": None}),
        (klue.RE, "klue-re", RE_RAW, "label", {"label": None}),
    ],
)
def test_test_files_may_lack_labels_and_others_not(tmp_path, release, stem, raw, missing, nothing):
    raw = {name: value for name, value in raw.items() if name != missing}
    put(tmp_path, f"{stem}-v1.1_test.json", [raw])
    folder = put(tmp_path, f"{stem}-v1.1_train.json", [raw])
    assert nothing.items() <= rows(release, folder, "test")[0].items()
    assert refusal(release, folder).startswith(f"{stem}-v1.1_train.json:2: no '{missing}'; the row")


def test_labels_that_the_hub_does_not_know_are_none():
    assert hub_rows(klue.YNAT, {**YNAT_RAW, "label": None})[0]["label"] is None
    assert hub_rows(klue.NLI, {**NLI_ROW, "label": None})[0]["label"] is None
    labels = {"label": None, "real-label": None, "binary-label": None}
    row = hub_rows(klue.STS, {**STS_RAW, "labels": labels})[0]
    assert (row["label"], row["real_label"], row["binary_label"]) == (None, None, None)


@pytest.mark.parametrize(
    ("place", "data_dir"),
    [
        ("klue_benchmark/klue-re-v1.1/klue-re-v1.1_{}.json", "."),
        ("klue_benchmark/klue-re-v1/klue-re-v1_{}.json", "."),
        ("klue_benchmark/klue-re-v1.1/klue-re-v1_{}.json", "."),
        ("klue-re-v1.1/klue-re-v1.1_{}.json", "."),
        ("KLUE/klue_benchmark/klue-re-v1.1/klue-re-v1.1_{}.json", "."),
        ("klue_benchmark/klue-re-v1.1/klue-re-v1.1_{}.json", "klue_benchmark"),
        ("klue_benchmark/klue-re-v1.1/klue-re-v1.1_{}.json", "klue_benchmark/klue-re-v1.1"),
    ],
)
def test_klue_is_found_where_users_put_it(tmp_path, place, data_dir):
    put(tmp_path, place.format("train"), [RE_RAW])
    folder = put(tmp_path, place.format("dev"), [RE_RAW])
    splits = klue.RE.find(folder / data_dir)
    assert {split: raw.files for split, raw in splits.items()} == {
        "train": (folder / data_dir / folder / place.format("train"),),
        "validation": (folder / data_dir / folder / place.format("dev"),),
    }


def test_a_partial_release_gives_the_splits_that_are_there(tmp_path):
    folder = put(tmp_path, "klue_benchmark/ynat-v1.1/ynat-v1.1_dev.json", [YNAT_RAW])
    put(tmp_path, "klue_benchmark/ynat-v1.1/ynat-v1_dev_sample_10.json", [YNAT_RAW])
    assert list(klue.YNAT.find(folder)) == ["validation"]
    assert klue.NLI.find(folder) == {}
    assert klue.YNAT.find(folder / "nowhere") == {}


def test_versions_are_never_mixed(tmp_path):
    put(tmp_path, "klue_benchmark/ynat-v1/ynat-v1_train.json", [YNAT_RAW])
    folder = put(tmp_path, "klue_benchmark/ynat-v1.1/ynat-v1.1_dev.json", [YNAT_RAW])
    assert list(klue.YNAT.find(folder)) == ["validation"]


@pytest.mark.parametrize(
    ("release", "stem", "change", "message"),
    [
        (
            klue.YNAT,
            "ynat",
            {"title": 3},
            "'title' is a number, expected a string; fix that row",
        ),
        (
            klue.YNAT,
            "ynat",
            {"title": "가\ud83d"},
            "'title' contains an unpaired surrogate (\\ud800..\\udfff); fix that row",
        ),
        (
            klue.STS,
            "klue-sts",
            {"labels": {"label": 4.9, "real-label": True, "binary-label": 1}},
            "'real-label' is a boolean, expected a number; fix that row",
        ),
        (
            klue.STS,
            "klue-sts",
            {"labels": {"label": 4.9, "real-label": 4.9, "binary-label": 2}},
            "binary-label 2, expected 0 or 1; fix that row",
        ),
        (
            klue.STS,
            "klue-sts",
            {"labels": {"label": 4.9, "real-label": float("nan"), "binary-label": 1}},
            "real-label nan, expected a number from 0 to 5; fix that row",
        ),
        (
            klue.STS,
            "klue-sts",
            {"labels": {"label": 4.9, "real-label": 4.9}},
            "no 'binary-label'; the row has 'label', 'real-label'; "
            "put the release's own file there",
        ),
        (
            klue.STS,
            "klue-sts",
            {"labels": {}},
            "no 'label'; the row has nothing; put the release's own file there",
        ),
        (
            klue.RE,
            "klue-re",
            {"object_entity": {"word": "C++", "start_idx": 7, "end_idx": 10, "type": "POH"}},
            "expected 'C++' at 7..11, found 'C++를'; "
            "fix the span: offsets count the characters of the unchanged text",
        ),
        (
            klue.RE,
            "klue-re",
            {"object_entity": {"word": "C++", "start_idx": 70, "end_idx": 72, "type": "POH"}},
            "'C++' at 70..73 is outside a text of 24 characters; "
            "fix the span: offsets count the characters of the unchanged text",
        ),
    ],
)
def test_wrong_values_are_named(tmp_path, release, stem, change, message):
    raw = {"ynat": YNAT_RAW, "klue-sts": STS_RAW, "klue-re": RE_RAW}[stem]
    folder = put(
        tmp_path,
        f"{stem}-v1.1_train.json",
        "[" + json.dumps(raw) + ",\n" + json.dumps(raw | change) + "]",
    )
    where = f"{stem}-v1.1_train.json:2"
    where += ", object_entity" if "object_entity" in change else ""
    assert refusal(release, folder) == f"{where}: {message}"


def test_a_file_of_another_task_is_refused(tmp_path):
    folder = put(tmp_path, "ynat-v1.1_train.json", [NLI_RAW])
    assert refusal(klue.YNAT, folder) == (
        "ynat-v1.1_train.json:2: no 'title'; the row has 'guid', 'genre', 'premise', "
        "'hypothesis', 'gold_label', 'author'; put the release's own file there"
    )


WOS_RAW = {
    "guid": "wos-v1_dev_00000",
    "domains": ["식당"],
    "dialogue": [
        {"role": "user", "text": "안녕하세요", "state": []},
        {"role": "sys", "text": "네"},
        {"role": "user", "text": "23시 20분이요", "state": ["식당-예약 시간-23:20"]},
        {"role": "sys", "text": "됐습니다"},
    ],
}
WOS_ROWS = [
    {
        "guid": "wos-v1_dev_00000",
        "turn": 0,
        "history": [{"role": "user", "text": "안녕하세요"}],
        "state": [],
    },
    {
        "guid": "wos-v1_dev_00000",
        "turn": 1,
        "history": [
            {"role": "user", "text": "안녕하세요"},
            {"role": "sys", "text": "네"},
            {"role": "user", "text": "23시 20분이요"},
        ],
        "state": ["식당-예약 시간-23:20"],
    },
]


def test_wos_gives_a_row_a_user_turn(tmp_path):
    folder = put(tmp_path, "klue_benchmark/wos-v1.1/wos-v1.1_dev.json", [WOS_RAW])
    assert rows(klue.WOS, folder, "validation") == WOS_ROWS
    turns = [{"state": [], **turn} for turn in WOS_RAW["dialogue"]]
    assert hub_rows(klue.WOS, {**WOS_RAW, "dialogue": turns}) == WOS_ROWS


@pytest.mark.parametrize(
    ("turn", "message"),
    [
        ({"role": "bot", "text": "가"}, "role 'bot', expected 'user' or 'sys'; fix that row"),
        (
            {"role": "user", "text": "가", "state": ["식당-이름"]},
            "state '식당-이름', expected 'domain-slot-value'; fix that row",
        ),
        (
            {"role": "user", "text": "가", "state": [None]},
            "'an entry of state' is null, expected a string; fix that row",
        ),
        (
            {"role": "user", "text": "가"},
            "no 'state'; the row has 'role', 'text'; put the release's own file there",
        ),
        ("가", "found a string, expected an object with 'role'; put the release's own file there"),
    ],
)
def test_wos_faults_name_the_row(tmp_path, turn, message):
    folder = put(tmp_path, "wos-v1.1_train.json", [{**WOS_RAW, "dialogue": [turn]}])
    assert refusal(klue.WOS, folder) == f"wos-v1.1_train.json:2: {message}"


def test_a_row_of_a_file_on_one_line_is_named_by_its_number_and_guid(tmp_path):
    rows_of_file = [YNAT_RAW, {**YNAT_RAW, "guid": "ynat-v1_dev_00001", "title": 7}]
    text = json.dumps(rows_of_file, ensure_ascii=False)
    folder = put(tmp_path, "ynat-v1.1_dev.json", text)
    assert refusal(klue.YNAT, folder, "validation") == (
        "ynat-v1.1_dev.json:1, row 2 (ynat-v1_dev_00001): 'title' is a number, expected a string; "
        "fix that row"
    )
