"""Rows: what a source has of one split, kept as one Arrow file on disk."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ke_t5.pipe.cache import DATA_FILE, build_once

if TYPE_CHECKING:
    import datasets

Row = dict[str, Any]

# The column with a row's index in its unsliced split.
ROW_ID = "_id"


@dataclass(frozen=True)
class Rows:
    """One split's rows: an Arrow data set with the column `_id`, and a key over its content."""

    dataset: datasets.Dataset
    key: str
    origin: str


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
    converted = {name: arrow_features(kind) for name, kind in columns.items()}
    return converted


def _store(folder: Path, columns: Mapping[str, Any], rows: Iterable[Row]) -> int:
    """Writes rows with their `_id` as one Arrow file and returns their number."""
    import datasets
    from datasets.arrow_writer import ArrowWriter

    features = datasets.Features(arrow_features({**columns, ROW_ID: "int64"}))
    num_rows = 0
    with ArrowWriter(path=str(folder / DATA_FILE), features=features) as writer:
        for row in rows:
            writer.write({**{name: row.get(name) for name in columns}, ROW_ID: num_rows})
            num_rows += 1
        writer.finalize()
    return num_rows


def stored_rows(
    folder: Path, columns: Mapping[str, Any], rows: Callable[[], Iterable[Row]], *, origin: str
) -> Rows:
    """The rows kept in `folder`, written there first if nobody has."""
    import datasets

    def build(temporary: Path) -> dict[str, Any]:
        return {"rows": _store(temporary, columns, rows()), "origin": origin}

    info = build_once(folder, build)
    if info["rows"] == 0:
        names = list(columns)
        empty = datasets.Dataset.from_dict({name: [] for name in [*names, ROW_ID]})
        return Rows(empty, folder.name, info["origin"])
    return Rows(datasets.Dataset.from_file(str(folder / DATA_FILE)), folder.name, info["origin"])
