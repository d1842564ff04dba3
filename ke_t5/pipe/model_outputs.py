"""Records: what a model's output says about each row of a batch, no more than decoding needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

Record = dict[str, Any]
Arrays = Mapping[str, np.ndarray]


def _logits(output: Any, batch: Arrays) -> list[Record]:
    return [{"logits": row} for row in output.logits.float().cpu().tolist()]


def _tags(output: Any, lengths: np.ndarray) -> list[Record]:
    """The tag of each token or character of a row, of which `lengths` says how many it has."""
    if isinstance(output.logits, list):  # a CRF answers with the best path
        return [{"tags": list(path)} for path in output.logits]
    tags = output.logits.argmax(-1).cpu().numpy()
    return [{"tags": row[:length].tolist()} for row, length in zip(tags, lengths, strict=True)]


def _token_tags(output: Any, batch: Arrays) -> list[Record]:
    return _tags(output, batch["attention_mask"].sum(1))


def _character_tags(output: Any, batch: Arrays) -> list[Record]:
    return _tags(output, (batch["character_token_idx"] >= 0).sum(1))


def _span_logits(output: Any, batch: Arrays) -> list[Record]:
    starts = output.start_logits.float().cpu().numpy()
    ends = output.end_logits.float().cpu().numpy()
    lengths = batch["attention_mask"].sum(1)
    return [
        {"start": start[:length], "end": end[:length]}
        for start, end, length in zip(starts, ends, lengths, strict=True)
    ]


def likeliest_tokens(output: Any, batch: Arrays) -> list[list[int]]:
    """The likeliest token at each place of the gold answer."""
    ids = output.logits.argmax(-1).cpu().numpy()
    lengths = (batch["labels"] >= 0).sum(1)
    return [row[:length].tolist() for row, length in zip(ids, lengths, strict=True)]


def _trees(output: Any, batch: Arrays) -> list[Record]:
    heads = output.head_logits.argmax(-1).cpu().tolist()
    relations = output.relation_logits.argmax(-1).cpu().tolist()
    num_words = (batch["word_token_idx"][..., 0] >= 0).sum(1)
    return [
        {"heads": row[:count], "relations": names[:count]}
        for row, names, count in zip(heads, relations, num_words, strict=True)
    ]


REDUCERS: dict[str, Callable[[Any, Arrays], list[Record]]] = {
    "sequence_classification": _logits,
    "entity_pair_classification": _logits,
    "token_classification": _token_tags,
    "character_tagging": _character_tags,
    "question_answering": _span_logits,
    "dependency_parsing": _trees,
}
