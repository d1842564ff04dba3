"""Exported folders as others use them: the code on their cards is run."""

from __future__ import annotations

import pytest
import torch
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertConfig,
    BertForSequenceClassification,
    BertTokenizer,
    DistilBertConfig,
    DistilBertForSequenceClassification,
    RobertaConfig,
    RobertaForSequenceClassification,
    pipeline,
)

from ke_t5.models.export import export
from ke_t5.models.loader import load_model

SIZES = dict(vocab_size=30, hidden_size=8, num_hidden_layers=1, num_attention_heads=1,
             intermediate_size=8, max_position_embeddings=40, pad_token_id=0)  # fmt: skip
ROBERTA = RobertaConfig(**SIZES, type_vocab_size=1)


def bert_tokenizer(folder):
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"가나다라마"]
    (folder / "vocab.txt").write_text("\n".join(words))
    return BertTokenizer(str(folder / "vocab.txt"))


def mean_of(backbone):
    model_class = load_model("EncoderForSequenceClassificationMean")
    return model_class(model_class.config_class(backbone=backbone.to_dict()))


@pytest.mark.parametrize(
    ("make", "has_segments"),
    [
        (lambda: RobertaForSequenceClassification(ROBERTA), False),
        (lambda: mean_of(ROBERTA), False),
        (lambda: DistilBertForSequenceClassification(
            DistilBertConfig(vocab_size=30, dim=8, hidden_dim=8, n_layers=1, n_heads=1)), False),
        (lambda: BertForSequenceClassification(BertConfig(**SIZES)), True),
        (lambda: mean_of(BertConfig(**SIZES)), True),
    ],
)  # fmt: skip
def test_a_pair_goes_through_every_export(tmp_path, make, has_segments):
    torch.manual_seed(0)
    folder = export(make().eval(), bert_tokenizer(tmp_path), tmp_path / "hf", card="")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    inputs = tokenizer("가 나", "다 라", return_tensors="pt")
    assert ("token_type_ids" in inputs) == has_segments
    AutoModelForSequenceClassification.from_pretrained(folder)(**inputs)
    (answer,) = pipeline("text-classification", model=str(folder))(
        [{"text": "가", "text_pair": "다"}]
    )
    assert answer["label"].startswith("LABEL_")
