"""Faults of a user's own files, with file and line; `datasets` gives only a reason."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ke_t5.errors import UserError
from ke_t5.readers.json_rows import json_rows, kind_of
from ke_t5.readers.streams import HALF_OF_PAIR, OWN_FILE, UNPAIRED, fault, listed, opened

BYTE_ORDER_MARK = "\ufeff"


def file_fault(files: Iterable[Path], options: Mapping[str, Any]) -> UserError | None:
    """The error for the first file that is empty, is not UTF-8, has no rows, or has other columns
    than the rest; None if the fault is of another kind.

    Args:
        options: the builder's: `field` (the key of the rows in a JSON file), `sep`, `encoding`.
    """
    files = list(files)
    empty = next((file for file in files if not file.stat().st_size), None)
    if empty is not None:
        return fault(empty, "the file is empty", "write rows into it")
    tables, json_files, parquet = (
        [file for file in files if file.suffix in suffixes]
        for suffixes in ((".csv", ".tsv"), (".json", ".jsonl"), (".parquet",))
    )
    if "encoding" in options:
        return _decoding_fault(tables + json_files, str(options["encoding"]))
    return (
        encoding_fault(file for file in files if file not in parquet)
        or _json_fault(json_files, options.get("field"))
        or _header_fault(tables, options)
        or next((found for file in parquet if (found := _parquet_fault(file))), None)
    )


def _decoding_fault(files: Iterable[Path], encoding: str) -> UserError | None:
    """The error for an unknown encoding, or for the first file that is not in this encoding."""
    for file in files:
        try:
            with open(file, encoding=encoding) as text:
                for _ in text:
                    pass
        except LookupError:
            return fault("HFDataSource", f"unknown encoding {encoding!r:.40}", "check its name")
        except ValueError:
            return fault(file, f"not encoded in {encoding}", "check encoding= of HFDataSource")
    return None


def _header_fault(files: Iterable[Path], options: Mapping[str, Any]) -> UserError | None:
    """The error for the first table without rows or with another header than the one before."""
    columns: dict[Path, Iterable[str]] = {}
    for file in files:
        with opened(file) as lines:
            header, row = next(lines, ""), next(lines, "")
        if not row.strip():
            return fault(file, "no rows below the header", "write rows into it")
        separator = options.get("sep") or options.get("delimiter") or ","
        columns[file] = _cells(header.strip("\r\n"), separator if len(separator) == 1 else ",")
    return None if {"names", "column_names"} & set(options) else _difference(columns)


def _cells(line: str, separator: str) -> list[str]:
    try:
        return next(csv.reader([line], delimiter=separator))
    except csv.Error:  # a cell of more than 131,072 characters
        return line.split(separator)


def _difference(columns: Mapping[Path, Iterable[str]]) -> UserError | None:
    """The error for the first file whose columns differ from those of the file before."""
    for (file, names), (other, others) in itertools.pairwise(columns.items()):
        if set(names) != set(others):
            what = f"the columns are {listed(others, 3)}, but {listed(names, 3)} in {file.name}"
            return fault(other, what, "give all files the same columns")
    return None


def _parquet_fault(file: Path) -> UserError | None:
    import pyarrow.parquet

    try:
        num_rows = pyarrow.parquet.ParquetFile(file).metadata.num_rows
    except (OSError, ValueError, pyarrow.ArrowException):
        return fault(file, "not a parquet file, or cut off", "write it again")
    return None if num_rows else fault(file, "the file has no rows", "write rows into it")


def refuse_null(files: Iterable[Path]) -> None:
    """Raises UserError for a JSON file that begins with null, which crashes pyarrow's reader and
    with it the process, without a message."""
    for file in files:
        if file.suffix in (".json", ".jsonl"):
            with open(file, "rb") as content:
                start = content.read(4096).removeprefix(b"\xef\xbb\xbf").lstrip(b" \t\r\n[")
            if start.startswith(b"null"):
                raise fault(f"{file}:1", "a row is null, expected an object", "fix that row")


def encoding_fault(files: Iterable[Path]) -> UserError | None:
    """The error for the first file that is not UTF-8, with the option that reads it."""
    for file in files:
        try:
            with opened(file) as lines:
                for _ in lines:
                    pass
        except UserError as error:
            encoding = error.what.rpartition(" ")[2].lower()
            fix = error.fix
            # Lists in JSON are always read as UTF-8.
            if encoding in ("cp949", "utf-16") and file.suffix != ".json":
                fix = f'pass encoding="{encoding}" to HFDataSource, or {fix}'
            return UserError(error.what, error.where, fix, error.exit_code)
    return None


def _json_fault(files: Iterable[Path], key: object) -> UserError | None:
    kinds: dict[str, str] = {}  # column -> the type of its values
    columns: dict[Path, dict[str, None]] = {}
    for file in files:
        columns[file] = {}
        try:
            for where, row in json_rows(file, key if isinstance(key, str) else None):
                columns[file].update(dict.fromkeys(row))
                if (problem := _row_fault(row, kinds)) is not None:
                    return fault(where, *problem)
        except UserError as error:
            return fault(error.where, error.what, _fix_of(error, key))
    return _difference(columns)


def _fix_of(error: UserError, key: object) -> str:
    """The fix for a user's own file that `json_rows` rejects."""
    if error.fix != OWN_FILE:
        return error.fix
    if key is None and "top level is an object" in error.what:
        return 'write one object per line, or pass field="<key of the list>" to HFDataSource'
    return "write a JSON object for each row"


def _row_fault(row: dict[str, Any], kinds: dict[str, str]) -> tuple[str, str] | None:
    """What is wrong with a row, and the fix; records the types of its values in `kinds`."""
    for name, value in row.items():
        if any(HALF_OF_PAIR.search(text) for text in _texts(value)):
            return f"{name!r:.40} {UNPAIRED}", "fix that row"
        kind = _kind(value)
        if kind is not None and kind != kinds.setdefault(name, kind):
            what = f"{name!r:.40} is {kind}, but {kinds[name]} in the rows before"
            return what, "give all its values one type"
    return None


def _kind(value: object) -> str | None:
    """The type of a value, for lists with that of the first element; None for null.

    >>> _kind("a"), _kind([None, 1.5]), _kind([])
    ('a string', 'a list (a number)', None)
    """
    if isinstance(value, list):
        inner = next((item for item in value if item is not None), None)
        return None if inner is None else f"a list ({kind_of(inner)})"
    return None if value is None else kind_of(value)


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _texts(item)
