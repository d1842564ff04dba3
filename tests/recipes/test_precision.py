"""`fit.precision='auto'`: when a training on a CPU computes steps in bf16, and that a resumed run
keeps its precision."""

from __future__ import annotations

import dataclasses
import json
from types import SimpleNamespace

import pytest
import torch
from support.recipe_runs import SMALL, run_folder, state_files, train
from torch import nn

from ke_t5.distributed import Ranks
from ke_t5.errors import UserError
from ke_t5.recipes import precision, resume_check
from ke_t5.recipes.precision import choose_precision, has_bf16_instructions, is_wide
from ke_t5.recipes.resume_check import fixed_settings
from ke_t5.train.settings import FitSettings, get_fit_settings

TC = ("--task", "klue_tc", *SMALL, "--epochs", 1)
OFF = "--gin_param \"fit.precision='fp32'\" turns bf16 off"
IN_BF16 = f"steps in bf16 and validation in fp32 ({OFF})"
CPU = torch.device("cpu")
LARGE = nn.Linear(256, 256)


@pytest.fixture
def wide_models_and_bf16(monkeypatch):
    """A CPU that has bf16, and a sample whose models are wide enough for it."""
    monkeypatch.setattr(precision, "has_bf16_instructions", lambda: True)
    monkeypatch.setattr(precision, "WIDE", 16)


def given(value):
    return ("--gin_param", f"fit.precision='{value}'")


def told(capfd):
    return " ".join(capfd.readouterr().err.split())


def recorded_precision(output):
    folder = run_folder(output)
    text = (folder / "config.gin").read_text()
    found = json.loads((folder / "run.json").read_text())["precision"]
    assert f"\nfit.precision = '{found}'\n" in text
    return found


def test_steps_are_in_bf16_and_stay_so_on_a_cpu_without_it(
    wide_models_and_bf16, tmp_path, cache_dir, capfd, monkeypatch
):
    whole, cut, computed = tmp_path / "whole", tmp_path / "cut", set()
    hook = nn.modules.module.register_module_forward_pre_hook(
        lambda module, _: computed.add((module.training, torch.is_autocast_enabled("cpu")))
    )
    try:
        train(*TC, output=whole, cache=cache_dir)
    finally:
        hook.remove()
    assert computed == {(True, True), (False, False)}, "validation is in fp32"
    assert IN_BF16 in told(capfd)
    assert recorded_precision(whole) == "bf16_steps"
    train(*TC, "--max_steps", 2, output=cut, cache=cache_dir)
    resume = (*TC, "--resume", "true")
    with pytest.raises(UserError, match="fit.precision was 'bf16_steps' and is 'fp32' now"):
        train(*resume, *given("fp32"), output=cut, cache=cache_dir)
    monkeypatch.setattr(precision, "has_bf16_instructions", lambda: False)
    capfd.readouterr()
    train(*resume, output=cut, cache=cache_dir)
    said = told(capfd)
    assert IN_BF16 in said
    assert "fit.precision: 'bf16_steps' is slow here: the CPU has no instructions for it" in said
    assert state_files(cut) == state_files(whole)


def test_a_run_in_fp32_stays_so_on_a_cpu_with_bf16(
    wide_models_and_bf16, tmp_path, cache_dir, capfd, monkeypatch
):
    def of_earlier_version(*arguments, **named):
        return {**fixed_settings(*arguments, **named), "fit.precision": "auto"}

    with monkeypatch.context() as patch:
        patch.setattr(resume_check, "fixed_settings", of_earlier_version)
        train(*TC, *given("fp32"), "--max_steps", 1, output=tmp_path, cache=cache_dir)
    for num_steps in (2, 3):  # first from an earlier version
        train(*TC, "--resume", "true", "--max_steps", num_steps, output=tmp_path, cache=cache_dir)
    assert told(capfd).count("random order, in fp32, cpu") == 3
    assert recorded_precision(tmp_path) == "fp32"


@dataclasses.dataclass
class Config:
    """The parts of a run's configuration that are read."""

    fit: FitSettings
    is_sharded: bool
    origin = SimpleNamespace(is_resumed=False)


class Several(Ranks):
    """Two processes, of which the other one reports this."""

    other = True

    def gather(self, thing):
        return [thing, self.other]

    def broadcast(self, thing):
        return thing


@pytest.mark.parametrize(
    ("asked", "change", "expected"),
    [
        ("auto", {}, "bf16_steps"),
        ("auto", {"others_have": False}, "fp32"),
        ("auto", {"have": False}, "fp32"),
        ("auto", {"is_sharded": True}, "fp32"),
        ("auto", {"model": nn.Linear(255, 256)}, "fp32"),
        ("fp32", {}, "fp32"),
        ("bf16", {"have": False}, "bf16"),
    ],
)
def test_all_processes_pick_one_precision(monkeypatch, asked, change, expected):
    monkeypatch.setattr(precision, "has_bf16_instructions", lambda: change.get("have", True))
    monkeypatch.setattr(Several, "other", change.get("others_have", True))

    config = Config(get_fit_settings(precision=asked), change.get("is_sharded", False))
    found = choose_precision(config, change.get("model", LARGE), Several(0, 2, CPU, 1))
    assert found.fit.precision == expected


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([(256, 256)], True),
        ([(256, 255)], False),
        ([(256, 256), (256, 7), (8, 256)], True),
        ([(256, 256), (255, 255), (255, 255)], False),
        ([], False),
    ],
)
def test_a_model_is_wide_if_most_of_its_linear_layers_are(sizes, expected):
    layers = [nn.Linear(*size, device="meta") for size in sizes]
    assert is_wide(nn.Sequential(nn.Embedding(4, 512), *layers)) is expected


@pytest.mark.parametrize(
    ("known", "words", "expected"),
    [
        ({"avx512_bf16": True, "amx_bf16": False}, "", True),
        ({"amx_bf16": True}, "", True),
        ({"avx512_f": True}, "avx512_bf16", False),
        (None, "flags : fpu avx512_bf16 sse\n", True),
        (None, "flags : fpu amx_bf16\n", True),
        (None, "flags : fpu avx512_bf16x\n", False),
    ],
)
def test_torch_knows_the_cpu_or_the_system_does(monkeypatch, known, words, expected):
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
    if known is None:
        monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    else:
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: known, raising=False)
    monkeypatch.setattr(precision, "cpu_words", lambda: frozenset(words.split()))
    assert has_bf16_instructions() is expected
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert not has_bf16_instructions()
