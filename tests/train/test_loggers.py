"""The logs of a run: equal runs write equal bytes, resumed runs continue their logs."""

import builtins
import io
import json
import logging
import math
import sys
import time

import numpy as np
import pytest
import torch

from ke_t5.train.loggers import ProgressBar, RunLog

DEAD = 999_999_999  # no system has so many processes


def lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def run(folder, first=1, last=4, **options):
    with RunLog(folder, **options) as log:
        for step in range(first, last + 1):
            log.count(rows=8, tokens=64)
            log.step(step, epoch=0, loss=1 / step, lr=1e-4)
            if step % 2 == 0:
                log.scores(step, split="valid[90%:]", scores={"accuracy": 50.0 + step})


def scalars(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / "logs"))
    events.Reload()
    return {tag: [e.step for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def test_lines_as_written(tmp_path):
    run(tmp_path, last=2)
    assert (tmp_path / "metrics.jsonl").read_bytes() == (
        b'{"step": 1, "epoch": 0, "loss": 1.0, "lr": 0.0001}\n'
        b'{"step": 2, "epoch": 0, "loss": 0.5, "lr": 0.0001}\n'
        b'{"step": 2, "split": "valid[90%:]", "scores": {"accuracy": 52.0}}\n'
    )
    names = ["step", "seconds", "steps_per_second", "rows_per_second", "tokens_per_second"]
    assert [list(line) for line in lines(tmp_path / "timing.jsonl")] == [names, names]


def test_tensorboard_has_the_numbers_of_all(tmp_path):
    run(tmp_path)
    found = scalars(tmp_path)
    assert found["train/loss"] == [1, 2, 3, 4]
    assert found["validation/accuracy"] == [2, 4]
    assert found["timing/rows_per_second"] == [1, 2, 3, 4]


def test_equal_runs_write_equal_bytes_resumed_or_not(tmp_path, monkeypatch):
    run(tmp_path / "whole")
    run(tmp_path / "parts", last=3)
    # TensorBoard reads the files of one second by name: that of a process's tenth writer before
    # that of its ninth.
    later = time.time() + 60
    monkeypatch.setattr("time.time", lambda: later)
    run(tmp_path / "parts", first=3, resume_step=2)
    whole, parts = ((tmp_path / name / "metrics.jsonl") for name in ("whole", "parts"))
    assert whole.read_bytes() == parts.read_bytes()
    assert [line["step"] for line in lines(tmp_path / "parts" / "timing.jsonl")] == [1, 2, 3, 4]
    assert scalars(tmp_path / "parts")["train/loss"] == [1, 2, 3, 4]
    assert len(list((tmp_path / "parts").glob("*.tmp*"))) == 0


def test_a_line_cut_by_a_kill_is_dropped(tmp_path):
    run(tmp_path, last=2)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 2, "lo')
    run(tmp_path, first=3, last=3, resume_step=2)
    assert [line["step"] for line in lines(tmp_path / "metrics.jsonl")] == [1, 2, 2, 3]


def test_scores_of_a_validation_that_is_made_again_are_dropped(tmp_path):
    run(tmp_path)
    before = lines(tmp_path / "metrics.jsonl")
    RunLog(tmp_path, resume_step=2, is_validated=False).close()
    dropped = [line for line in before if line["step"] == 2 and "scores" in line]
    assert dropped
    kept = [line for line in before if line["step"] <= 2 and line not in dropped]
    assert lines(tmp_path / "metrics.jsonl") == kept


def test_a_new_run_begins_anew(tmp_path):
    run(tmp_path)
    run(tmp_path, last=1)
    assert [line["step"] for line in lines(tmp_path / "metrics.jsonl")] == [1]


def test_an_interrupted_cut_leaves_the_lines(tmp_path, monkeypatch):
    run(tmp_path)
    before = (tmp_path / "metrics.jsonl").read_bytes()

    def fail(*args):
        raise OSError("killed")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(OSError, match="killed"):
        RunLog(tmp_path, resume_step=1)
    assert (tmp_path / "metrics.jsonl").read_bytes() == before
    monkeypatch.undo()
    (tmp_path / f"metrics.jsonl.tmp-{DEAD}").write_text("left by another")
    run(tmp_path, first=2, resume_step=1)
    assert not list(tmp_path.glob("*.tmp*"))
    assert (tmp_path / "metrics.jsonl").read_bytes() == before


def test_numbers_of_all_libraries_and_what_is_not_finite(tmp_path):
    values = {
        "float32": np.float32(0.1),
        "float64": np.float64(0.1),
        "count": np.int64(3),
        "tensor": torch.tensor(0.5),
        "nan": math.nan,
        "tensor_nan": torch.tensor(math.nan),
        "inf": -math.inf,
        "nested": {"가": [math.inf, 1]},
        "none": None,
    }
    with RunLog(tmp_path) as log:
        log.step(1, **values)
    assert lines(tmp_path / "metrics.jsonl") == [
        {
            "step": 1,
            "float32": 0.10000000149011612,
            "float64": 0.1,
            "count": 3,
            "tensor": 0.5,
            "nan": None,
            "tensor_nan": None,
            "inf": None,
            "nested": {"가": [None, 1]},
            "none": None,
        }
    ]


def test_lines_can_be_read_while_the_run_goes_on(tmp_path):
    with RunLog(tmp_path) as log:
        log.step(1, loss=0.5)
        assert lines(tmp_path / "metrics.jsonl") == [{"step": 1, "loss": 0.5}]


def test_other_ranks_write_nothing(tmp_path):
    run(tmp_path / "run", enabled=False)
    assert not (tmp_path / "run").exists()


def test_evaluation_is_no_part_of_the_rates(tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    with RunLog(tmp_path) as log:
        now[0] = 2.0
        log.count(rows=10, tokens=100)
        now[0] = 60.0
        log.scores(1, split="validation", scores={})
        now[0] = 62.0
        log.count(rows=10, tokens=100)
        log.step(2, loss=1.0)
    assert lines(tmp_path / "timing.jsonl") == [
        {
            "step": 2,
            "seconds": 4.0,
            "steps_per_second": 0.5,
            "rows_per_second": 5.0,
            "tokens_per_second": 50.0,
        }
    ]


def test_run_without_tensorboard_says_so_once(tmp_path, monkeypatch, caplog):
    real = builtins.__import__

    def refuse(name, *args):
        if name == "torch.utils.tensorboard":
            raise ImportError("no tensorboard here")
        return real(name, *args)

    monkeypatch.setattr(builtins, "__import__", refuse)
    run(tmp_path)
    assert len(lines(tmp_path / "metrics.jsonl")) == 6
    assert caplog.messages == [
        "logs/ stays empty: TensorBoard cannot be imported (no tensorboard here)"
    ]


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_bar_on_a_terminal_shows_loss_rate_and_time_left(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with ProgressBar(4, initial=1) as bar:
        bar.update()
        bar.show(loss=0.123456)
        bar.write("epoch 1: accuracy 88.1")
    shown = terminal.getvalue()
    assert "2/4" in shown and "loss 0.1235" in shown and "step" in shown and "<" in shown
    assert "epoch 1: accuracy 88.1\n" in shown


def test_bar_of_what_passes_quickly_is_not_shown(monkeypatch):
    terminal, now = Terminal(), [100.0]
    monkeypatch.setattr(sys, "stderr", terminal)
    with ProgressBar(4, name="validation", is_passing=True) as bar:
        bar.update()
        assert terminal.getvalue() == ""
        monkeypatch.setattr(bar._bar, "_time", lambda: now[0] + bar._bar.start_t)
        bar.update()
    assert "validation" in terminal.getvalue()


def test_bar_elsewhere_logs_lines(capfd, caplog, monkeypatch):
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    with caplog.at_level(logging.INFO), ProgressBar(240, initial=140) as bar:
        bar.show(loss=2.0)
        for _ in range(50):
            now[0] += 0.5
            bar.update()
        bar.show(loss=0.123456)
        bar.write("epoch 1: 100 %")
    assert caplog.messages == [
        "train: step 140/240, loss 2, 0 steps/s, 00:00 left",
        "train: step 190/240, loss 0.1235, 2 steps/s, 00:25 left",
        "epoch 1: 100 %",
    ]
    assert capfd.readouterr().err == ""


def test_bar_of_other_ranks_is_silent(capfd, caplog):
    with caplog.at_level(logging.INFO), ProgressBar(2, enabled=False) as bar:
        bar.update()
        bar.show(loss=1.0)
        bar.write("text")
    assert caplog.messages == [] and capfd.readouterr().err == ""
