"""Preparation: examples match their features, whatever the steps and the cache did."""

from __future__ import annotations

import importlib
import math
import sys
from functools import partial
from pathlib import Path

import datasets
import gin
import numpy as np
import pytest
from support.helpers import folders, task_on, toy_tokenizer

from ke_t5.errors import Exit, UserError
from ke_t5.pipe import (
    IGNORED,
    Feature,
    FunctionDataSource,
    Task,
    get_dataset,
    map_over_batches,
    map_over_dataset,
    preparation,
    rekey,
    tokenize,
)
from ke_t5.pipe.cache import Folders, describe, make_key

ROWS = [{"text": "가 나 다", "label": i % 3} for i in range(6)]
TOKENIZE = partial(tokenize, source="text", limit="inputs")


@map_over_dataset
def label_with(example, *, value):
    return {**example, "labels": value}


@map_over_dataset
def take_label(example):
    return {**example, "labels": example["label"]}


@map_over_batches
def drop_class_0(batch):
    kept = [i for i, label in enumerate(batch["label"]) if label]
    return {name: [column[i] for i in kept] for name, column in batch.items()}


def features(**labels):
    return {"input_ids": Feature(toy_tokenizer, pad=None), "labels": Feature(**labels)}


def get(path, *steps, rows=ROWS, sequence_length=None, **settings):
    task = task_on(rows, steps, **settings)
    return task.get_dataset("train", folders=folders(path), sequence_length=sequence_length)


@pytest.mark.parametrize(
    ("value", "labels", "message"),
    [
        (None, {"rank": 0}, "contains None, expected int32"),
        ([0, None], {}, r"contains \[0, None\], expected int32"),
        ([[0], [1]], {}, r"contains \[\[0\], \[1\]\], expected int32"),
        (["가"], {}, r"contains \['가'\], expected int32"),
        ([1, 2.5], {}, r"contains \[1, 2.5\], expected int32"),
        ([3, 0.5], {}, r"contains \[3, 0.5\], expected int32"),
        (2**31, {"rank": 0}, "contains 2147483648, expected int32"),
        ([0, 2**70], {}, r"contains \[0, 1180591620717411303424\], expected int32"),
        (float("-inf"), {"rank": 0, "dtype": "float32"}, "contains an infinite number"),
        ([math.nan, math.inf], {"dtype": "float32"}, "contains an infinite number"),
        (1e39, {"rank": 0, "dtype": "float32"}, r"contains 1e\+39, expected float32"),
        ([1, 2], {"rank": 2}, r"contains \[1, 2\], expected rows of one width"),
        ([[1, 2], [3]], {"rank": 2}, r"contains \[\[1, 2\], \[3\]\], expected rows of one width"),
        ([], {}, "is an empty sequence"),
        ([0, 3], {"num_values": 3}, "contains 3, expected 0 to 2"),
        ([0, -1], {"num_values": 3}, "contains -1, expected 0 to 2"),
        # A label below 0 that hides behind the ignored ones, which are further below.
        ([IGNORED, -5, 2], {"num_values": 3}, "contains -5, expected 0 to 2"),
    ],
)
def test_a_value_that_is_no_label_is_one_line(tmp_path, value, labels, message):
    step = partial(label_with, value=value)
    with pytest.raises(UserError, match=f"row 0: column 'labels' {message}") as caught:
        get(tmp_path, TOKENIZE, step, output_features=features(**labels))
    assert caught.value.exit_code == Exit.DATA


def test_rows_of_rank_2_have_one_width_in_all_examples(tmp_path):
    @map_over_dataset
    def widths(example):
        return {**example, "labels": [[0] * (2 + example["label"])]}

    message = "row 1: column 'labels' contains rows of 3, expected 2 as in other examples"
    with pytest.raises(UserError, match=message):
        get(tmp_path, TOKENIZE, widths, output_features=features(rank=2))


@pytest.mark.parametrize(("value", "rank"), [(np.int64(2), 0), (np.array([0, 2]), 1)])
def test_numbers_of_numpy_are_numbers(tmp_path, value, rank):
    made = features(rank=rank, num_values=3)
    examples = get(tmp_path, TOKENIZE, partial(label_with, value=value), output_features=made)
    assert examples.example(0)["labels"] == value.tolist()


@pytest.mark.parametrize("value", [[IGNORED, IGNORED], [IGNORED, 0, 2]])
def test_ignored_labels_are_none_out_of_range(tmp_path, value):
    made = features(num_values=3)
    examples = get(tmp_path, TOKENIZE, partial(label_with, value=value), output_features=made)
    assert examples.example(0)["labels"] == value


def test_examples_that_were_checked_for_more_labels_are_checked_anew(tmp_path):
    step = partial(label_with, value=2)
    get(tmp_path, TOKENIZE, step, output_features=features(rank=0, num_values=3))
    with pytest.raises(UserError, match="contains 2, expected 0 to 1"):
        get(tmp_path, TOKENIZE, step, output_features=features(rank=0, num_values=2))


def test_a_step_may_drop_rows_the_first_and_a_whole_batch_among_them(tmp_path):
    rows = [{"text": "가", "label": 0}] * 1000 + [{"text": "나", "label": 1}] * 2
    examples = get(tmp_path, drop_class_0, TOKENIZE, take_label, rows=rows)
    assert examples.ids.tolist() == [1000, 1001]
    assert examples.example(1)["input_ids"] == [2, 5, 3]


@pytest.mark.parametrize(
    "step", [drop_class_0, lambda dataset: dataset.filter(lambda row: row["label"])]
)
def test_steps_that_leave_no_row_leave_no_example(tmp_path, step):
    rows = [{"text": "가", "label": 0}] * 3
    for _ in range(2):  # built, and found in the cache
        with pytest.raises(UserError, match=r"contains no examples \(train: 3 of 3 rows\)"):
            get(tmp_path, step, TOKENIZE, take_label, rows=rows)


@pytest.mark.parametrize("length", ["abc", 2.5, 0, -3, True, None])
def test_a_length_that_is_no_number_of_tokens_is_one_line(tmp_path, length):
    gin.bind_parameter("get_dataset.sequence_length", {"inputs": length})
    task = task_on(ROWS, [TOKENIZE, take_label])
    message = r"get_dataset.sequence_length: is .* for 'inputs'; give a whole number of tokens"
    with pytest.raises(UserError, match=message):
        get_dataset(task, "train", folders=folders(tmp_path))


def test_a_length_without_room_for_the_marks_is_one_line(tmp_path):
    with pytest.raises(UserError, match="max length 1 is below the tokenizer's 2 special tokens"):
        get(tmp_path, TOKENIZE, take_label, sequence_length={"inputs": 1})


def test_the_labelled_examples_are_never_none(tmp_path):
    examples = get(tmp_path, TOKENIZE, partial(label_with, value=IGNORED))
    with pytest.raises(UserError, match="--train_split: none of the 6 examples has a label"):
        examples.labelled()


def test_a_key_knows_the_defaults_of_keywords():
    def with_default(number):
        def step(dataset, *, count=number):
            return dataset

        return step

    assert make_key([with_default(1)]) != make_key([with_default(2)])
    assert describe(with_default(1)) == describe(with_default(1))


@map_over_dataset
def numbered(example):
    """A user's step that fails for unknown labels."""
    return {**example, "labels": ("no", "yes").index(example["label"])}


def prepared_by_user(tmp_path, monkeypatch, *labels):
    """The examples of a user's task for rows with these labels."""
    rows = [{"text": "가", "label": label} for label in labels]
    monkeypatch.setattr(preparation, "is_users_own", lambda file: file == Path(__file__))
    task = Task(
        "mine",
        FunctionDataSource(lambda _: rows, ["train"], {"text": "string", "label": "string"}),
        [numbered],
        {"labels": Feature(rank=0)},
    )
    return task.get_dataset("train", folders=Folders(None, tmp_path))


@pytest.mark.parametrize("labels", [("no", "yes", None), (None, "yes"), ("no", "maybe", "yes")])
def test_a_row_on_which_a_users_step_fails_is_named(tmp_path, monkeypatch, labels):
    row = next(i for i, label in enumerate(labels) if label not in ("no", "yes"))
    with pytest.raises(UserError) as caught:
        prepared_by_user(tmp_path, monkeypatch, *labels)
    line = str(caught.value)
    assert line.startswith(f"error: task 'mine', split 'train', row {row}: test_preparation.py:")
    assert "fails (ValueError: tuple.index(x): x not in tuple); fix that row, or the step" in line
    assert caught.value.exit_code == Exit.DATA and caught.value.keep_traceback


@map_over_dataset
def forgets_to_return(example):
    example["labels"] = 0


@map_over_dataset
def labels_some(example):
    return {**example, **({"labels": 0} if example["_id"] != 2 else {})}


@map_over_batches
def forgets_the_batch(batch):
    batch["labels"] = [0] * len(batch["label"])


@map_over_batches
def gives_one_label(batch):
    return {**batch, "labels": 0}


@map_over_batches
def gives_too_few(batch):
    return {**batch, "labels": [0] * 5}


def forgets_the_data_set(dataset):
    dataset.filter(lambda row: True)


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (forgets_to_return, "row 0: returns NoneType, expected a dict; return the example"),
        (labels_some, "row 2: returns the column 'labels' for some rows only; return the same"),
        (forgets_the_batch, "returns NoneType, expected a dict of columns; return the batch"),
        (gives_one_label, "returns int for 'labels', expected a list; return a value for each row"),
        (gives_too_few, "returns 6 values for '_id', but 5 for 'labels'; return a value for each"),
        (forgets_the_data_set, "returns NoneType, expected a data set; return the data set"),
    ],
)
def test_what_a_step_returns_is_checked(tmp_path, step, message):
    place = f"task 'toy', split 'train', step {step.__name__}"
    with pytest.raises(UserError, match=f"{place}(, |: ){message}") as caught:
        get(tmp_path, TOKENIZE, step, output_features=features(rank=0))
    assert caught.value.exit_code == Exit.DATA


def test_a_users_step_that_always_fails_is_a_fault_of_its_module(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="not in tuple"):
        prepared_by_user(tmp_path, monkeypatch, "a", "b")


def test_shared_steps_name_task_and_row(tmp_path):
    source = FunctionDataSource(lambda _: [{"text": "가"}], ["train"], {"text": "string"})
    for step, message in {
        partial(rekey, key_map={"inputs": "document"}): "split 'train', rekey: needs the column",
        tokenize: "split 'train', tokenize: needs the column 'inputs'; the rows have _id, text",
    }.items():
        features = {"input_ids": Feature(toy_tokenizer)}
        task = Task("mine", source, [step], features)
        with pytest.raises(UserError, match=message):
            task.get_dataset("train", folders=Folders(None, tmp_path))


MODULE = """
from ke_t5.pipe import map_over_dataset

ENDING = {ending!r}


@map_over_dataset
def mark(example):
    return {{**example, "text": example["text"] + ENDING}}


def mark_all(dataset):
    return dataset.map(mark.example_function)


def keep_all(dataset):
    return dataset.filter(lambda row: True)
"""


@pytest.mark.parametrize("are_left", [False, True])
@pytest.mark.parametrize("names", [("mark", "keep_all"), ("mark_all",)])
def test_a_step_that_needs_a_data_set_is_not_taken_from_the_files_of_datasets(
    tmp_path, monkeypatch, names, are_left
):
    """Which know a function by its name: the rows of before its change would be used. A killed
    process, or an earlier version, has left them."""
    if are_left:
        monkeypatch.setattr(Path, "unlink", lambda *_arguments, **_options: None)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    for ending in (" 하나", " 둘"):
        (tmp_path / "marking.py").write_text(MODULE.format(ending=ending), encoding="utf-8")
        module = importlib.import_module("marking")
        steps = [getattr(module, name) for name in names]
        examples = get(tmp_path, *steps, TOKENIZE, take_label, keep={"text": "string"})
        assert examples.example(0)["text"] == f"가 나 다{ending}"
        del sys.modules["marking"]
    assert bool(list((tmp_path / "cache" / "rows").rglob("cache-*"))) == are_left


def test_files_that_a_step_reads_from_other_folders_are_left(tmp_path):
    other = datasets.Dataset.from_dict({"text": ["하나"], "label": [1], "_id": [5]})
    other.save_to_disk(tmp_path / "other")

    def add(dataset):
        more = datasets.load_from_disk(tmp_path / "other").cast(dataset.features)
        return datasets.concatenate_datasets([dataset, more])

    before = sorted((tmp_path / "other").iterdir())
    assert len(get(tmp_path, add, TOKENIZE, take_label)) == 7
    assert sorted(set((tmp_path / "other").iterdir()) & set(before)) == before


@pytest.mark.parametrize("row_id", [None, -1, 6])
def test_an_example_of_no_row_is_refused(tmp_path, row_id):
    """Such an example would be in no slice of the split."""

    def add(dataset):
        more = {"text": ["하나"], "label": [1], "_id": [row_id]}
        more = datasets.Dataset.from_dict(more, features=dataset.features)
        return datasets.concatenate_datasets([dataset, more])

    message = "task 'toy', split 'train': the preprocessors return examples whose '_id' is none of"
    with pytest.raises(UserError, match=message):
        get(tmp_path, add, TOKENIZE, take_label)
