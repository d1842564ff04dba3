"""Warnings about the labels of the training and validation rows."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from support.recipe_runs import train

from ke_t5.recipes.console import warn_of_labels

LABELS = ("negative", "neutral", "positive")


def examples(*counts, kind="int64"):
    column = SimpleNamespace(offsets=None, dtype=np.dtype(kind))
    return SimpleNamespace(
        columns={"labels": column}, value_counts=lambda name: np.array(counts, dtype=np.int64)
    )


@pytest.mark.parametrize(
    ("trained", "validated", "expected"),
    [
        ((50, 40, 30), (60, 50, 30), []),
        (
            (50, 0, 60),
            (50, 0, 60),
            ["1 of 3 labels does not occur in the training rows: 'neutral';"],
        ),
        (
            (120,),
            (120,),
            ["2 of 3 labels do not occur in the training rows: 'neutral', 'positive'"],
        ),
        ((99,), (99,), []),  # too few rows to tell
        (
            (80, 10, 30),
            (10, 80, 30),
            ["(58 % of the rows would have to change): negative is 66.7 %"],
        ),
        ((120,), (0, 0, 120), ["do not occur in the training rows", "negative is 100.0 % of one"]),
    ],
)
def test_missing_and_shifted_labels_are_reported(trained, validated, expected, caplog):
    warn_of_labels(examples(*trained), examples(*validated), LABELS)
    assert len(caplog.messages) == len(expected)
    assert all(line in told for line, told in zip(expected, caplog.messages, strict=True))
    assert all(told.endswith("are the rows ordered by class?") for told in caplog.messages)


def test_numbers_have_no_labels_to_miss(caplog):
    warn_of_labels(examples(120, kind="float32"), examples(120, kind="float32"), LABELS)
    assert not caplog.messages


def test_a_training_on_the_first_rows_of_sorted_classes_warns(tmp_path, cache_dir, capfd):
    words = ("--task", "kor_3i4k", "--sample", "--max_steps", 1)
    train(*words, "--train_split", "train[:100]", output=tmp_path, cache=cache_dir)
    told = " ".join(capfd.readouterr().err.split())
    assert "labels do not occur in the training rows" in told
