"""The data of a training: examples of both splits, facts about them for `run.json`, their order."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ke_t5.config.run_config import RunConfig
from ke_t5.errors import Exit, UserError, counted
from ke_t5.forms import FORMS
from ke_t5.pipe import Examples, Mixture, get_batches
from ke_t5.pipe.mixture import mix_examples
from ke_t5.pipe.splits import provenance
from ke_t5.recipes import console
from ke_t5.recipes.split_overlap import warn_of_validated_rows
from ke_t5.recipes.task_splits import TaskSplit, load_splits
from ke_t5.train.settings import NONE

if TYPE_CHECKING:
    import numpy as np

    from ke_t5.pipe import BatchPlan

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingData:
    """The training and validation examples.

    Attributes:
        valid: one split for each member of the task.
        facts: split -> number, content hash and origin of its examples, for `run.json`.
        row_hashes: task -> hashes of its training rows (see `row_hashes`).
        examples_per_epoch: (training examples, examples per epoch) of each member of a mixture.
    """

    train: Examples
    valid: list[TaskSplit]
    facts: Mapping[str, Any]
    row_hashes: Mapping[str, np.ndarray] = field(default_factory=dict)
    examples_per_epoch: tuple[tuple[int, int], ...] = ()


def load_training_data(config: RunConfig) -> TrainingData:
    """Loads training and validation examples; logs what preprocessing has lost."""
    train, valid = (load_splits(config, purpose) for purpose in ("train", "validation"))
    facts = {split.name: _facts_of(config, split) for split in (*train, *valid)}
    train = [labelled(split) for split in train]
    row_hashes = warn_of_validated_rows(config, train, valid)
    if config.data.eval_rows:
        valid = [split.on(split.examples.some_rows(config.data.eval_rows)) for split in valid]
    for one, other in zip(train, valid, strict=True):
        if one.task.labels:
            console.warn_of_labels(one.examples, other.examples, one.task.labels)
    if not isinstance(config.task, Mixture):
        return TrainingData(train[0].examples, valid, facts, row_hashes)
    quotas = config.task.examples_per_epoch([len(split.examples) for split in train])
    console.report_mixture(config.task, quotas)
    mixed = mix_examples({split.task.name: split.examples for split in train})
    return TrainingData(mixed, valid, facts, row_hashes, quotas)


def _facts_of(config: RunConfig, split: TaskSplit) -> dict[str, Any]:
    raw = provenance(split.split, split.task.source, config.data.folders, split.task.rows)
    content = split.examples.content_hash()
    return {"examples": len(split.examples), "content": content, "raw": raw}


def labelled(split: TaskSplit) -> TaskSplit:
    """The split without its unlabelled rows, whose number is logged."""
    examples = split.examples.labelled()
    missing = len(split.examples) - len(examples)
    if missing:
        rows = counted(missing, "training row has", "training rows have")
        logger.warning("%s: %s no label: left out", split.task.name, rows)
    if not len(examples):
        where = f"--train_split {split.split}"
        raise UserError("none of its rows has a label", where, "name one with labels", Exit.DATA)
    return split.on(examples)


def batch_plan(config: RunConfig, data: TrainingData, *, num_parts: int) -> BatchPlan:
    """The order of the training batches."""
    train = data.train
    targets = train.row_lengths("labels") if FORMS[config.task.form].generates else None
    return get_batches(
        train.row_lengths("input_ids"),
        targets,
        batch_size=config.batches.size,
        num_parts=num_parts,
        seed=config.seed,
        examples_per_epoch=data.examples_per_epoch,
        batch_tokens=config.batches.settings.batch_tokens,
        window=config.batches.settings.window,
        is_padded=config.fit.padding != NONE,
    )
