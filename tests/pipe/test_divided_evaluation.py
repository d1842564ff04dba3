"""Evaluation of a model whose layers are sharded across processes: they are gathered one by one,
and scores, answers and losses equal those of a single process."""

from __future__ import annotations

import copy
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from support.generation_toys import tiny_t5, written_examples
from support.processes import run_on_ranks
from support.training import one_rank
from torch import nn
from transformers import T5ForConditionalGeneration

from ke_t5.pipe import EvaluationHelper, evaluate
from ke_t5.pipe.generation import try_out
from ke_t5.sharding import is_sharded

# Rows and the settings of the evaluation, rows of a batch.
CASES: dict[str, tuple[int, dict[str, Any], int]] = {
    "greedy": (23, {}, 2),
    "beams": (9, {"model_kwargs": {"num_beams": 3}}, 2),
    "drawn": (9, {"model_kwargs": {"do_sample": True, "top_k": 8, "num_return_sequences": 2}}, 2),
    "fewer batches than processes": (3, {}, 4),
    "teacher forced": (9, {"model_fn": "forward"}, 2),
}
RANKS = 2


class Watched:
    """Counts calls of the layers, and the most layers that are gathered while one computes."""

    def __init__(self, layers: list[nn.Module]) -> None:
        self.layers, self.most, self.calls = layers, 0, 0
        for layer in layers:
            layer.register_forward_pre_hook(self._note)

    def _note(self, *_: Any) -> None:
        self.calls += 1
        whole = [layer for layer in self.layers if not is_sharded(layer)]
        self.most = max(self.most, len(whole))


def evaluated(ranks, path, config, weights):
    """The result of each case, the number of layers gathered at once, and each process's number of
    layer calls; at last the result of training afterwards."""
    torch.set_num_threads(1)
    with nullcontext() if ranks.is_main else torch.device("meta"):
        model: Any = T5ForConditionalGeneration(copy.deepcopy(config)).double()
    if ranks.is_main:
        model.load_state_dict(weights)
    model.eval()
    wrapped = ranks.shard(model)
    watched = Watched([*model.encoder.block, *model.decoder.block])
    with ranks.layers_in_turn(model) as is_divided:
        try_out(model, {"num_beams": 2})
    assert is_divided == is_sharded(model) == (ranks.size > 1)
    found, num_calls = {}, {}
    for name, (num_rows, settings, batch_size) in CASES.items():
        task, examples = written_examples(path / str(num_rows), num_rows=num_rows)
        before = watched.calls
        one = evaluate(
            EvaluationHelper(task, **settings), model, examples, batch_size=batch_size,
            ranks=ranks, wants_loss=True,
        )  # fmt: skip
        lines = [{**line} for line in one.predictions]
        found[name] = one.scores, one.num_rows, one.num_scored, one.loss, lines
        num_calls[name] = watched.calls - before
    return found, num_calls, watched.most, gradient(model, wrapped)


def gradient(model, wrapped):
    """A step after the evaluations: the weights are sharded again and get gradients."""
    ids = torch.arange(4, 9)[None]
    wrapped(input_ids=ids, labels=ids).loss.backward()
    grads = [one.grad for one in model.parameters() if one.grad is not None]
    return [float(getattr(one, "full_tensor", lambda one=one: one)().sum()) for one in grads]


@pytest.fixture(scope="module")
def weights():
    return tiny_t5().config, tiny_t5().state_dict()


@pytest.fixture(scope="module")
def alone(weights, tmp_path_factory):
    threads = torch.get_num_threads()
    found = evaluated(one_rank(), tmp_path_factory.mktemp("alone"), *weights)
    torch.set_num_threads(threads)
    return found


@pytest.fixture(scope="module")
def divided(weights, tmp_path_factory):
    return run_on_ranks(evaluated, RANKS, tmp_path_factory.mktemp("divided"), *weights)


@pytest.mark.parametrize("case", CASES)
def test_it_finds_what_one_process_finds(alone, divided, case):
    expected, found = alone[0][case], [rank[0][case] for rank in divided]
    assert found[0] == expected
    assert expected[3] is not None and len(expected[4]) == CASES[case][0]
    assert found[1:] == [(*expected[:4], [])] * (RANKS - 1)


def test_one_layer_is_gathered_at_a_time(divided):
    assert [most for _, _, most, _ in divided] == [1] * RANKS


def test_a_process_without_a_batch_computes_nothing(alone, divided):
    case = "fewer batches than processes"
    assert [calls[case] for _, calls, _, _ in divided] == [alone[1][case], 0]
    for case, number in alone[1].items():
        assert sum(calls[case] for _, calls, _, _ in divided) == number


def test_training_goes_on_as_if_nothing_had_been_evaluated(alone, divided):
    for _, _, _, found in divided:
        assert found == pytest.approx(alone[3], rel=1e-9, abs=1e-9)
