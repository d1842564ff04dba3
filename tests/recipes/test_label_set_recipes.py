"""A training on rows with any number of labels: results, report, export, the card's code."""

from __future__ import annotations

import json
import re

import pytest
from support.recipe_runs import run_folder, scores, test, train

from ke_t5.serving.loading import load_predictor
from ke_t5.task.labels import KMHAS

KMHAS_RUN = ("--task", "kmhas", "--sample", "--batch_size", 4, "--train_split", "train[:32]")
SHORT = ("--valid_split", "validation[:25]", "--max_steps", 4)


@pytest.fixture(scope="module")
def kmhas_run(tmp_path_factory, cache_dir):
    """A training of two launches, exported."""
    path = tmp_path_factory.mktemp("kmhas")
    train(*KMHAS_RUN, *SHORT[:-1], 2, output=path, cache=cache_dir)
    words = (*KMHAS_RUN, *SHORT, "--resume", "true", "--hf_path", "default")
    train(*words, output=path, cache=cache_dir)
    return path


def test_its_predictions_are_lists_of_labels(kmhas_run):
    folder = run_folder(kmhas_run) / "eval" / "validation_25_"
    lines = [json.loads(line) for line in (folder / "predictions.jsonl").read_text().splitlines()]
    assert all(set(line["gold"]) | set(line["prediction"]) <= set(KMHAS.names) for line in lines)
    assert {len(line["gold"]) for line in lines} == {1, 2}
    found = scores(kmhas_run, "validation_25_")
    equal = sum(line["gold"] == line["prediction"] for line in lines)
    assert found["scores"]["exact_match"] == pytest.approx(100 * equal / 25)
    assert set(found["scores"]) == {"micro_f1", "macro_f1", "exact_match", "hamming_score"}
    assert set(found["intervals"]) | set(found["bootstrap"]["not_shown"]) == set(found["scores"])


def test_its_report_has_a_table_per_label_and_the_worst_rows(kmhas_run):
    page = (run_folder(kmhas_run) / "eval" / "validation_25_" / "report.html").read_text()
    assert "Scores per label" in page and "출신차별" in page
    assert "Rows with the most wrong labels" in page and "− 해당사항없음" in page


def test_its_export_scores_as_the_checkpoint_does(kmhas_run, cache_dir):
    words = (*KMHAS_RUN[:5], "--test_split", "validation[:25]", "--hf_path", "default")
    test(*words, output=kmhas_run, cache=cache_dir)
    found = scores(kmhas_run, "kmhas__validation_25___hf")["scores"]
    assert found == scores(kmhas_run, "validation_25_")["scores"]


def test_a_predictor_says_every_label_that_is_likely(kmhas_run):
    predictor = load_predictor(run_folder(kmhas_run) / "hf")
    contents = [one.content for one in predictor([{"text": "정말 별로다"}, {"text": "좋아요"}])]
    for content in contents:
        shares = content["probabilities"]
        assert tuple(shares) == KMHAS.names
        assert content["labels"] == [name for name in KMHAS.names if shares[name] >= 0.5]


def test_the_code_of_its_card_runs(kmhas_run, capsys):
    folder = run_folder(kmhas_run) / "hf"
    card = (folder / "README.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    assert "problem_type" in (folder / "config.json").read_text()
    capsys.readouterr()
    # With fresh weights hardly a label is likely.
    code = code.replace('"this folder"', repr(str(folder))).replace(">= 0.5", ">= 0.0")
    exec(code, {})
    printed = capsys.readouterr().out
    assert all(name in printed for name in KMHAS.names)
