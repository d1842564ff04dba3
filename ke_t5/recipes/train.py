"""Training, from top to bottom: configure, build, fit, evaluate, save, export."""

from __future__ import annotations

import dataclasses
import logging
import time
from argparse import Namespace
from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING

from ke_t5 import heartbeat
from ke_t5.config.resume import AUTO
from ke_t5.config.run_config import RunConfig
from ke_t5.distributed import Ranks, session
from ke_t5.fault_points import fault_point
from ke_t5.files import new_folder
from ke_t5.garbage import collect_as_usual
from ke_t5.launchers import is_restart, launch_name
from ke_t5.lookup.lora import write_lora
from ke_t5.pipe import Examples
from ke_t5.pipe.arguments import check_training_columns
from ke_t5.recipes import console
from ke_t5.recipes.disks import check_one_disk
from ke_t5.recipes.early_checks import (
    check_lengths,
    check_model,
    check_output,
    check_rows_of_training,
    check_splits,
    check_training,
)
from ke_t5.recipes.export_target import check_export
from ke_t5.recipes.model_origin import find_run, from_pre_trained, from_run, from_sample
from ke_t5.recipes.opening import keep_record, open_run
from ke_t5.recipes.prepare import prepare
from ke_t5.recipes.record import recorded, training_facts
from ke_t5.recipes.run_locks import check_unused, held_locks
from ke_t5.recipes.sharing import check_sharing, push_export
from ke_t5.recipes.summary import print_summary, report_start
from ke_t5.recipes.task_record import keep_thresholds, task_record
from ke_t5.recipes.task_splits import (
    Evaluation,
    TaskSplit,
    evaluate_splits,
    helpers_of,
    with_splits,
)
from ke_t5.recipes.training_data import TrainingData, batch_plan, load_training_data
from ke_t5.report.run_report import write_run_report
from ke_t5.seals import class_title, seal_folder
from ke_t5.task.utils import get_vocabulary
from ke_t5.train.schedules import get_scheduler
from ke_t5.train.trackers import Tracking

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

    from ke_t5.models.kept_gradients import KeptGradients
    from ke_t5.pipe import BatchPlan
    from ke_t5.recipes.trainer import Trainer
    from ke_t5.train.loop import TrainState

logger = logging.getLogger(__name__)


def main(flags: Namespace) -> None:
    """`train_ddp.py`: trains a model, and writes the run's folder."""
    config = prepare(flags)
    check_training(config)
    check_splits(config)
    check_output(config)
    check_export(config)
    config = with_splits(config, "train", "validation")
    check_rows_of_training(config)
    config = choose_model(config)
    check_export(config)  # again: --resume PATH may mean another run
    check_sharing(config)
    check_unused(config.run)
    check_lengths(config)
    check_model(config)
    data = load_training_data(config)
    logger.info("loading PyTorch and the model")  # seconds pass until the next line
    about = {"resumes": config.origin.is_resumed, "stall_timeout": config.flags["stall_timeout"]}
    with held_locks() as locks, session(**about) as ranks, heartbeat.phase("building the model"):
        started = time.monotonic()
        check_one_disk(config.run, ranks)
        config, state, plan = build_state(config, data, ranks)
        trainer = trainer_of(config, state, ranks, plan=plan, valid=data.valid)
        # Not earlier: a model that cannot be built must not move an older run aside.
        open_run(config, data, ranks, locks)
        config = restore_run(config, trainer, plan=plan, train=data.train)
        if config.origin.is_resumed:
            keep_record(config, data, ranks)
        steps = trainer.timetable.epoch_steps
        report_start(config, trainer, plan)
        facts = training_facts(config, state, ranks, plan=plan, steps=steps)
        with recorded(config, state, ranks, facts=facts, started=started):
            fit_model(config, trainer, data.train, plan)
        if ranks.is_main:
            keep_thresholds(config, data.valid)
        export(config, trainer)
        write_reports(config, trainer)
        print_summary(config, trainer, seconds=time.monotonic() - started)
    push_export(config, is_main=ranks.is_main)


def choose_model(config: RunConfig) -> RunConfig:
    """Chooses the origin of configuration, tokenizer and weights: a resumed run, the sample, or
    `--pre_trained_model`.

    If torchrun restarted this process (`--max-restarts`), the run of this launch is resumed from
    its last checkpoint, whatever `--resume` says.
    """
    found = find_run(config)
    config = found or config
    if is_restart() and config.run.read_run().get("launch") == launch_name():
        config = dataclasses.replace(config, resume=AUTO)
        found = find_run(config)
    if found is not None:
        return from_run(config)
    if config.sample:
        return from_sample(config)
    return from_pre_trained(config, from_scratch=config.model.from_scratch)


def build_state(
    config: RunConfig, data: TrainingData, ranks: Ranks
) -> tuple[RunConfig, TrainState, BatchPlan]:
    """The configuration with settings resolved for the model, such as the learning rate; the run's
    model, optimizer and schedule; and the order of its batches."""
    # Imported here: they import torch and transformers, which nothing has needed so far.
    from ke_t5.recipes.batch_change import plan_of_run
    from ke_t5.recipes.embedding_rows import choose_embedding_rows
    from ke_t5.recipes.graphs import choose_graphs
    from ke_t5.recipes.modelling import with_optimizer
    from ke_t5.recipes.padding import choose_padding
    from ke_t5.recipes.precision import choose_precision
    from ke_t5.train.compilation import compile_layers
    from ke_t5.train.loop import TrainState, count_steps

    module = _starting_model(config, data, ranks)
    config = choose_embedding_rows(config, module, data.train, ranks)
    config = choose_precision(config, module, ranks)
    config, unpadding = choose_padding(config, module, data.train, ranks)
    plan = batch_plan(config, data, num_parts=ranks.size * config.fit.accumulate)
    plan = plan_of_run(config, plan, ranks)
    num_steps = count_steps(plan, config.loop.epochs)
    graphs = choose_graphs(config, module, data.train, plan=plan, ranks=ranks, unpadding=unpadding)
    # Before the optimizer: sharding replaces the parameters.
    model, gradients = _distributed(config, module, data.train, ranks)
    config, optimizer = with_optimizer(config, module, num_steps)
    collect_as_usual()
    state = TrainState(
        model=model,
        module=module,
        optimizer=optimizer,
        lr_multiplier=get_scheduler(config.schedule.in_force, num_steps, config.schedule.settings),
        unpadding=unpadding,
        graphs=graphs,
        gradients=gradients,
    )
    if config.fit.compile:  # after wrapping
        compile_layers(module)
    return config, state, plan


def _starting_model(config: RunConfig, data: TrainingData, ranks: Ranks) -> PreTrainedModel:
    """The model with the initial weights of the training."""
    from ke_t5.recipes.head_start import start_at_regression
    from ke_t5.recipes.modelling import build_divided, build_model, start_at_mean

    is_sharded = config.is_sharded and ranks.size > 1
    module = (build_divided if is_sharded else build_model)(config, ranks)
    for task in config.task.members:
        features = task.output_features.items()
        check_training_columns(module, [name for name, one in features if one.required])
    start_at_mean(config, module, data.train)
    start_at_regression(config, module, data.train, ranks)
    return module


def _distributed(
    config: RunConfig, module: torch.nn.Module, examples: Examples, ranks: Ranks
) -> tuple[torch.nn.Module, KeptGradients | None]:
    """The module sharded, in DistributedDataParallel, or as it is; and the exchange of the
    gradients that DistributedDataParallel leaves to us, if any."""
    from ke_t5.models.kept_gradients import keep_gradients
    from ke_t5.models.vocabulary_loss import find_vocabulary_loss
    from ke_t5.train.model_checks import has_unused_parameters

    if config.is_sharded:
        return ranks.shard(module), None
    if ranks.size == 1:
        return module, None
    loss = find_vocabulary_loss(module)
    gradients = loss.gradients if loss else keep_gradients(module, is_compiled=config.fit.compile)
    model = ranks.wrap(
        module,
        find_unused_parameters=has_unused_parameters(module, examples, ranks.device),
        compresses=config.fit.compress_gradients,
        apart=[] if gradients is None else gradients.apart,
    )
    return model, gradients


def trainer_of(
    config: RunConfig, state: TrainState, ranks: Ranks, *, plan: BatchPlan, valid: list[TaskSplit]
) -> Trainer:
    """The trainer, with its checkpointer, validator and trackers."""
    from ke_t5.checkpoint.checkpointer import Checkpointer
    from ke_t5.recipes.graphs import in_memory_of
    from ke_t5.recipes.head_start import epochs_between_validations
    from ke_t5.recipes.trainer import Timetable, Trainer
    from ke_t5.recipes.validator import Validator
    from ke_t5.sharding import gathered_weights
    from ke_t5.train.loop import count_steps

    loop, best = config.loop, config.task.best
    steps = count_steps(plan, loop.epochs)
    with ranks.layers_in_turn(state.module):
        helpers = helpers_of(config, state.module, valid)
    # An engine reads the weights itself.
    reads_weights = any(helper.engine is not None for helper in helpers)

    def evaluate() -> Evaluation:
        watch = console.watch_validation if ranks.is_main else iter
        with gathered_weights(state.model) if reads_weights else nullcontext():
            return evaluate_splits(
                config, helpers, state.module, valid, ranks=ranks, watch=watch, wants_loss=True
            )

    validate = partial(in_memory_of, state.graphs, evaluate)
    origin = None if config.sample else config.model.pre_trained_model
    facts = {"model": config.model.class_name, "pre_trained_model": origin}
    return Trainer(
        state,
        ranks,
        timetable=Timetable(
            epoch_steps=steps,
            num_steps=min(loop.max_steps or steps, steps),
            log_every=loop.log_every,
            validate_every=loop.validate_every,
            validate_epochs=epochs_between_validations(config, plan),
            save_every=loop.save_every,
            save_seconds=loop.save_seconds,
            patience=config.fit.early_stopping,
        ),
        checkpointer=Checkpointer(
            config.run.path, state, ranks, epoch_steps=steps, improves=best and best.improves
        ),
        validator=Validator(
            config.task, valid, helpers, evaluate=validate, run=config.run, facts=facts
        ),
        run=config.run.path,
        tracking=Tracking(config.flags["track"], config.run.path),
    )


def export(config: RunConfig, trainer: Trainer) -> None:
    """Exports the best checkpoint, if `--hf_path` is given."""
    from ke_t5.recipes.modelling import export_best

    if config.hf_path:
        settings = trainer.checkpointer.settings
        with heartbeat.phase("exporting"):
            export_best(config, trainer.state.module, trainer.ranks, settings=settings)


def write_reports(config: RunConfig, trainer: Trainer) -> None:
    """Writes the reports of the validation and of the run, and ends the trackers' runs; only on
    rank 0."""
    if not trainer.ranks.is_main:
        return
    with heartbeat.phase("writing the report"):
        trainer.validator.report()
        report = write_run_report(config.run.path)
        best = trainer.checkpointer.best_of_all()
        trainer.tracking.finish(best["scores"] if best else {}, report)


def restore_run(
    config: RunConfig, trainer: Trainer, *, plan: BatchPlan, train: Examples
) -> RunConfig:
    """Loads the checkpoint that `--resume` names, or writes `model/` for a new run; opens the logs.
    Returns the configuration with the warm-up of a resumed run."""
    from ke_t5.models.export import save_configuration
    from ke_t5.recipes.restored_results import restore_results
    from ke_t5.recipes.resume_check import fixed_settings, restore

    state, checkpointer = trainer.state, trainer.checkpointer
    if trainer.ranks.is_main and not config.origin.is_resumed:
        with new_folder(config.run.model, is_durable=True) as folder:
            save_configuration(state.module, get_vocabulary(), folder)
            task_record(config, type(state.module)).write(folder)
            if config.model.lora is not None:
                base = config.origin.folder if config.origin.has_weights else None
                write_lora(config.model.lora, folder, base=base)
            seal_folder(folder, model_class=class_title(type(state.module)))
            fault_point("run.before_model")
    # Before loading, which gives the optimizer the checkpoint's settings.
    valid, helpers = trainer.validator.splits, trainer.validator.helpers
    settings = fixed_settings(config, state, plan=plan, train=train, valid=valid, helpers=helpers)
    num_steps = trainer.timetable.num_steps
    resumed = restore(config, checkpointer, settings=settings, num_steps=num_steps)
    trainer.open_logs(is_resumed=resumed is not None)
    if resumed is not None:
        restore_results(trainer)
    return resumed or config


def fit_model(config: RunConfig, trainer: Trainer, train: Examples, plan: BatchPlan) -> None:
    """Trains the model; logs, validates and saves during the training and at its end."""
    from ke_t5.checkpoint.serialization import keep_state
    from ke_t5.train.compilation import report_first_step
    from ke_t5.train.loop import epoch_of, fit

    try:
        epoch, ends_epoch = epoch_of(plan, trainer.state.step)
        trainer.catch_up(epoch, ends_epoch=ends_epoch)
        if trainer.goes_on():
            keep_state(trainer.state.optimizer)
            updates = fit(
                trainer.state,
                train,
                plan,
                ranks=trainer.ranks,
                settings=config.fit,
                loss_reduction=config.task.loss_reduction,
                seed=config.seed,
                num_steps=trainer.timetable.num_steps,
                workers=config.loop.workers,
            )
            if config.fit.compile:
                updates = report_first_step(updates)
            with heartbeat.phase("training"):
                trainer.train(updates)
        trainer.finish()
        if trainer.state.used_rows is not None:
            trainer.state.used_rows.restore()
    finally:  # also after an error: waits until the checkpoint being written is complete
        trainer.checkpointer.settle()
