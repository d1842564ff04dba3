"""Kinds of task: one function per kind registers a benchmark in all its forms.

What a task is, is data (see `task.py`); how rows of a kind become examples and how outputs become
predictions again stands here, once. `_register` alone adds what all tasks have in common.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ke_t5.errors import Exit, UserError, suggestion
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
from ke_t5.pipe.sources import DataSource
from ke_t5.pipe.task import Best, Defaults, Task, TaskRegistry, greatest
from ke_t5.task import spans, text
from ke_t5.task.labels import Labels
from ke_t5.task.utils import get_vocabulary

if TYPE_CHECKING:
    import datasets

Metric = Callable[..., dict[str, float]]
Features = Mapping[str, Feature]
Lengths = Mapping[str, int]
# (row, prefix=, named=) -> the segments of its input: raw texts, or one text with the fields named.
Render = Callable[..., list[str]]

INPUT = Feature(get_vocabulary, pad=None)
SEGMENTS = Feature(required=False)
TEXT_TARGET = Feature(get_vocabulary, pad=IGNORED)
UNREACHABLE = "entities cannot be represented by this tokenizer (one label per token)"
NAME_LENGTH = 32  # tokens that the name of a label may have


def _register(name: str, source: DataSource, steps: Sequence[Callable], **settings: Any) -> Task:
    """Registers a task with what all of ours have in common: its input and text for people."""
    labels_feature = settings.pop("target_feature")
    keep = {"text": "string", **settings.pop("keep", {})}
    return TaskRegistry.add(
        name,
        source=source,
        preprocessors=tuple(steps),
        output_features={
            "input_ids": INPUT,
            "token_type_ids": SEGMENTS,
            **(labels_feature if isinstance(labels_feature, dict) else {"labels": labels_feature}),
        },
        keep=keep,
        inputs=input_text,
        **settings,
    )


# --------------------------------------------------------------------------------- inputs


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


def rows_of(batch: Batch) -> list[Example]:
    """A batch as rows."""
    return [dict(zip(batch, values, strict=True)) for values in zip(*batch.values(), strict=True)]


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
    segments = [render(row, prefix=prefix, named=named) for row in rows_of(batch)]
    columns = [list(column) for column in zip(*segments, strict=True)]
    limit = length_limit(sequence_length, "inputs", tokenizer)
    encoded, num_cut = encode(tokenizer, columns, limit)
    made = {"input_ids": encoded["input_ids"]}
    if len(columns) > 1 and "token_type_ids" in encoded:
        made["token_type_ids"] = encoded["token_type_ids"]
    shown = [" | ".join(parts) for parts in segments]
    return {**batch, **made, "text": shown, f"{LOST}inputs cut at {limit} tokens": num_cut}


def input_text(example: Example) -> str:
    """The text a model was given, from the tokens where it was not kept."""
    if "text" in example:
        return example["text"]
    return get_vocabulary().decode(example["input_ids"], skip_special_tokens=True)


# --------------------------------------------------------------------------------- targets


def known_labels(dataset: datasets.Dataset, where: str, *, labels: Labels, column: str) -> None:
    """Raises UserError, naming the row, where a value of the column is no label."""
    values = dataset.data.column(column)
    for value in values.unique().to_pylist():
        if value is not None and value not in labels.keys:
            row = values.to_pylist().index(value)
            raise UserError(
                f"{column} {value!r} is not in the list",
                f"{where}, row {row}",
                suggestion(str(value), map(str, labels.keys)),
                Exit.DATA,
            )


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
    """Adds `labels`, the tokens of what `write` says of a row (None: no label)."""
    tokenizer = output_features["labels"].tokenizer()
    limit = length_limit(sequence_length, "targets", tokenizer)
    targets = [write(row) for row in rows_of(batch)]
    encoded, num_cut = encode(tokenizer, [[target or "" for target in targets]], limit)
    ids = [
        [IGNORED] if target is None else tokens
        for target, tokens in zip(targets, encoded["input_ids"], strict=True)
    ]
    return {**batch, "labels": ids, f"{LOST}targets cut at {limit} tokens": num_cut}


@map_over_batches
def add_gold(batch: Batch, *, read: Callable[[Example], Any]) -> Batch:
    """Adds `gold`, what the metrics compare with."""
    return {**batch, "gold": [read(row) for row in rows_of(batch)]}


# ------------------------------------------------------------------------ classification


def label_name(row: Example, *, labels: Labels, column: str) -> str | None:
    """The name of a row's label."""
    label = labels.id_of(row[column])
    return None if label is None else labels.names[label]


def label_word(row: Example, *, labels: Labels, column: str) -> str | None:
    """What a generative model is to write for a row's label."""
    return None if row[column] is None else text.label_to_text(labels, row[column])


def decode_label(
    records: list[dict], examples: list[Example], *, labels: Labels
) -> tuple[str, list[float]]:
    """The likeliest label's name and the probability of each."""
    logits = records[0]["logits"]
    highest = max(logits)
    weights = [math.exp(logit - highest) for logit in logits]
    total = sum(weights)
    return labels.names[logits.index(highest)], [weight / total for weight in weights]


def decode_label_word(
    records: list[dict], examples: list[Example], *, labels: Labels
) -> tuple[str | None, None]:
    """The label whose word was written, None for anything else."""
    return read_label_word(records[0]["sequences"][0], labels=labels), None


def read_label_word(written: str, *, labels: Labels) -> str | None:
    """The name of the label whose word this is."""
    key = text.text_to_label(labels, written)
    return None if key is None else labels.names[labels.id_of(key)]


def gold_of(example: Example, *, from_labels: Callable[[Any], Any]) -> Any:
    """The kept gold; from the model's own `labels` where a batch holds nothing else."""
    if "gold" in example:
        return example["gold"]
    return from_labels(example["labels"])


def _name_from_id(label: int, *, labels: Labels) -> str | None:
    return None if label == IGNORED else labels.names[label]


def _read_tokens(ids: Sequence[int], *, read: Callable[[str], Any]) -> Any:
    if ids[0] == IGNORED:
        return None
    return read(get_vocabulary().decode(ids, skip_special_tokens=True))


def classification(
    name: str,
    source: DataSource,
    *,
    labels: Labels,
    metrics: Sequence[Metric],
    best: Best,
    fields: Mapping[str, str] | None = None,
    render: Render | None = None,
    column: str = "label",
    generative: bool = True,
    epochs: int = 4,
) -> None:
    """Registers `name` (label ids for an encoder) and `name_gen` (label words for T5).

    Args:
        fields: name in KE-T5's text form -> column; two of them are a pair.
        render: how a row becomes segments, where it is not its fields.
    """
    render = render or functools.partial(field_segments, fields=fields)
    check = functools.partial(known_labels, labels=labels, column=column)
    of_row = {"labels": labels, "column": column}
    common = {"metric_fns": tuple(metrics), "best": best, "row_checks": (check,)}
    add_id = functools.partial(add_label_ids, **of_row)
    _register(
        name,
        source,
        [functools.partial(add_inputs, render=render), add_id],
        target_feature=Feature(rank=0, num_values=len(labels)),
        form="sequence_classification",
        keep={"gold": "string"},
        labels=labels.names,
        problem_type="single_label_classification",
        decode=functools.partial(decode_label, labels=labels),
        target=functools.partial(
            gold_of, from_labels=functools.partial(_name_from_id, labels=labels)
        ),
        defaults=Defaults(epochs=epochs),
        **common,
    )
    if not generative:
        return
    write = functools.partial(label_word, **of_row)
    read = functools.partial(read_label_word, labels=labels)
    _register(
        f"{name}_gen",
        source,
        [
            functools.partial(add_inputs, render=render, prefix=name),
            functools.partial(add_target_text, write=write),
            functools.partial(add_gold, read=functools.partial(label_name, **of_row)),
        ],
        target_feature=TEXT_TARGET,
        form="seq2seq",
        divisor="label_tokens",
        keep={"gold": "string"},
        decode=functools.partial(decode_label_word, labels=labels),
        target=functools.partial(gold_of, from_labels=functools.partial(_read_tokens, read=read)),
        defaults=Defaults(epochs=epochs, generate={"max_new_tokens": NAME_LENGTH, "num_beams": 1}),
        **common,
    )


# ------------------------------------------------------------------------------ similarity


def similarity(
    name: str,
    source: DataSource,
    *,
    fields: Mapping[str, str],
    column: str,
    metrics: Sequence[Metric],
    best: Best,
    binary: Labels | None = None,
    binary_metrics: Sequence[Metric] = (),
) -> None:
    """Registers `name` (regression on `column`), `name_gen` (the number as text), and, where there
    are `binary` labels in the column `binary_label`, `name_binary`."""
    render = functools.partial(field_segments, fields=fields)
    common = {"metric_fns": tuple(metrics), "best": best}
    _register(
        name,
        source,
        [
            functools.partial(add_inputs, render=render),
            functools.partial(add_numbers, column=column),
        ],
        target_feature=Feature(rank=0, dtype="float32"),
        form="sequence_classification",
        keep={"gold": "float64"},
        labels=("similarity",),
        problem_type="regression",
        decode=decode_number,
        target=functools.partial(gold_of, from_labels=_number),
        defaults=Defaults(epochs=4),
        **common,
    )
    _register(
        f"{name}_gen",
        source,
        [
            functools.partial(add_inputs, render=render, prefix=name),
            functools.partial(add_target_text, write=functools.partial(number_word, column=column)),
            functools.partial(add_gold, read=functools.partial(number_of, column=column)),
        ],
        target_feature=TEXT_TARGET,
        form="seq2seq",
        divisor="label_tokens",
        keep={"gold": "float64"},
        decode=decode_number_word,
        target=functools.partial(
            gold_of, from_labels=functools.partial(_read_tokens, read=text.text_to_number)
        ),
        defaults=Defaults(epochs=4, generate={"max_new_tokens": 8, "num_beams": 1}),
        **common,
    )
    if binary is not None:
        classification(
            f"{name}_binary",
            source,
            labels=binary,
            metrics=binary_metrics,
            best=greatest("accuracy"),
            fields=fields,
            column="binary_label",
            generative=False,
        )


def number_of(row: Example, *, column: str) -> float | None:
    """A row's score."""
    return row[column]


def number_word(row: Example, *, column: str) -> str | None:
    """What a generative model is to write for a row's score."""
    return None if row[column] is None else text.number_to_text(row[column])


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def decode_number(records: list[dict], examples: list[Example]) -> tuple[float, None]:
    """The number that a regression gave."""
    return records[0]["logits"][0], None


def decode_number_word(records: list[dict], examples: list[Example]) -> tuple[float | None, None]:
    """The number that was written, None for anything else."""
    return text.text_to_number(records[0]["sequences"][0]), None


# --------------------------------------------------------------------------------- tagging


@map_over_batches
def add_token_tags(
    batch: Batch,
    *,
    labels: Labels,
    output_features: Features,
    sequence_length: Lengths,
) -> Batch:
    """Adds `input_ids` of the raw text, `labels` (a tag id per token), `offsets`, and `gold` (a tag
    per character); entities that one tag per token cannot give back are counted."""
    tokenizer = output_features["input_ids"].tokenizer()
    if not tokenizer.is_fast:
        raise UserError(
            f"{type(tokenizer).__name__} gives no character offsets, which tagging needs",
            "--pre_trained_model",
            "use a folder with a tokenizer.json (a fast tokenizer)",
            Exit.DATA,
        )
    limit = length_limit(sequence_length, "inputs", tokenizer)
    texts, gold = batch["text"], [_gold_tags(row) for row in rows_of(batch)]
    encoded = tokenizer(texts, truncation=True, max_length=limit, return_offsets_mapping=True)
    offsets = [[list(pair) for pair in pairs] for pairs in encoded["offset_mapping"]]
    made: dict[str, list] = {"labels": []}
    lost = []
    for text_, tags, pairs in zip(texts, gold, offsets, strict=True):
        named = spans.token_tags(tags, pairs, text_)
        made["labels"].append([IGNORED if tag is None else labels.id_of(tag) for tag in named])
        lost.append(spans.unreachable_entities(text_, tags, pairs))
    num_cut = [int(bool(encoding.overflowing)) for encoding in encoded.encodings]
    return {
        **batch,
        **made,
        "input_ids": encoded["input_ids"],
        "offsets": offsets,
        "gold": gold,
        f"{LOST}{UNREACHABLE}": lost,
        f"{OF}{UNREACHABLE}": [
            len(spans.entity_spans(spans.drop_spaces(text_, tags)))
            for text_, tags in zip(texts, gold, strict=True)
        ],
        f"{LOST}inputs cut at {limit} tokens": num_cut,
    }


def _gold_tags(row: Example) -> list[str]:
    if "tags" in row:
        return row["tags"]
    return spans.tags_from_entities(len(row["text"]), row["entities"])


def decode_tags(
    records: list[dict], examples: list[Example], *, labels: Labels
) -> tuple[list[str], None]:
    """A tag per visible character, from a tag id per token; per token where nothing was kept."""
    named = [labels.names[tag] for tag in records[0]["tags"]]
    example = examples[0]
    if "offsets" not in example:
        pairs = zip(named, example["labels"], strict=False)
        return [tag for tag, gold in pairs if gold != IGNORED], None
    tags = spans.character_tags(named, example["offsets"], example["text"])
    return spans.drop_spaces(example["text"], tags), None


def gold_tags(example: Example, *, labels: Labels) -> list[str]:
    """A tag per visible character; per token where nothing was kept."""
    if "gold" not in example:
        return [labels.names[tag] for tag in example["labels"] if tag != IGNORED]
    return spans.drop_spaces(example["text"], example["gold"])


def tagging(
    name: str,
    source: DataSource,
    *,
    labels: Labels,
    metrics: Sequence[Metric],
    best: Best,
    epochs: int = 3,
) -> None:
    """Registers `name`: a tag per token, scored per character.

    Rows hold `text` and either `tags` (one per character) or `entities`.
    """
    _register(
        name,
        source,
        [functools.partial(add_token_tags, labels=labels)],
        target_feature=Feature(pad=IGNORED, num_values=len(labels)),
        form="token_classification",
        divisor="label_tokens",
        keep={"gold": ["string"], "offsets": [["int32"]]},
        labels=labels.names,
        decode=functools.partial(decode_tags, labels=labels),
        target=functools.partial(gold_tags, labels=labels),
        metric_fns=tuple(metrics),
        best=best,
        defaults=Defaults(epochs=epochs),
    )
