"""The recipes lose nothing, mix nothing up, and report nothing wrong."""

from __future__ import annotations

import dataclasses
import json
import shutil
import signal
import time

import pytest
from support.processes import Script, run_script
from support.recipe_runs import SMALL, run_folder, test, train

from ke_t5.checkpoint.settings import check_unchanged
from ke_t5.errors import Exit, UserError, shortened
from ke_t5.pipe import Examples, Monitor, TaskRegistry, evaluate
from ke_t5.recipes import test as test_recipe
from ke_t5.recipes.folders import RunFolder
from ke_t5.recipes.validator import Validator
from ke_t5.sample import sample_data_dir
from ke_t5.seals import seal_folder

TC = ("--task", "klue_tc", *SMALL)
TEST = ("--task", "klue_tc", "--sample", "--test_split", "validation[:31]")


# ------------------------------------------------------------------------------------- resuming


def test_a_run_that_is_resumed_by_its_path_knows_what_it_began_with(
    finished_run, tmp_path, cache_dir, capfd
):
    export = run_folder(finished_run) / "hf"
    data = sample_data_dir(cache_dir)
    words = ("--task", "klue_tc", *SMALL[1:], "--pre_trained_model", export, "--hf_data_dir", data)
    train(*words, "--max_steps", 2, output=tmp_path, cache=cache_dir)
    run = run_folder(tmp_path)
    train(
        "--task", "klue_tc", *SMALL[1:], "--hf_data_dir", data, "--resume", run, "--max_steps", 3,
        "--hf_path", "default", output=tmp_path, cache=cache_dir,
    )  # fmt: skip
    assert f"Fine-tuned from `{export}`" in (run / "hf" / "README.md").read_text()
    test, predict = capfd.readouterr().out.splitlines()[-2:]
    assert test.endswith(f"--resume {run}/weights/step-00000003")
    assert predict.endswith(f"predict --hf_path {run / 'hf'} --input FILE")


def test_a_run_without_a_whole_checkpoint_never_goes_on_with_fresh_weights(run, cache_dir):
    for path in run_folder(run).glob("weights/step-*/model.safetensors"):
        path.write_bytes(b"")
    with pytest.raises(UserError, match="no complete checkpoint") as caught:
        train(*TC, "--epochs", 2, "--schedule", "--resume", "auto", output=run, cache=cache_dir)
    assert caught.value.exit_code == Exit.CHECKPOINT


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (("--gin_param", "get_scheduler.warmup_ratio=0.5"), "get_scheduler .* was"),
        (("--warmup", "2"), "get_scheduler .* was"),
        (
            ("--valid_split", "validation[:30]"),
            "the validation data has changed since then; resume",
        ),
        (("--eval_rows", 9), "with its files, --valid_split, --eval_rows and lengths, or start"),
        (("--gin_param", "fit.padding='rows'"), "fit.padding was 'none' and is 'rows' now"),
        (("--gin_param", "get_batches.window=50"), "add --gin_param get_batches.window=1, or"),
        (
            ("--pass_only_model_io", "true"),
            "--pass_only_model_io was False and is True now; resume",
        ),
    ],
)
def test_a_resumed_run_may_not_change_its_schedule_or_its_judge(run, cache_dir, change, name):
    words = (*TC, "--epochs", 2, "--schedule", "--resume", "true", *change)
    with pytest.raises(UserError, match=name):
        train(*words, output=run, cache=cache_dir)


def test_a_resumed_run_may_not_be_compared_by_another_metric(run, cache_dir):
    task = TaskRegistry.get("klue_tc")
    other = dataclasses.replace(task, best=Monitor("accuracy"))
    words = (*TC, "--epochs", 2, "--schedule", "--resume", "true")
    told = r"monitor of the best checkpoint was \('macro_f1', 'max'\) and is \('accuracy', 'max'\)"
    with (
        TaskRegistry.registry.temporary("klue_tc", other),
        pytest.raises(UserError, match=told) as caught,
    ):
        train(*words, output=run, cache=cache_dir)
    assert caught.value.exit_code == Exit.CHECKPOINT


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("--gin_param", "fit.early_stopping=3"), "fit.early_stopping was None and is 3 now"),
        (("--eval_every", 3), "--eval_every was None and is 3 now"),
    ],
)
def test_when_the_run_validates_and_ends_may_change_but_is_reported(
    run, cache_dir, capfd, change, told
):
    words = (*TC, "--epochs", 2, "--schedule", "--resume", "true", *change)
    train(*words, output=run, cache=cache_dir)
    assert f"--resume true: {told}" in capfd.readouterr().err


def test_a_longer_schedule_is_told_even_if_the_rates_are_the_same(run, cache_dir, capfd):
    words = (*TC, "--epochs", 4, "--schedule", "--resume", "true", "--max_steps", 8)
    train(*words, output=run, cache=cache_dir)
    told = "--epochs 4: the linear schedule of 8 steps now has 16; the rates of this launch are"
    assert told in capfd.readouterr().err


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            "model_kwargs={'max_new_tokens': 9}",
            r"model_kwargs\['max_new_tokens'\] was 8 and is 9 now",
        ),
        (
            "model_kwargs={'max_new_tokens': 8, 'num_beams': 2}",
            r"model_kwargs\['num_beams'\] was None and is 2",
        ),
        ("model_fn='forward'", "model_fn was 'generate' and is 'forward' now"),
    ],
)
def test_a_resumed_run_may_not_change_how_its_texts_are_made(change, told, text_run, cache_dir):
    words = (*TC_GEN, "--resume", "true", "--max_steps", 2)
    with pytest.raises(UserError, match=rf"EvaluationHelper\.{told}") as caught:
        train(*words, "--gin_param", f"EvaluationHelper.{change}", output=text_run, cache=cache_dir)
    assert caught.value.exit_code == Exit.CHECKPOINT


TC_GEN = ("--task", "klue_tc_gen", *SMALL, "--epochs", 1)


@pytest.fixture(scope="module")
def text_run(tmp_path_factory, cache_dir):
    """A run of one step whose texts have at most eight tokens."""
    output = tmp_path_factory.mktemp("texts")
    kwargs = "EvaluationHelper.model_kwargs={'max_new_tokens': 8}"
    words = (*TC_GEN, "--max_steps", 1, "--gin_param", kwargs)
    train(*words, output=output, cache=cache_dir)
    return output


USERS_MODEL = """
from ke_t5.models.models import T5EncoderForSequenceClassificationMean

class Mine(T5EncoderForSequenceClassificationMean):
    def forward(self, *arguments, **options):  # {comment}
        output = super().forward(*arguments, **options)
        if output.loss is not None:
            output.loss = output.loss * {factor}
        return output
"""


def test_changed_code_of_the_model_is_told_on_resuming(tmp_path, cache_dir):
    places = ("--output_dir", tmp_path / "out", "--hf_cache_dir", cache_dir)
    words = ("--task", "klue_tc", *SMALL, "--model_name", "my_model:Mine", *places)
    told = []
    for step, (comment, factor) in enumerate([("a", 1), ("b", 1), ("b", 2)], 1):
        (tmp_path / "my_model.py").write_text(USERS_MODEL.format(comment=comment, factor=factor))
        resume = ("--max_steps", step, "--resume", "auto")
        done = run_script("train_ddp.py", *words, *resume, folder=tmp_path)
        assert done.returncode == 0, done.stderr
        told.append("--resume auto: code of the model['my_model'] was '" in done.stderr)
    assert told == [False, False, True]


def test_a_schedule_is_stretched_only_where_that_is_asked_for(run, cache_dir, capfd):
    words = (*TC, "--epochs", 4, "--schedule", "--resume", "true")
    change = (
        "the linear schedule of 8 steps now has 16: its rate 0.000143 becomes 0.000571 at step 9"
    )
    with pytest.raises(UserError, match="--epochs 4: " + change) as caught:
        train(*words, output=run, cache=cache_dir)
    fix = "keep --epochs, or add --gin_param resume_schedule.stretch=True"
    assert shortened(str(caught.value)) == f"error: --epochs 4: {change}; {fix}"
    assert caught.value.exit_code == Exit.CHECKPOINT
    before = (run_folder(run) / "metrics.jsonl").read_text()
    words += ("--gin_param", "resume_schedule.stretch=True", "--max_steps", 9)
    train(*words, output=run, cache=cache_dir)
    assert f"--epochs 4: {change}" in capfd.readouterr().err
    assert (run_folder(run) / "metrics.jsonl").read_text().startswith(before)


def test_a_schedule_that_another_batch_makes_shorter_is_told(run, cache_dir):
    checkpoint = run_folder(run) / "weights" / "step-00000004"
    words = (*TC, "--epochs", 2, "--schedule", "--resume", checkpoint, "--batch_size", 32)
    told = "error: --allow_batch_change: the linear schedule of 8 steps now has 6: its rate "
    with pytest.raises(UserError, match=told) as caught:
        train(*words, "--allow_batch_change", output=run, cache=cache_dir)
    assert str(caught.value).endswith("; accept it: --gin_param resume_schedule.stretch=True")


def test_fewer_epochs_than_are_done_only_export(run, cache_dir, capfd):
    words = (*TC, "--epochs", 1, "--schedule", "--resume", "true", "--hf_path", run / "export")
    train(*words, output=run, cache=cache_dir)
    assert (run / "export" / "config.json").exists()
    said = capfd.readouterr()
    told = "nothing is left to train: the run is at step 8, and 4 steps are requested"
    assert told in said.err and "\n0 steps in " in said.out


def test_a_run_that_stopped_early_says_so_when_it_is_resumed(tmp_path, cache_dir, capfd):
    words = (*TC, "--learning_rate", 1e-12, "--gin_param", "fit.early_stopping=1", "--epochs", 3)
    for resume in ((), ("--resume", "true")):
        train(*words, *resume, output=tmp_path, cache=cache_dir)
    assert (
        "nothing is left to train: 1 validation without a better score (fit.early_stopping)"
    ) in capfd.readouterr().err


def test_an_output_folder_that_a_run_found_by_its_path_is_not_in_is_told(run, cache_dir, capfd):
    folder = run_folder(run)
    words = (*TC, "--epochs", 2, "--schedule", "--resume", folder, "--max_steps", 7)
    for output, is_told in ((run, False), (run / "other", True)):
        train(*words, output=output, cache=cache_dir)
        told, said = f"--output_dir {output} is not used: the run is in {run}", capfd.readouterr()
        assert (told in said.err) == is_told
        assert f"--resume {folder}" in said.out and "--output_dir" not in said.out
    assert not (run / "other").exists()


@pytest.mark.parametrize(
    ("now", "message"),
    [
        (
            {"get_batches.window": 8, "the unit of get_batches.window": "rows"},
            "get_batches.window was 50 and is 8 now; add --gin_param get_batches.window=50, or",
        ),
        (
            {"the unit of get_batches.window": "tokens", "get_batches.window": 50},
            "was 'rows' and is 'tokens' now; .* have changed since then: start a new run",
        ),
        (
            {"order of the rows": "drawn window by window", "get_batches.window": 50},
            "was 'laid out' and is .* now; the order of large data has changed: start a new",
        ),
    ],
)
def test_a_run_of_an_older_version_keeps_its_windows_or_is_refused(now, message):
    older = {"--seed": 42}
    with pytest.raises(UserError, match=message) as caught:
        check_unchanged(older, {"--seed": 42, **now}, where="weights/step-00000003")
    assert caught.value.exit_code == Exit.CHECKPOINT and "\n" not in str(caught.value)
    kept = {"get_batches.window": 50, "the unit of get_batches.window": "rows"}
    check_unchanged(older, {"--seed": 42, **kept}, where="weights/step-00000003")


def test_a_long_path_leaves_the_name_of_the_class_in_the_runs_folder():
    run = RunFolder.of("output", "SomeModel", "/far/away" * 40 + "/tail", "klue_tc")
    name = run.path.parent.name
    assert name.startswith("SomeModel_") and name.endswith("away_tail") and len(name) == 120


def test_a_long_path_in_korean_gives_a_folder_that_can_be_made(tmp_path):
    run = RunFolder.of(str(tmp_path), "SomeModel", "/모델" * 60 + "/끝", "klue_tc")
    run.path.mkdir(parents=True)
    name = run.path.parent.name
    assert name.startswith("SomeModel_") and name.endswith("모델_끝") and len(name.encode()) > 250


def test_what_cannot_be_built_moves_no_older_run_aside(run, cache_dir):
    with pytest.raises(UserError, match="has no 'dropuot'"):
        train(*TC, "--gin_param", "model.config={'dropuot': 1}", output=run, cache=cache_dir)
    assert (run_folder(run) / "weights" / "best.json").exists()


# ---------------------------------------------------------------------------- rows without labels


def test_a_training_split_without_labels_is_an_error(tmp_path, cache_dir, monkeypatch):
    monkeypatch.setattr(Examples, "labelled", lambda examples: examples.take([]))
    with pytest.raises(UserError, match="--train_split .*none of its rows has a label") as caught:
        train(*TC, output=tmp_path, cache=cache_dir)
    assert caught.value.exit_code == Exit.DATA


def test_where_no_validation_row_has_a_label_the_latest_checkpoint_is_the_best(
    tmp_path, cache_dir, monkeypatch
):
    def evaluate_unlabelled(*things, **named):
        return dataclasses.replace(evaluate(*things, **named), scores={})

    monkeypatch.setattr("ke_t5.recipes.task_splits.evaluate", evaluate_unlabelled)
    train(*TC, "--epochs", 2, output=tmp_path, cache=cache_dir)
    best = json.loads((run_folder(tmp_path) / "weights" / "best.json").read_text())
    assert best["step"] == 8


# ----------------------------------------------------------------------------------- the report


def test_a_training_leaves_the_report_of_its_best_validation(finished_run):
    folder = run_folder(finished_run) / "eval" / "validation_31_"
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["confusion.png", "predictions.jsonl", "report.html", "scores.json"]
    best = json.loads((run_folder(finished_run) / "weights" / "best.json").read_text())["snapshot"]
    told = json.loads((folder / "scores.json").read_text())
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert told["weights"] == best and best in page
    assert f"{told['scores']['macro_f1']:.2f}" in page and "95 % interval" in page
    # The sample's model is not the one that --pre_trained_model names by default.
    assert "pre-trained model" not in page and "KETI-AIR" not in page


def test_an_interrupted_run_has_its_report_in_the_end(tmp_path, cache_dir, monkeypatch):
    """Written from the predictions on disk, because the best validation was before the stop."""
    words = (*TC, "--epochs", 2, "--learning_rate", 1e-12)
    with monkeypatch.context() as patch:
        patch.setattr(Validator, "report", lambda validator: None)  # as if the run had been killed
        train(*words, "--max_steps", 4, output=tmp_path, cache=cache_dir)
    (folder,) = run_folder(tmp_path).glob("eval/*")
    assert not (folder / "report.html").exists()
    train(*words, "--resume", "true", output=tmp_path, cache=cache_dir)
    assert "step-00000004" in (folder / "report.html").read_text(encoding="utf-8")


def test_a_report_is_none_of_other_predictions(run, cache_dir, monkeypatch):
    """A test that fails half-way leaves no report of earlier predictions."""
    monkeypatch.setattr(test_recipe, "write_report", lambda *_, **__: "")
    test(*TEST, "--resume", "true", output=run, cache=cache_dir)
    (folder,) = run_folder(run).glob("eval/*")
    assert sorted(path.name for path in folder.iterdir()) == ["predictions.jsonl", "scores.json"]


# --------------------------------------------------------------------------- exporting, testing


def test_a_run_whose_scores_were_no_numbers_exports_the_last_checkpoint(
    tmp_path, cache_dir, monkeypatch, capfd
):
    monkeypatch.setattr("ke_t5.recipes.validator.best_score", lambda task, scores: float("nan"))
    words = (*TC, "--epochs", 1, "--hf_path", "default")
    train(*words, output=tmp_path, cache=cache_dir)
    assert (run_folder(tmp_path) / "hf" / "model.safetensors").exists()
    assert "no validation score to choose by" in capfd.readouterr().err


def test_a_folder_that_cannot_be_exported_to_is_told_before_training(tmp_path, cache_dir):
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="is not an exported model"):
        train(*TC, "--hf_path", taken, output=tmp_path / "out", cache=cache_dir)
    assert not list((tmp_path / "out").rglob("metrics.jsonl"))


def test_a_test_of_another_folder_leaves_the_runs_own_model_alone(run, tmp_path, cache_dir):
    other = tmp_path / "other"
    shutil.copytree(run_folder(run) / "hf", other)
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps({**config, "dropout_rate": 0.25}))
    seal_folder(other)
    before = (run_folder(run) / "model" / "config.json").read_bytes()
    test(*TEST, "--hf_path", other, output=run, cache=cache_dir)
    assert (run_folder(run) / "model" / "config.json").read_bytes() == before


def test_predictions_are_kept_before_anything_else_is_made_of_them(run, cache_dir, monkeypatch):
    def fail(*things):
        raise RuntimeError("a metric of a user's own")

    monkeypatch.setattr(test_recipe, "bootstrap", fail)
    shutil.rmtree(run_folder(run) / "eval")
    with pytest.raises(RuntimeError):
        test(*TEST, "--resume", "best", output=run, cache=cache_dir)
    assert (run_folder(run) / "eval" / "validation_31_" / "predictions.jsonl").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--test_split", "validation[:3]+train[:3]"), "a submission covers one split"),
        (("--submission", "no/such/folder/file"), "the folder no/such/folder does not exist"),
    ],
)
def test_a_submission_is_checked_before_the_test(run, cache_dir, monkeypatch, words, message):
    monkeypatch.setattr(test_recipe, "evaluate_splits", lambda *_, **__: pytest.fail("too late"))
    words = (*TEST, "--submission", "file", "--resume", "best", *words)
    with pytest.raises(UserError, match=message):
        test(*words, output=run, cache=cache_dir)


def test_a_failed_test_of_an_export_leaves_error_json(run, cache_dir):
    (run_folder(run) / "hf" / "model.safetensors").write_bytes(b"")
    done = run_script(
        "test_ddp.py", *TEST, "--hf_path", "default", "--output_dir", run, "--hf_cache_dir",
        cache_dir,
    )  # fmt: skip
    assert done.returncode == Exit.CHECKPOINT, done.stderr
    found = json.loads((run_folder(run) / "error.json").read_text())
    assert found["code"] == Exit.CHECKPOINT


def test_what_the_sample_leaves_unused_is_told(tmp_path, cache_dir, capfd):
    words = ("--pre_trained_model", "klue/roberta-base", "--max_steps", 1)
    train(*TC, *words, output=tmp_path, cache=cache_dir)
    line = "--pre_trained_model klue/roberta-base is not used: --sample brings its own"
    assert line in capfd.readouterr().err


# --------------------------------------------------------------------------------------- signals


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_test_ends_when_it_is_asked_to(run, cache_dir, number):
    words = ("--task", "klue_tc", "--sample", "--test_split", "train", "--batch_size", "1")
    words = (*words, "--resume", "best", "--output_dir", run, "--hf_cache_dir", cache_dir)
    script = Script("test_ddp.py", *words)
    script.wait_until(lambda: "\ntesting " in script.errors)
    time.sleep(0.3)
    script.kill(number)
    done = script.end()
    assert done.returncode == Exit.STOPPED, done.stderr
    assert "rows scored" not in done.stdout
    assert "stopped: interrupted" in done.stderr and "Traceback" not in done.stderr
