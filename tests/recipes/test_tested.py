"""A test never overwrites results of other weights, another task or another split."""

from __future__ import annotations

import json
import shutil
from types import SimpleNamespace

import pytest
from support.recipe_runs import SMALL, run_folder, test, train

from ke_t5.config.flags import parse_test
from ke_t5.errors import Exit, UserError
from ke_t5.lookup.task_record import TaskRecord
from ke_t5.recipes.export_target import check_target
from ke_t5.recipes.folders import RunFolder
from ke_t5.recipes.submissions import keep_older
from ke_t5.recipes.tested import Weights
from ke_t5.recipes.validator import Validator

TC = ("--task", "klue_tc", *SMALL)
TEST = ("--task", "klue_tc", "--sample", "--batch_size", 16)
SPLIT = ("--test_split", "validation[:31]")


@pytest.fixture(scope="module")
def whole(tmp_path_factory, cache_dir):
    """A run whose first validation (step 4) is its best and whose last checkpoint is step 8."""
    output = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        real = Validator.validate
        patch.setattr(Validator, "validate", lambda self, step: real(self, step) | {"score": -step})
        train(*TC, "--epochs", 2, "--hf_path", "default", output=output, cache=cache_dir)
    return output


@pytest.fixture
def run(whole, tmp_path):
    """A copy of that run, which may be changed."""
    shutil.copytree(whole, tmp_path / "run")
    return tmp_path / "run"


def evaluations(output):
    return {path.name for path in (run_folder(output) / "eval").iterdir()}


def contents(output):
    files = (run_folder(output) / "eval").rglob("*")
    return {str(file): file.read_bytes() for file in files if file.is_file()}


def read(output, name):
    return json.loads((run_folder(output) / "eval" / name / "scores.json").read_text())


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (("--resume", "true"), "klue_tc__validation_31___step-00000008"),
        (("--hf_path", "default"), "klue_tc__validation_31___hf"),
        (("--from_scratch",), "klue_tc__validation_31___from_scratch_seed_42"),
        (("--resume", "best", "--test_split", "validation[31:40]"), "validation_31_40_"),
    ],
)
def test_other_weights_and_splits_get_folders_of_their_own(run, cache_dir, words, name):
    before = contents(run)
    split = () if "--test_split" in words else SPLIT
    test(*TEST, *split, *words, output=run, cache=cache_dir)
    assert evaluations(run) == {"validation_31_", name}
    assert contents(run).items() >= before.items()


@pytest.mark.parametrize("pointer", ["best", "last"])
def test_a_damaged_pointer_does_not_matter_to_a_test_that_does_without(
    run, cache_dir, pointer, capfd
):
    weights = run_folder(run) / "weights"
    (weights / "best.json").unlink()
    (weights / f"{pointer}.json").write_text("[]")
    before = contents(run)
    test(*TEST, *SPLIT, "--resume", "step-00000008", output=run, cache=cache_dir)
    test(*TEST, *SPLIT, "--resume", "auto", output=run, cache=cache_dir)
    told = " ".join(capfd.readouterr().err.split())
    assert told.count(f"{pointer}.json: the file is damaged; the results get their own folder") == 2
    assert evaluations(run) == {"validation_31_", "klue_tc__validation_31___step-00000008"}
    assert contents(run).items() >= before.items()


def test_the_best_of_the_run_is_where_training_writes_it(run, cache_dir):
    before = read(run, "validation_31_")
    test(*TEST, *SPLIT, "--resume", "best", output=run, cache=cache_dir)
    assert evaluations(run) == {"validation_31_"}
    assert read(run, "validation_31_") == before


def test_a_test_without_weights_takes_the_trained_run(run, cache_dir, capfd):
    test(*TEST, *SPLIT, output=run, cache=cache_dir)
    told = capfd.readouterr().err
    assert "testing the trained run in" in told and "(--resume best)" in told
    assert read(run, "validation_31_")["weights"] == "step-00000004"


def test_a_test_of_random_weights_must_be_asked_for(tmp_path, cache_dir):
    with pytest.raises(UserError, match="no trained run in .*add --from_scratch") as caught:
        test(*TEST, *SPLIT, output=tmp_path, cache=cache_dir)
    assert caught.value.exit_code == Exit.CHECKPOINT
    assert not list(tmp_path.rglob("scores.json"))


@pytest.mark.parametrize("other", [("--resume", "best"), ("--hf_path", "default")])
def test_random_weights_and_named_ones_are_a_contradiction(other):
    with pytest.raises(UserError, match="--from_scratch and --.*both say which weights"):
        parse_test(["--from_scratch", *other])


def test_slices_whose_names_are_made_equal_have_two_folders(run, cache_dir):
    for split in ("validation[:9]", "validation[9:]"):
        words = (*TEST, "--resume", "best", "--test_split", split, "--pass_only_model_io")
        test(*words, output=run, cache=cache_dir)
    found = {read(run, name)["split"] for name in evaluations(run)}
    assert found == {"validation[:31]", "validation[:9]", "validation[9:]"}


def test_results_of_an_earlier_best_are_moved_aside(run, cache_dir, capfd):
    words = (*TEST, "--resume", "best", "--test_split", "validation[:5]")
    test(*words, output=run, cache=cache_dir)
    earlier = read(run, "validation_5_")
    pointer = run_folder(run) / "weights" / "best.json"
    pointer.write_text(pointer.read_text().replace("00000004", "00000008").replace(": 4", ": 8"))
    pointer.write_bytes(pointer.read_bytes().replace(b":4", b":8"))
    test(*words, output=run, cache=cache_dir)
    assert read(run, "validation_5_")["weights"] == "step-00000008"
    assert read(run, "klue_tc__validation_5___step-00000004") == earlier
    assert "held results of step-00000004: moved to" in capfd.readouterr().err


def test_a_model_of_other_labels_is_refused(run, cache_dir):
    before = contents(run)
    with pytest.raises(UserError, match="trained on klue_tc and predicts .*use --task") as caught:
        test(
            "--task", "klue_nli", "--sample", "--resume", run_folder(run), output=run,
            cache=cache_dir,
        )  # fmt: skip
    assert caught.value.exit_code == Exit.CHECKPOINT and contents(run) == before


def test_a_model_of_another_task_with_equal_labels_is_reported(tmp_path, cache_dir, capfd):
    words = ("--sample", "--batch_size", 16, "--print_freq", 3)
    train(
        "--task", "klue_nli", *words, "--max_steps", 1, "--train_split", "train[:16]",
        "--valid_split", "validation[:8]", output=tmp_path, cache=cache_dir,
    )  # fmt: skip
    run, before = run_folder(tmp_path), contents(tmp_path)
    test(
        "--task", "kornli", *words[:3], "--resume", run, "--test_split", "validation[:6]",
        output=tmp_path, cache=cache_dir,
    )  # fmt: skip
    assert "a model of klue_nli is tested on kornli" in capfd.readouterr().err
    assert contents(tmp_path).items() >= before.items()
    told = read(tmp_path, "kornli__validation_6___step-00000001")
    assert (told["task"], told["trained_on"]) == ("kornli", "klue_nli")


@pytest.mark.parametrize(
    ("card", "recorded", "task", "message"),
    [
        (None, None, "klue_tc", "not exported by ke_t5"),
        ("# Somebody's model", None, "klue_tc", "not exported by ke_t5"),
        ("# A model for klue_tc_gen, with ke_t5", None, "klue_tc", "a task other than klue_tc"),
        ("# A model for klue_tc, with ke_t5", None, "klue_tc", None),
        ("text-classification with ke_t5", "klue_tc", "classification", "a task other than class"),
        (None, "klue_tc", "klue_tc", None),
    ],
)
def test_an_export_replaces_only_an_older_one_of_its_task(tmp_path, card, recorded, task, message):
    folder = tmp_path / "hf"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    if card is not None:
        (folder / "README.md").write_text(card)
    if recorded is not None:
        TaskRecord(recorded, "sequence_classification", "module:Class", {}).write(folder)
    config = SimpleNamespace(
        run=RunFolder(tmp_path / "run"), task=SimpleNamespace(name=task),
        model=SimpleNamespace(pre_trained_model="elsewhere"),
    )  # fmt: skip
    if message is None:
        check_target(config, folder)
    else:
        with pytest.raises(UserError, match=f"--hf_path .*{message}"):
            check_target(config, folder)
    config.model.pre_trained_model = str(folder)
    with pytest.raises(UserError, match="the run starts from this model"):
        check_target(config, folder)


def test_weights_in_a_folder_are_told_apart_by_their_bytes(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"one")
    one = Weights("hf", tmp_path).sha256()
    (tmp_path / "model.safetensors").write_bytes(b"two")
    assert one != Weights("hf", tmp_path).sha256() is not None


def test_an_older_submission_is_kept(tmp_path, caplog):
    path = tmp_path / "out.json"
    for content in ("one", "two"):
        keep_older(path)
        path.write_text(content)
    assert (tmp_path / "out.json.1").read_text() == "one"
    assert "renamed to out.json.1" in caplog.text
