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

# The names of types in messages.
_KINDS = {str: "a string", int: "an integer", float: "a number", bool: "a boolean"}
_KINDS |= {list: "a list", dict: "an object"}

_MACOS, _DEEPEST = "__MACOSX", 8

_INT32 = 2**31  # integer columns are int32


@dataclass(frozen=True)
class RawSplit:
    """One split of a raw release.

    Attributes:
        files: all files that the rows depend on.
        rows: streams the rows; an invalid row raises a UserError (Exit.DATA) with file and line.
        unneeded: files that were inspected and have nothing for this split.
    """

    files: tuple[Path, ...]
    rows: Callable[[], Iterator[Row]]
    unneeded: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Hub:
    """A release's copy on the hub, as plain tables.

    Attributes:
        splits: our split -> a split expression of `datasets`, such as "train[:90%]".
        to_rows: converts a row of the hub to our rows (a dialogue yields one per turn).
        class_names: whether the caller converts class numbers, nested ones too, to names (-1 to
            None) before `to_rows`.
        configs: our split -> the configurations to concatenate; default: `config` alone.
    """

    path: str
    config: str | None
    splits: Mapping[str, str]
    to_rows: Callable[[Row], Iterator[Row]]
    class_names: bool = True
    configs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def configs_of(self, split: str) -> tuple[str | None, ...]:
        """The configurations that make up the split, in order."""
        return self.configs.get(split, (self.config,))


@dataclass(frozen=True)
class Release:
    """A benchmark's data as the authors publish them.

    Attributes:
        columns: column -> its type: "string", "int32", "float64", "bool", [type] for a list,
            {name: type} for a record. Unknown values are None.
        find: finds the splits below a folder, {} if there are none; invalid files are only
            reported when their rows are read.
        layout: where the files belong, relative to that folder.
        home: where the release can be downloaded.
        group: a column; rows with equal values in it must stay in one split.
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
    """Yields the files below a folder in order, without hidden files and macOS's metadata."""
    for parent, folders, names in os.walk(folder, followlinks=True):
        is_deep = len(Path(parent).relative_to(folder).parts) >= _DEEPEST  # cyclic links
        folders[:] = [] if is_deep else sorted(n for n in folders if n[0] != "." and n != _MACOS)
        yield from (Path(parent, name) for name in sorted(names) if name[0] != ".")


def first_found(
    data_dir: Path, folders: Iterable[str], names: Mapping[str, str]
) -> dict[str, Path]:
    """split -> file, from the first of `folders` that has any; "." is `data_dir` itself.

    Splits are never taken from two folders, which may contain different versions.
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
    """The folders to search: `names`, then `data_dir` itself.

    Args:
        is_direct: whether to search `data_dir` whatever its name; otherwise its path must end in
            one of `names` (for generic file names such as train.txt).
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
    """A RawSplit for each file, with the rows of `rows(path, split)`."""
    return {split: RawSplit((path,), partial(rows, path, split)) for split, path in files.items()}


def take(row: Row, name: str, kind: type[T], where: str) -> T:
    """`row[name]`; a UserError unless it exists and is a `kind` (floats may be integers)."""
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
    """Raises UserError unless all values, those of the list `name`, are strings."""
    for value in values:
        take({f"an entry of {name}": value}, f"an entry of {name}", str, where)


def take_optional(row: Row, name: str, kind: type[T], where: str) -> T | None:
    """Like `take`, but None if the value is missing or null."""
    is_missing = isinstance(row, dict) and row.get(name) is None
    return None if is_missing else take(row, name, kind, where)


def take_label(row: Row, name: str, kind: type[T], where: str, is_labelled: bool) -> T | None:
    """Like `take_optional`, but a label may be missing only in a split without labels."""
    if name not in row and is_labelled:
        return take(row, name, kind, where)
    return take_optional(row, name, kind, where)


def records(value: object) -> object:
    """The hub's record of lists as a list of records; other values are returned unchanged.

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
    """The split that a key's MD5 hash assigns it to, for corpora published as a single split.

    The last decimal digit of the hash: 0 is validation, 1 is test, the others train, as in the
    `.split` configurations of AIRC-KETI/Korean-Copora.

    >>> [hash_split(f"NWRW1800000029.315.1.{i}") for i in (9, 10, 11)]
    ['train', 'test', 'validation']
    """
    digit = int(hashlib.md5(key.encode(), usedforsecurity=False).hexdigest(), 16) % 10
    return {0: "validation", 1: "test"}.get(digit, "train")
