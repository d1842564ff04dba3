"""The model class belongs to a run or an export: a different one is never used silently."""

from __future__ import annotations

import json
import shutil

import pytest
from support.recipe_runs import SMALL, run_folder, test, train

from ke_t5.errors import UserError
from ke_t5.seals import MANIFEST, seal_folder

SIMPLE = "T5EncoderForSequenceClassificationSimple"
MEAN = "T5EncoderForSequenceClassificationMean"
LINE = f"--model_name loads weights of {SIMPLE} as {MEAN}, so the scores are not those of"
TC = ("--task", "klue_tc", *SMALL)
TEST = ("--task", "klue_tc", "--sample", "--batch_size", 16, "--test_split", "validation[:31]")


@pytest.fixture(scope="module")
def simple(tmp_path_factory, cache_dir):
    """A run of a class other than the default, and its export."""
    output = tmp_path_factory.mktemp("simple")
    words = ("--model_name", SIMPLE, "--epochs", 1, "--hf_path", output / "hf")
    train(*TC, *words, output=output, cache=cache_dir)
    return output


@pytest.fixture
def copy(simple, tmp_path):
    """A copy of that run, which may be changed."""
    shutil.copytree(simple, tmp_path / "copy")
    return tmp_path / "copy"


def scores_of(folder):
    (path,) = folder.glob("*/*/eval/*/scores.json")
    return json.loads(path.read_text())


def test_the_export_says_which_class_reads_it(simple, tmp_path, cache_dir, capfd):
    test(*TEST, "--hf_path", simple / "hf", output=tmp_path, cache=cache_dir)
    assert "--model_name loads" not in capfd.readouterr().err
    (folder,) = tmp_path.iterdir()
    assert folder.name.startswith(SIMPLE)


def test_the_run_says_which_class_reads_its_checkpoint(copy, cache_dir, capfd):
    before = {path.name for path in (run_folder(copy) / "eval").iterdir()}
    checkpoint = run_folder(copy) / "weights" / "step-00000004"
    test(*TEST, "--resume", checkpoint, output=copy, cache=cache_dir)
    assert "--model_name loads" not in capfd.readouterr().err
    assert {path.name for path in (run_folder(copy) / "eval").iterdir()} == before


def test_another_class_is_refused_unless_it_is_named(copy, cache_dir, capfd):
    folder = run_folder(copy)
    content = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({**content, "model_name": MEAN}))
    checkpoint = folder / "weights" / "step-00000004"
    words = (*TEST, "--resume", checkpoint)
    message = f"{checkpoint}: its weights were saved by {SIMPLE}, not by {MEAN}; add --model_name"
    with pytest.raises(UserError, match=message):
        test(*words, output=copy, cache=cache_dir)
    test(*words, "--model_name", MEAN, output=copy, cache=cache_dir)
    assert LINE in capfd.readouterr().err
    names = sorted(path.name for path in (folder / "eval").iterdir())
    assert names[0].endswith(MEAN) and names[1:] == ["validation_31_"]


def test_an_export_is_read_as_another_class_only_with_a_line(simple, tmp_path, cache_dir, capfd):
    words = (*TEST, "--hf_path", simple / "hf", "--model_name", MEAN)
    test(*words, output=tmp_path, cache=cache_dir)
    assert LINE in capfd.readouterr().err


def test_an_export_of_a_class_of_somebody_is_not_guessed(copy, tmp_path, cache_dir):
    config = json.loads((copy / "hf" / "config.json").read_text())
    (copy / "hf" / "config.json").write_text(json.dumps({**config, "architectures": ["Net"]}))
    seal_folder(copy / "hf", model_class="my_models:Net")
    with pytest.raises(UserError, match="were saved by my_models:Net, .* --model_name my_models"):
        test(*TEST, "--hf_path", copy / "hf", output=tmp_path, cache=cache_dir)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda names: {k: f"{v}!" for k, v in names.items()}, "its head has the labels .*!"),
        (lambda names: dict(list(names.items())[:-1]), "its head has the labels"),
        (lambda names: {**names, "7": "x"}, "its head has the labels .* and 4 more, the task"),
        (lambda names: {"a": "x"}, "its config.json cannot be read"),
    ],
)
@pytest.mark.parametrize("is_old", [False, True], ids=["sealed", "without a manifest"])
def test_other_labels_are_an_error(copy, tmp_path, cache_dir, change, message, is_old):
    folder = copy / "hf"
    config = json.loads((folder / "config.json").read_text())
    config["id2label"] = change(config["id2label"])
    (folder / "config.json").write_text(json.dumps(config))
    seal_folder(folder, model_class=f"ke_t5.models.models:{SIMPLE}")
    if is_old:
        (folder / MANIFEST).unlink()
        (folder / "README.md").unlink()
    with pytest.raises(UserError, match=f"--hf_path .*hf: {message}"):
        test(*TEST, "--hf_path", folder, output=tmp_path, cache=cache_dir)
