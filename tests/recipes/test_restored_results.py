"""`eval/` has all results of the best checkpoint, or of the previous best after any kill."""

from __future__ import annotations

import json
import shutil

import pytest
from support.checkpoint_toys import flip
from support.recipe_runs import SMALL, run_folder, state_files, train

from ke_t5.errors import UserError
from ke_t5.recipes import results
from ke_t5.recipes.tested import identity_of
from ke_t5.recipes.validator import Validator

# Four steps an epoch.
WORDS = ("--task", "klue_tc", *SMALL, "--schedule")
SPLIT = "validation_31_"


@pytest.fixture(scope="module", params=[4, 8])
def whole(request, tmp_path_factory, cache_dir):
    """A run of two validations, of which the one after this step is better."""
    output = tmp_path_factory.mktemp("whole")
    real = Validator.validate
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            Validator,
            "validate",
            lambda self, step: real(self, step) | {"score": float(step == request.param)},
        )
        train(*WORDS, "--epochs", 2, output=output, cache=cache_dir)
    return output


@pytest.fixture
def run(whole, tmp_path):
    shutil.copytree(whole, tmp_path / "run")
    return tmp_path / "run"


def resume(output, cache):
    train(*WORDS, "--epochs", 2, "--resume", "auto", output=output, cache=cache)


def of_another(folder):
    """Results before those of a better validation replace them."""
    content = json.loads((folder / "scores.json").read_text())
    content |= {"weights": "step-00000002", "scores": {"accuracy": 1.0}}
    (folder / "scores.json").write_text(json.dumps(content))
    (folder / "predictions.jsonl").write_text("")


@pytest.mark.parametrize("damage", [of_another, shutil.rmtree])
def test_a_resumed_run_has_the_results_of_its_best(run, whole, cache_dir, damage, caplog):
    damage(run_folder(run) / "eval" / SPLIT)
    with caplog.at_level("INFO"):
        resume(run, cache_dir)
    assert state_files(run) == state_files(whole)
    page = run_folder(run) / "eval" / SPLIT / "report.html"
    assert page.read_bytes() == (run_folder(whole) / "eval" / SPLIT / "report.html").read_bytes()


def test_a_run_resumed_from_a_copy_goes_on_with_the_weights_of_that(
    run, whole, tmp_path, cache_dir
):
    """The best is evaluated again first; the copy is the only checkpoint of its step."""
    shutil.copytree(whole, tmp_path / "other")
    folder, other = run_folder(run), run_folder(tmp_path / "other")
    shutil.move(folder / "weights" / "step-00000008", folder / "kept" / "step-00000008")
    of_another(folder / "eval" / SPLIT)
    words = (*WORDS, "--epochs", 3, "--gin_param", "resume_schedule.stretch=True", "--max_steps", 9)
    train(*words, "--resume", folder / "kept" / "step-00000008", output=run, cache=cache_dir)
    train(*words, "--resume", "true", output=tmp_path / "other", cache=cache_dir)
    file = "weights/step-00000009/model.safetensors"
    assert (folder / file).read_bytes() == (other / file).read_bytes()


def test_a_resumed_run_names_its_best(run, whole, cache_dir):
    """As after a kill between renaming a checkpoint and writing best.json."""
    (run_folder(run) / "weights" / "best.json").unlink()
    resume(run, cache_dir)
    assert state_files(run) == state_files(whole)


def test_a_resumed_run_has_the_checkpoints_of_the_whole_one(run, whole, cache_dir):
    """As after a kill between writing best.json and deleting the previous best."""
    weights = run_folder(run) / "weights"
    shutil.copytree(weights / "step-00000004", weights / "step-00000002")
    resume(run, cache_dir)
    expected = {path.name for path in (run_folder(whole) / "weights").iterdir()}
    assert {path.name for path in weights.iterdir()} == expected


def test_results_that_are_there_are_not_made_again(run, cache_dir, monkeypatch):
    monkeypatch.setattr(Validator, "validate", None)
    resume(run, cache_dir)


def test_a_damaged_best_is_reported(run, cache_dir, capfd):
    best = json.loads((run_folder(run) / "weights" / "best.json").read_text())["snapshot"]
    if best == "step-00000008":
        pytest.skip("--resume auto goes back to the one before")
    of_another(run_folder(run) / "eval" / SPLIT)
    flip(run_folder(run) / "weights" / best / "model.safetensors")
    resume(run, cache_dir)
    assert "step-00000004 is damaged (model.safetensors is damaged" in capfd.readouterr().err


def test_damaged_predictions_are_told_and_made_again(run, whole, cache_dir):
    folder = run_folder(run) / "eval" / SPLIT
    (folder / "report.html").unlink()
    (folder / "predictions.jsonl").write_text("{")
    told = f"{folder}: a file in it is damaged; remove the folder, then --resume true evaluates"
    with pytest.raises(UserError, match=told):
        resume(run, cache_dir)
    shutil.rmtree(folder)
    resume(run, cache_dir)
    assert state_files(run) == state_files(whole)


def test_results_are_replaced_as_a_whole(run, monkeypatch):
    """A kill between two files keeps the old ones."""
    folder = run_folder(run) / "eval" / SPLIT
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    monkeypatch.setattr(results, "write_json", lambda *_, **__: 1 / 0)
    evaluated = results.read_evaluation(folder)
    written = [json.loads(line) for line in before["predictions.jsonl"].decode().splitlines()]
    part = type("Part", (), {"task": None, "split": "x", "examples": None})
    part.task = type("Task", (), {"name": "klue_tc", "metric_fns": ()})
    part.examples = type("Examples", (), {"lost": lambda: {}})
    with pytest.raises(ZeroDivisionError):
        results.write_evaluation(folder, part, evaluated, results.Origin(part.task, "w"))
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in folder.parent.iterdir()] == [SPLIT]
    # The texts are read on demand, from the old content of the file.
    (folder / "predictions.jsonl").unlink()
    assert written and list(map(dict, evaluated.predictions)) == written


def test_of_whose_weights_results_are(tmp_path):
    assert results.weights_of(tmp_path) is None
    (tmp_path / "scores.json").write_text('{"weights": "a/step-1"}')
    assert results.weights_of(tmp_path) == "step-1"


@pytest.mark.parametrize("content", ["{", "[]", "5", "[" * 100_000], ids=lambda text: text[:2])
def test_a_damaged_file_of_scores_counts_as_none(tmp_path, content):
    (tmp_path / "scores.json").write_text(content)
    assert results.weights_of(tmp_path) is identity_of(tmp_path) is None
