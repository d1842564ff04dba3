"""Types of columns: invalid values are reported with their row."""

from __future__ import annotations

import math

import datasets
import pytest

from ke_t5.errors import Exit, UserError
from ke_t5.task import checks
from ke_t5.task.column_types import has_types
from ke_t5.task.labels import Labels

ENTITIES = [{"start": "integer", "end": "integer", "label": "label"}]
SPAN = {"start": 0, "end": 1, "label": "PS"}


def refusal(values, schema):
    """The error for a column of these values; None if it is accepted."""
    dataset = datasets.Dataset.from_dict({"x": values})
    try:
        has_types(dataset, "here", columns={"x": schema})
    except UserError as error:
        assert error.exit_code == Exit.DATA
        return str(error).removeprefix("error: here, ")
    return None


@pytest.mark.parametrize(
    ("values", "schema"),
    [
        (["가", None], "text"),
        ([1, None, 2.5], "number"),
        ([None, None], "text"),
        ([True], "truth value"),
        ([[], ["O"], None], ["label"]),
        ([[SPAN], [], None], ENTITIES),
        ([[{**SPAN, "id": None}]], ENTITIES),
        ([], ENTITIES),
    ],
)
def test_values_of_the_type_are_accepted(values, schema):
    assert refusal(values, schema) is None


@pytest.mark.parametrize(
    ("values", "schema", "message"),
    [
        ([5], "text", "row 0: column 'x' contains 5, expected text; fix that row"),
        (["4.2"], "number", "row 0: column 'x' contains '4.2', expected a number"),
        ([None, ["O", None]], ["label"], "row 1: column 'x' contains ['O', None], expected a list"),
        (["B-PS I-PS"], ["label"], "row 0: column 'x' contains 'B-PS I-PS', expected a list of l"),
        ([[["O"]]], ["label"], "row 0: column 'x' contains [['O']], expected a list of labels"),
        ([[SPAN], [{**SPAN, "end": None}]], ENTITIES, "row 1: column 'x' contains [{'start': 0, "),
        ([[{**SPAN, "end": 1.0}]], ENTITIES, "row 0: column 'x' contains [{'start': 0, 'end': 1.0"),
        (
            [[{"start": 0, "label": "PS"}]],
            ENTITIES,
            "row 0: column 'x' contains [{'start': 0, 'label': 'PS'}], expected a list of records "
            "with start (integer), end (integer), label; fix that row",
        ),
        ([{"start": 0}], ENTITIES, "row 0: column 'x' contains {'start': 0}, expected a list of "),
    ],
)
def test_another_value_is_named_with_its_row(values, schema, message):
    line = refusal(values, schema)
    assert line is not None and line.startswith(message)
    assert len(line) <= 160


def test_a_column_that_is_missing_is_named():
    dataset = datasets.Dataset.from_dict({"y": [1]})
    with pytest.raises(UserError, match="here: needs the column 'x'; the rows have y; rename it"):
        has_types(dataset, "here", columns={"x": "text"})


@pytest.mark.parametrize("label", [math.nan, math.inf, 0.5, 10**15, "긍" * 500, {"a": 1}])
def test_no_value_is_too_odd_for_a_label(label):
    dataset = datasets.Dataset.from_dict({"label": [label]})
    with pytest.raises(UserError, match="here, row 0: ") as caught:
        checks.known_labels(dataset, "here", labels=Labels(("0", "1")), column="label")
    assert len(str(caught.value)) <= 190


def test_labels_of_several_types_are_one_by_one_in_the_list(tmp_path):
    file = tmp_path / "rows.jsonl"
    file.write_text('{"label": "a"}\n{"label": 1}\n{"label": 2}\n')
    cache = str(tmp_path / "cache")
    dataset = datasets.load_dataset("json", data_files=str(file), split="train", cache_dir=cache)
    with pytest.raises(UserError, match="here, row 2: label 2 is not in the list"):
        checks.known_labels(dataset, "here", labels=Labels(("a", "1")), column="label")
