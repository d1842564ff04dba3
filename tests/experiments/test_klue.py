"""All of KLUE with one command: the trainings that it starts, and the table."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support.processes import run_script

import ke_t5.recipes.prepare  # noqa: F401 - registers the tasks and what gin may bind
from ke_t5.commands.klue import parser
from ke_t5.config.flags import parse_train
from ke_t5.config.gin_config import configure
from ke_t5.errors import Exit, UserError
from ke_t5.experiments import klue, trainings
from ke_t5.pipe import get_task

LARGE = ("--pre_trained_model", "klue/roberta-large")


@pytest.mark.parametrize("words", [(), LARGE, ("--nproc", "4")], ids=" ".join)
@pytest.mark.parametrize("task", klue.BASE)
def test_its_trainings_have_the_published_rows_and_known_names(task, words):
    flags = parser().parse_args(words)
    parsed = parse_train(klue.words_of(flags, task, 7))
    setting = klue.settings_for(flags.pre_trained_model)[task]
    assert parsed.batch_size * flags.nproc == setting.rows and parsed.schedule == "linear"
    assert (parsed.epochs, parsed.seed, parsed.resume.mode.name) == (setting.epochs, 7, "AUTO")
    assert parsed.output_dir.endswith("klue/seed-7")
    configured = configure(parsed.gin_file, parsed.gin_param)
    length = {"klue_re": 256, "klue_dp": 256, "klue_ner": 510, "klue_mrc": 510}.get(task, 128)
    assert configured.value("get_dataset.sequence_length") == {"inputs": length}


def test_the_published_scores_are_scores_of_the_tasks():
    for model, scores in klue.published().items():
        assert len(scores) == 14 and all(20 < value < 100 for value in scores.values()), model
    names = {f"{task}/{score}" for task, one in klue.BASE.items() for score in one.scores}
    assert names == {name for name in scores if not name.startswith("klue_dst")}
    for task, setting in klue.BASE.items():
        known = {name for metric in get_task(task).metric_fns for name in metric.names}
        assert set(setting.scores) <= known


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--tasks", "nil"],
            "error: --tasks klue_nil: is no task of this table; did you mean 'nli'",
        ),
        (["--nproc", "5"], "error: --nproc 5: klue_tc has 32 rows per step, which that many"),
        (["--seeds", "0"], "error: --seeds: '0' is"),
    ],
)
def test_what_cannot_be_run_is_told_before_anything_runs(words, message, monkeypatch):
    monkeypatch.setattr(trainings, "train", lambda *_, **__: pytest.fail("trained"))
    with pytest.raises(UserError) as raised:
        klue.main(parser().parse_args(words))
    assert str(raised.value).startswith(message)


def test_the_table_has_means_and_deviations_beside_the_published_scores():
    text = klue.table("mine", {"klue_tc/macro_f1": [80.0, 82.0], "klue_nli/accuracy": [70.0, 70.0]})
    head, _, ours, *rest = text.splitlines()
    assert head == "| model | tc macro_f1 | nli accuracy |"
    assert ours == "| **mine** (dev) | 81.00 ± 1.41 | 70.00 ± 0.00 |"
    assert "| klue/roberta-base (test, published) | 85.07 | 84.83 |" in rest
    assert "2 seed(s), mean ± standard deviation" in text


@pytest.mark.slow
def test_it_trains_each_task_and_continues_where_it_was(tmp_path, cache_dir, monkeypatch, capsys):
    """The trainings are forks of a process that has torch, instead of new interpreters."""
    started: list[str] = []

    def train(words, nproc):
        done = run_script("train_ddp.py", *words)
        assert done.returncode == 0 and nproc == "1", done.stderr
        started.append(done.stdout)

    monkeypatch.setattr(trainings, "train", train)
    words = ["--sample", "--tasks", "tc", "--max_steps", "2", "--eval_rows", "31"]
    words += ["--output_dir", str(tmp_path), "--hf_cache_dir", str(cache_dir)]
    klue.main(parser().parse_args(words))
    first = (tmp_path / "klue.md").read_text(encoding="utf-8")
    klue.main(parser().parse_args(words))
    assert (tmp_path / "klue.md").read_text(encoding="utf-8") == first
    scored = "31 of 31 rows scored"
    assert scored in started[0] and scored not in started[1]
    content = json.loads((tmp_path / "klue.json").read_text(encoding="utf-8"))
    assert content["seeds"] == [42] and list(content["scores"]) == ["klue_tc/macro_f1"]
    assert "**the sample** (dev)" in capsys.readouterr().out


SAVES_IF_STOPPED = """
import os, pathlib, signal, sys, time
def save(*_):
    pathlib.Path(sys.argv[-1]).write_text("saved")
    sys.exit(75)
signal.signal(signal.SIGTERM, save)
os.kill(os.getppid(), signal.SIGINT)
time.sleep(60)
"""


class _Python(subprocess.Popen):
    """A program of the test's instead of a training."""

    text = ""

    def __init__(self, command):
        super().__init__([sys.executable, "-c", self.text, *command[3:]])


@pytest.mark.parametrize(("code", "exit_code"), [(3, Exit.DATA), (77, Exit.MACHINE)])
def test_a_training_that_fails_ends_with_its_code(code, exit_code, monkeypatch):
    monkeypatch.setattr(trainings.subprocess, "Popen", _Python)
    monkeypatch.setattr(_Python, "text", f"raise SystemExit({code})")
    with pytest.raises(
        UserError, match=f"--task klue_tc: the training ended with code {code}"
    ) as raised:
        trainings.train(["--task", "klue_tc"])
    assert raised.value.exit_code == exit_code


def test_a_stop_waits_for_the_training_to_save(tmp_path: Path, monkeypatch):
    """As a scheduler stops a job: the signal reaches this process only."""
    monkeypatch.setattr(trainings.subprocess, "Popen", _Python)
    monkeypatch.setattr(_Python, "text", SAVES_IF_STOPPED)
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            trainings.train([str(tmp_path / "file")])
    finally:
        signal.signal(signal.SIGINT, previous)
    assert (tmp_path / "file").read_text() == "saved"
