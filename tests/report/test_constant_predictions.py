"""The warning about models that give every row the same answer."""

from __future__ import annotations

import pytest
from support.recipe_runs import SMALL, test, train

from ke_t5.report.constant_predictions import one_answer_line


def lines(said, gold):
    return [{"prediction": one, "gold": other} for one, other in zip(said, gold, strict=True)]


CLASSES = ["a", "b", "c", "d"] * 25


@pytest.mark.parametrize(
    ("said", "gold", "expected"),
    [
        (["a"] * 100, CLASSES, "t: 100 of 100 answers are 'a' (and 25.0 % of the gold ones): the"),
        (["a"] * 99 + ["b"], CLASSES, "t: 99 of 100 answers are 'a'"),
        (["a"] * 100, [None] * 100, "t: 100 of 100 answers are 'a': the model does not"),
        ([2.5, 2.51] * 50, [0.0, 5.0] * 50, "t: all 100 answers are about 2.5"),
        ([2.5] * 100, [None] * 100, "t: all 100 answers are about 2.5"),
        ([["O", "O"], ["O"]] * 50, [["B-X", "O"], ["O"]] * 50, "t: 100 of 100 answers are O (and"),
        ([[]] * 100, [["x"], []] * 50, "t: 100 of 100 answers are empty"),
        ([None] * 100, CLASSES, "t: 100 of 100 answers are unparsable"),
        ([""] * 100, CLASSES, "t: 100 of 100 answers are ''"),
        ([{"heads": [0, 1], "relations": ["NP", "NP"]}] * 100,
         [{"heads": [0, 1], "relations": ["NP", "VP"]}] * 100, "t: 100 of 100 answers are NP ("),
    ],
)  # fmt: skip
def test_one_answer_for_all_rows_is_reported_with_likely_causes(said, gold, expected):
    line = one_answer_line("t", lines(said, gold), unpooled="EncoderForMultipleChoice")
    assert line.startswith(expected)
    for cause in (
        "--learning_rate",
        "--warmup",
        "pooler (EncoderForMultipleChoice has none)",
        "labels",
    ):
        assert cause in line
    assert "pooler" not in one_answer_line("t", lines(said, gold), unpooled=None)


@pytest.mark.parametrize(
    ("said", "gold"),
    [
        (["a"] * 98 + ["b", "c"], CLASSES),
        (["a"] * 100, ["a"] * 100),
        (["a"] * 19, CLASSES[:19]),
        ([0.2, 0.4, 0.6, 0.8] * 25, [0.0, 5.0, 1.0, 2.0] * 25),
        ([float("nan")] * 100, [0.0, 1.0] * 50),
        ([["B-X", "O"], ["O"]] * 50, [["O", "O"], ["O"]] * 50),
    ],
)
def test_varied_answers_are_not_reported(said, gold):
    assert one_answer_line("t", lines(said, gold), unpooled="EncoderForMultipleChoice") is None


def test_training_and_test_report_it(tmp_path, cache_dir, capfd):
    # At this learning rate, one update makes the model predict a constant.
    words = ("--task", "klue_nli", *SMALL, "--max_steps", 1, "--learning_rate", 10)
    train(*words, output=tmp_path, cache=cache_dir)
    expected = "klue_nli validation[:31]: 31 of 31 answers are '"
    assert expected in capfd.readouterr().err
    words = ("--task", "klue_nli", *SMALL[:3], "--resume")
    test(*words, "--test_split", "validation[:31]", output=tmp_path, cache=cache_dir)
    assert expected in capfd.readouterr().err
