"""Rows that a model was trained on and is scored on as well: told, for such scores flatter."""

from __future__ import annotations

import logging

from ke_t5.errors import UserError
from ke_t5.pipe.splits import num_common
from ke_t5.recipes.job import Job

logger = logging.getLogger(__name__)


def tell_of_seen_rows(job: Job, trained_on: str, scored_on: str) -> None:
    """A warning where two splits of the run's data have rows in common."""
    num_rows = num_common(trained_on, scored_on, job.task.source, job.folders, job.task.rows)
    if num_rows:
        message = "%d rows of %s are trained on too (%s): its scores flatter"
        logger.warning(message, num_rows, scored_on, trained_on)


def tell_of_tested_rows(job: Job) -> None:
    """The same for a test of a run's own model, by the split that `run.json` names first."""
    if not (job.flags.resume or job.flags.hf_path == "default"):
        return
    trained_on = next(iter(job.run.read_run().get("data", {})), None)
    if trained_on is None:
        return
    try:
        tell_of_seen_rows(job, trained_on, job.flags.test_split)
    except UserError:  # the data at hand is another, without that split
        return
