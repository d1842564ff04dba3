"""Columns of prepared examples as memory-mapped `.npy` files, of which all processes of a machine
share one copy in memory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

from ke_t5.pipe.columns import VALUES_AT_ONCE, Column

# Integer types, narrowest first.
WIDTHS = (np.uint16, np.int16, np.int32)


def save_array(path: Path, array: np.ndarray) -> None:
    """Writes an array of integers in a type that is narrow but holds them, block by block."""
    low, high = (int(array.min()), int(array.max())) if len(array) else (0, 0)
    kinds = (np.uint16, np.uint32, np.int64)
    kind = next(kind for kind in kinds if _fits(low, high, kind))
    starts = range(0, len(array), VALUES_AT_ONCE)
    _write_blocks(path, kind, array.shape, (array[i : i + VALUES_AT_ONCE] for i in starts))


def _write_blocks(
    path: Path, kind: Any, shape: tuple[int, ...], blocks: Iterable[np.ndarray]
) -> None:
    """Writes an array, given in blocks, in the format of `np.save`."""
    dtype = np.dtype(kind)
    with path.open("wb") as file:
        header = {"descr": dtype.str, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        for block in blocks:
            file.write(np.ascontiguousarray(block, dtype).reshape(-1).data)


def open_array(path: Path) -> np.ndarray:
    """The array in a file, memory-mapped."""
    # As a plain array: slicing a numpy.memmap takes microseconds.
    return np.load(path, mmap_mode="r", allow_pickle=False).view(np.ndarray)


def write_columns(folder: Path, table: Any, names: Sequence[str]) -> list[dict[str, str]]:
    """Writes columns of an Arrow table; returns their names and types for `read_columns`."""
    return [
        {"name": name, "dtype": _write(folder, number, Column.from_arrow(table.column(name)))}
        for number, name in enumerate(names)
    ]


def read_columns(folder: Path, columns: Sequence[Mapping[str, str]]) -> dict[str, Column]:
    """The columns that `write_columns` wrote to the folder, by name."""
    found = {}
    for number, column in enumerate(columns):
        offsets = _file(folder, number, "offsets")
        found[column["name"]] = Column(
            [open_array(_file(folder, number, "values"))],
            open_array(offsets) if offsets.exists() else None,
            dtype=column["dtype"],
        )
    return found


def _write(folder: Path, number: int, column: Column) -> str:
    """Writes a column in the narrowest type that holds its values; returns its original type."""
    kind = _narrowest(column)
    shape = (sum(map(len, column.chunks)), *column.chunks[0].shape[1:])
    _write_blocks(_file(folder, number, "values"), kind, shape, column.blocks())
    if column.offsets is not None:
        np.save(_file(folder, number, "offsets"), column.offsets)
    return column.dtype.name


def _narrowest(column: Column) -> Any:
    """The narrowest type for a column of sequences; numbers, which are few, keep their own type."""
    if column.offsets is None or column.dtype.kind != "i":
        return column.dtype
    bounds = [(int(block.min()), int(block.max())) for block in column.blocks() if block.size]
    low = min((low for low, _ in bounds), default=0)
    high = max((high for _, high in bounds), default=0)
    return next((kind for kind in WIDTHS if _fits(low, high, kind)), column.dtype)


def _fits(low: int, high: int, kind: Any) -> bool:
    limits = np.iinfo(cast(Any, kind))
    return limits.min <= low and high <= limits.max


def _file(folder: Path, number: int, what: str) -> Path:
    return folder / f"column-{number}.{what}.npy"
