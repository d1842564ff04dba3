"""Decides whether a run computes padding (`fit.padding`), and the order of its rows."""

from __future__ import annotations

import dataclasses
import logging

import torch
from transformers import PreTrainedModel

from ke_t5.checkpoint.settings import EARLIER, PADDING, WINDOW
from ke_t5.config.run_config import RunConfig
from ke_t5.distributed import Ranks
from ke_t5.errors import UserError
from ke_t5.models.unpadding import Unpadding
from ke_t5.pipe import Examples
from ke_t5.programs import gin_param
from ke_t5.recipes.batch_change import progress_of_run
from ke_t5.train.model_checks import computes_the_same, passes
from ke_t5.train.settings import AUTO, NONE, ROWS

logger = logging.getLogger(__name__)


def choose_padding(
    config: RunConfig, module: PreTrainedModel, train: Examples, ranks: Ranks
) -> tuple[RunConfig, Unpadding | None]:
    """The configuration with the padding and window in force, and what removes padding, if
    anything.

    A resumed run continues as it began: dropout draws other numbers without padding.

    Raises:
        UserError: padding cannot be removed as requested.
    """
    setting = config.fit.padding
    if setting == AUTO and config.origin.is_resumed:
        progress = progress_of_run(config, ranks) or {"fixed": {}}
        setting = progress["fixed"].get(PADDING, EARLIER[PADDING])
    reason = better_padded(config, ranks.device) if setting == AUTO else None
    unpadding = None
    if setting != ROWS and reason is None:
        unpadding, reason = find_unpadding(config, module, train, ranks)
    if reason is not None and setting == NONE:
        raise UserError(
            reason, f"{PADDING}={NONE!r}", f"drop it, or give {gin_param(PADDING, ROWS)}"
        )
    if reason is not None:
        logger.info("%s: rows are padded: %s", PADDING, reason)
    settings = config.batches.settings
    if unpadding is not None and not config.gin.bound(WINDOW):
        settings = dataclasses.replace(settings, window=1)
    return dataclasses.replace(
        config,
        fit=dataclasses.replace(config.fit, padding=ROWS if unpadding is None else NONE),
        batches=dataclasses.replace(config.batches, settings=settings),
    ), unpadding


def better_padded(config: RunConfig, device: torch.device) -> str | None:
    """The reason why rows are padded by default; None if there is none."""
    if config.is_sharded:
        return "--parallel fsdp shards the weights"
    return None if device.type == "cpu" else "kernel launches cost more than padding on a GPU"


def find_unpadding(
    config: RunConfig, module: PreTrainedModel, train: Examples, ranks: Ranks
) -> tuple[Unpadding | None, str | None]:
    """What removes padding, or the reason why it cannot be removed."""
    name = type(module).__name__
    if config.fit.compile:
        return None, "fit.compile needs padding"
    try:
        unpadding = Unpadding(module)
    except ValueError as error:
        return None, f"{name}: {error}"
    agrees = ranks.is_main and passes(
        lambda: computes_the_same(unpadding, module, train, ranks.device), "without padding"
    )
    agrees, unpadding.only_first = ranks.broadcast((agrees, unpadding.only_first))
    if not agrees:
        return None, f"{name} computes a different loss without padding"
    return unpadding, None
