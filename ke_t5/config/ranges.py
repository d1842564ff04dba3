"""The range of a setting's values: part of its annotation, checked before gin binds it.

A check is a function of the value that raises ValueError("what; fix"), like those of the flags:

>>> def train(lr: NonNegative = 5e-5, window: Count = 8): ...
>>> problem_of(-1.0, NonNegative)
('is -1.0', 'give at least 0')
"""

from __future__ import annotations

import math
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated

from ke_t5.config.annotations import MAPPINGS, SEQUENCES, fits, hint_of
from ke_t5.errors import UserError, in_one


@dataclass(frozen=True)
class Range:
    """Accepts the finite numbers from `least` to `most`; `above` and `below` exclude the bound."""

    least: float = -math.inf
    most: float = math.inf
    above: float = -math.inf
    below: float = math.inf

    def __call__(self, value: float) -> None:
        """Raises ValueError for a number out of range."""
        is_inside = self.least <= value <= self.most and self.above < value < self.below
        if not (is_inside and math.isfinite(value)):
            raise ValueError(f"is {value!r}; give {self}")

    def __str__(self) -> str:
        """What to give: "at least 0 and less than 1"."""
        bounds = {"at least": self.least, "above": self.above, "at most": self.most,
                  "less than": self.below}  # fmt: skip
        parts = [f"{words} {bound}" for words, bound in bounds.items() if math.isfinite(bound)]
        return " and ".join(parts) or "a finite number"


def _is_given(value: str) -> None:
    """Raises ValueError for an empty text."""
    if not value:
        raise ValueError(f"is {value!r}; give a text, or drop it")


Text = Annotated[str, _is_given]
Finite = Annotated[float, Range()]
Positive = Annotated[float, Range(above=0)]
NonNegative = Annotated[float, Range(least=0)]
Fraction = Annotated[float, Range(least=0, most=1)]
DecayRate = Annotated[float, Range(least=0, below=1)]
Count = Annotated[int, Range(least=1)]
CountOrZero = Annotated[int, Range(least=0)]


def problem_of(value: object, hint: object) -> tuple[str, str] | None:
    """(what, fix) if the annotation does not allow a value of the right type, or None."""
    origin, inner = typing.get_origin(hint) or hint, typing.get_args(hint)
    if not inner or not fits(value, hint):
        return None
    if origin is Annotated:
        type_hint, *checks = inner
        return problem_of(value, type_hint) or _first_problem(value, checks)
    if isinstance(value, Mapping) and origin in MAPPINGS:
        return _first(problem_of(item, inner[1]) for item in value.values())
    if isinstance(value, list | tuple) and origin in SEQUENCES:
        hints = [inner[0]] * len(value) if len(inner) != len(value) else inner
        return _first(map(problem_of, value, hints))
    choices = [choice for choice in inner if fits(value, choice)]
    problems = [problem_of(value, choice) for choice in choices]
    return _first(problems) if problems and all(problems) else None


def check_values(selector: str, function: Callable, values: Mapping[str, object]) -> None:
    """Raises one UserError for all of a function's arguments that its annotations do not allow.

    Args:
        selector: the function's name in gin, for the message.
    """
    problems = [
        UserError(problem[0], f"{selector}.{name}", problem[1])
        for name, value in values.items()
        if (problem := problem_of(value, hint_of(function, name)))
    ]
    if problems:
        raise in_one(problems)


def _first_problem(value: object, checks: list) -> tuple[str, str] | None:
    try:
        for check in filter(callable, checks):
            check(value)
    except ValueError as error:
        what, _, fix = str(error).partition("; ")
        return what, fix
    return None


def _first(problems: typing.Iterable) -> tuple[str, str] | None:
    return next(filter(None, problems), None)
