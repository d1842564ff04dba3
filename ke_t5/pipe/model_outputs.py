"""Model outputs per row: the part of a batch's output that decoding needs, one dict per row."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ke_t5.errors import UserError
from ke_t5.forms import FORMS

RowOutput = dict[str, Any]
Arrays = Mapping[str, np.ndarray]
Reducer = Callable[[Any, Arrays], list[RowOutput]]


# Start or end logits to keep per row: the official KLUE-MRC decoding pairs the 20 best of each.
# All logits of all windows would be gigabytes.
KEPT_LOGITS = 20


class BestLogits:
    """The best logits of a row and its first one (of [CLS], "no answer"). As an array, all others
    are -inf; of equal logits the earlier ones are kept."""

    __slots__ = ("_packed",)

    def __init__(self, logits: np.ndarray) -> None:
        order = np.argsort(-logits.astype(np.float64), kind="stable")[:KEPT_LOGITS]
        sizes = np.array([len(logits), *order], dtype=np.int32)
        # Bytes take a fraction of the memory of small arrays. The first logit comes last.
        kept = np.append(logits[order], logits[:1]).astype(np.float32)
        self._packed = sizes.tobytes() + kept.tobytes()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        number = len(self._packed) // 8 - (len(self) > 0)
        places = np.frombuffer(self._packed, np.int32, number, offset=4)
        kept = np.frombuffer(self._packed, np.float32, offset=4 + 4 * number)
        logits = np.full(len(self), -np.inf, dtype=np.float32)
        logits[:1] = kept[number:]
        logits[places] = kept[:number]
        return logits if dtype is None else logits.astype(dtype)

    def __len__(self) -> int:
        return int.from_bytes(self._packed[:4], sys.byteorder)

    def __getitem__(self, place: int) -> float:
        return np.asarray(self)[place]


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
    """The best start and end logits of a row (see `BestLogits`)."""
    starts = output.start_logits.float().cpu().numpy()
    ends = output.end_logits.float().cpu().numpy()
    lengths = batch["attention_mask"].sum(1)
    return [
        {"start": BestLogits(start[:length]), "end": BestLogits(end[:length])}
        for start, end, length in zip(starts, ends, lengths, strict=True)
    ]


def likeliest_tokens(output: Any, batch: Arrays) -> list[list[int]]:
    """The most probable token at each position of the gold answer."""
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


def mention_chains(output: Any, batch: Arrays) -> list[RowOutput]:
    """The coreference chains of each row: mentions [first, last] (tokens of the document), each
    linked to its best antecedent."""
    best = output.antecedent_logits.argmax(-1).cpu().tolist()  # 0: none
    spans = output.mention_spans.cpu().tolist()
    return [{"chains": _chains(*row)} for row in zip(spans, best, strict=True)]


def _chains(spans: list[list[int]], antecedents: list[int]) -> list[list[list[int]]]:
    chain_of: dict[int, list[list[int]]] = {}
    for mention, antecedent in enumerate(antecedents):
        if antecedent:
            first = antecedent - 1
            chain_of[mention] = chain_of.setdefault(first, [spans[first]])
            chain_of[mention].append(spans[mention])
    return list({id(chain): chain for chain in chain_of.values()}.values())


REDUCERS: dict[str, Reducer] = {
    name: globals()[form.reducer] for name, form in FORMS.items() if form.reducer
}

# The outputs that a reducer reads, if not `logits`.
READS: dict[Reducer, tuple[str, ...]] = {
    span_logits: ("start_logits", "end_logits"),
    trees: ("head_logits", "relation_logits"),
    mention_chains: ("antecedent_logits", "mention_spans"),
}


def reduced(output: Any, batch: Arrays, form: str, *, num_labels: int | None) -> list[RowOutput]:
    """The part of an output that decoding needs, for each row.

    Args:
        num_labels: number of the task's labels; None if unknown.

    Raises:
        UserError: the output is not that of a head for this form and number of labels.
    """
    reducer, num_rows = REDUCERS[form], len(next(iter(batch.values())))
    for name in READS.get(reducer, ("logits",)):
        logits = getattr(output, name, None)
        if logits is None:
            fix = f"return a Hugging Face output with `{name}`"
            raise _unusable(f"no {name} ({type(output).__name__})", fix)
        if len(logits) != num_rows:
            what = f"{name} for another number of rows ({len(logits)}, not {num_rows})"
            raise _unusable(what, "return those of every row of the batch")
        if reducer in READS or num_labels is None or isinstance(logits, list):  # of tags
            continue
        if logits.size(-1) != num_labels:
            what = f"logits of {logits.size(-1)} labels for a task of {num_labels}"
            raise _unusable(what, "give its last layer config.num_labels outputs")
    return reducer(output, batch)


def _unusable(what: str, fix: str) -> UserError:
    return UserError(f"its forward returned {what}", "--model_name", fix)
