"""Training, from top to bottom: configure, build, fit, evaluate, save, export."""

from __future__ import annotations

import functools
import logging
import time
from argparse import Namespace
from typing import TYPE_CHECKING

from ke_t5.config.resume import AUTO
from ke_t5.distributed import Ranks, session
from ke_t5.errors import Exit, UserError
from ke_t5.forms import FORMS
from ke_t5.launchers import is_restart, launch_name
from ke_t5.pipe import Examples, Mixture, get_batches
from ke_t5.pipe.mixture import mix_examples
from ke_t5.pipe.splits import provenance
from ke_t5.recipes import console
from ke_t5.recipes.disks import check_one_disk
from ke_t5.recipes.early_checks import check_model, check_training
from ke_t5.recipes.job import (
    Job,
    prepare,
    resumed_run,
    take_pre_trained_model,
    take_run_model,
    take_sample_model,
)
from ke_t5.recipes.record import recorded, training_facts
from ke_t5.recipes.split_overlap import warn_of_validated_rows
from ke_t5.recipes.summary import print_summary, report_start
from ke_t5.recipes.task_splits import (
    TaskSplit,
    evaluate_splits,
    helpers_of,
    load_splits,
    resolve_splits,
)
from ke_t5.task.utils import get_vocabulary
from ke_t5.train.schedules import get_scheduler

if TYPE_CHECKING:
    from ke_t5.pipe import BatchPlan
    from ke_t5.recipes.trainer import Trainer
    from ke_t5.train.loop import TrainState

logger = logging.getLogger(__name__)


def main(flags: Namespace) -> None:
    """`train_ddp.py`: trains, and leaves a run's folder behind."""
    job = prepare(flags)
    check_training(flags)
    choose_model(job)
    check_model(job)
    train, valid = examples_of(job)
    logger.info("loading PyTorch and the model")  # seconds pass until the next line
    with session(resumes=job.is_resumed) as ranks:
        from ke_t5.recipes.modelling import export_best

        started = time.monotonic()
        check_one_disk(job, ranks)
        state, plan = state_of(job, train, ranks)
        trainer = trainer_of(job, state, ranks, plan=plan, valid=valid)
        job.open_run(ranks)  # not before: what cannot be built moves no older run aside
        restore_run(job, trainer, plan=plan, train=train)
        steps, epochs = trainer.timetable.epoch_steps, num_epochs(job)
        report_start(job, trainer, plan, epochs=epochs)
        facts = training_facts(job, state, ranks, plan=plan, epochs=epochs, steps=steps)
        with recorded(job, state, ranks, facts=facts, started=started):
            fit_model(job, trainer, train, plan)
        if job.flags.hf_path:
            export_best(job, state.module, ranks, settings=trainer.checkpointer.settings)
        if ranks.is_main:
            trainer.validator.report()
        print_summary(job, trainer, seconds=time.monotonic() - started)


def num_epochs(job: Job) -> int:
    """Passes over the training data."""
    return job.flags.epochs or job.task.defaults.epochs


def state_of(job: Job, train: Examples, ranks: Ranks) -> tuple[TrainState, BatchPlan]:
    """The run's model, optimizer and schedule, and the order of its batches."""
    # These import torch and transformers, which everything before has spared.
    from ke_t5.recipes.modelling import (
        build_model,
        check_export,
        optimizer_of,
        settle_warmup,
        start_at_mean,
    )
    from ke_t5.train.loop import TrainState, count_steps, has_unused_parameters

    if ranks.is_main and job.flags.hf_path:
        check_export(job)
    module = build_model(job, ranks)
    start_at_mean(job, module, train)
    plan = batch_plan(job, train, num_parts=ranks.size * job.settings.accumulate)
    unused = ranks.size > 1 and has_unused_parameters(module, train, ranks.device)
    num_steps, optimizer = count_steps(plan, num_epochs(job)), optimizer_of(job, module)
    settle_warmup(job, module, optimizer, num_steps)
    state = TrainState(
        model=ranks.wrap(module, find_unused_parameters=unused),
        module=module,
        optimizer=optimizer,
        lr_multiplier=get_scheduler(job.flags.schedule or "constant", num_steps),
    )
    return state, plan


def trainer_of(
    job: Job, state: TrainState, ranks: Ranks, *, plan: BatchPlan, valid: list[TaskSplit]
) -> Trainer:
    """Who decides when the model is validated and saved, with those who do it."""
    from ke_t5.checkpoint.checkpointer import Checkpointer
    from ke_t5.recipes.trainer import Timetable, Trainer
    from ke_t5.recipes.validator import Validator
    from ke_t5.train.loop import count_steps

    flags, best, steps = job.flags, job.task.best, count_steps(plan, num_epochs(job))
    helpers = helpers_of(job, state.module, valid)
    evaluate = functools.partial(
        evaluate_splits, job, helpers, state.module, valid, ranks=ranks,
        watch=console.watch_validation if ranks.is_main else iter,
    )  # fmt: skip
    origin = None if flags.sample else flags.pre_trained_model
    facts = {"model": job.class_name, "pre_trained_model": origin}
    return Trainer(
        state,
        ranks,
        timetable=Timetable(
            epoch_steps=steps,
            num_steps=min(flags.max_steps or steps, steps),
            log_every=flags.print_freq,
            validate_every=flags.eval_every,
            save_every=flags.save_every,
            patience=job.settings.early_stopping,
        ),
        checkpointer=Checkpointer(
            job.run.path, state, ranks, epoch_steps=steps, improves=best and best.improves
        ),
        validator=Validator(job.task, valid, helpers, evaluate=evaluate, run=job.run, facts=facts),
        run=job.run.path,
    )


def restore_run(job: Job, trainer: Trainer, *, plan: BatchPlan, train: Examples) -> None:
    """Goes on from the checkpoint that `--resume` names, else keeps what the model is, for a
    resumption; opens the logs."""
    from ke_t5.models.export import save_configuration
    from ke_t5.recipes.resume_check import fixed_settings, restore

    state, checkpointer = trainer.state, trainer.checkpointer
    if trainer.ranks.is_main and not job.is_resumed:
        save_configuration(state.module, get_vocabulary(), job.run.model)
    # Not after loading, which gives the optimizer the settings of the checkpoint.
    settings = fixed_settings(job, state, plan=plan, train=train, valid=trainer.validator.splits)
    num_steps = trainer.timetable.num_steps
    is_resumed = restore(job, checkpointer, settings=settings, num_steps=num_steps)
    trainer.open_logs(is_resumed=is_resumed)


def fit_model(job: Job, trainer: Trainer, train: Examples, plan: BatchPlan) -> None:
    """Fits the model; logs, validates and saves on the way and at the end."""
    from ke_t5.train.loop import fit

    if trainer.goes_on():
        updates = fit(
            trainer.state,
            train,
            plan,
            ranks=trainer.ranks,
            settings=job.settings,
            loss_reduction=job.task.loss_reduction,
            seed=job.flags.seed,
            num_steps=trainer.timetable.num_steps,
            workers=job.flags.workers,
        )
        trainer.train(updates)
    trainer.finish()


def choose_model(job: Job) -> None:
    """Decides where configuration, tokenizer and weights come from: a run that is resumed, the
    sample, or `--pre_trained_model`."""
    is_found = bool(job.flags.resume) and resumed_run(job)
    if is_restarted_run(job) or (is_found and not job.is_restart):
        take_run_model(job)
    elif job.flags.sample:
        take_sample_model(job)
    else:
        take_pre_trained_model(job, from_scratch=job.flags.from_scratch)


def is_restarted_run(job: Job) -> bool:
    """Whether torchrun has started this process again (`--max-restarts`), and the run that this
    launch began has a checkpoint: the job then goes on from the last one, whatever `--resume` says.
    """
    if not is_restart() or job.run.read_run().get("launch") != launch_name():
        return False
    job.is_restart, job.flags.resume = True, AUTO
    return resumed_run(job)


def examples_of(job: Job) -> tuple[Examples, list[TaskSplit]]:
    """Training and validation examples; tells what was lost on the way to them."""
    splits = resolve_splits(job, "train"), resolve_splits(job, "validation")
    train, valid = load_splits(job, splits[0]), load_splits(job, splits[1])
    for part in (*train, *valid):
        content = part.examples.content_hash()
        raw = provenance(part.split, part.task.source, job.folders, part.task.rows)
        job.data[part.name] = {"examples": len(part.examples), "content": content, "raw": raw}
    train = [labelled(part) for part in train]
    warn_of_validated_rows(job, train, valid)
    if job.flags.eval_rows:
        valid = [part.on(part.examples.some_rows(job.flags.eval_rows)) for part in valid]
    for one, other in zip(train, valid, strict=True):
        if one.task.labels:
            console.warn_of_shifted_labels(one.examples, other.examples, one.task.labels)
    if not isinstance(job.task, Mixture):
        return train[0].examples, valid
    job.examples_per_epoch = job.task.examples_per_epoch([len(part.examples) for part in train])
    console.report_mixture(job.task, job.examples_per_epoch)
    return mix_examples({part.task.name: part.examples for part in train}), valid


def labelled(part: TaskSplit) -> TaskSplit:
    """The part without its rows that have no label; tells how many these are."""
    examples = part.examples.labelled()
    missing = len(part.examples) - len(examples)
    if missing:
        logger.warning("%s: %d training rows have no label: left out", part.task.name, missing)
    if not len(examples):
        where = f"--train_split {part.split}"
        raise UserError("none of its rows has a label", where, "name one with labels", Exit.DATA)
    return part.on(examples)


def batch_plan(job: Job, train: Examples, *, num_parts: int) -> BatchPlan:
    """The order of the training batches."""
    targets = train.lengths("labels") if FORMS[job.task.form].generates else None
    return get_batches(
        train.lengths("input_ids"),
        targets,
        batch_size=job.batch_size(),
        num_parts=num_parts,
        seed=job.flags.seed,
        examples_per_epoch=job.examples_per_epoch,
    )
