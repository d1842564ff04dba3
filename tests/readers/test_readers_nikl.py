"""NIKL: made-up documents in the documented format."""

import json
import logging

import pytest
from support.releases import SENTENCE, corpus, put, refusal, row, rows, sentence

from ke_t5.readers import nikl


@pytest.mark.parametrize(
    ("release", "folder", "name", "key"),
    [
        (nikl.NE, "NE", "NXNE1902008030.json", "NE"),
        (nikl.NE2020, "NE_2020", "NXNE2102008030.JSON", "ne"),
        (nikl.NE2020, "NE_2020", "NXNE2102008030.json", "NE"),
    ],
    ids=["2019", "2020", "2020 re-issued"],
)
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_entities(tmp_path, release, folder, name, key, mark):
    content = corpus(sentence(1, key), {**sentence(2), "NE": []}, {**sentence(3), "form": ""})
    place = f"NIKL/v1.0/{folder}"
    put(tmp_path, f"{place}/{name}", mark + json.dumps(content, ensure_ascii=False, indent=1))
    put(tmp_path, f"{place}/._{name}", "not ours")
    expected = [row(1), {**row(2), "entities": []}]
    for data_dir in (".", "NIKL", "NIKL/v1.0", place):
        assert list(release.find(tmp_path / data_dir)) == ["train"]
        assert rows(release, tmp_path / data_dir, "train") == expected


def test_entities_of_a_repeated_id_are_given_once_by_file_name(tmp_path, caplog):
    put(tmp_path, "NIKL/v1.0/NE/b.json", corpus(sentence(1, label="OG"), sentence(2)))
    put(tmp_path, "NIKL/v1.0/NE/a.json", corpus(sentence(1), {**sentence(3), "form": ""}))
    with caplog.at_level(logging.INFO):
        assert rows(nikl.NE, tmp_path, "train") == [row(1), row(2)]
    assert caplog.messages == [
        f"{tmp_path}/NIKL/v1.0/NE: left out 1 empty sentence and 1 repeated id"
    ]


def test_split_membership_is_the_documented_hash(tmp_path):
    """The MD5 of NWRW1800000029.315.1.10, 1475ac73...306d, ends in 1 as a decimal number: test."""
    put(tmp_path, "NIKL/v1.0/NE/a.json", corpus(*(sentence(i) for i in range(1, 30))))
    numbers = {
        split: [
            int(found["id"].rpartition(".")[2]) for found in rows(nikl.NE_SPLIT, tmp_path, split)
        ]
        for split in nikl.NE_SPLIT.find(tmp_path)
    }
    assert numbers["validation"] == [11]
    assert numbers["test"] == [10, 13, 24]
    assert numbers["train"] == [i for i in range(1, 30) if i not in (10, 11, 13, 24)]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            sentence(1, end=3),
            "expected '강릉' at 0..3, found '강릉은'; "
            "fix the span: offsets count the characters of the unchanged text",
        ),
        (
            {"id": f"{SENTENCE}.1", "form": "강릉", "word": []},
            "no 'NE'; the row has 'id', 'form', 'word'; put the release's own file there",
        ),
        (
            sentence(1, label=None),
            "'label' is null, expected a string; fix that row",
        ),
    ],
)
def test_entity_faults_name_the_sentence(tmp_path, changed, message):
    folder = put(tmp_path, "NIKL/v1.0/NE/a.json", json.dumps(corpus(changed)))
    where = f"NIKL/v1.0/NE/a.json:1, sentence {SENTENCE}.1"
    assert refusal(nikl.NE, folder) == f"{where}: {message}"


def test_a_file_of_another_corpus_is_refused(tmp_path):
    folder = put(tmp_path, "NIKL/v1.0/NE/a.json", {"id": "x", "data": []})
    message = "NIKL/v1.0/NE/a.json: no 'document' at the top level, only 'id', 'data'"
    assert refusal(nikl.NE, folder) == f"{message}; put the release's own file there"


def summary(number, **change):
    return {
        "document_id": f"NWRW1800000022.{number}",
        "head": "제목",
        "topic_sentences": ["첫 문장.", " 둘째. "],
        "summary_sentences": ["요약 하나.", "둘"],
    } | change


def article(number, stem="NWRW1800000022"):
    forms = ["제목", "  본문이다. ", "", "“끝”", "셋"]
    paragraphs = [{"id": str(i), "form": form} for i, form in enumerate(forms)]
    return {"id": f"{stem}.{number}", "metadata": {"title": "제목"}, "paragraph": paragraphs}


def write_summaries(folder, numbers, article_numbers):
    data = {"id": "NIKL_SC", "data": [summary(i) for i in numbers]}
    put(folder, "NIKL/v1.0/SUMMARIZATION/NIKL_SC.json", data)
    newspaper = {"id": "NWRW1800000022", "document": [article(i) for i in article_numbers]}
    put(folder, "NIKL/v1.0/NEWSPAPER/NWRW1800000022.json", newspaper)
    put(folder, "NIKL/v1.0/NEWSPAPER/NWRW1900000001.json", "not read, as no summary is about it")
    return folder


ARTICLE = "제목. 본문이다. “끝” 셋."


@pytest.mark.parametrize(
    ("release", "expected"),
    [(nikl.SUMMARY_SUMMARY, "요약 하나. 둘"), (nikl.SUMMARY_TOPIC, "첫 문장. 둘째.")],
)
def test_summaries_are_joined_with_their_articles(tmp_path, caplog, release, expected):
    caplog.set_level(logging.INFO, logger="ke_t5")
    folder = write_summaries(tmp_path, [1, 2, 3, 1], [2, 1, 9])
    assert rows(release, folder, "train") == [
        {"document_id": f"NWRW1800000022.{i}", "article": ARTICLE, "summary": expected}
        for i in (1, 2)
    ]
    assert caplog.record_tuples == [
        (
            "ke_t5.readers.nikl",
            logging.WARNING,
            f"{folder}/NIKL/v1.0/SUMMARIZATION: 1 of 3 documents has no article in NEWSPAPER, "
            "left out (first: NWRW1800000022.3)",
        ),
        (
            "ke_t5.readers.nikl",
            logging.INFO,
            f"{folder}/NIKL/v1.0/SUMMARIZATION: left out 1 repeated document",
        ),
    ]
    names = [path.name for path in release.find(folder)["train"].files]
    assert names == ["NIKL_SC.json", "NWRW1800000022.json"]


def test_newspapers_are_read_once_for_all_splits_and_again_when_they_change(tmp_path, monkeypatch):
    folder = write_summaries(tmp_path, range(1, 25), range(1, 25))
    read = []
    json_rows = nikl.json_rows

    def counted(path, key):
        read.append(path.name)
        return json_rows(path, key)

    monkeypatch.setattr(nikl, "json_rows", counted)
    for release in (nikl.SUMMARY_SUMMARY_SPLIT, nikl.SUMMARY_TOPIC_SPLIT):
        assert sum(len(rows(release, folder, split)) for split in release.find(folder)) == 24
    assert read.count("NWRW1800000022.json") == 1
    write_summaries(tmp_path, range(1, 25), range(1, 21))
    assert len(rows(nikl.SUMMARY_TOPIC, folder, "train")) == 20


def test_summary_splits_are_hashed_twice(tmp_path):
    """The key is the MD5 of id and kind in hex digits; its own MD5 decides the split."""
    folder = write_summaries(tmp_path, range(1, 25), range(1, 25))

    def numbers(release, split):
        return [int(row["document_id"].rpartition(".")[2]) for row in rows(release, folder, split)]

    assert numbers(nikl.SUMMARY_SUMMARY_SPLIT, "validation") == [1, 3, 17, 19, 20]
    assert numbers(nikl.SUMMARY_SUMMARY_SPLIT, "test") == [23, 24]
    assert numbers(nikl.SUMMARY_TOPIC_SPLIT, "validation") == [11, 13]
    assert numbers(nikl.SUMMARY_TOPIC_SPLIT, "test") == [8, 20]


def test_summaries_without_newspapers_say_what_is_missing(tmp_path):
    data = {"data": [summary(1)]}
    folder = put(tmp_path, "NIKL/v1.0/SUMMARIZATION/NIKL_SC.json", data)
    message = (
        "NIKL/v1.0/SUMMARIZATION/NIKL_SC.json: none of its documents is in the newspaper "
        "files; put the corpus NEWSPAPER, which has the articles, into NIKL/v1.0/NEWSPAPER"
    )
    assert refusal(nikl.SUMMARY_SUMMARY, folder) == message


def test_broken_summaries_are_refused_when_rows_are_read(tmp_path):
    folder = put(tmp_path, "NIKL/v1.0/SUMMARIZATION/NIKL_SC.json", '{"data": [\n{"head": 1}]}')
    assert list(nikl.SUMMARY_TOPIC.find(folder)) == ["train"]
    message = "NIKL/v1.0/SUMMARIZATION/NIKL_SC.json:2: no 'document_id'; the row has 'head'; "
    assert refusal(nikl.SUMMARY_TOPIC, folder).startswith(message)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"summary_sentences": "가"}, "'summary_sentences' is a string, expected a list"),
        (
            {"summary_sentences": ["가", 1]},
            "'an entry of summary_sentences' is a number, expected a string",
        ),
        (
            {"summary_sentences": ["\ud800"]},
            "'an entry of summary_sentences' contains an unpaired surrogate (\\ud800..\\udfff)",
        ),
    ],
)
def test_summary_faults_name_the_line(tmp_path, change, message):
    folder = write_summaries(tmp_path, [1], [1])
    place = "NIKL/v1.0/SUMMARIZATION/NIKL_SC.json"
    put(folder, place, json.dumps({"data": [summary(1, **change)]}))
    assert refusal(nikl.SUMMARY_SUMMARY, folder) == f"{place}:1: {message}; fix that row"


def test_documents_without_a_summary_have_none(tmp_path):
    folder = write_summaries(tmp_path, [1], [1])
    data = {"data": [summary(1, summary_sentences=[])]}
    put(folder, "NIKL/v1.0/SUMMARIZATION/NIKL_SC.json", data)
    assert rows(nikl.SUMMARY_SUMMARY, folder, "train")[0]["summary"] is None


COLA_HEAD = "\ufeffsource\tacceptability_label\tsource_annotation\tsentence\r\n"
COLA = {
    "train": "NIKL_CoLA_in_domain_train.tsv",
    "validation": "NIKL_CoLA_in_domain_dev.tsv",
    "test": "NIKL_CoLA_out_of_domain_dev.tsv",
}


@pytest.mark.parametrize("place", ["NIKL/v1.0/CoLA/", "CoLA/", ""])
def test_acceptability(tmp_path, place):
    for name in COLA.values():
        put(tmp_path, place + name, COLA_HEAD + 'T1\t1\t\t"먹었다"\r\nT2\t0\t*\t먹다었\r\n')
    assert list(nikl.COLA.find(tmp_path)) == ["train", "validation", "test"]
    for split in COLA:
        assert rows(nikl.COLA, tmp_path, split) == [
            {"idx": 0, "sentence": '"먹었다"', "label": "1"},
            {"idx": 1, "sentence": "먹다었", "label": "0"},
        ]


def test_acceptability_labels_may_be_empty_in_the_test_split_only(tmp_path):
    text = COLA_HEAD + "T1\t\t\t먹었다\r\nT1\t-1\t\t먹었다\r\n"
    put(tmp_path, COLA["train"], text)
    folder = put(tmp_path, COLA["test"], text)
    assert [row["label"] for row in rows(nikl.COLA, folder, "test")] == [None, None]
    message = "acceptability_label '', expected 0 or 1; fix that line"
    assert refusal(nikl.COLA, folder) == f"{COLA['train']}:2: {message}"


def test_nothing_is_found_where_nothing_is(tmp_path):
    put(tmp_path, "a.json", "[]")
    releases = [nikl.NE, nikl.NE_SPLIT, nikl.NE2020, nikl.NE2020_SPLIT, nikl.COLA]
    releases += [nikl.SUMMARY_SUMMARY, nikl.SUMMARY_SUMMARY_SPLIT]
    releases += [nikl.SUMMARY_TOPIC, nikl.SUMMARY_TOPIC_SPLIT]
    assert [release.find(tmp_path) for release in releases] == [{}] * 9
    assert len({release.name for release in releases}) == 9
