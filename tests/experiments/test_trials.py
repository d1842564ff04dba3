"""A trial's folder while its training runs, and after one that was broken off or changed."""

from __future__ import annotations

import json
import os

import pytest

from ke_t5.errors import UserError
from ke_t5.experiments import trials
from ke_t5.experiments.trials import Trial


def line(step):
    return json.dumps({"step": step, "scores": {"accuracy": 60.0 + step}}) + "\n"


def run_in(folder, *, age=0):
    """The folder of a run that was begun so many seconds ago."""
    folder.mkdir(parents=True)
    (folder / "run.json").write_text("{}")
    begun = 1_000_000_000 - age
    os.utime(folder / "run.json", (begun, begun))
    return folder


def test_validations_are_told_again_if_a_resumed_training_cuts_its_log(tmp_path):
    told = trials._validations(tmp_path)
    assert next(told) == []  # before there is a run
    file = run_in(tmp_path / "Model" / "klue_tc") / "metrics.jsonl"
    assert next(told) == []
    file.write_text(line(10) + '{"step": 15, "loss": 0.5}\n' + line(20) + line(30) + line(40)[:9])
    assert [one["step"] for one in next(told)] == [10, 20, 30]
    file.write_text(line(10) + line(25))
    assert [one["step"] for one in next(told)] == [10, 25]
    file.write_text(line(10) + '{"step": 25, "scores": {}, "closing": true}\n' + line(30))
    assert [one["step"] for one in next(told)] == [30]


def test_results_that_are_being_written_do_not_count(tmp_path):
    for name in ("validation", "validation.tmp-4194000", "validation.replaced-4194000"):
        folder = tmp_path / "eval" / name
        folder.mkdir(parents=True)
        (folder / "scores.json").write_text('{"scores": {"accuracy": 70.0}}')
    assert trials.scores_of(tmp_path) == {"validation": {"accuracy": 70.0}}


def test_the_run_of_a_trial_is_the_one_of_its_last_command(tmp_path):
    assert trials.run_of(tmp_path) is None
    run_in(tmp_path / "A" / "klue_tc", age=100)
    run_in(tmp_path / "B" / "klue_tc.1", age=10)
    last = run_in(tmp_path / "B" / "klue_tc", age=20)
    assert trials.run_of(tmp_path) == last


@pytest.mark.parametrize("record", ["[]", "{}", '{"scores": {}, "seconds": "1"}', "[" * 5000])
def test_a_record_that_is_none_is_named(record, tmp_path):
    (tmp_path / "trial.json").write_text(record)
    with pytest.raises(UserError, match=r"trial.json: not a valid record of a trial \(.*remove it"):
        Trial("seed 1", [], tmp_path).finished()
