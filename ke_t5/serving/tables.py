"""Tables of predictions: finds the task's columns in the input, and formats the output."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ke_t5.errors import Exit, UserError, suggestion
from ke_t5.files import plain
from ke_t5.pipe.task import Task
from ke_t5.readers.streams import HALF_OF_PAIR, UNPAIRED
from ke_t5.readers.table_files import TEXT_COLUMN
from ke_t5.serving.rows import CHOICES, choices_of, other_names

Row = Mapping[str, Any]

PREDICTION, ERROR = "prediction", "error"
DELIMITERS = {".csv": ",", ".tsv": "\t"}
JSON_LINES = (".jsonl", ".ndjson")
# Keys of a prediction's content; the first one it has is the cell in the column `prediction`.
_MAIN = ("label", "labels", "choice", "value", "entities", "answer", "words", "chains",
         "state", "text")  # fmt: skip

PAIR_COLUMN, CHOICE_COLUMNS = "--text_pair_column", "--choice_columns"
FIX_OF_TABLE = "write JSON lines: --output FILE.jsonl"


def columns_for(
    task: Task,
    known: Sequence[str],
    *,
    where: str,
    text: str | None,
    text_pair: str | None,
    choices: str | None = None,
) -> dict[str, str]:
    """The task's columns -> those of a table, by the flags, by the columns that the model was
    trained on, or by the same name.

    Args:
        known: the table's columns.
        where: the table, for messages.
        text, text_pair: the values of `--text_column` and `--text_pair_column`.
        choices: the value of `--choice_columns`, names separated by commas.

    Raises:
        UserError: a column is missing or named twice, or a flag does not apply to the task.
    """
    wanted, given = task.input_columns, _given_columns(task, text, text_pair, choices)
    if not wanted:
        return {name: name for name in known}
    trained_on = other_names(task, known)
    found: dict[str, str] = {}
    for name in wanted:
        flag, column = given.get(name, ("", None))
        if column is not None and column not in known:
            what, place = f"{where} has no such column", f"{flag} {column}"
            raise UserError(what, place, suggestion(column, known), Exit.DATA)
        candidates = (column, trained_on.get(name), name)
        column = next((column for column in candidates if column in known), None)
        if column is None and len(wanted) == 1 and (len(known) == 1 or TEXT_COLUMN in known):
            column = known[0] if len(known) == 1 else TEXT_COLUMN
        if column is None and name in choices_of(task) and CHOICES in known:
            found[CHOICES] = CHOICES
            continue
        if column is None:
            what = f"there is no column {trained_on.get(name, name)!r} among {', '.join(known):.60}"
            fix = f"name it with {flag}" if flag else "rename the column"
            raise UserError(what, where, fix, Exit.DATA)
        found[name] = column
    _require_distinct(found, where)
    return found


def _given_columns(
    task: Task, text: str | None, text_pair: str | None, choices: str | None
) -> dict[str, tuple[str, str | None]]:
    """The task's columns that have a flag -> the flag and its value.

    Raises:
        UserError: a flag for a column that the task does not read.
    """
    texts = [name for name in task.input_columns if name not in choices_of(task)]
    found: dict[str, tuple[str, str | None]] = {}
    for place, (flag, value) in enumerate((("--text_column", text), (PAIR_COLUMN, text_pair))):
        if place < len(texts):
            found[texts[place]] = flag, value
        elif value is not None:
            reads = ", ".join(task.input_columns) or "all columns of a row"
            what, fix = f"{task.name} reads {reads}", "drop it"
            raise UserError(what, f"{flag} {value:.60}", fix)
    if choices is not None:
        named = _named_choices(task, choices)
        found |= {name: (CHOICE_COLUMNS, column) for name, column in named.items()}
    return found


def _require_distinct(found: Mapping[str, str], where: str) -> None:
    """Raises UserError if two of the task's columns are one column of the table."""
    names: dict[str, str] = {}
    for name, column in found.items():
        if column == CHOICES:
            continue  # a list of all of them
        other = names.setdefault(column, name)
        if other != name:
            what = f"column {column!r:.60} cannot be both {other} and {name}"
            raise UserError(what, where, "name a column for each", Exit.DATA)


def _named_choices(task: Task, choices: str) -> dict[str, str]:
    """The task's columns of choices -> those named by the flag, in order."""
    wanted, names = choices_of(task), [name.strip() for name in choices.split(",")]
    if len(names) != len(wanted):
        has = f"{len(wanted)} choices" if wanted else "no choices"
        fix = f"name {len(wanted)} columns, between commas" if wanted else "drop it"
        place = f"{CHOICE_COLUMNS} {choices:.60}"
        raise UserError(f"{task.name} has {has}", place, fix)
    return dict(zip(wanted, names, strict=True))


# ----------------------------------------------------------------------------------------- writing


def check_suffix(output: Path) -> None:
    """Raises UserError for a file of an unknown format."""
    if output.suffix.lower() not in (*DELIMITERS, *JSON_LINES):
        known = ", ".join((*JSON_LINES[:1], *DELIMITERS))
        fix = f"name it {output.stem}.jsonl or {output.stem}.csv"
        raise UserError(f"its extension is not one of {known}", f"--output {output}", fix)


def json_line(row: Row, content: Mapping[str, Any] | None, error: str | None) -> str:
    """A row with its prediction or its error, as a line of JSON."""
    name = _free(PREDICTION if content is not None else ERROR, row)
    value = content if content is not None else error
    whole = plain({**row, name: value})
    text = json.dumps(whole, ensure_ascii=False, default=str)
    if HALF_OF_PAIR.search(text):
        text = json.dumps(whole, default=str)
    return text + "\n"


def _free(name: str, row: Row) -> str:
    """The name, with underscores appended until the row has no such column."""
    while name in row:
        name += "_"
    return name


class SeparatedLines:
    """Formats rows as lines of a CSV or TSV file with the columns of the first row.

    Args:
        labels: labels whose probabilities get a column each.
        has_errors: whether there is a column for errors.
    """

    def __init__(self, suffix: str, *, labels: Sequence[str], has_errors: bool) -> None:
        self._delimiter, self._labels, self._has_errors = DELIMITERS[suffix], labels, has_errors
        self._columns: list[str] = []
        self._names: list[str] = []

    def line(
        self, row: Row, content: Mapping[str, Any] | None, error: str | None, *, where: str
    ) -> str:
        """The line of a row; of the first row, with the header before it."""
        header = "" if self._names else self._header(row)
        if strange := [name for name in row if name not in self._columns]:
            what = f"has a column {strange[0]!r:.40} that the first row does not have"
            raise UserError(what, where, FIX_OF_TABLE, Exit.DATA)
        header_and_line = header + self._line(row, content or {}, error)
        if HALF_OF_PAIR.search(header_and_line):
            raise UserError(f"a column {UNPAIRED}", where, FIX_OF_TABLE, Exit.DATA)
        return header_and_line

    def _line(self, row: Row, content: Mapping[str, Any], error: str | None) -> str:
        main = next((content[name] for name in _MAIN if name in content), None)
        probabilities = content.get("probabilities", {})
        scores = [probabilities.get(label) for label in self._labels]
        cells = [main, content.get("score"), *scores, *([error] if self._has_errors else [])]
        return self._joined([*(row.get(name) for name in self._columns), *cells])

    def _header(self, row: Row) -> str:
        self._columns = list(row)
        names = [PREDICTION, "score", *(f"probability {label}" for label in self._labels)]
        names += [ERROR] if self._has_errors else []
        self._names = [_free(name, row) for name in names]
        # Without a byte order mark Excel reads the file as CP949.
        return "\ufeff" + self._joined([*self._columns, *self._names])

    def _joined(self, cells: Iterable[Any]) -> str:
        stream = io.StringIO()
        writer = csv.writer(stream, delimiter=self._delimiter, lineterminator="\n")
        writer.writerow([_cell(value) for value in cells])
        return stream.getvalue()


def _cell(value: Any) -> Any:
    """A value as a cell; lists and mappings as JSON."""
    if isinstance(value, (list, tuple, Mapping)):
        return json.dumps(plain(value), ensure_ascii=False, default=str)
    return "" if value is None else value


def lines_of(
    rows: Iterator[tuple[str, Row, Mapping[str, Any] | None, str | None]],
    suffix: str,
    *,
    labels: Sequence[str],
    has_errors: bool,
) -> Iterator[str]:
    """Yields the line of each (place, row, content, error)."""
    if suffix in DELIMITERS:
        table = SeparatedLines(suffix, labels=labels, has_errors=has_errors)
        for where, row, content, error in rows:
            yield table.line(row, content, error, where=where)
        return
    for _, row, content, error in rows:
        yield json_line(row, content, error)
