"""Checkpoints are restored bit for bit, and only into the kind of model they were saved from."""

from __future__ import annotations

import json
import math
import os

import pytest
import torch
from support.checkpoint_toys import (
    FILES,
    Toy,
    assert_same_bits,
    flip,
    make,
    names,
    reseal,
    save,
    train,
)
from torch import nn

from ke_t5.checkpoint import serialization
from ke_t5.checkpoint.checkpoints import load_checkpoint, read_progress, save_checkpoint
from ke_t5.checkpoint.folders import find_fault
from ke_t5.errors import Exit, UserError


def transformers_adafactor(parameters):
    from transformers.optimization import Adafactor

    return Adafactor(parameters, scale_parameter=True, relative_step=True, warmup_init=True)


def momentum_adafactor(parameters):
    from transformers.optimization import Adafactor

    return Adafactor(parameters, lr=1e-3, beta1=0.9, scale_parameter=False, relative_step=False)


OPTIMIZERS = {
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.1),
    "adamw_fused": lambda p: torch.optim.AdamW(p, lr=0.1, fused=True),
    "adamw_amsgrad": lambda p: torch.optim.AdamW(p, lr=0.1, amsgrad=True),
    "adam": lambda p: torch.optim.Adam(p, lr=0.1),
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1),
    "sgd_momentum": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
    "radam": lambda p: torch.optim.RAdam(p, lr=0.1),
    "nadam": lambda p: torch.optim.NAdam(p, lr=0.1),
    "adagrad": lambda p: torch.optim.Adagrad(p, lr=0.1),
    "adafactor_torch": lambda p: torch.optim.Adafactor(p, lr=0.1),
    "adafactor": transformers_adafactor,
    "adafactor_momentum": momentum_adafactor,
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizer_state_comes_back_bit_for_bit(tmp_path, name, dtype):
    model = Toy(dtype)
    optimizer = OPTIMIZERS[name](model.parameters())
    train(model, optimizer)
    path = save_checkpoint(
        tmp_path, model=model, optimizer=optimizer, progress={"step": 3}, is_best=False
    )

    other = Toy(dtype)
    other_optimizer = OPTIMIZERS[name](other.parameters())
    load_checkpoint(path, model=other, optimizer=other_optimizer)
    assert_same_bits(dict(model.state_dict()), dict(other.state_dict()))
    assert_same_bits(optimizer.state_dict(), other_optimizer.state_dict())

    train(model, optimizer)
    train(other, other_optimizer)
    assert_same_bits(dict(model.state_dict()), dict(other.state_dict()))


@pytest.mark.parametrize("dtype", serialization.DTYPES, ids=str)
def test_every_type_of_tensor_survives(tmp_path, dtype):
    tensors = {
        "matrix": torch.arange(6).reshape(2, 3).to(dtype),
        "scalar": torch.tensor(1).to(dtype),
        "empty": torch.zeros(0, 2).to(dtype),
        "transposed": torch.arange(6).reshape(2, 3).to(dtype).t(),
    }
    serialization.write_tensors(tmp_path / "t.safetensors", tensors)
    read = serialization.read_tensors(tmp_path / "t.safetensors")
    assert_same_bits({k: tensors[k] for k in sorted(tensors)}, {k: read[k] for k in sorted(read)})


@pytest.mark.parametrize("dtype", [torch.complex128, torch.complex32], ids=str)
@pytest.mark.filterwarnings("ignore:ComplexHalf support is experimental")
def test_a_type_that_safetensors_lacks_is_refused_before_anything_is_written(tmp_path, dtype):
    tensor = torch.zeros(2, dtype=dtype)
    message = f"filter is {dtype}, which safetensors cannot store"
    with pytest.raises(TypeError, match=message):
        serialization.write_tensors(tmp_path / "t.safetensors", {"filter": tensor})
    assert names(tmp_path) == []
    model, _ = make()
    serialization.check_types(model)
    model.register_buffer("filter", tensor, persistent=False)
    serialization.check_types(model)
    model.register_buffer("filter", tensor)
    with pytest.raises(UserError, match=f"Toy: {message}; use another type in the model"):
        serialization.check_types(model)


def test_non_finite_numbers_in_tensors_survive(tmp_path):
    tensor = torch.tensor([math.nan, math.inf, -math.inf, -0.0])
    serialization.write_tensors(tmp_path / "t.safetensors", {"t": tensor})
    assert_same_bits(tensor, serialization.read_tensors(tmp_path / "t.safetensors")["t"])


@pytest.mark.parametrize(
    "value",
    [
        {"best": math.nan, "low": -math.inf, "tenth": 0.1, "negative": -0.0},
        {0: (1, 2.5, None), (1, 2): ["가", True]},
        {"$tuple": [1], "nested": {"a": {"b": []}}},
        {"big": 2**70, "empty": {}, "flag": False},
    ],
)
def test_progress_survives(tmp_path, value):
    model, optimizer = make()
    progress = {"step": 7, "value": value}
    path = save_checkpoint(
        tmp_path, model=model, optimizer=optimizer, progress=progress, is_best=False
    )
    loaded = load_checkpoint(path, model=Toy())
    assert_same_bits(progress, loaded)
    assert_same_bits(progress, read_progress(path))


@pytest.mark.parametrize(
    ("value", "message"), [({1}, "is a set"), (torch.ones(1), "progress.value: a tensor")]
)
def test_progress_that_is_not_json_is_refused_before_anything_is_written(tmp_path, value, message):
    model, optimizer = make()
    progress = {"step": 1, "value": value}
    with pytest.raises(TypeError, match=message):
        save_checkpoint(
            tmp_path, model=model, optimizer=optimizer, progress=progress, is_best=False
        )
    assert names(tmp_path) == []


def test_equal_states_are_written_as_equal_bytes(tmp_path):
    one, other = save(tmp_path / "a", 5), save(tmp_path / "b", 5)
    for name in FILES:
        assert (one / name).read_bytes() == (other / name).read_bytes()


def test_other_programs_can_read_the_tensors(tmp_path):
    from safetensors.torch import load_file

    path = save(tmp_path, 1)
    assert_same_bits(
        load_file(path / "model.safetensors"),
        serialization.read_tensors(path / "model.safetensors"),
    )


def test_nothing_is_unpickled(tmp_path):
    path = save(tmp_path, 1)
    assert sorted(FILES) == names(path)
    for file in path.iterdir():
        assert b"PK\x03\x04" not in file.read_bytes()[:4] and file.suffix != ".pt"


def test_tied_weights_are_saved_once_and_stay_tied(tmp_path):
    path = save(tmp_path, 1)
    assert json.loads((path / "model.json").read_bytes()) == {
        "aliases": {"lm_head.weight": "shared.weight"}
    }
    assert "lm_head.weight" not in serialization.read_tensors(path / "model.safetensors")
    model = Toy()
    load_checkpoint(path, model=model)
    assert model.lm_head.weight is model.shared.weight


def test_weights_of_one_shape_stay_apart(tmp_path):
    model, optimizer = make(tie=False)
    path = save_checkpoint(
        tmp_path, model=model, optimizer=optimizer, progress={"step": 1}, is_best=False
    )
    other = Toy(tie=False)
    load_checkpoint(path, model=other)
    assert not torch.equal(other.lm_head.weight, other.shared.weight)
    assert_same_bits(dict(model.state_dict()), dict(other.state_dict()))
    with pytest.raises(
        UserError, match="lm_head.weight and shared.weight are separate in it, but tied"
    ):
        load_checkpoint(path, model=Toy())


def test_another_model_is_told_by_its_first_names(tmp_path):
    path = save(tmp_path, 1)
    with pytest.raises(UserError) as caught:
        load_checkpoint(path, model=nn.Linear(4, 3))
    assert caught.value.exit_code == Exit.CHECKPOINT
    assert "does not fit this Linear: missing keys weight, bias; unexpected keys counts" in str(
        caught.value
    )
    assert "and 3 more" in str(caught.value)


def test_another_shape_or_type_is_told(tmp_path):
    path = save(tmp_path, 1)
    model = Toy()
    model.linear = nn.Linear(4, 2)
    with pytest.raises(
        UserError, match=r"different linear.weight \(\(3, 4\) in it, \(2, 4\) in the"
    ):
        load_checkpoint(path, model=model)
    with pytest.raises(UserError, match="torch.float32 in it, torch.bfloat16 in the model"):
        load_checkpoint(path, model=Toy(torch.bfloat16))


def test_another_optimizer_is_told(tmp_path):
    path = save(tmp_path, 1)
    model = Toy()
    with pytest.raises(UserError, match="saved by AdamW, but this run uses SGD"):
        load_checkpoint(path, model=model, optimizer=torch.optim.SGD(model.parameters(), lr=1))
    groups = [{"params": [p]} for p in model.parameters()]
    with pytest.raises(UserError, match="different number of parameter groups"):
        load_checkpoint(path, model=model, optimizer=torch.optim.AdamW(groups))


def _save_again(weights, toy, optimizer):
    """The checkpoint of a step whose tensors are on the disk already, with other progress."""
    return save_checkpoint(
        weights, model=toy, optimizer=optimizer, progress={"step": 3, "validated": 3},
        is_best=True, has_tensors=True,
    )  # fmt: skip


@pytest.mark.parametrize("links", [True, False], ids=["linked", "the disk cannot link"])
def test_new_progress_needs_no_new_tensors(tmp_path, monkeypatch, links):
    toy, optimizer = make()
    train(toy, optimizer)
    path = save_checkpoint(
        tmp_path, model=toy, optimizer=optimizer, progress={"step": 3}, is_best=False
    )
    before = {file.name: (file.stat().st_ino, file.read_bytes()) for file in path.iterdir()}
    if not links:
        monkeypatch.setattr(os, "link", lambda *paths: os.stat("/does/not/exist"))
    assert _save_again(tmp_path, toy, optimizer) == path
    assert read_progress(path)["validated"] == 3 and find_fault(path) is None
    for name in ("model.safetensors", "optimizer.safetensors"):
        file = path / name
        assert file.read_bytes() == before[name][1]
        assert (file.stat().st_ino == before[name][0]) == links
    whole = save_checkpoint(
        tmp_path / "other", model=toy, optimizer=optimizer,
        progress={"step": 3, "validated": 3}, is_best=True,
    )  # fmt: skip
    manifests = [(folder / "MANIFEST.json").read_bytes() for folder in (path, whole)]
    assert manifests[0] == manifests[1]


def test_tensors_damaged_in_the_meantime_are_written_again(tmp_path):
    toy, optimizer = make()
    path = save_checkpoint(
        tmp_path, model=toy, optimizer=optimizer, progress={"step": 3}, is_best=False
    )
    file = path / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    _save_again(tmp_path, toy, optimizer)
    assert find_fault(path) is None


def test_a_checkpoint_with_the_hashes_of_before_is_read_and_saved_again(tmp_path):
    toy, optimizer = make()
    path = save_checkpoint(
        tmp_path, model=toy, optimizer=optimizer, progress={"step": 3}, is_best=False
    )
    reseal(path)  # with SHA-256
    assert find_fault(path) is None and load_checkpoint(path, model=toy)["step"] == 3
    _save_again(tmp_path, toy, optimizer)
    files = json.loads((path / "MANIFEST.json").read_bytes())["files"]
    assert "sha256" in files["model.safetensors"] and "xxh3_128" in files["progress.json"]
    flip(path / "model.safetensors")
    assert find_fault(path) == "model.safetensors is damaged (its SHA-256 differs)"
