"""Both recipes on a mixture."""

from __future__ import annotations

import dataclasses
import json

import pytest
from support.processes import run_script, run_script_on_ranks
from support.recipe_runs import run_folder, state_files, test, train
from support.toys import mix, mix_of_two

from ke_t5.errors import Exit, UserError
from ke_t5.pipe import MixtureRegistry, get_task

BRIEF = ("--gin_param", "EvaluationHelper.model_kwargs={'max_new_tokens': 4}")
# Barely trained weights generate up to the maximum length. Seven steps per epoch.
SMALL = (
    "--task", "mix", "--sample", "--batch_size", 8, "--print_freq", 3, *BRIEF,
    "--train_split", "train[:28]", "--valid_split", "validation[:5]",
)  # fmt: skip
MODULE = """
from ke_t5.pipe import MixtureRegistry

MixtureRegistry.add("mix", [("klue_tc_gen", 1), ("klue_nli_gen", 2.5)])
"""


@pytest.fixture
def registered():
    """A mixture of two registered tasks, registered for one test."""
    mixture = mix_of_two()
    with MixtureRegistry.registry.temporary("mix", mixture):
        yield mixture


@pytest.fixture(scope="module")
def user_folder(tmp_path_factory):
    """A folder with a module that registers the mixture."""
    folder = tmp_path_factory.mktemp("user")
    (folder / "my_mixture.py").write_text(MODULE)
    return folder


@pytest.fixture(scope="module")
def whole(tmp_path_factory, cache_dir):
    """Two epochs (fourteen steps) without a stop, exported."""
    output = tmp_path_factory.mktemp("whole")
    mixture = mix_of_two()
    with MixtureRegistry.registry.temporary("mix", mixture):
        words = ("--epochs", 2, "--schedule", "--hf_path", "default")
        train(*SMALL, *words, output=output, cache=cache_dir)
    return output


@pytest.fixture(scope="module")
def expected(whole):
    """The output of the uninterrupted run, before a test writes into its folder."""
    return state_files(whole)


def read(folder, name):
    return json.loads((folder / name).read_text())


def test_a_run_scores_every_member_by_its_own_metrics(whole, expected):
    folder = run_folder(whole)
    assert sorted(path.name for path in (folder / "eval").iterdir()) == [
        "klue_nli_gen__validation_5_", "klue_tc_gen__validation_5_", "validation_5_",
    ]  # fmt: skip
    topics = read(folder, "eval/klue_tc_gen__validation_5_/scores.json")
    assert (topics["task"], topics["mixture"], topics["rows"]) == ("klue_tc_gen", "mix", 5)
    assert list(topics["scores"]) == ["macro_f1", "accuracy"]
    lines = (folder / "eval/klue_nli_gen__validation_5_/predictions.jsonl").read_text().splitlines()
    assert [(json.loads(line)["task"], json.loads(line)["id"]) for line in lines] == [
        ("klue_nli_gen", i) for i in range(5)
    ]
    together = read(folder, "eval/validation_5_/scores.json")
    assert list(together["scores"]) == [
        "mean", "klue_tc_gen/macro_f1", "klue_tc_gen/accuracy", "klue_nli_gen/accuracy",
    ]  # fmt: skip
    assert (together["tasks"], together["rows"]) == (["klue_tc_gen", "klue_nli_gen"], 10)


def test_a_run_tells_of_its_members(whole):
    folder = run_folder(whole)
    run = read(folder, "run.json")
    assert run["task"] == "mix" and run["source"] == "klue_ynat, klue_nli"
    assert sorted(run["data"]) == [
        f"{task}__{split}" for task in ("klue_nli_gen", "klue_tc_gen")
        for split in ("train[:28]", "validation[:5]")
    ]  # fmt: skip
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "split" in line] == [7, 14]
    assert "| klue_nli_gen/accuracy |" in (folder / "hf" / "README.md").read_text()


@pytest.mark.parametrize("stop", [3, 7, 9])
def test_a_resumed_run_ends_with_the_same_bytes(tmp_path, cache_dir, registered, expected, stop):
    settings = (*SMALL, "--epochs", 2, "--schedule")
    train(*settings, "--max_steps", stop, output=tmp_path, cache=cache_dir)
    train(*settings, "--resume", "true", output=tmp_path, cache=cache_dir)
    assert state_files(tmp_path) == expected


def test_a_resumed_run_may_not_change_the_rates(tmp_path, cache_dir, registered):
    train(*SMALL, "--max_steps", 1, output=tmp_path, cache=cache_dir)
    other = dataclasses.replace(registered, rates=(1, 1))
    words = (*SMALL, "--max_steps", 2, "--resume", "true")
    with MixtureRegistry.registry.temporary("mix", other):
        with pytest.raises(
            UserError, match=r"share of each task \(rows, rows in an epoch\) was \(\(28, 16\), "
        ):
            train(*words, output=tmp_path, cache=cache_dir)


def test_a_test_gives_the_best_scores_to_the_last_digit(whole, cache_dir, registered, capsys):
    words = ("--task", "mix", "--sample", "--batch_size", 8, *BRIEF, "--resume", "best")
    test(*words, "--test_split", "validation[:5]", output=whole, cache=cache_dir)
    folder = run_folder(whole)
    best = read(folder, "weights/best.json")["step"]
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    (before,) = [line["scores"] for line in lines if "split" in line and line["step"] == best]
    assert read(folder, "eval/validation_5_/scores.json")["scores"] == before
    assert (folder / "eval" / "klue_nli_gen__validation_5_" / "report.html").exists()
    printed = capsys.readouterr().out
    assert "klue_tc_gen validation[:5]" in printed and "klue_nli_gen validation[:5]" in printed
    assert f"mix: mean {before['mean']:.2f}, klue_tc_gen/macro_f1" in printed


def test_a_member_is_tested_alone_with_the_mixtures_weights(whole, cache_dir, tmp_path):
    words = ("--task", "klue_nli_gen", "--sample", *BRIEF, "--resume", run_folder(whole))
    test(*words, "--test_split", "validation[:5]", output=whole, cache=cache_dir)
    folder = run_folder(whole)
    last = read(folder, "weights/last.json")["snapshot"]
    told = read(folder, f"eval/klue_nli_gen__validation_5___{last}/scores.json")
    assert (told["task"], told["trained_on"]) == ("klue_nli_gen", "mix")
    assert read(folder, "eval/validation_5_/scores.json")["task"] == "mix"
    assert read(folder, "eval/klue_nli_gen__validation_5_/scores.json")["mixture"] == "mix"


def test_rows_of_a_member_that_are_trained_on_too_are_told(tmp_path, cache_dir, registered, capfd):
    words = ("--task", "mix", "--sample", "--batch_size", 8, *BRIEF)
    splits = ("--train_split", "validation[:6]", "--valid_split", "validation[4:8]")
    train(*words, *splits, "--max_steps", 1, output=tmp_path, cache=cache_dir)
    line = "2 rows of klue_nli_gen__validation[4:8] overlap with the training data (validation[:6])"
    assert line in capfd.readouterr().err
    split = ("--test_split", "validation[3:8]", "--resume", "true")
    test(*words, *split, output=tmp_path, cache=cache_dir)
    assert line.replace("2", "3").replace("4:", "3:") in capfd.readouterr().err


def test_a_submission_is_of_one_task(whole, cache_dir, registered, tmp_path):
    words = ("--task", "mix", "--sample", "--resume", "best", "--submission", tmp_path / "out")
    message = "--submission of mix: a submission covers one task; .*--task klue_tc_gen --resume"
    with pytest.raises(UserError, match=message):
        test(*words, output=whole, cache=cache_dir)


def test_members_have_splits_of_their_own_where_none_is_asked_for(tmp_path, cache_dir):
    mixture = mix(get_task("klue_tc_gen"), get_task("nsmc_gen"))
    words = ("--task", "mix", "--sample", "--batch_size", 8, *BRIEF, "--max_steps", 1)
    with MixtureRegistry.registry.temporary("mix", mixture):
        train(*words, "--eval_rows", 3, output=tmp_path, cache=cache_dir)
    assert sorted(path.name for path in (run_folder(tmp_path) / "eval").iterdir()) == [
        "klue_tc_gen__validation", "nsmc_gen__train_by_group_10_",
        "validation_train_by_group_10_",
    ]  # fmt: skip


def test_classes_with_equal_labels_are_mixed_for_an_encoder(tmp_path, cache_dir):
    mixture = mix(get_task("klue_nli"), get_task("kornli"), rates=(1, 1))
    words = ("--task", "mix", "--sample", "--batch_size", 8, "--max_steps", 2, "--eval_rows", 6)
    with MixtureRegistry.registry.temporary("mix", mixture):
        train(*words, output=tmp_path, cache=cache_dir)
        test(
            "--task", "mix", "--sample", "--resume", "true", "--test_split", "validation[:6]",
            output=tmp_path, cache=cache_dir,
        )  # fmt: skip
    told = read(run_folder(tmp_path), "eval/kornli__validation_6_/scores.json")
    assert told["rows"] == 6 and "accuracy" in told["scores"]


# ----------------------------------------------------------------------------- several processes


def test_two_processes_train_and_score_what_one_does(tmp_path, cache_dir, user_folder):
    settings = (*SMALL, "--module_import", "my_mixture", "--hf_cache_dir", cache_dir)

    words = (*settings, "--max_steps", 3, "--output_dir", tmp_path)
    for done in run_script_on_ranks(2, "train_ddp.py", *words, folder=user_folder):
        assert done.returncode == 0, done.stderr
    words = (
        "--task", "mix", "--sample", *BRIEF, "--module_import", "my_mixture", "--batch_size", 3,
        "--resume", "best", "--test_split", "validation[:7]", "--output_dir", tmp_path,
        "--hf_cache_dir", cache_dir,
    )  # fmt: skip
    answers = []
    for num_ranks in (1, 2):
        for done in run_script_on_ranks(num_ranks, "test_ddp.py", *words, folder=user_folder):
            assert done.returncode == 0, done.stderr
        files = (run_folder(tmp_path) / "eval").glob("*validation_7_/*.json*")
        answers.append({f"{file.parent.name}/{file.name}": file.read_bytes() for file in files})
    assert len(answers[0]) == 5 and answers[0] == answers[1]


def test_an_unknown_member_in_a_users_module_is_one_line(tmp_path):
    (tmp_path / "my_wrong.py").write_text(MODULE.replace("klue_tc_gen", "klue_tc_gne"))
    words = ("--task", "mix", "--sample", "--module_import", "my_wrong")
    done = run_script("train_ddp.py", *words, folder=tmp_path)
    assert done.returncode == Exit.FLAGS
    *_, line = done.stderr.splitlines()
    assert line.startswith("error: mixture 'mix', 'klue_tc_gne': unknown task; did you mean")
