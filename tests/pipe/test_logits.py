"""A NaN or infinite logit ends the evaluation, whatever the model does with it."""

from __future__ import annotations

import copy
import math
import types

import numpy as np
import pytest
import torch
from support.generation_toys import tiny_t5, written_examples
from support.toy_model import toy_model

from ke_t5 import heartbeat
from ke_t5.distributed import Ranks
from ke_t5.errors import Exit, UserError
from ke_t5.pipe import EvaluationHelper, evaluate
from ke_t5.pipe.logits import watched_logits
from ke_t5.pipe.model_outputs import KEPT_LOGITS, BestLogits

ALONE = Ranks(0, 1, torch.device("cpu"), 1)
INPUTS = {"input_ids": torch.ones(2, 3, dtype=torch.int64), "attention_mask": torch.ones(2, 3)}


@pytest.mark.parametrize(("bad", "are"), [(math.nan, False), (math.inf, False), (1.0, True)])
def test_each_pass_is_watched_until_the_question(bad, are):
    model = toy_model().eval()
    with watched_logits(model) as are_numbers, torch.inference_mode():
        assert are_numbers()
        model(**INPUTS)
        with torch.no_grad():
            model.classifier.bias[1] = bad
        model(**INPUTS)
        assert are_numbers() is are
        assert are_numbers()  # since the last call there was no pass
    assert not model._forward_hooks


def test_minus_infinity_excludes_a_class():
    model = toy_model().eval()
    with torch.no_grad():
        model.classifier.bias[1] = -math.inf
    with watched_logits(model) as are_numbers:
        model(**INPUTS)
        assert are_numbers()


def test_a_loss_that_is_no_number_is_none_of_the_logits():
    model = toy_model().eval()
    with watched_logits(model) as are_numbers:
        assert model(**INPUTS, labels=torch.full((2,), -100)).loss.isnan()
        assert are_numbers()


def test_the_emissions_of_a_crf_are_watched():
    class Tagger(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.crf, self.emissions = torch.nn.Identity(), torch.nn.Linear(2, 2)

        def forward(self, hidden):
            self.emissions(hidden)
            return types.SimpleNamespace(logits=[[0, 1]])

    model = Tagger()
    with watched_logits(model) as are_numbers:
        model(torch.ones(1, 2))
        assert are_numbers()
        model(torch.full((1, 2), math.nan))
        assert not are_numbers()


@pytest.mark.parametrize("arguments", [{}, {"num_beams": 2}, {"do_sample": True}, None], ids=str)
def test_a_text_of_logits_that_are_no_numbers_is_an_error(arguments, tmp_path):
    task, examples = written_examples(tmp_path)
    model = copy.deepcopy(tiny_t5())
    with torch.no_grad():
        model.encoder.final_layer_norm.weight[0] = math.nan
    helper = EvaluationHelper(task, model_kwargs=arguments)
    if arguments is None:
        helper = EvaluationHelper(task, model_fn="forward")
    with pytest.raises(UserError, match="rows .*: the model's logits are not finite") as told:
        evaluate(helper, model, examples, batch_size=2, ranks=ALONE)
    assert told.value.exit_code == Exit.DIVERGED
    assert str(told.value).endswith("or add --gin_param \"fit.precision='fp32'\"")
    assert len(str(told.value)) <= 200
    assert heartbeat._Pulse.loop is None  # although the traceback keeps the loop's frame


@pytest.mark.parametrize("size", [0, 1, 3, 20, 50])
def test_of_a_windows_logits_the_first_and_the_best_are_kept(size):
    logits = np.random.default_rng(size).integers(0, 12, size).astype(np.float32)
    best = np.argsort(-logits, kind="stable")[:KEPT_LOGITS]
    expected = np.full(size, -np.inf, dtype=np.float32)
    expected[[*([0] if size else []), *best]] = logits[[*([0] if size else []), *best]]
    kept = BestLogits(logits)
    assert len(kept) == size and np.array_equal(np.asarray(kept), expected)
    assert [kept[place] for place in range(size)] == expected.tolist()
    assert np.asarray(kept, dtype=np.float64).dtype == np.float64
