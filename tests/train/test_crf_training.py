"""Training with a CRF: one loss per sentence, whatever the number of processes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from support.our_models import make_batch, make_model
from support.processes import run_on_ranks
from support.training import flat, one_rank, train

NAMES = ("T5EncoderForEntityRecognitionWithCRF", "EncoderForEntityRecognitionWithCRF")


def crf_model(name, *, iob2):
    """A tiny model in float64 without dropout."""
    model = make_model(name, crf_iob2=iob2).double()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        if hasattr(module, "dropout") and isinstance(module.dropout, float):
            module.dropout = 0.0
    return model


def _trained(ranks, path, batch_size):
    """Weights and losses of each model after four updates of global batches of eight."""
    torch.set_num_threads(1)
    found = []
    for name in NAMES:
        for iob2 in (False, True):
            model = crf_model(name, iob2=iob2)
            state, losses = train(
                ranks, path, batch_size=batch_size, num_steps=4, per_token=True, model=model
            )
            found.append((flat(state.module).tolist(), losses))
    return found


@pytest.mark.parametrize("num_ranks", [2])
def test_weights_do_not_depend_on_the_number_of_processes(tmp_path, num_ranks):
    # The rows have different numbers of labelled tokens, some none.
    expected = _trained(one_rank(), tmp_path, 8)
    for found in run_on_ranks(_trained, num_ranks, tmp_path, 8 // num_ranks):
        for (weights, losses), (whole, same) in zip(found, expected, strict=True):
            assert np.allclose(losses, same, rtol=0, atol=1e-6)
            assert np.allclose(weights, whole, rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_the_loss_is_the_mean_over_sentences_that_have_a_label(name):
    model, batch = crf_model(name, iob2=False), make_batch(name)
    alone = [
        model(**{key: value[row : row + 1] for key, value in batch.items()}).loss
        for row in range(3)
    ]
    torch.testing.assert_close(model(**batch).loss, sum(alone) / 3)
    batch["labels"][1] = -100
    torch.testing.assert_close(model(**batch).loss, (alone[0] + alone[2]) / 2)
