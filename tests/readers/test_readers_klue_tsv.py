"""KLUE NER and DP: a token per line, spaces included."""

import logging

import pytest
from support.releases import hub_rows, put, refusal, rows

from ke_t5.readers import klue

NER_HEAD = "## 토큰, 레이블 구분자 : \\t\n## 주석 : ##\n## 컬럼명 : CHAR\tNE_TAG\n"
DP_HEAD = "## 주석 : ##\n## 칼럼명 : INDEX\tWORD_FORM\tLEMMA\tPOS\tHEAD\tDEPREL\n"


NER_TEXT = (
    NER_HEAD
    + "## klue-ner-v1_train_00000_nsmc\t<강릉:LC> # <벤허>\n"
    + "강\tB-LC\n릉\tI-LC\n \tO\n#\tO\n \tO\n<\tO\n벤\tO\n허\tO\n>\tO\n\n"
    + "## klue-ner-v1_dev_00001-wikitree\t<2 명:QT>\n2\tB-QT\n \tI-QT\n명\tI-QT\n \tO"
)
NER_ROWS = [
    {
        "guid": "klue-ner-v1_train_00000_nsmc",
        "source": "nsmc",
        "text": "강릉 # <벤허>",
        "tags": ["B-LC", "I-LC", "O", "O", "O", "O", "O", "O", "O"],
    },
    {
        "guid": "klue-ner-v1_dev_00001-wikitree",
        "source": "wikitree",
        "text": "2 명 ",
        "tags": ["B-QT", "I-QT", "I-QT", "O"],
    },
]


@pytest.mark.parametrize(
    "text",
    [
        NER_TEXT,
        NER_TEXT + "\n",
        NER_TEXT + "\n\n",
        "\ufeff" + NER_TEXT.replace("\n", "\r\n"),
        NER_TEXT.replace("\n\n", "\n\t\n"),
    ],
    ids=["no final newline", "one", "two", "windows with mark", "tab between sentences"],
)
def test_ner_keeps_spaces_and_odd_sentences(tmp_path, caplog, text):
    folder = put(tmp_path, "klue_benchmark/klue-ner-v1.1/klue-ner-v1.1_train.tsv", text)
    with caplog.at_level(logging.INFO):
        assert rows(klue.NER, folder, "train") == NER_ROWS
    assert caplog.messages == [
        f"{folder}/klue_benchmark/klue-ner-v1.1/klue-ner-v1.1_train.tsv: the characters of 1 "
        "sentence differ from the comment (first: klue-ner-v1_dev_00001-wikitree)"
    ]


def test_ner_from_the_hub_has_the_text_of_the_tokens():
    hub = {"sentence": "<강릉:LC> 해", "tokens": ["강", "릉", " ", "해"]}
    hub["ner_tags"] = ["B-LC", "I-LC", "O", "O"]
    assert hub_rows(klue.NER, hub) == [
        {"guid": None, "source": None, "text": "강릉 해", "tags": ["B-LC", "I-LC", "O", "O"]}
    ]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            "## g_nsmc\t가\n가 O\n",
            "5: 1 tab-separated fields, expected 2; fix the tabs on that line",
        ),
        (
            "## g_nsmc\t가나\n가나\tO\n",
            "5: '가나' is 2 characters, expected one; give every character its line",
        ),
        (
            "## g_nsmc\t가\n가\tLC\n",
            "5: 'LC' is not a tag, expected O, or B- or I- with PS, LC, OG, DT, TI, QT; "
            "fix that line",
        ),
        (
            "## g_nsmc\t가\n가\tB-PER\n",
            "5: 'B-PER' is not a tag, expected O, or B- or I- with PS, LC, OG, DT, TI, QT; "
            "fix that line",
        ),
        (
            "## g_nsmc\t가\n가\tO\n\n나\tO\n",
            "7: expected a line '## guid<TAB>sentence' before it; put the release's own file there",
        ),
        ("## g_nsmc 가\n가\tO\n", "4: expected '## guid<TAB>sentence'; fix that line"),
        (
            "## g_nsmc\t가\n가\tO\n\n## h_nsmc\t나\n## i_nsmc\t다\n다\tO\n",
            "7: a sentence without lines; delete it",
        ),
        (
            "## g_nsmc\t가\n가\tO\n\n## h_nsmc\t나\n",
            "7: a sentence without lines: the file ends there; put the release's own file there",
        ),
    ],
)
def test_ner_faults_name_the_line(tmp_path, body, message):
    folder = put(tmp_path, "klue-ner-v1.1_train.tsv", NER_HEAD + body)
    assert refusal(klue.NER, folder) == f"klue-ner-v1.1_train.tsv:{message}"


def test_a_file_of_ner_that_is_cut_off_is_refused(tmp_path):
    cut = NER_TEXT.partition("릉\tI-LC")[0]
    for end in ("", "\n"):
        folder = put(tmp_path, "klue-ner-v1.1_train.tsv", cut.strip() + end)
        message = "klue-ner-v1.1_train.tsv:5: the file ends within a sentence; put the release's"
        assert refusal(klue.NER, folder).startswith(message)


def test_ner_files_without_a_sentence_are_refused(tmp_path):
    folder = put(tmp_path, "klue-ner-v1.1_train.tsv", NER_HEAD)
    message = "klue-ner-v1.1_train.tsv: the file has no sentences; put the release's own file there"
    assert refusal(klue.NER, folder) == message
    put(tmp_path, "klue-ner-v1.1_train.tsv", "[]")
    assert refusal(klue.NER, folder) == (
        "klue-ner-v1.1_train.tsv:1: expected a line '## guid<TAB>sentence' before it; "
        "put the release's own file there"
    )


def test_ner_without_labels(tmp_path):
    text = NER_HEAD + "## a_nsmc\t가 나\n가\t-\n \t-\n나\t-\n\n## b_nsmc\t다\n다\tO\n"
    put(tmp_path, "klue-ner-v1.1_test.tsv", text)
    folder = put(tmp_path, "klue-ner-v1.1_train.tsv", text)
    found = [(row["text"], row["tags"]) for row in rows(klue.NER, folder, "test")]
    assert found == [("가 나", None), ("다", ["O"])]
    message = "klue-ner-v1.1_train.tsv:5: '-' is not a tag, expected O, or B- or I- with PS, LC"
    assert refusal(klue.NER, folder).startswith(message)


DP_TEXT = DP_HEAD + (
    "## klue-dp-v1_dev_00000_airbnb\t눈물을 흘렸다.\r\n"
    "1\t눈물을\t눈물 을\tNNG+JKO\t2\tNP_OBJ\r\n2\t흘렸다.\t흘리 었 다 .\tVV+EP+EF+SF\t0\tVP"
)


@pytest.mark.parametrize("end", ["", "\n"])
def test_a_file_of_dp_that_is_cut_off_is_refused(tmp_path, end):
    text = DP_HEAD + "## klue-dp-v1_dev_00000_airbnb\t네 좋다.\n1\t네\t네\tIC\t0\tVP"
    folder = put(tmp_path, "klue-dp-v1.1_train.tsv", text + end)
    message = "klue-dp-v1.1_train.tsv:4: the file ends within a sentence; put the release's own"
    assert refusal(klue.DP, folder).startswith(message)
    put(tmp_path, "klue-dp-v1.1_train.tsv", text + "\n2\t좋다.\t좋 다 .\tVA+EF+SF\t0\tVP" + end)
    assert rows(klue.DP, folder, "train")[0]["words"] == ["네", "좋다."]


DP_ROW = {
    "guid": "klue-dp-v1_dev_00000_airbnb",
    "source": "airbnb",
    "sentence": "눈물을 흘렸다.",
    "words": ["눈물을", "흘렸다."],
    "lemmas": ["눈물 을", "흘리 었 다 ."],
    "pos": ["NNG+JKO", "VV+EP+EF+SF"],
    "heads": [2, 0],
    "relations": ["NP_OBJ", "VP"],
}


def test_dp_rows(tmp_path):
    folder = put(tmp_path, "klue_benchmark/klue-dp-v1.1/klue-dp-v1.1_dev.tsv", DP_TEXT)
    assert rows(klue.DP, folder, "validation") == [DP_ROW]
    hub = {
        "sentence": "눈물을 흘렸다.",
        "index": [1, 2],
        "word_form": DP_ROW["words"],
        "lemma": DP_ROW["lemmas"],
        "pos": DP_ROW["pos"],
        "head": [2, 0],
        "deprel": ["NP_OBJ", "VP"],
    }
    assert hub_rows(klue.DP, hub) == [{**DP_ROW, "guid": None, "source": None}]


def test_dp_without_labels(tmp_path):
    text = DP_TEXT.replace("\t2\tNP_OBJ", "\t-\t-").replace("\t0\tVP", "\t-\t-")
    put(tmp_path, "klue-dp-v1.1_test.tsv", text)
    folder = put(tmp_path, "klue-dp-v1.1_train.tsv", text)
    unlabelled = {**DP_ROW, "heads": None, "relations": None}
    assert rows(klue.DP, folder, "test") == [unlabelled]
    message = "klue-dp-v1.1_train.tsv:4: head '-', expected 0 to 2; fix that line"
    assert refusal(klue.DP, folder) == message


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("\t2\tNP_OBJ", "\t3\tNP_OBJ", "4: head '3', expected 0 to 2; fix that line"),
        ("2\t흘렸다.", "3\t흘렸다.", "5: word number '3', expected 2; fix that line"),
        (
            "\tVV+EP+EF+SF",
            "",
            "5: 5 tab-separated fields, expected 6; fix the tabs on that line",
        ),
    ],
)
def test_dp_faults_name_the_line(tmp_path, old, new, message):
    folder = put(tmp_path, "klue-dp-v1.1_train.tsv", DP_TEXT.replace(old, new))
    assert refusal(klue.DP, folder) == f"klue-dp-v1.1_train.tsv:{message}"
