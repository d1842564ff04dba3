"""Reads tables of all common file formats row by row, with line numbers.

    read_table(Path("reviews.csv"))    (2, {"문장": "재미있다", "평점": "1.0"}), ...

Cells of text files and workbooks are strings as typed ("001", "1.0"), and empty cells are "".
Values of JSON and Parquet keep their types, and missing values are None.
"""

from __future__ import annotations

import csv
import io
import itertools
import json
import re
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, TextIO

from ke_t5.errors import UserError, nearest
from ke_t5.readers.encodings import encoding_of, report_once
from ke_t5.readers.json_rows import TOO_DEEP, is_too_deep, numbered_rows
from ke_t5.readers.streams import (
    UTF8,
    RowNumber,
    advice_for_own_files,
    fault,
    opened,
    text_encoding,
)

Numbered = tuple[int, dict[str, Any]]

STDIN, STDIN_NAME = "-", "standard input"
# The name of the only column of a file of plain lines.
TEXT_COLUMN = "text"
DELIMITERS = (",", "\t", ";", "|")
WORKBOOKS = (".xlsx", ".xlsm")
_NAMES = {",": "commas", "\t": "tabs", ";": "semicolons", "|": "bars"}
_SNIFFED_ROWS = 50
_CELL = r'(?:"(?:[^"]|"")*"|[^"\t]*)'
_SPREADSHEET = re.compile(rf"{_CELL}(?:\t{_CELL})*[\r\n]*")
# Characters of a cell: an unclosed quote swallows all that follows.
_LONGEST_CELL = 1 << 24


def read_table(
    path: str | Path,
    *,
    encoding: str | None = None,
    sheet: str | None = None,
    needed: Collection[str] | None = None,
) -> Iterator[Numbered]:
    """Yields (line or row number as an editor shows it, cells by column name); `place_of` formats
    the number for messages.

    The file's suffix decides the format: .csv, .tsv, .txt (tab-separated with a header if the first
    line has a tab, otherwise a text per line, in a column "text"), .json, .jsonl, .xlsx or
    .parquet. "-" is standard input: JSON lines if it starts with a brace, otherwise a text per
    line.

    Args:
        encoding: encoding of a text file; default: detected, and logged unless it is UTF-8.
        sheet: sheet of a workbook; default: the first.
        needed: columns of a workbook in which a formula needs a stored result; default: all.

    Raises:
        UserError: exit 3, with file and line.
    """
    if str(path) == STDIN:
        return _standard_input(encoding)
    path = Path(path)
    suffix = table_format(path)
    if suffix in WORKBOOKS:
        return _workbook(path, sheet, needed)
    return _FORMATS[suffix](path, encoding)


def check_options(
    files: Iterable[str | Path], *, prefix: str, encoding: str | None, sheet: str | None
) -> None:
    """Raises UserError for an encoding or a sheet that applies to none of these files.

    Args:
        prefix: the prefix of the options' names, such as "--".
    """
    suffixes = {Path(file).suffix.lower() for file in files}
    if sheet is not None and not suffixes & set(WORKBOOKS):
        what, where = "only a workbook (.xlsx) has sheets", f"{prefix}sheet {sheet!r:.40}"
        raise UserError(what, where, "drop it")
    if encoding is not None and suffixes <= {*WORKBOOKS, ".parquet"}:
        what = "workbooks and Parquet files have no text encoding"
        raise UserError(what, f"{prefix}encoding {encoding!r:.40}", "drop it")


def columns(
    path: str | Path, *, encoding: str | None = None, sheet: str | None = None
) -> list[str]:
    """The names of the columns, for JSON those of the first row; a UserError without rows."""
    first = next(iter(read_table(path, encoding=encoding, sheet=sheet, needed=())), None)
    if first is None:
        raise fault(path, "no rows below the header", "write rows into it")
    return list(first[1])


def table_format(path: Path, also: Sequence[str] = ()) -> str:
    """The suffix that decides how a file is read; a UserError if it is missing or not a table.

    Args:
        also: further suffixes that the caller can read.
    """
    suffix = path.suffix.lower()
    if path.is_dir():
        raise fault(path, "a folder, not a file", "name the file")
    if not path.exists():
        there = path.parent.iterdir() if path.parent.is_dir() else ()
        near = nearest(path.name, [file.name for file in there])
        fix = f"did you mean {', '.join(map(repr, near))}?" if near else "check its path"
        raise fault(path, "no such file", fix)
    if suffix not in (*_FORMATS, *WORKBOOKS, *also):
        what = f"{suffix!r} is not a table format" if suffix else "the name has no suffix"
        fix = f"save it as one of {', '.join(SUFFIXES)}"
        if suffix == ".xls":
            what, fix = "the old workbook format (.xls)", "save it as .xlsx or CSV"
        raise fault(path, what, fix)
    if path.stat().st_size == 0:
        raise fault(path, "the file is empty", "write rows into it")
    return suffix


# ------------------------------------------------------------------------------ separated values


def _separated(path: Path, encoding: str | None) -> Iterator[Numbered]:
    encoding = encoding or encoding_of(path)
    delimiter = sniffed_delimiter(path, encoding)
    is_quoted = delimiter != "\t" or _is_quoted(path, encoding)
    if delimiter != {".csv": ","}.get(path.suffix.lower(), "\t"):
        report_once(f"{path}: its columns are separated by {_NAMES[delimiter]}")
    records = _records(path, encoding, delimiter, is_quoted=is_quoted)
    fix = f"put cells with {_NAMES[delimiter]} in double quotes"
    yield from named_rows(path, records, fix=fix)


def named_rows(
    path: Path, records: Iterable[tuple[int, list[str]]], *, fix: str
) -> Iterator[Numbered]:
    """Yields (line, cells by column name) of the records below the header.

    Args:
        fix: advice for a row with more or fewer cells than the header.
    """
    records = iter(records)
    line, header = next(records, (1, []))
    names = _checked_header(path, line, header)
    num_rows = 0
    for line, cells in records:
        if len(cells) != len(header):
            what = f"{len(cells)} cells, but the header has {len(header)}"
            raise fault(f"{path}:{line}", what, fix)
        num_rows += 1
        yield line, {name: cell for name, cell in zip(names, cells, strict=True) if name}
    if num_rows == 0:
        raise fault(path, "no rows below the header", "write rows into it")


def _checked_header(path: Path, line: int, header: Sequence[str]) -> list[str]:
    """The names of the columns, "" for a column without one, which is logged; a UserError for
    duplicates."""
    names = [name.strip() for name in header]
    twice = next((name for name in names if name and names.count(name) > 1), None)
    if twice is not None:
        places = [str(place) for place, name in enumerate(names, 1) if name == twice]
        what = f"columns {' and '.join(places)} of the header are both {twice!r:.60}"
        raise fault(f"{path}:{line}", what, "rename one of them")
    unnamed = [str(place) for place, name in enumerate(names, 1) if not name]
    if len(unnamed) == len(names):
        raise fault(f"{path}:{line}", "the header names no column", "name the columns there")
    if unnamed:
        report_once(f"{path}: column {', '.join(unnamed)} has no name and is left out")
    return names


def _records(
    path: Path, encoding: str, delimiter: str, *, is_quoted: bool
) -> Iterator[tuple[int, list[str]]]:
    """Yields (first line, cells) of each non-empty record."""
    if csv.field_size_limit() < _LONGEST_CELL:
        csv.field_size_limit(_LONGEST_CELL)
    quoting = csv.QUOTE_MINIMAL if is_quoted else csv.QUOTE_NONE
    with opened_text(path, encoding) as file:
        reader = csv.reader(
            _without_nul(file, path), delimiter=delimiter, quoting=quoting, strict=True
        )
        line = 1
        try:
            for cells in reader:
                if any(cells):
                    yield line, cells
                line = reader.line_num + 1
        except csv.Error as error:
            raise _broken_record(path, line, str(error)) from None


def _broken_record(path: Path, line: int, reason: str) -> Exception:
    """The error for a record that starts on `line` and that the csv module rejects."""
    if "unexpected end" in reason or "field larger" in reason:
        what = "double quotes that begin on this line or below are not closed"
    elif "expected after" in reason:
        what = "text follows the closing quote of a cell"
    else:
        what = f"not separated values ({reason})"
    return fault(f"{path}:{line}", what, 'close them, or double quotes inside a cell ("")')


def sniffed_delimiter(path: Path, encoding: str) -> str:
    """The delimiter of a table.

    In a .tsv or .txt file, it is a tab if the header has one. Otherwise it is the first of
    `DELIMITERS` by which all rows have the same number of columns, at least two; failing that, the
    one with the most columns in the header, or the default of the suffix.
    """
    own = "," if path.suffix.lower() == ".csv" else "\t"
    with opened_text(path, encoding) as file:
        start = list(itertools.islice(file, _SNIFFED_ROWS))
    if own == "\t" and "\t" in "".join(start[:1]):
        return own
    counts: dict[str, list[int]] = {}
    for delimiter in DELIMITERS:
        reader = csv.reader((line.replace("\0", "") for line in start), delimiter=delimiter)
        try:
            counts[delimiter] = [len(cells) for cells in reader if any(cells)]
        except csv.Error:
            counts[delimiter] = [0]
    wide = {delimiter: found for delimiter, found in counts.items() if (found or [0])[0] > 1}
    even = [delimiter for delimiter, found in wide.items() if len(set(found)) == 1]
    if even:
        return even[0]
    return max(wide, key=lambda delimiter: wide[delimiter][0]) if wide else own


def _is_quoted(path: Path, encoding: str) -> bool:
    """Whether a tab-separated file is quoted as by a spreadsheet, which encloses every cell that
    contains quotes; in most published corpora, quotes are part of the text."""
    pending: list[str] = []
    num_quotes = num_characters = 0
    has_quotes = False
    with opened_text(path, encoding) as file:
        for line in file:
            pending.append(line)
            num_quotes += line.count('"')
            num_characters += len(line)
            has_quotes = has_quotes or num_quotes > 0
            if num_quotes % 2 and num_characters < _LONGEST_CELL:
                continue  # a cell continues on the next line
            if num_quotes and not _SPREADSHEET.fullmatch("".join(pending)):
                break
            pending, num_quotes, num_characters = [], 0, 0
    if pending:
        report_once(f"{path}: its double quotes are read as characters of the text")
    return has_quotes and not pending


def _without_nul(lines: Iterable[str], path: Path | str) -> Iterator[str]:
    for number, line in enumerate(lines, 1):
        if "\0" in line:
            raise fault(f"{path}:{number}", "the line has a NUL character", "remove it")
        yield line


def opened_text(path: Path, encoding: str) -> AbstractContextManager[TextIO]:
    """Opens a text file and keeps its line endings; a UserError if it cannot be decoded."""
    return opened(path, encoding, newline="")


# ------------------------------------------------------------------------------------ text, JSON


def _text(path: Path, encoding: str | None) -> Iterator[Numbered]:
    with opened_text(path, encoding or encoding_of(path)) as file:
        first = file.readline()
    if "\t" in first:
        yield from _separated(path, encoding)
        return
    with opened_text(path, encoding or encoding_of(path)) as file:
        yield from _text_lines(file, path)


def _text_lines(lines: Iterable[str], name: Path | str) -> Iterator[Numbered]:
    for number, line in enumerate(_without_nul(lines, name), 1):
        if text := line.strip("\r\n"):
            yield number, {TEXT_COLUMN: text}


def _json(path: Path, encoding: str | None) -> Iterator[Numbered]:
    encoding = encoding or encoding_of(path)
    with opened(path, encoding) as file:
        start = file.read(1 << 12).lstrip("\ufeff \t\r\n")
    # {"data": [{...}]} is a named list of rows; any other object is a line of JSON lines.
    named = re.match(r'\{\s*"(data|rows)"\s*:\s*\[\s*\{', start)
    with advice_for_own_files("write a list of objects, or an object on each line"):
        yield from numbered_rows(path, named.group(1) if named else None, encoding=encoding)


def _parquet(path: Path, encoding: str | None) -> Iterator[Numbered]:
    import pyarrow.parquet

    try:
        file = pyarrow.parquet.ParquetFile(path)
        numbers = map(RowNumber, itertools.count(1))
        for batch in file.iter_batches(batch_size=1000):
            yield from zip(numbers, batch.to_pylist(), strict=False)
    except (OSError, ValueError, pyarrow.ArrowException):
        raise fault(path, "not a parquet file, or cut off", "write it again") from None
    if file.metadata.num_rows == 0:
        raise fault(path, "the file has no rows", "write rows into it")


def _workbook(path: Path, sheet: str | None, needed: Collection[str] | None) -> Iterator[Numbered]:
    from ke_t5.readers.workbooks import workbook_records

    fix = "give every cell below the header its column"
    yield from named_rows(path, workbook_records(path, sheet, needed), fix=fix)


def _standard_input(encoding: str | None) -> Iterator[Numbered]:
    known = text_encoding(encoding or UTF8, STDIN_NAME)
    stream = io.TextIOWrapper(sys.stdin.buffer, encoding=known, newline="")
    try:
        yield from _input_rows(_without_nul(stream, STDIN_NAME))
    except UnicodeError:
        what = f"not encoded in {encoding or 'UTF-8'}"
        raise fault(STDIN_NAME, what, "give its encoding, or write it to a file") from None
    finally:
        stream.detach()


def _input_rows(lines: Iterable[str]) -> Iterator[Numbered]:
    is_json = None
    for number, line in enumerate(lines, 1):
        text = line.strip("\r\n")
        if not text.strip():
            continue
        is_json = text.lstrip().startswith("{") if is_json is None else is_json
        yield number, _json_row(text, number) if is_json else {TEXT_COLUMN: text}


def _json_row(text: str, number: int) -> dict[str, Any]:
    where = f"{STDIN_NAME}:{number}"
    try:
        if is_too_deep(text):
            raise RecursionError(TOO_DEEP)
        row = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise fault(where, f"not JSON ({error!s:.80})", "write an object on each line") from None
    if not isinstance(row, dict):
        raise fault(where, "not a JSON object", "write an object on each line")
    return row


Reader = Callable[[Path, str | None], Iterator[Numbered]]
_FORMATS: dict[str, Reader] = {
    ".csv": _separated, ".tsv": _separated, ".tab": _separated, ".txt": _text, ".json": _json,
    ".jsonl": _json, ".ndjson": _json, ".parquet": _parquet,
}  # fmt: skip
SUFFIXES = (".csv", ".tsv", ".txt", ".json", ".jsonl", ".xlsx", ".parquet")
