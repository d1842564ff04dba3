"""Model outputs per row: what decoding needs of the output for a batch, one dict per row."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ke_t5.forms import FORMS

RowOutput = dict[str, Any]
Arrays = Mapping[str, np.ndarray]


def class_logits(output: Any, batch: Arrays) -> list[RowOutput]:
    """The logits of each row's classes."""
    return [{"logits": row} for row in output.logits.float().cpu().tolist()]


def _tags(output: Any, lengths: np.ndarray) -> list[RowOutput]:
    """The tag of each of a row's `lengths` tokens or characters."""
    if isinstance(output.logits, list):  # a CRF returns the best path
        return [{"tags": list(path)} for path in output.logits]
    tags = output.logits.argmax(-1).cpu().numpy()
    return [{"tags": row[:length].tolist()} for row, length in zip(tags, lengths, strict=True)]


def token_tags(output: Any, batch: Arrays) -> list[RowOutput]:
    """The tag of each token of a row."""
    return _tags(output, batch["attention_mask"].sum(1))


def character_tags(output: Any, batch: Arrays) -> list[RowOutput]:
    """The tag of each character of a row."""
    return _tags(output, (batch["character_token_idx"] >= 0).sum(1))


def span_logits(output: Any, batch: Arrays) -> list[RowOutput]:
    """The start and end logits of each token of a row."""
    starts = output.start_logits.float().cpu().numpy()
    ends = output.end_logits.float().cpu().numpy()
    lengths = batch["attention_mask"].sum(1)
    return [
        {"start": start[:length], "end": end[:length]}
        for start, end, length in zip(starts, ends, lengths, strict=True)
    ]


def likeliest_tokens(output: Any, batch: Arrays) -> list[list[int]]:
    """The likeliest token at each position of the gold answer."""
    ids = output.logits.argmax(-1).cpu().numpy()
    lengths = (batch["labels"] >= 0).sum(1)
    return [row[:length].tolist() for row, length in zip(ids, lengths, strict=True)]


def trees(output: Any, batch: Arrays) -> list[RowOutput]:
    """The head of each word of a row, and its relation."""
    heads = output.head_logits.argmax(-1).cpu().tolist()
    relations = output.relation_logits.argmax(-1).cpu().tolist()
    num_words = (batch["word_token_idx"][..., 0] >= 0).sum(1)
    return [
        {"heads": row[:count], "relations": names[:count]}
        for row, names, count in zip(heads, relations, num_words, strict=True)
    ]


REDUCERS: dict[str, Callable[[Any, Arrays], list[RowOutput]]] = {
    name: globals()[form.reducer] for name, form in FORMS.items() if form.reducer
}
