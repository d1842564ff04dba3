"""Tags: from rows to examples and from predictions back, for models that tag tokens or characters.

Either way the scores are per character (`spans.py` has how tokens and characters meet). Where a
batch contains only the model's columns (`--pass_only_model_io`), what has a label is scored.
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
    """The row checks of tags (one per character) or of entities."""
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
    """A row's tags, one per character, None without a label."""
    if "tags" in row:
        return row["tags"] and [_name(tag) for tag in row["tags"]]
    if row["entities"] is None:
        return None
    entities = [{**one, "label": _name(one["label"])} for one in row["entities"]]
    return spans.tags_from_entities(len(row["text"]), entities)


def _name(label: Any) -> Any:
    """A label's name, if the data set gives its number."""
    return getattr(label, "name", label)


def num_entities(text: str, tags: Tags | None) -> int:
    """How many entities the official score sees."""
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
    per character); entities that one tag per token cannot give back are counted."""
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
    `labels` (its tag id) as far as the text was not cut off, `offsets` of the tokens, and `gold` (a
    tag per character); entities that were cut off, or in two, are counted."""
    tokenizer = steps.fast_tokenizer(output_features)
    limit = length_limit(sequence_length, "inputs", tokenizer)
    texts, gold = batch["text"], steps.for_each_row(batch, tags_of)
    ids, offsets, num_cut = steps.encode_with_offsets(tokenizer, texts, limit)
    tokens, tag_ids, num_lost = [], [], []
    for text, tags, pairs, cut in zip(texts, gold, offsets, num_cut, strict=True):
        places = spans.character_tokens(text, pairs, is_cut=bool(cut))
        known = [None] * len(places) if tags is None else tags[: len(places)]
        # A model needs one character at least: an empty text has one without a label.
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
    """How many entities do not end within the first `length` characters."""
    if tags is None or length >= len(text):
        return 0
    num_visible = len(spans.drop_spaces(text[:length], tags[:length]))
    entities = spans.entity_spans(spans.drop_spaces(text, tags))
    return sum(end > num_visible for _, end, _ in entities)


# -------------------------------------------------------------------------------------- decoding


class CharacterTags(list):
    """Tags of the visible characters, one list per sentence.

    Attributes:
        tokens: the tags of the tokens that they belong to, None for a token of no character.
    """

    tokens: list[str | None]

    @classmethod
    def of(cls, example: Example, tags: Tags, tokens: list[str | None]) -> CharacterTags:
        """The tags of the example's characters without its spaces, with those of its tokens."""
        return cls.shared(spans.drop_spaces(example["text"], tags), tokens)

    @classmethod
    def shared(cls, tags: Tags, tokens: Iterable[str | None]) -> CharacterTags:
        """These tags, equal ones as one object: read from a file, each is another, of 60 bytes."""
        character_tags = cls(map(sys.intern, tags))
        character_tags.tokens = [tag and sys.intern(tag) for tag in tokens]
        return character_tags

    @classmethod
    def of_characters(cls, example: Example, tags: Tags) -> CharacterTags:
        """The same without a model's tags: each has its first character's tag."""
        return cls.of(example, tags, spans.token_tags(tags, example["offsets"], example["text"]))


def decode_tags(
    outputs: RowOutputs, examples: Examples, *, labels: Labels
) -> tuple[list[str], None]:
    """A tag per visible character, from a tag id per token; per token if nothing was kept."""
    named, example = [labels.names[tag] for tag in outputs[0]["tags"]], examples[0]
    if "offsets" not in example:
        return _labelled(named, example), None
    tags = spans.character_tags(named, example["offsets"], example["text"])
    return CharacterTags.of(example, tags, named), None


def decode_character_tags(
    outputs: RowOutputs, examples: Examples, *, labels: Labels
) -> tuple[list[str], None]:
    """A tag per visible character, from a tag id per character; O for those that were cut off. A
    space has its own tag if nothing was kept."""
    named, example = [labels.names[tag] for tag in outputs[0]["tags"]], examples[0]
    if "offsets" not in example:
        return _labelled(named, example), None
    length = len(example["text"])
    tags = [*named, *["O"] * (length - len(named))][:length]
    return CharacterTags.of_characters(example, tags), None


def _labelled(tags: Tags, example: Example) -> list[str]:
    return [tag for tag, gold in zip(tags, example["labels"], strict=True) if gold != IGNORED]


def gold_tags(example: Example, *, labels: Labels) -> list[str] | None:
    """A tag per visible character; from the labels if nothing was kept."""
    if "gold" not in example:
        return [labels.names[tag] for tag in example["labels"] if tag != IGNORED] or None
    if example["gold"] is None:
        return None
    return CharacterTags.of_characters(example, example["gold"])


# ----------------------------------------------------------------------------------------- forms


def of_tokens(labels: Labels) -> dict[str, Any]:
    """How a task is served by models that tag tokens, and by those that tag characters."""
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
    """The fields that differ if the model tags characters."""
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
