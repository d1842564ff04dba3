"""Arrow files, written from batches of Python values.

datasets infers the type of each value and converts it. Values that already have their column's type
go straight to Arrow, four times as fast; the stored data are the same.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ke_t5.errors import Exit, UserError

# Arrow type -> the Python type of its values.
PYTHON = {
    "string": str, "int64": int, "int32": int, "double": float, "float": float, "bool": bool,
}  # fmt: skip
# Arrow's own errors are derived from these.
CONVERSION_ERRORS = (TypeError, ValueError, OverflowError, NotImplementedError)


@contextmanager
def in_background(append: Callable[[Any], None]) -> Iterator[Callable[[Any], None]]:
    """Yields an `append` that returns at once: a thread runs one call at a time.

    An exception is raised by the next call or on exit.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="append") as pool:
        running: list[Future] = []

        def append_later(batch: Any) -> None:
            while running:
                running.pop().result()
            running.append(pool.submit(append, batch))

        yield append_later
        while running:
            running.pop().result()


@contextmanager
def new_table(
    file: Any, features: Any, *, where: str, fingerprint: str | None = None
) -> Iterator[Callable[[Any], None]]:
    """Yields a function that appends a batch to the file: its columns as Python values, Arrow
    arrays or objects with a method `to_arrow(type)`, or the bytes that `packed` made of them.

    Args:
        file: a path or an Arrow stream.
        features: the columns' types, from datasets.
        where: the data's origin, for messages.
        fingerprint: the fingerprint of the resulting data set.

    Raises:
        UserError: a value is not of its column's type.
    """
    import pyarrow as pa
    from datasets.arrow_writer import ArrowWriter

    target: Any = {"path": str(file)} if isinstance(file, Path) else {"stream": file}
    # By default a text among numbers would turn all values of the batch into JSON.
    target |= {"on_mixed_types": None}
    with ArrowWriter(**target, features=features, fingerprint=fingerprint) as writer:
        schema = features.arrow_schema
        kinds = dict(zip(schema.names, schema.types, strict=True))

        def append(batch: Mapping[str, Any] | bytes) -> None:
            if isinstance(batch, bytes):
                writer.write_table(pa.ipc.open_stream(batch).read_all())
                return
            arrays = {n: plain_array(batch[n], kind) for n, kind in kinds.items() if n in batch}
            found = {name: array for name, array in arrays.items() if array is not None}
            if found.keys() == kinds.keys() == batch.keys():
                writer.write_table(pa.table(found, schema=schema))
                return
            try:
                writer.write_batch({**batch, **found})
            except CONVERSION_ERRORS as error:
                misfit = _misfit(batch, features, where)
                if misfit is None:
                    raise
                raise misfit from error

        yield append
        writer.finalize()


def _misfit(batch: Mapping[str, Any], features: Any, where: str) -> UserError | None:
    """The error for the first value that keeps a batch from being converted, if there is one."""
    import pyarrow as pa
    from datasets.arrow_writer import TypedSequence

    kinds = dict(zip(features, features.arrow_schema.types, strict=True))
    converters: list[Callable[[Any, str], Any]] = [
        lambda value, name: pa.array(TypedSequence([value], type=features[name])),
        # Each value can be converted, but not all together: those of another type are to blame.
        lambda value, name: pa.array([value], kinds[name]),
    ]
    failed = [n for n in kinds if n in batch and plain_array(batch[n], kinds[n]) is None]
    for convert, name in itertools.product(converters, failed):
        for place, value in enumerate(batch[name]):
            try:
                convert(value, name)
            except CONVERSION_ERRORS:
                row = batch["_id"][place] if "_id" in batch else place
                what = f"column {name!r} contains {value!r:.40}, expected {kinds[name]}"
                fix = "give values of the column's type"
                return UserError(what, f"{where}, row {row}", fix, Exit.DATA)
    return None


def packed(batch: Mapping[str, Any], features: Any, *, where: str) -> bytes:
    """A batch as bytes, for another process to append; `where` as for `new_table`."""
    import pyarrow as pa

    stream = pa.BufferOutputStream()
    with new_table(stream, features, where=where) as append:
        append(batch)
    return stream.getvalue().to_pybytes()


def plain_array(values: Any, kind: Any) -> Any:
    """The values as an Arrow array of type `kind`; None unless each is None or has exactly the
    matching Python type, and fits."""
    import pyarrow as pa

    if isinstance(values, pa.Array):
        return values
    if hasattr(values, "to_arrow"):
        return values.to_arrow(kind)
    if not _are_plain(values, kind):
        return None
    try:
        return pa.array(values, kind)
    except (ValueError, OverflowError):  # an unpaired surrogate, a number that is too large
        return None


def _are_plain(values: Sequence[Any], kind: Any) -> bool:
    import pyarrow as pa

    types = set(map(type, values)) - {type(None)}
    if pa.types.is_list(kind):
        inner = itertools.chain.from_iterable(filter(None, values)) if types <= {list} else [()]
        return _are_plain(list(inner), kind.value_type)
    return types <= {PYTHON.get(str(kind))}
