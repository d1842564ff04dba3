"""`--lora` on a local model: checkpoints contain the trained weights, and name the base model."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file
from support.base_models import write_base
from support.recipe_runs import SMALL, run_folder, state_files, test, train
from transformers import AutoModelForMaskedLM

from ke_t5 import cli
from ke_t5.errors import UserError
from ke_t5.sample import sample_data_dir
from ke_t5.serving.loading import load_predictor

ROW = {"title": "유튜브 내달 2일까지 크리에이터 지원 공간 운영"}
LAST = "step-00000008"


@pytest.fixture(scope="module")
def base(tmp_path_factory, cache_dir):
    """A model with weights, which are the frozen weights of all runs here."""
    return write_base(tmp_path_factory.mktemp("models") / "base", cache_dir)


@pytest.fixture(scope="module")
def words(base, cache_dir):
    """The arguments that all commands here share."""
    data = ("--hf_data_dir", sample_data_dir(cache_dir), "--pre_trained_model", base)
    return ("--task", "klue_tc", *SMALL[1:], *data)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, words, cache_dir):
    """Two epochs of adapters, exported. Not to be changed."""
    output = tmp_path_factory.mktemp("lora")
    more = ("--lora", "--epochs", 2, "--hf_path", "default")
    train(*words, *more, output=output, cache=cache_dir)
    return output


def test_a_checkpoint_holds_what_is_trained_and_names_the_rest(finished, base):
    folder = run_folder(finished)
    kept = load_file(folder / "weights" / LAST / "model.safetensors")
    assert all(".lora_" in name or name.startswith(("classifier", "pooler")) for name in kept)
    optimizer = load_file(folder / "weights" / LAST / "optimizer.safetensors")
    assert len([name for name in optimizer if name.endswith(".exp_avg")]) == len(kept)
    about = json.loads((folder / "weights" / LAST / "model.json").read_text())
    assert len(about["base_sha256"]) == 64
    assert json.loads((folder / "model" / "lora.json").read_text())["base"] == str(base)
    sizes = [(x / "model.safetensors").stat().st_size for x in (folder / "weights" / LAST, base)]
    assert sizes[0] < 0.7 * sizes[1]  # the base is tiny; with a large one the ratio is far smaller


def test_a_run_that_goes_on_comes_to_the_same_bytes(finished, words, cache_dir, tmp_path):
    output = tmp_path / "run"
    train(*words, "--lora", "--epochs", 2, "--max_steps", 5, output=output, cache=cache_dir)
    # The run records that it has adapters: the flag need not be repeated.
    more = ("--epochs", 2, "--hf_path", "default", "--resume")
    train(*words, *more, output=output, cache=cache_dir)
    assert state_files(output) == state_files(finished)
    files = [run_folder(x) / "hf" / "model.safetensors" for x in (finished, output)]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_tests_predictions_and_exports_find_the_base(finished, words, cache_dir, tmp_path):
    folder = run_folder(finished)
    before = (folder / "eval" / "validation_31_" / "predictions.jsonl").read_bytes()
    output = shutil.copytree(finished, tmp_path / "run")
    tested = [*words]
    for flag in ("--train_split", "--valid_split", "--print_freq"):
        at = tested.index(flag)
        del tested[at : at + 2]
    tested += ["--test_split", "validation[:31]", "--resume", "best"]
    test(*tested, output=output, cache=cache_dir)
    again = run_folder(output) / "eval" / "validation_31_" / "predictions.jsonl"
    assert again.read_bytes() == before
    ours, merged = [next(load_predictor(x)([ROW])).content for x in (folder, folder / "hf")]
    assert ours["probabilities"] == pytest.approx(merged["probabilities"], abs=1e-5)
    for flag, name in (((), "merged"), (("--adapter",), "adapter")):
        cli._main(["export", "--run", str(folder), "--output", str(tmp_path / name), *flag])
    weights, exported = [load_file(x / "model.safetensors") for x in (tmp_path / "merged",
                                                                      folder / "hf")]  # fmt: skip
    assert all(torch.equal(weights[name], exported[name]) for name in exported)
    adapter = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    kept = load_file(folder / "weights" / LAST / "model.safetensors")
    assert len(adapter) == len(kept)


def test_another_base_is_refused(finished, base, words, cache_dir, tmp_path):
    other = shutil.copytree(base, tmp_path / "other")
    model = AutoModelForMaskedLM.from_pretrained(base)
    with torch.no_grad():
        next(model.parameters())[0, 0] += 1
    model.save_pretrained(other)
    run = run_folder(shutil.copytree(finished, tmp_path / "run"))
    changed = [other if word is base else word for word in words]
    with pytest.raises(UserError) as error:
        train(*changed, "--resume", run, "--epochs", 3, output=tmp_path / "run", cache=cache_dir)
    assert str(error.value) == (
        f"error: {run / 'weights' / LAST}: its adapters were trained on other weights; "
        "give the model that the run began with, unchanged, by --pre_trained_model"
    )


def test_a_base_that_has_moved_is_found_by_the_flag(finished, base, words, cache_dir, tmp_path):
    run = run_folder(shutil.copytree(finished, tmp_path / "run"))
    moved = shutil.copytree(base, tmp_path / "moved")
    lora = json.loads((run / "model" / "lora.json").read_text())
    gone = tmp_path / "gone"
    (run / "model" / "lora.json").write_text(json.dumps({**lora, "base": str(gone)}))
    (run / "model" / "MANIFEST.json").unlink()
    facts = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**facts, "sealed": False}))
    with pytest.raises(UserError) as error:
        load_predictor(run)
    assert str(error.value) == (
        f"error: {run / 'model' / 'lora.json'}: base {str(gone)!r}: there is no such folder; check "
        "the path"
    )
    changed = [moved if word is base else word for word in words]
    train(*changed, "--resume", run, "--epochs", 2, output=tmp_path / "run", cache=cache_dir)
    assert state_files(tmp_path / "run") == state_files(finished)
