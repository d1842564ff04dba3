"""A trial's folder: during training, after an interruption, and with a damaged record."""

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
    """A run folder that is `age` seconds old."""
    folder.mkdir(parents=True)
    (folder / "run.json").write_text("{}")
    begun = 1_000_000_000 - age
    os.utime(folder / "run.json", (begun, begun))
    return folder


def test_validations_are_reported_again_if_a_resumed_training_truncates_its_log(tmp_path):
    validations = trials._validations(tmp_path)
    assert next(validations) == []  # there is no run yet
    file = run_in(tmp_path / "Model" / "klue_tc") / "metrics.jsonl"
    assert next(validations) == []
    file.write_text(line(10) + '{"step": 15, "loss": 0.5}\n' + line(20) + line(30) + line(40)[:9])
    assert [one["step"] for one in next(validations)] == [10, 20, 30]
    file.write_text(line(10) + line(25))
    assert [one["step"] for one in next(validations)] == [10, 25]
    file.write_text(line(10) + '{"step": 25, "scores": {}, "closing": true}\n' + line(30))
    assert [one["step"] for one in next(validations)] == [30]


def test_partly_written_results_do_not_count(tmp_path):
    for name in ("validation", "validation.tmp-4194000", "validation.replaced-4194000"):
        folder = tmp_path / "eval" / name
        folder.mkdir(parents=True)
        (folder / "scores.json").write_text('{"scores": {"accuracy": 70.0}}')
    assert trials.scores_of(tmp_path) == {"validation": {"accuracy": 70.0}}


def test_the_run_of_a_trial_is_the_newest_that_was_not_replaced(tmp_path):
    assert trials.run_of(tmp_path) is None
    run_in(tmp_path / "A" / "klue_tc", age=100)
    run_in(tmp_path / "B" / "klue_tc.1", age=10)
    last = run_in(tmp_path / "B" / "klue_tc", age=20)
    assert trials.run_of(tmp_path) == last


@pytest.mark.parametrize("record", ["[]", "{}", '{"scores": {}, "seconds": "1"}', "[" * 5000])
def test_a_damaged_record_is_an_error(record, tmp_path):
    (tmp_path / "trial.json").write_text(record)
    with pytest.raises(UserError, match=r"trial.json: not a valid record of a trial \(.*remove it"):
        Trial("seed 1", [], tmp_path).finished()
