"""gin's decorator, with type annotations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import gin

Configurable = TypeVar("Configurable", bound=Callable[..., Any])


def configurable(
    name: str | None = None,
    *,
    module: str | None = None,
    allowlist: list[str] | None = None,
    denylist: list[str] | None = None,
) -> Callable[[Configurable], Configurable]:
    """A decorator that lets gin bind the parameters of a function or class.

    Args:
        name: the name in gin files, None for the function's own.
        module: the module in gin files, None for the function's own.
        allowlist: the only parameters that gin may bind.
        denylist: the parameters that gin may not bind.
    """
    decorator = gin.configurable(name, module, allowlist=allowlist, denylist=denylist)
    return cast("Callable[[Configurable], Configurable]", decorator)
