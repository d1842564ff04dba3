"""Predictions, one line per row. Input texts stay on disk: 200,000 passages would be gigabytes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

INPUTS = "inputs"

_KNOWN_NAMES: dict[tuple[str, ...], tuple[str, ...]] = {}


class Line(Mapping[str, Any]):
    """A line of `predictions.jsonl`: `id`, `inputs`, `gold`, `prediction` and optional others.

    Args:
        values: all values except `inputs`, which comes second.
        texts: returns the `inputs` of the line at a place; None for a line without inputs.
        place: the line's place.
    """

    __slots__ = ("_names", "_place", "_texts", "_values")

    def __init__(
        self, values: Mapping[str, Any], texts: Callable[[int], Any] | None, place: int = 0
    ) -> None:
        names = tuple(values)
        self._names = _KNOWN_NAMES.setdefault(names, names)  # one object for all lines
        self._values = tuple(values.values())
        self._texts, self._place = texts, place

    def __getitem__(self, name: str) -> Any:
        if name == INPUTS and self._texts is not None:
            return self._texts(self._place)
        if name not in self._names:
            raise KeyError(name)
        return self._values[self._names.index(name)]

    def __contains__(self, name: object) -> bool:
        return name in self._names or (name == INPUTS and self._texts is not None)

    def __iter__(self) -> Iterator[str]:
        has_text = self._texts is not None
        return iter((*self._names[:1], *[INPUTS] * has_text, *self._names[1:]))

    def __len__(self) -> int:
        return len(self._names) + (self._texts is not None)

    def __repr__(self) -> str:
        return repr(dict(self))

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (dict(self),)
