"""The guard: non-finite values never reach the weights, and the first step is reported."""

from __future__ import annotations

import math

import pytest
import torch
from support.processes import run_script
from support.recipe_runs import run_folder

from ke_t5.errors import Exit, UserError
from ke_t5.train.guard import NonFiniteGuard

NAN = math.nan


# Every guard lets its optimizer skip updates, which torch's fused AdamW can do on a CPU, too.
AS_ON_A_GPU = """
import runpy
from ke_t5.train.guard import NonFiniteGuard

class Skipping(NonFiniteGuard):
    skips_on_device = property(lambda self: True, lambda self, value: None)

import ke_t5.train.loop
ke_t5.train.loop.NonFiniteGuard = Skipping
runpy.run_path("train_ddp.py", run_name="__main__")
"""


def updates(gradients: list[float], *, on_device: bool = True, **settings) -> tuple:
    """The optimizer after these gradients, and its guard; as on a GPU, but on a CPU."""
    parameter = torch.nn.Parameter(torch.arange(4.0))
    optimizer = torch.optim.AdamW([parameter], **{"lr": 0.1, "fused": True, **settings})
    guard = NonFiniteGuard(optimizer)
    guard.skips_on_device = on_device
    for step, value in enumerate(gradients, 1):
        parameter.grad = torch.full((4,), value)
        guard.watch(torch.isfinite(parameter.grad.sum()), f"step {step}")
        optimizer.step()
    return optimizer, guard


def flat(optimizer) -> torch.Tensor:
    """The weights, averages and number of updates."""
    (parameter,) = optimizer.param_groups[0]["params"]
    return torch.cat(
        [parameter.detach(), *map(torch.atleast_1d, optimizer.state[parameter].values())]
    )


@pytest.mark.parametrize("bad", [NAN, math.inf, -math.inf])
@pytest.mark.parametrize("amsgrad", [False, True])
def test_a_fused_optimizer_skips_the_update_as_if_it_had_not_been(bad, amsgrad):
    skipped, _ = updates([1.0, bad, 2.0, bad], amsgrad=amsgrad)
    plain, _ = updates([1.0, 2.0], amsgrad=amsgrad)
    assert torch.equal(flat(skipped), flat(plain))


def test_the_first_update_of_a_run_may_be_the_bad_one():
    skipped, _ = updates([NAN, 1.0])
    plain, _ = updates([1.0])
    assert torch.equal(flat(skipped), flat(plain))


def test_a_check_names_the_first_step_and_begins_anew():
    _, guard = updates([1.0, 2.0, NAN, 1.0, NAN])
    with pytest.raises(UserError, match="training at step 3: .* no weight was changed") as caught:
        guard.check()
    assert caught.value.exit_code == Exit.DIVERGED
    guard.check()


def test_nothing_waits_longer_than_a_hundred_steps():
    with pytest.raises(UserError, match="training at step 7:"):
        updates([1.0] * 6 + [NAN] + [1.0] * 93)
    updates([1.0] * 6 + [NAN] + [1.0] * 92)


def test_without_a_kernel_that_skips_the_run_ends_before_the_update():
    with pytest.raises(UserError, match="training at step 2:"):
        updates([1.0, NAN, 1.0], on_device=False)


@pytest.mark.parametrize(
    ("name", "settings", "skips"),
    [
        ("AdamW", {"fused": True}, True),
        ("Adam", {"fused": True}, True),
        ("AdamW", {"foreach": True}, False),
        ("SGD", {"fused": True}, False),  # its momentum would be initialized with the bad gradient
        ("Adagrad", {}, False),
    ],
)
def test_which_optimizers_skip_by_themselves_on_a_gpu(monkeypatch, name, settings, skips):
    parameter = torch.nn.Parameter(torch.zeros(2))
    optimizer = getattr(torch.optim, name)([parameter], lr=0.1, **settings)
    assert not NonFiniteGuard(optimizer).skips_on_device  # never on a CPU
    monkeypatch.setattr(torch.Tensor, "is_cuda", True)
    assert NonFiniteGuard(optimizer).skips_on_device is skips


def test_an_optimizer_that_was_saved_unfused_does_not_skip(monkeypatch):
    made = [torch.optim.AdamW([torch.nn.Parameter(torch.zeros(2))], fused=f) for f in (None, True)]
    monkeypatch.setattr(torch.Tensor, "is_cuda", True)
    guard = NonFiniteGuard(made[1])
    made[1].load_state_dict(made[0].state_dict())
    assert not guard.skips_on_device


@pytest.mark.parametrize("every", ["--print_freq", "--save_every"])
def test_nothing_is_told_or_kept_of_a_run_that_has_diverged(tmp_path, cache_dir, every):
    script = tmp_path / "as_on_a_gpu.py"
    script.write_text(AS_ON_A_GPU)
    done = run_script(
        script, "--task", "klue_tc", "--sample", "--batch_size", 16, "--train_split", "train[:96]",
        "--print_freq", 100, every, 3, "--learning_rate", 1e30, "--output_dir", tmp_path / "out",
        "--hf_cache_dir", cache_dir,
    )  # fmt: skip
    assert "training at step 2, lr 1e+30, rows" in done.stderr
    assert done.returncode == Exit.DIVERGED
    folder = run_folder(tmp_path / "out")
    assert (folder / "metrics.jsonl").read_text() == ""
    assert not list(folder.glob("weights/step-*"))


def poisoned(*, of: str) -> tuple[NonFiniteGuard, torch.nn.Module]:
    """A model after one update, with a non-finite value in it or in its optimizer."""
    model = torch.nn.BatchNorm1d(3)
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.randn(4, 3)).sum().backward()
    optimizer.step()
    average = optimizer.state[model.weight]["exp_avg"]
    place = {"weight": model.weight, "running_var": model.running_var, "exp_avg": average}
    if of != "nothing":
        with torch.no_grad():
            place[of][1] = NAN
    return NonFiniteGuard(optimizer), model


@pytest.mark.parametrize(
    ("of", "told"),
    [("weight", "weight"), ("running_var", "running_var"), ("exp_avg", "exp_avg of weight")],
)
def test_what_is_not_finite_is_not_saved(of, told):
    guard, model = poisoned(of=of)
    with pytest.raises(UserError, match=f"training at step 7: {told} is not finite") as caught:
        guard.check_state(model, 7)
    assert caught.value.exit_code == Exit.DIVERGED
    assert len(str(caught.value)) <= 200


def test_what_is_finite_is_saved():
    guard, model = poisoned(of="nothing")
    model.register_buffer("mask", torch.tensor([-math.inf, 0.0]))
    guard.check_state(model, 7)
    guard.check_state(torch.nn.Identity(), 7)


def test_every_rank_learns_of_a_loss_that_is_not_finite():
    """The gradient of `inf + x` is that of x, so that the other ranks would go on."""
    from ke_t5.distributed import Ranks
    from ke_t5.train.loop import TrainState, _backward
    from ke_t5.train.settings import get_fit_settings

    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(()))

        def forward(self, x):
            return {"loss": self.weight * x.float().mean() + math.inf}

    model, ranks = Model(), Ranks(0, 1, torch.device("cpu"), 1)
    state = TrainState(model, model, torch.optim.SGD(model.parameters()), lambda step: 1.0)
    inputs = {"x": torch.ones(2)}
    _backward(state, inputs, {}, 1.0, settings=get_fit_settings(), device=ranks.device)
    assert model.weight.grad is not None
    assert model.weight.grad.isnan()
