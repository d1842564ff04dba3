"""Columns of examples: views into the chunks of an Arrow file on disk, which the system reads as
they are used and may forget again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ke_t5.forms import IGNORED

# Sequences that are read together if all are needed.
ROWS_AT_ONCE = 16_384


class Column:
    """A column of sequences, or of numbers.

    Args:
        chunks: the values of some neighbouring rows each, flat: [values], or [values, width] for
            sequences of rows of numbers (rank 2).
        offsets: [N + 1] where each sequence begins among the values of all chunks; None for a
            column of numbers.
        first_rows: the first row of each chunk.
    """

    def __init__(
        self,
        chunks: Sequence[np.ndarray],
        offsets: np.ndarray | None,
        first_rows: Sequence[int] = (0,),
    ) -> None:
        self.chunks, self.offsets = list(chunks), offsets
        self._first_rows = np.asarray(first_rows, dtype=np.int64)
        # Where the values of each chunk begin among all.
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
    def values(self) -> np.ndarray:
        """All values in one array: of a column of sequences, a copy of it all."""
        return self.chunks[0] if len(self.chunks) == 1 else np.concatenate(self.chunks)

    @property
    def width(self) -> int:
        """Numbers at each place of a sequence: 1, or those of its rows."""
        return self.chunks[0].shape[1] if self.chunks[0].ndim > 1 else 1

    def lengths(self) -> np.ndarray:
        """Length of each sequence, 1 for numbers."""
        if self.offsets is None:
            return np.ones(len(self.values), dtype=np.int64)
        return np.diff(self.offsets)

    def sequences(self, places: np.ndarray) -> Iterator[np.ndarray]:
        """The sequences at these places."""
        assert self.offsets is not None and self._begins is not None
        numbers = np.searchsorted(self._first_rows, places, side="right") - 1
        begins = self._begins[numbers]
        starts, ends = self.offsets[places] - begins, self.offsets[places + 1] - begins
        chunks = self.chunks
        # Python's numbers: numpy's own are slow one by one.
        for number, start, end in zip(
            numbers.tolist(), starts.tolist(), ends.tolist(), strict=True
        ):
            yield chunks[number][start:end]

    def batch(self, places: np.ndarray, pad: int, *, side: str = "right") -> np.ndarray:
        """The values at `places`: [B], or [B, longest(, width)] padded with `pad` on that side."""
        if self.offsets is None:
            return self.values[places]
        lengths = self.offsets[places + 1] - self.offsets[places]
        longest = int(lengths.max(initial=0))
        sample = self.chunks[0]
        padded = np.full((len(places), longest, *sample.shape[1:]), pad, dtype=sample.dtype)
        for row, sequence in enumerate(self.sequences(places)):
            first = longest - len(sequence) if side == "left" else 0
            padded[row, first : first + len(sequence)] = sequence
        return padded

    def of_places(self, places: np.ndarray) -> np.ndarray:
        """The values at these places, concatenated."""
        if self.offsets is None:
            return self.values[places]
        return np.concatenate([self.chunks[0][:0], *self.sequences(places)])

    def parts(self, places: np.ndarray) -> Iterator[np.ndarray]:
        """The same, of some places at a time."""
        for start in range(0, len(places), ROWS_AT_ONCE):
            yield self.of_places(places[start : start + ROWS_AT_ONCE])

    def bytes_at(self, places: np.ndarray) -> Iterator[bytes]:
        """The values at each of these places, as they are in memory."""
        for start in range(0, len(places), ROWS_AT_ONCE):
            some = places[start : start + ROWS_AT_ONCE]
            one_by_one = self.values[some] if self.offsets is None else self.sequences(some)
            for values in one_by_one:
                yield values.tobytes()

    def counted(self) -> np.ndarray:
        """Per row, how many values are neither `IGNORED` nor NaN."""
        if self.offsets is None:
            return _is_counted(self.values).astype(np.int64)
        counts = np.zeros(len(self.offsets) - 1, dtype=np.int64)
        assert self._begins is not None
        ends = [*self._first_rows[1:].tolist(), len(counts)]
        for chunk, begin, first, end in zip(
            self.chunks, self._begins.tolist(), self._first_rows.tolist(), ends, strict=True
        ):
            sums = np.concatenate([[0], np.cumsum(_is_counted(chunk))])
            offsets = self.offsets[first : end + 1] - begin
            counts[first:end] = sums[offsets[1:]] - sums[offsets[:-1]]
        return counts


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
