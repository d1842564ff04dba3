"""Streams the lines and rows of text files, with line numbers.

Files are UTF-8 with or without a byte-order mark, with Unix or Windows line endings. Only a line
feed ends a line: texts contain other characters that `str.splitlines` would split at.
"""

from __future__ import annotations

import codecs
import io
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from ke_t5.errors import Exit, UserError

# A quoted field, followed by a tab or the end of the line; quotes inside are doubled.
_QUOTED = re.compile(r'"([^"]*(?:""[^"]*)*)"(?=\t|$)')

# Python's name for UTF-8 with or without a byte-order mark.
UTF8 = "utf-8-sig"
CHARACTERS_AT_ONCE = 1 << 16
OWN_FILE = "put the release's own file there"

# JSON can escape a lone surrogate, which UTF-8 cannot encode.
HALF_OF_PAIR = re.compile("[\ud800-\udfff]")
UNPAIRED = "contains an unpaired surrogate (\\ud800..\\udfff)"


def fault(where: str | Path, what: str, fix: str = OWN_FILE) -> UserError:
    """The error for invalid data."""
    return UserError(what, str(where), fix, Exit.DATA)


class RowNumber(int):
    """The number, from 1, of a row without a line of its own: several rows of a JSON list share a
    line, or the file is not text."""


def place_of(file: str | Path, number: int) -> str:
    """The place of a row, for messages.

    >>> place_of("a.csv", 3), place_of("a.json", RowNumber(3))
    ('a.csv:3', 'a.json, row 3')
    """
    return f"{file}, row {number}" if isinstance(number, RowNumber) else f"{file}:{number}"


def text_encoding(name: str, where: str | Path) -> str:
    """The encoding to pass to `open`; for UTF-8, the one that skips a byte-order mark.

    Raises:
        UserError: Python has no such text encoding.
    """
    try:
        io.TextIOWrapper(io.BytesIO(), encoding=name)
    except (LookupError, ValueError):
        what, fix = f"unknown encoding {name!r:.40}", "give one such as cp949"
        raise fault(where, what, fix) from None
    return UTF8 if codecs.lookup(name).name == "utf-8" else name


@contextmanager
def opened(path: Path, encoding: str = UTF8, *, newline: str = "\n") -> Iterator[TextIO]:
    """Opens a text file. Raises UserError if it cannot be opened or decoded.

    Args:
        newline: as for `open`.
    """
    known = text_encoding(encoding, path)
    try:
        with open(path, encoding=known, newline=newline) as file:
            yield file
    except OSError as error:
        raise fault(
            path, f"cannot be read ({error.strerror})", "check the file's path and permissions"
        ) from None
    except UnicodeError:
        if encoding == UTF8:
            raise _encoding_fault(path) from None
        fix = "give its own encoding, or none"
        raise fault(path, f"not encoded in {encoding}", fix) from None


@contextmanager
def advice_for_own_files(fix: str) -> Iterator[None]:
    """Replaces the advice to use the release's own file by `fix`, for files of the user's own."""
    try:
        yield
    except UserError as error:
        if error.fix != OWN_FILE:
            raise
        raise UserError(error.what, error.where, fix, error.exit_code) from None


def _encoding_fault(path: Path) -> UserError:
    """The error for a file that is not UTF-8, with its likely encoding."""
    only_ascii = True
    with open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            where = f"{path}:{number}"
            if number == 1 and line[:4] in (b"\xff\xfe\0\0", b"\0\0\xfe\xff"):
                return _not_utf8(where, "UTF-32")
            if number == 1 and line[:2] in (b"\xff\xfe", b"\xfe\xff"):
                return _not_utf8(where, "UTF-16")
            if _is_encoded(line, "utf-8"):
                only_ascii = only_ascii and line.isascii()
            elif only_ascii and _is_encoded(line, "cp949"):
                return _not_utf8(where, "CP949")
            else:
                break
    return fault(where, "not UTF-8: the line has invalid bytes", "take the file from its source")


def _not_utf8(where: str, encoding: str) -> UserError:
    fix = f"convert the file with 'iconv -f {encoding} -t UTF-8'"
    return fault(where, f"not UTF-8, looks like {encoding}", fix)


def _is_encoded(line: bytes, encoding: str) -> bool:
    try:
        line.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True


def lines(path: Path, encoding: str = UTF8) -> Iterator[tuple[int, str]]:
    """Yields (line number, line without its ending). Raises UserError for an empty file."""
    number = 0
    with opened(path, encoding) as file:
        for some in _lines_at_once(file):
            for line in some:
                number += 1
                yield number, line[:-1] if line.endswith("\r") else line
    if number == 0:
        raise fault(path, "the file is empty")


def _lines_at_once(file: TextIO) -> Iterator[list[str]]:
    """Yields lists of consecutive lines without their line feeds."""
    begun: list[str] = []
    while text := file.read(CHARACTERS_AT_ONCE):
        if "\n" not in text:  # joined only once, so that a long line costs linear time
            begun.append(text)
            continue
        first, *others = text.split("\n")
        *whole, last = ["".join([*begun, first]), *others]
        yield whole
        begun = [last] if last else []
    if begun:
        yield ["".join(begun)]


def tab_lines(
    path: Path,
    num_fields: int | None = None,
    *,
    quoted: bool = False,
    released: int | None = None,
) -> Iterator[tuple[int, list[str]]]:
    """Yields (line number, tab-separated fields).

    Args:
        num_fields: the number of fields in every line; default: that of the first line.
        quoted: whether a whole field may be in double quotes (never across lines). Otherwise, and
            if only the start of a field is quoted, quotes are part of the text, as in most
            releases.
        released: the number of lines of the released file. A file with fewer lines whose last line
            does not end is truncated: a text may be cut there without losing a field.

    Raises:
        UserError: a line has more or fewer fields, an empty line is not at the end, all lines are
            empty, or the file is truncated.
    """
    empty = number = 0
    for number, line in lines(path):
        if not line:
            empty = empty or number
            continue
        if empty:
            raise fault(f"{path}:{empty}", "an empty line between rows", "delete it")
        fields = _unquoted(line, f"{path}:{number}") if quoted else line.split("\t")
        num_fields = num_fields or len(fields)
        if len(fields) != num_fields:
            what = f"{len(fields)} tab-separated fields, expected {num_fields}"
            raise fault(f"{path}:{number}", what, "fix the tabs on that line")
        yield number, fields
    if empty == 1:
        raise fault(path, "the file is empty")
    if released is not None and number < released and not _ends_with_line_feed(path):
        what = f"the file ends within this line, the released one has {released:,} lines"
        raise fault(f"{path}:{number}", what, "download it again, or end the line if it is whole")


def _ends_with_line_feed(path: Path) -> bool:
    with open(path, "rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read() == b"\n"


def _unquoted(line: str, where: str) -> list[str]:
    """The tab-separated fields of a line, without their quotes.

    >>> _unquoted('"a ""b""\tc"\t"d" e', "")
    ['a "b"\tc', '"d" e']
    """
    fields, at = [], 0
    while at <= len(line):
        match = _QUOTED.match(line, at)
        if match:
            fields.append(match.group(1).replace('""', '"'))
            at = match.end() + 1
            continue
        field = line[at:].partition("\t")[0]
        if field.startswith('"') and '"' not in field[1:]:
            what = f"unclosed quotes ({field[:20]!r})"
            raise fault(where, what, "close them on that line, or double them")
        fields.append(field)
        at += len(field) + 1
    return fields


def table(
    path: Path, columns: Sequence[str], *, quoted: bool = False, released: int | None = None
) -> Iterator[tuple[int, dict[str, str]]]:
    """Yields (line number, row) of a tab-separated file with a header; arguments as in `tab_lines`.

    Raises:
        UserError: the header lacks one of `columns`, there are no rows, or as for `tab_lines`.
    """
    rows = tab_lines(path, quoted=quoted, released=released)
    _, names = next(rows)
    if not set(columns) <= set(names):
        what = f"the header has {listed(names)}, expected {listed(columns)}"
        raise fault(f"{path}:1", what)
    number = 0
    for number, fields in rows:
        yield number, dict(zip(names, fields, strict=True))
    if number == 0:
        raise fault(path, "no rows below the header")


def check_last_sentence(found: str, whole: str, where: str) -> None:
    """Raises UserError if the last sentence of a file is only the beginning of its text."""
    if found != whole and whole.startswith(found):
        raise fault(where, "the file ends within a sentence")


def listed(names: Iterable[str], longest_list: int = 8) -> str:
    """Quoted names for messages; long names and long lists are shortened."""
    names = [name if len(name) <= 40 else f"{name[:40]}..." for name in names]
    shown = ", ".join(map(repr, names[:longest_list]))
    return f"{shown} and more" if len(names) > longest_list else shown or "nothing"
