"""Runs on own data given by flags, which need not be repeated to test, resume and export."""

import csv
import json

import pytest
from support.recipe_runs import run_folder, test, train

from ke_t5.errors import UserError
from ke_t5.own_data import OwnData, load_own_data

TINY = ("--task", "classification", "--sample", "--batch_size", 16)
REVIEWS = [
    (f"{subject} {verdict}", label)
    for subject in ("배우", "음악", "결말", "화면", "대사", "감독", "각본", "편집", "조명", "의상")
    for verdict, label in (("정말 좋았다", "1.0"), ("별로였다", "001"), ("그저 그랬다", "보통"))
]


def write_csv(path, rows, header=("문장", "감정")):
    with open(path, "w", encoding="cp949", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path


@pytest.fixture(scope="module")
def output(tmp_path_factory, cache_dir):
    """A run on a CP949 file whose columns are guessed."""
    folder = tmp_path_factory.mktemp("own")
    file = write_csv(folder / "reviews.csv", REVIEWS)
    more = ("--max_steps", 2, "--hf_path", "default")
    train(*TINY, "--train_file", file, *more, output=folder / "out", cache=cache_dir)
    return folder / "out"


def test_a_sheet_of_a_file_without_sheets_is_refused(tmp_path):
    file = write_csv(tmp_path / "reviews.csv", REVIEWS)
    with pytest.raises(UserError, match="own_data.sheet '둘째': only a workbook .* has sheets"):
        load_own_data("classification", files={"train": str(file)}, sheet="둘째")


def test_labels_columns_and_files_are_stored(output):
    run = run_folder(output)
    own = OwnData.from_json(json.loads((run / "run.json").read_text())["own_data"], "run.json")
    assert own.labels == ("001", "1.0", "보통") and own.files.keys() == {"train"}
    assert own.columns == {"text": "문장", "label": "감정"}
    config = json.loads((run / "hf" / "config.json").read_text())
    assert list(config["id2label"].values()) == list(own.labels)
    exported = json.loads((run / "hf" / "ke_t5.json").read_text())["own_data"]
    assert OwnData.from_json(exported, "ke_t5.json") == own.replace(files={})


def test_a_test_and_a_resume_repeat_nothing(output, cache_dir, tmp_path):
    test(*TINY, "--resume", "best", output=output, cache=cache_dir)
    unlabelled = write_csv(tmp_path / "new.csv", [(text,) for text, _ in REVIEWS[:4]], ["문장"])
    export = run_folder(output) / "hf"
    more = ("--hf_path", export, "--test_file", unlabelled)
    test(*TINY, *more, output=tmp_path / "out", cache=cache_dir)
    (lines,) = (tmp_path / "out").rglob("predictions.jsonl")
    predictions = [json.loads(line) for line in lines.read_text().splitlines()]
    assert len(predictions) == 4 and all(one["gold"] is None for one in predictions)
    train(*TINY, "--resume", "true", "--max_steps", 3, output=output, cache=cache_dir)


def refusal(output, cache, *words, run=train):
    with pytest.raises(UserError) as caught:
        run(*words, output=output, cache=cache)
    return str(caught.value).removeprefix("error: ")


def test_what_contradicts_the_run_is_refused(output, cache_dir, tmp_path):
    line = refusal(output, cache_dir, *TINY, "--resume", "true", "--text_column", "감정")
    assert line == (
        "--text_column 감정: the run began with '문장'; "
        "drop it, or begin a new run without --resume"
    )
    unseen = write_csv(tmp_path / "test.csv", [("새 글", "보통"), ("다른 글", "보토")])
    words = ("--resume", "best", "--test_file", unseen)
    assert refusal(output, cache_dir, *TINY, *words, run=test) == (
        f"{unseen}:3: label '보토' is not in the training data; did you mean '보통'?"
    )
    bound = ("--gin_param", "own_data.separator='|'")
    assert refusal(output, cache_dir, *TINY, "--resume", "true", *bound).startswith(
        "own_data.separator = '|': the run began with ','"
    )
