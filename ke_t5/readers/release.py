"""A release: its columns, the layout of its files, how they become rows, and the hub's copy."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar, cast

from ke_t5.composition import compose
from ke_t5.readers.json_rows import kind_of
from ke_t5.readers.streams import HALF_OF_PAIR, UNPAIRED, fault, listed

Row = dict
T = TypeVar("T")

SPLITS = ("train", "validation", "test")

# What a column must be, for messages.
_KINDS = {str: "a string", int: "an integer", float: "a number", bool: "a boolean"}
_KINDS |= {list: "a list", dict: "an object"}

_MACOS, _DEEPEST = "__MACOSX", 8

_INT32 = 2**31  # the columns of whole numbers are int32


@dataclass(frozen=True)
class RawSplit:
    """One split of a raw release.

    Attributes:
        files: all that its content depends on.
        rows: streams the rows; an invalid row raises a UserError (Exit.DATA) with file and line.
        unneeded: files that were inspected and contain nothing for it.
    """

    files: tuple[Path, ...]
    rows: Callable[[], Iterator[Row]]
    unneeded: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Hub:
    """Where the hub serves the release as plain tables.

    Attributes:
        splits: our split -> a split expression of `datasets`, such as "train[:90%]".
        to_rows: a row of the hub -> our rows (a dialogue gives one a turn).
        class_names: the caller has turned class numbers into names (None for -1, nested ones too);
            otherwise they come as numbers.
        configs: our split -> the configurations that make it up, in order, if not `config`.
    """

    path: str
    config: str | None
    splits: Mapping[str, str]
    to_rows: Callable[[Row], Iterator[Row]]
    class_names: bool = True
    configs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def configs_of(self, split: str) -> tuple[str | None, ...]:
        """The configurations whose rows, in this order, are the split."""
        return self.configs.get(split, (self.config,))


@dataclass(frozen=True)
class Release:
    """A benchmark's data as the authors publish them.

    Attributes:
        columns: column -> its type: "string", "int32", "float64", "bool", [a type] for a list,
            {name: type} for a record. An unknown value is None.
        find: the splits below a folder, {} if there are none; only `rows` opens the files.
        layout: where the files belong, relative to that folder.
        home: where the release can be downloaded.
        group: the column whose equal values must stay in one split.
    """

    name: str
    columns: Mapping[str, object]
    find: Callable[[Path], dict[str, RawSplit]]
    layout: tuple[str, ...]
    home: str
    licence: str
    hub: Hub | None = None
    group: str | None = None


def files_below(folder: Path) -> Iterator[Path]:
    """The files below a folder, sorted, without hidden ones and what macOS adds to archives."""
    for parent, folders, names in os.walk(folder, followlinks=True):
        is_deep = len(Path(parent).relative_to(folder).parts) >= _DEEPEST  # links in a circle
        folders[:] = [] if is_deep else sorted(n for n in folders if n[0] != "." and n != _MACOS)
        yield from (Path(parent, name) for name in sorted(names) if name[0] != ".")


def first_found(
    data_dir: Path, folders: Iterable[str], names: Mapping[str, str]
) -> dict[str, Path]:
    """split -> file, from the first of `folders` with any of them; "." is `data_dir` itself.

    Splits are never combined from two folders, which may contain two versions.
    """
    for folder in folders:
        paths = {split: data_dir / folder / name for split, name in names.items()}
        existing = {split: path for split, path in paths.items() if path.is_file()}
        if existing:
            return existing
    return {}


def folders_under(
    data_dir: Path, names: Iterable[str], *, is_direct: bool = True
) -> tuple[str, ...]:
    """The folders to look in: `names`, and `data_dir` itself.

    Args:
        is_direct: `data_dir` itself counts whatever its name; otherwise only if its own path ends
            in one of `names` (for generic file names such as train.txt).
    """
    names = tuple(names)
    endings = tuple(Path(name).parts for name in names)
    own = data_dir.resolve().parts
    if is_direct or any(own[-len(ending) :] == ending for ending in endings):
        return (*names, ".")
    return names


def raw_splits(
    files: Mapping[str, Path], rows: Callable[[Path, str], Iterator[Row]]
) -> dict[str, RawSplit]:
    """One RawSplit for each file, read by `rows(path, split)`."""
    return {split: RawSplit((path,), partial(rows, path, split)) for split, path in files.items()}


def take(row: Row, name: str, kind: type[T], where: str) -> T:
    """`row[name]`, which must exist and have that type (an integer is accepted for a float)."""
    if not isinstance(row, dict):
        raise fault(where, f"found {kind_of(row)}, expected an object with {name!r}")
    if name not in row:
        raise fault(where, f"no {name!r}; the row has {listed(row)}")
    value = row[name]
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return cast(T, float(value))
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        what = f"{name!r} is {kind_of(value)}, expected {_KINDS[kind]}"
        raise fault(where, what, "fix that row")
    if isinstance(value, str) and HALF_OF_PAIR.search(value):
        raise fault(where, f"{name!r} {UNPAIRED}", "fix that row")
    if kind is int and isinstance(value, int) and not -_INT32 <= value < _INT32:
        raise fault(where, f"{name!r} is {value}, which does not fit in 32 bits", "fix that row")
    return value


def check_texts(values: list, name: str, where: str) -> None:
    """Raises UserError unless all values of the list under `name` are texts."""
    for value in values:
        take({f"an entry of {name}": value}, f"an entry of {name}", str, where)


def take_optional(row: Row, name: str, kind: type[T], where: str) -> T | None:
    """`row[name]` as `take` gives it, None if it is missing or null."""
    is_missing = isinstance(row, dict) and row.get(name) is None
    return None if is_missing else take(row, name, kind, where)


def take_label(row: Row, name: str, kind: type[T], where: str, is_labelled: bool) -> T | None:
    """A label: None if it is null or, in a split without labels, missing."""
    if name not in row and is_labelled:
        return take(row, name, kind, where)
    return take_optional(row, name, kind, where)


def records(value: object) -> object:
    """A list of records, even if the hub has a record of lists; other values unchanged.

    >>> records({"text": ["a", "b"], "start": [1, 2]})
    [{'text': 'a', 'start': 1}, {'text': 'b', 'start': 2}]
    """
    if not isinstance(value, dict):
        return value
    return [dict(zip(value, row, strict=True)) for row in zip(*value.values(), strict=True)]


def text_at(text: str, start: int, end: int, expected: str, where: str) -> None:
    """Raises UserError unless `text[start:end]` (half-open characters) is `expected`."""
    if not 0 <= start < end <= len(text):
        what = f"{expected!r} at {start}..{end} is outside a text of {len(text)} characters"
    elif text[start:end] != expected:
        what = f"expected {expected!r} at {start}..{end}, found {text[start:end]!r}"
        if compose(text) != text and compose(expected) in compose(text):
            what = (
                f"{compose(expected)!r} is not at {start}..{end} of a text in decomposed form (NFD)"
            )
            fix = "compose the file before offsets are counted (NFC, such as `uconv -x any-nfc`)"
            raise fault(where, what, fix)
    else:
        return
    raise fault(where, what, "fix the span: offsets count the characters of the unchanged text")


def hash_split(key: str) -> str:
    """The split that a key belongs to by its MD5, for corpora published in one piece.

    The last decimal digit of the hash: 0 is validation, 1 is test, the others train, as in the
    `.split` configurations of AIRC-KETI/Korean-Copora.

    >>> [hash_split(f"NWRW1800000029.315.1.{i}") for i in (9, 10, 11)]
    ['train', 'test', 'validation']
    """
    digit = int(hashlib.md5(key.encode(), usedforsecurity=False).hexdigest(), 16) % 10
    return {0: "validation", 1: "test"}.get(digit, "train")
