"""A model of a few hundred weights with the interface of a Hugging Face model."""

from __future__ import annotations

import torch
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput, TokenClassifierOutput


class ToyConfig(PreTrainedConfig):
    """Width 8, three classes; `per_token` for a tagger, `dropout` in the middle."""

    model_type = "toy"

    def __init__(self, per_token=False, dropout=0.0, spare=False, **kwargs):
        super().__init__(num_labels=3, **kwargs)
        self.per_token, self.dropout, self.spare = per_token, dropout, spare


class ToyModel(PreTrainedModel):
    """Embedding, mean over the mask, two layers."""

    config_class = ToyConfig

    def __init__(self, config):
        super().__init__(config)
        self.embedding = torch.nn.Embedding(20, 8)
        self.hidden = torch.nn.Linear(8, 8)
        self.drop = torch.nn.Dropout(config.dropout)
        self.classifier = torch.nn.Linear(8, 3)
        if config.spare:
            self.never_used = torch.nn.Linear(2, 2)
        self.post_init()

    def forward(self, input_ids, attention_mask, labels=None):
        states = torch.tanh(self.hidden(self.embedding(input_ids)))
        if not self.config.per_token:
            mask = attention_mask[..., None].to(states.dtype)
            states = (states * mask).sum(1) / mask.sum(1)
        logits = self.classifier(self.drop(states))
        loss = None
        if labels is not None:
            loss = torch.nn.functional.cross_entropy(logits.flatten(0, -2), labels.flatten())
        kind = TokenClassifierOutput if self.config.per_token else SequenceClassifierOutput
        return kind(loss=loss, logits=logits)


def toy_model(**settings):
    """A toy model in float64, always with the same weights."""
    torch.manual_seed(0)
    return ToyModel(ToyConfig(**settings)).double()
