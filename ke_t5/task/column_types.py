"""Column types: schemas that the rows of a task must match, and their names in error messages.

A schema is "text", "number", "integer", "truth value" or "label" (a text or any number), a
one-item list with the schema of the items, or a dict with the schema of each field of a record.
A value may be None (an unlabelled row), but must not contain None.
"""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Number, Real
from typing import TYPE_CHECKING, Any

from ke_t5.errors import Exit, UserError
from ke_t5.pipe.preprocessors import require_columns

if TYPE_CHECKING:
    import datasets


def has_types(dataset: datasets.Dataset, where: str, *, columns: Mapping[str, Any]) -> None:
    """Rejects missing columns, and values that do not match the schema of their column.

    Args:
        columns: the schema of each column.
    """
    require_columns(list(columns), dataset.column_names, whose=where)
    for name, schema in columns.items():
        column = dataset.data.column(name)
        if _fits(column.type, schema) and not any(_has_gaps(c, schema) for c in column.chunks):
            continue
        # Slow path: `datasets` has column types that `_fits` does not know.
        for row, value in enumerate(dataset[name]):
            if not (value is None or is_of(value, schema)):
                what = f"column {name!r} contains {value!r:.40}, expected {words(schema)}"
                raise UserError(what, f"{where}, row {row}", "fix that row", Exit.DATA)


def is_of(value: Any, schema: Any) -> bool:
    """Whether a value matches a schema.

    >>> is_of(["O", None], ["text"]), is_of({"start": 1, "id": 7}, {"start": "integer"})
    (False, True)
    """
    if isinstance(schema, Mapping):
        is_record = isinstance(value, Mapping)
        return is_record and all(is_of(value.get(name), x) for name, x in schema.items())
    if isinstance(schema, list):
        return isinstance(value, list) and all(is_of(item, schema[0]) for item in value)
    is_truth = isinstance(value, bool)
    if schema == "text":
        return isinstance(value, str)
    if schema == "truth value":
        return is_truth
    if schema == "label":
        return isinstance(value, str | Number)
    is_number = isinstance(value, Real) and not is_truth
    return is_number and (schema == "number" or isinstance(value, int))


def words(schema: Any) -> str:
    """A schema in words.

    >>> words([{"start": "integer", "label": "label"}])
    'a list of records with start (integer), label'
    """
    if isinstance(schema, list):
        kind, _, fields = words(schema[0]).partition(" with ")
        kind = kind.removeprefix("an ").removeprefix("a ")
        return f"a list of {kind}s" + (f" with {fields}" if fields else "")
    if isinstance(schema, Mapping):
        kinds = [(name, words(inner).partition(" ")[2]) for name, inner in schema.items()]
        fields = [f"{name} ({kind})" if kind not in ("", name) else name for name, kind in kinds]
        return f"a record with {', '.join(fields)}"
    article = {"text": "", "integer": "an "}.get(schema, "a ")
    return f"{article}{schema}"


def _fits(kind: Any, schema: Any) -> bool:
    """Whether an Arrow type matches a schema, nulls aside."""
    import pyarrow as pa

    if pa.types.is_null(kind):
        return True
    if isinstance(schema, list):
        is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind)
        return is_list and _fits(kind.value_type, schema[0])
    if isinstance(schema, Mapping):
        names = [field.name for field in kind] if pa.types.is_struct(kind) else []
        return all(x in names and _fits(kind.field(x).type, schema[x]) for x in schema)
    is_text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    is_whole = pa.types.is_integer(kind)
    is_number = is_whole or pa.types.is_floating(kind)
    fitting = {
        "text": is_text,
        "integer": is_whole,
        "number": is_number,
        "truth value": pa.types.is_boolean(kind),
        "label": is_text or is_number or pa.types.is_boolean(kind),
    }
    return fitting[schema]


def _has_gaps(array: Any, schema: Any) -> bool:
    """Whether the lists or records of an Arrow array contain a null."""
    import pyarrow as pa

    if pa.types.is_null(array.type):
        return False
    if isinstance(schema, list):
        items = array.flatten()
        return items.null_count > 0 or _has_gaps(items, schema[0])
    if isinstance(schema, Mapping):
        fields = [(array.field(name), inner) for name, inner in schema.items()]
        return any(field.null_count > 0 or _has_gaps(field, inner) for field, inner in fields)
    return False
