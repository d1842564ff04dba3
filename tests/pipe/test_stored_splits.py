"""Places and statistics of a split are computed once and agree with its rows."""

from __future__ import annotations

import hashlib
from functools import partial

import numpy as np
import pytest
from support.helpers import folders, task_on

from ke_t5.errors import Exit, UserError
from ke_t5.pipe import IGNORED, Folders, FunctionDataSource, map_over_dataset, tokenize
from ke_t5.pipe import examples as examples_module
from ke_t5.pipe.column_files import open_array, read_columns, save_array, write_columns
from ke_t5.pipe.columns import Column, RowNumbers
from ke_t5.pipe.splits import HELD_IN, HELD_OUT, resolve_split

ROWS = [{"text": "가 나 " * (1 + i % 7), "label": i % 3} for i in range(400)]


@map_over_dataset
def take_label(example):
    return {**example, "labels": example["label"] if example["_id"] % 10 else IGNORED}


STEPS = (partial(tokenize, source="text", limit="inputs"), take_label)


def get(tmp_path, split, **settings):
    return task_on(ROWS, STEPS, **settings).get_dataset(
        split, folders=folders(tmp_path), sequence_length={"inputs": 8}
    )


def held_out(tmp_path, rows, columns, **settings):
    """The ids of the held-out rows."""
    source = FunctionDataSource(lambda _: rows, ["train"], columns, name="mine", **settings)
    place = Folders(None, tmp_path / "cache")
    ((_, ids, _),) = resolve_split(HELD_OUT, source, place, source.rows)
    return list(ids)


@pytest.mark.parametrize("split", ["train", "train[10:37]", HELD_IN, HELD_OUT])
def test_counts_are_those_of_the_rows(tmp_path, split):
    stored = get(tmp_path, split)
    rows = stored.take(np.arange(len(stored)))  # of which nothing is stored
    assert stored.counts is not None and rows.counts is None
    assert stored.content_hash() == rows.content_hash() and len(stored.content_hash()) == 32
    assert stored.length_facts("input_ids") == rows.length_facts("input_ids")
    lengths = rows.lengths("input_ids")
    assert stored.length_facts("input_ids") == (lengths.sum(), lengths.max())
    assert stored.lost() == rows.lost() and stored.lost()
    for name in ("input_ids", "labels"):
        assert stored.value_counts(name).tolist() == rows.value_counts(name).tolist()
    assert stored.value_counts("labels").sum() == (rows.counted() > 0).sum()
    assert stored.labelled().ids.tolist() == [i for i in rows.ids if i % 10]
    assert stored.first_labelled() == int(np.argmax(rows.counted() > 0))


def test_a_part_of_a_split_is_counted_anew(tmp_path):
    stored = get(tmp_path, "train")
    part = stored.take(np.arange(5))
    assert part.counts is None and part.content_hash() != stored.content_hash()
    assert part.value_counts("labels").sum() == 4 and part.without_kept().counts is None
    assert stored.without_kept().counts is stored.counts


def test_rows_are_held_out_by_the_hash_of_their_group(tmp_path):
    def is_out(value):
        return int(hashlib.md5(str(value).encode()).hexdigest(), 16) % 10 == 0

    assert get(tmp_path, HELD_OUT).ids.tolist() == [i for i in range(400) if is_out(i)]
    by_text = get(tmp_path, HELD_IN, group="text").ids.tolist()
    assert by_text == [i for i in range(400) if not is_out(ROWS[i]["text"])]


def test_a_group_may_be_a_list_and_must_be_a_column(tmp_path):
    rows = [{"text": "가", "tags": [f"{i // 2}"]} for i in range(40)]
    columns = {"text": "string", "tags": ["string"]}
    ids = held_out(tmp_path, rows, columns, group="tags")
    assert ids and all(i ^ 1 in ids for i in ids)
    message = "mine, split 'train': no column 'tag' to group by; the columns are 'text', 'tags'"
    with pytest.raises(UserError, match=message) as caught:
        held_out(tmp_path, rows, columns, group="tag")
    assert caught.value.exit_code is Exit.DATA


def test_a_second_start_works_nothing_out(tmp_path, monkeypatch):
    first = [get(tmp_path, split).ids.tolist() for split in (HELD_IN, HELD_OUT)]
    for name in ("count", "value_counts"):
        monkeypatch.setattr(examples_module.Examples, name, None)
    monkeypatch.setattr("ke_t5.pipe.splits._is_held_out", None)
    assert [get(tmp_path, split).ids.tolist() for split in (HELD_IN, HELD_OUT)] == first


def test_columns_are_mapped_and_narrow_but_read_as_ever(tmp_path):
    stored = get(tmp_path, "train")
    column = stored.columns["input_ids"]
    assert column.chunks[0].dtype == np.uint16 and column.dtype == np.int32
    for array in (column.chunks[0], column.offsets, stored.places, stored._own_ids):
        assert array is not None and not array.flags.owndata and not array.flags.writeable
    assert stored.batch([0, 6])["input_ids"].dtype == np.int32
    expected = [np.array(row, np.int32).tobytes() for row in stored.dataset["input_ids"][:]]
    assert list(column.bytes_at(stored.places)) == expected
    as_before = np.concatenate([np.frombuffer(row, np.int32) for row in expected])
    assert column.values.tolist() == as_before.tolist()


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([[1, 65_535], [3]], np.uint16),
        ([[1, 65_536], [3]], np.int32),
        ([[IGNORED, 3], [], [2]], np.int16),
        ([[0.5], [float("nan"), 2.0]], np.float32),
        ([], np.uint16),
    ],
)
def test_the_narrowest_type_that_holds_the_values(tmp_path, values, kind):
    import pyarrow as pa

    own = pa.float32() if kind is np.float32 else pa.int32()
    table = pa.table({"a": pa.array(values, pa.list_(own))})
    column = read_columns(tmp_path, write_columns(tmp_path, table, ["a"]))["a"]
    assert column.chunks[0].dtype == kind
    found = [column.of_places(np.array([i])).tolist() for i in range(len(values))]
    assert str(found) == str(values) and column.dtype == own.to_pandas_dtype()


@pytest.mark.parametrize("greatest", [65_535, 65_536, 2**32 - 1, 2**32])
def test_stored_places_do_not_overflow(tmp_path, greatest):
    save_array(tmp_path / "places.npy", np.array([0, greatest]))
    assert open_array(tmp_path / "places.npy").tolist() == [0, greatest]
    if greatest == 65_535:
        column = Column([np.arange(3)], np.array([*[0] * 65_535, 1, 3]))
        places = open_array(tmp_path / "places.npy")[1:]
        assert places.dtype == np.uint16
        assert column.of_places(places).tolist() == [1, 2]
        assert column.lengths_at(places).tolist() == [2]
        assert [row.tolist() for row in column.sequences(places)] == [[1, 2]]


def test_row_numbers_are_an_array_when_all_are_asked_for():
    numbers = RowNumbers(lambda places: places * 2, np.array([3, 1], dtype=np.uint16))
    assert numbers[np.array([1])].tolist() == [2] and len(numbers) == 2
    assert np.asarray(numbers).tolist() == [6, 2]
    assert np.asarray(RowNumbers(np.asarray, np.zeros(0, np.uint16))).tolist() == []
