"""`--quiet`: only scores on standard output, and warnings."""

from __future__ import annotations

import logging

import pytest
from support.recipe_runs import SMALL, test, train


@pytest.fixture(autouse=True)
def level_of_before():
    """Restores the level of our logger."""
    ours = logging.getLogger("ke_t5")
    before = ours.level
    yield
    ours.setLevel(before)


def test_a_test_prints_its_scores(run, cache_dir, capsys):
    words = ("--task", "klue_tc", "--sample", "--test_split", "validation[:31]", "--resume", "best")
    test(*words, "--quiet", output=run, cache=cache_dir)
    shown = capsys.readouterr()
    assert "macro_f1" in shown.out and "31 of 31 rows scored" in shown.out
    assert "report.html" not in shown.out and not shown.out.rstrip().endswith(" s")
    assert "unknown tokens" not in shown.err and "loading PyTorch" not in shown.err
    assert "test:" not in shown.err


def test_a_training_prints_its_scores(run, cache_dir, capsys):
    words = ("--task", "klue_tc", *SMALL, "--epochs", 2, "--schedule", "--resume", "true")
    train(*words, "--quiet", output=run, cache=cache_dir)
    shown = capsys.readouterr()
    assert "best: step" in shown.out
    assert "next:" not in shown.out and "results in" not in shown.out
    assert "resumed from" not in shown.err and "training T5" not in shown.err
