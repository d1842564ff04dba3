"""Row checks: the requirements of each family of tasks, checked before a tokenizer is loaded.

Each is a function `check(dataset, where, ...)` of a split's Arrow columns, fast enough to run at
every start, which raises a UserError that names the row.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ke_t5.class_numbers import name_classes
from ke_t5.composition import code_points, look_alike
from ke_t5.errors import Exit, UserError, suggestion
from ke_t5.pipe.preprocessors import require_columns
from ke_t5.task.column_types import has_types
from ke_t5.task.labels import Labels

if TYPE_CHECKING:
    import datasets


def known_labels(dataset: datasets.Dataset, where: str, *, labels: Labels, column: str) -> None:
    """Rejects values that are not labels.

    Args:
        column: a column of labels, of lists of labels ("tags"), or a field in a list of records
            ("entities.label"). None marks an unlabelled row.
    """
    name, _, field = column.partition(".")
    has_types(dataset, where, columns={name: _type_of_labels(dataset, name, field)})
    table = _column(dataset, name, where)
    feature = dataset.features[name]
    while hasattr(feature, "feature"):
        feature = feature.feature
    feature = feature[field] if field else feature
    for value in _unique(dataset[name] if _is_mixed(table) else _values_of(table, field)):
        named = name_classes(value, feature)
        try:
            labels.id_of(named)
        except KeyError:
            values = dataset[name] if _is_mixed(table) else (row.as_py() for row in table)
            row = next(i for i, row in enumerate(values) if _has(row, field, value))
            value = getattr(named, "name", None) or value
            problem = _unknown_label(value, f"{where}, row {row}", labels=labels, column=column)
            raise problem from None


def _type_of_labels(dataset: datasets.Dataset, name: str, field: str) -> Any:
    """The schema of a column of labels, of lists of labels, or of records with a label field."""
    if field:
        return [{field: "label"}]
    is_list = name in dataset.column_names and hasattr(dataset.features[name], "feature")
    return ["label"] if is_list else "label"


def _is_mixed(column: Any) -> bool:
    """Whether a column holds JSON values of different types, which Arrow stores as text."""
    import pyarrow as pa

    return isinstance(column.type, pa.BaseExtensionType)


def _unique(values: Any) -> list:
    if hasattr(values, "unique"):
        return values.unique().to_pylist() if len(values) else []
    return list({repr(value): value for value in values}.values())


def _values_of(column: Any, field: str) -> Any:
    """The values of a column with its lists flattened, or those of a field of its records."""
    import pyarrow as pa

    if pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
        column = _compute().list_flatten(column)
    return _compute().struct_field(column, field) if field else column


def _has(row: Any, field: str, value: Any) -> bool:
    """Whether a row of a column has that value, as returned by `_values_of`."""
    items = row if isinstance(row, list) else [] if field and row is None else [row]
    # Compared by repr: NaN is not equal to itself.
    return repr(value) in [repr(item[field] if field else item) for item in items]


def _unknown_label(value: Any, where: str, *, labels: Labels, column: str) -> UserError:
    """The error for a value that is not a label; a lookalike label is given by its code points."""
    what = f"{column} {value!r:.60} is not in the list"
    fix = suggestion(str(value), map(str, labels.keys))
    for key in map(str, labels.keys):
        if key != str(value) and look_alike(key, str(value)):
            what = f"{column} {value!r:.60} only looks like the label {key!r:.60}"
            fix = f"write {code_points(key)} instead of {code_points(str(value))}"
    return UserError(what, where, fix, Exit.DATA)


def has_texts(
    dataset: datasets.Dataset, where: str, *, columns: Sequence[str], may_be_blank: bool = True
) -> None:
    """Rejects missing texts, and blank ones unless `may_be_blank`.

    Numbers are not text: a CSV column that contains nothing else has a numeric type.
    """
    import pyarrow as pa

    pc = _compute()

    for name in columns:
        column = _column(dataset, name, where)
        if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
            if _is_mixed(column):
                has_types(dataset, where, columns={name: "text"})
            if column.null_count < len(column):
                what, fix = f"column {name!r} is {column.type}, not text", "convert it to text"
                raise UserError(what, where, fix, Exit.DATA)
        bad = column.is_null()
        if not may_be_blank:
            bad = pc.or_kleene(bad, pc.equal(pc.utf8_trim_whitespace(column), ""))
        _refuse(bad, f"column {name!r} contains no text", where)
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
            what = f"column {name!r} contains a NUL character"
            _refuse(pc.match_substring(column, "\0"), what, where)


def has_columns(dataset: datasets.Dataset, where: str, *, columns: Sequence[str]) -> None:
    """Rejects a data set that lacks one of these columns."""
    require_columns(columns, dataset.column_names, whose=where)


def has_equal_lengths(
    dataset: datasets.Dataset, where: str, *, columns: Sequence[str], text: str | None = None
) -> None:
    """Rejects rows whose lists differ in length, or do not have one item per character of `text`.

    Without `text`, the first of `columns` must not be empty. The others may be None, as in
    unlabelled rows.
    """
    pc = _compute()

    lists = [_column(dataset, name, where) for name in columns]
    if text is None:
        first = pc.fill_null(pc.list_value_length(lists[0]), 0)
        _refuse(pc.equal(first, 0), f"column {columns[0]!r} is empty", where)
        expected, whose = first, f"column {columns[0]!r}"
    else:
        expected, whose = pc.utf8_length(_column(dataset, text, where)), f"column {text!r}"
    for name, column in zip(columns, lists, strict=True):
        differs = pc.fill_null(pc.not_equal(pc.list_value_length(column), expected), False)
        _refuse(differs, f"column {name!r} differs in length from {whose}", where)


def _compute() -> Any:
    """Arrow's compute functions, which are missing from its stubs."""
    import pyarrow.compute

    return pyarrow.compute


def _column(dataset: datasets.Dataset, name: str, where: str) -> Any:
    require_columns([name], dataset.column_names, whose=where)
    return dataset.data.column(name)


def _refuse(bad: Any, what: str, where: str) -> None:
    """Raises UserError for the first row where `bad` is true."""
    pc = _compute()

    if pc.any(bad).as_py():
        row = bad.to_pylist().index(True)
        raise UserError(what, f"{where}, row {row}", "fix or remove that row", Exit.DATA)
