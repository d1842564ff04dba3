"""Streams the rows of a JSON file: a corpus of gigabytes is never in memory as a whole."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from ke_t5.errors import UserError
from ke_t5.readers.streams import UTF8, RowNumber, fault, lines, listed, opened

# Characters read at a time: about a thousand rows of a few hundred characters.
_PIECE = 1 << 18
# An error this close to the end of a piece (a split escape, literal or number) may vanish with the
# next piece.
_CUT = 16
_BLANK = re.compile(r"[ \t\r\n]*")
_DECODER = json.JSONDecoder()
_FIX = "fix that line, or take the file from its source again"
# The depth that Python's decoder accepts depends on its version, and recursive functions that
# process the value later may accept less.
DEEPEST = 100
TOO_DEEP = f"brackets nested more than {DEEPEST} deep"
# Keys of a row's id, for messages.
_ID_KEYS = ("guid", "id", "document_id")
_BRACKETS = re.compile(r'"(?:[^"\\]|\\.)*"|([\[{])|[\]}]', re.DOTALL)


def is_too_deep(text: str, start: int = 0, end: int = sys.maxsize) -> bool:
    """Whether a JSON text, or its part from `start` to `end` (exclusive), nests lists and objects
    more than `DEEPEST` levels deep."""
    if text.count("[", start, end) + text.count("{", start, end) <= DEEPEST:
        return False
    depth = 0
    for match in _BRACKETS.finditer(text, start, end):
        if match[0][0] != '"':
            depth += 1 if match[1] else -1
        if depth > DEEPEST:
            return True
    return False


class _Cursor:
    """A position in a JSON text that is read in pieces; `line` and `column` start at 1."""

    def __init__(self, file: TextIO, path: Path) -> None:
        self.path = path
        self.line, self.column = 1, 1
        self._file = file
        self._text, self._at = "", 0

    def peek(self) -> str:
        """Skips white space and returns the next character, "" at the end."""
        if self._at < len(self._text) and (found := self._text[self._at]) not in " \t\r\n":
            return found  # as after most values and commas
        while True:
            if blank := _BLANK.match(self._text, self._at):
                self._move(blank.end())
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._read_on():
                return ""

    def step(self, expected: str) -> str:
        """Consumes the next character, which must be one of `expected`, and returns it."""
        character = self.peek()
        if not character or character not in expected:
            wanted = " or ".join(map(repr, expected))
            raise self.broken(
                f"expected {wanted}, found {repr(character) if character else 'the end'}"
            )
        self._at += 1
        self.column += 1
        return character

    def value(self) -> object:
        """Consumes the next value and returns it."""
        self.peek()
        while True:
            try:
                value, end = _DECODER.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                place, is_cut = error.pos - self._at, len(self._text) - error.pos <= _CUT
                # An unterminated string is reported at its start, however far back that is.
                is_cut = is_cut or error.msg.startswith("Unterminated string")
                if not (is_cut and self._read_on()):
                    self._move(self._at + place)
                    raise self.broken(error.msg) from None
            except (RecursionError, ValueError) as error:  # nested too deeply, or a number too long
                raise self.broken(str(error)) from None
            else:
                if is_too_deep(self._text, self._at, end):
                    raise self.broken(TOO_DEEP)
                # A number at the end of the piece may continue in the next.
                if end < len(self._text) or not self._read_on():
                    self._move(end)
                    return value

    def broken(self, what: str) -> UserError:
        """The error for a text that is not valid JSON at the cursor."""
        what = f"not JSON (column {self.column}: {what})"
        return fault(f"{self.path}:{self.line}", what, _FIX)

    def _read_on(self) -> bool:
        """Reads a piece at least as long as the rest, so that long values are rescanned rarely."""
        left = self._text[self._at :]
        piece = self._file.read(max(_PIECE, len(left)))
        if piece:
            self._text, self._at = left + piece, 0
        return bool(piece)

    def _move(self, at: int) -> None:
        num_breaks = self._text.count("\n", self._at, at)
        if num_breaks:
            self.line += num_breaks
            self.column = at - self._text.rfind("\n", self._at, at)
        else:
            self.column += at - self._at
        self._at = at


def json_rows(
    path: Path, key: str | None = None, *, encoding: str = UTF8
) -> Iterator[tuple[str, dict]]:
    """Yields (location, row) for every object of a list, in bounded memory.

        [{"a": 1},             file.json:1
         {"a": 2}]             file.json:2
        [{"id": 7}, {"a": 2}]  file.json:1, row 1 (7)  and  file.json:1, row 2

    Args:
        key: the key of the list in the top-level object. Default: the list is the whole file, or
            the file is JSON lines, one object per line.
        encoding: Python's name for the file's encoding.

    Raises:
        UserError: the file is not JSON (with line and column) or has another structure, or there
            are no rows.
    """
    for line, number, row in _objects(path, key, encoding):
        yield _location(path, line, number, row), row


def numbered_rows(
    path: Path, key: str | None = None, *, encoding: str = UTF8
) -> Iterator[tuple[int, dict]]:
    """Yields (line, row) like `json_rows`; for rows that share a line, (`RowNumber`, row)."""
    for line, number, row in _objects(path, key, encoding):
        yield line if number is None else RowNumber(number), row


def _objects(path: Path, key: str | None, encoding: str) -> Iterator[tuple[int, int | None, dict]]:
    is_empty = True
    for line, number, row in _rows(path, key, encoding):
        is_empty = False
        if not isinstance(row, dict):
            where = _location(path, line, number, row)
            raise fault(where, f"a row is {kind_of(row)}, expected an object")
        yield line, number, row
    if is_empty:
        raise fault(path, "the list of rows is empty")


def _location(path: Path, line: int, number: int | None, row: object) -> str:
    if number is None:
        return f"{path}:{line}"
    where = f"{path}:{line}, row {number}"
    if isinstance(row, dict):
        for name in _ID_KEYS:
            known = row.get(name)
            if isinstance(known, str | int):
                return where if known == "" else f"{where} ({known!s:.60})"
    return where


def _rows(path: Path, key: str | None, encoding: str) -> Iterator[tuple[int, int | None, object]]:
    """Yields (line, number of the row if others share its line, row)."""
    with opened(path, encoding) as file:
        cursor = _Cursor(file, path)
        first = cursor.peek()
        if not first:
            raise fault(path, "the file is empty")
        if first == "{" and key is None:
            yield from _json_lines(path, encoding)
            return
        if first not in "[{":
            raise cursor.broken(f"found {first!r}")
        if first == "[" and key is not None:
            raise fault(path, f"the top level is a list, expected an object with {key!r}")
        yield from _elements(cursor) if key is None else _elements_under(cursor, key)
        if cursor.peek():
            raise cursor.broken("extra data after the end")


def _json_lines(path: Path, encoding: str) -> Iterator[tuple[int, None, object]]:
    for number, line in lines(path, encoding):
        if not line.strip():
            continue
        try:
            if is_too_deep(line):
                raise RecursionError(TOO_DEEP)
            yield number, None, json.loads(line)
        except json.JSONDecodeError as error:
            if number == 1 and error.pos >= len(line.rstrip()):
                raise fault(path, "the top level is an object, expected a list of rows") from None
            what = f"not JSON (column {error.colno}: {error.msg})"
            raise fault(f"{path}:{number}", what, _FIX) from None
        except (RecursionError, ValueError) as error:
            raise fault(f"{path}:{number}", f"not JSON ({error})", _FIX) from None


def _elements(cursor: _Cursor) -> Iterator[tuple[int, int | None, object]]:
    cursor.step("[")
    is_over = cursor.peek() == "]" and cursor.step("]")
    number, last_line = 0, 0
    while not is_over:
        number += 1
        cursor.peek()
        line, row = cursor.line, cursor.value()
        is_over = cursor.step(",]") == "]"
        cursor.peek()
        is_shared = last_line == line or (not is_over and cursor.line == line)
        last_line = line
        yield line, number if is_shared else None, row


def _elements_under(cursor: _Cursor, key: str) -> Iterator[tuple[int, int | None, object]]:
    names = []
    cursor.step("{")
    is_over = cursor.peek() == "}" and cursor.step("}")
    while not is_over:
        if cursor.peek() != '"':
            raise cursor.broken("expected a name in double quotes")
        names.append(cursor.value())
        cursor.step(":")
        if names[-1] != key:
            cursor.value()
        elif cursor.peek() != "[":
            raise fault(f"{cursor.path}:{cursor.line}", f"{key!r} is not a list")
        else:
            yield from _elements(cursor)
        is_over = cursor.step(",}") == "}"
    if key not in names:
        raise fault(cursor.path, f"no {key!r} at the top level, only {listed(names)}")


def kind_of(value: object) -> str:
    """The type of a JSON or Parquet value, for messages."""
    kinds = {dict: "an object", list: "a list", str: "a string", bool: "a boolean"}
    kinds |= {int: "a number", float: "a number", type(None): "null"}
    return kinds.get(type(value), f"a value of type {type(value).__name__}")
