"""The types of gin-config as this package uses it: it has none, and a checker infers that
`@gin.configurable(...)` makes a function without parameters."""

from collections.abc import Callable
from typing import Any, TypeVar, overload

from gin import config as config
from gin import config_parser as config_parser

_T = TypeVar("_T", bound=Callable[..., Any])

@overload
def configurable(name_or_fn: _T) -> _T: ...
@overload
def configurable(
    name_or_fn: str | None = None,
    module: str | None = None,
    allowlist: list[str] | None = None,
    denylist: list[str] | None = None,
) -> Callable[[_T], _T]: ...
def __getattr__(name: str) -> Any: ...
