"""Mixtures: one model for several tasks, each with a fraction of every epoch (as in seqio)."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np

from ke_t5.errors import Exit, UserError, suggestion
from ke_t5.pipe.examples import Examples
from ke_t5.pipe.features import Feature
from ke_t5.pipe.monitor import Monitor
from ke_t5.pipe.rows import ROW_ID
from ke_t5.pipe.task import Defaults, Task, TaskRegistry, TaskTable
from ke_t5.registry import Registry, check_plain

# A number, or a function of the task and the number of its training examples.
Rate = float | Callable[[Task, int], float]

# The name of a mixture's own score.
MEAN = "mean"

# Attributes that members must share, since they train one model with one loss.
SHARED = ("form", "output_features", "labels", "problem_type", "model_config", "loss_reduction")


def rate_num_examples(
    task: Task,
    num_examples: int,
    *,
    maximum: float | None = None,
    temperature: float = 1.0,
    scale: float = 1.0,
) -> float:
    """The rate of a task by its size: min(examples x scale, maximum) ** (1 / temperature).

    T5's examples-proportional mixing with an artificial limit (Raffel et al. 2020, 3.5.2), like
    seqio's function of this name. Fix the options with `functools.partial`.

    Raises:
        UserError: the temperature is not positive, or so small that the rate is infinite.
    """
    what, where = f"temperature is {temperature!r:.40}", "rate_num_examples"
    if not temperature > 0:
        raise UserError(what, where, "give a number above 0")
    size = num_examples * scale
    size = float(size if maximum is None else min(size, maximum))
    try:
        rate = size ** (1 / temperature)
    except OverflowError:
        rate = math.inf
    if rate == math.inf > size:
        raise UserError(f"{what}, too small for {size:g} examples", where, "give a larger one")
    return rate


@dataclass(frozen=True)
class Mixture:
    """Several tasks that train one model, with the attributes of a task that describe the model.

    An epoch has as many training examples as all members together, up to rounding: each member
    contributes the fraction rate / sum of rates, but at least one example. A member passes through
    its examples independently of epochs: after any epoch, the numbers of times that its examples
    have been seen differ by at most one.

    The members agree in `SHARED`. The best checkpoint is picked by the mean of their monitored
    metrics.

    Attributes:
        name: the value of `--task`.
        members: the tasks.
        rates: the rate of each member.

    Raises:
        UserError: there are no members, one is listed twice, two cannot be mixed, or a rate is not
            a positive number.
    """

    name: str
    members: tuple[Task, ...]
    rates: tuple[Rate, ...]

    def __post_init__(self) -> None:
        check_plain(self.name, "mixture")
        if not self.members:
            raise self._error("has no members", "list its tasks")
        names = [task.name for task in self.members]
        for name in names:
            if names.count(name) > 1:
                raise self._error(f"lists {name} twice", "list it once, with the sum of the rates")
        first = self.members[0]
        for other in self.members[1:]:
            difference = _difference(first, other)
            if difference:
                what = f"{first.name} and {other.name} cannot be mixed: {difference}"
                raise self._error(what, "mix tasks of one form with the same columns and labels")
        for task, rate in zip(self.members, self.rates, strict=True):
            if not callable(rate):
                self._check_rate(task, rate)

    @property
    def form(self) -> str:
        """The members' form."""
        return self.members[0].form

    @property
    def forms(self) -> tuple[str, ...]:
        """The forms that all members can take, their own first."""
        first, *others = self.members
        return tuple(f for f in first.forms if all(f in task.forms for task in others))

    def in_form(self, form: str) -> Mixture:
        """The mixture in another of its `forms`."""
        return dataclasses.replace(self, members=tuple(t.in_form(form) for t in self.members))

    def with_prefix(self, prefix: str | Sequence[str]) -> Mixture:
        """The mixture with a prefix before its members' texts; see `Task.with_prefix`."""
        members = tuple(task.with_prefix(prefix) for task in self.members)
        return dataclasses.replace(self, members=members)

    @property
    def labels(self) -> tuple[str, ...] | None:
        """The members' labels."""
        return self.members[0].labels

    @property
    def problem_type(self) -> str | None:
        """The members' problem type."""
        return self.members[0].problem_type

    @property
    def model_config(self) -> Mapping[str, Any]:
        """The members' model configuration."""
        return self.members[0].model_config

    @property
    def loss_reduction(self) -> str:
        """The members' loss reduction."""
        return self.members[0].loss_reduction

    @property
    def defaults(self) -> Defaults:
        """The members' smallest batch and largest number of epochs; lengths and generation remain
        settings of each member."""
        defaults = [task.defaults for task in self.members]
        return Defaults(
            batch_size=min(one.batch_size for one in defaults),
            epochs=max(one.epochs for one in defaults),
        )

    @property
    def best(self) -> Monitor | None:
        """The mean of the members' monitored metrics; None if they have none."""
        best = self.members[0].best
        return None if best is None else Monitor(MEAN, best.mode)

    def examples_per_epoch(self, sizes: Sequence[int]) -> tuple[tuple[int, int], ...]:
        """(training examples, examples per epoch) of each member.

        Args:
            sizes: training examples of each member.

        Raises:
            UserError: a member has no examples, or its rate is not a positive number.
        """
        rates = []
        for task, rate, size in zip(self.members, self.rates, sizes, strict=True):
            if size == 0:
                raise self._error(
                    f"{task.name} has no labelled training examples", "remove it", Exit.DATA
                )
            rates.append(self._check_rate(task, rate(task, size) if callable(rate) else rate))
        total, sum_of_rates = sum(sizes), sum(rates)
        if total * sum_of_rates == math.inf:  # of small temperatures
            rates = [rate / max(rates) for rate in rates]
            sum_of_rates = sum(rates)
        counts = [max(1, round(total * rate / sum_of_rates)) for rate in rates]
        return tuple(zip(sizes, counts, strict=True))

    def _check_rate(self, task: Task, rate: Any) -> float:
        number = float(rate) if isinstance(rate, Real) else math.nan
        if 0 < number < math.inf:
            return number
        raise self._error(f"the rate of {task.name} is {rate!r:.40}", "give a positive number")

    def _error(self, what: str, fix: str, exit_code: Exit = Exit.FLAGS) -> UserError:
        return UserError(what, f"mixture {self.name!r}", fix, exit_code)


def _difference(one: Task, other: Task) -> str:
    """The first difference that keeps two tasks from being mixed, for messages; "" if none."""
    for what in SHARED:
        first, second = getattr(one, what), getattr(other, what)
        if first != second:
            if what == "output_features":
                return _features_difference(one, other)
            return f"{what} is {first!r:.80} in {one.name} and {second!r:.80} in {other.name}"
    first, second = one.best, other.best
    if (first and first.mode) != (second and second.mode):
        return f"best is {_shown(first)} in {one.name} and {_shown(second)} in {other.name}"
    return ""


def _shown(monitor: Monitor | None) -> str:
    return "not set" if monitor is None else f"{monitor.metric} (mode {monitor.mode!r})"


def _features_difference(one: Task, other: Task) -> str:
    for name in {**one.output_features, **other.output_features}:
        features = [task.output_features.get(name) for task in (one, other)]
        if None in features:
            owner = one if features[1] is None else other
            return f"only {owner.name} has a column {name!r}"
        for field in dataclasses.fields(Feature):
            first, second = (getattr(feature, field.name) for feature in features)
            if first != second:
                values = f"{first!r:.60} in {one.name} and {second!r:.60} in {other.name}"
                return f"{field.name} of column {name!r} is {values}"
    return ""


def mix_examples(members: Mapping[str, Examples]) -> Examples:
    """The concatenated training examples of several tasks with the same features: the model's
    columns and `_id`, with the tasks as `owners`.

    Args:
        members: task name -> its examples, which are not empty.

    Raises:
        UserError: some members have a column that others do not.
    """
    columns = {
        name: set(examples.features) & set(examples.dataset.column_names)
        for name, examples in members.items()
    }
    anywhere, everywhere = set.union(*columns.values()), set.intersection(*columns.values())
    for column in sorted(anywhere - everywhere):
        with_it, without = (
            next(name for name in members if (column in columns[name]) == has)
            for has in (True, False)
        )
        raise UserError(
            f"{with_it} has a column {column!r}, {without} does not",
            "the examples of a mixture",
            "return it from the preprocessors of both, or of neither",
            Exit.DATA,
        )
    slices = []
    for examples in members.values():
        bare = examples.without_kept()
        bare.dataset = bare.dataset.select_columns([*sorted(anywhere), ROW_ID])
        slices.append(bare)
    mixed = Examples.concatenate(slices)
    starts = np.cumsum([0, *(len(one.dataset) for one in slices)]).tolist()
    mixed.owners = tuple(zip(starts, members, strict=False))
    return mixed


class MixtureRegistry(TaskTable[Mixture]):
    """All mixtures by name."""

    registry = Registry("mixture", TaskRegistry.registry.help_line)

    @classmethod
    def add(
        cls,
        name: str,
        tasks: Sequence[str | tuple[str, Rate]],
        *,
        default_rate: Rate = rate_num_examples,
    ) -> Mixture:
        """Registers a mixture of registered tasks.

        Args:
            tasks: names, or (name, rate) pairs.
            default_rate: the rate of tasks without one; by default an epoch has each example once.

        Raises:
            UserError: a task is unknown, or they cannot be mixed (see `Mixture`).
            ValueError: a task or mixture of that name exists.
        """
        if name in TaskRegistry.registry:
            raise ValueError(f"{name!r} is already a task: choose another name for the mixture")
        pairs = [(one, default_rate) if isinstance(one, str) else one for one in tasks]
        members = [
            TaskRegistry.registry.get(task, f"mixture {name!r}, {task!r}") for task, _ in pairs
        ]
        return cls.registry.add(
            name, Mixture(name, tuple(members), tuple(rate for _, rate in pairs))
        )


def get_task(name: str) -> Task | Mixture:
    """The registered task or mixture of that name.

    Raises:
        UserError: the name is unknown, or both a task and a mixture have it.
    """
    tasks, mixtures = TaskRegistry.names(), MixtureRegistry.names()
    if name not in {*tasks, *mixtures}:
        fix = f"{suggestion(name, {*tasks, *mixtures})} ({TaskRegistry.registry.help_line})"
        raise UserError("unknown task", f"--task {name!r}", fix)
    if name in tasks and name in mixtures:
        raise UserError("both a task and a mixture", f"--task {name!r}", "rename one of them")
    return TaskRegistry.get(name) if name in tasks else MixtureRegistry.get(name)
