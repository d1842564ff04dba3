"""Rows that a model was trained on and is scored on as well: told, for such scores flatter."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Sequence

from ke_t5.errors import UserError
from ke_t5.pipe.splits import num_common
from ke_t5.recipes.job import Job
from ke_t5.recipes.parts import Part, part_name

logger = logging.getLogger(__name__)


def tell_of_seen_rows(job: Job, trained_on: str, part: Part) -> None:
    """A warning where rows of a part stand in the split, too, that its task was trained on."""
    task = part.task
    num_rows = num_common(trained_on, part.split, task.source, job.folders, task.rows)
    if num_rows:
        message = "%d rows of %s are trained on too (%s): its scores flatter"
        logger.warning(message, num_rows, part.name, trained_on)


def tell_of_tested_rows(job: Job, parts: Sequence[Part]) -> None:
    """The same for a test of a run's own model, by the split that `run.json` names first, in a
    mixture first for that task."""
    if not (job.flags.resume or job.flags.hf_path == "default"):
        return
    names = list(job.run.read_run().get("data", {}))
    for part in parts:
        prefix = part_name(part.task, "")
        own = [name.removeprefix(prefix) for name in names if name.startswith(prefix)]
        for trained_on in (own or names)[:1]:
            # The data at hand may be another, without that split.
            with contextlib.suppress(UserError):
                tell_of_seen_rows(job, trained_on, part)
