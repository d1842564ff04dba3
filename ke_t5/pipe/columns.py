"""Columns of examples: views into memory-mapped files, which are read on use, shared by all
processes and evicted by the system when memory is short."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from ke_t5.forms import IGNORED

# Rows per block when a whole column is read.
ROWS_AT_ONCE = 16_384
# Values per block when a whole file is read.
VALUES_AT_ONCE = 1 << 22
# From this mean length on, sequences are copied one by one: an index for each value costs more.
LONG = 128


class Column:
    """A column of sequences, or of numbers.

    Args:
        chunks: the flat values of consecutive rows: [values], or [values, width] for rank 2.
        offsets: [N + 1] where each sequence begins in the concatenated chunks; None for a column
            of numbers.
        first_rows: the first row of each chunk.
        dtype: the type of returned values; default: that of the chunks, which may be narrower.
    """

    def __init__(
        self,
        chunks: Sequence[np.ndarray],
        offsets: np.ndarray | None,
        first_rows: Sequence[int] = (0,),
        *,
        dtype: Any = None,
    ) -> None:
        self.chunks, self.offsets = list(chunks), offsets
        self.dtype = np.dtype(dtype or self.chunks[0].dtype)
        self._first_rows = np.asarray(first_rows, dtype=np.int64)
        # Where each chunk begins in the concatenated chunks.
        self._begins = None if offsets is None else offsets[self._first_rows]

    @classmethod
    def from_arrow(cls, column: Any) -> Column:
        import pyarrow as pa

        if not (pa.types.is_list(column.type) or pa.types.is_large_list(column.type)):
            return cls([column.to_numpy()], None)
        arrays = [array for array in column.chunks if len(array)]
        lengths = [np.diff(_offsets_of(array)) for array in arrays]
        offsets = np.zeros(sum(map(len, lengths)) + 1, dtype=np.int64)
        first_rows, row = [], 0
        for part in lengths:
            first_rows.append(row)
            offsets[row + 1 : row + 1 + len(part)] = part
            row += len(part)
        np.cumsum(offsets, out=offsets)
        if not arrays:
            return cls([_flat(pa.array([], column.type))], offsets)
        return cls([_flat(array) for array in arrays], offsets, first_rows)

    @property
    def num_rows(self) -> int:
        """The number of sequences or numbers."""
        return sum(map(len, self.chunks)) if self.offsets is None else len(self.offsets) - 1

    @property
    def values(self) -> np.ndarray:
        """All values in one array; a copy if there are several chunks or their type is narrower."""
        chunks = self.chunks
        values = chunks[0] if len(chunks) == 1 else np.concatenate(chunks)
        return values.astype(self.dtype, copy=False)

    def blocks(self) -> Iterator[np.ndarray]:
        """All values, in blocks of `VALUES_AT_ONCE`."""
        for chunk in self.chunks:
            for start in range(0, len(chunk), VALUES_AT_ONCE):
                yield chunk[start : start + VALUES_AT_ONCE].astype(self.dtype, copy=False)

    @property
    def width(self) -> int:
        """Numbers per element of a sequence: the width of a row for rank 2, otherwise 1."""
        return self.chunks[0].shape[1] if self.chunks[0].ndim > 1 else 1

    def lengths(self) -> np.ndarray:
        """The length of each sequence; 1 for numbers."""
        return self.lengths_at(np.arange(self.num_rows))

    def lengths_at(self, places: np.ndarray) -> np.ndarray:
        """The lengths of the sequences at these places."""
        if self.offsets is None:
            return np.ones(len(places), dtype=np.int64)
        places = np.asarray(places, dtype=np.int64)  # + 1 may overflow the stored type
        return self.offsets[places + 1] - self.offsets[places]

    def sequences(self, places: np.ndarray) -> Iterator[np.ndarray]:
        """The sequences at these places, in the type in which they are stored."""
        assert self.offsets is not None and self._begins is not None
        places = np.asarray(places, dtype=np.int64)
        numbers = np.searchsorted(self._first_rows, places, side="right") - 1
        begins = self._begins[numbers]
        starts, ends = self.offsets[places] - begins, self.offsets[places + 1] - begins
        chunks = self.chunks
        # Python integers: numpy's are slow one by one.
        for number, start, end in zip(
            numbers.tolist(), starts.tolist(), ends.tolist(), strict=True
        ):
            yield chunks[number][start:end]

    def batch(self, places: np.ndarray, pad: int, *, side: str = "right") -> np.ndarray:
        """The values at these places: [B], or [B, longest(, width)] padded with `pad`."""
        if self.offsets is None:
            return self.values[places]
        lengths = self.lengths_at(places)
        longest = int(lengths.max(initial=0))
        shape = (len(places), longest, *self.chunks[0].shape[1:])
        padded = np.full(shape, pad, dtype=self.dtype)
        if self._are_gathered(lengths):
            place = np.arange(longest)
            is_left = side == "left"
            is_value = place >= longest - lengths[:, None] if is_left else place < lengths[:, None]
            padded[is_value] = self._gathered(places, lengths)
            return padded
        for row, sequence in enumerate(self.sequences(places)):
            first = longest - len(sequence) if side == "left" else 0
            padded[row, first : first + len(sequence)] = sequence
        return padded

    def _are_gathered(self, lengths: np.ndarray) -> bool:
        """Whether sequences of these lengths are read faster with an index for each value."""
        return len(self.chunks) == 1 and int(lengths.sum()) < LONG * len(lengths)

    def _gathered(self, places: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """The values at these places, from a single chunk."""
        assert self.offsets is not None
        ends = np.cumsum(lengths)
        first = self.offsets[places] - self.offsets[0] - ends + lengths
        return self.chunks[0][np.repeat(first, lengths) + np.arange(ends[-1] if len(ends) else 0)]

    def of_places(self, places: np.ndarray) -> np.ndarray:
        """The values at these places, concatenated."""
        if self.offsets is None:
            return self.values[places]
        lengths = self.lengths_at(places)
        if self._are_gathered(lengths):
            return self._gathered(places, lengths).astype(self.dtype, copy=False)
        found = np.concatenate([self.chunks[0][:0], *self.sequences(places)])
        return found.astype(self.dtype, copy=False)

    def parts(self, places: np.ndarray) -> Iterator[np.ndarray]:
        """`of_places`, in blocks of `ROWS_AT_ONCE` places."""
        for start in range(0, len(places), ROWS_AT_ONCE):
            yield self.of_places(places[start : start + ROWS_AT_ONCE].astype(np.int64))

    def bytes_at(self, places: np.ndarray) -> Iterator[bytes]:
        """The bytes of the values at each of these places, in the column's type."""
        for start in range(0, len(places), ROWS_AT_ONCE):
            some = places[start : start + ROWS_AT_ONCE].astype(np.int64)
            if self.offsets is None:
                yield from (values.tobytes() for values in self.values[some])
                continue
            for values in self.sequences(some):
                yield values.astype(self.dtype, copy=False).tobytes()

    def counted(self) -> np.ndarray:
        """The number of values in each row that are neither `IGNORED` nor NaN."""
        blocks = range(0, self.num_rows, ROWS_AT_ONCE)
        counts = [
            self.counted_at(np.arange(start, min(start + ROWS_AT_ONCE, self.num_rows)))
            for start in blocks
        ]
        return np.concatenate([np.zeros(0, dtype=np.int64), *counts])

    def counted_at(self, places: np.ndarray) -> np.ndarray:
        """`counted` for the rows at these places."""
        values = _is_counted(self.of_places(places))
        if values.ndim > 1:
            values = np.any(values, axis=1)  # a row of numbers counts once
        if self.offsets is None:
            return values.astype(np.int64)
        sums = np.concatenate([[0], np.cumsum(values)])
        ends = np.cumsum(self.lengths_at(places))
        return sums[ends] - sums[ends - self.lengths_at(places)]


class RowNumbers:
    """A number for each row, computed on demand rather than stored.

    Args:
        of_places: returns the numbers at places of a column.
        places: the place of each row.
    """

    def __init__(self, of_places: Callable[[np.ndarray], np.ndarray], places: np.ndarray) -> None:
        self._of_places, self._places = of_places, places

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, positions: Any) -> np.ndarray:
        return self._of_places(self._places[positions].astype(np.int64))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        parts = list(self.blocks()) or [self[:0]]
        return np.concatenate(parts).astype(dtype or parts[0].dtype, copy=False)

    def blocks(self) -> Iterator[np.ndarray]:
        """The numbers, in blocks of `ROWS_AT_ONCE`."""
        for start in range(0, len(self), ROWS_AT_ONCE):
            yield self[start : start + ROWS_AT_ONCE]


def _is_counted(values: np.ndarray) -> np.ndarray:
    return ~np.isnan(values) if values.dtype.kind == "f" else values != IGNORED


def _offsets_of(array: Any) -> np.ndarray:
    return array.offsets.to_numpy(zero_copy_only=False).astype(np.int64)


def _flat(array: Any) -> np.ndarray:
    """The values of an array of lists; of lists of lists, [all rows, width]."""
    offsets = _offsets_of(array)
    values = array.values
    rows = slice(offsets[0], offsets[-1]) if len(offsets) else slice(0, 0)
    if not hasattr(values, "offsets"):
        return values.to_numpy(zero_copy_only=False)[rows]
    width = len(values[rows.start]) if rows.stop > rows.start else 1
    return values.values.to_numpy(zero_copy_only=False).reshape(-1, width)[rows]
