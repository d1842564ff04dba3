"""The settings of a sweep: lists of values, and ranges to sample from.

AdamW.lr=[1e-5,3e-5]                 a gin binding
batch_size=[16,32]                   a flag of the training
AdamW.lr=log(1e-5,1e-3)              log-uniform
fit.label_smoothing=uniform(0,0.2)   uniform
epochs=int(2,6)                      integers from 2 to 6
"""

from __future__ import annotations

import ast
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ke_t5.config.flags import FLAGS, TRAIN
from ke_t5.errors import UserError

KINDS = ("log", "uniform", "int")
# Flags that say where results are written, or that all trials must share.
_FIXED = ("task", "output_dir", "resume", "seeds", "hf_path", "debug", "gin_param")


@dataclass(frozen=True)
class Axis:
    """A setting and its possible values.

    Attributes:
        values: the listed values, as gin or the flag reads them; () for a range.
        kind: the kind of a range, one of `KINDS`; "" for a list.
        low, high: the ends of a range, both inclusive.
    """

    name: str
    values: tuple[str, ...] = ()
    kind: str = ""
    low: float = 0.0
    high: float = 0.0

    @property
    def is_flag(self) -> bool:
        """Whether the setting is a flag of the training rather than a gin binding."""
        return any(flag.name == self.name and TRAIN in flag.scripts for flag in FLAGS)

    def word(self, value: str) -> str:
        """The command-line argument that sets the value."""
        return f"--{self.name}={value}" if self.is_flag else f"--gin_param={self.name}={value}"

    def ends(self) -> tuple[str, ...]:
        """The values to validate: all of a list, the ends of a range."""
        return self.values or tuple(self.text(end) for end in (self.low, self.high))

    def text(self, number: float) -> str:
        """A number of the range as text."""
        return str(int(number)) if self.kind == "int" else f"{number:.6g}"


def read_axis(text: str) -> Axis:
    """The axis of a command-line argument.

    Raises:
        UserError: the argument is malformed.
    """
    name, equals, spec = (part.strip() for part in text.partition("="))
    fix = 'write NAME=[A,B] or NAME=log(LOW,HIGH), such as "AdamW.lr=[1e-5,3e-5]"'
    if not (name and equals and spec):
        raise UserError("is not a setting to sweep", f"{text!r:.60}", fix)
    if name in _FIXED:
        raise UserError("cannot be swept", f"{text!r:.60}", "give it as a flag for all trials")
    try:
        tree = ast.parse(spec, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise UserError("is not a setting to sweep", f"{text!r:.60}", fix) from error
    if isinstance(tree, (ast.List, ast.Tuple)):
        values = [_written(name, item, spec) for item in tree.elts]
        if not values:
            raise UserError("has no value", f"{text!r:.60}", fix)
        return Axis(name, tuple(dict.fromkeys(values)))
    if isinstance(tree, ast.Call) and isinstance(tree.func, ast.Name) and tree.func.id in KINDS:
        return _range(name, tree, text)
    raise UserError("is neither a list nor a range", f"{text!r:.60}", fix)


def _written(name: str, item: ast.expr, spec: str) -> str:
    """The source text of a value; for a flag, strings are unquoted."""
    if isinstance(item, ast.Constant) and isinstance(item.value, str) and Axis(name).is_flag:
        return item.value
    return ast.get_source_segment(spec, item) or ""


def _range(name: str, tree: ast.Call, text: str) -> Axis:
    assert isinstance(tree.func, ast.Name)
    kind = tree.func.id
    fix = f"write {name}={kind}(LOW,HIGH)"
    try:
        ends = [float(ast.literal_eval(item)) for item in tree.args]
        low, high = ends
        has_all = not tree.keywords
    except (ValueError, TypeError) as error:
        raise UserError("needs two numbers", f"{text!r:.60}", fix) from error
    if not has_all or not (math.isfinite(low) and low < high < math.inf):
        raise UserError("its first number is not below the second", f"{text!r:.60}", fix)
    if kind == "log" and low <= 0:
        raise UserError("a logarithmic range starts above 0", f"{text!r:.60}", fix)
    if kind == "int" and not (low.is_integer() and high.is_integer()):
        raise UserError("needs whole numbers", f"{text!r:.60}", fix)
    return Axis(name, kind=kind, low=low, high=high)


def read_axes(words: Sequence[str]) -> list[Axis]:
    """The axes of a command line.

    Raises:
        UserError: there are none, one is malformed, or two have the same name.
    """
    axes = [read_axis(word) for word in words]
    if not axes:
        fix = 'write one, such as "AdamW.lr=[1e-5,3e-5]", before the flags'
        raise UserError("needs settings to sweep", "ke-t5 sweep", fix)
    names = [axis.name for axis in axes]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UserError("is given twice", twice, "give one list or range")
    return axes


def distribution_of(axis: Axis) -> Any:
    """optuna's distribution of the values of an axis."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if axis.values:
        return CategoricalDistribution(axis.values)
    if axis.kind == "int":
        return IntDistribution(int(axis.low), int(axis.high))
    return FloatDistribution(axis.low, axis.high, log=axis.kind == "log")
