"""APEACH, KOLD, K-HATERS, KorFin-ASC, PAWS-X, MASSIVE, NAVER NER, sae4K and KorQuAD 2.1."""

import json

import pytest
from support.releases import hub_rows, put, refusal, rows

from ke_t5.readers.kor_corpora import SAE4K
from ke_t5.readers.korquad2 import KORQUAD2
from ke_t5.readers.naver_ner import NAVER_NER, TYPES
from ke_t5.readers.public_tables import APEACH, KHATERS, KOLD, KORFIN, MASSIVE, PAWS_X
from ke_t5.task import labels


def test_apeach_trains_on_korean_hate_speech_with_two_classes(tmp_path):
    put(
        tmp_path,
        "APEACH/test.csv",
        'text,user_age,class\n"좋다, 참",38,Default\n나가라,3,Spoiled\n',
    )
    put(
        tmp_path,
        "korean-hate-speech/labeled/train.tsv",
        "comments\tcontain_gender_bias\tbias\thate\n가\tFalse\tnone\toffensive\n나\tTrue\tgender\tnone\n",
    )
    expected = [{"text": "좋다, 참", "label": "Default"}, {"text": "나가라", "label": "Spoiled"}]
    assert rows(APEACH, tmp_path, "test") == expected
    trained = rows(APEACH, tmp_path, "train")
    assert [row["label"] for row in trained] == ["Spoiled", "Default"]
    assert hub_rows(APEACH, {"text": "나가라", "class": "Spoiled"}) == expected[1:]
    put(tmp_path, "APEACH/test.csv", "text,class\n가,나\n")
    message = "APEACH/test.csv:2: class '나', expected one of Default, Spoiled"
    assert refusal(APEACH, tmp_path, "test").startswith(message)


def test_kold_rows(tmp_path):
    row = {"guid": "kold-v1_00000", "title": "제목", "comment": "댓글", "OFF": True, "TGT": "group"}
    put(tmp_path, "KOLD/data/kold_v1.json", [row, {**row, "title": None, "OFF": False}])
    found = rows(KOLD, tmp_path, "train")
    assert [row["label"] for row in found] == ["True", "False"]
    assert [row["title"] for row in found] == ["제목", ""]
    put(tmp_path, "KOLD/data/kold_v1.json", [{**row, "OFF": "yes"}])
    assert "'OFF' is a string, expected a boolean" in refusal(KOLD, tmp_path)


@pytest.mark.parametrize("label", ["L2_hate", "2_hate"])
def test_both_spellings_of_khaters_are_one_label(tmp_path, label):
    put(tmp_path, "K-HATERS/val.jsonl", json.dumps({"text": "가", "label": label}) + "\n")
    expected = [{"text": "가", "label": "L2_hate"}]
    assert rows(KHATERS, tmp_path, "validation") == expected
    assert hub_rows(KHATERS, {"text": "가", "label": label}) == expected


def test_a_table_may_be_saved_in_any_format(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet

    row = {"title": "가 웃고 나 울어", "aspect": "가", "sentiment": "POSITIVE", "url": "x"}
    expected = [{"title": "가 웃고 나 울어", "aspect": "가", "label": "POSITIVE"}]
    put(tmp_path, "csv/KorFin-ASC/train.csv", f"{','.join(row)}\n{','.join(row.values())}\n")
    put(tmp_path, "json/KorFin-ASC/train.jsonl", json.dumps(row) + "\n")
    folder = tmp_path / "parquet/KorFin-ASC"
    folder.mkdir(parents=True)
    pyarrow.parquet.write_table(pa.Table.from_pylist([row]), folder / "train.parquet")
    for kind in ("csv", "json", "parquet"):
        assert rows(KORFIN, tmp_path / kind, "train") == expected
    assert KORFIN.find(put(tmp_path / "elsewhere", "train.csv", "title\n가\n")) == {}


def test_pairs_without_a_translation_are_left_out_and_counted(tmp_path, caplog):
    header = "id\tsentence1\tsentence2\tlabel\n"
    put(tmp_path, "x-final/ko/test_2k.tsv", header + '1\t"가\t나\t1\n2\t다\tNS\t0\n3\t라\t\t0\n')
    expected = [{"sentence1": '"가', "sentence2": "나", "label": "1"}]
    assert rows(PAWS_X, tmp_path, "test") == expected
    assert "test_2k.tsv: left out 2 rows without a translation" in caplog.text
    assert hub_rows(PAWS_X, {"sentence1": "NS", "sentence2": "나", "label": "1"}) == []


def test_slots_become_tags_of_characters(tmp_path):
    row = {"id": "1", "partition": "dev", "intent": "alarm_set", "utt": "내일 6시 깨워"}
    row["annot_utt"] = "[date : 내일] [time : 6시] 깨워"
    put(tmp_path, "massive/1.0/data/ko-KR.jsonl", json.dumps(row) + "\n")
    (found,) = rows(MASSIVE, tmp_path, "validation")
    assert found["text"] == found["utterance"] == "내일 6시 깨워"
    assert found["tags"] == ["B-date", "I-date", "O", "B-time", "I-time", "O", "O", "O"]
    assert rows(MASSIVE, tmp_path, "test") == []
    assert hub_rows(MASSIVE, row) == [found]
    row |= {"partition": "train", "annot_utt": "[date 내일]"}
    put(tmp_path, "massive/1.0/data/ko-KR.jsonl", json.dumps(row) + "\n")
    line = "'annot_utt' has brackets that are not a slot; fix that row"
    assert line in refusal(MASSIVE, tmp_path)


def test_a_words_tag_is_that_of_its_characters(tmp_path):
    text = "데뷔 두 번째 우즈가 [LG 선수]\tO NUM-B NUM-I PER-B ORG-B O\n가\tEVT-I\n"
    put(tmp_path, "naver-ner/test.tsv", text)
    first, second = rows(NAVER_NER, tmp_path, "test")
    assert first["tags"][3:7] == ["B-NUM", "I-NUM", "I-NUM", "I-NUM"]
    assert [first["tags"][at] for at in (7, 8, 11, 12)] == ["O", "B-PER", "O", "B-ORG"]
    assert len(first["tags"]) == len(first["text"]) and second["tags"] == ["I-EVT"]
    put(tmp_path, "naver-ner/test.tsv", "가 나\tO\n")
    assert refusal(NAVER_NER, tmp_path, "test").startswith(
        "naver-ner/test.tsv:1: 2 words and 1 tags"
    )
    put(tmp_path, "naver-ner/test.tsv", "가 나\tO PER-B")
    assert "the file ends within this line" in refusal(NAVER_NER, tmp_path, "test")


@pytest.mark.parametrize("tag", ["XYZ-B", "PER-X", "PER", "per-B", "-", "B-PER", "PER-B-I", "o"])
def test_a_tag_of_naver_is_in_its_set(tmp_path, tag):
    put(tmp_path, "naver-ner/test.tsv", f"가\tO\n가 나\tO {tag}\n")
    assert refusal(NAVER_NER, tmp_path, "test") == (
        f"naver-ner/test.tsv:2: '{tag}' is not a tag, expected O, or -B or -I after PER FLD AFW "
        "ORG LOC CVL DAT TIM NUM EVT ANM PLT MAT TRM; fix that line, "
        "or put the release's own file there"
    )


def test_every_tag_of_naver_is_read(tmp_path):
    tags = [f"{kind}-{place}" for kind in TYPES for place in "BI"]
    put(tmp_path, "naver-ner/test.tsv", "".join(f"가\t{tag}\n" for tag in ["O", *tags]))
    found = [row["tags"][0] for row in rows(NAVER_NER, tmp_path, "test")]
    assert tuple(found) == labels.NAVER_NER.names


def test_sae4k_rows(tmp_path):
    put(tmp_path, "sae4k/sae4k_v1.txt", "\ufeff뭐 해\t하는 것\t2\r\n")
    expected = [{"utterance": "뭐 해", "phrase": "하는 것", "type": "2"}]
    assert rows(SAE4K, tmp_path, "train") == expected
    put(tmp_path, "sae4k/sae4k_v1.txt", "뭐 해\t하는 것\t6\r\n")
    message = "sae4k/sae4k_v1.txt:1: type '6', expected one of 0, 1, 2, 3, 4, 5"
    assert refusal(SAE4K, tmp_path).startswith(message)


def page(*answers):
    questions = [
        {"id": f"q{number}", "question": "수도는?", "answer": {"text": text, "answer_start": start}}
        for number, (text, start) in enumerate(answers)
    ]
    return {"title": "한국", "url": "", "context": "<p>서울은 수도</p>", "qas": questions}


def test_pages_are_read_from_all_shards_and_answers_out_of_place_left_out(tmp_path, caplog):
    put(tmp_path, "KorQuAD_2.1/train/a_00.json", {"version": "2.1", "data": [page(("서울", 3))]})
    wrong = page(("서울", 4), ("<p>서울은 수도</p>", 0), ("", 1))
    put(tmp_path, "KorQuAD_2.1/train/a_01.json", {"version": "2.1", "data": [wrong]})
    found = rows(KORQUAD2, tmp_path, "train")
    assert [row["answers"] for row in found] == [
        [{"text": "서울", "start": 3}],
        [{"text": "<p>서울은 수도</p>", "start": 0}],
    ]
    assert list(KORQUAD2.find(tmp_path)) == ["train"]
    assert (
        "left out 2 questions with an answer that is not at its offset (first: q0)" in caplog.text
    )
    flat = {**page(("서울", 3)), "id": "q", "question": "?", "answer": None}
    (row,) = hub_rows(KORQUAD2, flat)
    assert row["answers"] is None and row["guid"] == "q"
