"""From what a model said back to the terms of the gold, and the gold of an example.

Decoders are `(records, examples) -> (prediction, scores)` (see `pipe.task.Task`). Where a batch
holds nothing but the model's columns (`--pass_only_model_io`), the gold is read from the labels as
far as they say it: text, classes, numbers, tags per token, trees.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from ke_t5.pipe.features import IGNORED
from ke_t5.pipe.preprocessors import Example
from ke_t5.task import metrics, spans, text
from ke_t5.task.labels import Labels
from ke_t5.task.utils import get_vocabulary

Records = list[dict]
Examples = list[Example]


def input_text(example: Example) -> str:
    """The text a model was given, from the tokens where it was not kept."""
    if "text" in example:
        return example["text"]
    return get_vocabulary().decode(example["input_ids"], skip_special_tokens=True)


def gold_of(example: Example, *, from_labels: Callable[[Any], Any]) -> Any:
    """The kept gold; from the model's own `labels` where a batch holds nothing else."""
    if "gold" in example:
        return example["gold"]
    return from_labels(example["labels"])


# -------------------------------------------------------------------------- classes and numbers


def decode_label(
    records: Records, examples: Examples, *, labels: Labels
) -> tuple[str, list[float]]:
    """The likeliest label's name and the probability of each."""
    logits = records[0]["logits"]
    highest = max(logits)
    weights = [math.exp(logit - highest) for logit in logits]
    total = sum(weights)
    return labels.names[logits.index(highest)], [weight / total for weight in weights]


def name_from_id(label: int, *, labels: Labels) -> str | None:
    """The name of a label id, None for `IGNORED`."""
    return None if label == IGNORED else labels.names[label]


def decode_number(records: Records, examples: Examples) -> tuple[float, None]:
    """The number that a regression gave."""
    return records[0]["logits"][0], None


def number_or_none(value: float) -> float | None:
    """A regression's label, None for NaN."""
    return None if math.isnan(value) else float(value)


# ---------------------------------------------------------------------------------------- text


def decode_text(
    records: Records, examples: Examples, *, read: Callable[[str], Any]
) -> tuple[Any, None]:
    """What `read` makes of the text that was written, None where it could not be read."""
    return read(records[0]["sequences"][0]), None


def read_tokens(ids: Sequence[int], *, read: Callable[[str], Any]) -> Any:
    """What `read` makes of a target's tokens, None for a row without one."""
    if ids[0] == IGNORED:
        return None
    return read(get_vocabulary().decode(ids, skip_special_tokens=True))


def read_label(written: str, *, labels: Labels) -> str | None:
    """The name of the label whose word this is."""
    key = text.text_to_label(labels, written)
    return None if key is None else labels.names[labels.id_of(key)]


def read_references(written: str) -> list[str]:
    """The answers to a question by its target text: one, or none where it is impossible."""
    answer = text.text_to_answer(written)
    return [answer] if answer else []


# ---------------------------------------------------------------------------------------- tags


class CharacterTags(list):
    """Tags of the visible characters, one list per sentence.

    Attributes:
        tokens: the tags of the tokens that they belong to, None for a token of no character.
    """

    tokens: list[str | None]

    @classmethod
    def of(cls, example: Example, tags: Sequence[str], tokens: list[str | None]) -> CharacterTags:
        """The tags of the example's characters without its spaces, with those of its tokens."""
        made = cls(spans.drop_spaces(example["text"], tags))
        made.tokens = tokens
        return made


def decode_tags(records: Records, examples: Examples, *, labels: Labels) -> tuple[list[str], None]:
    """A tag per visible character, from a tag id per token; per token where nothing was kept."""
    named = [labels.names[tag] for tag in records[0]["tags"]]
    example = examples[0]
    if "offsets" not in example:
        pairs = zip(named, example["labels"], strict=True)
        return [tag for tag, gold in pairs if gold != IGNORED], None
    tags = spans.character_tags(named, example["offsets"], example["text"])
    return CharacterTags.of(example, tags, named), None


def gold_tags(example: Example, *, labels: Labels) -> list[str] | None:
    """A tag per visible character; per token where nothing was kept."""
    tokens = [name_from_id(tag, labels=labels) for tag in example["labels"]]
    if "gold" not in example:
        return [tag for tag in tokens if tag is not None] or None
    if example["gold"] is None:
        return None
    return CharacterTags.of(example, example["gold"], tokens)


def token_accuracy(targets: Sequence, predictions: Sequence) -> dict[str, float]:
    """`metrics.token_accuracy` over the tokens of sentences whose tags are per character: real
    tokens only, neither padding nor special ones."""
    columns = [[getattr(tags, "tokens", tags) for tags in side] for side in (targets, predictions)]
    return metrics.token_accuracy(*columns)
