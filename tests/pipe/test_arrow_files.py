"""Values that bypass datasets are stored as datasets stores them; others are converted or named."""

from __future__ import annotations

import datasets
import numpy as np
import pyarrow as pa
import pytest
from datasets.arrow_writer import ArrowWriter

from ke_t5.errors import Exit, UserError
from ke_t5.pipe.arrow_files import new_table, plain_array
from ke_t5.pipe.features import Feature, valid_numbers
from ke_t5.pipe.rows import arrow_features, stored_rows

COLUMNS = [
    ("string", ["가", None, ""]), ("string", [1, "가"]), ("string", ["\ud800"]),
    ("int64", [1, None]), ("int64", [1.0]), ("int64", [1.5]), ("int64", [True, 2]),
    ("int32", [2**40]), ("int64", ["1"]), ("int64", [np.int64(3)]),
    ("float64", [0.1, float("nan"), None]), ("float64", [1, 0.5]), ("float32", [0.1]),
    (["string"], [["가", None], [], None]), (["string"], ["abc"]), (["int64"], [[1.5]]),
    (["int64"], [(1, 2), [3]]), ([["int64"]], [[[1], []], None]),
    ({"start": "int64"}, [{"start": 1}, None]), ([{"start": "int64"}], [[{"start": 1}], []]),
]  # fmt: skip


BATCHES = [({"a": schema}, {"a": values}) for schema, values in COLUMNS]
BATCHES += [({"a": "int64", "b": "int64"}, batch) for batch in ({"a": [1]}, {"b": [1], "a": [2]})]
BATCHES += [({"a": "int64"}, {"a": [1], "b": [1]})]


@pytest.mark.parametrize(("schema", "batch"), BATCHES, ids=str)
def test_a_batch_is_stored_as_datasets_stores_it(tmp_path, schema, batch):
    features = datasets.Features(arrow_features(schema))

    def theirs():
        path = str(tmp_path / "theirs.arrow")
        with ArrowWriter(path=path, features=features, on_mixed_types=None) as writer:
            writer.write_batch(batch)
            writer.finalize()

    def ours():
        with new_table(tmp_path / "ours.arrow", features, where="here") as append:
            append(batch)

    try:
        theirs()
    except Exception as error:
        with pytest.raises((type(error), UserError)):
            ours()
        return
    ours()
    read = [(tmp_path / name).read_bytes() for name in ("ours.arrow", "theirs.arrow")]
    assert read[0] == read[1]


@pytest.mark.parametrize(
    ("schema", "values", "message"),
    [
        ("string", ["가", 5], "here, row 8: column 'a' contains 5, expected string"),
        ("string", ["가", ["나"]], r"row 8: column 'a' contains \['나'\], expected string"),
        ("string", ["가", "\ud800"], r"row 8: column 'a' contains '\\ud800', expected string"),
        ("int32", [1, 2**31], "row 8: column 'a' contains 2147483648, expected int32"),
        ("int32", [1, 0.5], "row 8: column 'a' contains 0.5, expected int32"),
        (["string"], [["가"], "나"], r"row 8: column 'a' contains '나', expected list<.*string>"),
        ({"b": "string"}, [{"b": "가"}, {"c": 1}], "{'c': 1}, expected struct<b: string>"),
    ],
)
def test_the_first_value_of_another_type_is_named(tmp_path, schema, values, message):
    features = datasets.Features(arrow_features({"a": schema, "_id": "int64"}))
    batch = {"a": values, "_id": [7, 8]}
    with pytest.raises(UserError, match=message) as caught:
        with new_table(tmp_path / "ours.arrow", features, where="here") as append:
            append(batch)
    assert caught.value.exit_code == Exit.DATA


@pytest.mark.parametrize("rank", [0, 1])
def test_numbers_that_were_checked_are_those_of_the_column(rank):
    values = [[3, 1], [2], [-100]] if rank else [3, 1, -100]
    kind = pa.list_(pa.int32()) if rank else pa.int32()
    numbers = valid_numbers(values, Feature(rank=rank, num_values=4))
    assert numbers is not None and numbers.to_arrow(kind).equals(plain_array(values, kind))


@pytest.mark.parametrize("columns", [{}, {"where": {"start": "int64", "end": "int64"}}])
def test_a_decomposed_row_far_behind_is_composed_and_no_other_changes(tmp_path, columns):
    texts = ["나무"] * 1500 + ["\u1112\u1161\u11ab글", "ㅋㅋ", "caf\u00e9"] * 300
    rows = [{"text": text, "where": None} for text in texts]
    rows[0]["where"] = {"start": 0, "end": 2}
    columns = {"text": "string", **columns}
    stored = stored_rows(tmp_path / "rows", columns, lambda: rows, origin="made up").dataset
    assert stored["text"][:] == ["나무"] * 1500 + ["한글", "ㅋㅋ", "café"] * 300
    assert stored["_id"][:] == list(range(2400))
    if "where" in columns:
        assert stored["where"][:2] == [{"start": 0, "end": 2}, None]
