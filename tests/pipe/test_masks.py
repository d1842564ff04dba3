"""The mask of a forward pass is known to the host and not read from the device."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import (
    BertConfig,
    BertForMultipleChoice,
    BertForSequenceClassification,
    ElectraConfig,
    ElectraForSequenceClassification,
    Qwen3Config,
    Qwen3ForSequenceClassification,
    RobertaConfig,
    RobertaForSequenceClassification,
    T5Config,
    T5ForConditionalGeneration,
    XLMRobertaConfig,
    XLMRobertaForSequenceClassification,
    masking_utils,
)

from ke_t5.models.models import T5EncoderForSequenceClassificationMean
from ke_t5.pipe.masks import known_mask
from ke_t5.pipe.model_inputs import without_cache

SIZES = {
    "vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
    "intermediate_size": 16, "num_labels": 3, "pad_token_id": 0,
}  # fmt: skip
T5_SIZES = {
    "vocab_size": 40, "d_model": 16, "d_ff": 16, "d_kv": 8, "num_layers": 2, "num_heads": 2,
    "decoder_start_token_id": 0, "num_labels": 3,
}  # fmt: skip
GPU = torch.device("cuda", 0)
MODELS = {
    "bert": lambda: BertForSequenceClassification(BertConfig(**SIZES)),
    "roberta": lambda: RobertaForSequenceClassification(RobertaConfig(**SIZES)),
    "electra": lambda: ElectraForSequenceClassification(ElectraConfig(**SIZES)),
    "xlm-roberta": lambda: XLMRobertaForSequenceClassification(XLMRobertaConfig(**SIZES)),
    "t5": lambda: T5ForConditionalGeneration(T5Config(**T5_SIZES)),
    "t5 encoder": lambda: T5EncoderForSequenceClassificationMean(T5Config(**T5_SIZES)),
}
OF_KINDS = {
    "bert": MODELS["bert"],
    "qwen": lambda: Qwen3ForSequenceClassification(Qwen3Config(**SIZES, num_key_value_heads=2)),
}


def recorded(model, columns, monkeypatch):
    """The logits with the mask known, as if a CUDA graph were being recorded."""
    monkeypatch.setattr(masking_utils, "is_tracing", lambda *_: True)
    inputs = {name: torch.from_numpy(column) for name, column in columns.items()}
    with torch.no_grad(), known_mask(model, columns, GPU):
        return model(**inputs).logits


class Users(BertForSequenceClassification):
    """Masks the first token as well."""

    def forward(self, input_ids, attention_mask, **inputs):
        mask = attention_mask.clone()
        mask[:, 0] = 0
        return super().forward(input_ids=input_ids, attention_mask=mask, **inputs)


def batch(lengths):
    columns = {"input_ids": np.zeros((len(lengths), max(lengths)), dtype=np.int64)}
    columns["attention_mask"] = np.zeros_like(columns["input_ids"])
    for row, length in enumerate(lengths):
        columns["input_ids"][row, :length] = 5 + np.arange(length)
        columns["attention_mask"][row, :length] = 1
    return columns


def logits_of(model, columns, *, asked):
    """The logits without and with a known mask; only without it are the mask's values read."""
    inputs = {name: torch.from_numpy(column) for name, column in columns.items()}
    if isinstance(model, T5ForConditionalGeneration):
        inputs["labels"] = torch.tensor([[7, 8, 1]] * len(columns["input_ids"]))
    with torch.no_grad():
        plain = model(**inputs).logits
        assert asked
        asked.clear()
        with known_mask(model, columns, GPU):
            known = model(**inputs).logits
    return plain, known


@pytest.fixture
def asked(monkeypatch):
    """The masks whose values transformers has read."""
    found, real = [], masking_utils._ignore_bidirectional_mask_sdpa

    def ask(padding_mask, *arguments, **options):
        if padding_mask is not None:
            found.append(padding_mask)
        return real(padding_mask, *arguments, **options)

    monkeypatch.setattr(masking_utils, "_ignore_bidirectional_mask_sdpa", ask)
    return found


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("lengths", [(4, 4), (3, 6)])
def test_no_forward_pass_asks_for_what_the_host_knows(name, lengths, asked):
    torch.manual_seed(0)
    model = MODELS[name]().eval()
    plain, known = logits_of(model, batch(lengths), asked=asked)
    assert torch.equal(plain, known) and not asked


@pytest.mark.parametrize("lengths", [(4, 4), (3, 6)])
@pytest.mark.parametrize("name", OF_KINDS)
def test_a_recorded_pass_has_the_masks_of_any_other(name, lengths, monkeypatch):
    """Flash attention supports no mask, and its dropout draws other numbers."""
    torch.manual_seed(0)
    model = OF_KINDS[name]().eval()
    masks, real = [], torch.nn.functional.scaled_dot_product_attention

    def attend(*tensors, attn_mask=None, **options):
        masks.append((attn_mask is None, options.get("is_causal")))
        return real(*tensors, attn_mask=attn_mask, **options)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", attend)
    columns = batch(lengths)
    with torch.no_grad(), known_mask(model, columns, GPU):
        model(**{name: torch.from_numpy(column) for name, column in columns.items()})
    before, masks[:] = list(masks), []
    recorded(model, columns, monkeypatch)
    assert masks == before
    assert all(is_left_out == (lengths == (4, 4)) for is_left_out, _ in masks)


@pytest.mark.parametrize("lengths", [(4, 4), (3, 6)])
def test_a_model_of_the_users_may_mask_more(lengths, asked):
    torch.manual_seed(0)
    plain, known = logits_of(Users(BertConfig(**SIZES)).eval(), batch(lengths), asked=asked)
    assert torch.equal(plain, known) and not asked


def test_another_forward_pass_is_not_answered(asked):
    model = MODELS["bert"]().eval()
    with known_mask(model, batch((4, 4)), GPU):
        model(**{name: torch.from_numpy(x) for name, x in batch((3, 2)).items()})
    assert len(asked) == 1
    with known_mask(model, batch((3, 2)), torch.device("cpu")):  # where nothing waits
        model(**{name: torch.from_numpy(x) for name, x in batch((3, 2)).items()})
    assert len(asked) == 2


def test_training_builds_no_cache(monkeypatch):
    torch.manual_seed(0)
    model = MODELS["t5"]().eval()
    inputs = {name: torch.from_numpy(x) for name, x in batch((3, 6)).items()}
    inputs["labels"] = torch.tensor([[7, 8, 1]] * 2)
    with_cache, without = model(**inputs), model(**inputs, **without_cache(model))
    assert with_cache.past_key_values is not None and without.past_key_values is None
    assert torch.equal(with_cache.loss, without.loss)
    assert without_cache(MODELS["bert"]()) == without_cache(MODELS["t5 encoder"]()) == {}


@pytest.mark.parametrize("lengths", [(4, 2), (4, 4)])
def test_the_mask_of_choices_is_known_as_that_of_rows(lengths, asked):
    model = BertForMultipleChoice(BertConfig(**SIZES)).eval()
    columns = {name: np.stack([column] * 2, axis=1) for name, column in batch(lengths).items()}
    plain, known = logits_of(model, columns, asked=asked)
    assert not asked
    torch.testing.assert_close(plain, known)
