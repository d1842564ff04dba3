"""Steps from rows to examples that several kinds of task share.

Each is a preprocessor over batches (see `pipe.preprocessors`); together they leave the model's
columns and those that decoding keeps. How a row becomes text stands in `text.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from ke_t5.errors import Exit, UserError
from ke_t5.pipe.features import IGNORED, Feature
from ke_t5.pipe.preprocessors import (
    LOST,
    OF,
    Batch,
    Example,
    encode,
    length_limit,
    map_over_batches,
)
from ke_t5.pipe.rows import ROW_ID
from ke_t5.task import text
from ke_t5.task.labels import Labels

T = TypeVar("T")
Features = Mapping[str, Feature]
Lengths = Mapping[str, int]
Offsets = list[list[int]]
# (row, prefix=, named=) -> the segments of its input: raw texts, or one text with the fields named.
Render = Callable[..., list[str]]

UNWRITABLE = "targets cannot be written with this tokenizer's vocabulary"
ENTITIES_CUT = "entities cut off"


def inputs_cut(limit: int) -> str:
    """What is lost where a text is longer than `limit` tokens."""
    return f"inputs cut at {limit} tokens"


# ---------------------------------------------------------------------------------------- rows


def rows_of(batch: Batch) -> list[Example]:
    """A batch as rows."""
    return [dict(zip(batch, values, strict=True)) for values in zip(*batch.values(), strict=True)]


def for_each_row(batch: Batch, function: Callable[[Example], T]) -> list[T]:
    """What `function` makes of each row; where it refuses one (ValueError), that row is named."""
    made = []
    for row in rows_of(batch):
        try:
            made.append(function(row))
        except ValueError as error:
            where = " ".join(str(part) for part in (row.get("guid"), row.get("id")) if part)
            raise UserError(
                str(error),
                f"row {row.get(ROW_ID)}{f' ({where})' if where else ''}",
                "mend that row or leave it out",
                Exit.DATA,
            ) from error
    return made


def fast_tokenizer(features: Features) -> Any:
    """The tokenizer of the inputs, which must know the characters of its tokens."""
    tokenizer = features["input_ids"].tokenizer()
    if not tokenizer.is_fast:
        raise UserError(
            f"{type(tokenizer).__name__} gives no character offsets, which this task needs",
            "--pre_trained_model",
            "use a folder with a tokenizer.json (a fast tokenizer)",
            Exit.DATA,
        )
    return tokenizer


def encode_with_offsets(
    tokenizer: Any, texts: list[str], limit: int
) -> tuple[list[list[int]], list[Offsets], list[int]]:
    """Token ids cut at `limit`, the characters of each token, and 1 for each text that was cut."""
    encoded = tokenizer(
        texts, truncation=True, max_length=limit, return_offsets_mapping=True, verbose=False
    )
    offsets = [[list(pair) for pair in pairs] for pairs in encoded["offset_mapping"]]
    num_cut = [int(bool(encoding.overflowing)) for encoding in encoded.encodings]
    return encoded["input_ids"], offsets, num_cut


# -------------------------------------------------------------------------------------- inputs


def field_segments(
    row: Example, *, fields: Mapping[str, str], prefix: str = "", named: bool = True
) -> list[str]:
    """The fields of a row, joined with their names or one segment each."""
    if named:
        return [text.join_fields(row, fields, prefix=prefix)]
    return [row[column] for column in fields.values()]


def relation_segments(row: Example, *, prefix: str = "", named: bool = True) -> list[str]:
    """A sentence with its two entities marked."""
    return [text.relation(row, prefix=prefix, named=named).text]


def question_segments(
    row: Example, *, with_context: bool, prefix: str = "", named: bool = True
) -> list[str]:
    """A question with its passage, or without."""
    return [text.question(row, prefix=prefix, with_context=with_context)]


def dialogue_segments(row: Example, *, prefix: str = "", named: bool = True) -> list[str]:
    """The turns of a dialogue, the newest first."""
    return [text.dialogue(row, prefix=prefix)]


def article_segments(row: Example, *, kind: str, prefix: str = "", named: bool = True) -> list[str]:
    """An article to be summarised; its text form has the kind in place of the task's name."""
    return [text.summarize(row, kind=kind)]


@map_over_batches
def add_inputs(
    batch: Batch,
    *,
    render: Render,
    output_features: Features,
    sequence_length: Lengths,
    prefix: str = "",
) -> Batch:
    """Adds `input_ids` (and segment ids) and `text`.

    A tokenizer with a separator gets the raw texts, pairs as two segments; T5, which has none,
    gets the fields with their names, and after the task's name where it generates.
    """
    tokenizer = output_features["input_ids"].tokenizer()
    named = bool(prefix) or tokenizer.sep_token is None
    segments = for_each_row(batch, lambda row: render(row, prefix=prefix, named=named))
    columns = [list(column) for column in zip(*segments, strict=True)]
    limit = length_limit(sequence_length, "inputs", tokenizer)
    encoded, num_cut = encode(tokenizer, columns, limit)
    made = {"input_ids": encoded["input_ids"]}
    if len(columns) > 1 and "token_type_ids" in encoded:
        made["token_type_ids"] = encoded["token_type_ids"]
    shown = [" | ".join(parts) for parts in segments]
    return {**batch, **made, "text": shown, f"{LOST}{inputs_cut(limit)}": num_cut}


# ------------------------------------------------------------------------------------- targets


@map_over_batches
def add_label_ids(batch: Batch, *, labels: Labels, column: str) -> Batch:
    """Adds `labels` (ids, `IGNORED` for a row without one) and `gold` (names)."""
    ids = [labels.id_of(key) for key in batch[column]]
    names = [None if i is None else labels.names[i] for i in ids]
    return {**batch, "labels": [IGNORED if i is None else i for i in ids], "gold": names}


@map_over_batches
def add_numbers(batch: Batch, *, column: str) -> Batch:
    """Adds `labels` (numbers, NaN for a row without one) and `gold`."""
    numbers = [math.nan if value is None else float(value) for value in batch[column]]
    return {**batch, "labels": numbers, "gold": batch[column]}


@map_over_batches
def add_target_text(
    batch: Batch,
    *,
    write: Callable[[Example], str | None],
    output_features: Features,
    sequence_length: Lengths,
) -> Batch:
    """Adds `labels`, the tokens of what `write` says of a row (None: no label); targets that the
    tokens do not give back are counted."""
    tokenizer = output_features["labels"].tokenizer()
    limit = length_limit(sequence_length, "targets", tokenizer)
    targets = for_each_row(batch, write)
    encoded, num_cut = encode(tokenizer, [[target or "" for target in targets]], limit)
    ids = [
        [IGNORED] if target is None else tokens
        for target, tokens in zip(targets, encoded["input_ids"], strict=True)
    ]
    is_whole = {
        target: text.squeeze(tokenizer.decode(tokens, skip_special_tokens=True))
        == text.squeeze(target)
        for target, tokens, cut in zip(targets, ids, num_cut, strict=True)
        if target is not None and not cut
    }
    return {
        **batch,
        "labels": ids,
        f"{LOST}targets cut at {limit} tokens": num_cut,
        f"{LOST}{UNWRITABLE}": [int(not is_whole.get(target, True)) for target in targets],
        f"{OF}{UNWRITABLE}": [int(target is not None) for target in targets],
    }


@map_over_batches
def add_gold(batch: Batch, *, read: Callable[[Example], Any]) -> Batch:
    """Adds `gold`, what the metrics compare with."""
    return {**batch, "gold": for_each_row(batch, read)}
