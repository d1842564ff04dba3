"""Scores on rows that were trained on are told to flatter."""

from __future__ import annotations

import pytest
from recipe_runs import test, train

WORDS = ("--task", "klue_tc", "--sample", "--batch_size", "16")
CUT = ("--train_split", "validation[:32]", "--valid_split", "validation[16:48]")


@pytest.fixture(scope="module")
def whole(tmp_path_factory, cache_dir):
    output = tmp_path_factory.mktemp("whole")
    train(*WORDS, *CUT, "--max_steps", 1, output=output, cache=cache_dir)
    return output


def test_a_training_tells_of_rows_that_it_validates_on_too(tmp_path, cache_dir, capfd):
    train(*WORDS, *CUT, "--max_steps", 1, output=tmp_path, cache=cache_dir)
    told = capfd.readouterr()
    line = "16 rows of validation[16:48] are trained on too (validation[:32]): its scores flatter"
    assert line in told.err
    (command,) = [line for line in told.out.splitlines() if "test_ddp.py" in line]
    assert "--test_split 'validation[16:48]'" in command


@pytest.mark.parametrize(
    ("split", "line"),
    [
        ((), "32 rows of validation are trained on too"),
        (("--test_split", "validation[32:]"), None),
        (("--test_split", "train[:8]"), None),
    ],
)
def test_a_test_tells_of_rows_that_were_trained_on(whole, cache_dir, capfd, split, line):
    test(*WORDS, *split, "--resume", "true", output=whole, cache=cache_dir)
    told = capfd.readouterr().err
    assert line in told if line else "trained on too" not in told
