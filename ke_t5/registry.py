"""A registry of named objects: refuses duplicates, suggests similar names for unknown ones."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

from ke_t5.errors import UserError, suggestion

T = TypeVar("T")

LONGEST_NAME = 180  # bytes; a Hangul syllable has three


def check_plain(name: object, kind: str) -> None:
    """Raises UserError if a name cannot be part of a path, as in those of its cache and results."""
    # No separators or control characters; with the cache key it must fit a folder's 255 bytes.
    is_plain = isinstance(name, str) and re.fullmatch(r"\w[^/\\\0-\x1f\x7f]*", name)
    if not is_plain or len(str(name).encode(errors="replace")) > LONGEST_NAME:
        raise UserError(
            "the name cannot be used for a folder",
            f"{kind} {name!r:.80}",
            "use at most 60 letters, digits, '_', '-' and '.', starting with a letter or digit",
        )


class Registry(Generic[T]):
    """Objects of one kind by name.

    Args:
        kind: the word for one of them in error messages ("task", "model").
        help_line: how to list all names, added to the error for an unknown one.
    """

    def __init__(self, kind: str, help_line: str = "") -> None:
        self.kind = kind
        self.help_line = help_line
        self._things: dict[str, T] = {}

    def add(self, name: str, thing: T) -> T:
        """Registers `thing` and returns it; a name that is taken raises ValueError."""
        if name in self._things:
            raise ValueError(
                f"{self.kind} {name!r} is already registered as {self._things[name]!r}; "
                f"choose another name for {thing!r}"
            )
        self._things[name] = thing
        return thing

    def remove(self, name: str) -> None:
        """Removes the object of that name."""
        del self._things[name]

    def get(self, name: str, where: str | None = None) -> T:
        """The object of that name. `where` is the flag or file that names it, for the error."""
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
        """Registers (or replaces) one object within a `with` block; for tests."""
        before = dict(self._things)
        self._things[name] = thing
        try:
            yield thing
        finally:
            self._things = before
