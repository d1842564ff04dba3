"""The embedded corpus: KLUE's files in their true formats."""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter
from pathlib import Path

import pytest
from support.sample_help import KLUE, blocks, klue, read

from ke_t5.task import labels


@pytest.mark.parametrize("stem", ["ynat", "klue-nli", "klue-sts", "klue-re", "wos"])
def test_klue_json_is_written_as_the_release_is(sample_data: Path, stem: str):
    for part in ("train", "dev"):
        text = read(sample_data, KLUE.format(stem, part, "json"))
        rows = json.loads(text)
        assert text == json.dumps(rows, ensure_ascii=False, indent=4)
        name = stem.removeprefix("klue-")
        prefix = name if name in ("ynat", "wos") else f"klue-{name}"
        assert [row["guid"] for row in rows] == [
            f"{prefix}-v1_{part}_{index:05d}" for index in range(len(rows))
        ]


def test_ynat_rows(sample_data: Path):
    rows = klue(sample_data, "ynat", "dev")
    assert list(rows[0]) == [
        "guid", "title", "predefined_news_category", "label", "annotations", "url", "date",
    ]  # fmt: skip
    assert not any(mark in row["title"] for row in rows for mark in ',"\t')
    assert any(row["label"] != row["predefined_news_category"] for row in rows)


def test_nli_source_is_called_genre_in_train(sample_data: Path):
    train, dev = klue(sample_data, "klue-nli", "train"), klue(sample_data, "klue-nli", "dev")
    assert list(train[0])[1] == "genre" and list(dev[0])[1] == "source"
    assert [row["premise"] for row in train[0::3]] == [row["premise"] for row in train[2::3]]
    assert any(row["gold_label"] != row["author"] for row in train)


def test_sts_labels_follow_from_the_votes(sample_data: Path):
    for row in klue(sample_data, "klue-sts", "train"):
        votes, found = row["annotations"]["annotations"], row["labels"]
        assert found["real-label"] == sum(votes) / len(votes)
        assert found["label"] == round(found["real-label"], 1)
        assert found["binary-label"] == int(found["real-label"] >= 3)
        assert row["annotations"]["agreement"] == ":".join(str(votes.count(i)) for i in range(6))


def test_re_end_index_is_inclusive(sample_data: Path):
    listed = json.loads(read(sample_data, "klue_benchmark/klue-re-v1.1/relation_list.json"))[
        "relations"
    ]
    assert tuple(listed) == labels.KLUE_RE.keys
    for row in klue(sample_data, "klue-re", "train") + klue(sample_data, "klue-re", "dev"):
        for entity in (row["subject_entity"], row["object_entity"]):
            assert list(entity) == ["word", "start_idx", "end_idx", "type"]
            start, end = entity["start_idx"], entity["end_idx"]
            assert row["sentence"][start : end + 1] == entity["word"]


@pytest.mark.parametrize("part", ["train", "dev"])
def test_ner_is_strict_iob2_on_characters(sample_data: Path, part: str):
    comments, sentences = blocks(sample_data, "klue-ner", part)
    assert comments[4] == "## 칼럼명 : CHAR\tNE_TAG"
    mark = "_" if part == "train" else "-"
    for index, (head, *lines) in enumerate(sentences):
        guid, marked = head.removeprefix("## ").split("\t")
        assert re.fullmatch(rf"klue-ner-v1_{part}_{index:05d}{mark}(wikitree|nsmc)", guid)
        characters, tags = zip(*(line.split("\t") for line in lines), strict=True)
        text = "".join(characters)
        assert text == re.sub(r"<(.+?):[A-Z]{2}>", r"\1", marked)
        assert text == unicodedata.normalize("NFKC", text)
        for before, tag in zip(("O", *tags), tags, strict=False):
            assert not tag.startswith("I-") or before[2:] == tag[2:]


def test_ner_has_spaces_inside_entities_and_particles_after_them(sample_data: Path):
    _, sentences = blocks(sample_data, "klue-ner", "train")
    lines = [line for _, *lines in sentences for line in lines]
    assert any(line.startswith(" \tI-") for line in lines)
    assert any(re.search(r":PS>[은는이가]", head) for head, *_ in sentences)


@pytest.mark.parametrize("part", ["train", "dev"])
def test_dp_heads_stand_to_the_right_and_the_last_word_is_the_root(sample_data: Path, part: str):
    comments, sentences = blocks(sample_data, "klue-dp", part)
    assert comments[4] == "## 칼럼명 : INDEX\tWORD_FORM\tLEMMA\tPOS\tHEAD\tDEPREL"
    for head, *lines in sentences:
        fields = [line.split("\t") for line in lines]
        assert [int(row[0]) for row in fields] == list(range(1, len(fields) + 1))
        assert head.split("\t")[1] == " ".join(row[1] for row in fields)
        assert all(len(row[2].split(" ")) == len(row[3].split("+")) for row in fields)
        assert all(row[5] in labels.KLUE_DP.keys for row in fields)
        heads = [int(row[4]) for row in fields]
        assert heads[-1] == 0 and all(h > i for i, h in enumerate(heads[:-1], start=1))


def test_mrc_offsets_are_exact_and_unanswerable_questions_have_plausible_answers(sample_data: Path):
    kinds = Counter()
    for part in ("train", "dev"):
        for article in json.loads(read(sample_data, KLUE.format("klue-mrc", part, "json")))["data"]:
            for paragraph in article["paragraphs"]:
                for qa in paragraph["qas"]:
                    kinds[qa["is_impossible"], len(qa["answers"])] += 1
                    assert qa["is_impossible"] == ("plausible_answers" in qa)
                    for answer in qa["answers"]:
                        start = answer["answer_start"]
                        assert paragraph["context"].startswith(answer["text"], start)
    assert kinds[True, 0] > 60 and kinds[False, 1] > 150 and kinds[False, 2] > 5


def test_wos_speakers_alternate_and_states_are_of_the_ontology(sample_data: Path):
    ontology = json.loads(read(sample_data, "klue_benchmark/wos-v1.1/ontology.json"))
    assert len(ontology) == 45 and all(v[:2] == ["none", "dontcare"] for v in ontology.values())
    seen, unlisted = set(), 0
    for dialogue in klue(sample_data, "wos", "train"):
        turns = dialogue["dialogue"]
        assert [turn["role"] for turn in turns] == ["user", "sys"] * (len(turns) // 2)
        assert len(turns) >= 6 and not any("state" in turn for turn in turns[1::2])
        for turn in turns[0::2]:
            slots = [state.rsplit("-", 1) for state in turn["state"]]
            assert len({slot for slot, _ in slots}) == len(slots)
            assert "none" not in {value for _, value in slots}
            seen |= {slot for slot, _ in slots}
            unlisted += sum(value not in ontology[slot] for slot, value in slots)
    assert seen == set(ontology) and unlisted > 0
