"""Tagging: preprocessors and decoders for models that tag tokens or characters.

Scores are per character in both cases (`spans.py` converts between tokens and characters). If a
batch contains only the model's columns (`--pass_only_model_io`), positions with a label are scored.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

from ke_t5.pipe.features import IGNORED, Feature
from ke_t5.pipe.preprocessors import LOST, OF, Batch, Example, length_limit, map_over_batches
from ke_t5.task import checks, spans, steps
from ke_t5.task.column_types import has_types
from ke_t5.task.decoders import Examples, RowOutputs
from ke_t5.task.forms import INPUT, SEGMENTS
from ke_t5.task.labels import Labels

UNREACHABLE = "entities cannot be represented by this tokenizer (one label per token)"
ENTITY = {"start": "integer", "end": "integer", "label": "label"}
Tags = Sequence[str]

# ------------------------------------------------------------------------------------------ rows


def tag_checks(labels: Labels, column: str) -> tuple[Callable, ...]:
    """The row checks for a column of tags (one per character) or of entities."""
    has_text = partial(checks.has_texts, columns=("text",))
    if column == "tags":
        are_tags = partial(has_types, columns={"tags": ["label"]})
        as_long = partial(checks.has_equal_lengths, columns=("tags",), text="text")
        known = partial(checks.known_labels, labels=labels, column="tags")
        return (has_text, are_tags, as_long, known)
    types = Labels(tuple(tag[2:] for tag in labels.names if tag[0] == "B"))
    are_entities = partial(has_types, columns={column: [ENTITY]})
    return (
        has_text, are_entities, partial(checks.known_labels, labels=types, column=f"{column}.label")
    )  # fmt: skip


def tags_of(row: Example) -> Tags | None:
    """The tags of a row, one per character; None if it is unlabelled."""
    if "tags" in row:
        return row["tags"] and [_name(tag) for tag in row["tags"]]
    if row["entities"] is None:
        return None
    entities = [{**one, "label": _name(one["label"])} for one in row["entities"]]
    return spans.tags_from_entities(len(row["text"]), entities)


def _name(label: Any) -> Any:
    """The name of a label, which may be a class number."""
    return getattr(label, "name", label)


def num_entities(text: str, tags: Tags | None) -> int:
    """The number of entities in the official score."""
    return 0 if tags is None else len(spans.entity_spans(spans.drop_spaces(text, tags)))


# ----------------------------------------------------------------------------------------- steps


@map_over_batches
def add_token_tags(
    batch: Batch,
    *,
    labels: Labels,
    output_features: steps.Features,
    sequence_length: steps.Lengths,
) -> Batch:
    """Adds `input_ids` of the raw text, `labels` (a tag id per token), `offsets`, and `gold` (a tag
    per character); entities that one tag per token cannot represent are counted."""
    tokenizer = steps.fast_tokenizer(output_features)
    limit = length_limit(sequence_length, "inputs", tokenizer)
    texts, gold = batch["text"], steps.for_each_row(batch, tags_of)
    ids, offsets, num_cut = steps.encode_with_offsets(tokenizer, texts, limit)
    tag_ids, num_lost = [], []
    for text, tags, pairs in zip(texts, gold, offsets, strict=True):
        if tags is None:
            tag_ids.append([IGNORED] * len(pairs))
            num_lost.append(0)
            continue
        names = spans.token_tags(tags, pairs, text)
        tag_ids.append([IGNORED if tag is None else labels.id_of(tag) for tag in names])
        num_lost.append(spans.unreachable_entities(text, tags, pairs))
    return {
        **batch,
        "input_ids": ids,
        "labels": tag_ids,
        "offsets": offsets,
        "gold": gold,
        f"{LOST}{UNREACHABLE}": num_lost,
        f"{OF}{UNREACHABLE}": [num_entities(*row) for row in zip(texts, gold, strict=True)],
        f"{LOST}{steps.inputs_cut(limit)}": num_cut,
    }


@map_over_batches
def add_character_tags(
    batch: Batch,
    *,
    labels: Labels,
    output_features: steps.Features,
    sequence_length: steps.Lengths,
) -> Batch:
    """Adds `input_ids` of the raw text, `character_token_idx` (the token of each character) and
    `labels` (its tag id) up to the end of the truncated text, `offsets` of the tokens, and `gold`
    (a tag per character); entities that were cut off, wholly or partly, are counted."""
    tokenizer = steps.fast_tokenizer(output_features)
    limit = length_limit(sequence_length, "inputs", tokenizer)
    texts, gold = batch["text"], steps.for_each_row(batch, tags_of)
    ids, offsets, num_cut = steps.encode_with_offsets(tokenizer, texts, limit)
    tokens, tag_ids, num_lost = [], [], []
    for text, tags, pairs, cut in zip(texts, gold, offsets, num_cut, strict=True):
        places = spans.character_tokens(text, pairs, is_cut=bool(cut))
        known = [None] * len(places) if tags is None else tags[: len(places)]
        # Models need at least one character: an empty text gets one without a label.
        tokens.append(places or [0])
        ids_of_row = [IGNORED if tag is None else labels.id_of(tag) for tag in known]
        tag_ids.append(ids_of_row or [IGNORED])
        num_lost.append(_num_cut_off(text, tags, len(places)))
    return {
        **batch,
        "input_ids": ids,
        "character_token_idx": tokens,
        "labels": tag_ids,
        "offsets": offsets,
        "gold": gold,
        f"{LOST}{steps.ENTITIES_CUT}": num_lost,
        f"{OF}{steps.ENTITIES_CUT}": [num_entities(*row) for row in zip(texts, gold, strict=True)],
        f"{LOST}{steps.inputs_cut(limit)}": num_cut,
    }


def _num_cut_off(text: str, tags: Tags | None, length: int) -> int:
    """The number of entities that do not end within the first `length` characters."""
    if tags is None or length >= len(text):
        return 0
    num_visible = len(spans.drop_spaces(text[:length], tags[:length]))
    entities = spans.entity_spans(spans.drop_spaces(text, tags))
    return sum(end > num_visible for _, end, _ in entities)


# -------------------------------------------------------------------------------------- decoding


class CharacterTags(list):
    """Tags of the visible characters, one list per sentence.

    Attributes:
        tokens: the tags of the tokens, None for a token without characters.
    """

    tokens: list[str | None]

    @classmethod
    def of(cls, example: Example, tags: Tags, tokens: list[str | None]) -> CharacterTags:
        """The tags of an example from those of all characters, spaces included, and its tokens."""
        return cls.shared(spans.drop_spaces(example["text"], tags), tokens)

    @classmethod
    def shared(cls, tags: Tags, tokens: Iterable[str | None]) -> CharacterTags:
        """Tags with interned strings: read from a file, each would take 60 bytes of its own."""
        character_tags = cls(map(sys.intern, tags))
        character_tags.tokens = [tag and sys.intern(tag) for tag in tokens]
        return character_tags

    @classmethod
    def of_characters(cls, example: Example, tags: Tags) -> CharacterTags:
        """The tags of an example from those of its characters; tokens get that of their first."""
        return cls.of(example, tags, spans.token_tags(tags, example["offsets"], example["text"]))


def decode_tags(
    outputs: RowOutputs, examples: Examples, *, labels: Labels
) -> tuple[list[str], None]:
    """A tag per visible character, from a tag id per token; per token, given only the model's
    columns."""
    named, example = [labels.names[tag] for tag in outputs[0]["tags"]], examples[0]
    if "offsets" not in example:
        return _labelled(named, example), None
    tags = spans.character_tags(named, example["offsets"], example["text"])
    return CharacterTags.of(example, tags, named), None


def decode_character_tags(
    outputs: RowOutputs, examples: Examples, *, labels: Labels
) -> tuple[list[str], None]:
    """A tag per visible character, from a tag id per character; O for those that were cut off.
    Given only the model's columns, spaces have tags too."""
    named, example = [labels.names[tag] for tag in outputs[0]["tags"]], examples[0]
    if "offsets" not in example:
        return _labelled(named, example), None
    length = len(example["text"])
    tags = [*named, *["O"] * (length - len(named))][:length]
    return CharacterTags.of_characters(example, tags), None


def _labelled(tags: Tags, example: Example) -> list[str]:
    return [tag for tag, gold in zip(tags, example["labels"], strict=True) if gold != IGNORED]


def gold_tags(example: Example, *, labels: Labels) -> list[str] | None:
    """A tag per visible character; given only the model's columns, the tags of its labels."""
    if "gold" not in example:
        return [labels.names[tag] for tag in example["labels"] if tag != IGNORED] or None
    if example["gold"] is None:
        return None
    return CharacterTags.of_characters(example, example["gold"])


# ----------------------------------------------------------------------------------------- forms


def of_tokens(labels: Labels) -> dict[str, Any]:
    """The fields of a task for models that tag tokens, with a variant for those of characters."""
    return {
        "form": "token_classification",
        "labels": labels.names,
        "model_config": {"crf_iob2": True},
        "decode": partial(decode_tags, labels=labels),
        "target": partial(gold_tags, labels=labels),
        "without_kept": "tags are scored per token, not per character",
        "variants": {"character_tagging": of_characters(labels)},
    }


def of_characters(labels: Labels) -> dict[str, Any]:
    """The fields that differ for models that tag characters."""
    return {
        "preprocessors": (partial(add_character_tags, labels=labels),),
        "output_features": {
            "input_ids": INPUT,
            "token_type_ids": SEGMENTS,
            "character_token_idx": Feature(pad=-1),
            "labels": Feature(pad=IGNORED, num_values=len(labels)),
        },
        "without_kept": "spaces are scored too, and characters that were cut off are not",
        "decode": partial(decode_character_tags, labels=labels),
    }
