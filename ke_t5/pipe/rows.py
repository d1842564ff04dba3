"""Rows: a split of a source, cached as one Arrow file on disk."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ke_t5.composition import MARKS, compose_row
from ke_t5.pipe.cache import DATA_FILE, build_once, make_key

if TYPE_CHECKING:
    import datasets

logger = logging.getLogger(__name__)

Row = dict[str, Any]

# The column with a row's index in its unsliced split.
ROW_ID = "_id"


@dataclass(frozen=True)
class Rows:
    """One split's rows: an Arrow data set with the column `_id`, and a hash over its content.

    Attributes:
        provenance: {"files": {name: SHA-256}} or {"hub": name, "revision": commit}, {} if unknown.
    """

    dataset: datasets.Dataset
    key: str
    origin: str
    provenance: Mapping[str, Any] = field(default_factory=dict)


def arrow_features(columns: Any) -> Any:
    """datasets' types for a schema in plain words.

    >>> arrow_features({"text": "string", "tags": ["string"]})
    {'text': Value('string'), 'tags': List(Value('string'))}
    """
    import datasets

    if isinstance(columns, str):
        return datasets.Value(columns)
    if isinstance(columns, (list, tuple)):
        return datasets.List(arrow_features(columns[0]))
    return {name: arrow_features(schema) for name, schema in columns.items()}


def _store(
    folder: Path, columns: Mapping[str, Any], rows: Iterable[Row], *, origin: str
) -> dict[str, int]:
    """Writes rows, composed and with their `_id`, as one Arrow file; returns the numbers of rows
    and of decomposed rows."""
    import datasets
    from datasets.arrow_writer import ArrowWriter

    features = datasets.Features(arrow_features({**columns, ROW_ID: "int64"}))
    num_rows = num_composed = 0
    with ArrowWriter(path=str(folder / DATA_FILE), features=features) as writer:
        for row in rows:
            row = {name: row.get(name) for name in columns}
            composed = compose_row(row, f"{origin}, row {num_rows}")
            num_composed += composed is not row
            writer.write({**composed, ROW_ID: num_rows})
            num_rows += 1
        writer.finalize()
    return {"rows": num_rows, "composed": num_composed}


def stored_rows(
    folder: Path, columns: Mapping[str, Any], rows: Callable[[], Iterable[Row]], *, origin: str
) -> Rows:
    """The rows cached in `folder`, written first if they are not there."""
    import datasets

    def build(temporary: Path) -> dict[str, Any]:
        return {**_store(temporary, columns, rows(), origin=origin), "origin": origin}

    info = build_once(folder, build)
    if info.get("composed"):
        _report_composed(origin, info["composed"], info["rows"])
    if info["rows"] == 0:
        names = list(columns)
        empty = datasets.Dataset.from_dict({name: [] for name in [*names, ROW_ID]})
        return Rows(empty, folder.name, info["origin"])
    return Rows(datasets.Dataset.from_file(str(folder / DATA_FILE)), folder.name, info["origin"])


@functools.cache
def _report_composed(origin: str, num_composed: int, num_rows: int) -> None:
    """Logs it, once per process: a split's rows are loaded several times."""
    logger.warning(
        "%s: %d of %d rows contain decomposed text (NFD), composed (NFC) on reading",
        origin, num_composed, num_rows,
    )  # fmt: skip


def composed_table(table: datasets.Dataset, origin: str) -> datasets.Dataset:
    """The table with its texts composed, as by `stored_rows`; the same table if nothing is
    decomposed."""
    if not any(map(_has_marks, _texts(table.data.table))):
        return table
    composed = table.map(
        lambda row, i: {**compose_row(row, f"{origin}, row {i}")},
        with_indices=True,
        features=table.features,
        new_fingerprint=make_key([table._fingerprint, "composed"]),
    )
    pairs = zip(table, composed, strict=True)
    _report_composed(origin, sum(before != after for before, after in pairs), len(table))
    return composed


def _has_marks(texts: Any) -> bool:
    import pyarrow.compute

    compute: Any = pyarrow.compute  # it makes its functions on import, unseen by type checkers
    return bool(compute.any(compute.match_substring_regex(texts, f"[{MARKS}]")).as_py())


def _texts(table: Any) -> Iterator[Any]:
    """The arrays of texts in a table, including those in lists and records."""
    import pyarrow as pa

    arrays = [chunk for column in table.columns for chunk in column.chunks]
    while arrays:
        array = arrays.pop()
        if pa.types.is_string(array.type) or pa.types.is_large_string(array.type):
            yield array
        elif pa.types.is_struct(array.type) or hasattr(array, "offsets"):
            inner = array.flatten()
            arrays += inner if isinstance(inner, list) else [inner]
