"""Our Adafactor, which updates parameters of one shape together, against transformers'."""

from __future__ import annotations

import copy

import pytest
import torch
from transformers.optimization import Adafactor as OneByOne

from ke_t5.train.adafactor import Adafactor
from ke_t5.train.guard import NonFiniteGuard

SHAPES = [(4, 3), (4, 3), (3, 4), (5,), (5,), (), (2, 3, 4), (4, 3)]
FIXED = {"lr": 1e-2, "relative_step": False, "scale_parameter": False}
SETTINGS = [
    FIXED,
    {"relative_step": True, "scale_parameter": True, "warmup_init": True},
    {**FIXED, "beta1": 0.9, "weight_decay": 0.1, "clip_threshold": 0.5},
    {**FIXED, "scale_parameter": True, "eps": (1e-20, 1e-2)},
]


def parameters():
    generator = torch.Generator().manual_seed(0)
    return [torch.nn.Parameter(torch.randn(shape, generator=generator)) for shape in SHAPES]


def train(optimizer, num_steps=4, seed=0):
    """Updates with random gradients; the last parameter gets none before the third."""
    generator = torch.Generator().manual_seed(seed)
    weights = [one for group in optimizer.param_groups for one in group["params"]]
    for step in range(num_steps):
        for weight in weights:
            grad = torch.randn(weight.shape, generator=generator)
            weight.grad = None if weight is weights[-1] and step < 2 else grad
        optimizer.step()
    return weights


@pytest.fixture
def together(monkeypatch):
    monkeypatch.setattr(Adafactor, "is_fused", True)


@pytest.mark.parametrize("settings", SETTINGS)
def test_together_they_get_what_each_gets_alone(settings, together, monkeypatch):
    for most in (1 << 26, 20):
        monkeypatch.setattr("ke_t5.train.adafactor.MOST_ELEMENTS", most)
        ours, theirs = Adafactor(parameters(), **settings), OneByOne(parameters(), **settings)
        for one, other in zip(train(ours), train(theirs), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-7)
            state, expected = ours.state[one], theirs.state[other]
            assert state.keys() == expected.keys() and state["step"] == expected["step"]
            for name in state:
                torch.testing.assert_close(
                    torch.as_tensor(state[name]), torch.as_tensor(expected[name])
                )


@pytest.mark.parametrize("settings", SETTINGS)
def test_on_a_cpu_it_is_that_of_transformers(settings):
    ours, theirs = (kind(parameters(), **settings) for kind in (Adafactor, OneByOne))
    assert type(ours).__name__ == type(theirs).__name__  # a checkpoint names the class
    assert all(map(torch.equal, train(ours), train(theirs)))


def test_each_goes_on_with_the_state_of_the_other(together):
    for kinds in ((OneByOne, Adafactor), (Adafactor, OneByOne)):
        first, second = (kind(parameters(), **SETTINGS[1]) for kind in kinds)
        weights = train(first)
        second.load_state_dict(copy.deepcopy(first.state_dict()))
        for one, other in zip(second.param_groups[0]["params"], weights, strict=True):
            one.data.copy_(other.data)
        for one, other in zip(train(second, seed=1), train(first, seed=1), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-7)


def test_an_update_that_is_not_finite_changes_nothing_and_nothing_waits(together, monkeypatch):
    ours, theirs = Adafactor(parameters(), **SETTINGS[2]), Adafactor(parameters(), **SETTINGS[2])
    guard = NonFiniteGuard(ours)
    assert guard.skips_on_device
    for optimizer in (ours, theirs):
        train(optimizer, num_steps=3)
    weights = ours.param_groups[0]["params"]
    with monkeypatch.context() as patch:
        for name in ("__bool__", "tolist", "item"):
            patch.setattr(torch.Tensor, name, None)
        guard.watch(torch.tensor(False), "here")
        for weight in weights:
            weight.grad = torch.full_like(weight, torch.nan)
        ours.step()
    for one, other in zip(weights, theirs.param_groups[0]["params"], strict=True):
        assert torch.equal(one, other)
        for name, value in ours.state[one].items():
            assert name == "step" or torch.equal(value, theirs.state[other][name])
    vars(ours)["found_inf"] = torch.tensor(0.0)
    train(ours, num_steps=1)
    assert not torch.equal(weights[0], theirs.param_groups[0]["params"][0])
