"""The optimizer of a run and its settings, resolved and checked before torch is imported."""

from __future__ import annotations

import copy
import dataclasses
import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import gin

from ke_t5.config.configurable import configurable
from ke_t5.config.precedence import first_set
from ke_t5.errors import UserError
from ke_t5.train import optimizers
from ke_t5.train.schedules import RELATIVE_STEP, RELATIVE_STEP_FIX

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer

CLASS = "get_optimizer.optimizer_cls"
# The optimizers that a default learning rate is meant for; at 5e-5, SGD would learn nothing.
ADAM_FAMILY = ("AdamW", "Adam", "RAdam", "NAdam", "Adamax")


@dataclass(frozen=True)
class OptimizerConfig:
    """The optimizer of a run.

    Attributes:
        optimizer_cls: creates it from parameter groups; gin injects its settings.
        settings: its arguments, `lr` included: gin's bindings or the defaults.
        learning_rate: the flag's, or gin's; None for the default of the model or the optimizer.
        is_rate_passed: whether `learning_rate` is passed as an argument, not injected by gin.
    """

    optimizer_cls: Callable[..., Optimizer]
    settings: Mapping[str, Any]
    learning_rate: float | None = None
    is_rate_passed: bool = False

    @property
    def name(self) -> str:
        """The name by which gin binds its settings, such as "AdamW"."""
        return self.optimizer_cls.__name__

    @property
    def is_own(self) -> bool:
        """Whether it belongs to this package, so that gin has checked its settings."""
        return self.optimizer_cls.__module__ == optimizers.__name__

    def with_default_rate(self, rate: float | Callable[[], float] | None) -> OptimizerConfig:
        """A copy with a default learning rate if neither flag nor gin sets one (Adam family only).

        Args:
            rate: the rate, or a function that computes it.
        """
        if self.learning_rate is not None or self.name not in ADAM_FAMILY:
            return self
        rate = first_set(self.learning_rate, default=rate)
        return dataclasses.replace(self, learning_rate=rate, is_rate_passed=rate is not None)


@configurable("get_optimizer", module=optimizers.__name__)
def _optimizer_class(
    optimizer_cls: Callable[..., Any] = optimizers.AdamW,
) -> Callable[..., Any]:
    """The class of the optimizer, or a function that makes one."""
    return optimizer_cls


def get_optimizer_config(learning_rate: float | None = None) -> OptimizerConfig:
    """The optimizer and settings bound by gin.

    Args:
        learning_rate: from --learning_rate; overrides gin.

    Raises:
        UserError: gin names something other than an optimizer.
    """
    optimizer_cls = _checked_class()
    name = optimizer_cls.__name__
    bound = _bound_value(f"{name}.lr")
    settings = {
        parameter.name: _bound_value(f"{name}.{parameter.name}", parameter.default)
        for parameter in inspect.signature(optimizer_cls).parameters.values()
    }
    return OptimizerConfig(
        optimizer_cls,
        MappingProxyType(settings),
        learning_rate=first_set(learning_rate, bound, default=None),
        is_rate_passed=learning_rate is not None,
    )


def _checked_class() -> Callable[..., Optimizer]:
    try:
        optimizer_cls = _optimizer_class()
    except TypeError as error:
        fix = "write @AdamW without parentheses"
        raise UserError("is a call of the optimizer", CLASS, fix) from error
    if not callable(optimizer_cls):
        fix = "write its name with an @, such as @AdamW"
        raise UserError(f"{optimizer_cls!r} is not an optimizer", CLASS, fix)
    return optimizer_cls


def _bound_value(name: str, default: object = None) -> Any:
    """gin's value of `name` (such as "AdamW.lr"), macros resolved, otherwise the default."""
    try:
        return copy.deepcopy(gin.query_parameter(name))
    except ValueError:
        return default


def check_optimizer(config: OptimizerConfig, *, is_scheduled: bool = False) -> None:
    """Raises UserError for incompatible settings, or if the user's own optimizer rejects its
    settings.

    Args:
        is_scheduled: whether a schedule changes the learning rate.
    """
    if not config.is_own:
        _try_out(config)
        return
    name, values = config.name, config.settings

    def refuse(parameter: str, what: str, fix: str) -> None:
        raise UserError(what, f"{name}.{parameter}", fix)

    if values.get("fused") is True and values.get("foreach") is True:
        refuse("fused", "cannot be combined with foreach", "set only one of them")
    if name == "SGD" and values["nesterov"] and (not values["momentum"] or values["dampening"]):
        refuse("nesterov", "needs momentum above 0 and dampening 0", "set them, or drop it")
    if name != "Adafactor":
        return
    if values["warmup_init"] and not values["relative_step"]:
        refuse("warmup_init", "needs relative_step=True", "set it, or drop warmup_init")
    if values["relative_step"] and config.learning_rate is not None:
        what = "cannot be combined with a learning rate"
        refuse("relative_step", what, "drop lr and --learning_rate")
    if values["relative_step"] and is_scheduled:
        raise UserError(RELATIVE_STEP, "--schedule", RELATIVE_STEP_FIX)


def _try_out(config: OptimizerConfig) -> None:
    """Creates the user's optimizer for two parameters, since only its class can check settings."""
    import torch

    optimizer = build_optimizer(config, torch.nn.Linear(1, 1))
    if not isinstance(optimizer, torch.optim.Optimizer):
        made = type(optimizer).__name__
        fix = "name a subclass of torch.optim.Optimizer"
        raise UserError(f"@{config.name} returns a {made}, not an optimizer", CLASS, fix)
    if not all("lr" in group for group in optimizer.param_groups):
        fix = "store it in each of param_groups, where the schedule changes it"
        raise UserError("has no learning rate 'lr'", f"optimizer {config.name}", fix)


def build_optimizer(config: OptimizerConfig, model: nn.Module) -> Optimizer:
    """The optimizer of a model's trainable parameters; norms and biases get no weight decay.

    Raises:
        UserError: the optimizer rejects its settings.
    """
    groups = optimizers.parameter_groups(model)
    arguments = {"lr": config.learning_rate} if config.is_rate_passed else {}
    try:
        return config.optimizer_cls(groups, **arguments)
    except (ValueError, TypeError, RuntimeError, KeyError, AttributeError) as error:
        # gin appends lines about the call to the optimizer's own message.
        what = str(error).partition("\n")[0].rstrip(".")
        fix = "fix its settings in the gin file (or --learning_rate)"
        raise UserError(what, f"optimizer {config.name}", fix) from error


def get_optimizer(
    *, learning_rate: float | None = None, default_learning_rate: float | None = None
) -> Callable[[nn.Module], Optimizer]:
    """A function from a model to the optimizer bound by gin, for scripts without a `RunConfig`.

    Args:
        learning_rate: overrides gin.
        default_learning_rate: the rate of the Adam family if gin sets none.
    """
    config = get_optimizer_config(learning_rate).with_default_rate(default_learning_rate)
    return functools.partial(build_optimizer, config)
