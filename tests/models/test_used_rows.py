"""A training of the used rows of an embedding gives the weights of a training of all rows."""

from __future__ import annotations

import copy
import io

import numpy as np
import pytest
import torch
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    BartForSequenceClassification,
    RobertaConfig,
    RobertaForSequenceClassification,
    T5Config,
    T5ForConditionalGeneration,
    T5ForSequenceClassification,
)

from ke_t5.checkpoint.serialization import load_optimizer, optimizer_state
from ke_t5.models import kept_gradients
from ke_t5.models.kept_gradients import KeptGradients
from ke_t5.models.used_rows import UsedEmbedding, UsedRows, find_used_rows, input_embedding
from ke_t5.module_state import reset_module_state

# Rows 2 to 9 are used; 1 is padding, 0 ends a text.
USED = np.array([0, 1, 2, 3, 5, 8, 9])
STEPS = (((3, 8, 8, 0), (2, 9, 0, 1)), ((5, 5, 3, 0), (9, 3, 0, 1)), ((8, 2, 2, 0), (3, 0, 1, 1)))
UNUSED = torch.tensor([4, 6, 7, *range(10, 40)])


def roberta():
    config = RobertaConfig(
        vocab_size=40, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=16, num_labels=3, max_position_embeddings=20,
    )  # fmt: skip
    return RobertaForSequenceClassification(config)


def t5(kind=T5ForSequenceClassification, **settings):
    return kind(T5Config(
        vocab_size=40, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2, num_labels=3,
        decoder_start_token_id=1, pad_token_id=1, eos_token_id=0, **settings,
    ))  # fmt: skip


def bart(kind=BartForSequenceClassification):
    return kind(BartConfig(
        vocab_size=40, d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=16, decoder_ffn_dim=16, num_labels=3,
        max_position_embeddings=20, scale_embedding=True, pad_token_id=1, bos_token_id=0,
        eos_token_id=0, decoder_start_token_id=0, forced_eos_token_id=0,
    ))  # fmt: skip


def seq2seq():
    model = t5(T5ForConditionalGeneration)
    model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.detach().clone())  # as KE-T5's
    return model


MAKERS = (roberta, t5, bart, seq2seq)


def made(maker):
    torch.manual_seed(0)
    return maker()


def trained(model, *, optimizer=None, keeps=False, reads=(), steps=STEPS):
    """Trains without dropout; at the steps in `reads`, the state is read, too."""
    used = find_used_rows(model)
    optimizer = optimizer or torch.optim.AdamW(model.parameters(), lr=0.1, weight_decay=0.1)
    gradients = KeptGradients(model) if keeps else None
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    for number, ids in enumerate(map(torch.tensor, steps)):
        model.train()
        optimizer.zero_grad(set_to_none=True)
        is_seq2seq = isinstance(model, T5ForConditionalGeneration)
        labels = ids.masked_fill(ids == 1, -100) if is_seq2seq else torch.tensor([0, 2])

        def backward(ids=ids, labels=labels):
            model(input_ids=ids, attention_mask=(ids != 1).long(), labels=labels).loss.backward()

        if gradients is None:
            backward()
        else:
            with gradients.kept():
                backward()
        optimizer.step()
        if used is not None:
            used.decay(optimizer)
        if number in reads:
            model.eval()
            model.state_dict()
    return optimizer


def split(maker, rows=USED):
    model = made(maker)
    used = UsedRows(model, rows)
    used.split()
    return model, used


def assert_same_state(one, other):
    one, other = one.state_dict(), other.state_dict()
    assert list(one) == list(other)
    for name, tensor in one.items():
        assert torch.equal(tensor, other[name]), name


@pytest.mark.parametrize("keeps", [False, True])
@pytest.mark.parametrize("maker", MAKERS)
def test_weights_are_those_of_a_training_of_all_rows(maker, keeps, monkeypatch):
    monkeypatch.setattr(kept_gradients, "LARGE", 1)
    whole, start = made(maker), made(maker)
    trained(whole)
    model, used = split(maker)
    trained(model, keeps=keeps)
    names = [name for name, one in model.named_parameters() if one is used.weight]
    assert len(names) == 1 and used.weight.shape == (len(USED), 16)
    assert_same_state(model, whole)
    used.restore()
    assert_same_state(model, whole)
    assert not any(isinstance(part, UsedEmbedding) for part in model.modules())
    before, after = (input_embedding(one).weight for one in (start, model))
    assert not torch.equal(before[UNUSED], after[UNUSED])  # they decay
    assert torch.allclose(before[UNUSED] * 0.99**3, after[UNUSED])


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("Adam", {}),
        ("Adam", {"weight_decay": 0.1, "decoupled_weight_decay": True}),
        ("AdamW", {"amsgrad": True, "fused": True}),
        ("NAdam", {"weight_decay": 0.1, "decoupled_weight_decay": True}),
        ("RAdam", {}),
        ("Adamax", {}),
        ("SGD", {"momentum": 0.9}),
        ("Adagrad", {"initial_accumulator_value": 0.1}),
        ("RMSprop", {"momentum": 0.5, "centered": True}),
        ("Adadelta", {}),
    ],
)
def test_every_supported_optimizer_gives_these_weights(name, settings):
    whole = made(roberta)
    kind = getattr(torch.optim, name)
    trained(whole, optimizer=kind(whole.parameters(), lr=0.1, **settings))
    model, _ = split(roberta)
    trained(model, optimizer=kind(model.parameters(), lr=0.1, **settings))
    assert_same_state(model, whole)


def test_reading_the_state_does_not_change_the_rounding():
    steps = STEPS * 7
    model, _ = split(roberta)
    trained(model, reads={0, 3, 4, 11}, steps=steps)
    other, _ = split(roberta)
    trained(other, steps=steps)
    assert_same_state(model, other)


def test_evaluation_knows_all_rows_and_training_the_used_ones():
    whole = made(roberta)
    trained(whole)
    model, _ = split(roberta)
    trained(model)
    unseen = torch.tensor([[0, 7, 30, 0]])
    with torch.inference_mode():
        expected = whole.eval()(unseen).logits
        assert torch.equal(model.eval()(unseen).logits, expected)
        with pytest.raises(IndexError):
            model.train()(unseen)


def test_padding_gets_no_gradient():
    model, used = split(roberta)
    trained(model)
    padding = made(roberta).roberta.embeddings.word_embeddings.weight[1]
    assert not padding.any() and not used.table[1].any()


def test_a_state_is_loaded_into_both_parts():
    whole = made(roberta)
    trained(whole)
    model, used = split(roberta)
    trained(model, steps=STEPS[:1])
    model.load_state_dict(whole.state_dict())
    assert_same_state(model, whole)
    assert torch.equal(used.weight, used.table[USED])
    with pytest.raises(RuntimeError, match="Missing key.*word_embeddings"):
        model.load_state_dict({})


@pytest.mark.parametrize("maker", MAKERS)
def test_the_optimizer_is_saved_as_one_of_all_rows(maker):
    whole = made(maker)
    of_whole = trained(whole)
    model, _ = split(maker)
    of_model = trained(model)
    (about, tensors), (expected_about, expected) = map(optimizer_state, (of_model, of_whole))
    assert about == expected_about and list(tensors) == list(expected)
    assert all(torch.equal(tensors[name], expected[name]) for name in expected)


@pytest.mark.parametrize("begins_whole", [False, True])
@pytest.mark.parametrize("goes_on_whole", [False, True])
def test_an_optimizer_goes_on_with_all_or_the_used_rows(begins_whole, goes_on_whole):
    def model_of(*, is_whole):
        return made(roberta) if is_whole else split(roberta)[0]

    expected = made(roberta)
    trained(expected, steps=STEPS * 2)
    before = model_of(is_whole=begins_whole)
    saved = optimizer_state(trained(before))
    after = model_of(is_whole=goes_on_whole)
    after.load_state_dict(before.state_dict())
    optimizer = torch.optim.AdamW(after.parameters(), lr=0.1, weight_decay=0.1)
    load_optimizer(optimizer, *saved, "a checkpoint")
    trained(after, optimizer=optimizer)
    assert_same_state(after, expected)


def test_the_reset_of_a_models_modules_keeps_the_split():
    model = made(roberta)
    reset_module_state(model)
    used = UsedRows(model, USED)
    for change, kind in ((used.split, UsedEmbedding), (used.restore, torch.nn.Embedding)):
        change()
        reset_module_state(model)
        assert not reset_module_state(model)
        assert type(model.get_input_embeddings()) is kind


def frozen():
    model = roberta()
    model.roberta.embeddings.word_embeddings.requires_grad_(False)
    return model


def sparse():
    model = roberta()
    model.roberta.embeddings.word_embeddings.sparse = True
    return model


def bare():
    return torch.nn.Sequential(torch.nn.Embedding(3, 2))


@pytest.mark.parametrize(
    ("maker", "reason"),
    [
        (frozen, "its input embedding is not trained"),
        (sparse, "its input embedding is of no supported class"),
        (bare, "its input embedding is of no supported class"),
        (lambda: bart(BartForConditionalGeneration), "its output layer uses the weights of the"),
        (lambda: t5(T5ForConditionalGeneration), "its output layer uses"),
    ],
)
def test_other_models_are_refused(maker, reason):
    model = made(maker)
    before = copy.deepcopy(list(model.modules()))
    with pytest.raises(ValueError, match=reason):
        UsedRows(model, USED)
    assert list(map(type, model.modules())) == list(map(type, before))


def test_a_split_model_is_saved_as_a_whole_one():
    model, _ = split(roberta)
    trained(model)
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    other = made(roberta)
    other.load_state_dict(torch.load(file))
    assert_same_state(other, model)
