"""Whole steps as graphs: their results, and when they are disabled.

A tape stands in for CUDA: it runs the recorded step again, on the recorded tensors.
"""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from support.toy_model import toy_model
from support.training import examples_in, examples_of_form, flat, one_rank
from transformers import BertConfig

from ke_t5.errors import UserError
from ke_t5.models.configs import AnyMeanSequenceConfig
from ke_t5.models.models import EncoderForSequenceClassificationMean
from ke_t5.pipe import IGNORED, get_batches
from ke_t5.train.device_step import DeviceStep, rates_on_device
from ke_t5.train.graphs import StepGraphs
from ke_t5.train.guard import NonFiniteGuard
from ke_t5.train.loop import TrainState, fit
from ke_t5.train.settings import get_fit_settings
from ke_t5.train.static_shapes import MOST_TOKENS, StaticShapes, find_shapes

CPU = torch.device("cpu")
STEPS = 18


class Tape:
    """Records a step; `plays` counts what was played."""

    def __init__(self, *, bend=None):
        self.plays, self.records, self.bend = 0, 0, bend

    def __call__(self, function):
        self.records += 1

        def replay():
            self.plays += 1
            return function() if self.bend is None else self.bend(function())

        return replay


def refuses(function):
    raise RuntimeError("operation not permitted when stream is capturing\nmore lines")


def trained(path, record, *, steps=STEPS, start=None, model=None, make=None, may_draw=True, **toy):
    """The state after some steps with these graphs, and the (loss, norm) of each."""
    examples = examples_in(path)
    module = (model or toy_model(**toy)).float()
    make = make or (lambda weights: torch.optim.AdamW(weights, lr=1e-2, fused=True))
    optimizer = make(module.parameters())
    if start is not None:
        module.load_state_dict(start.module.state_dict())
        optimizer.load_state_dict(start.optimizer.state_dict())
    state = TrainState(
        module, module, optimizer, lambda step: 1 / (1 + step), step=start.step if start else 0
    )
    state.guard.skips_on_device = isinstance(optimizer, torch.optim.AdamW)
    if record is not None:
        shapes = find_shapes(examples, module, num_rows=8, fills_rows=True, device=CPU)
        # On a CPU, dropout draws on the host.
        state.graphs = StepGraphs(shapes, record, CPU, may_draw=may_draw)
    plan = get_batches(examples.lengths("input_ids"), batch_size=8, num_parts=1, seed=5, window=1)
    updates = fit(
        state, examples, plan, ranks=one_rank(), settings=get_fit_settings(), seed=5,
        num_steps=steps, loss_reduction="rows",
    )  # fmt: skip
    return state, [(float(update.loss), float(update.grad_norm)) for update in updates]


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("graphs")


@pytest.fixture(scope="module")
def launched(path):
    """The same steps without graphs, with dropout."""
    return trained(path, refuses, dropout=0.3)


def test_replayed_steps_compute_what_launched_ones_do(path, launched):
    tape = Tape()
    state, numbers = trained(path, tape, dropout=0.3)
    assert numbers == launched[1]
    assert torch.equal(flat(state.module), flat(launched[0].module))
    # One shape: the first step is launched, the second recorded, verified and replayed.
    assert (tape.records, tape.plays) == (1, STEPS)
    before, after = (one.optimizer.state_dict() for one in (launched[0], state))
    assert after["param_groups"] == before["param_groups"]
    assert type(after["param_groups"][0]["lr"]) is float
    assert [sorted(one) for one in after["state"].values()] == [
        sorted(one) for one in before["state"].values()
    ]


def test_filled_batches_have_the_loss_of_the_rows_they_came_with(path):
    """The last batch of an epoch has 7 rows."""
    filled, numbers = trained(path, Tape())
    plain, expected = trained(path, None)
    assert np.allclose(numbers, expected, rtol=1e-5)
    assert np.allclose(flat(filled.module).detach(), flat(plain.module).detach(), atol=1e-5)


@pytest.mark.parametrize("stop", [1, 2, 7])
def test_a_run_that_goes_on_records_again_and_ends_with_the_same_bits(path, launched, stop):
    half, _ = trained(path, Tape(), steps=stop, dropout=0.3)
    rest, _ = trained(path, Tape(), start=half, dropout=0.3)
    assert torch.equal(flat(rest.module), flat(launched[0].module))


def test_a_model_that_cannot_be_recorded_trains_without(path, launched, caplog):
    assert launched[0].graphs.reason == (
        "RuntimeError: operation not permitted when stream is capturing"
    )
    trained(path, refuses, steps=6)
    lines = [line for line in caplog.messages if "fit.cuda_graphs" in line]
    assert lines == [
        "fit.cuda_graphs: no graphs from here on: RuntimeError: operation not permitted when "
        "stream is capturing"
    ]


@pytest.mark.parametrize("place", [0, 1])
def test_a_graph_that_computes_something_else_never_reaches_the_weights(path, launched, place):
    factors = torch.ones(3)
    factors[place] = 1.05
    tape = Tape(bend=lambda output: output * factors)
    state, numbers = trained(path, tape, dropout=0.3)
    assert numbers == launched[1] and tape.plays == 1
    assert torch.equal(flat(state.module), flat(launched[0].module))
    assert state.graphs.reason.startswith("the graph's loss and norm are ")


def test_a_shape_that_was_dropped_gets_no_other_graph(path):
    class Odd(StaticShapes):
        def fitted(self, columns):
            """The batch in one of three widths, chosen by the first row."""
            columns = dict(super().fitted(columns))
            more = int(columns["labels"][0]) * 8
            for name, pad in self.pads.items():
                columns[name] = np.pad(columns[name], ((0, 0), (0, more)), constant_values=pad)
            return columns

    tape = Tape()
    examples, module = examples_in(path), toy_model().float()
    state = TrainState(
        module, module, torch.optim.AdamW(module.parameters(), fused=True), lambda step: 1.0
    )
    state.guard.skips_on_device = True
    found = find_shapes(examples, module, num_rows=8, fills_rows=True, device=CPU)
    state.graphs = StepGraphs(Odd(**vars(found)), tape, CPU, most_graphs=2)
    plan = get_batches(examples.lengths("input_ids"), batch_size=8, num_parts=1, seed=5, window=1)
    for _ in fit(
        state, examples, plan, ranks=one_rank(), settings=get_fit_settings(), seed=5, num_steps=40,
        loss_reduction="rows",
    ):  # fmt: skip
        assert len(state.graphs._graphs) <= 2
    assert tape.records == 3 and state.graphs.reason is None


def test_a_step_that_is_not_finite_is_skipped_in_a_graph_too(path):
    model = toy_model()
    calls = []

    def poison(module, inputs, output):
        calls.append(module.training)
        output.loss = output.loss * (np.nan if sum(calls) > 6 else 1.0)
        return output

    model.register_forward_hook(poison)
    with pytest.raises(UserError, match=r"training at step 5, lr 0.002, rows \d+.*not finite"):
        trained(path, Tape(), model=model, steps=7)
    assert all(torch.isfinite(weight).all() for weight in model.parameters())


@pytest.mark.parametrize("name", ["SGD", "Adagrad"])
def test_other_optimizers_update_what_the_graph_leaves(path, name):
    def make(weights):
        return getattr(torch.optim, name)(weights, lr=1e-2)

    tape = Tape()
    state, numbers = trained(path, tape, make=make, dropout=0.3, spare=True)
    plain, expected = trained(path, refuses, make=make, dropout=0.3, spare=True)
    assert numbers == expected and tape.plays == STEPS
    assert torch.equal(flat(state.module), flat(plain.module))


def test_weights_whose_gradients_depend_on_the_shape_are_named_as_the_reason():
    module = torch.nn.ParameterList(torch.ones(2) for _ in range(2))
    optimizer = torch.optim.SGD(module.parameters(), lr=1e-2)

    def backward(inputs, columns, weight):
        loss = module[inputs["input_ids"].shape[1] // 8 - 1].sum() * weight
        loss.backward()
        return loss.detach()

    step = DeviceStep(
        module, optimizer, guard=NonFiniteGuard(optimizer), graphs=StepGraphs({}, Tape(), CPU),
        backward=backward, clip=lambda: torch.ones(()),
    )  # fmt: skip
    inputs = {"numbers": torch.tensor([1.0, 0.0, 1e-2]), "input_ids": torch.ones(1, 8)}
    step.recorded(inputs)
    with pytest.raises(ValueError, match="weights that have a gradient differ between shapes"):
        step.recorded({**inputs, "input_ids": torch.ones(1, 16)})


def test_memory_that_steps_without_a_graph_need_is_theirs():
    real, failed = StepGraphs._moved, []

    class Full(StepGraphs):
        def _moved(self, host):
            if len(self._graphs) == 1 and not failed:
                failed.append(True)
                raise torch.OutOfMemoryError("CUDA out of memory")
            return real(self, host)

    graphs = Full(StaticShapes({}), Tape(), CPU)
    graphs._graphs["one"] = None

    class Counted:
        def whole(self, inputs):
            return inputs["numbers"]

    numbers = torch.ones(3)
    found = graphs.run(Counted(), {"numbers": numbers}, key=None, seed=lambda: None)
    assert torch.equal(found, numbers) and not graphs._graphs
    assert graphs.reason == "their memory is needed for steps without a graph"


@pytest.mark.parametrize(
    ("may_draw", "draw", "is_given_up"),
    [
        (False, lambda: torch.rand(()), True),
        (True, lambda: torch.rand(()), False),
        (False, random.random, True),
        (False, np.random.rand, True),
    ],
)
def test_decisions_that_the_host_draws_are_not_frozen(path, may_draw, draw, is_given_up):
    model = toy_model()
    model.register_forward_pre_hook(lambda *_: None if draw() < 2 else ())
    state, _ = trained(path, Tape(), model=model, steps=5, may_draw=may_draw)
    reason = "the model draws random numbers on the host"
    assert state.graphs.reason == (reason if is_given_up else None)


def columns_of(lengths, **more):
    mask = (np.arange(max(lengths)) < np.array(lengths)[:, None]).astype(np.int64)
    return {"input_ids": mask * 5, "attention_mask": mask, **more}


PADS = {"input_ids": 1, "attention_mask": 0}


@pytest.mark.parametrize(
    ("length", "limit", "expected"),
    [(3, None, 8), (8, None, 8), (57, None, 64), (65, None, 80), (300, None, 304),
     (300, 301, 301), (300, 200, 300)],
)  # fmt: skip
def test_widths_are_few(length, limit, expected):
    shapes = StaticShapes(PADS, limit=limit)
    found = shapes.fitted(columns_of([length, 1], labels=np.array([0, 1])))
    assert found["input_ids"].shape == found["attention_mask"].shape == (2, expected)
    assert (found["input_ids"][0, length:] == 1).all()
    assert found["attention_mask"].sum() == length + 1


def test_no_batch_is_wider_than_the_positions_of_a_backbone(path):
    backbone = BertConfig(
        vocab_size=20, hidden_size=8, intermediate_size=8, num_hidden_layers=1,
        num_attention_heads=2, max_position_embeddings=18,
    )  # fmt: skip
    config = AnyMeanSequenceConfig(backbone=backbone, num_labels=3)
    module = EncoderForSequenceClassificationMean(config).eval()
    shapes = find_shapes(examples_in(path), module, num_rows=8, fills_rows=True, device=CPU)
    batch = shapes.fitted(columns_of([18, 1], labels=np.array([0, 1])))
    assert batch["input_ids"].shape == (8, 18)
    assert module(**{name: torch.from_numpy(column) for name, column in batch.items()}).loss > 0


def test_rows_are_filled_up_without_a_label():
    labels = np.array([[2, 1, 0], [1, IGNORED, IGNORED], [0, 0, IGNORED]])
    batch = columns_of([3, 1, 2], labels=labels)
    found = StaticShapes({**PADS, "labels": IGNORED}, num_rows=5).fitted(batch)
    assert found["labels"].shape == (5, 8) and (found["labels"][3:] == IGNORED).all()
    assert found["attention_mask"][3:].sum() == 6  # copies of a row: none is fully masked
    kept = StaticShapes(PADS, num_rows=5, fills_rows=False).fitted(batch)
    assert len(kept["input_ids"]) == 3


@pytest.mark.parametrize(("rows", "expected"), [(3, 3), (8, 8), (9, 16)])
def test_batches_of_tokens_have_rows_in_multiples(rows, expected):
    batch = columns_of([4] * rows, labels=np.zeros(rows, int))
    assert len(StaticShapes(PADS).fitted(batch)["input_ids"]) == expected


def test_padding_goes_where_the_tokenizer_puts_it():
    found = StaticShapes(PADS, side="left").fitted(columns_of([5]))
    assert found["attention_mask"][0].tolist() == [0, 0, 0, 1, 1, 1, 1, 1]


def test_large_batches_are_left_alone():
    batch = columns_of([MOST_TOKENS // 3 + 1] * 3)
    found = StaticShapes(PADS, num_rows=8).fitted(batch)
    assert all(found[name] is batch[name] for name in batch)


@pytest.mark.parametrize("form", ["multilabel_classification", "multiple_choice"])
def test_losses_that_count_every_row_are_not_filled(path, form):
    """Multi-label targets are floats, which a loss cannot ignore; choices can be ignored."""
    examples = examples_of_form(path, form)
    batch = examples.batch(np.arange(3))

    class Mean(torch.nn.Module):
        def forward(self, input_ids, attention_mask, labels):
            weight = (labels.flatten() != IGNORED).float()
            values = (input_ids * attention_mask).flatten(1).sum(1).float()
            values = values.repeat_interleave(len(weight) // len(values))
            return {"loss": (values * weight).sum() / weight.sum()}

    shapes = find_shapes(examples, Mean(), num_rows=8, fills_rows=True, device=CPU)
    found = shapes.fitted(batch)
    is_choice = form == "multiple_choice"
    assert shapes.fills_rows is is_choice and found["input_ids"].shape[-1] == 8
    assert found["labels"].shape[1:] == batch["labels"].shape[1:]
    assert len(found["labels"]) == (8 if is_choice else 3)


def test_a_model_that_reads_its_padding_gets_no_graphs(path):
    model = toy_model()
    model.embedding.weight.data.mul_(30)

    def count_rows(module, inputs, output):
        output.loss = output.loss * len(output.logits)
        return output

    model.register_forward_hook(count_rows)
    shapes = find_shapes(examples_in(path), model, num_rows=8, fills_rows=True, device=CPU)
    assert not shapes.fills_rows
    model.register_forward_pre_hook(
        lambda _, __, inputs: ((), {**inputs, "attention_mask": inputs["attention_mask"] * 0 + 1}),
        with_kwargs=True,
    )
    with pytest.raises(ValueError, match="its loss changes with more padding"):
        find_shapes(examples_in(path), model, num_rows=8, fills_rows=True, device=CPU)


def test_rates_are_back_when_the_step_is_made():
    weight = torch.nn.Parameter(torch.ones(2))
    optimizer = torch.optim.AdamW([weight], lr=0.5, fused=True)
    before = optimizer.state_dict()["param_groups"]
    with pytest.raises(KeyError), rates_on_device(optimizer, torch.tensor([0.25])):
        assert torch.is_tensor(optimizer.param_groups[0]["lr"])
        raise KeyError
    assert optimizer.state_dict()["param_groups"] == before
