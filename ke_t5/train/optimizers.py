"""Optimizers and schedules by gin name; torch is imported when an optimizer is made, not before.

`AdamW.lr = 5e-5` and `get_optimizer.optimizer_cls = @AdamW` are checked against the signatures
below while gin parses. Names and parameters are torch's own (less `maximize`, `capturable` and
`differentiable`, which are not for fine-tuning), but for `Adafactor`: it is the one of
transformers, because `relative_step`, `scale_parameter` and `warmup_init` are what T5's users set.
Do not `import gin.torch` beside this module: the plain names would then mean two things.
"""

from __future__ import annotations

import copy
import inspect
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import gin

from ke_t5.config.configurable import configurable
from ke_t5.config.ranges import (
    DecayRate,
    Finite,
    Fraction,
    NonNegative,
    Positive,
    Range,
)
from ke_t5.errors import UserError
from ke_t5.train.schedules import (
    RELATIVE_STEP,
    RELATIVE_STEP_FIX,
    SCHEDULES,
    get_scheduler,
    set_learning_rate,
)

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer

__all__ = [
    "SCHEDULES",
    "get_optimizer",
    "get_scheduler",
    "parameter_groups",
    "set_learning_rate",
]

logger = logging.getLogger(__name__)

# A task's own learning rate is meant for these; with 5e-5 an SGD would not move.
ADAM_FAMILY = ("AdamW", "Adam", "RAdam", "NAdam", "Adamax")
ADAFACTOR_LR = 1e-3


def _torch_optimizer(name: str, arguments: dict) -> Optimizer:
    """The `torch.optim` class of that name, made from a light function's own `locals()`."""
    import torch

    return getattr(torch.optim, name)(**arguments)


def _fused(arguments: dict) -> bool | None:
    """`fused` as the user set it, else True if torch has such a kernel (1.3x on a CPU)."""
    if arguments["fused"] is not None or arguments["foreach"]:
        return arguments["fused"]
    parameters = [parameter for group in arguments["params"] for parameter in group["params"]]
    fits = all(p.is_floating_point() and p.device.type in ("cpu", "cuda") for p in parameters)
    return True if fits else None


@gin.configurable
def AdamW(
    params,
    lr: NonNegative = 5e-5,
    betas: tuple[DecayRate, DecayRate] = (0.9, 0.999),
    eps: NonNegative = 1e-8,
    weight_decay: NonNegative = 1e-2,
    amsgrad: bool = False,
    foreach: bool | None = None,
    fused: bool | None = None,
):
    """torch's AdamW, fused if it can be, with a fine-tuning learning rate."""
    return _torch_optimizer("AdamW", {**locals(), "fused": _fused(locals())})


@gin.configurable
def Adam(
    params,
    lr: NonNegative = 5e-5,
    betas: tuple[DecayRate, DecayRate] = (0.9, 0.999),
    eps: NonNegative = 1e-8,
    weight_decay: NonNegative = 0,
    amsgrad: bool = False,
    foreach: bool | None = None,
    fused: bool | None = None,
    decoupled_weight_decay: bool = False,
):
    """torch's Adam, fused if it can be, with a fine-tuning learning rate."""
    return _torch_optimizer("Adam", {**locals(), "fused": _fused(locals())})


@gin.configurable
def RAdam(
    params,
    lr: NonNegative = 5e-5,
    betas: tuple[DecayRate, DecayRate] = (0.9, 0.999),
    eps: NonNegative = 1e-8,
    weight_decay: NonNegative = 0,
    decoupled_weight_decay: bool = False,
    foreach: bool | None = None,
):
    """torch's RAdam with a fine-tuning learning rate."""
    return _torch_optimizer("RAdam", locals())


@gin.configurable
def NAdam(
    params,
    lr: NonNegative = 5e-5,
    betas: tuple[DecayRate, DecayRate] = (0.9, 0.999),
    eps: NonNegative = 1e-8,
    weight_decay: NonNegative = 0,
    momentum_decay: NonNegative = 4e-3,
    decoupled_weight_decay: bool = False,
    foreach: bool | None = None,
):
    """torch's NAdam with a fine-tuning learning rate."""
    return _torch_optimizer("NAdam", locals())


@gin.configurable
def Adamax(
    params,
    lr: NonNegative = 5e-5,
    betas: tuple[DecayRate, DecayRate] = (0.9, 0.999),
    eps: NonNegative = 1e-8,
    weight_decay: NonNegative = 0,
    foreach: bool | None = None,
):
    """torch's Adamax with a fine-tuning learning rate."""
    return _torch_optimizer("Adamax", locals())


@gin.configurable
def SGD(
    params,
    lr: NonNegative = 1e-2,
    momentum: NonNegative = 0.9,
    dampening: Finite = 0,
    weight_decay: NonNegative = 0,
    nesterov: bool = False,
    foreach: bool | None = None,
    fused: bool | None = None,
):
    """torch's SGD with momentum 0.9 (torch's own default is none)."""
    return _torch_optimizer("SGD", locals())


@gin.configurable
def Adagrad(
    params,
    lr: NonNegative = 1e-2,
    lr_decay: NonNegative = 0,
    weight_decay: NonNegative = 0,
    initial_accumulator_value: NonNegative = 0,
    eps: NonNegative = 1e-10,
    foreach: bool | None = None,
    fused: bool | None = None,
):
    """torch's Adagrad."""
    return _torch_optimizer("Adagrad", locals())


@gin.configurable
def RMSprop(
    params,
    lr: NonNegative = 1e-3,
    alpha: NonNegative = 0.99,
    eps: NonNegative = 1e-8,
    weight_decay: NonNegative = 0,
    momentum: NonNegative = 0,
    centered: bool = False,
    foreach: bool | None = None,
):
    """torch's RMSprop at lr 1e-3 (torch's own 1e-2 is too high for fine-tuning)."""
    return _torch_optimizer("RMSprop", locals())


@gin.configurable
def Adadelta(
    params,
    lr: NonNegative = 1.0,
    rho: Fraction = 0.9,
    eps: NonNegative = 1e-6,
    weight_decay: NonNegative = 0,
    foreach: bool | None = None,
):
    """torch's Adadelta."""
    return _torch_optimizer("Adadelta", locals())


@gin.configurable
def Adafactor(
    params,
    lr: NonNegative | None = None,
    eps: tuple[NonNegative, NonNegative] = (1e-30, 1e-3),
    clip_threshold: Positive = 1.0,
    decay_rate: Annotated[float, Range(most=0)] = -0.8,
    beta1: DecayRate | None = None,
    weight_decay: NonNegative = 0.0,
    scale_parameter: bool = False,
    relative_step: bool = False,
    warmup_init: bool = False,
):
    """transformers' Adafactor at a fixed lr of 1e-3, the usual setting for fine-tuning T5.

    The original, self-timed one is `relative_step=True, scale_parameter=True` (and
    `warmup_init=True`), with no `lr`, no `--learning_rate` and no `--schedule`.
    """
    arguments = locals()
    if lr is None and not relative_step:
        arguments["lr"] = ADAFACTOR_LR
    from transformers.optimization import Adafactor as TransformersAdafactor

    return TransformersAdafactor(**arguments)


@configurable("get_optimizer")
def _optimizer_settings(optimizer_cls: Callable[..., Any] = AdamW) -> Callable[..., Any]:
    return optimizer_cls


def get_optimizer(
    *, learning_rate: float | None = None, default_learning_rate: float | None = None
) -> Callable[[nn.Module], Optimizer]:
    """A function from a model to its optimizer (gin: `get_optimizer.optimizer_cls=@AdamW`).

    Frozen parameters are left out; norms and biases get no weight decay.

    Args:
        learning_rate: from --learning_rate; beats what gin binds, and says so.
        default_learning_rate: the task's own; for the Adam family, where gin binds none.

    Raises:
        UserError: `optimizer_cls` is not an optimizer, or refuses its settings.
    """
    optimizer_cls = _optimizer_class()
    name = optimizer_cls.__name__
    bound = _bound_value(f"{name}.lr")
    lr = learning_rate
    if lr is None and bound is None and name in ADAM_FAMILY:
        lr = default_learning_rate
    if learning_rate is not None and bound not in (None, learning_rate):
        logger.info("--learning_rate %s is used, not %s.lr=%s from gin", lr, name, bound)

    def build(model: nn.Module) -> Optimizer:
        groups = parameter_groups(model)
        try:
            return optimizer_cls(groups) if lr is None else optimizer_cls(groups, lr=lr)
        except (ValueError, TypeError, RuntimeError) as error:
            # gin appends lines about the call to what the optimizer said itself.
            what = str(error).partition("\n")[0].rstrip(".")
            fix = "fix its settings in the gin file (or --learning_rate)"
            raise UserError(what, f"optimizer {name}", fix) from error

    return build


def check_optimizer(*, learning_rate: float | None = None, is_scheduled: bool = False) -> None:
    """Raises UserError for settings of the chosen optimizer that exclude each other.

    Args:
        learning_rate: from --learning_rate.
        is_scheduled: whether --schedule or --warmup changes the rate from step to step.
    """
    optimizer_cls = _optimizer_class()
    name = optimizer_cls.__name__
    values = {
        parameter.name: _bound_value(f"{name}.{parameter.name}", parameter.default)
        for parameter in inspect.signature(optimizer_cls).parameters.values()
    }

    def refuse(parameter: str, what: str, fix: str) -> None:
        raise UserError(what, f"{name}.{parameter}", fix)

    if values.get("fused") is True and values.get("foreach") is True:
        refuse("fused", "excludes foreach", "set one of them")
    if name == "SGD" and values["nesterov"] and (not values["momentum"] or values["dampening"]):
        refuse("nesterov", "needs momentum above 0 and dampening 0", "set them, or leave it out")
    if name != "Adafactor":
        return
    if values["warmup_init"] and not values["relative_step"]:
        refuse("warmup_init", "needs relative_step=True", "set it, or leave warmup_init out")
    if values["relative_step"] and (learning_rate or values["lr"]) is not None:
        refuse("relative_step", "excludes a learning rate", "leave lr and --learning_rate out")
    if values["relative_step"] and is_scheduled:
        raise UserError(RELATIVE_STEP, "--schedule", RELATIVE_STEP_FIX)


def gin_name() -> str:
    """The name by which gin binds the settings of the chosen optimizer, such as "AdamW"."""
    return _optimizer_class().__name__


def _optimizer_class() -> Callable[..., Optimizer]:
    where = "get_optimizer.optimizer_cls"
    try:
        optimizer_cls = _optimizer_settings()
    except TypeError as error:
        raise UserError(
            "the optimizer is called", where, "write @AdamW, without brackets"
        ) from error
    if not callable(optimizer_cls):
        raise UserError(
            f"{optimizer_cls!r} is not an optimizer",
            where,
            "write its name with an @, such as @AdamW",
        )
    return optimizer_cls


def _bound_value(name: str, default: object = None) -> object:
    """What gin binds to `name` ("AdamW.lr"), macros resolved, else the default."""
    try:
        return copy.deepcopy(gin.query_parameter(name))
    except ValueError:
        return default


def parameter_groups(model: nn.Module) -> list[dict]:
    """The trainable parameters, each once: those that decay, then norms, biases and vectors.

    T5's `relative_attention_bias` counts as a bias though it is a table. A group that would be
    empty is left out.

    Raises:
        UserError: nothing is trainable.
    """
    decayed, spared, seen = [], [], set()
    for module_name, module in model.named_modules():
        is_norm = type(module).__name__.endswith("Norm")
        for name, parameter in module.named_parameters(recurse=False):
            if id(parameter) in seen or not parameter.requires_grad:
                continue
            seen.add(id(parameter))
            is_bias = name == "bias" or module_name.endswith("bias")
            is_spared = is_norm or is_bias or parameter.ndim < 2
            (spared if is_spared else decayed).append(parameter)
    if not seen:
        raise UserError(
            "no parameter is trainable", type(model).__name__, "unfreeze a part of the model"
        )
    groups = [{"params": decayed}, {"params": spared, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]
