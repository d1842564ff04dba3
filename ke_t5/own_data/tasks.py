"""Tasks of own data: the families of `ke_t5.task`, registered under the name of each kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from ke_t5.own_data.rows import choice_columns, roles_of
from ke_t5.own_data.source import OwnFiles
from ke_t5.own_data.spec import KIND_OF, TASKS, OwnData
from ke_t5.pipe.monitor import Monitor
from ke_t5.pipe.task import Defaults, Task, TaskRegistry
from ke_t5.task import families, metrics
from ke_t5.task.labels import Labels, iob2
from ke_t5.task.span_corruption import span_corruption
from ke_t5.task.writing import text_to_text

ONE, TWO = {"sentence": "text"}, {"sentence1": "text", "sentence2": "text_pair"}
WINDOW_LENGTH = 384


def register(own: OwnData, *, name: str | None = None) -> Task:
    """Registers the tasks of the data's kind (also `_gen`), and returns the task of the data.

    Args:
        name: replaces the kind in the names of its tasks; default: `own.name`, or the kind.

    Raises:
        ValueError: another task has the name.
    """
    own = own.replace(name=name or own.name or own.kind)
    name = own.name
    suffixes = [task.removeprefix(own.kind) for task in TASKS[own.kind]]
    for suffix in suffixes:
        _make_room(f"{name}{suffix}")
    _FAMILIES[own.kind](name, OwnFiles(own, name), own)
    return TaskRegistry.get(name + own.task.removeprefix(own.kind))


def register_kinds() -> None:
    """Registers the tasks of every kind without data, so that they can be looked up, unless a task
    of the user has the name."""
    for kind, tasks in TASKS.items():
        if not any(task in TaskRegistry.registry for task in tasks):
            register(OwnData(kind))


def forget() -> None:
    """Unregisters all tasks of own data."""
    for name in TaskRegistry.names():
        _make_room(name)


def own_data_of(task: Any) -> OwnData | None:
    """The own data of a task; None for other tasks."""
    source = getattr(task, "source", None)
    return source.own_data if isinstance(source, OwnFiles) else None


def _make_room(name: str) -> None:
    """Unregisters the task with this name if it is one of own data."""
    if name in TaskRegistry.registry and own_data_of(TaskRegistry.get(name)) is not None:
        TaskRegistry.registry.remove(name)


def _classes(name: str, source: OwnFiles, own: OwnData, *, fields: Mapping[str, str]) -> None:
    families.classification(
        name,
        source,
        labels=Labels(own.labels),
        metrics=(metrics.macro_f1, metrics.accuracy),
        best=Monitor("macro_f1"),
        fields=fields,
        defaults=Defaults(),
    )


def _label_sets(name: str, source: OwnFiles, own: OwnData) -> None:
    families.multilabel(
        name,
        source,
        labels=Labels(own.labels),
        fields=TWO if "text_pair" in own.columns else ONE,
        column="label",
        best=Monitor("micro_f1"),
        defaults=Defaults(),
    )


def _numbers(name: str, source: OwnFiles, own: OwnData, *, fields: Mapping[str, str]) -> None:
    families.similarity(
        name,
        source,
        fields=fields,
        column="label",
        metrics=(metrics.pearson, metrics.spearman),
        best=Monitor("pearson"),
        defaults=Defaults(),
    )


def _tags(name: str, source: OwnFiles, own: OwnData) -> None:
    families.tagging(
        name,
        source,
        labels=Labels(iob2(own.labels)),
        metrics=(metrics.entity_f1_micro, metrics.entity_f1, metrics.token_accuracy),
        best=Monitor("entity_f1_micro"),
        defaults=Defaults(),
    )


def _choices(name: str, source: OwnFiles, own: OwnData) -> None:
    families.choice(
        name,
        source,
        fields={role: role for role in roles_of(own)[:-1]},
        choices=tuple(choice_columns(own)) or ("choice1", "choice2"),
        keys=own.labels,
        best=Monitor("accuracy"),
        defaults=Defaults(),
    )


def _answers(name: str, source: OwnFiles, own: OwnData) -> None:
    families.reading(
        name,
        source,
        # KorQuAD's score is always 0 for a question without an answer.
        metrics=(metrics.klue_mrc if own.may_be_impossible else metrics.korquad,),
        best=Monitor("exact_match"),
        may_be_impossible=own.may_be_impossible,
        window_length=WINDOW_LENGTH,
        defaults=Defaults(batch_size=16, epochs=5),
    )


def _texts(name: str, source: OwnFiles, own: OwnData) -> None:
    text_to_text(
        name,
        source,
        fields={"text": "text"},
        column="label",
        metrics=(metrics.rouge, metrics.bleu),
        best=Monitor("rouge1[syllable]"),
        defaults=Defaults(batch_size=16, epochs=5),
    )


def _free_text(name: str, source: OwnFiles, own: OwnData) -> None:
    span_corruption(name, source)


_FAMILIES: dict[str, Callable[[str, OwnFiles, OwnData], None]] = {
    "classification": partial(_classes, fields=ONE),
    "pair_classification": partial(_classes, fields=TWO),
    "multilabel": _label_sets,
    "regression": partial(_numbers, fields=ONE),
    "similarity": partial(_numbers, fields=TWO),
    "tagging": _tags,
    "choice": _choices,
    "reading": _answers,
    "text2text": _texts,
    "span_corruption_ko": _free_text,
}
assert set(_FAMILIES) == set(TASKS) == set(KIND_OF.values())
