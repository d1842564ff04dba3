"""Optimizers by gin name; torch is not imported until an optimizer is created.

`AdamW.lr = 5e-5` and `get_optimizer.optimizer_cls = @AdamW` are checked against the signatures
below while gin parses. Names and parameters are torch's (without `maximize`, `capturable` and
`differentiable`, which are not for fine-tuning). Only `Adafactor` is transformers', because T5's
users set its `relative_step`, `scale_parameter` and `warmup_init`.
Do not `import gin.torch` beside this module: the plain names would become ambiguous.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import gin

from ke_t5.config.ranges import (
    DecayRate,
    Finite,
    Fraction,
    NonNegative,
    Positive,
    Range,
)
from ke_t5.errors import UserError

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer

ADAFACTOR_LR = 1e-3


def _torch_optimizer(name: str, arguments: dict) -> Optimizer:
    """A `torch.optim` optimizer by class name; `arguments` are the caller's `locals()`."""
    import torch

    return getattr(torch.optim, name)(**arguments)


def _fused(arguments: dict) -> bool | None:
    """The user's `fused`, otherwise True if torch has a fused kernel (1.3x on a CPU)."""
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
    """torch's AdamW, fused if possible, with a fine-tuning learning rate."""
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
    """torch's Adam, fused if possible, with a fine-tuning learning rate."""
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
    """torch's SGD with momentum 0.9 (torch's default is 0)."""
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
    """torch's RMSprop at lr 1e-3 (torch's default 1e-2 is too high for fine-tuning)."""
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
    """transformers' Adafactor, fused on a GPU, at a constant lr of 1e-3, as is usual for T5.

    For the paper's relative step sizes, set `relative_step=True, scale_parameter=True` (and
    `warmup_init=True`), and no `lr`, `--learning_rate` or `--schedule`.
    """
    arguments = locals()
    if lr is None and not relative_step:
        arguments["lr"] = ADAFACTOR_LR
    from ke_t5.train.adafactor import Adafactor as OurAdafactor

    return OurAdafactor(**arguments)


def parameter_groups(model: nn.Module) -> list[dict]:
    """The trainable parameters in two groups: with weight decay, and without (norms, biases and
    vectors).

    T5's `relative_attention_bias` counts as a bias, although it is a matrix. An empty group is
    omitted.

    Raises:
        UserError: no parameter is trainable.
    """
    with_decay, without_decay, ids = [], [], set()
    for module_name, module in model.named_modules():
        is_norm = type(module).__name__.endswith("Norm")
        for name, parameter in module.named_parameters(recurse=False):
            if id(parameter) in ids or not parameter.requires_grad:
                continue
            ids.add(id(parameter))
            is_bias = name == "bias" or module_name.endswith("bias")
            is_spared = is_norm or is_bias or parameter.ndim < 2
            (without_decay if is_spared else with_decay).append(parameter)
    if not ids:
        raise UserError(
            "no parameter is trainable", type(model).__name__, "unfreeze a part of the model"
        )
    groups = [{"params": with_decay}, {"params": without_decay, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]
