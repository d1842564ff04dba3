"""Tiny models of our own classes, and batches for them."""

from __future__ import annotations

import torch
from torch.nn import functional
from transformers import BertConfig

from ke_t5.lookup.loader import load_model

TAGS = {0: "B-X", 1: "I-X", 2: "O"}
T5_SIZES = dict(vocab_size=40, d_model=16, d_kv=4, d_ff=24, num_layers=2, num_heads=4)
BERT_SIZES = dict(
    vocab_size=40,
    hidden_size=16,
    num_hidden_layers=2,
    num_attention_heads=4,
    intermediate_size=24,
    max_position_embeddings=40,
)


def make_model(name, seed=0, **changes):
    """A tiny model of that class in evaluation mode."""
    torch.manual_seed(seed)
    model_class = load_model(name)
    sizes = dict(T5_SIZES, feed_forward_proj="gated-gelu") if name.startswith("T5") else {}
    if not name.startswith("T5"):
        sizes["backbone"] = BertConfig(**BERT_SIZES).to_dict()
    changes = {"id2label": TAGS, "label2id": {v: k for k, v in TAGS.items()}, **changes}
    return model_class(model_class.config_class(**sizes, **changes)).eval()


def _windows(batch, inside, last):
    """Two windows per text; the first has one token, and the first and last tokens form a chain."""
    is_first = torch.arange(inside.size(1)).expand_as(inside) == 0
    sentences = torch.where(inside, 1, -1)
    gold = torch.stack([torch.zeros_like(last), last], dim=1)
    doubled = {key: torch.stack([value.where(is_first, 0), value], dim=1)
               for key, value in batch.items()}  # fmt: skip
    return {
        **doubled,
        "sentence_ids": torch.stack([torch.where(is_first, 0, -1), sentences], dim=1),
        "window_lengths": torch.stack([torch.ones_like(last), last], dim=1),
        "labels": torch.stack([gold, gold, torch.zeros_like(gold)], dim=2),
    }


def make_batch(name, lengths=(5, 3, 1), width=None, seed=1):
    """Inputs and labels for a class, right-padded to `width` tokens."""
    generator = torch.Generator().manual_seed(seed)
    width = width or max(lengths)
    inside = torch.arange(width) < torch.tensor(lengths).unsqueeze(1)
    drawn = torch.randint(3, 40, (len(lengths), max(lengths)), generator=generator)
    ids = torch.zeros(len(lengths), width, dtype=torch.long)
    ids[:, : drawn.size(1)] = drawn
    batch = {"input_ids": ids * inside, "attention_mask": inside.long()}
    labels = torch.randint(3, drawn.shape, generator=generator)
    labels = functional.pad(labels, (0, width - drawn.size(1)))
    if "Choice" in name:
        # The second choice differs in its first token.
        other = torch.cat([batch["input_ids"][:, :1] % 37 + 3, batch["input_ids"][:, 1:]], dim=1)
        ids = torch.stack([batch["input_ids"], other], dim=1)
        mask = batch["attention_mask"].unsqueeze(1).expand_as(ids)
        return {"input_ids": ids, "attention_mask": mask, "labels": labels[:, 0] % 2}
    if "Coreference" in name:
        return _windows(batch, inside, torch.tensor(lengths))
    if "Submean" in name:
        batch["entity_token_idx"] = torch.tensor([[[0, 1], [n - 1, n]] for n in lengths])
    if "Sequence" in name:
        return {**batch, "labels": labels[:, 0]}
    if "Question" in name:
        ends = torch.tensor(lengths) - 1
        return {**batch, "start_positions": torch.zeros_like(ends), "end_positions": ends}
    labels = labels.masked_fill(~inside, -100)
    places = torch.arange(width).expand_as(ids).masked_fill(~inside, -1)
    if "Character" in name:
        batch["character_token_idx"] = torch.div(places, 2, rounding_mode="floor")
    if "Dependency" in name:
        batch["word_token_idx"] = torch.stack([places, places], dim=-1)
        return {**batch, "labels": labels.clamp(max=0), "relation_labels": labels}
    return {**batch, "labels": labels}
