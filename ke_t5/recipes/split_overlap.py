"""Rows that a model was trained on and is scored on as well: told, for such scores flatter."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Sequence

import numpy as np

from ke_t5.distributed import launched_rank
from ke_t5.errors import UserError
from ke_t5.pipe.splits import num_common
from ke_t5.recipes.job import Job
from ke_t5.recipes.row_hashes import overlap, row_hashes
from ke_t5.recipes.task_splits import TaskSplit, part_name

logger = logging.getLogger(__name__)


def tell_of_seen_rows(job: Job, trained_on: str, part: TaskSplit) -> int:
    """A warning where rows of a part stand in the split, too, that its task was trained on; how
    many they are."""
    task = part.task
    num_rows = num_common(trained_on, part.split, task.source, job.folders, task.rows)
    if num_rows:
        message = "%d rows of %s overlap with the training data (%s); scores are optimistic"
        logger.warning(message, num_rows, part.name, trained_on)
    return num_rows


def tell_of_seen_texts(part: TaskSplit, trained: np.ndarray, *, num_told: int = 0) -> None:
    """A warning if rows of a part have the text of rows that were trained on, in any file.

    Args:
        trained: the hashes of these (see `row_hashes`).
        num_told: rows that are known to be the very same ones, and have been reported.
    """
    found = overlap(row_hashes(part.task, part.examples), trained)
    if found.num_folded > num_told:
        logger.warning(
            "%d of %d rows of %s have the same text as a training row (%d verbatim, %d text and "
            "label), %d of them with a different label; scores are optimistic",
            found.num_folded, found.num_rows, part.name, found.num_exact, found.num_copied,
            found.num_relabelled,
        )  # fmt: skip


def tell_of_validated_rows(
    job: Job, train: Sequence[TaskSplit], valid: Sequence[TaskSplit]
) -> None:
    """Both for the validation of a training; what is trained on goes into `job.trained_rows`, for
    later tests of the run."""
    for one, other in zip(train, valid, strict=True):
        num_told = tell_of_seen_rows(job, one.split, other)
        if launched_rank() == 0:
            trained = row_hashes(one.task, one.examples)
            job.trained_rows[one.task.name] = trained
            tell_of_seen_texts(other, trained, num_told=num_told)


def tell_of_tested_rows(job: Job, parts: Sequence[TaskSplit]) -> None:
    """The same for a test of a run's own model: by the split that `run.json` names first, in a
    mixture first for that task, and by the texts that the run has kept hashes of."""
    if not (job.flags.resume or job.flags.hf_path == "default"):
        return
    names = list(job.run.read_run().get("data", {}))
    for part in parts:
        num_told = 0
        prefix = part_name(part.task, "")
        own = [name.removeprefix(prefix) for name in names if name.startswith(prefix)]
        for trained_on in (own or names)[:1]:
            # The data at hand may be another, without that split.
            with contextlib.suppress(UserError):
                num_told = tell_of_seen_rows(job, trained_on, part)
        file = job.run.trained_rows(part.task.name)
        if launched_rank() == 0 and file.is_file():
            tell_of_seen_texts(part, np.load(file), num_told=num_told)
