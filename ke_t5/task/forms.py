"""How a benchmark is registered in one form: what all of our tasks have in common, once."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from ke_t5.pipe.features import IGNORED, Feature
from ke_t5.pipe.preprocessors import Example
from ke_t5.pipe.sources import DataSource
from ke_t5.pipe.task import Defaults, Task, TaskRegistry
from ke_t5.task import decoders, steps
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
    """Registers a task with the input that all of ours have, and its text for people.

    Args:
        targets: the model's columns beside the input.
        inputs: example -> its text, where that is not the kept column `text`.
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


def register_generative(
    name: str,
    source: DataSource,
    *,
    prefix: str,
    render: steps.Render,
    write: Callable[[Example], str | None],
    gold: Callable[[Example], Any],
    gold_type: Any,
    read: Callable[[str], Any],
    read_gold: Callable[[str], Any] | None = None,
    generate: Mapping[str, Any],
    defaults: Defaults,
    counts: Sequence[Callable] = (),
    **settings: Any,
) -> Task:
    """Registers a task whose answers a sequence-to-sequence model writes as text.

    Args:
        prefix: the name that inputs begin with.
        render: row -> input; `write`: row -> target text, None without a label.
        gold: row -> what metrics compare with, of the type `gold_type`.
        read: written text -> prediction, None where it cannot be read.
        read_gold: target text -> gold, where that is not `read`.
        generate: arguments of `generate`.
        counts: steps that count what the inputs lost.
    """
    from_labels = partial(decoders.read_tokens, read=read_gold or read)
    return register(
        name,
        source,
        [
            partial(steps.add_inputs, render=render, prefix=prefix),
            *counts,
            partial(steps.add_target_text, write=write),
            partial(steps.add_gold, read=gold),
        ],
        targets={"labels": TEXT_TARGET},
        keep={"gold": gold_type},
        form="seq2seq",
        divisor="label_tokens",
        decode=partial(decoders.decode_text, read=read),
        target=partial(decoders.gold_of, from_labels=from_labels),
        defaults=dataclasses.replace(defaults, generate=generate),
        **settings,
    )
