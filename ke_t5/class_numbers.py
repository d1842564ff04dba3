"""Class numbers of data sets (`ClassLabel`), together with the names of their classes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class ClassNumber(int):
    """The number of a class as the data set stores it, with its name; below 0 for no label.

    Preprocessors that expect a number can use it as one; `Labels.id_of` uses the name.
    """

    name: str | None

    def __new__(cls, number: int, name: str | None) -> ClassNumber:
        self = super().__new__(cls, number)
        self.name = name
        return self

    def __reduce__(self) -> tuple:
        return ClassNumber, (int(self), self.name)


def with_names(batch: Mapping[str, list], features: Mapping[str, Any]) -> dict[str, list]:
    """The batch with a name on each class number, including those in lists and records.

    Args:
        features: the types of the columns, as `datasets` describes them.
    """
    return {
        name: [name_classes(value, features[name]) for value in column]
        if has_classes(features.get(name))
        else column
        for name, column in batch.items()
    }


def has_classes(feature: Any) -> bool:
    """Whether a type is a class, or a list or record that contains one."""
    if isinstance(feature, Mapping):
        return any(map(has_classes, feature.values()))
    if hasattr(feature, "feature"):
        return has_classes(feature.feature)
    return hasattr(feature, "int2str")


def name_classes(value: Any, feature: Any) -> Any:
    """The value, of type `feature`, with a name on each class number."""
    if value is None or not has_classes(feature):
        return value
    if isinstance(feature, Mapping):
        return {name: name_classes(value[name], inner) for name, inner in feature.items()}
    if isinstance(value, (list, tuple)):
        return [name_classes(item, feature.feature) for item in value]
    return ClassNumber(value, feature.names[value] if 0 <= value < len(feature.names) else None)
