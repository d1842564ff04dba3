"""Whether a value from a gin text fits a parameter's annotation."""

from __future__ import annotations

import collections.abc as abc
import inspect
import types
import typing
from collections.abc import Callable

import gin.config

SEQUENCES = (list, tuple, abc.Sequence, abc.Iterable, abc.Collection)
MAPPINGS = (dict, abc.Mapping, abc.MutableMapping)


def hint_of(thing: Callable, parameter: str) -> object:
    """A parameter's annotation, or the type of its default, or `object`, which accepts anything.

    None is always accepted if it is the default.
    """
    argument = inspect.signature(thing).parameters.get(parameter)
    if argument is None:
        return object
    hint = object
    if argument.annotation is not argument.empty:
        function = inspect.unwrap(thing.__init__ if inspect.isclass(thing) else thing)
        # Resolved alone: a name imported for type checkers only must not hide the other parameters.
        holder = types.SimpleNamespace(__annotations__={parameter: argument.annotation})
        try:
            scope = getattr(function, "__globals__", {})
            hint = typing.get_type_hints(holder, scope, include_extras=True)[parameter]
        except (NameError, AttributeError, TypeError):
            pass
    elif isinstance(argument.default, bool):
        hint = bool
    elif isinstance(argument.default, int | float):
        hint = float
    elif isinstance(argument.default, list | tuple):
        hint = abc.Sequence
    elif inspect.isroutine(argument.default) or inspect.isclass(argument.default):
        hint = abc.Callable
    anything = hint in (object, typing.Any)
    return hint if anything or argument.default is not None else hint | None


def shown(hint: object) -> str:
    """An annotation in words: "int", "dict[str, int] or None"."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return " or ".join(map(shown, typing.get_args(hint)))
    if typing.get_origin(hint) is typing.Annotated:
        return shown(typing.get_args(hint)[0])
    if abc.Callable in (hint, typing.get_origin(hint)):
        return "a reference such as @AdamW"
    if hint is type(None):
        return "None"
    if hint in (float, abc.Sequence):
        return "a number" if hint is float else "(several, values)"
    origin = typing.get_origin(hint)
    if origin is dict or origin is list or origin is tuple:
        return f"{origin.__name__}[{', '.join(map(shown, typing.get_args(hint)))}]"
    return inspect.formatannotation(hint).replace("collections.abc.", "")


def fits(value: object, hint: object) -> bool:
    """False only if `value` is certainly not a `hint`; unknown kinds of annotation fit.

    >>> fits(1, float), fits(1.0, int), fits([1, 2], tuple[int, int]), fits("a", dict[str, int])
    (True, False, True, False)
    """
    origin, inner = typing.get_origin(hint) or hint, typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return any(fits(value, choice) for choice in inner)
    if origin is typing.Annotated:
        return fits(value, inner[0])
    if origin is typing.Literal:
        return value in inner
    if isinstance(value, gin.config.ConfigurableReference):
        # The result of a call @name() is known only when it runs; @name itself is callable.
        return value.evaluate or not is_plain(origin)
    if origin in MAPPINGS:
        return isinstance(value, dict) and all(_pair_fits(pair, inner) for pair in value.items())
    if origin in SEQUENCES:
        return isinstance(value, list | tuple) and _items_fit(value, origin, inner)
    if origin is abc.Callable or origin is type:
        return False
    if origin is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if origin is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if origin in (str, bool, type(None)):
        return isinstance(value, origin)
    return True


def is_plain(origin: object) -> bool:
    """Whether a gin literal can have this type."""
    return origin in (*SEQUENCES, *MAPPINGS, int, float, str, bool, type(None))


def _pair_fits(pair: tuple[object, object], inner: tuple) -> bool:
    return not inner or (fits(pair[0], inner[0]) and fits(pair[1], inner[1]))


def _items_fit(items: list | tuple, origin: object, inner: tuple) -> bool:
    if not inner:
        return True
    if origin is tuple and inner[-1] is not Ellipsis:
        return len(items) == len(inner) and all(map(fits, items, inner))
    return all(fits(item, inner[0]) for item in items)
