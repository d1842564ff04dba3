"""Which of several values is used: the flag's, or gin's, or the default."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

Value = TypeVar("Value")


def first_set(*values: Value | None, default: Value | Callable[[], Value]) -> Value:
    """The first value that is not None, in order of precedence, or the default.

    >>> first_set(None, 16, default=32), first_set(None, None, default=lambda: 32)
    (16, 32)

    Args:
        values: the flag's, then gin's, then the task's; 0, False and "" are values too.
        default: a value, or a function that computes it and is called only if no value is set.
    """
    for value in values:
        if value is not None:
            return value
    return cast("Value", default() if callable(default) else default)
