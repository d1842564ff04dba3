"""`--lora` from training to export: resumed bit for bit, tested, merged, or as an adapter."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from support.recipe_runs import SMALL, run_folder, state_files, test, train

from ke_t5 import cli
from ke_t5.errors import UserError
from ke_t5.models.models import T5EncoderForSequenceClassificationMean
from ke_t5.serving.loading import load_predictor

WORDS = ("--task", "klue_tc", *SMALL, "--epochs", 2)
ROW = {"title": "유튜브 내달 2일까지 크리에이터 지원 공간 운영"}


@pytest.fixture(scope="module")
def finished(tmp_path_factory, cache_dir):
    """Two epochs of adapters, exported. Not to be changed."""
    output = tmp_path_factory.mktemp("lora")
    train(*WORDS, "--lora", "--hf_path", "default", output=output, cache=cache_dir)
    return output


@pytest.fixture(scope="module")
def stopped(tmp_path_factory, cache_dir):
    """The same run, stopped after five of its eight updates."""
    output = tmp_path_factory.mktemp("stopped")
    train(*WORDS, "--lora", "--max_steps", 5, output=output, cache=cache_dir)
    return output


def test_a_resumed_run_comes_to_the_same_bytes(finished, stopped, cache_dir, tmp_path, capsys):
    output = shutil.copytree(stopped, tmp_path / "run")
    # The run records that it has adapters: the flag need not be repeated.
    train(*WORDS, "--resume", output=output, cache=cache_dir)
    assert state_files(output) == state_files(finished)


def test_other_adapters_are_refused_on_resuming(stopped, cache_dir, run):
    with pytest.raises(UserError) as error:
        words = ("--resume", "--gin_param", "lora.rank=4")
        train(*WORDS, *words, output=stopped, cache=cache_dir)
    assert str(error.value) == (
        f"error: {run_folder(stopped)}: was started with different adapters; resume with the lora "
        "settings of the run, or start a new one without --resume"
    )
    with pytest.raises(UserError, match="was started with no adapters; resume with the lora"):
        train(*WORDS, "--resume", "--lora", output=run, cache=cache_dir)


def test_from_scratch_there_is_nothing_to_adapt(cache_dir, tmp_path):
    with pytest.raises(UserError) as error:
        train("--lora", "--from_scratch", output=tmp_path, cache=cache_dir)
    assert str(error.value) == (
        "error: --lora and --from_scratch: adapters change a pre-trained model, and there is none; "
        "drop one of the two"
    )


def test_what_a_run_with_adapters_is_for(finished, cache_dir, tmp_path, capsys):
    folder = run_folder(finished)
    before = (folder / "eval" / "validation_31_" / "predictions.jsonl").read_bytes()
    output = shutil.copytree(finished, tmp_path / "run")
    words = ("--task", "klue_tc", "--sample", "--batch_size", 16, "--resume", "best")
    test(*words, "--test_split", "validation[:31]", output=output, cache=cache_dir)
    again = run_folder(output) / "eval" / "validation_31_" / "predictions.jsonl"
    assert again.read_bytes() == before
    fixed = json.loads((folder / "weights" / "step-00000008" / "progress.json").read_text())
    assert fixed["fixed"]["lora"]["rank"] == 8
    ours, merged = [next(load_predictor(x)([ROW])).content for x in (folder, folder / "hf")]
    assert ours["probabilities"] == pytest.approx(merged["probabilities"], abs=1e-5)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # peft's own
def test_exports_merged_or_as_an_adapter(finished, tmp_path):
    folder = run_folder(finished)
    merged, adapter = tmp_path / "merged", tmp_path / "adapter"
    cli._main(["export", "--run", str(folder), "--output", str(merged)])
    cli._main(["export", "--run", str(folder), "--output", str(adapter), "--adapter"])
    weights = load_file(merged / "model.safetensors")
    assert not [name for name in weights if "lora" in name]
    of_training = load_file(folder / "hf" / "model.safetensors")
    assert weights.keys() == of_training.keys()
    assert all(torch.equal(weights[name], of_training[name]) for name in weights)
    model = T5EncoderForSequenceClassificationMean.from_pretrained(merged)
    # The frozen weights of the run, with the head and the adapters from its folder.
    best = load_file(folder / "weights" / "step-00000008" / "model.safetensors")
    base = T5EncoderForSequenceClassificationMean(model.config)
    plain = {n.replace(".base_layer.", "."): x for n, x in best.items() if ".lora_" not in n}
    base.load_state_dict(plain, strict=False)
    base.tie_weights()
    read = PeftModel.from_pretrained(base, adapter).eval()
    ids = torch.tensor([[5, 6, 7, 8, 9]])
    with torch.no_grad():
        assert torch.allclose(read(input_ids=ids).logits, model(input_ids=ids).logits, atol=1e-5)
    with pytest.raises(UserError, match="it is an adapter .adapter_config.json., not a model"):
        load_predictor(adapter)


def test_export_refuses_what_does_not_go_together(finished, finished_run, tmp_path):
    with pytest.raises(UserError) as error:
        words = ["--run", str(run_folder(finished)), "--adapter", "--onnx"]
        cli._main(["export", *words, "--output", str(tmp_path / "a")])
    assert str(error.value) == (
        "error: --adapter and --onnx: adapters cannot be exported in other formats; "
        "give one of them"
    )
    line = r"--run \S+: it was not trained with --lora; drop --adapter"
    with pytest.raises(UserError, match=line):
        words = ["--run", str(run_folder(finished_run)), "--adapter"]
        cli._main(["export", *words, "--output", str(tmp_path / "b")])
