"""The description of the user's own data: files, columns, labels; serializable as JSON."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ke_t5.errors import Exit, UserError, suggestion

# Kind -> its tasks.
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
# Kind -> the roles of the columns of its files; reading uses SQuAD's format.
ROLES = {
    "classification": ("text", "label"),
    "pair_classification": ("text", "text_pair", "label"),
    "multilabel": ("text", "label"),
    "regression": ("text", "label"),
    "similarity": ("text", "text_pair", "label"),
    "tagging": ("text", "label"),
    "choice": ("text", "label"),
    "reading": (),
    "text2text": ("text", "label"),
    "span_corruption_ko": ("text",),
}
SEPARATOR = ","
SPLITS = ("train", "validation", "test")
# Options for reading a file, which may differ from split to split.
OF_FILE = ("encoding", "sheet")


@dataclass(frozen=True)
class OwnData:
    """The user's own data for one task.

    Attributes:
        task: the name of its task, one of `KIND_OF`: "classification", "tagging", ...
        files: split ("train", "validation", "test") -> file; may be empty for a trained model.
        columns: role ("text", "text_pair", "label") -> name of the file's column.
        labels: class names or entity types, in the order of their ids; for choice, the values of
            the label column, one per choice.
        choices: the names of the columns of the choices, in order (choice only).
        joint: the text between tokens; None if no file has tokens (tagging only).
        may_be_impossible: whether a question may have no answer (reading only).
        encoding, sheet: see `read_table`; of the splits that are not in `by_split`.
        by_split: "encoding" or "sheet" -> split -> value, for splits with a value of their own.
        separator: the separator between the labels in a cell (multilabel only).
        skip_empty: skip rows without a text or label instead of raising an error.
        name: the name under which the kind is registered, and with which generative inputs start;
            default: the kind.

    Raises:
        ValueError: unknown task, split or role.
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
    by_split: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    separator: str = SEPARATOR
    skip_empty: bool = False
    name: str = ""

    def __post_init__(self) -> None:
        if self.task not in KIND_OF:
            raise ValueError(f"unknown task {self.task!r}; {suggestion(self.task, KIND_OF)}")
        named = [(self.files, SPLITS), (self.columns, ("text", "text_pair", "label"))]
        named += [(self.by_split, OF_FILE), *((one, SPLITS) for one in self.by_split.values())]
        for values, known in named:
            if unknown := set(values) - set(known):
                raise ValueError(f"own data: {sorted(unknown)} are none of {known}")
        for name in ("labels", "choices"):
            object.__setattr__(self, name, tuple(getattr(self, name)))

    @property
    def kind(self) -> str:
        """The kind of data, which may be shared by several tasks."""
        return KIND_OF[self.task]

    def replace(self, **changes: Any) -> OwnData:
        """A copy with other values of these fields."""
        return dataclasses.replace(self, **changes)

    def for_split(self, split: str) -> OwnData:
        """A copy with the encoding and sheet of one split."""
        found = {name: each[split] for name, each in self.by_split.items() if split in each}
        return self.replace(by_split={}, **found)

    def to_json(self) -> dict[str, Any]:
        """All fields as JSON values, with absolute paths of files."""
        files = {split: os.path.abspath(file) for split, file in self.files.items()}
        lists = {"labels": list(self.labels), "choices": list(self.choices)}
        return {**dataclasses.asdict(self), "files": files, **lists}

    @classmethod
    def from_json(cls, content: Any, where: str) -> OwnData:
        """The inverse of `to_json`; a UserError at `where` for invalid content."""
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
            texts += [text for each in own.by_split.values() for text in each.values()]
            texts += [text for text in (own.encoding, own.sheet, own.joint) if text is not None]
            if not all(isinstance(text, str) for text in texts):
                raise TypeError("not a text")
            if len(set(own.labels)) < len(own.labels):
                raise ValueError("repeated label")
            if missing := set(ROLES[own.kind]) - set(own.columns):
                raise ValueError(f"no column for {sorted(missing)}")
        except (AttributeError, TypeError, ValueError) as error:
            what = f"not a description of own data ({error!s:.60})"
            fix = "restore the file of the run or export"
            raise UserError(what, where, fix, Exit.CHECKPOINT) from None
        return own
