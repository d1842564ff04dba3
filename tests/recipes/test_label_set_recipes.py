"""A training on multi-label rows: results, report, export, code in the model card."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil

import numpy as np
import pytest
from support.recipe_runs import run_folder, scores, test, train

from ke_t5.errors import UserError
from ke_t5.pipe import Evaluated, EvaluationHelper, Monitor, get_task
from ke_t5.seals import seal_folder
from ke_t5.serving.loading import load_predictor
from ke_t5.task.labels import KMHAS
from ke_t5.task.metrics import label_sets
from ke_t5.task.thresholds import GRID, tuned_thresholds

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
    # With random weights hardly any label is likely.
    code = code.replace('"this folder"', repr(str(folder))).replace(">= 0.5", ">= 0.0")
    exec(code, {})
    printed = capsys.readouterr().out
    assert all(name in printed for name in KMHAS.names)


@pytest.fixture(scope="module")
def tuned_run(kmhas_run, tmp_path_factory, cache_dir):
    """The run is resumed only to tune its thresholds, then exported and tested."""
    path = tmp_path_factory.mktemp("tuned") / "out"
    shutil.copytree(kmhas_run, path)
    asked = ("--gin_param", "EvaluationHelper.threshold='per_label'")
    words = (*KMHAS_RUN, *SHORT, "--resume", "true", "--hf_path", "default", *asked)
    train(*words, output=path, cache=cache_dir)
    test(*KMHAS_RUN[:5], "--test_split", "test[:40]", output=path, cache=cache_dir)
    return path


def test_thresholds_are_tuned_on_validation_and_used_by_a_test(tuned_run):
    record = json.loads((run_folder(tuned_run) / "model" / "ke_t5.json").read_text())
    tuned = record["members"]["kmhas"]["thresholds"]
    assert tuned["split"] == "validation[:25]" and list(tuned["values"]) == list(KMHAS.names)
    assert len(set(tuned["values"].values())) > 1
    file = run_folder(tuned_run) / "eval" / "test_40_" / "predictions.jsonl"
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    cuts = list(zip(KMHAS.names, tuned["values"].values(), strict=True))
    for line in lines:
        found = zip(cuts, line["probabilities"], strict=True)
        assert line["prediction"] == [name for (name, cut), x in found if x >= cut]
    assert any(line["prediction"] for line in lines)


def test_thresholds_are_not_used_on_the_split_they_were_tuned_on(tuned_run, cache_dir):
    before = scores(tuned_run, "validation_25_")["scores"]
    words = (*KMHAS_RUN[:5], "--test_split", "validation[:25]", "--hf_path", "default")
    test(*words, output=tuned_run, cache=cache_dir)
    assert scores(tuned_run, "kmhas__validation_25___hf")["scores"] == before


def test_thresholds_of_another_best_are_removed(tuned_run, tmp_path, cache_dir, capfd):
    path = tmp_path / "out"
    shutil.copytree(tuned_run, path)
    model = run_folder(path) / "model"
    (model / "templates").mkdir()  # as some tokenizers have one
    (model / "templates" / "tool.jinja").write_text("")
    seal_folder(model)
    words = (*KMHAS_RUN, *SHORT, "--resume", "true")
    train(*words, output=path, cache=cache_dir)  # the best is the same
    record = json.loads((model / "ke_t5.json").read_text())
    known = record["members"]["kmhas"]["thresholds"]
    assert known["weights"] == scores(path, "validation_25_")["weights"]
    known["weights"] = "step-00000001"
    (model / "ke_t5.json").write_text(json.dumps(record))
    seal_folder(model)
    train(*words, output=path, cache=cache_dir)
    told = " ".join(capfd.readouterr().err.split())
    assert "tuned for step-00000001 are removed: the best checkpoint is now step-" in told
    assert "thresholds" not in json.loads((model / "ke_t5.json").read_text())["members"]["kmhas"]
    assert (model / "templates" / "tool.jinja").exists()


def test_a_predictor_and_the_card_use_the_tuned_thresholds(tuned_run):
    hf = run_folder(tuned_run) / "hf"
    values = json.loads((hf / "ke_t5.json").read_text())["members"]["kmhas"]["thresholds"]["values"]
    for one in load_predictor(hf)([{"text": "정말 별로다"}, {"text": "좋아요"}]):
        shares = one.content["probabilities"]
        likely = [name for name in KMHAS.names if shares[name] >= values[name]]
        assert one.content["labels"] == likely
    assert f'label["score"] >= {values}[label["label"]]])' in (hf / "README.md").read_text()


def test_a_threshold_for_a_task_without_sets_of_labels_is_refused():
    with pytest.raises(UserError) as raised:
        EvaluationHelper(get_task("klue_tc"), threshold="tuned")
    where = "EvaluationHelper.threshold='tuned'"
    line = f"error: {where}: klue_tc is not a multi-label task of an encoder; remove it"
    assert str(raised.value).startswith(line)


@pytest.mark.parametrize("name", ["micro_f1", "macro_f1", "exact_match", "hamming_score"])
def test_the_tuned_threshold_is_the_best_of_the_grid_by_the_metric_itself(name):
    names, generator = ("가", "나", "다"), np.random.default_rng(0)
    task = dataclasses.replace(get_task("kmhas"), labels=names, best=Monitor(name))
    found = generator.random((60, 3)).round(3)
    gold = generator.random((60, 3)) < found**2
    sets = [[n for n, mark in zip(names, row, strict=True) if mark] for row in gold]
    lines = [{"gold": one} for one in [*sets, None]]
    evaluated = Evaluated({}, 61, 60, 0, lines, [*found.tolist(), [0.5] * 3])
    (cut,) = {*tuned_thresholds(task, evaluated, per_label=False).values()}

    def score(threshold):
        pairs = [[n for n, x in zip(names, row, strict=True) if x >= threshold] for row in found]
        return label_sets(3)(sets, pairs)[name]

    best = max(score(one) for one in GRID)
    ties = [one for one in GRID if score(one) == pytest.approx(best, abs=1e-9)]
    assert cut == min(ties, key=lambda one: abs(one - 0.5)) and best > score(0.01)
    own = tuned_thresholds(task, evaluated, per_label=True)
    assert list(own) == list(names) and len({*own.values()}) > 1
