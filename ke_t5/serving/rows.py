"""Converts rows of tables, command lines and requests to the columns of a task."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ke_t5.composition import compose, compose_row, is_decomposed
from ke_t5.errors import Exit, UserError
from ke_t5.forms import FORMS
from ke_t5.own_data import own_data_of
from ke_t5.own_data.columns import numbered_choices
from ke_t5.own_data.rows import choice_columns
from ke_t5.pipe.task import Task
from ke_t5.readers.json_rows import is_too_deep
from ke_t5.readers.streams import HALF_OF_PAIR, UNPAIRED
from ke_t5.task import checks
from ke_t5.task.text import RELATION_COLUMNS

Row = Mapping[str, Any]
FIX = "fix or remove that row"
ROLES = ("user", "sys")  # of alternating turns of a dialogue
CHOICES = "choices"  # a column with a list of all choices


def unlabelled(task: Task, row: Row) -> dict[str, Any]:
    """The row with the task's columns only, texts composed (NFC), labels None.

    Raises:
        UserError: a column is missing or invalid; the error does not name the row.
    """
    try:
        return _unlabelled(task, row)
    except RecursionError:
        raise _wrong("lists or objects are nested too deeply") from None


def _unlabelled(task: Task, row: Row) -> dict[str, Any]:
    row = _renamed(task, row)
    if not task.input_columns:
        return {**{name: composed(name, row[name]) for name in row}, **_no_label(task)}
    values = {name: _value(task, name, row) for name in task.input_columns}
    for role in ("subject", "object"):
        if role in values and values.get("sentence") is not None:
            place = _moved(row["sentence"], role, values[role])
            values[role] = _entity(values["sentence"], place, role)
    return {**values, **_no_label(task)}


def _renamed(task: Task, row: Row) -> Row:
    """The row, with columns of other names also under the task's names."""
    names = other_names(task, row)
    ours = {name: row[theirs] for name, theirs in names.items() if theirs in row}
    return {**ours, **_listed_choices(task, row), **row}


def other_names(task: Task, known: Iterable[str]) -> dict[str, str]:
    """The task's columns -> their names in the user's training file; for choices also numbered
    columns such as `alternative_1` and `보기 1`, if their number is right."""
    own = own_data_of(task)
    trained_on = {**own.columns, **choice_columns(own)} if own else {}
    wanted, numbered = choices_of(task), numbered_choices(map(str, known))
    by_number = dict(zip(wanted, numbered, strict=True)) if len(wanted) == len(numbered) else {}
    return {**by_number, **{name: theirs for name, theirs in trained_on.items() if theirs}}


def decomposed_text(task: Task, row: Row) -> str | None:
    """The text that a prediction's offsets refer to, as given; None if it is composed."""
    text = _renamed(task, row).get("context" if FORMS[task.form].reads_passages else "text")
    return text if isinstance(text, str) and is_decomposed(text) else None


def choices_of(task: Task) -> tuple[str, ...]:
    """The columns with the choices; () for a task that has none."""
    if FORMS[task.form].answers == "choice" and task.labels is not None:
        return task.input_columns[-len(task.labels) :]
    return tuple(name for name in task.input_columns if re.fullmatch(r"choice\d+", name))


def _listed_choices(task: Task, row: Row) -> dict[str, str]:
    wanted = choices_of(task)
    if not wanted or CHOICES not in row or wanted[0] in row:
        return {}
    texts = _from_json(row[CHOICES])
    if not isinstance(texts, list) or len(texts) != len(wanted):
        raise _wrong(f"column 'choices' contains {texts!r:.40}, expected {len(wanted)} texts")
    return dict(zip(wanted, texts, strict=True))


def _no_label(task: Task) -> dict[str, None]:
    return dict.fromkeys(task.label_columns)


def composed(name: str, value: Any) -> Any:
    """A column's value with its texts composed (NFC).

    Raises:
        UserError: a text has an unpaired surrogate, which no tokenizer reads.
    """
    if isinstance(value, str):
        if HALF_OF_PAIR.search(value):
            raise _wrong(f"column {name!r:.40} {UNPAIRED}")
        return compose(value)
    if isinstance(value, list):
        return [composed(name, item) for item in value]
    if isinstance(value, Mapping):
        return {key: composed(name, item) for key, item in value.items()}
    return value


def _value(task: Task, name: str, row: Row) -> Any:
    if name not in row:
        known = ", ".join(map(str, row))
        raise _wrong(f"there is no column {name!r} among {known:.60}", "name it with --text_column")
    value = composed(name, row[name])
    read = _STRUCTURED.get(name)
    if read is not None:
        return read(value)
    if not isinstance(value, str):
        raise _wrong(f"column {name!r} contains {value!r:.40}, expected text")
    if not value.strip() and name in _never_blank(task):
        raise _wrong(f"column {name!r} contains no text")
    return value


def _never_blank(task: Task) -> tuple[str, ...]:
    """The columns that must not be blank according to the task's checks."""
    found = []
    for check in task.row_checks:
        keywords = getattr(check, "keywords", {})
        if getattr(check, "func", None) is checks.has_texts and "may_be_blank" in keywords:
            found += keywords["columns"]
    return tuple(found)


def _words(value: Any) -> list[str]:
    """The words of a sentence, given as a list or as a text."""
    words = value.split() if isinstance(value, str) else value
    if not isinstance(words, list) or not all(isinstance(word, str) and word for word in words):
        raise _wrong(f"column 'words' contains {value!r:.40}, expected words")
    if not words:
        raise _wrong("column 'words' contains no word")
    return words


def _history(value: Any) -> list[dict[str, str]]:
    """The turns of a dialogue, given as records of role and text, or as texts (or the lines of one
    text) of which the user's is the first."""
    turns: Any = _from_json(value)
    turns = turns.splitlines() if isinstance(turns, str) else turns
    if not isinstance(turns, list) or not turns or turns == [""]:
        raise _wrong(f"column 'history' contains {value!r:.40}, expected turns")
    if all(isinstance(turn, str) for turn in turns):
        texts = [turn for turn in turns if turn.strip()]
        return [{"role": ROLES[i % 2], "text": turn} for i, turn in enumerate(texts)]
    for turn in turns:
        if not (isinstance(turn, dict) and {"role", "text"} <= set(turn)):
            raise _wrong(f"turn {turn!r:.40} has no role and text")
    return turns


def _record(value: Any) -> Any:
    return _from_json(value)


def _from_json(value: Any) -> Any:
    """The value of a table's cell that contains JSON; any other text as it is."""
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "[") and not is_too_deep(value):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value


_STRUCTURED: dict[str, Callable[[Any], Any]] = {
    "words": _words,
    "history": _history,
    "subject": _record,
    "object": _record,
}


def _moved(sentence: str, role: str, value: Any) -> Any:
    """An entity with its offsets converted to those in the composed sentence."""
    if not isinstance(value, Mapping):
        return value
    return compose_row({"sentence": sentence, role: dict(value)}, "row")[role]


def _entity(sentence: str, value: Any, role: str) -> Any:
    """An entity with its offsets; those of a word are searched in the sentence."""
    if isinstance(value, str):
        start = sentence.find(value) if value else -1
        if start < 0:
            raise _wrong(f"the {role} {value!r:.40} is not in the sentence")
        return {"word": value, "start": start, "end": start + len(value)}
    if isinstance(value, Mapping) and {"start", "end"} <= set(value):
        return dict(value)
    raise _wrong(f"the {role} is {value!r:.40}, expected a word of the sentence")


def from_texts(task: Task, texts: Sequence[str]) -> dict[str, Any]:
    """The row with these texts in the task's columns, in order.

    Raises:
        UserError: the number of texts is not that of the columns.
    """
    names = task.input_columns
    if len(names) == len(texts):
        return dict(zip(names, texts, strict=True))
    wanted = ", ".join(names) or "columns of its own"
    what = f"{len(texts)} text(s) given, but {task.name} reads {wanted}"
    fix = "give --text and --text_pair" if len(names) == 2 else "give a file with --input"
    if names == RELATION_COLUMNS:
        fix = "give a file with these columns"
    raise UserError(what, "--text", fix)


def _wrong(what: str, fix: str = FIX) -> UserError:
    return UserError(what, "row", fix, Exit.DATA)
