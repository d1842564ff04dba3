"""`--task kobest`: each task is trained and tested in its own folder; the table and the mean."""

import json
import sys

import pytest

from ke_t5.commands import test as test_command
from ke_t5.commands import train as train_command
from ke_t5.commands.launch import launch
from ke_t5.config.flags import parse_test, parse_train
from ke_t5.errors import Exit, UserError
from ke_t5.experiments import suite
from ke_t5.pipe import get_task
from ke_t5.programs import SUITES

TESTING = """
import json, os, pathlib, sys

flags = dict(word.removeprefix("--").partition("=")[::2] for word in sys.argv[1:])
if flags["task"] == os.environ.get("TEST_OF"):
    sys.exit(5)
(run,) = pathlib.Path(flags["output_dir"]).glob("*/*/run.json")
folder = run.parent / "eval" / flags["test_split"]
folder.mkdir(parents=True)
(folder / "words").write_text(" ".join(sys.argv[1:]))
score = 50 + len(flags["task"])
(folder / "scores.json").write_text(json.dumps({"scores": {"macro_f1": score}}))
"""
WORDS = ("--task", "kobest", "--sample", "--batch", "4", "--epochs", "3", "--nproc", "2")


@pytest.fixture
def testing(tmp_path, monkeypatch):
    """Replaces the test program by the stand-in."""
    file = tmp_path / "testing.py"
    file.write_text(TESTING)
    monkeypatch.setattr(suite, "TEST_PROGRAM", (sys.executable, str(file)))


def run(tmp_path, *more):
    words = [*WORDS, "--output_dir", str(tmp_path / "out"), *more]
    suite.main(parse_train(words, launches=True), words)
    return tmp_path / "out" / "kobest"


def test_its_tasks_have_the_published_score():
    for task in SUITES["kobest"]:
        assert suite.SCORE in {
            name for metric in get_task(task).metric_fns for name in metric.names
        }


def test_each_task_is_trained_and_tested_once_and_the_mean_is_shown(
    training, testing, tmp_path, capsys
):
    folder = run(tmp_path)
    text = (folder / "kobest.md").read_text(encoding="utf-8")
    assert "| kobest_boolq | 62.00 |" in text and "| kobest_hellaswag | 66.00 |" in text
    assert "| **mean** | **62.80** |" in text and text in capsys.readouterr().out
    scores = json.loads((folder / "kobest.json").read_text())["scores"]
    assert list(scores) == list(SUITES["kobest"])
    launches = training(folder)
    assert [launch.split()[0] for launch in launches] == [f"--task={task}" for task in scores]
    assert all("--sample --batch=4 --epochs=3 --nproc=2" in launch for launch in launches)
    run(tmp_path)
    assert training(folder) == launches
    assert "kobest_wic (5 of 5) is finished" in capsys.readouterr().out
    words = next(folder.glob("kobest_wic/*/*/eval/test/words")).read_text().split()
    parsed = parse_test(words, launches=True)
    assert parsed.task == "kobest_wic" and parsed.sample and parsed.test_split == "test"


def test_a_failed_training_or_test_ends_it_with_the_same_exit_code(
    training, testing, tmp_path, monkeypatch
):
    monkeypatch.setenv("TEST_OF", "kobest_copa")
    with pytest.raises(UserError, match="kobest_copa: its test ended with exit code 5, ") as raised:
        run(tmp_path)
    assert raised.value.exit_code == Exit.MACHINE
    monkeypatch.setenv("TEST_FAILS", "kobest_wic:3")
    monkeypatch.delenv("TEST_OF")
    with pytest.raises(
        UserError, match="kobest_wic: its training ended with exit code 3"
    ) as raised:
        run(tmp_path)
    assert raised.value.exit_code == Exit.DATA


def test_unsupported_uses_of_a_suite_are_one_line_errors(tmp_path):
    words = ["--task", "kobest", "--seeds", "3", "--output_dir", str(tmp_path)]
    with pytest.raises(UserError) as raised:
        train_command.main(parse_train(words))
    fix = "give --seed and another --output_dir each time, or --task kobest_boolq"
    line = f"error: --task kobest --seeds: a suite supports one seed only; {fix}"
    assert str(raised.value) == line
    with pytest.raises(UserError) as raised:
        test_command.main(parse_test(["--task", "kobest", "--sample"]))
    line = str(raised.value)
    assert line.startswith("error: --task kobest: a suite: kobest_boolq, ") and len(line) <= 200
    assert line.endswith("; test one of them; training the suite tests each")


def test_nproc_is_passed_on_to_each_training(monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    parse = train_command.parser().parse_args
    assert launch("train", list(WORDS), parse) == list(WORDS)


def test_data_without_a_test_split_is_refused_before_the_first_training(
    training, testing, tmp_path
):
    for name in ("BoolQ", "COPA", "HellaSwag", "SentiNeg", "WiC"):
        folder = tmp_path / "data" / "KoBEST" / "v1.0" / name
        folder.mkdir(parents=True)
        for part in ("train", "dev", *(["test"] if name in ("BoolQ", "WiC") else [])):
            (folder / f"{part}.tsv").touch()
    words = ["--task", "kobest", "--hf_data_dir", str(tmp_path / "data")]
    words += ["--output_dir", str(tmp_path / "out")]
    message = "no test split of kobest_copa, kobest_hellaswag, kobest_sentineg; add its files"
    with pytest.raises(UserError, match=message) as raised:
        suite.main(parse_train(words, launches=True), words)
    assert raised.value.exit_code == Exit.DATA
    assert not list((tmp_path / "out" / "kobest").iterdir())
