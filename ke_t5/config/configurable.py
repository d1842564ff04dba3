"""gin's decorator with a type that checkers and readers can follow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import gin

Configurable = TypeVar("Configurable", bound=Callable[..., Any])


def configurable(name: str, *, module: str | None = None) -> Callable[[Configurable], Configurable]:
    """A decorator that lets gin bind a function's parameters under `name`.

    Args:
        module: before the name in gin files, None for the function's own.
    """
    return cast("Callable[[Configurable], Configurable]", gin.configurable(name, module))
