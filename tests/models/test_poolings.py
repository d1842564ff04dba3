"""Every pooling on tiny encoders of the kinds used for text classification."""

from __future__ import annotations

import functools
import re

import pytest
import torch
from support.our_models import BERT_SIZES
from transformers import (
    AutoModelForSequenceClassification,
    BartConfig,
    FunnelConfig,
    Gemma3TextConfig,
    MambaConfig,
    ModernBertConfig,
    Qwen3Config,
    T5Config,
    XLMRobertaConfig,
)

from ke_t5.errors import UserError
from ke_t5.lookup.loader import load_model
from ke_t5.models import poolings
from ke_t5.models.unpadding import Unpadding

pytestmark = pytest.mark.usefixtures("quiet_transformers")

SIZES = {**BERT_SIZES, "pad_token_id": 0}
DECODER_SIZES = {**SIZES, "num_key_value_heads": 2, "head_dim": 4}
BACKBONES = {
    "XLM-R": lambda: XLMRobertaConfig(**SIZES),
    "Gemma 3": lambda: Gemma3TextConfig(**DECODER_SIZES, use_bidirectional_attention=True),
    "ModernBERT": lambda: ModernBertConfig(**SIZES, global_attn_every_n_layers=2),
    "Qwen3": lambda: Qwen3Config(**DECODER_SIZES),
    "BART": lambda: BartConfig(
        vocab_size=40, d_model=16, encoder_layers=1, decoder_layers=2, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=16, decoder_ffn_dim=16,
        max_position_embeddings=40, pad_token_id=0,
    ),
    "Mamba": lambda: MambaConfig(
        vocab_size=40, hidden_size=16, num_hidden_layers=2, state_size=4, pad_token_id=0
    ),
    "T5": lambda: T5Config(
        vocab_size=40, d_model=16, d_kv=4, d_ff=24, num_layers=2, num_decoder_layers=1, num_heads=4
    ),
}  # fmt: skip
POOLINGS = ("Mean", "First", "Last", "Attention", "Layers")
BOTH = [(kind, pooling) for kind in BACKBONES for pooling in POOLINGS]


@functools.cache
def batch(width=7):
    """Two texts of 7 and 4 tokens, right-padded to `width`."""
    inside = torch.arange(width) < torch.tensor([[7], [4]])
    ids = torch.zeros(2, width, dtype=torch.long)
    ids[:, :7] = torch.randint(3, 40, (2, 7), generator=torch.Generator().manual_seed(1))
    return {"input_ids": ids * inside, "attention_mask": inside.long()}


def make(kind, pooling, **changes):
    """A tiny model whose learned pooling is not at its initial value."""
    torch.manual_seed(0)
    model_class = load_model(f"EncoderForSequenceClassification{pooling}")
    backbone = BACKBONES[kind]().to_dict()
    changes = {"num_labels": 3, **changes}
    model = model_class(model_class.config_class(backbone=backbone, **changes)).eval()
    for name, parameter in model.named_parameters():
        if name in ("token_attention.query", "layer_mix.weights"):
            torch.nn.init.normal_(parameter)
    return model


@pytest.mark.parametrize(("kind", "pooling"), BOTH)
def test_padding_is_not_read_and_everything_learns(kind, pooling, tmp_path):
    model = make(kind, pooling)
    logits = model(**batch()).logits
    torch.testing.assert_close(model(**batch(width=11)).logits, logits)
    alone = {name: column[1:, :4] for name, column in batch().items()}
    torch.testing.assert_close(model(**alone).logits, logits[1:])

    loss = model.train()(**batch(), labels=torch.tensor([2, 0])).loss
    loss.backward()
    silent = {
        name
        for name, parameter in model.named_parameters()
        if parameter.grad is None or not torch.any(parameter.grad)
    }
    # A key's bias shifts all scores of a query equally; a decoder's first token sees only itself,
    # whatever its scores.
    without = r"(key|k_proj)\.bias$"
    if pooling == "First" and kind in ("Qwen3", "BART", "Mamba"):
        without += r"|self_attn\.[qk]_(proj|norm)\.|mixer\.A_log$"
    assert not {name for name in silent if not re.search(without, name)}

    model.eval().save_pretrained(tmp_path)
    again = AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    assert type(again) is type(model)
    assert torch.equal(again(**batch()).logits, logits)


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize(
    ("problem", "labels", "count"),
    [
        ("regression", torch.tensor([0.5, 3.0]), 1),
        ("multi_label_classification", torch.tensor([[1.0, 0, 1], [0, 0, 0]]), 3),
        ("single_label_classification", torch.tensor([2, 0]), 3),
    ],
)
def test_numbers_pairs_and_several_labels_are_learned(pooling, problem, labels, count):
    model = make("XLM-R", pooling, num_labels=count, problem_type=problem)
    # XLM-R has one segment; a separator marks the second text of a pair.
    inputs = {**batch(), "labels": labels, "token_type_ids": torch.zeros(2, 7, dtype=torch.long)}
    optimizer = torch.optim.Adam(model.parameters(), 0.03)
    losses = []
    for _ in range(12):
        loss = model(**inputs).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 2


def funnel_of(pooling):
    """A model with the architecture of kykim/funnel-kor-base: two classes for one configuration."""
    model_class = load_model(f"EncoderForSequenceClassification{pooling}")
    sizes = dict(d_model=16, block_sizes=[1, 1], n_head=2, d_head=8, d_inner=16)
    backbone = FunnelConfig(vocab_size=40, num_decoder_layers=1, **sizes)
    return model_class(model_class.config_class(backbone=backbone.to_dict())).eval()


def test_a_head_reads_the_top_of_the_decoder_of_funnel():
    model = funnel_of("Mean")
    assert type(model.backbone).__name__ == "FunnelModel"
    assert model(**batch()).logits.shape == (2, 2)


def test_layers_that_are_not_those_of_the_configuration_are_refused():
    with pytest.raises(UserError, match="returns the states of 5 layers instead of 3; choose Enc"):
        funnel_of("Layers")(**batch())


def test_attention_begins_as_the_mean_and_follows_its_query():
    hidden = torch.tensor([[[4.0, 0.0], [0.0, 2.0], [9.0, 9.0]]])
    mask = torch.tensor([[True, True, False]])
    attention = poolings.TokenAttention(2)
    assert attention(hidden, mask).tolist() == [[2.0, 1.0]]
    assert attention(hidden, mask & ~mask).tolist() == [[0.0, 0.0]]
    attention.query.data[0] = 2**0.5 / 4  # scores 1 and 0
    share = torch.tensor([1.0, 0.0]).softmax(0)
    torch.testing.assert_close(attention(hidden, mask)[0], share * torch.tensor([4.0, 2.0]))


def test_the_mix_of_layers_begins_equal_and_follows_its_weights():
    layers = [torch.tensor([[[1.0, -1.0]]]), torch.tensor([[[-500.0, 700.0]]])]
    mix = poolings.LayerMix(2)
    torch.testing.assert_close(mix(layers), torch.zeros(1, 1, 2), atol=1e-4, rtol=0)
    mix.weights.data = torch.tensor([0.0, 100.0])
    torch.testing.assert_close(mix(layers), torch.tensor([[[-1.0, 1.0]]]), atol=1e-4, rtol=0)
    with pytest.raises(ValueError, match="the encoder has 2 layers, not 3"):
        poolings.LayerMix(3)(layers)


def test_states_of_layers_are_returned_only_if_asked_for():
    model = make("XLM-R", "Layers")
    assert model(**batch()).hidden_states is None
    assert len(model(**batch(), output_hidden_states=True).hidden_states) == 3
    assert len(model(**batch(), return_dict=False)) == 1


def test_padding_is_left_out_unless_every_layer_is_read():
    with pytest.raises(ValueError, match="it returns the states of its layers"):
        Unpadding(make("XLM-R", "Layers"))
    Unpadding(make("XLM-R", "Attention"))
