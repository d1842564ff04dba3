"""`--seeds`: one run per seed, none repeated, and the report."""

import json
import math
import os
import signal
import threading
import time

import pytest
from scipy import stats

from ke_t5 import stops
from ke_t5.commands.launch import launch
from ke_t5.commands.train import parser
from ke_t5.config.flags import parse_train
from ke_t5.errors import Exit, Stopped, UserError
from ke_t5.experiments import seeds

WORDS = ["--task", "klue_tc", "--sample", "--seeds", "3", "--seed", "41"]


def run(tmp_path, *more):
    words = [*WORDS, "--output_dir", str(tmp_path), *more]
    seeds.main(parse_train(words), words)
    return json.loads((tmp_path / "seeds-klue_tc" / "report.json").read_text())


def test_mean_deviation_and_interval_agree_with_scipy(training, tmp_path, capsys):
    report = run(tmp_path)
    found = report["scores"]["validation"]["macro_f1"]
    values = [71.0, 72.0, 73.0]
    expected = stats.t.interval(0.95, 2, loc=72.0, scale=stats.sem(values))
    assert found["values"] == values and found["mean"] == 72.0
    assert found["deviation"] == pytest.approx(1.0)
    assert (found["low"], found["high"]) == pytest.approx(expected)
    assert report["interval"] == "Student's t" and list(report["seeds"]) == ["41", "42", "43"]
    out = capsys.readouterr().out
    assert "macro_f1       72.00       1.00  69.52 to 74.48    71.00    72.00    73.00" in out
    assert "by Student's t distribution with 2 degrees of freedom" in out
    folder = tmp_path / "seeds-klue_tc"
    text = (folder / "report.md").read_text()
    assert "| macro_f1 | 72.00 | 1.00 | 69.52 to 74.48 | 71.00 | 72.00 | 73.00 |" in text
    assert "data:image/png" in (folder / "report.html").read_text()


def test_finished_seeds_are_not_repeated_and_more_can_be_added(training, tmp_path, capsys):
    run(tmp_path)
    folder = tmp_path / "seeds-klue_tc"
    assert len(training(folder)) == 3
    assert all("--resume=auto" in line and "--sample" in line for line in training(folder))
    assert not any("--seeds" in line for line in training(folder))
    run(tmp_path)
    assert len(training(folder)) == 3
    assert "seed 42 (2 of 3) is finished" in capsys.readouterr().out
    report = run(tmp_path, "--seeds", "4")
    assert len(training(folder)) == 4 and len(report["seeds"]) == 4


def test_changed_flags_are_refused(training, tmp_path):
    run(tmp_path)
    with pytest.raises(UserError, match="seed-41: was run with other flags; give the same flags"):
        run(tmp_path, "--epochs", "9")
    with pytest.raises(UserError, match="seed-41: was run with other flags; give the same flags"):
        run(tmp_path, "--epochs", "9", "--seed", "50")  # its report would replace the earlier one
    assert len(training(tmp_path / "seeds-klue_tc")) == 3
    (tmp_path / "seeds-klue_tc" / "seed-41" / "trial.json").write_text("[]")
    with pytest.raises(UserError, match="trial.json: not a valid record of a trial .*remove it"):
        run(tmp_path)


def test_a_failure_ends_it_with_the_same_exit_code_and_a_rerun_continues(
    training, tmp_path, monkeypatch
):
    monkeypatch.setenv("TEST_FAILS", "seed-42:6")
    with pytest.raises(UserError, match="seed 42: its training ended with exit code 6") as caught:
        run(tmp_path)
    assert caught.value.exit_code == Exit.DIVERGED
    monkeypatch.delenv("TEST_FAILS")
    run(tmp_path)
    names = [line.partition("--seed=")[2][:2] for line in training(tmp_path / "seeds-klue_tc")]
    assert names == ["41", "42", "42", "43"]


def test_a_stop_reaches_the_training_and_a_rerun_continues(training, tmp_path, monkeypatch):
    monkeypatch.setenv("TEST_WAITS", "seed-42")
    folder = tmp_path / "seeds-klue_tc" / "seed-42" / "Model_sample" / "klue_tc"

    def stop():
        while not (folder / "waits").exists():
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=stop)
    thread.start()
    with pytest.raises(Stopped, match="seed 42 has stopped"), stops.listening():
        run(tmp_path)
    thread.join()
    assert (folder / "stopped").exists()
    assert not (tmp_path / "seeds-klue_tc" / "seed-42" / "trial.json").exists()
    report = run(tmp_path)
    assert len(report["seeds"]) == 3
    assert len(training(tmp_path / "seeds-klue_tc")) == 4


def test_one_seed_has_no_interval_and_nan_is_null_in_json():
    one = seeds.spread_of([70.0])
    assert (one.mean, one.deviation, one.low) == (70.0, None, None)
    assert math.isnan(seeds.spread_of([70.0, math.nan]).mean)
    assert seeds._as_json(seeds.spread_of([70.0, math.nan]))["mean"] is None


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--resume", "best"], "--resume best: applies to a single training only; drop"),
        (["--hf_path", "out"], "--hf_path out: applies to a single training only; write"),
    ],
)
def test_flags_for_a_single_training_are_refused(training, tmp_path, words, message):
    with pytest.raises(UserError, match=message):
        run(tmp_path, *words)


def test_seeds_under_a_launcher_are_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(UserError, match="starts the processes of each training itself; start with"):
        run(tmp_path)


def test_nproc_is_passed_on_to_each_training(monkeypatch):
    words = [*WORDS, "--nproc", "2"]
    assert launch("train", words, parser().parse_args) == words
