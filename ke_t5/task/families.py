"""Families of tasks: one function per family registers a benchmark in all its forms.

Tasks are data (see `task.py`): a new benchmark of a known family is a reader and a row there.
Families with more structure are in `structured.py`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from ke_t5.pipe.features import IGNORED, Feature
from ke_t5.pipe.monitor import Monitor
from ke_t5.pipe.preprocessors import Example
from ke_t5.pipe.sources import DataSource
from ke_t5.pipe.task import Defaults
from ke_t5.task import checks, decoders, steps, tags, text
from ke_t5.task.choices import FEATURES as CHOICE_FEATURES
from ke_t5.task.choices import add_choices, all_choices, displayed, numbers
from ke_t5.task.column_types import has_types
from ke_t5.task.forms import TextTarget, register, register_classes, register_generative
from ke_t5.task.labels import Labels
from ke_t5.task.metrics import accuracy, macro_f1
from ke_t5.task.metrics.metric import Metric
from ke_t5.task.metrics.multilabel import label_sets
from ke_t5.task.qa import passages
from ke_t5.task.targets import GREEDY, label_words, number_words, written_label_sets

# The maximum number of generated tokens of an answer.
ANSWER_LENGTH = 64
# T5's settings for summaries; no_repeat_ngram_size keeps weak models from looping.
SUMMARIZING = {
    "max_new_tokens": 256, "num_beams": 4, "early_stopping": True, "no_repeat_ngram_size": 3,
}  # fmt: skip

# ------------------------------------------------------------------------------ classification


def classification(
    name: str,
    source: DataSource,
    *,
    labels: Labels,
    metrics: Sequence[Metric],
    best: Monitor,
    fields: Mapping[str, str] | None = None,
    render: steps.Render | None = None,
    input_columns: Sequence[str] = (),
    column: str = "label",
    generative: bool = True,
    generative_metrics: Sequence[Metric] | None = None,
    defaults: Defaults,
) -> None:
    """Registers `name` (label ids for an encoder) and `name_gen` (label words for T5).

    Args:
        fields: name in KE-T5's text format -> column; two fields are a pair.
        render: a function from row to segments; default: the fields.
        input_columns: the columns that `render` reads.
        generative_metrics: metrics of `name_gen` (text has no probabilities); default: `metrics`.
    """
    texts = tuple(fields.values()) if fields else ("sentence",)
    render = render or partial(steps.field_segments, fields=fields or {})
    of_row = {"labels": labels, "column": column}
    row_checks = (
        partial(checks.has_texts, columns=texts),
        partial(has_types, columns={column: "label"}),
        partial(checks.known_labels, **of_row),
    )
    common: dict[str, Any] = {"best": best, "defaults": defaults, "row_checks": row_checks}
    common |= {"input_columns": tuple(input_columns or texts), "label_columns": (column,)}
    inputs = partial(steps.add_inputs, render=render)
    register_classes(name, source, [inputs], **of_row, metric_fns=tuple(metrics), **common)
    if generative:
        scores = tuple(generative_metrics or metrics)
        options = {"prefix": name, "render": render, "metric_fns": scores}
        register_generative(f"{name}_gen", source, label_words(**of_row), **options, **common)


# ------------------------------------------------------------------------------ several labels


def multilabel(
    name: str,
    source: DataSource,
    *,
    labels: Labels,
    fields: Mapping[str, str],
    column: str = "label",
    best: Monitor,
    generative: bool = True,
    defaults: Defaults,
) -> None:
    """Registers `name` (any number of labels for a text or a pair, each with its own probability)
    and `name_gen` (their words).

    Args:
        column: a column of lists of labels, which may be empty; None marks an unlabelled row.
        best: one of the scores of `metrics.label_sets`.
    """
    render = partial(steps.field_segments, fields=fields)
    of_row = {"labels": labels, "column": column}
    common: dict[str, Any] = {
        "best": best,
        "defaults": defaults,
        "metric_fns": (label_sets(len(labels)),),
        "row_checks": (
            partial(checks.has_texts, columns=tuple(fields.values())),
            partial(checks.known_labels, **of_row),
        ),
        "input_columns": tuple(fields.values()),
        "label_columns": (column,),
    }
    from_marks = partial(decoders.names_from_marks, labels=labels)
    register(
        name,
        source,
        [partial(steps.add_inputs, render=render), partial(steps.add_label_sets, **of_row)],
        targets={"labels": Feature(dtype="float32")},
        keep={"gold": ["string"]},
        form="multilabel_classification",
        labels=labels.names,
        problem_type="multi_label_classification",
        decode=partial(decoders.decode_label_set, labels=labels),
        target=partial(decoders.gold_of, from_labels=from_marks),
        **common,
    )
    if generative:
        options = {"prefix": name, "render": render}
        answers = written_label_sets(labels, column)
        register_generative(f"{name}_gen", source, answers, **options, **common)


# ------------------------------------------------------------------------------------- choices


def choice(
    name: str,
    source: DataSource,
    *,
    fields: Mapping[str, str],
    choices: Sequence[str],
    column: str = "label",
    keys: Sequence[str] = (),
    metrics: Sequence[Metric] = (accuracy, macro_f1),
    best: Monitor,
    generative: bool = True,
    defaults: Defaults,
) -> None:
    """Registers `name` (which of several texts goes with a text) and `name_gen` (its number).

    Args:
        fields: the text shared by all choices: name in KE-T5's text format -> column.
        choices: the columns of the choices, two or more.
        column: the column of the right choice: its number from 1, or one of `keys`.
        keys: the values of that column, one per choice.
    """
    of_row = {"labels": numbers(choices, keys), "column": column}
    of_text = {"fields": fields, "choices": tuple(choices)}
    texts = (*fields.values(), *choices)
    common: dict[str, Any] = {
        "input_columns": texts,
        "label_columns": (column,),
        "best": best,
        "defaults": defaults,
        "metric_fns": tuple(metrics),
        "row_checks": (
            partial(checks.has_texts, columns=texts),
            partial(has_types, columns={column: "label"}),
            partial(checks.known_labels, **of_row),
        ),
    }
    register_classes(
        name,
        source,
        [partial(add_choices, **of_text)],
        form="multiple_choice",
        targets=CHOICE_FEATURES,
        inputs=displayed,
        further={"text": "string"},
        **of_row,
        **common,
    )
    if generative:
        options = {"prefix": name, "render": partial(all_choices, **of_text)}
        register_generative(f"{name}_gen", source, label_words(**of_row), **options, **common)


# ---------------------------------------------------------------------------------- similarity


def similarity(
    name: str,
    source: DataSource,
    *,
    fields: Mapping[str, str],
    column: str,
    metrics: Sequence[Metric],
    best: Monitor,
    defaults: Defaults,
) -> None:
    """Registers `name` (regression on `column`) and `name_gen` (the number as text)."""
    render = partial(steps.field_segments, fields=fields)
    row_checks = (
        partial(checks.has_texts, columns=tuple(fields.values())),
        partial(checks.has_columns, columns=(column,)),
    )
    common: dict[str, Any] = {"best": best, "defaults": defaults, "row_checks": row_checks}
    common |= {"input_columns": tuple(fields.values()), "label_columns": (column,)}
    common["metric_fns"] = tuple(metrics)
    register(
        name,
        source,
        [partial(steps.add_inputs, render=render), partial(steps.add_numbers, column=column)],
        targets={"labels": Feature(rank=0, dtype="float32")},
        keep={"gold": "float64"},
        form="sequence_classification",
        labels=("similarity",),
        problem_type="regression",
        decode=decoders.decode_number,
        target=partial(decoders.gold_of, from_labels=decoders.number_or_none),
        **common,
    )
    options = {"prefix": name, "render": render}
    register_generative(f"{name}_gen", source, number_words(column), **options, **common)


# ------------------------------------------------------------------------------------- tagging


def tagging(
    name: str,
    source: DataSource,
    *,
    labels: Labels,
    metrics: Sequence[Metric],
    best: Monitor,
    column: str = "tags",
    defaults: Defaults,
) -> None:
    """Registers `name`: tags of tokens, or of characters for models that tag characters; scores
    are per character in both cases.

    Args:
        labels: the tags, IOB2.
        column: the rows' label column: "tags" (one per character) or "entities".
    """
    register(
        name,
        source,
        [partial(tags.add_token_tags, labels=labels)],
        targets={"labels": Feature(pad=IGNORED, num_values=len(labels))},
        keep={"gold": ["string"], "offsets": [["int32"]]},
        **tags.of_tokens(labels),
        input_columns=("text",),
        label_columns=(column,),
        metric_fns=tuple(metrics),
        best=best,
        row_checks=tags.tag_checks(labels, column),
        defaults=defaults,
    )


# ------------------------------------------------------------------------------------- reading

ANSWERS = TextTarget(
    write=passages.answer_word,
    gold=passages.references,
    gold_type=["string"],
    read=text.text_to_answer,
    read_gold=decoders.read_references,
    generate={"max_new_tokens": ANSWER_LENGTH, **GREEDY},
    without_kept="the decoded target is the one right answer to a question",
)


def reading(
    name: str,
    source: DataSource,
    *,
    metrics: Sequence[Metric],
    best: Monitor,
    may_be_impossible: bool,
    window_length: int,
    tail: int | None = None,
    defaults: Defaults,
) -> None:
    """Registers `name` (start and end of the answer), `name_gen` (the answer as text) and
    `name_gen_context_free` (the answer as text, without the passage).

    Args:
        may_be_impossible: whether a model may predict that there is no answer.
        window_length: tokens of a window, question included.
        tail: how many characters at the end of the passage a generative model is given; default:
            all. With a tail, `name_gen_context_free` is not registered.
    """
    row_checks = (
        partial(checks.has_texts, columns=("question", "context"), may_be_blank=False),
        partial(has_types, columns=passages.ANSWER_COLUMNS),
    )
    common: dict[str, Any] = {"metric_fns": tuple(metrics), "best": best, "row_checks": row_checks}
    common["label_columns"] = tuple(passages.ANSWER_COLUMNS)
    lengths = {**defaults.sequence_length, "inputs": window_length}
    _register_windows(
        name,
        source,
        decode=partial(passages.decode_answer, may_be_impossible=may_be_impossible),
        defaults=dataclasses.replace(defaults, sequence_length=lengths),
        **common,
    )
    forms = {"gen": True} if tail else {"gen": True, "gen_context_free": False}
    for suffix, with_context in forms.items():
        register_generative(
            f"{name}_{suffix}",
            source,
            ANSWERS,
            prefix=name,
            render=partial(steps.question_segments, with_context=with_context, tail=tail),
            counts=(partial(passages.count_answers_cut_off, tail=tail),) if with_context else (),
            input_columns=("question", "context") if with_context else ("question",),
            defaults=defaults,
            **common,
        )


def _register_windows(name: str, source: DataSource, **settings: Any) -> None:
    """Registers the extractive form of a reading task."""
    keep = {"question": "string", "context": "string", "gold": ["string"]}
    register(
        name,
        source,
        [passages.add_windows],
        targets={"start_positions": Feature(rank=0), "end_positions": Feature(rank=0)},
        keep={**keep, "offsets": [["int32"]], "may_start": ["bool"]},
        without_kept="answers are compared as decoded tokens, with one right answer per question",
        inputs=passages.question_and_passage,
        input_columns=("question", "context"),
        form="question_answering",
        target=passages.gold_references,
        **settings,
    )


# ------------------------------------------------------------------------------- summarization


def summary_of(row: Example) -> str | None:
    """The summary of a row."""
    return row["summary"]


SUMMARIES = TextTarget(
    write=summary_of,
    gold=summary_of,
    gold_type="string",
    read=str.strip,
    generate=SUMMARIZING,
    without_kept="summaries are compared with their decoded targets, as long as these are",
)


def summarization(
    name: str,
    source: DataSource,
    *,
    kind: str,
    metrics: Sequence[Metric],
    best: Monitor,
    defaults: Defaults,
) -> None:
    """Registers `name`: generation of an article's summary.

    Args:
        kind: the requested kind of summary, "summary" or "topic".
    """
    register_generative(
        name,
        source,
        SUMMARIES,
        prefix=name,
        render=partial(steps.article_segments, kind=kind),
        input_columns=("article",),
        label_columns=("summary",),
        metric_fns=tuple(metrics),
        best=best,
        row_checks=(
            partial(checks.has_texts, columns=("article",), may_be_blank=False),
            partial(has_types, columns={"summary": "text"}),
        ),
        defaults=defaults,
    )
