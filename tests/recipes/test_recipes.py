"""The recipes on the embedded sample: files, resumes, export, tests, on one CPU."""

from __future__ import annotations

import json
import re
import shlex
import signal

import gin
import pytest
from support.processes import Script, run_script_on_ranks
from support.recipe_runs import (
    SMALL,
    command,
    run_folder,
    scores,
    state_files,
    test,
    train,
)

from ke_t5 import cli
from ke_t5.config.flags import parse_train
from ke_t5.errors import Exit, UserError
from ke_t5.recipes.train import main

TC = ("--task", "klue_tc", *SMALL)
ROBERTA = ("--model_name", "transformers:RobertaForSequenceClassification")


@pytest.fixture(scope="module")
def expected(finished_run):
    """The output of the uninterrupted run."""
    return state_files(finished_run)


def test_a_run_leaves_its_files(finished_run, expected):
    folder = run_folder(finished_run)
    assert sorted(path.name for path in folder.iterdir()) == [
        "config.gin", "eval", "hf", "logs", "metrics.jsonl", "model", "report.html", "run.json",
        "timing.jsonl", "trained_rows", "weights",
    ]  # fmt: skip
    assert folder.parent.name == "T5EncoderForSequenceClassificationMean_sample"
    run = json.loads((folder / "run.json").read_text())
    assert (
        run["task"] == "klue_tc"
        and run["versions"]["torch"]
        and run["data"]["train[:64]"]["examples"] == 64
    )
    assert "get_dataset" in (folder / "config.gin").read_text()
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "loss" in line] == [3, 6, 8]
    assert all(line["grad_norm"] > 0 for line in lines if "loss" in line)
    assert [line["step"] for line in lines if "split" in line] == [4, 8]
    assert all(0 < line["validation_loss"] < 10 for line in lines if "split" in line)


def test_the_report_is_made_again_from_the_folder(run):
    folder = run_folder(run)
    before = (folder / "report.html").read_text(encoding="utf-8")
    assert "klue_tc: T5EncoderForSequenceClassificationMean" in before
    (folder / "report.html").unlink()
    cli._main(["report", str(folder)])
    after = (folder / "report.html").read_text(encoding="utf-8")
    assert _without_folder(after) == _without_folder(before)


def _without_folder(page):
    return re.sub(r'<th scope="row">folder</th><td>.*?</td>', "", page)


def test_the_export_command_that_is_printed_exports_and_goes_no_further(tmp_path, cache_dir, capfd):
    train(*TC, "--epochs", 2, "--max_steps", 3, output=tmp_path, cache=cache_dir)
    (line,) = [ln for ln in capfd.readouterr().out.splitlines() if ln.startswith("  export")]
    words = shlex.split(line.partition("train_ddp.py")[2])
    gin.clear_config()
    main(parse_train(words))
    assert json.loads((run_folder(tmp_path) / "weights" / "last.json").read_text())["step"] == 3
    assert (run_folder(tmp_path) / "hf" / "model.safetensors").exists()


def test_predictions_hold_every_row_once(finished_run):
    folder = run_folder(finished_run) / "eval" / "validation_31_"
    lines = [json.loads(line) for line in (folder / "predictions.jsonl").read_text().splitlines()]
    assert [line["id"] for line in lines] == list(range(31))
    assert {"inputs", "gold", "prediction", "score"} <= set(lines[0])
    assert lines[0]["inputs"].startswith("title: ")
    found = scores(finished_run, "validation_31_")
    assert found["rows"] == found["scored"] == 31
    accuracy = sum(line["gold"] == line["prediction"] for line in lines) / 31
    assert found["scores"]["accuracy"] == pytest.approx(100 * accuracy)


@pytest.mark.parametrize("stop", [2, 4, 5])
def test_a_resumed_run_ends_with_the_same_bytes(tmp_path, cache_dir, expected, stop):
    settings = (*TC, "--epochs", 2, "--schedule")
    train(*settings, "--max_steps", stop, output=tmp_path, cache=cache_dir)
    train(*settings, "--resume", "true", output=tmp_path, cache=cache_dir)
    assert state_files(tmp_path) == expected


def test_resume_auto_starts_anew_where_there_is_nothing(tmp_path, cache_dir, expected):
    train(*TC, "--epochs", 2, "--schedule", "--resume", "auto", output=tmp_path, cache=cache_dir)
    assert state_files(tmp_path) == expected


def test_resume_true_without_a_run_is_an_error(tmp_path, cache_dir):
    with pytest.raises(UserError, match="--resume true .*no run was saved there") as caught:
        train(*TC, "--resume", "true", output=tmp_path, cache=cache_dir)
    assert caught.value.exit_code == Exit.CHECKPOINT


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (("--seed", 7), "--seed was 42 and is 7"),
        (
            ("--batch_size", 8),
            "global batch .* was 16 and is 8 now; resume with --batch_size 16, add --allow_batch",
        ),
        (("--learning_rate", 1e-4), "learning rate was 0.001 and is 0.0001"),
        (("--train_split", "train[:48]"), "the training data has changed since then"),
        (("--gin_param", "AdamW.eps=1e-5"), "AdamW.eps was 1e-08 and is 1e-05"),
    ],
)
def test_a_resumed_run_may_not_change_what_the_weights_depend_on(tmp_path, cache_dir, change, name):
    train(*TC, "--max_steps", 1, output=tmp_path, cache=cache_dir)
    with pytest.raises(UserError, match=name):
        train(*TC, "--max_steps", 2, "--resume", "true", *change, output=tmp_path, cache=cache_dir)


def test_a_new_run_moves_the_old_one_aside(tmp_path, cache_dir):
    for _ in range(3):
        train(*TC, "--max_steps", 1, output=tmp_path, cache=cache_dir)
    names = {path.name for path in next(tmp_path.iterdir()).iterdir()}
    assert names == {"klue_tc", "klue_tc.1", "klue_tc.2"}


@pytest.mark.parametrize(
    ("weights", "name"),
    [
        (("--resume", "best"), "validation_31_"),
        (("--hf_path", "default"), "klue_tc__validation_31___hf"),
    ],
)
def test_a_test_gives_the_best_score_to_the_last_digit(run, cache_dir, weights, name):
    test(
        "--task", "klue_tc", "--sample", "--batch_size", 16, "--test_split", "validation[:31]",
        *weights, output=run, cache=cache_dir,
    )  # fmt: skip
    folder = run_folder(run)
    best = json.loads((folder / "weights" / "best.json").read_text())["step"]
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    (expected,) = [line["scores"] for line in lines if "split" in line and line["step"] == best]
    assert scores(run, name)["scores"] == expected


def test_a_submission_is_written_in_the_benchmarks_form(run, cache_dir, tmp_path):
    words = ("--task", "klue_tc", "--sample", "--resume", "best", "--submission", tmp_path / "out")
    test(*words, "--test_split", "validation[3:8]", output=run, cache=cache_dir)
    assert len((tmp_path / "out").read_text().splitlines()) == 5


def test_a_benchmark_without_submissions_says_so(tmp_path, cache_dir):
    words = ("--task", "nsmc", "--sample", "--submission", tmp_path / "out")
    with pytest.raises(UserError, match="--submission: nsmc has no submission format"):
        test(*words, output=tmp_path, cache=cache_dir)


def test_an_export_works_in_a_pipeline(tmp_path, cache_dir, capfd):
    from transformers import pipeline

    export = tmp_path / "export"
    train(
        *TC, *ROBERTA, "--max_steps", 4, "--hf_path", export, output=tmp_path / "out",
        cache=cache_dir,
    )  # fmt: skip
    assert f"ke-t5 predict --hf_path {export} --input FILE\n" in capfd.readouterr().out
    card = (export / "README.md").read_text()
    assert "klue_tc" in card and "macro_f1" in card
    title = "프로야구 개막전 열려"
    (answer,) = pipeline("text-classification", model=str(export))(title)
    assert answer["label"] in ("IT과학", "경제", "사회", "생활문화", "세계", "스포츠", "정치")


def test_an_untied_head_survives_checkpoint_and_export(tmp_path, cache_dir):
    from transformers import T5ForConditionalGeneration

    words = ("--task", "klue_tc_gen", *SMALL, "--eval_rows", 5, "--hf_path", "default")
    train(*words, "--max_steps", 2, output=tmp_path, cache=cache_dir)
    model = T5ForConditionalGeneration.from_pretrained(run_folder(tmp_path) / "hf")
    assert model.lm_head.weight.data_ptr() != model.shared.weight.data_ptr()
    assert not (model.lm_head.weight == model.shared.weight).all()


def test_fine_tuning_goes_on_from_an_export_and_resumes(
    tmp_path, cache_dir, sample_data, finished_run
):
    """The default learning rate is that of fine-tuning, also in a resumed run."""
    export = run_folder(finished_run) / "hf"
    words = (
        "--task",
        "klue_tc",
        *SMALL[1:],
        "--pre_trained_model",
        export,
        "--hf_data_dir",
        sample_data,
    )
    for steps in (("--max_steps", 3), ("--max_steps", 6, "--resume", "true")):
        train(*words, "--epochs", 2, *steps, output=tmp_path, cache=cache_dir)
    lines = (run_folder(tmp_path) / "metrics.jsonl").read_text().splitlines()
    assert {json.loads(line)["lr"] for line in lines if "lr" in json.loads(line)} == {3e-4}


def test_early_stopping_ends_a_run_that_gets_no_better(tmp_path, cache_dir, capfd):
    words = ("--learning_rate", 1e-12, "--epochs", 9, "--gin_param", "fit.early_stopping=2")
    train(*TC, *words, output=tmp_path, cache=cache_dir)
    last = json.loads((run_folder(tmp_path) / "weights" / "last.json").read_text())
    assert last["step"] == 12  # the first validation is the best, then two worse
    before = state_files(tmp_path)
    train(*TC, *words, "--resume", "true", output=tmp_path, cache=cache_dir)
    assert state_files(tmp_path) == before  # resumed without a further step


def test_the_flag_beats_gin_and_says_so(tmp_path, cache_dir, capfd):
    words = ("--gin_param", "AdamW.lr=0.5", "--learning_rate", 1e-4, "--max_steps", 3)
    train(*TC, *words, output=tmp_path, cache=cache_dir)
    errors = capfd.readouterr().err
    assert "--learning_rate 0.0001 is used, not --gin_param 'AdamW.lr=0.5'" in errors
    assert errors.count("AdamW.lr") == 2  # the place and the value, in one line
    line = json.loads((run_folder(tmp_path) / "metrics.jsonl").read_text().splitlines()[0])
    assert line["lr"] == 1e-4


def test_a_binding_that_the_run_never_reads_is_told(tmp_path, cache_dir, capfd):
    words = ("--gin_param", "SGD.lr=0.5", "--max_steps", 1)
    train(*TC, *words, output=tmp_path, cache=cache_dir)
    assert "'SGD.lr' is set but this run never reads it" in capfd.readouterr().err


def test_a_test_with_the_training_s_gin_file_does_not_report_its_optimizer(run, cache_dir, capfd):
    words = ("--task", "klue_tc", "--sample", "--test_split", "validation[:9]")
    bindings = ("--gin_param", "AdamW.betas=(0.9, 0.98)", "--gin_param", "SGD.lr=0.5")
    test(*words, *bindings, output=run, cache=cache_dir)
    errors = capfd.readouterr().err
    assert errors.count("never reads it") == errors.count("'SGD.lr' is set but") == 1


# ------------------------------------------------------------------------------- stops and kills


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_killed_run_resumes_to_the_same_bytes(tmp_path, cache_dir, expected, number):
    settings = (*TC, "--epochs", 2, "--schedule", "--save_every", 1)
    places = ("--output_dir", tmp_path, "--hf_cache_dir", cache_dir)
    script = Script("train_ddp.py", *settings, *places)
    script.wait_until(lambda: list(tmp_path.glob("*/klue_tc/weights/last.json")))
    script.kill(number)
    done = script.end()
    if done.returncode:  # a fast run may have finished first
        assert done.returncode in (Exit.STOPPED, -signal.SIGKILL), done.stderr
    if done.returncode == Exit.STOPPED:
        assert "stopped: at step" in done.stderr and "--resume true" in done.stderr
    train(*settings, "--resume", "auto", output=tmp_path, cache=cache_dir)
    assert state_files(tmp_path) == expected


# ----------------------------------------------------------------------------- several processes


LAUNCH = ("-m", "torch.distributed.launch", "--standalone", "--nproc_per_node=2")


def test_two_processes_resume_and_score_like_the_uninterrupted_ones(tmp_path, cache_dir):
    settings = (*TC, "--epochs", 2, "--hf_cache_dir", cache_dir)
    for done in run_script_on_ranks(
        2, "train_ddp.py", *settings, "--output_dir", tmp_path / "whole"
    ):
        assert done.returncode == 0, done.stderr
    settings = (*settings, "--output_dir", tmp_path / "parts")
    for done in run_script_on_ranks(2, "train_ddp.py", *settings, "--max_steps", 3):
        assert done.returncode == 0, done.stderr
    # Only one test starts a real launcher, torchrun.
    done = command("train_ddp.py", *settings, "--resume", "true", launcher=LAUNCH)
    assert done.returncode == 0, done.stderr
    assert state_files(tmp_path / "parts") == state_files(tmp_path / "whole")
    _compare_processes(tmp_path / "whole", cache_dir)


def _compare_processes(output, cache_dir):
    """One, two and three processes write the same predictions of an odd-sized split."""
    split = ("--test_split", "validation[:37]", "--batch_size", "5")
    words = ("--task", "klue_tc", "--sample", "--resume", "best", *split)
    test(*words, output=output, cache=cache_dir)
    folder = run_folder(output) / "eval" / "validation_37_"
    alone = {path.name: path.read_bytes() for path in folder.glob("*.json*")}
    for number in (2, 3):
        places = ("--output_dir", output, "--hf_cache_dir", cache_dir)
        for done in run_script_on_ranks(number, "test_ddp.py", *words, *places):
            assert done.returncode == 0, done.stderr
        assert {path.name: path.read_bytes() for path in folder.glob("*.json*")} == alone
