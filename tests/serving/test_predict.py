"""`ke-t5 predict`: reads a table or texts and writes the same rows with their predictions."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import os
import signal
import subprocess
import sys
import time

import pytest
from support.processes import ROOT
from support.trained_models import NUM_ROWS

import ke_t5.task.task  # noqa: F401 - registers the tasks
from ke_t5.commands import predict
from ke_t5.errors import Exit, UserError
from ke_t5.pipe import TaskRegistry
from ke_t5.serving.tables import columns_for


def run(*words):
    """Runs the command in this process."""
    predict.main(predict.parser().parse_args([str(word) for word in words]))


def read_lines(file):
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


@pytest.fixture
def titles(models, tmp_path):
    """A CP949 table with rows of a test, and the predictions of that test."""
    tested = models.tested("klue_tc")
    file = tmp_path / "titles.csv"
    with file.open("w", encoding="cp949", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["번호", "제목", "prediction"])
        for number, line in enumerate(tested):
            writer.writerow([f"00{number}", line["inputs"].removeprefix("title: "), "?"])
    return file, [line["prediction"] for line in tested]


def test_a_table_keeps_its_columns(models, titles, tmp_path):
    file, labels = titles
    words = ("--hf_path", models.export("klue_tc"), "--input", file, "--text_column", "제목")
    run(*words, "--batch_size", 8, "--output", tmp_path / "out.jsonl")
    rows = read_lines(tmp_path / "out.jsonl")
    assert [row["번호"] for row in rows] == [f"00{i}" for i in range(NUM_ROWS)]
    assert [row["prediction_"]["label"] for row in rows] == labels
    assert all(row["prediction"] == "?" for row in rows)
    run(*words, "--batch_size", 8, "--output", tmp_path / "out.csv")
    content = (tmp_path / "out.csv").read_text(encoding="utf-8")
    assert content.startswith("\ufeff번호,")  # without the BOM, Excel reads the file as CP949
    table = list(csv.DictReader(io.StringIO(content[1:])))
    assert [row["prediction_"] for row in table] == labels
    assert [float(row["probability 경제"]) for row in table] == [
        row["prediction_"]["probabilities"]["경제"] for row in rows
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.csv", "out.jsonl", file.name]


def test_texts_from_the_command_line(models, capsys):
    export, reader = models.export("klue_tc"), models.run("klue_mrc")
    capsys.readouterr()  # discards the output of their trainings
    run("--hf_path", export, "--text", "축구 대표팀 승리", "--text", "금리 인상")
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["title"] for row in rows] == ["축구 대표팀 승리", "금리 인상"]
    words = ("--text", "누가 이겼나?", "--text_pair", "어제 서울이 이겼다.")
    run("--run", reader, "--resume", "true", *words)
    (line,) = capsys.readouterr().out.splitlines()
    assert set(json.loads(line)["prediction"]) == {"answer", "start", "end"}


def test_an_invalid_row_ends_the_command_or_is_skipped(models, tmp_path, capsys):
    file, out = tmp_path / "rows.jsonl", tmp_path / "out.csv"
    lines = [{"title": "좋다"}, {"title": 5}, {"title": "나쁘다", "등급": 1}]
    file.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    words = ("--hf_path", models.export("klue_tc"), "--input", file, "--output", out)
    with pytest.raises(
        UserError, match=r"rows.jsonl:2: column 'title' contains 5, .*text"
    ) as caught:
        run(*words)
    assert caught.value.exit_code == Exit.DATA and not out.exists()
    with pytest.raises(
        UserError, match=r"rows.jsonl:3: has a column '등급' that the first row does not have"
    ):
        run(*words, "--on_error", "skip")
    run(*words[:-1], tmp_path / "out.jsonl", "--on_error", "skip")
    first, second, third = read_lines(tmp_path / "out.jsonl")
    assert second == {"title": 5, "error": "column 'title' contains 5, expected text"}
    assert first["prediction"]["label"] and third["prediction"]["label"]
    errors = capsys.readouterr().err
    assert f"{file}:2: column 'title' contains 5" in errors
    assert "3 rows, 1 of them without a prediction in" in errors
    (tmp_path / "rows.json").write_text(json.dumps(lines))
    with pytest.raises(UserError, match=r"rows.json, row 2: column 'title' contains 5"):
        run(*words[:2], "--input", tmp_path / "rows.json")


def test_an_unpaired_surrogate_affects_only_its_row(models, tmp_path):
    file = tmp_path / "rows.jsonl"
    rows = '{"title": "좋다", "메모": "\\ud83d"}\n{"title": "\\ud83d"}\n'
    file.write_text(rows, encoding="utf-8")
    words = ("--hf_path", models.export("klue_tc"), "--input", file, "--on_error", "skip")
    run(*words, "--output", tmp_path / "out.jsonl")
    first, second = read_lines(tmp_path / "out.jsonl")
    assert first["메모"] == "\ud83d" and first["prediction"]["label"]
    assert "'title' contains an unpaired surrogate" in second["error"]
    with pytest.raises(UserError, match="rows.jsonl:1: a column contains an unpaired .*jsonl"):
        run(*words, "--output", tmp_path / "out.csv")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "ke-t5 predict: no model is named; give an export"),
        (("--hf_path", "a", "--run", "b"), "--hf_path and --run: two models are named"),
        (("--hf_path", "a", "--resume", "best"), "--resume: an export has no checkpoints; drop"),
        (("--hf_path", "a", "--text", "가", "--input", "b"), "--text and --input: two inputs are"),
        (("--hf_path", "a", "--text", "가", "--sheet", "b"), "--sheet: applies to tables only; dr"),
        (("--hf_path", "a", "--text_pair", "가"), "--text and --text_pair: 0 and 1 texts; give"),
        (("--hf_path", "a", "--output", "b.xlsx"), "b.xlsx: its extension is not one of .jsonl"),
        (("--hf_path", "a", "--input", "none.csv"), "none.csv: no such file"),
        (("--hf_path", "a", "--sheet", "b"), "--sheet 'b': only a workbook .* has sheets; drop"),
        (("--hf_path", "none", "--text", "가"), "--hf_path 'none': "),
        (("--run", "nope", "--text", "가"), "--run nope: there is no such folder; check the path"),
        (
            ("--hf_path", "a", "--input", "b.csv", "--output", "./b.csv"),
            "--output b.csv: it is the file of --input, which would be overwritten; name another",
        ),
    ],
)
def test_conflicting_or_incomplete_flags_are_errors(words, message, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "b.csv").write_text("문장\n가\n", encoding="utf-8")
    with pytest.raises(UserError, match=message):
        run(*words)


def columns(task, known, **flags):
    flags = {"text": None, "text_pair": None, **flags}
    return columns_for(TaskRegistry.get(task), known, where="rows.csv", **flags)


def test_columns_are_found_by_flag_or_by_name_or_if_there_is_only_one():
    assert columns("klue_tc", ["id", "title"]) == {"title": "title"}
    assert columns("klue_tc", ["text"]) == {"title": "text"}
    assert columns("klue_nli", ["a", "b"], text="b", text_pair="a") == {
        "premise": "b", "hypothesis": "a",
    }  # fmt: skip
    with pytest.raises(UserError, match="--text_column c: rows.csv has no such column; available"):
        columns("klue_nli", ["a", "b"], text="c")
    with pytest.raises(UserError, match="no column 'hypothesis' among a, b; name it with --text_p"):
        columns("klue_nli", ["a", "b"], text="a")
    with pytest.raises(UserError, match="no column 'object' among .*; rename the column"):
        columns("klue_re", ["sentence", "subject"])


def test_a_flag_for_a_column_that_the_task_does_not_read_is_refused():
    for task, flags, line in (
        ("klue_tc", {"text_pair": "b"}, "--text_pair_column b: klue_tc reads title; drop it"),
        ("kobest_hellaswag", {"text_pair": "b"}, "--text_pair_column b: kobest_hellaswag reads"),
    ):
        with pytest.raises(UserError, match=line):
            columns(task, ["a", "b"], **flags)
    own = dataclasses.replace(TaskRegistry.get("klue_tc"), input_columns=())
    with pytest.raises(UserError, match="--text_column b: klue_tc reads all columns of a row"):
        columns_for(own, ["a", "b"], where="rows.csv", text="b", text_pair=None)


def test_one_column_cannot_be_two_texts():
    line = "rows.csv: column 'a' cannot be both premise and hypothesis; name a column for each"
    with pytest.raises(UserError, match=line):
        columns("klue_nli", ["a", "b"], text="a", text_pair="a")
    with pytest.raises(UserError, match="'premise' cannot be both premise and hypothesis"):
        columns("klue_nli", ["premise"], text_pair="premise")
    copa = ["premise", "question", "가"]
    with pytest.raises(UserError, match="column '가' cannot be both choice1 and choice2"):
        columns("kobest_copa", copa, choices="가,가")
    listed = columns("kobest_copa", ["premise", "question", "choices"])
    assert listed == {name: name for name in ("premise", "question", "choices")}


def test_truncated_inputs_are_reported(models, capsys):
    words = ("--hf_path", models.export("klue_tc_gen"), "--text")
    capsys.readouterr()  # discards the output of its training
    run(*words, "짧다")
    assert "inputs cut" not in capsys.readouterr().err
    run(*words, "길다 " * 50, "--text", "짧다")
    assert "\ninputs cut at 24 tokens: 1\n" in capsys.readouterr().err


def test_no_rows(models, tmp_path):
    (tmp_path / "rows.jsonl").write_text("\n\n", encoding="utf-8")
    words = ("--hf_path", models.export("klue_tc"), "--input", tmp_path / "rows.jsonl")
    with pytest.raises(UserError, match="rows.jsonl: "):
        run(*words, "--output", tmp_path / "out.jsonl")
    assert not (tmp_path / "out.jsonl").exists()


def started(models, folder, *words):
    """Starts the command in a process of its own that reads from a pipe."""
    command = [sys.executable, "-m", "ke_t5", "predict", "--hf_path", str(models.export("klue_tc"))]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [*command, *map(str, words)], cwd=folder, env=environment, text=True, encoding="utf-8",
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def test_it_ends_if_the_reader_of_its_output_goes_away(models, tmp_path):
    process = started(models, tmp_path)
    process.stdin.write("축구 대표팀 승리\n" * 300)
    process.stdin.flush()
    assert json.loads(process.stdout.readline())["text"] == "축구 대표팀 승리"
    process.stdout.close()
    process.stdin.write("금리 인상\n" * 300)
    process.stdin.flush()  # it stays open
    assert process.wait(120) == 0
    assert "error" not in process.stderr.read()
    for stream in (process.stdin, process.stderr):
        stream.close()


def test_a_stop_leaves_no_partial_file(models, tmp_path):
    process = started(models, tmp_path, "--output", "out.jsonl")
    process.stdin.write("축구 대표팀 승리\n" * 300)
    process.stdin.flush()
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("out.jsonl.tmp-*")) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert process.wait(120) == Exit.STOPPED
    assert list(tmp_path.iterdir()) == []
    process.communicate()


def test_choices_may_be_named():
    table = ["글", "물음", "가", "나"]
    flags = {"where": "rows.csv", "text": "글", "text_pair": "물음"}
    copa = TaskRegistry.get("kobest_copa")
    found = columns_for(copa, table, **flags, choices="나, 가")
    assert found == dict(zip(copa.input_columns, ["글", "물음", "나", "가"], strict=True))
    for task, choices, line in (
        (copa, "가", "--choice_columns 가: kobest_copa has 2 choices; name 2 columns, between"),
        (copa, "가,다", "--choice_columns 다: rows.csv has no such column"),
    ):
        with pytest.raises(UserError) as raised:
            columns_for(task, table, **flags, choices=choices)
        assert line in str(raised.value)
    with pytest.raises(UserError, match="--choice_columns 가: nsmc has no choices; drop it"):
        columns("nsmc", ["text"], choices="가")
