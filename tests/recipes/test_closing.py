"""A run that ends between two scheduled validations: its closing validation counts."""

from __future__ import annotations

import json
import shutil

import pytest
from support.recipe_runs import SMALL, run_folder, scores, state_files, test, train

from ke_t5.checkpoint import closing, folders, serialization
from ke_t5.errors import Exit, UserError
from ke_t5.recipes.validator import Validator
from ke_t5.seals import MANIFEST, sealed

# Four steps an epoch, validations after steps 4 and 8.
WORDS = ("--task", "klue_tc", *SMALL, "--epochs", 2, "--schedule")
SPLIT = "validation_31_"
# Step 6 is the best overall, step 4 the best of the scheduled validations.
SCORES = {4: 50.0, 5: 20.0, 6: 90.0, 8: 30.0}


@pytest.fixture(scope="module", autouse=True)
def _chosen_scores():
    with pytest.MonkeyPatch.context() as patch:
        real = Validator.validate
        patch.setattr(
            Validator, "validate", lambda self, step: real(self, step) | {"score": SCORES[step]}
        )
        yield


@pytest.fixture(scope="module")
def expected(tmp_path_factory, cache_dir):
    """The output of an uninterrupted run."""
    output = tmp_path_factory.mktemp("whole")
    train(*WORDS, output=output, cache=cache_dir)
    return state_files(output)


@pytest.fixture(scope="module")
def stopped(tmp_path_factory, cache_dir):
    """A run that ended after step 6."""
    output = tmp_path_factory.mktemp("stopped")
    train(*WORDS, "--max_steps", 6, output=output, cache=cache_dir)
    return output


@pytest.fixture
def run(stopped, tmp_path):
    """A copy of that run, which may be changed."""
    shutil.copytree(stopped, tmp_path / "run")
    return tmp_path / "run"


def metrics(output):
    lines = (run_folder(output) / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def best_step(output):
    return json.loads((run_folder(output) / "weights" / "best.json").read_text())["step"]


def go_on(output, cache, *words):
    train(*WORDS, "--resume", "true", *words, output=output, cache=cache)


def test_the_last_validation_is_logged_and_can_be_the_best(stopped):
    logged = [line for line in metrics(stopped) if "scores" in line]
    assert [(line["step"], line.get("closing")) for line in logged] == [(4, None), (6, True)]
    assert best_step(stopped) == 6
    told = scores(stopped, SPLIT)
    assert told["weights"] == "step-00000006" and told["scores"] == logged[-1]["scores"]
    page = (run_folder(stopped) / "eval" / SPLIT / "report.html").read_text(encoding="utf-8")
    assert "step-00000006" in page


def test_a_test_takes_the_last_where_it_is_the_best(run, cache_dir):
    words = ("--task", "klue_tc", "--sample", "--batch_size", 16, "--resume", "best")
    test(*words, "--test_split", "validation[:31]", output=run, cache=cache_dir)
    assert scores(run, SPLIT)["weights"].endswith("step-00000006")
    assert scores(run, SPLIT)["scores"] == metrics(run)[-1]["scores"]


def test_a_run_that_goes_on_ends_with_the_bytes_of_an_uninterrupted_one(run, cache_dir, expected):
    go_on(run, cache_dir)
    assert state_files(run) == expected
    assert best_step(run) == 4 and not (run_folder(run) / "scheduled").exists()


def test_a_run_that_goes_on_from_its_best_ends_with_the_same_bytes(run, cache_dir, expected):
    train(*WORDS, "--resume", "best", output=run, cache=cache_dir)
    assert state_files(run) == expected


def test_a_run_that_is_taken_back_ends_with_the_same_bytes(run, cache_dir, expected):
    earlier = run_folder(run) / "weights" / "step-00000004"
    train(*WORDS, "--resume", earlier, output=run, cache=cache_dir)
    assert state_files(run) == expected


def test_a_run_that_is_stopped_twice_ends_with_the_same_bytes(tmp_path, cache_dir, expected):
    train(*WORDS, "--max_steps", 5, output=tmp_path, cache=cache_dir)
    assert best_step(tmp_path) == 4
    assert [x["step"] for x in metrics(tmp_path) if x.get("closing")] == [5]
    go_on(tmp_path, cache_dir, "--max_steps", 6)
    assert [x["step"] for x in metrics(tmp_path) if x.get("closing")] == [6]
    assert best_step(tmp_path) == 6
    go_on(tmp_path, cache_dir)
    assert state_files(tmp_path) == expected


def test_a_resumed_run_without_a_step_to_make_keeps_its_closing_validation(
    run, cache_dir, monkeypatch
):
    before = state_files(run)
    monkeypatch.setattr(Validator, "validate", None)  # it is not repeated
    go_on(run, cache_dir, "--max_steps", 6, "--hf_path", "default")
    assert state_files(run) == before
    value = metrics(run)[-1]["scores"]["accuracy"]
    assert f"| accuracy | {value:.2f} |" in (run_folder(run) / "hf" / "README.md").read_text()


# The logs of a killed run stay open.
UNCLOSED = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@UNCLOSED
@pytest.mark.parametrize(
    "place",
    [
        "ke_t5.files.os.rename", "ke_t5.recipes.results.write_json",
        "ke_t5.checkpoint.checkpointer.save_checkpoint",
        "ke_t5.checkpoint.checkpoints.write_pointer",
    ],
)  # fmt: skip
def test_a_kill_while_the_run_is_closed_does_no_harm(run, cache_dir, expected, monkeypatch, place):
    go_back_to_unvalidated(run)
    with monkeypatch.context() as patch:
        patch.setattr(place, killed)
        with pytest.raises(KeyboardInterrupt):
            go_on(run, cache_dir, "--max_steps", 6)
    go_on(run, cache_dir)
    assert state_files(run) == expected


@UNCLOSED
@pytest.mark.parametrize(
    "place", ["ke_t5.checkpoint.closing.write_pointer", "ke_t5.files.os.rename"]
)
def test_a_kill_while_the_run_is_taken_back_does_no_harm(
    run, cache_dir, expected, monkeypatch, place
):
    with monkeypatch.context() as patch:
        patch.setattr(place, killed)
        with pytest.raises(KeyboardInterrupt):
            go_on(run, cache_dir)
    go_on(run, cache_dir)
    assert state_files(run) == expected


def killed(*_, **__):
    raise KeyboardInterrupt


def go_back_to_unvalidated(output):
    """Restores the state before the closing validation, with a checkpoint of step 6."""
    folder = run_folder(output)
    closing.revert(folder)
    checkpoint = folder / "weights" / "step-00000006"
    contents = {path.name: path for path in checkpoint.iterdir() if path.name != MANIFEST}
    progress = serialization.decode(json.loads(contents["progress.json"].read_bytes()), {})
    written = serialization.encode({**progress, "closing": None}, "progress", {})
    seals = json.loads((checkpoint / MANIFEST).read_bytes())["files"]
    for path in (contents["progress.json"], checkpoint / MANIFEST):
        path.unlink()
    seals["progress.json"] = serialization.write_json(contents["progress.json"], written)
    content = sealed({"format": 1, "step": 6, "files": seals})
    serialization.write_json(checkpoint / MANIFEST, content)
    assert folders.find_fault(checkpoint) is None


def test_the_table_says_its_step_and_shows_the_best_beside_the_last(run, cache_dir, capfd):
    go_on(run, cache_dir)
    printed = capfd.readouterr().out
    assert "klue_tc validation[:31], step 8 (last) | best: step 4" in printed
    best = json.loads((run_folder(run) / "eval" / SPLIT / "scores.json").read_text())["scores"]
    assert f" | {best['accuracy']:8.3f}" in printed


@pytest.mark.parametrize(
    "content",
    ["{", "[]", '{"closing": 6}', '{"closing": 6, "best": 4, "evaluations": ["../weights"]}', None],
)
def test_what_was_set_aside_may_be_removed_if_it_is_damaged(run, cache_dir, expected, content):
    folder = run_folder(run) / "scheduled"
    if content is None:
        (folder / "scheduled.json").unlink()
    else:
        (folder / "scheduled.json").write_text(content)
    fix = f"scheduled.json: the file is damaged; remove {folder}: "
    with pytest.raises(UserError, match=fix) as caught:
        go_on(run, cache_dir)
    assert caught.value.exit_code == Exit.CHECKPOINT
    if content == "{":  # the same from here on
        shutil.rmtree(folder)
        go_on(run, cache_dir)
        assert state_files(run) == expected and best_step(run) == 4
