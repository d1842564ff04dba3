"""Evaluations in runs: at intervals, from the model's columns alone, and of summaries."""

from __future__ import annotations

import json

import pytest
from support.recipe_runs import ROOT, run_folder, scores, test, train

FEW = ("--sample", "--batch_size", 16, "--train_split", "train[:32]", "--max_steps", 2)


def run(task, *words, output, cache):
    """Two updates, and a test of the best checkpoint; the test's scores and predictions."""
    splits = ("--valid_split", "validation[:12]")
    train("--task", task, *FEW, *splits, *words, output=output, cache=cache)
    test(
        "--task", task, "--sample", "--batch_size", 16, "--test_split", "validation[:12]",
        "--resume", "best", *words, output=output, cache=cache,
    )  # fmt: skip
    lines = (run_folder(output) / "eval" / "validation_12_" / "predictions.jsonl").read_text()
    return scores(output, "validation_12_"), [json.loads(line) for line in lines.splitlines()]


ONLY_IO = ("--pass_only_model_io", "true")


@pytest.mark.parametrize("task", ["klue_tc", "klue_tc_gen"])
def test_labels_are_scored_the_same_from_the_models_columns_alone(task, tmp_path, cache_dir):
    bare, lines = run(task, *ONLY_IO, output=tmp_path / "bare", cache=cache_dir)
    test(
        "--task", task, "--sample", "--batch_size", 16, "--test_split", "validation[:12]",
        "--resume", "best", output=tmp_path / "bare", cache=cache_dir,
    )  # fmt: skip
    assert scores(tmp_path / "bare", "validation_12_") == bare
    assert bare["scored"] == 12 and list(bare["scores"]) == ["macro_f1", "accuracy"]
    assert all(line["inputs"] and line["gold"] for line in lines)


@pytest.mark.parametrize(
    ("task", "told", "score"),
    [
        ("klue_ner", "tags are scored per token, not per character", "model_io_entity_f1"),
        ("klue_mrc", "answers are compared as decoded tokens", "model_io_exact_match"),
    ],
)
def test_a_task_that_needs_more_says_what_it_scores(task, told, score, tmp_path, cache_dir, capfd):
    found, lines = run(task, *ONLY_IO, output=tmp_path, cache=cache_dir)
    assert score in found["scores"] and found["scored"] == 12
    assert all(line["inputs"] for line in lines)
    errors = [
        line for line in capfd.readouterr().err.splitlines() if "--pass_only_model_io" in line
    ]
    assert len(errors) == 2 and all(told in line for line in errors)  # in training, in the test


def test_validation_every_so_many_steps_on_so_many_rows(tmp_path, cache_dir):
    words = ("--eval_every", 2, "--eval_rows", 5, "--valid_split", "validation")
    train(
        "--task", "klue_tc", "--sample", "--batch_size", 16, "--train_split", "train[:48]",
        "--epochs", 2, *words, output=tmp_path, cache=cache_dir,
    )  # fmt: skip
    folder = run_folder(tmp_path)
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    # Epochs of three steps end at 3 and 6.
    assert [line["step"] for line in lines if "split" in line] == [2, 3, 4, 6]
    predictions = (folder / "eval" / "validation" / "predictions.jsonl").read_text().splitlines()
    ids = [json.loads(line)["id"] for line in predictions]
    assert len(ids) == 5 and ids[1] - ids[0] > 1
    assert scores(tmp_path, "validation")["rows"] == 5


@pytest.mark.parametrize("task", ["klue_tc_gen", "nikl_summarization_summary"])
def test_the_gin_file_for_summaries_works(task, tmp_path, cache_dir, capfd):
    split = {"klue_tc_gen": "validation[:3]"}.get(task, "train[:3]")
    test(
        "--task", task, "--sample", "--from_scratch", "--batch_size", 4, "--test_split", split,
        "--gin_file", ROOT / "gin" / "test_default_gen.gin", output=tmp_path, cache=cache_dir,
    )  # fmt: skip
    (file,) = tmp_path.glob("*/*/eval/*/predictions.jsonl")
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert len(lines) == 3 and all(0 < line["score"] <= 1 for line in lines)
    assert "model_kwargs" not in capfd.readouterr().err
