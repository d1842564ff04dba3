"""What is known of somebody's own data: files, columns, labels; plain values that JSON can hold."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ke_t5.errors import Exit, UserError, suggestion

# Kind -> the tasks that are made of its data.
TASKS = {
    "classification": ("classification", "classification_gen"),
    "pair_classification": ("pair_classification", "pair_classification_gen"),
    "multilabel": ("multilabel", "multilabel_gen"),
    "regression": ("regression", "regression_gen"),
    "similarity": ("similarity", "similarity_gen"),
    "tagging": ("tagging",),
    "choice": ("choice", "choice_gen"),
    "reading": ("reading", "reading_gen", "reading_gen_context_free"),
    "text2text": ("text2text",),
    "span_corruption_ko": ("span_corruption_ko",),
}
KIND_OF = {task: kind for kind, tasks in TASKS.items() for task in tasks}
SEPARATOR = ","
SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class OwnData:
    """Data of one's own, for one task.

    Attributes:
        task: the task that it is for, one of `KIND_OF`: "classification", "tagging", ...
        name: of the kind's first task, which its inputs begin with if answers are written; default:
            the kind's own.
        files: split ("train", "validation", "test") -> file; may be empty for a trained model.
        columns: role ("text", "text_pair", "label") -> name of the file's column.
        labels: the names of the classes, or the types of entities, in the order of their ids.
        choices: of choice: the names of the columns of the choices, in order; `labels` are what the
            label's column calls them then.
        joint: of tagging: what stands between the tokens of a text; None if no file has said it.
        may_be_impossible: of reading: whether a question may have no answer.
        encoding, sheet: as `read_table` takes them.
        separator: of multilabel: what stands between the labels in a cell.
        skip_empty: leave out rows without a text or label, which are an error otherwise.

    Raises:
        ValueError: no such task, split or role.
    """

    task: str
    files: Mapping[str, str] = field(default_factory=dict)
    columns: Mapping[str, str] = field(default_factory=dict)
    labels: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()
    joint: str | None = None
    may_be_impossible: bool = False
    encoding: str | None = None
    sheet: str | None = None
    separator: str = SEPARATOR
    skip_empty: bool = False
    name: str = ""

    def __post_init__(self) -> None:
        if self.task not in KIND_OF:
            raise ValueError(f"no task of own data {self.task!r}; {suggestion(self.task, KIND_OF)}")
        for values, known in ((self.files, SPLITS), (self.columns, ("text", "text_pair", "label"))):
            if unknown := set(values) - set(known):
                raise ValueError(f"own data: {sorted(unknown)} are none of {known}")
        for name in ("labels", "choices"):
            object.__setattr__(self, name, tuple(getattr(self, name)))

    @property
    def kind(self) -> str:
        """The kind of data, which several tasks may be made of."""
        return KIND_OF[self.task]

    def replace(self, **changes: Any) -> OwnData:
        """The same with other values of these fields."""
        return dataclasses.replace(self, **changes)

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON has it, the files with their folders."""
        files = {split: os.path.abspath(file) for split, file in self.files.items()}
        lists = {"labels": list(self.labels), "choices": list(self.choices)}
        return {**dataclasses.asdict(self), "files": files, **lists}

    @classmethod
    def from_json(cls, content: Any, where: str) -> OwnData:
        """What `to_json` gave; a UserError that names `where` for anything else."""
        try:
            known = {one.name for one in dataclasses.fields(cls)}
            own = cls(**{name: value for name, value in content.items() if name in known})
            texts = [
                *own.files.values(),
                *own.columns.values(),
                *own.labels,
                *own.choices,
                own.separator,
            ]
            if not all(isinstance(text, str) for text in texts):
                raise TypeError("not a text")
        except (AttributeError, TypeError, ValueError) as error:
            what = f"no record of own data ({error!s:.60})"
            fix = "take the file of the run or export anew"
            raise UserError(what, where, fix, Exit.CHECKPOINT) from None
        return own
