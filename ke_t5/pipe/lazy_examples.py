"""Examples whose columns are read on demand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ke_t5.pipe.rows import ROW_ID


class LazyColumns(dict[str, list]):
    """The columns of some examples, each read at its first lookup."""

    def __init__(self, examples: Any, places: np.ndarray) -> None:
        super().__init__()
        self.examples, self.places = examples, places

    def __missing__(self, name: str) -> list:
        if name == ROW_ID:
            self[name] = self.examples._ids_at(self.places).tolist()
        elif self.examples.has_column(name):
            self[name] = self.examples.dataset.select_columns([name])[self.places][name]
        else:
            raise KeyError(name)
        return self[name]


class LazyExample(Mapping[str, Any]):
    """An example; see `Examples.lazy_examples`."""

    __slots__ = ("_columns", "_row")

    def __init__(self, columns: LazyColumns, row: int) -> None:
        self._columns, self._row = columns, row

    def __getitem__(self, name: str) -> Any:
        return self._columns[name][self._row]

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self._columns.examples.has_column(name)

    def __iter__(self) -> Iterator[str]:
        examples = self._columns.examples
        return iter([name for name in examples.dataset.column_names if examples.has_column(name)])

    def __len__(self) -> int:
        return len(list(iter(self)))
