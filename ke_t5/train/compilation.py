"""torch.compile, layer by layer: one compilation serves all layers of a stack and all lengths."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from torch import nn

if TYPE_CHECKING:
    from ke_t5.train.loop import Update

logger = logging.getLogger(__name__)


def compile_layers(model: nn.Module, *, backend: str = "inductor") -> None:
    """Marks the model's layers, or the whole model if it has no stack of layers, for compilation at
    first use. Call it after the model is wrapped for several processes."""
    layers = list(stacked_layers(model))
    for layer in layers or [model]:
        # Without `dynamic`, every length would be compiled separately.
        layer.compile(dynamic=True, backend=backend)
    kinds = ", ".join(dict.fromkeys(type(layer).__name__ for layer in layers or [model]))
    logger.info("fit.compile: compiling %s (%d) in the first step", kinds, len(layers) or 1)


def stacked_layers(module: nn.Module) -> Iterator[nn.Module]:
    """The members of the outermost module lists whose modules are of one class."""
    for child in module.children():
        if isinstance(child, nn.ModuleList) and len({type(one) for one in child}) == 1:
            yield from child
        else:
            yield from stacked_layers(child)


def report_first_step(updates: Iterator[Update]) -> Iterator[Update]:
    """The updates; logs how long the first one took."""
    started = time.monotonic()
    for number, update in enumerate(updates):
        if number == 0:
            seconds = time.monotonic() - started
            logger.info("fit.compile: compiled; the first step took %.1f s", seconds)
        yield update
