"""`ke-t5 inspect`: its counts, compared with the rows themselves."""

import csv
import json
from dataclasses import replace
from types import SimpleNamespace

import gin
import numpy as np
import pytest

from ke_t5.commands import inspect as command
from ke_t5.errors import UserError
from ke_t5.inspection.duplicates import Duplicates
from ke_t5.inspection.facts import without_field_names
from ke_t5.inspection.inspect import page_text, splits_of
from ke_t5.inspection.sections import Inspection
from ke_t5.pipe import FunctionDataSource
from ke_t5.sample import sample_model_dir

TRAIN = [
    ("배우들의 연기가 참 좋았던 영화", "긍정"),
    ("배우들의 연기가 참 좋았던 영화", "부정"),
    ("배우들의  연기가 참 좋았던 영화", "긍정"),
    ("음악과 화면이 아름다워서 극장에서 다시 한번 보고 싶은 영화", "긍정"),
    ("음악과 화면이 아름다워서 극장에서 또다시 한번 보고 싶은 영화!", "부정"),
    ("졸려서 끝까지 볼 수가 없었다", "부정"),
    ("시간이 아까운 줄거리였다", "부정"),
    (
        "정말 정말 길고 긴 문장이라서 여기까지 다 읽으려면 한참이 걸릴 것 같은 감상",
        "긍정",
    ),
]
VALID = [
    ("졸려서 끝까지 볼 수가 없었다", "부정"),
    ("시간이 아까운 줄거리였다", "긍정"),
    ("음악과 화면이 아름다워서 극장에서 다시 한번 보고 싶은 영화?", "긍정"),
    ("추천하고 싶은 작품이다", "긍정"),
]


@pytest.fixture(scope="module")
def words(tmp_path_factory, cache_dir):
    """The command line for a small table of the user's own."""
    folder = tmp_path_factory.mktemp("own")
    for name, rows in (("train", TRAIN), ("valid", VALID)):
        with (folder / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([("문장", "감정"), *rows])
    model = sample_model_dir(cache_dir, "roberta")
    return [
        "--task", "classification", "--text_column", "문장", "--label_column", "감정",
        "--train_file", str(folder / "train.csv"), "--valid_file", str(folder / "valid.csv"),
        "--pre_trained_model", str(model), "--from_scratch", "--hf_cache_dir", str(cache_dir),
        "--gin_param", "get_dataset.sequence_length={'inputs': 24}",
    ]  # fmt: skip


def run(words, capsys):
    gin.clear_config()
    command.main(command.parser().parse_args([str(word) for word in words]))
    return capsys.readouterr().out


@pytest.fixture(scope="module")
def found(words):
    """The inspection as JSON."""
    import contextlib
    import io

    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        command.main(command.parser().parse_args([*words, "--json"]))
    (content,) = json.loads(out.getvalue())
    return content


def test_rows_and_labels(found):
    train, valid = found["splits"]
    assert (train["num_rows"], train["num_labelled"], train["num_empty"]) == (8, 8, 0)
    assert train["labels"] == {"긍정": 4, "부정": 4} and valid["labels"] == {"긍정": 3, "부정": 1}
    assert (train["label_kind"], train["numbers"]) == ("label", None)


def test_equal_texts_and_suspects(found):
    twice = found["duplicates"]
    train, valid = (split["name"] for split in found["splits"])
    assert twice["equal_within"] == {train: 2, valid: 0}
    (across,) = twice["equal_across"]
    assert (across["split"], across["later_split"]) == (train, valid)
    assert across["rows"] == {
        "num_rows": 4, "num_folded": 2, "num_exact": 2, "num_copied": 1, "num_relabelled": 1,
    }  # fmt: skip
    # The first text, twice 긍정 and once 부정, and the one with another label in validation.
    assert (twice["num_suspects"], twice["num_suspect_rows"]) == (2, 5)
    first, second = twice["suspects"]
    assert [row["gold"] for row in first[:2]] == ["긍정", "부정"]
    assert [row["row"] for row in first] == [0, 1, 2]
    assert {(row["split"], row["row"]) for row in second} == {(train, 6), (valid, 1)}


def test_near_texts(found):
    twice = found["duplicates"]
    train, valid = (split["name"] for split in found["splits"])
    assert twice["near_within"] == {train: 2, valid: 0}
    assert twice["near_across"][0]["rows"] == 1
    assert twice["num_near_relabelled"] == 2 and twice["are_all_near"]
    pairs = [(pair["first"]["text"], pair["second"]["text"]) for pair in twice["near"]]
    assert len(pairs) == 3 and all("아름다워서" in text for pair in pairs for text in pair)


def test_lengths_are_those_of_whole_texts(found, words):
    from transformers import AutoTokenizer

    model = words[words.index("--pre_trained_model") + 1]
    tokenizer = AutoTokenizer.from_pretrained(model)
    lengths = [len(tokenizer(text)["input_ids"]) for text, _ in TRAIN]
    (measured,) = found["splits"][0]["lengths"]
    assert measured["column"] == "inputs" and measured["limit"] == 24 and measured["is_whole"]
    assert measured["num_cut"] == sum(length > 24 for length in lengths) > 0
    assert measured["percentiles"]["100"] == max(lengths)
    assert measured["percentiles"]["50"] == int(np.sort(lengths)[3])
    assert measured["mean"] == pytest.approx(np.mean(lengths))
    assert sum(measured["counts"]) == 8
    assert found["splits"][0]["lost"] == {
        "inputs cut at 24 tokens": {"count": measured["num_cut"], "of": 8}
    }


def test_examples_are_shown_as_the_model_sees_them(found):
    first, *others = found["splits"][0]["examples"]
    assert len(others) == 2
    assert first["text"].endswith(TRAIN[0][0]) and first["gold"] == "긍정"
    assert "연기가" in first["decoded"] and first["tokens"].count(" ") > 5


def test_text_and_page(words, tmp_path, capsys):
    page = tmp_path / "page.html"
    out = run([*words, "--html", page], capsys)
    assert "texts with several labels: 2" in out
    assert "inputs are cut at 24 tokens" in out
    lines = out.splitlines()
    (row,) = [line for line in lines if line.startswith("  긍정")]
    assert row.split() == ["긍정", "4", "(50.0", "%)", "3", "(75.0", "%)"]
    html = page.read_text(encoding="utf-8")
    assert html.count("data:image/png") == 2 and "<script" not in html
    assert "극장에서 또다시" in html


def test_the_page_of_a_mixture_names_the_tasks():
    twice = Duplicates({}, {}, {}, {}, 0, are_all_near=True, num_suspects=1, num_suspect_rows=2)
    clean = replace(twice, num_suspects=0)
    first, second = (
        Inspection(name, "toy", [], duplicates, 0.1)
        for name, duplicates in (("one_gen", clean), ("two_gen", twice))
    )
    page = page_text([first, second])
    assert "one_gen, two_gen with the tokenizer of toy" in page
    assert "two_gen: texts with several labels: 1" in page and "one_gen: texts" not in page
    assert "one_gen: Duplicates" in page and "two_gen: Duplicates" in page
    assert "two_gen: " not in page_text([second])


def test_tags_answers_and_trees_of_the_sample(cache_dir, capsys):
    of_sample = ["--sample", "--hf_cache_dir", cache_dir, "--json"]
    rows = ["--train_split", "train[:60]", "--valid_split", "validation[:30]"]
    (ner,) = json.loads(run(["--task", "klue_ner", *of_sample, *rows], capsys))
    entities = ner["splits"][0]["labels"]
    assert set(entities) <= {"PS", "LC", "OG", "DT", "TI", "QT"} and sum(entities.values()) > 60
    assert ner["splits"][0]["label_kind"] == "entity type"
    assert "B-" not in ner["duplicates"]["near"][0]["first"]["gold"]
    (mrc,) = json.loads(run(["--task", "klue_mrc", *of_sample, *rows], capsys))
    assert mrc["splits"][0]["label_kind"] == "answer"
    assert sum(mrc["splits"][0]["labels"].values()) == mrc["splits"][0]["num_rows"] == 60
    (tree,) = json.loads(run(["--task", "klue_dp", *of_sample, *rows], capsys))
    assert tree["splits"][0]["label_kind"] == "relation" and "VP" in tree["splits"][0]["labels"]
    (pair,) = json.loads(run(["--task", "klue_sts", *of_sample, *rows], capsys))
    low, mean, high = pair["splits"][0]["numbers"]
    assert 0 <= low < mean < high <= 5 and pair["splits"][0]["labels"] == {}
    (written,) = json.loads(run(["--task", "klue_tc_gen", *of_sample, *rows], capsys))
    assert [one["column"] for one in written["splits"][0]["lengths"]] == ["inputs", "targets"]


def test_names_of_fields_are_no_likeness():
    texts = ["sentence1: 하나 sentence2: 둘: 셋", "sentence1: 넷 sentence2: 다섯"]
    assert without_field_names(texts) == ["하나 둘: 셋", "넷 다섯"]
    assert without_field_names(["문장: 하나", "둘"]) == ["문장: 하나", "둘"]
    assert without_field_names([]) == []


def test_splits_that_there_are():
    source = FunctionDataSource(lambda split: [{"text": "가"}], ["dev"], columns=["text"])
    config = SimpleNamespace(data=SimpleNamespace(asked_splits={}, folders=None))
    assert splits_of(config, SimpleNamespace(source=source)) == ["dev"]
    config.data.asked_splits = {"train": "dev[:1]", "validation": "dev[1:]"}
    assert splits_of(config, SimpleNamespace(source=source)) == ["dev[:1]", "dev[1:]"]


def test_what_is_wrong_is_said_first(words):
    with pytest.raises(UserError, match="--jsn: unknown flag"):
        command.parser().parse_args([*words, "--jsn"])
    flags = command.parser().parse_args([*words, "--html", "/proc/none/page.html"])
    with pytest.raises(UserError, match="--html /proc/none/page.html: nothing can be written"):
        command.main(flags)
