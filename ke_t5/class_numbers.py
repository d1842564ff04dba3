"""Class numbers of data sets (`ClassLabel`) that know the names of their classes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class ClassNumber(int):
    """A class's number as the data set stores it, with its name; below 0 for no label.

    To a step that counts on numbers it is one; `Labels.id_of` goes by the name.
    """

    name: str | None

    def __new__(cls, number: int, name: str | None) -> ClassNumber:
        made = super().__new__(cls, number)
        made.name = name
        return made

    def __reduce__(self) -> tuple:
        return ClassNumber, (int(self), self.name)


def with_names(batch: Mapping[str, list], features: Mapping[str, Any]) -> dict[str, list]:
    """A batch whose class numbers, also those in lists and records, know their names.

    Args:
        features: the types of the columns, as `datasets` has them.
    """
    return {
        name: [name_classes(value, features[name]) for value in column]
        if holds_classes(features.get(name))
        else column
        for name, column in batch.items()
    }


def holds_classes(feature: Any) -> bool:
    """Whether a type is a class, or a list or record that holds one."""
    if isinstance(feature, Mapping):
        return any(map(holds_classes, feature.values()))
    if hasattr(feature, "feature"):
        return holds_classes(feature.feature)
    return hasattr(feature, "int2str")


def name_classes(value: Any, feature: Any) -> Any:
    """A value of that type whose class numbers know their names."""
    if value is None or not holds_classes(feature):
        return value
    if isinstance(feature, Mapping):
        return {name: name_classes(value[name], kind) for name, kind in feature.items()}
    if isinstance(value, (list, tuple)):
        return [name_classes(item, feature.feature) for item in value]
    return ClassNumber(value, feature.names[value] if 0 <= value < len(feature.names) else None)
