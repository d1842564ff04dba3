"""Decoders from model outputs to predictions, and functions that return the gold of an example.

Decoders are functions `(outputs, examples) -> (prediction, scores)` (see `pipe.task.Task`). If a
batch contains only the model's columns (`--pass_only_model_io`), the gold is recovered from the
labels as far as possible: text, classes, numbers, tags per token, trees.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from ke_t5.pipe.features import IGNORED
from ke_t5.pipe.preprocessors import Example
from ke_t5.task import text
from ke_t5.task.labels import Labels
from ke_t5.task.utils import get_vocabulary

RowOutputs = list[dict]
Examples = list[Example]


def input_text(example: Example) -> str:
    """The text of an example's input, decoded from its tokens if it was not kept."""
    if "text" in example:
        return example["text"]
    return get_vocabulary().decode(example["input_ids"], skip_special_tokens=True)


def gold_of(example: Example, *, from_labels: Callable[[Any], Any]) -> Any:
    """The kept gold; given only the model's columns, the gold recovered from `labels`."""
    if "gold" in example:
        return example["gold"]
    return from_labels(example["labels"])


# -------------------------------------------------------------------------- classes and numbers


def decode_label(
    outputs: RowOutputs, examples: Examples, *, labels: Labels
) -> tuple[str, list[float]]:
    """The name of the most probable label, and the probability of each label."""
    logits = outputs[0]["logits"]
    highest = max(logits)
    weights = [math.exp(logit - highest) for logit in logits]
    total = sum(weights)
    return labels.names[logits.index(highest)], [weight / total for weight in weights]


def name_from_id(label: int, *, labels: Labels) -> str | None:
    """The name of a label id; None for `IGNORED`."""
    return None if label == IGNORED else labels.names[label]


def decode_label_set(
    outputs: RowOutputs,
    examples: Examples,
    *,
    labels: Labels,
    thresholds: Sequence[float] | None = None,
) -> tuple[list[str], list[float]]:
    """The names of the labels whose probability reaches their threshold (default: 0.5), and the
    probability of each label."""
    logits = outputs[0]["logits"]
    found = [_sigmoid(logit) for logit in logits]
    if thresholds is None:
        is_likely = [logit >= 0 for logit in logits]
    else:
        is_likely = [x >= cut for x, cut in zip(found, thresholds, strict=True)]
    return [name for name, marked in zip(labels.names, is_likely, strict=True) if marked], found


def _sigmoid(logit: float) -> float:
    """The probability of a logit, without overflow for large negative ones."""
    power = math.exp(-abs(logit))
    return 1 / (1 + power) if logit >= 0 else power / (1 + power)


def names_from_marks(marks: Sequence[float], *, labels: Labels) -> list[str] | None:
    """The names of the labels marked with 1; None for an unlabelled row (NaN)."""
    if math.isnan(marks[0]):
        return None
    return [name for name, mark in zip(labels.names, marks, strict=True) if mark]


def decode_number(outputs: RowOutputs, examples: Examples) -> tuple[float, None]:
    """The number predicted by a regression."""
    return outputs[0]["logits"][0], None


def number_or_none(value: float) -> float | None:
    """The label of a regression; None for NaN."""
    return None if math.isnan(value) else float(value)


# ---------------------------------------------------------------------------------------- text


def decode_text(
    outputs: RowOutputs, examples: Examples, *, read: Callable[[str], Any]
) -> tuple[Any, None]:
    """The result of `read` for the generated text; None if it is unparsable."""
    return read(outputs[0]["sequences"][0]), None


def read_tokens(ids: Sequence[int], *, read: Callable[[str], Any]) -> Any:
    """The result of `read` for the tokens of a target; None for an unlabelled row."""
    if ids[0] == IGNORED:
        return None
    return read(get_vocabulary().decode(ids, skip_special_tokens=True))


def read_label(written: str, *, labels: Labels) -> str | None:
    """The name of the label with this word; None if there is none."""
    key = text.text_to_label(labels, written)
    return None if key is None else labels.names[labels.keys.index(key)]


def read_label_set(written: str, *, labels: Labels) -> list[str] | None:
    """The names of the labels with these words; None if a part is not a label."""
    ids = text.text_to_label_set(labels, written)
    return None if ids is None else [labels.names[i] for i in ids]


def read_references(written: str) -> list[str]:
    """The answers of a question from its target text: one, or none if it is impossible."""
    answer = text.text_to_answer(written)
    return [answer] if answer else []
