"""Arrow files, written from batches of Python's values.

datasets finds out the type of each value and converts it; values that are of the type of their
column already go to Arrow as they are, four times as fast. What is stored is the same.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# Arrow's types whose values are of one type in Python.
PYTHON = {
    "string": str, "int64": int, "int32": int, "double": float, "float": float, "bool": bool,
}  # fmt: skip


@contextmanager
def in_background(append: Callable[[Any], None]) -> Iterator[Callable[[Any], None]]:
    """The same function, which returns at once: a thread works on its last argument meanwhile."""
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
    file: Any, features: Any, *, fingerprint: str | None = None
) -> Iterator[Callable[[Any], None]]:
    """A function that appends a batch to the file: columns of values, of Arrow's arrays of them or
    of what has a method `to_arrow(type)`; or what `packed` has made of these.

    Args:
        file: a path, or a stream of Arrow's.
        features: datasets' types of the columns.
        fingerprint: that the data set of the file is to have.
    """
    import pyarrow as pa
    from datasets.arrow_writer import ArrowWriter

    target: Any = {"path": str(file)} if isinstance(file, Path) else {"stream": file}
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
            else:
                writer.write_batch({**batch, **found})

        yield append
        writer.finalize()


def packed(batch: Mapping[str, Any], features: Any) -> bytes:
    """A batch as bytes, which another process can append."""
    import pyarrow as pa

    stream = pa.BufferOutputStream()
    with new_table(stream, features) as append:
        append(batch)
    return stream.getvalue().to_pybytes()


def plain_array(values: Any, kind: Any) -> Any:
    """The values as an Arrow array of that type if each is None or exactly of Python's type for it;
    None if not, or if one does not fit."""
    import pyarrow as pa

    if isinstance(values, pa.Array):
        return values
    if hasattr(values, "to_arrow"):
        return values.to_arrow(kind)
    if not _are_plain(values, kind):
        return None
    try:
        return pa.array(values, kind)
    except (ValueError, OverflowError):  # half of a pair of surrogates, a large number
        return None


def _are_plain(values: Sequence[Any], kind: Any) -> bool:
    import pyarrow as pa

    types = set(map(type, values)) - {type(None)}
    if pa.types.is_list(kind):
        inner = itertools.chain.from_iterable(filter(None, values)) if types <= {list} else [()]
        return _are_plain(list(inner), kind.value_type)
    return types <= {PYTHON.get(str(kind))}
