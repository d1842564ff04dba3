"""Labels by number, name and text; cells of a CSV that are empty or numbers."""

from __future__ import annotations

import csv
import pickle
from functools import partial

import datasets
import pytest
from support.helpers import folders, task_on

from ke_t5.class_numbers import ClassNumber
from ke_t5.errors import Exit, UserError
from ke_t5.pipe import IGNORED, HFDataSource, tokenize
from ke_t5.task import checks, steps, tags, targets
from ke_t5.task.labels import Labels

SENTIMENT = Labels(("negative", "positive"), keys=("0", "1"))


def label_task(source, labels, column="label"):
    """A task of texts and labels on that source, checked like the built-in tasks."""
    task = task_on(
        [], [tokenize, partial(steps.add_label_ids, labels=labels, column=column)],
        keep={"gold": "string"},
        row_checks=(partial(checks.known_labels, labels=labels, column=column),),
    )  # fmt: skip
    object.__setattr__(task, "source", source)
    return task


def hub_like(path, names, numbers):
    """A data set as on the hub: class numbers, and their names in the file."""
    features = datasets.Features(
        {"inputs": datasets.Value("string"), "label": datasets.ClassLabel(names=names)}
    )
    rows = {"inputs": ["가"] * len(numbers), "label": numbers}
    file = path / "rows.parquet"
    datasets.Dataset.from_dict(rows, features=features).to_parquet(str(file))
    return HFDataSource("parquet", data_files={"train": str(file)})


@pytest.mark.parametrize(
    ("names", "labels"),
    [
        (["negative", "positive"], Labels(("negative", "positive"))),
        (["negative", "positive"], SENTIMENT),
        (["0", "1"], SENTIMENT),
        (["neg", "pos"], SENTIMENT),
        (["neg", "pos"], Labels(("negative", "positive"), keys=(0, 1))),
        (["negative", "positive"], Labels(("negative", "positive"), keys=(0, 1))),
    ],
)
def test_classes_of_a_data_set_are_found_by_name_or_number(tmp_path, names, labels):
    task = label_task(hub_like(tmp_path, names, [1, 0, -1]), labels)
    examples = task.get_dataset("train", folders=folders(tmp_path))
    assert examples.columns["labels"].values.tolist() == [1, 0, IGNORED]
    assert examples.dataset["gold"] == ["positive", "negative", None]


@pytest.mark.parametrize("labels", [SENTIMENT, Labels(("negative", "positive"))])
def test_names_decide_if_the_numbers_are_in_another_order(tmp_path, labels):
    task = label_task(hub_like(tmp_path, ["positive", "negative"], [0, 1]), labels)
    examples = task.get_dataset("train", folders=folders(tmp_path))
    assert examples.dataset["gold"] == ["positive", "negative"]


def test_a_class_that_is_not_a_label_is_an_error(tmp_path):
    task = label_task(hub_like(tmp_path, ["a", "b", "c"], [0, 2]), Labels(("a", "b")))
    with pytest.raises(UserError, match="row 1: label 'c' is not in the list"):
        task.get_dataset("train", folders=folders(tmp_path))


@pytest.mark.parametrize("key", ["1", 1, 1.0, True, ClassNumber(1, None)])
@pytest.mark.parametrize("keys", [("0", "1"), (0, 1)])
def test_a_label_may_come_as_text_or_number(key, keys):
    assert Labels(("no", "yes"), keys=keys).id_of(key) == 1


@pytest.mark.parametrize("key", ["2", 2, 0.5, "", ClassNumber(2, "maybe")])
def test_unknown_labels_are_none(key):
    with pytest.raises(KeyError):
        SENTIMENT.id_of(key)


def test_generative_targets_and_tags_use_the_names_of_classes():
    row = {"label": ClassNumber(0, "positive"), "text": "가나"}
    assert targets.label_word(row, labels=SENTIMENT, column="label") == "positive"
    row["tags"] = [ClassNumber(3, "B-PS"), ClassNumber(0, "O")]
    assert tags.tags_of(row) == ["B-PS", "O"]
    entities = [{"start": 0, "end": 1, "label": ClassNumber(1, "PS")}]
    assert tags.tags_of({"text": "가나", "entities": entities}) == ["B-PS", "O"]
    copy = pickle.loads(pickle.dumps(row["label"]))
    assert (copy, copy.name) == (0, "positive")


def csv_source(path, *rows):
    file = path / "rows.csv"
    with open(file, "w", encoding="utf-8", newline="") as opened:
        csv.writer(opened).writerows([("inputs", "label"), *rows])
    return HFDataSource("csv", data_files={"train": str(file)})


def test_an_empty_label_is_missing_and_a_text_may_be_null(tmp_path):
    """The numbers of a column with an empty cell are read as 0.0 and 1.0."""
    source = csv_source(tmp_path, ("NA", 1), ("null", ""), ("None", 0))
    examples = label_task(source, SENTIMENT).get_dataset("train", folders=folders(tmp_path))
    assert examples.dataset["gold"] == ["positive", None, "negative"]
    rows = source.rows("train", folders(tmp_path)).dataset
    assert rows["inputs"] == ["NA", "null", "None"]


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        (
            [("가", 1), ("", 0)],
            "row 1: column 'inputs' contains None, expected text; fill",
        ),
        ([(12, 1), (13, 0)], "row 0: column 'inputs' contains 12, expected text"),
    ],
)
def test_a_cell_that_is_not_a_text_is_a_one_line_error(tmp_path, rows, problem):
    task = label_task(csv_source(tmp_path, *rows), SENTIMENT)
    with pytest.raises(UserError) as caught:
        task.get_dataset("train", folders=folders(tmp_path))
    assert problem in str(caught.value) and caught.value.exit_code == Exit.DATA


def test_a_column_of_numbers_is_not_a_column_of_texts():
    dataset = datasets.Dataset.from_dict({"title": [1, 2]})
    with pytest.raises(UserError, match="here: column 'title' is int64, not text; convert it to"):
        checks.has_texts(dataset, "here", columns=("title",))


def test_a_step_without_a_check_names_the_row_of_an_unknown_label():
    batch = {"label": ["0", "7"], "_id": [0, 1]}
    with pytest.raises(UserError, match="row 1: label '7' is not a label .'0', '1'."):
        steps.add_label_ids.batch_function(batch, labels=SENTIMENT, column="label")


def test_users_may_define_missing_values(tmp_path):
    source = csv_source(tmp_path, ("가", 1), ("NA", 0))
    source = HFDataSource("csv", data_files=source.data_files, keep_default_na=True)
    assert source.rows("train", folders(tmp_path)).dataset["inputs"] == ["가", None]
