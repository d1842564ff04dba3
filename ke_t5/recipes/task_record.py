"""Builds and reads a run's task record (see `lookup.task_record`), and tunes its thresholds."""

from __future__ import annotations

import dataclasses
import logging
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ke_t5.config.run_config import RunConfig
from ke_t5.files import new_folder
from ke_t5.lookup.task_record import TaskRecord, read_record
from ke_t5.own_data import own_data_of
from ke_t5.pipe import Mixture, Task
from ke_t5.pipe.prefixes import PREFIX
from ke_t5.pipe.splits import check_split
from ke_t5.pipe.task import dataset_settings
from ke_t5.recipes import results
from ke_t5.recipes.record import versions
from ke_t5.recipes.task_splits import TaskSplit
from ke_t5.seals import class_title, seal_folder
from ke_t5.task.thresholds import is_usable, tuned_thresholds, with_thresholds

logger = logging.getLogger(__name__)


def task_record(config: RunConfig, model_class: type) -> TaskRecord:
    """The record of a run's task, with the lengths and generation settings in force."""
    members: dict[str, dict[str, Any]] = {}
    known = thresholds_of(config.run.model)
    for task in config.task.members:
        generation = config.generation[task.name]
        members[task.name] = {
            "sequence_length": {**task.defaults.sequence_length, **(config.data.lengths or {})},
            # Without settings that depend on the machine.
            "generation": {
                "model_fn": generation.model_fn,
                "model_kwargs": dict(generation.model_kwargs),
                "model_input_keys": generation.model_input_keys,
                "threshold": generation.threshold,
            },
        }
        if task.prefixes:
            members[task.name]["prefix"] = list(task.prefixes)
        if task.name in known:
            members[task.name]["thresholds"] = known[task.name]
    return TaskRecord(
        config.task.name,
        config.task.form,
        class_title(model_class),
        members,
        own_data=recorded_own_data(config.task),
        modules=tuple(config.flags.get("module_import") or ()),
        versions=versions(),
    )


def thresholds_of(folder: Path) -> dict[str, dict[str, Any]]:
    """The tuned thresholds in a folder: task -> {"split": that they were tuned on, "weights": the
    checkpoint that they were tuned for, "values": label -> threshold}."""
    record = read_record(folder)
    members = record.members if record else {}
    found = {name: member.get("thresholds") for name, member in members.items()}
    return {name: one for name, one in found.items() if isinstance(one, dict)}


def keep_thresholds(config: RunConfig, parts: Sequence[TaskSplit]) -> None:
    """Tunes the thresholds that gin requests on the predictions of the best checkpoint in the run's
    folder, and writes them into the run's `model/`; removes thresholds that an earlier launch tuned
    for another checkpoint.

    Args:
        parts: the validated splits.
    """
    record = read_record(config.run.model)
    if record is None:
        return
    members = dict(record.members)
    for part in parts:
        name, folder = part.task.name, config.run.evaluation(part.name)
        weights, member = results.weights_of(folder), dict(members[name])
        known = member.pop("thresholds", None)
        how = config.generation[name].threshold
        if weights is not None and how is not None:
            known = _tuned(part, folder, per_label=how == "per_label") or known
        elif known and known.get("weights") not in (None, weights):
            logger.warning(
                "%s: the thresholds tuned for %s are removed: the best checkpoint is now %s; "
                "EvaluationHelper.threshold tunes new ones",
                name, known["weights"], weights,
            )  # fmt: skip
            known = None
        members[name] = member if known is None else {**member, "thresholds": known}
    if members == record.members:
        return
    with new_folder(config.run.model, is_durable=True) as folder:
        shutil.copytree(config.run.model, folder, dirs_exist_ok=True)
        dataclasses.replace(record, members=members).write(folder)
        seal_folder(folder, model_class=record.model_class)


def _tuned(part: TaskSplit, folder: Path, *, per_label: bool) -> dict[str, Any] | None:
    """Thresholds tuned on the predictions in a folder, with their split and weights; None if the
    predictions have no probabilities."""
    evaluated = results.own_evaluation(folder)
    if len(evaluated.row_scores) != len(evaluated.predictions):
        logger.warning("%s has no probabilities: no threshold is tuned", folder)
        return None
    values = tuned_thresholds(part.task, evaluated, per_label=per_label)
    shown = ", ".join(f"{value:.2f}" for value in dict.fromkeys(values.values()))
    logger.info("%s: thresholds tuned on %s: %s", part.task.name, part.split, shown)
    return {"split": part.split, "weights": results.weights_of(folder), "values": values}


def cut_as_tuned(config: RunConfig) -> RunConfig:
    """The configuration whose tasks predict with the tuned thresholds in the model's folder, except
    on the split that they were tuned on."""
    used: dict[str, Any] = {}
    found = thresholds_of(Path(config.origin.folder))
    for task, split in zip(config.task.members, config.splits.test, strict=True):
        one = found.get(task.name)
        if one is None or not is_usable(task, one.get("values")):
            continue
        if {*check_split(split)} & {*check_split(str(one.get("split")))}:
            logger.info("%s: threshold 0.5, because others were tuned on this split", split)
            continue
        used[task.name] = one["values"]
        shown = ", ".join(f"{value:.2f}" for value in dict.fromkeys(one["values"].values()))
        logger.info("%s: thresholds tuned on %s: %s", task.name, one["split"], shown)
    return dataclasses.replace(config, task=with_thresholds(config.task, used)) if used else config


def prefixed_as_trained(config: RunConfig) -> RunConfig:
    """The configuration whose tasks use the text prefixes in the model's folder, unless gin sets
    others."""
    record = read_record(Path(config.origin.folder))
    members = []
    for task in config.task.members:
        known = record.prefix_of(task.name) if record else ()
        if dataset_settings().prefix is None:
            task = task.with_prefix(known)
            if known:
                logger.info("%s: the prefix is %s, as in training", task.name, known)
        elif task.prefixes != known:
            logger.warning("%s: %s was %s in training", PREFIX, task.name, known or "not set")
        members.append(task)
    if isinstance(config.task, Mixture):
        return dataclasses.replace(
            config, task=dataclasses.replace(config.task, members=tuple(members))
        )
    return dataclasses.replace(config, task=members[0])


def recorded_own_data(task: Task | Mixture) -> dict[str, Any] | None:
    """The definition of a task of own data, without its file names, which an export must not
    reveal; None for any other task."""
    own = own_data_of(task)
    return None if own is None else {**own.to_json(), "files": {}}
