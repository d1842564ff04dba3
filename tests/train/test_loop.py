"""The loop: the same loss for any number of processes, resumable, and never a non-finite weight."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from support.processes import run_on_ranks
from support.toy_model import toy_model
from support.training import examples_in, flat, one_rank, train

from ke_t5 import heartbeat, shared_memory
from ke_t5.errors import Exit, UserError
from ke_t5.pipe import get_batches
from ke_t5.pipe.batches import micro_batches
from ke_t5.pipe.losses import loss_counts
from ke_t5.train import loop
from ke_t5.train.loop import TrainState, _batches_from, count_steps, fit
from ke_t5.train.settings import get_fit_settings


def _weights_and_losses(ranks, path, runs):
    """The result of each run; many runs share a launch, which takes seconds."""
    torch.set_num_threads(1)
    found = []
    for settings in runs:
        state, losses = train(ranks, path, **settings)
        found.append((flat(state.module).tolist(), losses))
    return found


def _weights_in_float32(ranks, path, folder):
    shared_memory.FOLDER = folder
    model = toy_model(spare=True).float()
    run = {"batch_size": 4, "num_steps": 20, "accumulate": 2, "model": model}
    return _weights_and_losses(ranks, path, [run])


@pytest.mark.parametrize(("num_ranks", "parts"), [(1, [2, 8]), (2, [1, 2]), (4, [1])])
def test_weights_do_not_depend_on_processes_or_accumulation(tmp_path, num_ranks, parts):
    runs = [
        {
            "batch_size": 8 // num_ranks // accumulate,
            "num_steps": 50,
            "accumulate": accumulate,
            "per_token": per_token,
        }
        for accumulate in parts
        for per_token in (False, True)
    ]
    expected = [
        train(one_rank(), tmp_path, batch_size=8, num_steps=50, per_token=run["per_token"])
        for run in runs
    ]
    if num_ranks == 1:
        by_rank = [_weights_and_losses(one_rank(), tmp_path, runs)]
    else:
        by_rank = run_on_ranks(_weights_and_losses, num_ranks, tmp_path, runs)
    for found in by_rank:
        for (weights, losses), (whole, same_losses) in zip(found, expected, strict=True):
            assert np.allclose(weights, flat(whole.module).tolist(), rtol=0, atol=1e-9)
            assert np.allclose(losses, same_losses, rtol=0, atol=1e-6)


def test_weights_do_not_depend_on_the_exchange(tmp_path):
    """By DistributedDataParallel, and in shared memory."""
    wrapped, shared = (
        run_on_ranks(_weights_in_float32, 2, tmp_path, folder)
        for folder in (tmp_path / "missing", tmp_path)
    )
    assert wrapped == shared and wrapped[0] == wrapped[1]


def test_an_unused_parameter_does_not_stop_several_processes(tmp_path):
    """Nor do the processes diverge with gradients in bf16."""
    run = {"batch_size": 4, "num_steps": 4, "spare": True}
    found = run_on_ranks(_weights_and_losses, 2, tmp_path, [run, {**run, "compresses": True}])
    assert found[0] == found[1]
    (exact, _), (rounded, _) = found[0]
    assert exact != rounded and np.allclose(exact, rounded, atol=0.01)


@pytest.mark.parametrize("stop", [1, 3, 5, 7])
def test_a_resumed_loop_ends_with_the_same_bits_dropout_on(tmp_path, stop):
    whole, _ = train(one_rank(), tmp_path, batch_size=8, num_steps=9, dropout=0.3)
    half, _ = train(one_rank(), tmp_path, batch_size=8, num_steps=stop, dropout=0.3)
    rest, _ = train(one_rank(), tmp_path, batch_size=8, num_steps=9, dropout=0.3, start=half)
    assert torch.equal(flat(rest.module), flat(whole.module))


def test_rows_are_dealt_by_their_tokens(monkeypatch, tmp_path):
    seen = []

    def dealt(batch, lengths, **options):
        seen.append((batch, lengths))
        return micro_batches(batch, lengths, **options)

    monkeypatch.setattr(loop, "micro_batches", dealt)
    train(one_rank(), tmp_path, batch_size=8, num_steps=3)
    expected = examples_in(tmp_path).lengths("input_ids")
    assert len(seen) == 3
    for batch, lengths in seen:
        assert lengths.tolist() == expected[batch].tolist()


def test_dropout_differs_from_step_to_step(tmp_path):
    one, _ = train(one_rank(), tmp_path, batch_size=23, num_steps=2, dropout=0.5)
    other, _ = train(one_rank(), tmp_path, batch_size=23, num_steps=2, dropout=0.5, seed=6)
    assert not torch.equal(flat(one.module), flat(other.module))


def test_loading_ahead_changes_nothing(tmp_path):
    plain, losses = train(one_rank(), tmp_path, batch_size=4, num_steps=8)
    ahead, same = train(one_rank(), tmp_path, batch_size=4, num_steps=8, workers=2)
    assert losses == same and torch.equal(flat(plain.module), flat(ahead.module))


def test_steps_are_counted_over_all_epochs(tmp_path):
    plan = get_batches(np.full(23, 4), batch_size=8, num_parts=1, seed=0)
    assert count_steps(plan, 2) == 6
    tokens = get_batches(np.full(23, 4), batch_size=8, num_parts=1, seed=0, batch_tokens=40)
    assert count_steps(tokens, 2) == 6


def test_going_on_costs_no_epoch_that_is_over(monkeypatch):
    """A resumed run needs one integer, and no order of an earlier epoch."""
    plan = get_batches(np.full(23, 4), batch_size=8, num_parts=1, seed=0)
    expected = [(1, False), (1, True), (2, False)]
    made, real = [], type(plan).epoch
    monkeypatch.setattr(type(plan), "epoch", lambda self, e: made.append(e) or real(self, e))
    batches = list(_batches_from(plan, 4, 7))
    assert [(epoch, is_last) for epoch, is_last, _ in batches] == expected
    assert made == [1, 2]
    order = [*plan.epoch(0), *plan.epoch(1), *plan.epoch(2)]
    assert [batch.tolist() for _, _, batch in batches] == [b.tolist() for b in order[4:7]]
    assert not list(_batches_from(plan, 6, 6))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_never_reaches_the_weights(tmp_path, bad):
    model = toy_model()
    with torch.no_grad():
        model.classifier.bias[0] = bad
    before = flat(model).clone()
    with pytest.raises(UserError, match=r"training at step 1, lr 0.01, rows \d+.*not finite") as e:
        train(one_rank(), tmp_path, batch_size=8, num_steps=3, model=model)
    assert e.value.exit_code == Exit.DIVERGED
    assert heartbeat._Pulse.loop is None  # although the traceback keeps the loop's frame
    assert torch.equal(flat(model).nan_to_num(), before.nan_to_num())


@pytest.mark.parametrize(("precision", "within"), [("fp32", "medium"), ("bf16", "highest")])
def test_steps_in_float32_are_computed_by_the_faster_library(
    tmp_path, monkeypatch, precision, within
):
    monkeypatch.setattr("ke_t5.products.uses_onednn", lambda: True)
    model, examples, seen = toy_model(), examples_in(tmp_path), []
    model.register_forward_hook(lambda *_: seen.append(torch.get_float32_matmul_precision()))
    state = TrainState(model, model, torch.optim.SGD(model.parameters()), lambda step: 1.0)
    plan = get_batches(examples.lengths("input_ids"), batch_size=8, num_parts=1, seed=0)
    for _ in fit(
        state, examples, plan, ranks=one_rank(), settings=get_fit_settings(precision=precision),
        seed=0, num_steps=2, loss_reduction="rows",
    ):  # fmt: skip
        assert torch.get_float32_matmul_precision() == "highest"  # not while the loop is waiting
    assert seen == [within] * 2


def test_a_run_does_not_end_well_with_updates_that_were_skipped(tmp_path):
    """On a GPU, the last steps are checked at the end."""
    model, examples = toy_model(), examples_in(tmp_path)
    state = TrainState(
        model, model, torch.optim.AdamW(model.parameters(), fused=True), lambda step: 1.0
    )
    state.guard.skips_on_device = True
    plan = get_batches(examples.lengths("input_ids"), batch_size=8, num_parts=1, seed=0)
    updates = fit(
        state, examples, plan, ranks=one_rank(), settings=get_fit_settings(), seed=0, num_steps=3,
        loss_reduction="rows",
    )  # fmt: skip
    next(updates)
    before = flat(model).clone()
    model.register_forward_hook(lambda module, inputs, output: {"loss": output.loss * np.nan})
    next(updates), next(updates)
    assert torch.equal(flat(model), before)
    with pytest.raises(UserError, match="training at step 2, lr 0.001, rows"):
        next(updates)


@pytest.mark.parametrize("whose", ["task", "model"])
def test_an_unknown_divisor_is_refused(tmp_path, whose):
    model = toy_model()
    if whose == "model":
        model.loss_divisor = "tokens"
    message = "a loss is a mean over one of rows, label_tokens, start_end, not 'tokens'"
    with pytest.raises(ValueError, match=message):
        loss_counts(examples_in(tmp_path), "tokens" if whose == "task" else "rows", model)


def test_a_model_may_name_its_own_divisor(tmp_path):
    examples = examples_in(tmp_path, per_token=True)
    model = toy_model(per_token=True)
    assert loss_counts(examples, "label_tokens", model).max() > 1
    model.loss_divisor = "rows"
    assert loss_counts(examples, "label_tokens", model).max() == 1


def test_a_model_without_a_loss_is_one_line(tmp_path):
    model = toy_model()
    forward = type(model).forward
    model.forward = lambda **inputs: {"logits": forward(model, **inputs).logits}
    with pytest.raises(UserError, match="--model_name: its forward returned no loss"):
        train(one_rank(), tmp_path, batch_size=8, num_steps=1, model=model)


def test_a_billion_epochs_are_counted_at_once_or_refused():
    lengths = np.full(10, 5)
    by_rows = get_batches(lengths, batch_size=4, num_parts=1, seed=0)
    assert count_steps(by_rows, 10**9) == 3 * 10**9
    by_tokens = get_batches(lengths, batch_size=4, num_parts=1, seed=0, batch_tokens=20)
    assert count_steps(by_tokens, 2) == 6
    with pytest.raises(UserError, match="--epochs 1000000000: is more than 10000, the max"):
        count_steps(by_tokens, 10**9)
