"""Resuming a run with a different global batch (`--allow_batch_change`)."""

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
    """The plan with the earlier global batches of a resumed run; unchanged for a new one.

    With `--allow_batch_change`, the checkpoint's global batch is added to them if it differs from
    the plan's. Without it, loading the checkpoint reports the difference.
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
            "batched again, so that each row is still seen once",
            plan.batch_size,
            before,
            progress["step"] + 1,
        )
    return dataclasses.replace(plan, earlier=earlier)


def progress_of_run(config: RunConfig, ranks: Ranks) -> dict[str, Any] | None:
    """The result of `_progress` on process 0, broadcast to every process."""
    return ranks.broadcast(_progress(config) if ranks.is_main else None)


def _progress(config: RunConfig) -> dict[str, Any] | None:
    """The progress of the checkpoint to resume; None if there is no intact one, which is reported
    when it is loaded."""
    assert config.resume is not None
    try:
        checkpoint = find_checkpoint(
            config.run.weights, config.resume, is_checked=config.flags["allow_batch_change"]
        )
        return None if checkpoint is None else read_run_progress(checkpoint)
    except UserError:
        return None
