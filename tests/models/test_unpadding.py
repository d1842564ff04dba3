"""Encoders compute the same without padding, and never read padding."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import transformers
from support.our_models import make_batch, make_model
from support.unpadded_models import (
    FAMILIES,
    LENGTHS,
    SIZES,
    assert_equal_up_to_rounding,
    batch_for,
    computed,
    model_of,
)  # fmt: skip

from ke_t5.models import unpadded_rows as rows_of
from ke_t5.models.dropout import dropouts, factors
from ke_t5.models.models import MODEL_FORMS
from ke_t5.models.unpadded_rows import ATTENTION, unpadded_attention, unpadded_rows
from ke_t5.models.unpadded_targets import unpadded_targets
from ke_t5.models.unpadding import Unpadding, gelus, losses_agree
from ke_t5.models.vocabulary_loss import VocabularyLoss
from ke_t5.train.settings import recompute_activations

CPU = torch.device("cpu")


@pytest.fixture(params=[8192, 5], ids=["one block", "many blocks"])
def cost_of_block(request, monkeypatch):
    monkeypatch.setattr(rows_of, "COST_OF_BLOCK", request.param)


@pytest.mark.usefixtures("cost_of_block")
@pytest.mark.parametrize("name", FAMILIES)
def test_loss_and_gradients_are_those_of_padded_rows(name):
    model = model_of(name)
    batch = batch_for(model)
    padded = computed(model, batch)
    assert_equal_up_to_rounding(padded, computed(model, batch, Unpadding(model)))
    recompute_activations(model)
    assert_equal_up_to_rounding(padded, computed(model, batch, Unpadding(model)))


# The head on all layers is rejected: see test_poolings.py.
@pytest.mark.parametrize(
    "name", [name for name in MODEL_FORMS if "Ngram" not in name and not name.endswith("Layers")]
)
def test_each_head_of_ours_reads_the_same_states(name):
    model, batch = make_model(name), make_batch(name, LENGTHS)
    seen = []
    hook = Unpadding(model).encoder.register_forward_pre_hook(
        lambda *_: seen.append(1), with_kwargs=False
    )
    assert_equal_up_to_rounding(computed(model, batch), computed(model, batch, Unpadding(model)))
    hook.remove()
    assert len(seen) == 2


@pytest.mark.parametrize("name", ["RobertaForTokenClassification", "T5ForTokenClassification",
                                  "ModernBertForTokenClassification"])  # fmt: skip
def test_what_stands_at_padded_places_is_never_read(name):
    model = model_of(name).eval()
    batch = batch_for(model)
    mask = batch["attention_mask"].bool()
    # RoBERTa numbers positions by the ids, including padding after a row's tokens.
    other = {**batch, "input_ids": batch["input_ids"].where(mask, torch.tensor(7))}
    with torch.no_grad():
        with Unpadding(model).over(mask.numpy()):
            first, second = model(**batch).logits, model(**other).logits
        padded = model(**batch).logits
    assert torch.equal(first, second)
    torch.testing.assert_close(first[mask], padded[mask], rtol=1e-5, atol=1e-5)
    assert len(first[~mask].unique(dim=0)) == 1


def test_the_layers_see_the_tokens_of_the_batch_and_little_more():
    model = model_of("RobertaForSequenceClassification")
    batch, shapes = batch_for(model), []
    for part in (model.roberta.embeddings, *model.roberta.encoder.layer):
        part.register_forward_hook(lambda _, __, output: shapes.append(tuple(output.shape)))
    computed(model, batch, Unpadding(model))
    assert sum(LENGTHS) == 54
    assert shapes == [(1, 56, 16)] * 3


def test_the_layers_of_a_decoder_see_the_targets_and_little_more():
    model = model_of("T5ForConditionalGeneration")
    batch, shapes = batch_for(model), []
    batch["labels"][0, 2:] = -100
    for part in (*model.encoder.block, *model.decoder.block):
        part.register_forward_hook(lambda _, __, output: shapes.append(tuple(output[0].shape)))
    padded = computed(model, batch)
    for labels, num_targets in ((batch["labels"], 32), (torch.full_like(batch["labels"], 3), None)):
        batch["labels"], shapes[:] = labels, []
        padded = computed(model, batch)
        shapes.clear()
        assert_equal_up_to_rounding(padded, computed(model, batch, Unpadding(model)))
        decoded = (1, num_targets, 16) if num_targets else (len(LENGTHS), 6, 16)
        assert shapes == [(1, 56, 16)] * 2 + [decoded] * 2
    # Inputs without any padding, and with the loss over the vocabulary.
    batch["attention_mask"][:] = 1
    batch["labels"][2, 1:] = -100
    padded = computed(model, batch)
    shapes.clear()
    loss = VocabularyLoss(model)
    with loss.gradients.kept(), loss.instead():
        assert_equal_up_to_rounding(padded, computed(model, batch, Unpadding(model)))
    assert shapes == [(len(LENGTHS), 14, 16)] * 2 + [(1, 54, 16)] * 2


@pytest.mark.parametrize(("mask", "is_target"), [
    ([[1, 1], [1, 0]], [[1, 1], [1, 1]]),  # no padding
    ([[1, 1], [0, 0]], [[1, 1], [1, 0]]),  # a row without an input
    ([[1, 1], [1, 0]], [[1, 1], [0, 0]]),  # or without a target
    ([[1, 1], [1, 0]], [[1, 1], [0, 1]]),  # targets start late
    ([[1, 1]], [[1, 0]]),  # a single row
    ([[[1, 1], [1, 0]]], [[1, 0], [1, 1]]),
])  # fmt: skip
def test_targets_that_stay_as_they_are(mask, is_target):
    assert unpadded_targets(np.array(mask), np.array(is_target), CPU) is None


def test_a_gpu_copies_the_layout_of_a_batch_without_waiting(monkeypatch):
    """A copy from memory that is not pinned waits for all work queued on the GPU."""
    pinned, copied = [], []

    def pin(tensor):
        pinned.append(tensor)
        return tensor

    def to(tensor, device, *, non_blocking=False):
        assert device.type == "cuda" and non_blocking and any(tensor is one for one in pinned)
        copied.append(tensor)
        return tensor

    monkeypatch.setattr(torch.Tensor, "pin_memory", pin)
    monkeypatch.setattr(torch.Tensor, "to", to)
    mask = np.arange(6) < np.array([[6], [3]])
    assert unpadded_targets(mask, mask, torch.device("cuda")) is not None
    assert len(copied) == len(pinned) > 1


def test_nothing_of_the_model_stays_changed_not_even_after_an_error():
    model = model_of("T5ForConditionalGeneration")
    next(part for part in model.modules() if type(part) is torch.nn.Dropout).p = 0.1
    unpadding, mask = Unpadding(model), np.array([[1, 1], [1, 0]])
    before = model.config.to_dict()
    with pytest.raises(KeyError), unpadding.over(mask, np.array([[1, -100], [1, 1]])):
        assert unpadding.config._attn_implementation == ATTENTION
        assert model.decoder.config._attn_implementation != "sdpa"
        assert any("forward" in vars(module) for module in model.modules())
        raise KeyError
    assert unpadding.config._attn_implementation == "sdpa"
    assert model.decoder.config._attn_implementation == "sdpa"
    assert model.config.to_dict() == before
    for module in model.modules():
        assert not module._forward_pre_hooks and not module._forward_hooks
        assert "forward" not in vars(module)


@pytest.mark.parametrize("mask", [
    [[1, 1], [1, 1]],  # no padding
    [[1, 1], [0, 0]],  # a row without a token
    [[1, 0, 1], [1, 1, 1]],  # padding between tokens
])  # fmt: skip
def test_rows_that_stay_as_they_are(mask):
    assert unpadded_rows(np.array(mask), CPU) is None


@pytest.mark.usefixtures("cost_of_block")
@pytest.mark.parametrize("side", ["left", "right"])
def test_rows_lie_end_to_end_the_longest_first_and_come_back(side):
    mask = np.arange(14) < np.array(LENGTHS)[:, None]
    mask = mask[:, ::-1] if side == "left" else mask
    rows = unpadded_rows(mask.astype(int), CPU)
    padded = torch.arange(1.0, mask.size + 1).view(*mask.shape, 1)
    flat = rows.flat(padded)
    assert flat.shape == (1, 56, 1)
    places = np.concatenate([np.flatnonzero(mask[i]) + 14 * i for i in np.argsort(
        -np.array(LENGTHS), kind="stable")] + [np.flatnonzero(~mask)[:2]])  # fmt: skip
    assert flat.flatten().tolist() == (places + 1.0).tolist()
    assert rows.columns.tolist() == [(places % 14).tolist()]
    assert torch.equal(rows.padded(flat), padded * torch.from_numpy(mask.copy())[..., None])
    assert rows.num_real == sum(LENGTHS)
    assert sum(block.tokens for block in rows.blocks) == sum(LENGTHS)
    assert [block.shape[1] for block in rows.blocks] == sorted(
        (block.shape[1] for block in rows.blocks), reverse=True
    )


@pytest.mark.parametrize(
    ("lengths", "num_tokens"),
    [
        ([30, 1], 32),  # 31
        ([30, 2], 32),
        ([30, 29], 60),  # 59: there is no more padding
        ([500, 500, 9, 2], 1024),  # 1011
        ([2000, 2000, 20, 7], 4032),  # 4027: multiples of 64
    ],
)
def test_batches_have_few_different_numbers_of_tokens(lengths, num_tokens):
    mask = np.arange(max(lengths)) < np.array(lengths)[:, None]
    rows = unpadded_rows(mask, CPU)
    assert (len(rows.tokens), rows.num_real) == (num_tokens, sum(lengths))
    assert len(rows.rows) == num_tokens == len(rows.tokens.unique())
    on_gpu = unpadded_rows(mask, torch.device("meta"))  # no code is generated for its products
    assert len(on_gpu.tokens) == sum(lengths)


@pytest.mark.parametrize("name", [
    "RobertaForSequenceClassification", "T5ForTokenClassification", "T5ForConditionalGeneration",
    "ModernBertForTokenClassification",
])  # fmt: skip
def test_in_bf16_it_is_as_near_to_float32_as_padded_rows_are(name):
    model = model_of(name)
    batch = batch_for(model)
    exact = computed(model, batch)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        padded, unpadded = computed(model, batch), computed(model, batch, Unpadding(model))
    assert unpadded[0].float() == pytest.approx(float(exact[0]), rel=2**-7)
    error, usual = (distance(found[1], exact[1]) for found in (unpadded, padded))
    assert 0 < error < max(1.5 * usual, 2**-7)


def distance(gradients, exact):
    """The norm of the difference of all gradients, relative to the exact ones."""
    found, wanted = (
        torch.cat([gradient.flatten().float() for gradient in all_of.values()])
        for all_of in (gradients, exact)
    )
    return float((found - wanted).norm() / wanted.norm())


def test_padded_logits_stay_the_same_to_the_last_bit():
    """Evaluation is padded and must not be affected by steps without padding."""
    model = model_of("RobertaForSequenceClassification")
    batch = batch_for(model)
    logits = [model(**batch).logits]
    computed(model, batch, Unpadding(model))
    logits.append(model(**batch).logits)
    assert torch.equal(*logits)


def test_attention_in_bf16_is_near_that_in_float32():
    rows = unpadded_rows(np.arange(14) < np.array(LENGTHS)[:, None], CPU)
    torch.manual_seed(0)
    states = torch.randn(3, 1, 2, sum(LENGTHS), 4)
    exact, _ = unpadded_attention(torch.nn.Identity(), *states, None, unpadded=rows)
    found, _ = unpadded_attention(torch.nn.Identity(), *states.bfloat16(), None, unpadded=rows)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), exact, rtol=0.02, atol=0.02)


@pytest.mark.usefixtures("cost_of_block")
@pytest.mark.parametrize("lengths", [LENGTHS, (5, 5, 2, 2)])
def test_attention_with_dropout_has_the_right_gradient(lengths):
    torch.manual_seed(0)
    mask = np.arange(max(lengths)) < np.array(lengths)[:, None]
    rows = unpadded_rows(mask, CPU)
    size = len(rows.tokens)  # with a little padding
    assert size > sum(lengths)
    states = torch.randn(3, 1, 2, size, 3, dtype=torch.float64, requires_grad=True)

    def attention(states, dropout):
        torch.manual_seed(1)  # the same elements are dropped each time
        return unpadded_attention(
            torch.nn.Identity(), *states, None, unpadded=rows, dropout=dropout, scaling=0.7
        )[0]

    (kept,) = torch.autograd.grad(attention(states, 0.0).square().sum(), states)
    (nearly,) = torch.autograd.grad(attention(states, 1e-12).square().sum(), states)
    torch.testing.assert_close(attention(states, 1e-12), attention(states, 0.0))
    torch.testing.assert_close(nearly, kept)
    for padding in (attention(states, 0.3)[:, sum(lengths) :], nearly[..., sum(lengths) :, :]):
        assert padding.numel() and not padding.any()
    assert torch.autograd.gradcheck(lambda states: attention(states, 0.3), states, fast_mode=True)


def test_attention_with_dropout_in_bf16_is_computed_in_float32():
    torch.manual_seed(0)
    rows = unpadded_rows(np.arange(14) < np.array(LENGTHS)[:, None], CPU)
    states = torch.randn(3, 1, 2, len(rows.tokens), 4).bfloat16()
    found = []
    for one in (states.float().requires_grad_(), states.clone().requires_grad_()):
        torch.manual_seed(1)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            seen, _ = unpadded_attention(
                torch.nn.Identity(), *one, None, unpadded=rows, dropout=0.3
            )
        found.append((seen, *torch.autograd.grad(seen.float().square().sum(), one)))
    (exact, gradient), (rounded, its_gradient) = found
    assert rounded.dtype == its_gradient.dtype == torch.bfloat16
    assert torch.equal(rounded, exact.bfloat16())
    torch.testing.assert_close(its_gradient.float(), gradient, rtol=0.02, atol=0.02)


def test_dropout_leaves_out_its_share_of_the_attention():
    rows = unpadded_rows(np.arange(60) < np.array([60] * 8 + [30])[:, None], CPU)
    query = key = torch.zeros(1, 2, 510, 4)
    value = torch.ones(1, 2, 510, 4)
    seen, _ = unpadded_attention(
        torch.nn.Identity(), query, key, value, None, unpadded=rows, dropout=0.25
    )
    # 60 shares of 1 / 60 each; a quarter is dropped, and the rest is scaled up.
    assert float(seen.mean()) == pytest.approx(1, abs=0.02)
    assert 0.05 < float(seen[0, :480].std()) < 0.1


@pytest.mark.parametrize("dropout", [0.1, 0.5])
def test_the_factors_of_dropout_have_its_share_and_the_mean_of_one(dropout):
    torch.manual_seed(0)
    found = factors(torch.empty(3, 50_001), dropout)
    assert sorted(found.unique().tolist()) == [0, pytest.approx(1 / (1 - dropout), rel=1e-4)]
    # The four values from one random number, and neighbours, which must be independent.
    is_dropped = (found == 0).flatten()[:150_000].view(-1, 4).float()
    assert is_dropped.mean(0).tolist() == pytest.approx([dropout] * 4, abs=0.008)
    assert torch.corrcoef(is_dropped.T).fill_diagonal_(0).abs().max() < 0.02
    torch.manual_seed(0)
    assert torch.equal(factors(torch.empty(3, 50_001), dropout), found)


@pytest.mark.parametrize(("dropout", "factor"), [(1.0, 0), (1e-12, 1)])
def test_all_or_nothing_is_dropped(dropout, factor):
    assert factors(torch.empty(5), dropout).tolist() == [factor] * 5


def test_hidden_states_are_dropped_out_in_training_only():
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Dropout(0.5))
    ((part, forward),) = dropouts(model)
    states = torch.ones(40, requires_grad=True)
    seen = forward(states)
    (gradient,) = torch.autograd.grad(seen.sum(), states)
    assert part is model[1] and set(seen.tolist()) == {0, 2} and torch.equal(gradient, seen)
    model.eval()
    assert forward(states) is states


def test_activations_in_one_pass_round_otherwise():
    activation = transformers.activations.NewGELUActivation()
    ((part, forward),) = gelus(torch.nn.Sequential(torch.nn.ReLU(), activation))
    states = torch.linspace(-8, 8, 300, requires_grad=True)
    assert part is activation
    one, other = forward(states), activation(states)
    torch.testing.assert_close(one, other)
    gradients = [torch.autograd.grad(found.sum(), states)[0] for found in (one, other)]
    torch.testing.assert_close(*gradients)


def distilbert():
    sizes = {"vocab_size": 40, "dim": 16, "n_layers": 1, "n_heads": 2, "hidden_dim": 16}
    return transformers.DistilBertModel(transformers.DistilBertConfig(**sizes))


def eager_bert():
    return transformers.BertModel._from_config(
        transformers.BertConfig(**SIZES), attn_implementation="eager"
    )


def talkative_bert():
    return transformers.BertModel(transformers.BertConfig(**SIZES, output_hidden_states=True))


def decoding_bert():
    return transformers.BertModel(transformers.BertConfig(**SIZES, is_decoder=True))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (distilbert, "its encoder is of no supported class"),
        (decoding_bert, "its encoder is of no supported class"),
        (eager_bert, "its attention is 'eager'"),
        (talkative_bert, "it returns the states of its layers"),
    ],
)
def test_models_whose_padding_stays(make, message):
    with pytest.raises(ValueError, match=message):
        Unpadding(make())


def test_a_batch_of_another_shape_than_its_mask_is_an_error():
    model = model_of("BertForTokenClassification")
    ids = torch.zeros(2, 4, dtype=torch.long)
    with (
        pytest.raises(ValueError, match=r"input_ids has the shape \(2, 4\), not \(2, 3\)"),
        Unpadding(model).over(np.array([[1, 1, 1], [1, 0, 0]])),
    ):
        model(input_ids=ids)


def test_losses_agree_up_to_rounding_only():
    one = torch.tensor(1.0)
    assert losses_agree(one, one + 1e-5) and not losses_agree(one, one + 1e-3)
    assert not losses_agree(one, one * torch.nan)
