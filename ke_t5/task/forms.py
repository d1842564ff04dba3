"""How a benchmark is registered in one form: what all of our tasks have in common."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from ke_t5.pipe.features import IGNORED, Feature
from ke_t5.pipe.preprocessors import Example
from ke_t5.pipe.sources import DataSource
from ke_t5.pipe.task import Defaults, Task, TaskRegistry
from ke_t5.task import decoders, steps
from ke_t5.task.labels import Labels
from ke_t5.task.utils import get_vocabulary

INPUT = Feature(get_vocabulary, pad=None)
SEGMENTS = Feature(required=False)
TEXT_TARGET = Feature(get_vocabulary, pad=IGNORED)


def register(
    name: str,
    source: DataSource,
    preprocessors: Sequence[Callable],
    *,
    targets: Mapping[str, Feature],
    keep: Mapping[str, Any],
    inputs: Callable[[Example], str] | None = None,
    **settings: Any,
) -> Task:
    """Registers a task with the input that all of ours have, and its text for display.

    Args:
        targets: the model's columns beside the input, or in place of it.
        inputs: example -> its text, if that is not the kept column `text`.
    """
    return TaskRegistry.add(
        name,
        source=source,
        preprocessors=tuple(preprocessors),
        output_features={"input_ids": INPUT, "token_type_ids": SEGMENTS, **targets},
        keep=keep if inputs else {"text": "string", **keep},
        inputs=inputs or decoders.input_text,
        **settings,
    )


def register_classes(
    name: str,
    source: DataSource,
    preprocessors: Sequence[Callable],
    *,
    labels: Labels,
    column: str,
    form: str = "sequence_classification",
    targets: Mapping[str, Feature] | None = None,
    further: Mapping[str, Any] | None = None,
    **settings: Any,
) -> Task:
    """Registers a task with one label per row, found in `column`, for an encoder.

    Args:
        targets: the model's columns beside the labels.
        further: columns to keep beside the gold.
    """
    return register(
        name,
        source,
        [*preprocessors, partial(steps.add_label_ids, labels=labels, column=column)],
        targets={**(targets or {}), "labels": Feature(rank=0, num_values=len(labels))},
        keep={"gold": "string", **(further or {})},
        form=form,
        labels=labels.names,
        problem_type="single_label_classification",
        decode=partial(decoders.decode_label, labels=labels),
        target=partial(decoders.gold_of, from_labels=partial(decoders.name_from_id, labels=labels)),
        **settings,
    )


@dataclass(frozen=True)
class TextTarget:
    """Answers as text: how they are written, read, and compared.

    Attributes:
        write: row -> target text, None without a label.
        gold: row -> what metrics compare with, of the type `gold_type`.
        read: written text -> prediction, None if it cannot be read.
        read_gold: target text -> gold, if that is not `read`.
        generate: arguments of `generate`, `max_new_tokens` among them.
        without_kept: as `Task` has it.
    """

    write: Callable[[Example], str | None]
    gold: Callable[[Example], Any]
    gold_type: Any
    read: Callable[[str], Any]
    generate: Mapping[str, Any]
    read_gold: Callable[[str], Any] | None = None
    without_kept: str = ""


def register_generative(
    name: str,
    source: DataSource,
    answers: TextTarget,
    *,
    prefix: str,
    render: steps.Render,
    defaults: Defaults,
    counts: Sequence[Callable] = (),
    **settings: Any,
) -> Task:
    """Registers a task whose answers a sequence-to-sequence model writes.

    Args:
        prefix: the name that inputs begin with.
        render: row -> input.
        counts: steps that count what the inputs lost.
    """
    from_labels = partial(decoders.read_tokens, read=answers.read_gold or answers.read)
    return register(
        name,
        source,
        [
            partial(steps.add_inputs, render=render, prefix=prefix),
            *counts,
            partial(
                steps.add_target_text,
                write=answers.write,
                num_generated=answers.generate["max_new_tokens"],
            ),
            partial(steps.add_gold, read=answers.gold),
        ],
        targets={"labels": TEXT_TARGET},
        keep={"gold": answers.gold_type},
        without_kept=answers.without_kept,
        form="seq2seq",
        decode=partial(decoders.decode_text, read=answers.read),
        target=partial(decoders.gold_of, from_labels=from_labels),
        defaults=dataclasses.replace(defaults, generate=answers.generate),
        **settings,
    )
