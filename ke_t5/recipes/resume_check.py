"""Resumes a run: loads its checkpoint, which must have been saved with the same settings."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ke_t5.checkpoint.checkpointer import Checkpointer
from ke_t5.checkpoint.checkpoints import clean, find_checkpoint
from ke_t5.checkpoint.settings import (
    BY_WINDOW,
    COMPRESSION,
    CUDA_GRAPHS,
    EARLIER_BATCHES,
    EARLY_STOPPING,
    EMBEDDING_ROWS,
    EVAL_EPOCHS,
    EVAL_EVERY,
    GLOBAL_BATCH,
    HEAD_START,
    LAID_OUT,
    MODEL_CODE,
    ORDER,
    PADDING,
    PRECISION,
    SCHEDULE,
    TRAINING_DATA,
    VALIDATION_DATA,
    WINDOW,
    WINDOW_UNIT,
    check_unchanged,
    reported_changes,
)
from ke_t5.config.run_config import RunConfig
from ke_t5.distributed import Ranks
from ke_t5.errors import Exit, UserError
from ke_t5.pipe import BatchPlan, EvaluationHelper, Examples
from ke_t5.pipe.code import find_module, is_users_own, reached_code
from ke_t5.pipe.prefixes import PREFIX
from ke_t5.recipes.disks import check_seen
from ke_t5.recipes.head_start import epochs_between_validations
from ke_t5.recipes.modelling import lora_of
from ke_t5.recipes.task_splits import TaskSplit
from ke_t5.train.loop import TrainState
from ke_t5.train.schedules import allows_stretching, get_scheduler

if TYPE_CHECKING:
    from transformers import PreTrainedModel

logger = logging.getLogger(__name__)

STRETCH = "resume_schedule.stretch"
# Schedules of different lengths differ within this many steps, if at all.
CHECKED_STEPS = 100_000


def restore(
    config: RunConfig, checkpointer: Checkpointer, *, settings: dict[str, Any], num_steps: int
) -> RunConfig | None:
    """Loads the checkpoint to resume; returns the configuration with the warm-up of the run, None
    if there is no checkpoint.

    Args:
        settings: see `fixed_settings`; saved in later checkpoints.
        num_steps: the update at which this launch ends.

    Raises:
        UserError: exit 4, there is no such checkpoint, or it was saved with other settings.
    """
    state, total = checkpointer.state, checkpointer.epoch_steps
    if checkpointer.ranks.is_main:
        clean(config.run.weights)
    checkpoint = checkpoint_to_resume(config, checkpointer.ranks)
    checkpointer.settings = settings
    if checkpoint is None:
        return None
    progress = checkpointer.load(checkpoint)
    config = keep_warmup(config, state, progress["fixed"], total=total)
    checkpointer.settings = settings | schedule_of(config)
    check_unchanged(
        progress["fixed"], checkpointer.settings, step=progress["step"],
        num_parts=settings[GLOBAL_BATCH] // config.batches.size, where=str(checkpoint),
    )  # fmt: skip
    for line in reported_changes(progress["fixed"], checkpointer.settings):
        logger.warning("--resume %s: %s", config.resume, line)
    check_schedule(
        config, state, total_before=progress.get("epoch_steps"), total=total, num_steps=num_steps
    )
    checkpointer.remove_older(checkpoint)  # not before: a refused launch changes nothing
    logger.info("resumed from %s (step %d)", checkpoint, state.step)
    return config


def checkpoint_to_resume(config: RunConfig, ranks: Ranks) -> Path | None:
    """The checkpoint that `--resume` names on process 0; None for a new run.

    Raises:
        UserError: exit 4, the run has no complete checkpoint, or a process does not see it.
    """
    resume, checkpoint = config.resume, None
    if ranks.is_main and resume:
        checkpoint = find_checkpoint(config.run.weights, resume)
    checkpoint = ranks.broadcast(checkpoint)
    if checkpoint is None and config.origin.is_resumed:
        # The model's weights were not loaded, because a checkpoint would replace them.
        raise UserError(
            f"no complete checkpoint in {config.run.weights}",
            f"--resume {resume}",
            "drop it to start a new run",
            Exit.CHECKPOINT,
        )
    check_seen(checkpoint, ranks, where=f"--resume {resume}")
    return checkpoint


def fixed_settings(
    config: RunConfig,
    state: TrainState,
    *,
    plan: BatchPlan,
    train: Examples,
    valid: Sequence[TaskSplit],
    helpers: Sequence[EvaluationHelper],
) -> dict[str, Any]:
    """Flag or gin name -> value of the settings that affect weights, order or the best choice."""
    best = config.task.best
    return {
        "--task": config.task.name,
        "--model_name": config.model.class_name,
        PREFIX: list(config.task.members[0].prefixes) or None,
        TRAINING_DATA: train.content_hash(),
        "training rows": len(train),
        "share of each task (rows, rows in an epoch)": plan.examples_per_epoch or None,
        VALIDATION_DATA: "+".join(part.examples.content_hash() for part in valid),
        "--seed": config.seed,
        GLOBAL_BATCH: plan.batch_size,
        EARLIER_BATCHES: [list(part) for part in plan.earlier] or None,
        "get_batches.batch_tokens": plan.batch_tokens,
        WINDOW_UNIT: _unit(plan),
        WINDOW: plan.window,
        ORDER: BY_WINDOW if plan.is_lazy else LAID_OUT,
        **schedule_of(config),
        "model.config": config.model.changes or None,
        "lora": dataclasses.asdict(lora) if (lora := lora_of(config)) else None,
        PRECISION: config.fit.precision,
        PADDING: config.fit.padding,
        CUDA_GRAPHS: state.graphs is not None,
        COMPRESSION: config.fit.compress_gradients,
        HEAD_START: config.fit.head_start,
        EMBEDDING_ROWS: config.fit.embedding_rows,
        "fit.clip_norm": config.fit.clip_norm,
        EARLY_STOPPING: config.fit.early_stopping,
        EVAL_EVERY: config.loop.validate_every,
        EVAL_EPOCHS: epochs_between_validations(config, plan),
        "monitor of the best checkpoint": (best.metric, best.mode) if best else None,
        "--pass_only_model_io": config.data.model_columns_only,
        **prediction_of(helpers),
        MODEL_CODE: code_of_model(state.module),
        **optimizer_of(state),
    }


def optimizer_of(state: TrainState) -> dict[str, Any]:
    """The part of `fixed_settings` that describes the optimizer."""
    groups = state.optimizer.param_groups
    rates = [group.get("initial_lr", group["lr"]) for group in groups]
    options = {
        f"{type(state.optimizer).__name__}.{name}": value
        for name, value in groups[0].items()
        if isinstance(value, (int, float, str, tuple)) and name not in ("lr", "initial_lr")
    }
    peak = max((rate for rate in rates if rate is not None), default=0)
    return {"learning rate": peak, **options}


def _unit(plan: BatchPlan) -> str:
    """The unit in which batches, and windows of them, are measured."""
    if plan.batch_tokens is None:
        return "rows"
    return "tokens" if plan.is_padded else "real tokens"


def prediction_of(helpers: Sequence[EvaluationHelper]) -> dict[str, Any]:
    """The part of `fixed_settings` on how the validation splits are predicted."""
    names = ("model_fn", "model_kwargs", "model_input_keys", "engine", "eval_batch_tokens")
    found = {}
    for name in names:
        values = {helper.task.name: _storable(getattr(helper, name)) for helper in helpers}
        is_one = len(helpers) == 1
        found[f"EvaluationHelper.{name}"] = next(iter(values.values())) if is_one else values
    return found


def _storable(value: Any) -> Any:
    """The value, with the type's name in place of objects that a checkpoint cannot store."""
    if isinstance(value, Mapping):
        return {str(key): _storable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_storable(item) for item in value]
    is_plain = isinstance(value, (bool, int, float, str, type(None)))
    return value if is_plain else type(value).__qualname__


def code_of_model(model: PreTrainedModel) -> dict[str, str] | None:
    """Module -> hash of the user's code that the model's class uses; None for a class of this
    package or an installed one."""
    name = type(model).__module__
    module = find_module(name)
    if module is None or module.file is None or not is_users_own(module.file):
        return None
    return dict(reached_code(name))


def schedule_of(config: RunConfig) -> dict[str, Any]:
    """The part of `fixed_settings` on how the learning rate changes."""
    name = config.schedule.in_force
    settings = tuple(config.schedule.settings)
    return {"--schedule": name, SCHEDULE: settings if name != "constant" else None}


def keep_warmup(
    config: RunConfig, state: TrainState, before: dict[str, Any], *, total: int
) -> RunConfig:
    """The configuration with the run's default warm-up even if the number of epochs has changed;
    updates the state's schedule as well."""
    settings = before.get(SCHEDULE)
    if not (config.schedule.has_default_warmup and settings):
        return config
    schedule = config.schedule.with_warmup_steps(settings[1], is_default=True)
    state.lr_multiplier = get_scheduler(schedule.in_force, total, schedule.settings)
    return dataclasses.replace(config, schedule=schedule)


def check_schedule(
    config: RunConfig, state: TrainState, *, total_before: int | None, total: int, num_steps: int
) -> None:
    """Raises UserError if the learning rate would leave the schedule that the run began with.

    With `resume_schedule.stretch=True` the change is logged instead.

    Args:
        total_before: updates in all epochs when the checkpoint was saved; None if it is of an older
            version, which cannot be checked.
        total: updates in all epochs now; num_steps: the update at which this launch ends.
    """
    if total_before in (None, total):
        return
    name = config.schedule.in_force
    before = get_scheduler(name, total_before, config.schedule.settings)
    begun = range(state.step, num_steps)
    checked = (*begun[:CHECKED_STEPS], *begun[CHECKED_STEPS:][-1:])
    changed = next((step for step in checked if before(step) != state.lr_multiplier(step)), None)
    where = config.given.get("epochs", f"{total} steps in all epochs")
    fix = "keep --epochs, or add"
    if config.flags["allow_batch_change"]:
        where, fix = "--allow_batch_change", "accept it:"
    made_for = f"the {name} schedule of {total_before} steps now has {total}"
    if changed is None:
        if name != "constant":
            logger.warning("%s: %s; the rates of this launch are the same", where, made_for)
        return
    rates = [group.get("initial_lr", group["lr"]) for group in state.optimizer.param_groups]
    peak = max((rate for rate in rates if rate is not None), default=0.0)
    # The rate of the last update if the two differ from there on, otherwise the next planned one.
    old = before(changed - 1 if changed == state.step > 0 else changed)
    message = (
        f"{made_for}: its rate {peak * old:.3g} becomes "
        f"{peak * state.lr_multiplier(changed):.3g} at step {changed + 1}"
    )
    if allows_stretching():
        logger.warning("%s: %s", where, message)
        return
    raise UserError(message, where, f"{fix} --gin_param {STRETCH}=True", Exit.CHECKPOINT)
