"""Columns return the same values whatever the chunks of the file on disk."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from ke_t5.pipe.columns import Column
from ke_t5.pipe.features import IGNORED

LISTS = [[1, IGNORED], [2], [3, 4, 5], [6], [7, 8], [IGNORED, IGNORED, 9], [10]]
CUTS = [(7,), (1, 6), (3, 4), (2, 2, 2, 1), (3, 0, 4), (1,) * 7]


def chunked(rows, kind, cuts, *, is_slice=False):
    """The rows in chunks of these lengths; with `is_slice`, each is a view into a larger array."""
    chunks, start = [], 0
    for length in cuts:
        chunk = pa.array(rows[start : start + length], kind)
        if is_slice:
            chunk = pa.array([*rows[:1], *rows[start : start + length], *rows[:2]], kind)
            chunk = chunk.slice(1, length)
        chunks.append(chunk)
        start += length
    return Column.from_arrow(pa.chunked_array(chunks, kind))


@pytest.mark.parametrize("is_slice", [False, True])
@pytest.mark.parametrize("cuts", CUTS)
@pytest.mark.parametrize("kind", [pa.list_(pa.int32()), pa.large_list(pa.int32())])
def test_sequences(cuts, kind, is_slice):
    column = chunked(LISTS, kind, cuts, is_slice=is_slice)
    assert column.lengths().tolist() == [2, 1, 3, 1, 2, 3, 1]
    assert column.counted().tolist() == [1, 1, 3, 1, 2, 1, 1]
    places = np.array([5, 0, 3, 5])
    assert column.batch(places, 0).tolist() == [
        [IGNORED, IGNORED, 9], [1, IGNORED, 0], [6, 0, 0], [IGNORED, IGNORED, 9],
    ]  # fmt: skip
    assert column.batch(places[1:3], 0, side="left").tolist() == [[1, IGNORED], [0, 6]]
    assert column.of_places(places).tolist() == [
        *LISTS[5], *LISTS[0], *LISTS[3], *LISTS[5],
    ]  # fmt: skip
    whole = [np.array(row, dtype=np.int32).tobytes() for row in LISTS]
    assert list(column.bytes_at(np.arange(7))) == whole
    assert np.concatenate(column.chunks).tolist() == sum(LISTS, [])


@pytest.mark.parametrize("cuts", [(3,), (1, 2), (1, 1, 1)])
def test_sequences_of_rows(cuts):
    rows = [[[1, 2]], [[3, 4], [5, 6]], [[7, 8]]]
    column = chunked(rows, pa.list_(pa.list_(pa.int32())), cuts)
    padded = column.batch(np.array([1, 2]), -1).tolist()
    assert padded == [[[3, 4], [5, 6]], [[7, 8], [-1, -1]]]
    assert column.lengths().tolist() == [1, 2, 1]


def test_numbers():
    column = chunked([0.5, float("nan"), 2.0], pa.float32(), (1, 2))
    assert column.offsets is None and column.counted().tolist() == [1, 0, 1]
    assert column.batch(np.array([2, 0]), 0).tolist() == [2.0, 0.5]


def test_no_rows():
    column = Column.from_arrow(pa.chunked_array([], pa.list_(pa.int32())))
    assert column.lengths().tolist() == [] and column.counted().tolist() == []
    assert column.batch(np.zeros(0, dtype=np.int64), 0).shape == (0, 0)


def test_more_values_than_32_bits_can_count():
    """Seventeen times half a gigabyte of zeros, which the system does not store."""
    length = 1 << 20
    values = pa.array(np.zeros(128 * length, dtype=np.int8))
    offsets = pa.array(np.arange(0, 128 * length + 1, length, dtype=np.int32))
    chunk = pa.ListArray.from_arrays(offsets, values)
    last = pa.array([[1, 2, 3]], pa.list_(pa.int8()))
    column = Column.from_arrow(pa.chunked_array([*[chunk] * 17, last]))
    assert column.offsets is not None and column.offsets[-1] == 17 * 128 * length + 3 > 2**31
    assert column.batch(np.array([17 * 128]), 0).tolist() == [[1, 2, 3]]
    assert column.batch(np.array([17 * 128 - 1]), 0).shape == (1, length)
