"""A last layer that computes first tokens only, for heads that read no others."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from support.unpadded_models import (
    FAMILIES,
    LENGTHS,
    assert_equal_up_to_rounding,
    batch_for,
    computed,
    model_of,
)  # fmt: skip
from torch import nn

from ke_t5.models.unpadded_rows import unpadded_attention, unpadded_rows
from ke_t5.models.unpadding import Unpadding
from ke_t5.train.settings import recompute_activations


def only_first(model):
    unpadding = Unpadding(model)
    unpadding.only_first = True
    return unpadding


READERS = [
    name for name in FAMILIES
    if name.endswith(("SequenceClassification", "MultipleChoice")) and "Modern" not in name
]  # fmt: skip


@pytest.mark.parametrize("name", READERS)
def test_loss_and_gradients_are_those_of_all_tokens(name):
    model = model_of(name)
    batch = batch_for(model)
    padded = computed(model, batch)
    assert_equal_up_to_rounding(padded, computed(model, batch, only_first(model)))
    recompute_activations(model)
    assert_equal_up_to_rounding(padded, computed(model, batch, only_first(model)))


def test_the_last_layer_sees_first_tokens():
    model = model_of("RobertaForSequenceClassification")
    batch, shapes = batch_for(model), []
    for layer in model.roberta.encoder.layer:
        layer.output.register_forward_hook(lambda _, __, output: shapes.append(output.shape))
    computed(model, batch, only_first(model))
    assert shapes == [(1, 56, 16), (1, len(LENGTHS), 16)]
    # A batch without padding is computed as a whole.
    batch["attention_mask"][:] = 1
    shapes.clear()
    assert_equal_up_to_rounding(computed(model, batch), computed(model, batch, only_first(model)))
    assert shapes == [(len(LENGTHS), 14, 16)] * 4


def test_a_head_that_reads_another_token_has_no_finite_loss():
    model = model_of("RobertaForTokenClassification")
    batch = batch_for(model)
    assert torch.isfinite(computed(model, batch, Unpadding(model))[0])
    assert computed(model, batch, only_first(model))[0].isnan()


def test_dropout_of_the_first_tokens_attention_keeps_the_mean():
    torch.manual_seed(0)
    mask = np.arange(40) < np.array([40, 8])[:, None]
    rows = dataclasses.replace(unpadded_rows(mask, torch.device("cpu")), only_first=True)
    query, key = torch.zeros(1, 500, 48, 4), torch.randn(1, 500, 48, 4)
    value = torch.ones(1, 500, 48, 4)
    seen, _ = unpadded_attention(nn.Identity(), query, key, value, None, unpadded=rows, dropout=0.5)
    firsts, others = seen[0, rows.firsts], np.delete(seen[0].numpy(), rows.firsts, axis=0)
    assert not others.any()
    # Equal shares, half of them dropped and the others doubled: binomially distributed sums.
    assert torch.allclose(firsts.mean((1, 2)), torch.ones(2), atol=0.06)
    assert torch.allclose(firsts[:, :, 0].std(1), torch.tensor([40.0, 8.0]) ** -0.5, rtol=0.1)
