"""The vocabulary loss equals the loss of the model's own code."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch
import transformers

from ke_t5.models import vocabulary_loss
from ke_t5.models.kept_gradients import KeptGradient
from ke_t5.models.vocabulary_loss import VocabularyLoss, find_vocabulary_loss
from ke_t5.train.settings import recompute_activations

WORDS = 90
T5 = {
    "vocab_size": WORDS, "d_model": 16, "d_kv": 4, "d_ff": 24, "num_layers": 1, "num_heads": 4,
    "decoder_start_token_id": 0, "dropout_rate": 0.0,
}  # fmt: skip
BART = {
    "vocab_size": WORDS, "d_model": 16, "encoder_layers": 1, "decoder_layers": 1,
    "encoder_attention_heads": 2, "decoder_attention_heads": 2, "encoder_ffn_dim": 16,
    "decoder_ffn_dim": 16, "max_position_embeddings": 32, "dropout": 0.0,
}  # fmt: skip
MODELS = {
    "T5ForConditionalGeneration": T5,
    "T5ForConditionalGeneration scaled": {**T5, "scale_decoder_outputs": True},
    "T5ForConditionalGeneration not scaled": {**T5, "scale_decoder_outputs": False},
    "T5ForConditionalGeneration untied": T5,
    "MT5ForConditionalGeneration": T5,
    "UMT5ForConditionalGeneration": T5,
    "BartForConditionalGeneration": {**BART, "scale_embedding": True},
    "BartForConditionalGeneration biased": BART,
    "MBartForConditionalGeneration": BART,
}


def model_of(case="T5ForConditionalGeneration"):
    torch.manual_seed(0)
    name, _, kind = case.partition(" ")
    model_class = getattr(transformers, name)
    model = model_class._from_config(model_class.config_class(**MODELS[case]))
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    if kind == "untied":
        model.lm_head.weight = torch.nn.Parameter(torch.randn(WORDS, 16))
    if kind == "biased":
        model.final_logits_bias.normal_()
    return model.train()


def batch_of(rows=3):
    """Inputs and targets, some of them ignored, including all of the last row."""
    generator = torch.Generator().manual_seed(1)
    inputs, labels = torch.randint(2, WORDS, (2, rows, 7), generator=generator)
    inputs[0, 4:] = 1
    labels[0, 5:] = labels[-1] = labels[1, 0] = -100
    return {"input_ids": inputs, "attention_mask": (inputs != 1).long(), "labels": labels}


def computed(model, batch, fused=None, factor=1.0, precision=None):
    """The loss, and each parameter's gradient of the loss times a factor."""
    model.zero_grad(set_to_none=True)
    return with_more(model, batch, fused, factor, precision)


def with_more(model, batch, fused=None, factor=1.0, precision=None):
    """The same with the gradients added to the existing ones."""
    bf16 = torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bf16")
    with nullcontext() if fused is None else fused.gradients.kept():
        with nullcontext() if fused is None else fused.instead(), bf16:
            loss = model(**batch, use_cache=False).loss * factor
        loss.backward()
    named = model.named_parameters()
    return loss.detach(), {name: one.grad for name, one in named if one.grad is not None}


def assert_equal_up_to_rounding(found, expected, tolerance=1e-5):
    (loss, gradients), (expected_loss, expected_gradients) = found, expected
    torch.testing.assert_close(loss, expected_loss, rtol=tolerance, atol=tolerance)
    assert gradients.keys() == expected_gradients.keys()
    largest = max(float(one.abs().max()) for one in expected_gradients.values())
    assert largest > 0
    for name, gradient in expected_gradients.items():
        torch.testing.assert_close(
            gradients[name], gradient, rtol=tolerance, atol=tolerance * largest, msg=name
        )


def kept(found):
    loss, gradients = found
    return loss, {name: gradient.clone() for name, gradient in gradients.items()}


@pytest.fixture(params=[(1 << 25, 16), (WORDS * 4, 2)], ids=["one part", "many parts"])
def parts(request, monkeypatch):
    most, rows = request.param
    monkeypatch.setattr(vocabulary_loss, "MOST_LOGITS", most)
    monkeypatch.setattr(vocabulary_loss, "ROWS", rows)


@pytest.mark.usefixtures("parts")
@pytest.mark.parametrize("case", MODELS)
def test_loss_and_gradients_are_those_of_the_model(case):
    model = model_of(case)
    fused = VocabularyLoss(model)
    for batch in (batch_of(), batch_of(5)):  # also in the memory of the previous step
        if case.startswith("MBart"):  # its decoder starts with the last real target
            batch["labels"][:, 0] = 7
        for factor in (1.0, 0.3):
            expected = kept(computed(model, batch, factor=factor))
            assert_equal_up_to_rounding(computed(model, batch, fused, factor), expected)


@pytest.mark.usefixtures("parts")
@pytest.mark.parametrize(
    "case", ["T5ForConditionalGeneration", "BartForConditionalGeneration biased"]
)
def test_under_autocast_they_differ_as_bf16_does(case):
    model = model_of(case)
    exact, batch = kept(computed(model, batch_of())), batch_of()
    theirs = kept(computed(model, batch, precision="bf16"))
    ours = computed(model, batch, VocabularyLoss(model), precision="bf16")
    assert all(one.dtype == torch.float32 for one in (ours[0], *ours[1].values()))
    assert_equal_up_to_rounding(ours, theirs, 0.02)
    assert_equal_up_to_rounding(ours, exact, 0.05)


def test_gradients_of_several_parts_of_a_batch_add_up():
    model = model_of()
    fused = VocabularyLoss(model)
    computed(model, batch_of())
    expected = kept(with_more(model, batch_of(5), factor=0.5))
    computed(model, batch_of(), fused)
    assert_equal_up_to_rounding(with_more(model, batch_of(5), fused, 0.5), expected)


def test_frozen_tables_get_no_gradient():
    model = model_of()
    model.shared.weight.requires_grad_(False)  # as LoRA does
    expected = kept(computed(model, batch_of()))
    assert "shared.weight" not in expected[1]
    assert_equal_up_to_rounding(computed(model, batch_of(), VocabularyLoss(model)), expected)


def test_activations_may_be_computed_again():
    model = model_of()
    expected = kept(computed(model, batch_of()))
    recompute_activations(model)
    assert_equal_up_to_rounding(computed(model, batch_of(), VocabularyLoss(model)), expected)


@pytest.mark.parametrize("logit", [1e4, -1e4])
def test_certain_and_impossible_words_have_a_finite_loss(logit):
    states, weight = torch.ones(2, 1, requires_grad=True), torch.nn.Parameter(torch.zeros(4, 1))
    weight.data[1] = logit
    gradient = KeptGradient(weight, is_sparse=False)
    targets, memory = torch.tensor([1, 2]), vocabulary_loss._Memory()
    loss = vocabulary_loss._Loss.apply(states, weight, None, targets, memory, gradient)
    torch.testing.assert_close(loss, torch.nn.functional.cross_entropy(states @ weight.T, targets))


def test_a_batch_without_targets_has_no_loss_as_in_torch():
    model, batch = model_of(), batch_of()
    batch["labels"] = torch.full_like(batch["labels"], -100)
    (loss, gradients), (expected, _) = (
        computed(model, batch, VocabularyLoss(model)),
        computed(model, batch),
    )
    assert loss.isnan() and expected.isnan() and gradients.keys()


def test_logits_that_are_not_finite_reach_loss_and_gradients():
    model = model_of()
    model.lm_head.weight.data[3] = torch.nan
    loss, gradients = computed(model, batch_of(), VocabularyLoss(model))
    assert loss.isnan() and gradients["shared.weight"].isnan().all()


def test_outside_of_the_context_nothing_is_changed():
    model = model_of()
    fused, batch = VocabularyLoss(model), batch_of()
    with fused.instead():
        assert model(**batch).logits.numel() == 0
        without_labels = {name: batch[name] for name in ("input_ids", "attention_mask")}
        shown = model(**without_labels, decoder_input_ids=batch["input_ids"]).logits
    assert shown.shape == (3, 7, WORDS)
    assert not any("forward" in vars(part) for part in model.modules())
    assert model(**batch).logits.shape == (3, 7, WORDS)


def test_memory_is_kept_from_step_to_step():
    model, batch = model_of(), batch_of()
    fused = VocabularyLoss(model)
    first = computed(model, batch, fused)[1]["shared.weight"].data_ptr()
    assert computed(model, batch, fused)[1]["shared.weight"].data_ptr() == first
    # A gradient that is still in use is not overwritten.
    weight = model.shared.weight
    held, values = weight.grad, weight.grad.clone()
    with fused.instead():
        loss = model(**batch).loss
    assert torch.equal(held, values)
    loss.backward()
    torch.testing.assert_close(weight.grad, 2 * values)


class Own(transformers.T5ForConditionalGeneration):
    """A class of the user's."""


def test_other_models_compute_their_own_loss():
    own = Own(transformers.T5Config(**T5))
    with_bias = model_of()
    with_bias.lm_head.bias = torch.nn.Parameter(torch.zeros(WORDS))
    head = transformers.T5ForTokenClassification(transformers.T5Config(**T5))
    on_meta, shared = model_of().to("meta"), model_of()
    shared.more = torch.nn.Linear(16, WORDS)
    shared.more.weight = shared.lm_head.weight
    others = (own, with_bias, on_meta, shared)
    assert [find_vocabulary_loss(one) for one in (head, *others)] == [None] * 5
    reasons = ("no supported class", "without bias", "on a CPU", "used elsewhere")
    for model, reason in zip(others, reasons, strict=True):
        with pytest.raises(ValueError, match=reason):
            VocabularyLoss(model)
