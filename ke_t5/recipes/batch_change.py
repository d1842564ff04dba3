"""A run that is resumed with another global batch (`--allow_batch_change`)."""

from __future__ import annotations

import dataclasses
import logging
from typing import TYPE_CHECKING, Any

from ke_t5.checkpoint.checkpoints import find_checkpoint, read_run_progress
from ke_t5.checkpoint.settings import EARLIER_BATCHES, GLOBAL_BATCH
from ke_t5.config.run_config import RunConfig
from ke_t5.distributed import Ranks
from ke_t5.errors import UserError

if TYPE_CHECKING:
    from ke_t5.pipe import BatchPlan

logger = logging.getLogger(__name__)


def plan_of_run(config: RunConfig, plan: BatchPlan, ranks: Ranks) -> BatchPlan:
    """The plan with the global batches that the run has had before, if one is resumed.

    Another global batch than the checkpoint's is added to them with `--allow_batch_change`;
    without it, loading the checkpoint reports the difference.
    """
    if not config.origin.is_resumed or plan.batch_tokens is not None:
        return plan
    progress = progress_of_run(config, ranks)
    if progress is None:
        return plan
    before = progress["fixed"].get(GLOBAL_BATCH)
    earlier = tuple(map(tuple, progress["fixed"].get(EARLIER_BATCHES) or ()))
    if config.flags["allow_batch_change"] and before not in (None, plan.batch_size):
        earlier += ((progress["step"], before),)
        logger.warning(
            "--allow_batch_change: %d rows instead of %d from step %d on; the rest of the epoch is "
            "cut anew, so that each row still comes once",
            plan.batch_size,
            before,
            progress["step"] + 1,
        )
    return dataclasses.replace(plan, earlier=earlier)


def progress_of_run(config: RunConfig, ranks: Ranks) -> dict[str, Any] | None:
    """What `_progress` finds on process 0, on every process."""
    return ranks.broadcast(_progress(config) if ranks.is_main else None)


def _progress(config: RunConfig) -> dict[str, Any] | None:
    """The progress of the checkpoint that `--resume` names; None if there is none that is whole,
    which is reported when it is loaded."""
    assert config.resume is not None
    try:
        checkpoint = find_checkpoint(
            config.run.weights, config.resume, is_checked=config.flags["allow_batch_change"]
        )
        return None if checkpoint is None else read_run_progress(checkpoint)
    except UserError:
        return None
