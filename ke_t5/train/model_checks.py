"""Checks of a model on a few examples, before its training."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
from torch import Tensor

from ke_t5.models.unpadding import Unpadding, losses_agree
from ke_t5.models.used_rows import UsedRows, lookups_in_training
from ke_t5.module_state import reset_module_state
from ke_t5.pipe.examples import Examples
from ke_t5.pipe.losses import loss_of
from ke_t5.pipe.masks import MASK
from ke_t5.pipe.model_inputs import model_inputs

logger = logging.getLogger(__name__)


def passes(check: Callable[[], bool], change: str) -> bool:
    """Whether a model passes a check with a change, such as "without padding"; an error that the
    change causes is a failure. The random state is restored."""
    with torch.random.fork_rng(devices=[]):
        try:
            return check()
        except (RuntimeError, TypeError, ValueError, IndexError, KeyError) as error:
            logger.debug("%s: %s", change, error)
            return False


def has_unused_parameters(
    module: torch.nn.Module, examples: Examples, device: torch.device
) -> bool:
    """Whether any trainable parameter gets no gradient from an example; clears the gradients."""
    reset_module_state(module)
    inputs = model_inputs(module, examples.batch([examples.first_labelled()]), device)
    with lookups_in_training(module):
        loss_of(module(**inputs)).backward()
    trainable = [parameter for parameter in module.parameters() if parameter.requires_grad]
    unused = any(parameter.grad is None for parameter in trainable)
    module.zero_grad(set_to_none=True)
    return unused


def computes_the_same(
    unpadding: Unpadding, module: torch.nn.Module, examples: Examples, device: torch.device
) -> bool:
    """Whether a few examples of different lengths have the same loss without padding.

    Sets `unpadding.only_first` to whether the loss stays the same with that as well.
    """
    columns = _some_lengths(examples)
    module.eval()  # newly injected adapters are in training mode

    def loss_in(context: AbstractContextManager) -> torch.Tensor:
        reset_module_state(module)
        with torch.no_grad(), context:
            return loss_of(module(**model_inputs(module, columns, device)))

    mask, labels = columns[MASK], columns.get("labels")
    padded = loss_in(nullcontext())
    agrees = losses_agree(padded, loss_in(unpadding.over(mask, labels)))
    unpadding.only_first = agrees and unpadding.may_skip_tokens and not mask.all()
    if unpadding.only_first:
        unpadding.only_first = losses_agree(padded, loss_in(unpadding.over(mask, labels)))
    return agrees


def _some_lengths(examples: Examples) -> dict[str, np.ndarray]:
    """A batch of four labelled examples from the shortest to the longest."""
    candidates = np.flatnonzero(examples.row_counts()[:1000] > 0)
    by_length = candidates[np.argsort(examples.row_lengths("input_ids")[candidates], kind="stable")]
    places = np.linspace(0, len(by_length) - 1, 4).astype(int)
    return examples.batch(by_length[places])


def used_rows_suffice(
    used: UsedRows, module: torch.nn.Module, examples: Examples, device: torch.device
) -> bool:
    """Whether a few examples have exactly the same loss if the model knows the used rows only.

    The same vectors are looked up, so any difference means that it reads other rows, too.
    """
    columns, looked_up = _some_lengths(examples), []
    module.eval()

    def loss() -> Tensor:
        reset_module_state(module)
        with torch.no_grad():
            return loss_of(module(**model_inputs(module, columns, device)))

    with used.lookups(looked_up.append):
        whole = loss()
    if not all(map(used.knows, looked_up)):  # a GPU would not survive such a lookup
        return False
    used.split()
    try:
        with lookups_in_training(module):
            return torch.equal(loss(), whole)
    finally:
        used.restore()
