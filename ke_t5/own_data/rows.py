"""Validated rows of the user's own files, with their line numbers, for every kind of task.

Empty cells are counted to the end of the file, so that they can be fixed at once.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

from ke_t5.errors import counted
from ke_t5.own_data.columns import flag_of, require_column
from ke_t5.own_data.spec import ROLES, OwnData
from ke_t5.own_data.tagged import CONLL, Note, tagged_rows
from ke_t5.readers.encodings import encoding_of
from ke_t5.readers.json_rows import kind_of, numbered_rows
from ke_t5.readers.korquad import READING_COLUMNS, reading_row
from ke_t5.readers.release import Row, files_below, records, take, take_optional
from ke_t5.readers.streams import HALF_OF_PAIR, UNPAIRED, advice_for_own_files, fault, place_of
from ke_t5.readers.table_files import Numbered, read_table, table_format

# The column with the line of the file, or row of the sheet, where a row begins.
LINE = "line"


# Kinds with an optional second text.
MAYBE_PAIRS = ("choice", "multilabel")
# Texts of span corruption are joined and split to rows of at most this many characters.
JOINED = 4_000
_TYPES = {"multilabel": ["string"], "regression": "float64", "similarity": "float64"}
_SQUAD = "use SQuAD's format: data, paragraphs, qas, answers with text and answer_start"
_WHOLE_FORMS = (".jsonl", ".ndjson", ".parquet")
# A list of texts as written by Python, not JSON.
_PYTHON_LIST = re.compile(r"\[\s*'.*\]", re.DOTALL)


def files_of(kind: str, path: Path) -> list[Path]:
    """The file itself, or the `.txt` files below a folder of free text; a UserError for any other
    path."""
    if kind != "span_corruption_ko" or not path.is_dir():
        table_format(path, also=CONLL)
        return [path]
    found = [file for file in files_below(path) if file.suffix.lower() == ".txt"]
    if not found:
        raise fault(path, "a folder without .txt files", "add files with one text per line")
    for file in found:
        table_format(file)
    return found


def roles_of(own: OwnData) -> tuple[str, ...]:
    """The roles of the columns of a file: the texts, including an optional second one, and the
    label."""
    if own.kind in MAYBE_PAIRS and "text_pair" in own.columns:
        return ("text", "text_pair", "label")
    return ROLES[own.kind]


def choice_columns(own: OwnData) -> dict[str, str]:
    """Column of the rows -> column of the file, for each choice."""
    return {f"choice{i}": name for i, name in enumerate(own.choices, 1)}


def row_columns(own: OwnData) -> dict[str, Any]:
    """The columns of the rows with their types, in the format of `Release.columns`."""
    kind = own.kind
    if kind == "reading":
        return {**READING_COLUMNS, LINE: "int64"}
    if kind == "tagging":
        return {"text": "string", "tags": ["string"], LINE: "int64"}
    if kind == "span_corruption_ko":
        return {"text": "string", LINE: "int64"}
    texts = dict.fromkeys((*roles_of(own)[:-1], *choice_columns(own)), "string")
    return {**texts, "label": _TYPES.get(kind, "string"), LINE: "int64"}


class Empties:
    """Counts rows with an empty cell; they are skipped, or an error at the end of the file.

    Args:
        skip: whether they are skipped.
        note: called with a message about the number of skipped rows.
        label_sets: a column whose cells may contain no label, written as [].
    """

    def __init__(
        self, path: Path, *, skip: bool, note: Note, label_sets: str | None = None
    ) -> None:
        self.path, self.skip, self.note, self.label_sets = path, skip, note, label_sets
        self.first: tuple[int, str] | None = None
        self.count = 0

    def add(self, line: int, column: str) -> None:
        """Counts a row with an empty cell in a column."""
        self.first = self.first or (line, column)
        self.count += 1

    def settle(self) -> None:
        """Raises UserError for the first of the rows, or notes how many were skipped."""
        if self.first is None:
            return
        if self.skip:
            self.note(f"skipped {counted(self.count, 'row')} with an empty cell")
            return
        line, column = self.first
        more = f" (and in {self.count - 1} more)" if self.count > 1 else ""
        fill = "write [] for no label" if column == self.label_sets else "fill it"
        fix = f'{fill}, or skip such rows: --gin_param "own_data.skip_empty=True"'
        raise fault(place_of(self.path, line), f"{column!r:.60} is empty{more}", fix)


def own_rows(own: OwnData, path: Path, split: str, note: Note) -> Iterator[Row]:
    """Yields the rows of a file; in a test split, labels may be missing (None).

    Args:
        note: called with each message about the file, such as the number of skipped rows.
    """
    if own.kind == "tagging":
        yield from tagged_rows(own, path, is_labelled=split != "test", note=note)
    elif own.kind == "reading":
        with advice_for_own_files(_SQUAD):
            yield from _reading_rows(own, path, is_labelled=split != "test")
    elif own.kind == "span_corruption_ko":
        yield from _joined_rows(own, path)
    else:
        yield from _table_rows(own, path, is_labelled=split != "test", note=note)


def _joined_rows(own: OwnData, path: Path) -> Iterator[Row]:
    """The concatenated texts of a file, or of all files of a folder, in rows of at most `JOINED`
    characters that end with a word; empty lines are dropped."""
    held, first = "", 1
    for line, text in _free_texts(own, path):
        first = first if held else line
        held = f"{held} {text.strip()}" if held else text.strip()
        start = 0  # `held` is cut once per text: a file may be a single long line
        while len(held) - start > JOINED:
            end = held.rfind(" ", start + 1, start + JOINED)
            end = end if end > 0 else start + JOINED
            yield {"text": held[start:end], LINE: first}
            start, first = end, line
            while held[start].isspace():
                start += 1
        held = held[start:]
    if held:
        yield {"text": held, LINE: first}


def _free_texts(own: OwnData, path: Path) -> Iterator[tuple[int, str]]:
    """Yields (line in its file, text)."""
    column = own.columns["text"]
    for file in files_of(own.kind, path):
        for line, cells in _cells(own, file, needed=[column]):
            require_column(file, list(cells), column, "text")
            text = _text(cells.get(column), "text", place_of(file, line))
            if text is not None:
                yield line, text


def _cells(own: OwnData, path: Path, needed: Collection[str]) -> Iterator[Numbered]:
    return read_table(path, encoding=own.encoding, sheet=own.sheet, needed=needed)


def stored_place(own: OwnData, path: Path, line: int) -> str:
    """The place of a row of a table or of JSON, by the number that is stored with it."""
    if path.suffix.lower() not in (".json", ".parquet"):
        return place_of(path, line)
    numbers = (number for number, _ in _cells(own, path, needed=()))
    return place_of(path, next((number for number in numbers if number == line), line))


def _table_rows(own: OwnData, path: Path, *, is_labelled: bool, note: Note) -> Iterator[Row]:
    label_sets = own.columns.get("label") if own.kind == "multilabel" else None
    empties = Empties(path, skip=own.skip_empty, note=note, label_sets=label_sets)
    sources = {**own.columns, **choice_columns(own)}
    texts = (*roles_of(own)[:-1], *choice_columns(own))
    read_label = _LABEL_READERS.get(own.kind, _class_label)
    is_first = True
    for line, cells in _cells(own, path, needed=sources.values()):
        if is_first:
            for role in (*texts, *(["label"] if is_labelled else [])):
                flag = "choice" if role in choice_columns(own) else role
                require_column(path, list(cells), sources[role], flag)
        is_first = False
        where = place_of(path, line)
        row: Row = {role: _text(cells.get(sources[role]), role, where) for role in texts}
        value = cells.get(own.columns["label"])
        row["label"] = None if _is_empty(value) else read_label(value, own, where)
        needed = [*texts, "label"] if is_labelled else texts
        bare = next((role for role in needed if row[role] is None), None)
        if bare is not None:
            empties.add(line, sources[bare])
            continue
        yield {**row, LINE: line}
    empties.settle()


def _is_empty(value: Any) -> bool:
    """Whether a cell is empty; pandas writes empty cells as NaN."""
    if isinstance(value, float):
        return math.isnan(value)
    return value is None or (isinstance(value, str) and not value.strip())


def _text(value: Any, role: str, where: str) -> str | None:
    """The text of a cell; None if it is empty."""
    if _is_empty(value):
        return None
    if not isinstance(value, str):
        what = f"{kind_of(value)}, expected text ({flag_of(role)})"
        raise fault(where, what, "quote the value, or name another column")
    return _readable(value, role, where)


def _readable(text: str, role: str, where: str) -> str:
    """The text; a UserError for unpaired surrogates, which tokenizers reject."""
    if HALF_OF_PAIR.search(text):
        raise fault(where, f"the {role} {UNPAIRED}", "fix that row")
    return text


def _class_label(value: Any, own: OwnData, where: str) -> str:
    """A label as written, stripped."""
    if isinstance(value, dict | list | bytes):
        what = f"the label is {kind_of(value)}, expected a text or a number"
        raise fault(where, what, f"name another column with {flag_of('label')}")
    text = str(value).lower() if isinstance(value, bool) else str(value).strip()
    return _readable(text, "label", where)


def _number(value: Any, own: OwnData, where: str) -> float:
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        what = f"{own.columns['label']!r:.40} is {value!r:.40}, not a number"
        raise fault(where, what, "fix it, or use --task classification for labels")
    return number


def _label_set(value: Any, own: OwnData, where: str) -> list[str]:
    """The labels of a JSON list, which may be in the cell of a table, or of separated text."""
    if isinstance(value, str):
        values = _listed(value, where)
        values = value.split(own.separator) if values is None else values
    else:
        values = value if isinstance(value, list) else [value]
    return list(
        dict.fromkeys(_class_label(one, own, where) for one in values if not _is_empty(one))
    )


def _listed(text: str, where: str) -> list[Any] | None:
    """The JSON list in a cell; None if there is none.

    Raises:
        UserError: the list is in Python's syntax, as written by `str`.
    """
    try:
        value = json.loads(text) if text.lstrip().startswith("[") else None
    except (ValueError, RecursionError):
        value = None
    if value is None and _PYTHON_LIST.fullmatch(text.strip()):
        what = f"{text:.40} is a Python list, not a JSON list"
        raise fault(where, what, "separate labels by commas, or write a list with double quotes")
    return value


def _whole_text(value: Any, own: OwnData, where: str) -> str | None:
    return _text(value, "label", where)


_LABEL_READERS: dict[str, Callable[[Any, OwnData, str], Any]] = {
    "regression": _number, "similarity": _number, "multilabel": _label_set,
    "text2text": _whole_text,
}  # fmt: skip


# --------------------------------------------------------------------------------------- reading


def _reading_rows(own: OwnData, path: Path, *, is_labelled: bool) -> Iterator[Row]:
    """Yields the questions of a file in SQuAD's format, or with one question and passage per row
    (JSON lines, Parquet)."""
    suffix = table_format(path)
    if suffix not in (".json", *_WHOLE_FORMS):
        raise fault(path, f"reading does not support {suffix} files", _SQUAD)
    if suffix in _WHOLE_FORMS:
        for line, row in read_table(path, encoding=own.encoding):
            flat = {**row, "answers": records(row.get("answers"))}
            yield _question(flat, place_of(path, line), line, is_labelled, number=line)
        return
    encoding = own.encoding or encoding_of(path)
    number = 0
    for line, article in numbered_rows(path, "data", encoding=encoding):
        where = place_of(path, line)
        title = take_optional(article, "title", str, where)
        for paragraph in take(article, "paragraphs", list, where):
            context = take(paragraph, "context", str, where)
            for question in take(paragraph, "qas", list, where):
                number += 1
                if not isinstance(question, dict):
                    raise fault(where, f"a question is {kind_of(question)}", _SQUAD)
                flat = {**question, "title": title, "context": context}
                yield _question(flat, where, line, is_labelled, number=number)


def _question(flat: Row, where: str, line: int, is_labelled: bool, *, number: int) -> Row:
    """The row of a question, whose id defaults to its number."""
    ids = (flat.get("guid"), flat.get("id"), number)
    guid = next(str(one) for one in ids if one not in (None, ""))
    row = reading_row({**flat, "guid": guid}, f"{where}, question {guid}", is_labelled)
    for name in ("question", "context"):
        if not row[name].strip():
            raise fault(f"{where}, question {guid}", f"the {name} is empty", "fix that question")
    return {**row, LINE: line}
