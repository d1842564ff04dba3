"""The embedded corpus: the files of KorQuAD, 3i4K, the tables and NIKL in their true formats."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

from support.sample_help import read, tsv

from ke_t5.sample.entities import fine_types
from ke_t5.sample.grammar import load_grammar

FINE_TYPES = set(load_grammar("fine_entities").families("type"))


def test_korquad_is_one_ascii_line_with_one_answer_each(sample_data: Path):
    for part, num_questions in (("train", 480), ("dev", 61)):
        text = read(sample_data, f"KorQuAD/KorQuAD_v1.0_{part}.json")
        assert text.isascii() and "\n" not in text
        release = json.loads(text)
        assert list(release) == ["version", "data"] and release["version"] == f"KorQuAD_v1.0_{part}"
        assert list(release["data"][0]) == ["paragraphs", "title"]
        ids = []
        for paragraph in (p for article in release["data"] for p in article["paragraphs"]):
            assert list(paragraph) == ["qas", "context"]
            for qa in paragraph["qas"]:
                (answer,) = qa["answers"]
                assert paragraph["context"].startswith(answer["text"], answer["answer_start"])
                ids.append(qa["id"])
        assert len(set(ids)) == num_questions
        titles = [article["title"] for article in release["data"]]
        assert len(set(titles)) == len(titles) and not any(" " in title for title in titles)


def test_3i4k_is_two_runs_ordered_by_class_in_equal_shares(sample_data: Path):
    text = read(sample_data, "3i4k/train_val_test/fci_train_val.txt")
    assert text.count("\n") == text.count("\r\n") and not text.endswith("\n")
    found = [int(line.split("\t")[0]) for line in text.split("\r\n")]
    falls = [i for i in range(1, len(found)) if found[i] < found[i - 1]]
    assert falls == [1827]
    train, validation = Counter(found[:1827]), Counter(found[1827:])
    assert train == {label: 9 * rows for label, rows in validation.items()}
    assert all(len(line.split("\t")) == 2 for line in text.split("\r\n"))


def test_tables_have_their_columns_on_every_line(sample_data: Path):
    expected = {
        "NSMC/ratings_train.txt": "id document label",
        "KorNLI/multinli.train.ko.tsv": "sentence1 sentence2 gold_label",
        "KorNLI/xnli.test.ko.tsv": "sentence1 sentence2 gold_label",
        "KorSTS/sts-dev.tsv": "genre filename year id score sentence1 sentence2",
        "korean-hate-speech/labeled/train.tsv": "comments contain_gender_bias bias hate",
        "qpair/test.txt": "question1 question2 is_duplicate",
        "K-MHaS/kmhas_valid.txt": "document label",
        "NIKL/v1.0/CoLA/NIKL_CoLA_in_domain_train.tsv": (
            "source acceptability_label source_annotation sentence"
        ),
    }
    for path, columns in expected.items():
        lines = read(sample_data, path).removesuffix("\n").split("\n")
        assert lines[0].split("\t") == columns.split()
        assert {line.count("\t") for line in lines} == {len(columns.split()) - 1}
    reviews = tsv(sample_data, "NSMC/ratings_test.txt")
    assert sum(not row["document"] for row in reviews) == 2
    assert any('"' in row["sentence1"] for row in tsv(sample_data, "KorNLI/xnli.dev.ko.tsv"))


def test_nikl_entities_stand_under_three_spellings(sample_data: Path):
    later = (sample_data / "NIKL/v1.0/NE_2020/SXNE2102007240.json").read_bytes()
    assert later.startswith(b"\xef\xbb\xbf")
    types = {"NE": set(), "NE_2020": set()}
    for path in sorted((sample_data / "NIKL/v1.0").glob("NE*/*.json")):
        folder = path.parent.name
        if folder not in types:
            continue
        release = json.loads(path.read_text(encoding="utf-8-sig"))
        key = "ne" if path.stem == "NXNE2102008030" else "NE"
        for sentence in (s for document in release["document"] for s in document["sentence"]):
            form = sentence["form"]
            for span in sentence["word"] + sentence[key]:
                assert form[span["begin"] : span["end"]] == span["form"]
            types[folder] |= {entity["label"] for entity in sentence[key]}
    assert types["NE"] == set(fine_types()) and len(types["NE"]) == 15
    assert types["NE_2020"] == FINE_TYPES and len(types["NE_2020"]) == 150


def test_summaries_join_with_their_newspaper_articles(sample_data: Path):
    rows = json.loads(read(sample_data, "NIKL/v1.0/SUMMARIZATION/NIKL_SC.json"))["data"]
    articles = {}
    for stem in {row["document_id"].split(".")[0] for row in rows}:
        for document in json.loads(read(sample_data, f"NIKL/v1.0/NEWSPAPER/{stem}.json"))[
            "document"
        ]:
            forms = [paragraph["form"] for paragraph in document["paragraph"]]
            articles[document["id"]] = " ".join(forms)
            assert forms[0] == document["metadata"]["title"]
    for row in rows:
        assert all(text in articles[row["document_id"]] for text in row["topic_sentences"])
        assert len(row["topic_sentences"]) == len(row["summary_sentences"]) == 3
        assert not set(row["topic_sentences"]) & set(row["summary_sentences"])
