"""The family of free text generation tasks."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from ke_t5.pipe.monitor import Monitor
from ke_t5.pipe.preprocessors import Example
from ke_t5.pipe.sources import DataSource
from ke_t5.pipe.task import Defaults
from ke_t5.task import checks, steps
from ke_t5.task.column_types import has_types
from ke_t5.task.families import SUMMARIES
from ke_t5.task.forms import register_generative
from ke_t5.task.metrics.metric import Metric


def text_of(row: Example, *, column: str) -> str | None:
    """The text in a column of a row."""
    return row[column]


def text_to_text(
    name: str,
    source: DataSource,
    *,
    fields: Mapping[str, str],
    column: str,
    metrics: Sequence[Metric],
    best: Monitor,
    generate: Mapping[str, Any] | None = None,
    defaults: Defaults,
) -> None:
    """Registers `name`: generation of a text from a text.

    Args:
        fields: name in the input -> column.
        column: the column of the target text.
        generate: arguments of `generate`, including `max_new_tokens`; default: those of summaries.
    """
    write = partial(text_of, column=column)
    answers = dataclasses.replace(
        SUMMARIES, write=write, gold=write, generate=generate or SUMMARIES.generate
    )
    register_generative(
        name,
        source,
        answers,
        prefix=name,
        render=partial(steps.field_segments, fields=fields),
        input_columns=tuple(fields.values()),
        label_columns=(column,),
        metric_fns=tuple(metrics),
        best=best,
        row_checks=(
            partial(checks.has_texts, columns=tuple(fields.values()), may_be_blank=False),
            partial(has_types, columns={column: "text"}),
        ),
        defaults=defaults,
    )
