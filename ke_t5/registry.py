"""A table of named things that refuses duplicates and explains unknown names."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

from ke_t5.errors import UserError, suggestion

T = TypeVar("T")


class Registry(Generic[T]):
    """Things of one kind by name.

    Args:
        kind: what is registered, as a word of an error message ("task", "model").
        help_line: where a user finds the whole list, added to an unknown name's error.
    """

    def __init__(self, kind: str, help_line: str = "") -> None:
        self.kind = kind
        self.help_line = help_line
        self._things: dict[str, T] = {}

    def add(self, name: str, thing: T) -> T:
        """Registers `thing` and returns it. A name that is taken raises ValueError with both."""
        if name in self._things:
            raise ValueError(
                f"{self.kind} {name!r} is registered already, as {self._things[name]!r}; "
                f"it cannot become {thing!r}: choose another name"
            )
        self._things[name] = thing
        return thing

    def get(self, name: str, where: str | None = None) -> T:
        """The thing of that name. `where` names the flag or file that asked, for the error."""
        if name in self._things:
            return self._things[name]
        fix = suggestion(name, self._things)
        if self.help_line:
            fix = f"{fix} ({self.help_line})"
        raise UserError(f"unknown {self.kind}", where or f"{self.kind} {name!r}", fix)

    def names(self) -> list[str]:
        """All names, sorted."""
        return sorted(self._things)

    def __contains__(self, name: object) -> bool:
        return name in self._things

    @contextmanager
    def temporary(self, name: str, thing: T) -> Iterator[T]:
        """Registers (or replaces) one thing for the length of a `with` block; for tests."""
        before = dict(self._things)
        self._things[name] = thing
        try:
            yield thing
        finally:
            self._things = before
