"""Rows: a split of a source, cached as one Arrow file on disk."""

from __future__ import annotations

import functools
import itertools
import logging
import math
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from ke_t5.composition import MARKS, compose_row, is_decomposed
from ke_t5.errors import Exit, UserError, counted_of
from ke_t5.pipe.arrow_files import new_table, plain_array
from ke_t5.pipe.cache import DATA_FILE, build_once, make_key, package_version
from ke_t5.pipe.code import Stamp, stamp_of
from ke_t5.readers.streams import listed

if TYPE_CHECKING:
    import datasets

logger = logging.getLogger(__name__)

Row = dict[str, Any]

# The column with a row's index in its unsliced split.
ROW_ID = "_id"
# Rows per batch, as datasets writes them.
ROWS_AT_ONCE = 1000


@dataclass(frozen=True)
class Rows:
    """The rows of one split.

    Attributes:
        dataset: an Arrow data set with the column `_id`.
        key: a hash over its content.
        origin: the file or data set that the rows come from, for messages.
        provenance: {"files": {name: SHA-256}} or {"hub": name, "revision": commit}, {} if unknown.
        notes: remarks on reading the rows, a line each.
    """

    dataset: datasets.Dataset
    key: str
    origin: str
    provenance: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def arrow_features(columns: Any) -> Any:
    """The types of datasets for a schema in plain words.

    >>> arrow_features({"text": "string", "tags": ["string"]})
    {'text': Value('string'), 'tags': List(Value('string'))}
    """
    import datasets

    if isinstance(columns, str):
        return datasets.Value(columns)
    if isinstance(columns, (list, tuple)):
        return datasets.List(arrow_features(columns[0]))
    return {name: arrow_features(schema) for name, schema in columns.items()}


def check_names(row: Any, columns: Mapping[str, Any], where: str) -> None:
    """Raises UserError for a row that is not a dict, or that lacks a column and has an unknown one;
    a column that is only missing is an unknown value."""
    if not isinstance(row, Mapping):
        fix = "return a dict for each row"
        raise UserError(f"found {type(row).__name__}, expected a dict", where, fix, Exit.DATA)
    missing, others = columns.keys() - row.keys(), row.keys() - columns.keys()
    if missing and others:
        there, wanted = (listed(sorted(map(str, names)), 3) for names in (others, missing))
        what = f"it has {there}, but no {wanted}"
        raise UserError(what, where, "name its columns as in columns=", Exit.DATA)


def _store(
    folder: Path, columns: Mapping[str, Any], rows: Iterable[Row], *, origin: str
) -> dict[str, int]:
    """Writes rows with their `_id` and their text in composed form to an Arrow file; returns the
    numbers of rows and of rows that were decomposed."""
    import datasets

    features = datasets.Features(arrow_features({**columns, ROW_ID: "int64"}))
    num_rows = num_composed = 0
    kinds = dict(zip(features, features.arrow_schema.types, strict=True))
    kinds.pop(ROW_ID)
    remaining = iter(rows)
    with new_table(folder / DATA_FILE, features, where=origin) as append:
        while some := list(itertools.islice(remaining, ROWS_AT_ONCE)):
            batch, num_changed = _composed_batch(some, kinds, origin=origin, first=num_rows)
            ids = range(num_rows, num_rows + len(some))
            append({**batch, ROW_ID: list(ids)})
            num_rows, num_composed = ids.stop, num_composed + num_changed
    return {"rows": num_rows, "composed": num_composed}


def _composed_batch(
    rows: Sequence[Row], kinds: Mapping[str, Any], *, origin: str, first: int
) -> tuple[dict[str, Any], int]:
    """The columns of a batch of rows in composed form, and the number of rows that were decomposed.

    Args:
        kinds: column -> its Arrow type.
        first: the number of the first row.
    """
    batch = {name: [row.get(name) for row in rows] for name in kinds}
    arrays = {name: plain_array(batch[name], kind) for name, kind in kinds.items()}
    for name, kind in kinds.items():
        may_lack = arrays[name] is None and not _is_number(kind)
        if may_lack and any(map(_is_missing, batch[name])):
            batch[name] = [None if _is_missing(value) else value for value in batch[name]]
            arrays[name] = plain_array(batch[name], kind)
    if not any(_is_decomposed(arrays[name], batch[name]) for name in kinds):
        return {name: batch[name] if arrays[name] is None else arrays[name] for name in kinds}, 0
    num_composed, composed = 0, []
    for number, values in enumerate(zip(*batch.values(), strict=True), first):
        row = dict(zip(kinds, values, strict=True))
        composed.append(compose_row(row, f"{origin}, row {number}"))
        num_composed += composed[-1] is not row
    return {name: [row[name] for row in composed] for name in kinds}, num_composed


def _is_number(kind: Any) -> bool:
    import pyarrow as pa

    return pa.types.is_integer(kind) or pa.types.is_floating(kind)


def _is_missing(value: Any) -> bool:
    """Whether a value is NaN or NA, which pandas writes for an empty cell."""
    is_nan = isinstance(value, float) and math.isnan(value)
    return is_nan or type(value).__name__ == "NAType"


def _is_decomposed(array: Any, values: Sequence[Any]) -> bool:
    """Whether any text of a column may be decomposed; `array` holds the same values or is None."""
    if array is None:
        return any(map(is_decomposed, values))
    return any(map(_has_marks, _texts_in(array)))


def stored_rows(
    folder: Path,
    columns: Mapping[str, Any],
    rows: Callable[[], Iterable[Row]],
    *,
    origin: str,
    notes: Sequence[str] = (),
) -> Rows:
    """The rows cached in `folder`, written first if they are not there.

    Args:
        notes: a list that `rows` fills with remarks; kept in the folder.
    """

    def build(temporary: Path) -> dict[str, Any]:
        counts = _store(temporary, columns, rows(), origin=origin)
        return {**counts, "origin": origin, "notes": list(notes)}

    return _opened(folder, build_once(folder, build), [*columns, ROW_ID])


def stored_table(
    folder: Path, load: Callable[[Path], datasets.Dataset], *, origin: str, title: str
) -> Rows:
    """The rows of a table with their `_id`, cached in `folder`.

    Args:
        load: loads the table; its argument is a temporary folder.
        title: the table's name, for messages.
    """

    def build(temporary: Path) -> dict[str, Any]:
        table, num_composed = composed_table(load(temporary / "hub"), title)
        _store_table(temporary, table)
        columns = table.column_names
        shutil.rmtree(temporary / "hub", ignore_errors=True)
        return {"rows": len(table), "composed": num_composed, "origin": origin, "columns": columns}

    info = build_once(folder, build)
    return _opened(folder, info, [*info["columns"], ROW_ID], title=title)


def _store_table(folder: Path, table: datasets.Dataset) -> None:
    """Writes a table with the `_id` of its rows as one Arrow file."""
    import datasets
    import pyarrow as pa
    from datasets.arrow_writer import ArrowWriter

    features = datasets.Features({**table.features, ROW_ID: datasets.Value("int64")})
    num_rows = 0
    batches = cast(Iterable[Any], table.with_format("arrow").iter(ROWS_AT_ONCE))
    with ArrowWriter(path=str(folder / DATA_FILE), features=features) as writer:
        for batch in batches:
            ids = pa.array(range(num_rows, num_rows + len(batch)), pa.int64())
            writer.write_table(batch.append_column(ROW_ID, ids))
            num_rows += len(batch)
        writer.finalize()


def open_table(file: Path) -> datasets.Dataset:
    """The data set in an Arrow file; the last few are cached, because the index of the file's
    blocks takes memory: 10 MB for 10,000 blocks."""
    return _open_table(file, stamp_of(file))


@functools.lru_cache(maxsize=4)
def _open_table(file: Path, _stamp: Stamp) -> datasets.Dataset:
    import datasets

    return datasets.Dataset.from_file(str(file))


def _opened(
    folder: Path, info: Mapping[str, Any], columns: Sequence[str], *, title: str = ""
) -> Rows:
    """The rows in a folder with this `info`."""
    import datasets

    report_composed(title or info["origin"], info.get("composed", 0), info["rows"])
    if info["rows"]:
        dataset = open_table(folder / DATA_FILE)
    else:
        dataset = datasets.Dataset.from_dict({name: [] for name in columns})
    return Rows(dataset, folder.name, info["origin"], notes=tuple(info.get("notes", ())))


@functools.cache
def report_composed(origin: str, num_composed: int, num_rows: int) -> None:
    """Warns of composed rows, once per process, since rows are loaded several times."""
    if num_composed:
        logger.warning(
            "%s: %s decomposed text (NFD), composed (NFC) on reading",
            origin, counted_of(num_composed, num_rows, "row", ("contains", "contain")),
        )  # fmt: skip


def composed_table(table: datasets.Dataset, origin: str) -> tuple[datasets.Dataset, int]:
    """The table with its texts in composed form, and the number of rows that were decomposed."""
    if not any(map(_has_marks, _texts(table.data.table))):
        return table, 0
    composed = table.map(
        lambda row, i: {**compose_row(row, f"{origin}, row {i}")},
        with_indices=True,
        features=table.features,
        new_fingerprint=make_key([table._fingerprint, "composed", package_version()]),
    )
    return composed, sum(before != after for before, after in zip(table, composed, strict=True))


def _has_marks(texts: Any) -> bool:
    import pyarrow.compute

    compute: Any = pyarrow.compute  # type checkers do not see its generated functions
    return bool(compute.any(compute.match_substring_regex(texts, f"[{MARKS}]")).as_py())


def _texts(table: Any) -> Iterator[Any]:
    """The text arrays in a table, including those in lists and records."""
    for column in table.columns:
        for chunk in column.chunks:
            yield from _texts_in(chunk)


def _texts_in(array: Any) -> Iterator[Any]:
    """The text arrays in an array."""
    import pyarrow as pa

    arrays = [array]
    while arrays:
        array = arrays.pop()
        if pa.types.is_string(array.type) or pa.types.is_large_string(array.type):
            yield array
        elif pa.types.is_struct(array.type) or hasattr(array, "offsets"):
            inner = array.flatten()
            arrays += inner if isinstance(inner, list) else [inner]
