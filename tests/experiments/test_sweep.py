"""`ke-t5 sweep`: grids and optuna studies, early errors, and recovery from a kill."""

import json
import os
import re
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from ke_t5 import programs, stops
from ke_t5.commands.sweep import parser
from ke_t5.config.gin_config import clear, configure
from ke_t5.errors import Exit, Stopped, UserError
from ke_t5.experiments import sweep
from ke_t5.experiments.axes import Axis, read_axes

FLAGS = ["--task", "klue_tc", "--sample", "--schedule"]
GRID = ["AdamW.lr=[0.1,0.3]", "batch_size=[16,32]"]


def run(tmp_path, axes, *more):
    words = [*axes, *FLAGS, "--output_dir", str(tmp_path), *more]
    sweep.main(parser().parse_args(words))
    return json.loads((tmp_path / "sweep-klue_tc" / "sweep.json").read_text())


def test_a_grid_runs_every_combination_once(training, tmp_path, capsys):
    found = run(tmp_path, GRID)
    folder = tmp_path / "sweep-klue_tc"
    assert found["metric"] == "macro_f1" and len(found["trials"]) == 4
    assert found["trials"][0]["settings"]["AdamW.lr"] == "0.3"
    assert [one["score"] for one in found["trials"]] == [63.0, 63.0, 61.0, 61.0]
    launches = training(folder)
    assert len(launches) == 4 and len(set(launches)) == 4
    assert all("--gin_param=AdamW.lr=0." in line and "--batch_size=" in line for line in launches)
    assert "| AdamW.lr | batch_size | macro_f1 | state |" in (folder / "sweep.md").read_text()
    assert "trial 4 of 4 starts" in capsys.readouterr().out
    run(tmp_path, GRID)
    assert len(training(folder)) == 4 and "trial 4 of 4 is finished" in capsys.readouterr().out
    run(tmp_path, ["AdamW.lr=[0.1,0.3,0.5]", "batch_size=[16,32]"])
    assert len(training(folder)) == 6


@pytest.mark.parametrize(
    ("started", "program"),
    [("pytest", "ke-t5"), (programs.PACKAGE / "__main__.py", "python -m ke_t5")],
)
def test_the_best_settings_are_written_as_a_gin_file_with_its_command(
    training, tmp_path, monkeypatch, started, program
):
    monkeypatch.setattr(sys, "argv", [str(started)])
    run(tmp_path, GRID)
    file = tmp_path / "sweep-klue_tc" / "best.gin"
    first, *_ = file.read_text().splitlines()
    assert first.startswith(f"# {program} train --task=klue_tc --sample --schedule --batch_size=16")
    assert first.endswith(f"--gin_file={file}")
    (binding,) = configure([str(file)]).bindings.values()
    assert binding.value == 0.3


def test_each_sweep_of_a_task_keeps_its_own_results(training, tmp_path, capsys):
    sweeps = {
        "rates": ["AdamW.lr=[0.1,0.3]"],
        "other rates": ["AdamW.lr=[0.05]"],
        "other flags": ["AdamW.lr=[0.2]", "--epochs", "2"],
        "another setting": ["fit.accumulate=[1,2]"],
    }
    printed = {}
    for name, words in sweeps.items():
        latest = run(tmp_path, words[:1], *words[1:])
        (printed[name],) = re.findall(r"--gin_file=(\S+)", capsys.readouterr().out)
    assert len(set(printed.values())) == len(sweeps)
    values = {}
    for name, file in printed.items():
        clear()
        values[name] = [one.value for one in configure([file]).bindings.values()]
    expected = {"rates": [0.3], "other rates": [0.05], "other flags": [0.2], "another setting": [1]}
    assert values == expected
    for file in map(Path, printed.values()):
        assert file.read_text().splitlines()[0].endswith(f"--gin_file={file}")
        assert file.with_name("sweep.md").exists() and file.with_name("sweep.json").exists()
    assert json.loads(file.with_name("sweep.json").read_text()) == latest
    run(tmp_path, sweeps["rates"])
    assert f"--gin_file={printed['rates']}" in capsys.readouterr().out  # the same sweep again
    assert len(list((tmp_path / "sweep-klue_tc" / "results").iterdir())) == len(sweeps)


def test_a_task_on_own_data_can_be_swept(training, tmp_path):
    words = ["AdamW.lr=[0.1,0.3]", "--task", "classification", "--train_file", "reviews.csv"]
    sweep.main(parser().parse_args([*words, "--output_dir", str(tmp_path)]))
    assert len(training(tmp_path / "sweep-classification")) == 2


@pytest.mark.parametrize(
    ("axes", "more", "message"),
    [
        ([], [], "ke-t5 sweep: needs settings to sweep; write one, such as"),
        (["AdamW.lr"], [], "'AdamW.lr': is not a setting to sweep; write NAME="),
        (["AdamW.lr=3"], [], "'AdamW.lr=3': is neither a list nor a range"),
        (["AdamW.lr=["], [], "is not a setting to sweep"),
        (["AdamW.lr=[]"], [], "has no value"),
        (["task=['klue_nli']"], [], "cannot be swept; give it as a flag for all trials"),
        (["AdamW.lr=[1]", "AdamW.lr=[2]"], [], "AdamW.lr: is given twice"),
        (["AdamW.lr=log(1,2)"], [], r"AdamW.lr=log\(...\): a range needs --trials; add --trials N"),
        (["AdamW.lr=log(2,1)"], ["--trials", "2"], "its first number is not below the second"),
        (["fit.clip=uniform(-1e999,1)"], ["--trials", "2"], "its first number is not below"),
        (["AdamW.lr=[" + "-" * 5000 + "1]"], [], "is not a setting to sweep"),
        (["AdamW.lr=log(0,1)"], ["--trials", "2"], "a logarithmic range starts above 0"),
        (["AdamW.lr=log(1)"], ["--trials", "2"], "needs two numbers"),
        (["epochs=int(1.5,3)"], ["--trials", "2"], "needs whole numbers"),
        (["AdamW.lrr=[1e-3]"], [], "AdamW.lrr.*did you mean"),
        (["AdamW.lr=['x']"], [], "AdamW.lr"),
        (["batch_size=[16,0]"], [], "--batch_size '0': too small"),
        (["AdamW.lr=[1]"], ["--seeds", "2"], "--seeds 2: a sweep trains once per setting"),
        (["AdamW.lr=[1]"], ["--resume", "best"], "--resume best: applies to a single training"),
    ],
)
def test_errors_are_reported_before_anything_runs(training, tmp_path, axes, more, message):
    with pytest.raises(UserError, match=message):
        run(tmp_path, axes, *more)
    assert not list(tmp_path.glob("sweep-*/launches.txt"))


def test_ranges_are_read():
    axes = read_axes(["AdamW.lr=log(1e-5,1e-3)", "epochs=int(2, 6)", "a.b=['x', 'y']"])
    assert axes[0] == Axis("AdamW.lr", kind="log", low=1e-5, high=1e-3)
    assert axes[0].ends() == ("1e-05", "0.001") and axes[1].ends() == ("2", "6")
    assert axes[1].word("3") == "--epochs=3" and axes[2].values == ("'x'", "'y'")
    assert axes[2].word("'x'") == "--gin_param=a.b='x'"
    (models,) = read_axes(["pre_trained_model=['/models/a b', klue/bert-base]"])
    assert models.values == ("/models/a b", "klue/bert-base")
    assert models.word(models.values[0]) == "--pre_trained_model=/models/a b"


def test_a_study_is_sorted_by_score_and_can_be_continued(training, tmp_path, capsys):
    axes = ["AdamW.lr=log(0.01,1)", "fit.accumulate=[1,2]"]
    found = run(tmp_path, axes, "--trials", "4")
    folder = tmp_path / "sweep-klue_tc"
    done = len(training(folder))
    assert len(found["trials"]) == 4 and done == 4
    rates = [float(one["settings"]["AdamW.lr"]) for one in found["trials"]]
    assert len(set(rates)) == 4 and all(0.01 <= rate <= 1 for rate in rates)
    scores = [one["score"] for one in found["trials"]]
    assert scores == sorted(scores, reverse=True)
    more = run(tmp_path, axes, "--trials", "6")
    assert len(more["trials"]) == 6 and len(training(folder)) == done + 2


def test_a_study_with_different_settings_is_refused(training, tmp_path):
    axes = ["AdamW.lr=[0.1,0.2]"]
    run(tmp_path, axes, "--trials", "1")
    others = (
        ["AdamW.lr=[0.1,0.2,0.3]"], ["AdamW.lr=log(0.1,0.2)"], [*axes, "fit.accumulate=[1,2]"],
        ["fit.accumulate=[1,2]"],
    )  # fmt: skip
    for other in others:
        line = r"study.db: its trials have other settings: AdamW.lr; give the same"
        with pytest.raises(UserError, match=line):
            run(tmp_path, other, "--trials", "2")
    assert len(training(tmp_path / "sweep-klue_tc")) == 1


def test_a_range_may_be_widened(training, tmp_path):
    run(tmp_path, ["AdamW.lr=log(0.1,0.2)"], "--trials", "1")
    found = run(tmp_path, ["AdamW.lr=log(0.1,0.5)"], "--trials", "2")
    assert len(found["trials"]) == 2


def test_a_diverged_trial_is_counted_and_not_repeated(training, tmp_path, monkeypatch):
    monkeypatch.setenv("TEST_FAILS", "lr_0.3:6")
    found = run(tmp_path, ["AdamW.lr=[0.1,0.3]"])
    assert [one["state"] for one in found["trials"]] == ["complete", "diverged"]
    assert found["trials"][1]["seconds"] > 0
    run(tmp_path, ["AdamW.lr=[0.1,0.3]"])
    assert len(training(tmp_path / "sweep-klue_tc")) == 2
    monkeypatch.setenv("TEST_FAILS", "lr_0.5:5")
    with pytest.raises(UserError, match="trial AdamW.lr=0.5: its training ended with exit") as one:
        run(tmp_path, ["AdamW.lr=[0.1,0.5]"])
    assert one.value.exit_code == Exit.MACHINE


def test_a_trial_killed_with_its_sweep_runs_again(training, tmp_path, monkeypatch):
    import optuna

    axes = ["AdamW.lr=log(0.01,1)"]
    run(tmp_path, axes, "--trials", "1")
    folder = tmp_path / "sweep-klue_tc"
    storage = f"sqlite:///{folder / 'study.db'}"
    study = optuna.load_study(study_name="klue_tc", storage=storage)
    killed = study.ask()
    rate = killed.suggest_float("AdamW.lr", 0.01, 1, log=True)
    study.ask()  # killed before its first setting was chosen
    found = run(tmp_path, axes, "--trials", "2")
    rates = [one["settings"]["AdamW.lr"] for one in found["trials"]]
    assert len(found["trials"]) == 2 and f"{rate:.6g}" in rates
    assert len(training(folder)) == 2
    states = [one.state.name for one in study.get_trials()]
    assert states.count("RUNNING") == 0 and states.count("COMPLETE") == 2


def test_a_trial_killed_between_two_settings_keeps_the_first(training, tmp_path):
    import optuna

    axes = ["AdamW.lr=[0.1,0.2]", "fit.accumulate=[1,2]"]
    run(tmp_path, axes, "--trials", "1")
    folder = tmp_path / "sweep-klue_tc"
    storage = f"sqlite:///{folder / 'study.db'}"
    study = optuna.load_study(study_name="klue_tc", storage=storage)
    rate = study.ask().suggest_categorical("AdamW.lr", ["0.1", "0.2"])
    found = run(tmp_path, axes, "--trials", "2")
    assert len(found["trials"]) == 2
    assert study.get_trials()[-1].params["AdamW.lr"] == rate


def test_a_stop_ends_the_sweep_and_its_trial(training, tmp_path, monkeypatch):
    monkeypatch.setattr(sweep, "safe_name", lambda name: "trial" if "=" in name else name)
    name = sweep.Sweep(None, read_axes(["AdamW.lr=[0.1]"]), [], tmp_path, 0).trial(["0.1"])
    monkeypatch.setenv("TEST_WAITS", name.folder.name)
    waits = tmp_path / "sweep-klue_tc" / name.folder.name / "Model_sample" / "klue_tc" / "waits"

    def stop():
        while not waits.exists():
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=stop)
    thread.start()
    with pytest.raises(Stopped, match="AdamW.lr=0.1 has stopped"), stops.listening():
        run(tmp_path, ["AdamW.lr=[0.1]"], "--trials", "1")
    thread.join()
    found = run(tmp_path, ["AdamW.lr=[0.1]"], "--trials", "1")
    assert [one["state"] for one in found["trials"]] == ["complete"]


def test_bad_trials_are_pruned(training, tmp_path, monkeypatch):
    import optuna

    monkeypatch.setattr(
        optuna.pruners, "MedianPruner", lambda: optuna.pruners.ThresholdPruner(lower=65)
    )
    monkeypatch.setenv("TEST_WAITS", "trial")
    monkeypatch.setattr(sweep.Sweep, "trial", _named_trial(sweep.Sweep.trial))
    found = run(tmp_path, ["AdamW.lr=[0.1]"], "--trials", "1")
    assert [one["state"] for one in found["trials"]] == ["pruned"]
    assert (tmp_path / "sweep-klue_tc" / "trial" / "Model_sample/klue_tc/stopped").exists()


def _named_trial(make):
    import dataclasses

    def named(self, values):
        trial = make(self, values)
        return dataclasses.replace(trial, folder=trial.folder.with_name("trial"))

    return named


def test_two_sweeps_cannot_share_a_folder(training, tmp_path):
    with sweep.alone(tmp_path), pytest.raises(UserError, match="another sweep is running there"):
        with sweep.alone(tmp_path):
            pass
