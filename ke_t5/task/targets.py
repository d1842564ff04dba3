"""Target texts of generative models for a label, a set of labels or a number."""

from __future__ import annotations

from functools import partial

from ke_t5.pipe.preprocessors import Example
from ke_t5.task import decoders, steps, text
from ke_t5.task.forms import TextTarget
from ke_t5.task.labels import Labels

# The maximum number of generated tokens of a label, a number and a set of labels.
NAME_LENGTH, NUMBER_LENGTH, SET_LENGTH = 32, 8, 128
GREEDY = {"num_beams": 1}


def label_name(row: Example, *, labels: Labels, column: str) -> str | None:
    """The name of a row's label; None for an unlabelled row."""
    label = labels.id_of(row[column])
    return None if label is None else labels.names[label]


def label_word(row: Example, *, labels: Labels, column: str) -> str | None:
    """The target text of a row's label; None for an unlabelled row."""
    label = labels.id_of(row[column])
    return None if label is None else labels.words[label]


def label_words(labels: Labels, column: str) -> TextTarget:
    """Target texts for a column of labels."""
    return TextTarget(
        write=partial(label_word, labels=labels, column=column),
        gold=partial(label_name, labels=labels, column=column),
        gold_type="string",
        read=partial(decoders.read_label, labels=labels),
        generate={"max_new_tokens": NAME_LENGTH, **GREEDY},
    )


def label_set_names(row: Example, *, labels: Labels, column: str) -> list[str] | None:
    """The names of a row's labels; None for an unlabelled row."""
    ids = steps.label_set_of(row, labels=labels, column=column)
    return None if ids is None else [labels.names[i] for i in ids]


def label_set_words(row: Example, *, labels: Labels, column: str) -> str | None:
    """The target text of a row's labels; None for an unlabelled row."""
    ids = steps.label_set_of(row, labels=labels, column=column)
    return None if ids is None else text.label_set_to_text(labels, ids)


def written_label_sets(labels: Labels, column: str) -> TextTarget:
    """Target texts for a column of lists of labels."""
    of_row = {"labels": labels, "column": column}
    return TextTarget(
        write=partial(label_set_words, **of_row),
        gold=partial(label_set_names, **of_row),
        gold_type=["string"],
        read=partial(decoders.read_label_set, labels=labels),
        generate={"max_new_tokens": SET_LENGTH, **GREEDY},
    )


def number_word(row: Example, *, column: str) -> str | None:
    """The target text of a row's number; None for an unlabelled row."""
    number = steps.number_of(row, column=column)
    return None if number is None else text.number_to_text(number)


def number_words(column: str) -> TextTarget:
    """Target texts for a column of numbers."""
    return TextTarget(
        write=partial(number_word, column=column),
        gold=partial(steps.number_of, column=column),
        gold_type="float64",
        read=text.text_to_number,
        generate={"max_new_tokens": NUMBER_LENGTH, **GREEDY},
    )
