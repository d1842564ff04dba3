"""T5's span corruption of free text: lengths, noise, sentinels, and a training on a text file."""

from __future__ import annotations

import json

import gin
import numpy as np
import pytest
from support.recipe_runs import run_folder, test, train

from ke_t5.config.flags import parse_train
from ke_t5.config.gin_config import configure
from ke_t5.errors import UserError
from ke_t5.own_data import load_own_data
from ke_t5.own_data.rows import JOINED, own_rows
from ke_t5.own_data.settings import own_data_for
from ke_t5.own_data.source import OwnFiles
from ke_t5.pipe import Folders
from ke_t5.task.forms import INPUT, TEXT_TARGET
from ke_t5.task.span_corruption import (
    add_corrupted,
    corrupted,
    lengths_of,
    noise_mask,
    segment_length,
    sentinels_of,
)
from ke_t5.task.utils import get_vocabulary

NAME = "span_corruption_ko"


@pytest.mark.parametrize(("inputs", "tokens", "targets"), [(512, 568, 114), (256, 284, 58)])
def test_a_segment_is_as_long_as_its_input_allows_as_in_t5(inputs, tokens, targets):
    assert segment_length(inputs) == tokens
    assert lengths_of(tokens) == (inputs, targets)
    assert lengths_of(tokens + 1)[0] > inputs


@pytest.mark.parametrize("length", [2, 3, 7, 20, 568])
def test_the_noise_has_t5s_share_and_spans(length):
    for seed in range(20):
        mask = noise_mask(length, np.random.default_rng(seed))
        assert len(mask) == length and not mask[0] and mask[-1]
        assert mask.sum() == min(max(round(length * 0.15), 1), length - 1)
        spans = int(np.sum(mask[1:] & ~mask[:-1]))
        assert spans == max(round(mask.sum() / 3), 1)


def test_spans_of_the_noise_vary():
    masks = np.array([noise_mask(100, np.random.default_rng(seed)) for seed in range(400)])
    assert masks[:, 0].sum() == 0 and masks[:, -1].sum() == 400  # as in T5
    shares = masks[:, 20:80].mean(0)
    assert 0.08 < shares.min() and shares.max() < 0.25


def test_what_is_hidden_stands_after_its_sentinel():
    ids, mask = list(range(10, 20)), np.isin(np.arange(10), [2, 3, 6, 9])
    inputs, targets = corrupted(ids, mask, [99, 98, 97])
    assert inputs == [10, 11, 99, 14, 15, 98, 17, 18, 97]
    assert targets == [99, 12, 13, 98, 16, 97, 19]


class Tokenizer:
    """A tokenizer with that many sentinels."""

    unk_token_id = 3

    def __init__(self, count):
        self.known = {f"<extra_id_{i}>": 999 - i for i in range(count)}

    def convert_tokens_to_ids(self, name):
        return self.known.get(name, self.unk_token_id)


@pytest.mark.parametrize(
    ("count", "inputs", "targets", "line"),
    [
        (0, 512, 114, "Tokenizer has no tokens <extra_id_0> to <extra_id_99>; use a T5 that has"),
        (99, 512, 114, "Tokenizer has no tokens <extra_id_0> to <extra_id_99>; use a T5 that has"),
        (100, 2048, 512, "inputs of 2048 tokens have 114 spans, expected 1 to 100; set inputs"),
        (100, 4, 512, "inputs of 4 tokens have 0 spans, expected 1 to 100; set inputs"),
        (
            100,
            512,
            113,
            "targets of 113 tokens are too short for inputs of 512; set targets to 114 or more",
        ),
    ],
)
def test_what_cannot_be_corrupted_is_refused(count, inputs, targets, line):
    with pytest.raises(UserError) as raised:
        sentinels_of(Tokenizer(count), inputs=inputs, targets=targets)
    assert line in str(raised.value)
    assert sentinels_of(Tokenizer(100), inputs=512, targets=114)[:2] == [999, 998]


@pytest.fixture(scope="module")
def lines(tmp_path_factory):
    """A file of free text, with an empty line and one longer than a row."""
    file = tmp_path_factory.mktemp("free") / "text.txt"
    texts = [f"{i}번째 글에는 서울의 날씨와 축구 경기가 나온다." for i in range(120)]
    texts[3:3] = ["", "긴 글 " * 2500]
    file.write_text("\n".join(texts) + "\n", encoding="utf-8")
    return file


def test_lines_are_joined_and_cut_to_rows(lines):
    own = load_own_data(NAME, files={"train": str(lines)})
    rows = list(own_rows(own, lines, "train", [].append))
    assert all(0 < len(row["text"]) <= JOINED for row in rows) and len(rows) == 4
    assert " ".join(row["text"] for row in rows) == " ".join(lines.read_text().split())
    assert [row["line"] for row in rows][0] == 1


def texts_below(folder, **files):
    """The folder with these text files in it."""
    for name, text in files.items():
        file = folder / f"{name.replace('_', '/')}.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    return folder


def test_a_folder_of_texts_is_read_file_by_file(tmp_path, cache_dir):
    folder = texts_below(tmp_path / "texts", b="넷째 글\n", a="첫 글\n둘째 글\n", a_c="셋째 글\n")
    (folder / "notes.md").write_text("글이 아니다", encoding="utf-8")
    own = load_own_data(NAME, cache=cache_dir, files={"train": str(folder)})
    rows = OwnFiles(own, NAME).rows("train", Folders(None, cache_dir))
    assert list(rows.dataset["text"]) == ["첫 글 둘째 글 넷째 글 셋째 글"]
    assert sorted(rows.provenance["files"]) == sorted(map(str, folder.rglob("*.txt")))
    texts_below(folder, b="다섯째 글\n")
    rows = OwnFiles(own, NAME).rows("train", Folders(None, cache_dir))
    assert list(rows.dataset["text"]) == ["첫 글 둘째 글 다섯째 글 셋째 글"]


def test_texts_among_the_raw_releases_need_no_flag(tmp_path, cache_dir):
    gin.clear_config()
    flags, settings = parse_train(["--task", NAME]), configure()
    folders = Folders(tmp_path, cache_dir)
    found = {"folders": folders, "stored": None}
    with pytest.raises(UserError, match=r"it needs a file of your own data; add --train_file"):
        own_data_for(NAME, flags, settings, **found)
    texts_below(tmp_path / "free_text", news="글 하나\n")
    own = own_data_for(NAME, flags, settings, **found)
    assert own.files == {"train": str(tmp_path / "free_text")}
    flags = parse_train(["--task", NAME, "--train_file", str(tmp_path / "free_text/news.txt")])
    assert own_data_for(NAME, flags, settings, **found).files["train"].endswith("news.txt")


@pytest.mark.parametrize(
    ("files", "line"),
    [
        ({}, ": a folder without .txt files; add files with one text per line"),
        ({"a": ""}, "/a.txt: the file is empty; write rows into it"),
    ],
)
def test_a_folder_without_texts_is_refused(files, line, tmp_path, cache_dir):
    texts_below(tmp_path, **files)
    with pytest.raises(UserError) as raised:
        load_own_data(NAME, cache=cache_dir, files={"train": str(tmp_path)})
    assert str(raised.value).endswith(f"{tmp_path.name}{line}")


@pytest.fixture(scope="module")
def run(lines, tmp_path_factory, cache_dir):
    """Two steps of training, and a test of the checkpoint on the same file."""
    output = tmp_path_factory.mktemp("run")
    lengths = ("--gin_param", "get_dataset.sequence_length={'inputs': 64, 'targets': 20}")
    words = ("--task", NAME, "--sample", "--batch_size", 4, *lengths)
    files = ("--train_file", lines, "--valid_file", lines, "--eval_rows", 3)
    train(*words, *files, "--max_steps", 2, output=output, cache=cache_dir)
    test(*words, "--resume", "best", "--test_file", lines, output=output, cache=cache_dir)
    return output


def test_the_hidden_tokens_are_predicted_and_counted(run):
    folders = sorted((run_folder(run) / "eval").iterdir())
    assert [folder.name for folder in folders] == ["test", "validation"]
    scores = json.loads((folders[0] / "scores.json").read_text())["scores"]
    rows = [
        json.loads(line) for line in (folders[0] / "predictions.jsonl").read_text().splitlines()
    ]
    assert len(rows) == 4
    hits = [(a == b) for row in rows for a, b in zip(row["gold"], row["prediction"], strict=True)]
    assert scores == {"teacher_forced_token_accuracy": pytest.approx(100 * np.mean(hits))}
    assert rows[0]["gold"][0] == "<extra_id_0>" and rows[0]["gold"][-1] == "</s>"
    assert "<extra_id_0>" in rows[0]["inputs"]


def test_a_row_becomes_segments_whose_noise_does_not_change(run, lines):
    gin.bind_parameter("get_vocabulary.vocab_name", str(run_folder(run) / "model"))
    tokenizer = get_vocabulary()
    features = {"input_ids": INPUT, "labels": TEXT_TARGET}
    text = lines.read_text(encoding="utf-8")[:600]
    given = {"sequence_length": {"inputs": 64, "targets": 20}, "output_features": features}
    make = add_corrupted.batch_function
    two = make({"_id": [5, 7], "text": ["짧은 글이다.", text]}, **given)
    alone = make({"_id": [7], "text": [text]}, **given)
    assert {*two["_id"]} == {5, 7} and len(alone["_id"]) > 2
    assert two["input_ids"][1:] == alone["input_ids"] and two["labels"][1:] == alone["labels"]
    restored = []
    for inputs, labels in zip(alone["input_ids"], alone["labels"], strict=True):
        assert len(inputs) <= 64 and len(labels) <= 20
        assert inputs[-1] == labels[-1] == tokenizer.eos_token_id
        first = tokenizer.convert_tokens_to_ids("<extra_id_0>")
        hidden: dict[int, list[int]] = {}
        for token in labels[:-1]:
            if first - 100 < token <= first:
                hidden[token] = []
            else:
                hidden[[*hidden][-1]].append(token)
        assert [*hidden] == [first - i for i in range(len(hidden))]  # descending
        for token in inputs[:-1]:
            restored += hidden.get(token, [token])
    assert restored == tokenizer(text, add_special_tokens=False)["input_ids"]
