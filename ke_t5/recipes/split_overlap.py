"""Warns of rows that a model is both trained and scored on, which makes scores optimistic."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Sequence

import numpy as np

from ke_t5.config.run_config import RunConfig
from ke_t5.distributed import launched_rank
from ke_t5.errors import UserError, counted, counted_of
from ke_t5.pipe.splits import num_common
from ke_t5.recipes.row_hashes import RowHashes, stored_overlap, stored_row_hashes
from ke_t5.recipes.task_splits import TaskSplit, part_name

logger = logging.getLogger(__name__)


def warn_of_shared_rows(config: RunConfig, trained_on: str, part: TaskSplit) -> int:
    """Warns if rows of a part are also in the split that its task was trained on; returns their
    number."""
    task = part.task
    num_rows = num_common(trained_on, part.split, task.source, config.data.folders, task.rows)
    if num_rows:
        name = part.name
        rows = counted(num_rows, f"row of {name} overlaps", f"rows of {name} overlap")
        logger.warning("%s with the training data (%s); scores are optimistic", rows, trained_on)
    return num_rows


def warn_of_shared_texts(
    config: RunConfig, part: TaskSplit, trained: RowHashes, *, num_reported: int = 0
) -> None:
    """Warns if rows of a part have the same text as training rows, from any file.

    Args:
        trained: hashes of the training rows.
        num_reported: rows that were already reported as being in the training split.
    """
    cache = config.data.folders.cache
    own = stored_row_hashes(part.task, part.examples, cache)
    result = stored_overlap(own, trained, cache)
    if result.num_folded > num_reported:
        name = part.name
        rows = counted_of(
            result.num_folded, result.num_rows, f"row of {name}", ("has", "have"),
            plural=f"rows of {name}",
        )  # fmt: skip
        logger.warning(
            "%s the same text as a training row (%d verbatim, %d text and label), %d of them with "
            "a different label; scores are optimistic",
            rows, result.num_exact, result.num_copied, result.num_relabelled,
        )  # fmt: skip


def warn_of_validated_rows(
    config: RunConfig, train: Sequence[TaskSplit], valid: Sequence[TaskSplit]
) -> dict[str, np.ndarray]:
    """Warns of both for the validation splits of a training; returns, on rank 0, the hashes of each
    task's training rows, for later tests of the run."""
    hashes = {}
    for one, other in zip(train, valid, strict=True):
        num_reported = warn_of_shared_rows(config, one.split, other)
        if launched_rank() == 0:
            trained = stored_row_hashes(one.task, one.examples, config.data.folders.cache)
            hashes[one.task.name] = trained.unique
            warn_of_shared_texts(config, other, trained, num_reported=num_reported)
    return hashes


def warn_of_tested_rows(config: RunConfig, parts: Sequence[TaskSplit]) -> None:
    """Warns of both for a test of a run's own model, from the training split in `run.json` and the
    row hashes that the run has saved."""
    if not (config.resume or config.hf_path == "default"):
        return
    names = list(config.run.read_run().get("data", {}))
    for part in parts:
        num_reported = 0
        prefix = part_name(part.task, "")
        own = [name.removeprefix(prefix) for name in names if name.startswith(prefix)]
        for trained_on in (own or names)[:1]:
            # The data at hand may differ from the run's, and lack that split.
            with contextlib.suppress(UserError):
                num_reported = warn_of_shared_rows(config, trained_on, part)
        file = config.run.trained_rows(part.task.name)
        if launched_rank() == 0 and file.is_file():
            hashes = config.run.read_trained_rows(part.task.name)
            trained = RowHashes(hashes, hashes)
            warn_of_shared_texts(config, part, trained, num_reported=num_reported)
