"""Prefixes of a task's texts: "query: " for E5, an instruction for other text embeddings.

A step supports them if it declares `text_prefixes`: one for all texts of a row, or one for each.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any

PREFIX = "get_dataset.prefix"
ARGUMENT = "text_prefixes"
MOST = 2  # texts of a pair


def check_prefix(value: str | Sequence[str]) -> None:
    """Raises ValueError("what; fix") for more prefixes than a row has texts."""
    if not isinstance(value, str) and not 1 <= len(value) <= MOST:
        raise ValueError(f"has {len(value)} texts; give one, or two for the texts of a pair")


def normalized(value: str | Sequence[str]) -> tuple[str, ...]:
    """The prefixes as a tuple for steps; () for none.

    >>> normalized("query: "), normalized(["query: ", "passage: "]), normalized("")
    (('query: ',), ('query: ', 'passage: '), ())
    """
    prefixes = (value,) if isinstance(value, str) else tuple(value)
    return prefixes if any(prefixes) else ()


def prefixed(texts: Sequence[str], prefixes: Sequence[str]) -> list[str]:
    """The texts of a row with their prefixes.

    >>> prefixed(["비가 온다.", "젖는다."], ["query: "])
    ['query: 비가 온다.', 'query: 젖는다.']

    Raises:
        ValueError: the numbers of prefixes and texts differ.
    """
    if not prefixes:
        return [*texts]
    each = [*prefixes] * len(texts) if len(prefixes) == 1 else prefixes
    if len(each) != len(texts):
        raise ValueError(f"{len(each)} prefixes for {len(texts)} texts")
    return [prefix + text for prefix, text in zip(each, texts, strict=True)]


def with_prefixes(steps: Sequence[Callable], prefixes: tuple[str, ...]) -> tuple[Callable, ...]:
    """The steps with these prefixes set where they are supported; () if no step supports them."""
    takes = [_takes(step) for step in steps]
    given = {ARGUMENT: prefixes}
    return tuple(
        functools.partial(step, **given) if is_one else step
        for step, is_one in zip(steps, takes, strict=True)
        if any(takes)
    )


def prefixes_of(steps: Sequence[Callable]) -> tuple[str, ...]:
    """The prefixes that are set in the steps; () for none."""
    fixed = [step.keywords for step in steps if isinstance(step, functools.partial)]
    return next((keywords[ARGUMENT] for keywords in fixed if ARGUMENT in keywords), ())


def _takes(step: Any) -> bool:
    while isinstance(step, functools.partial):
        step = step.func
    return ARGUMENT in inspect.signature(getattr(step, "example_function", step)).parameters
