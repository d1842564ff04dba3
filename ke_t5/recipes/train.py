"""Training, from top to bottom: configure, build, fit, evaluate, save, export."""

from __future__ import annotations

import logging
import time
from argparse import Namespace
from typing import TYPE_CHECKING

from ke_t5.config.resume import AUTO
from ke_t5.distributed import Ranks, session
from ke_t5.errors import Exit, Stopped, UserError
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
from ke_t5.recipes.split_overlap import tell_of_validated_rows
from ke_t5.recipes.summary import tell_result
from ke_t5.recipes.task_splits import TaskSplit, load_splits, resolve_splits
from ke_t5.train.schedules import get_scheduler

if TYPE_CHECKING:
    from ke_t5.pipe import BatchPlan
    from ke_t5.recipes.trainer import Keeper

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
        started = time.monotonic()
        check_one_disk(job, ranks)
        keeper = keeper_of(job, train, valid, ranks)
        job.open_run(ranks)  # not before: what cannot be built moves no older run aside
        keeper.restore()
        keeper.announce()
        fit_and_keep(job, keeper, train)
        keeper.finish()
        if job.flags.hf_path:
            keeper.export()
        keeper.report()
        tell_result(keeper, seconds=time.monotonic() - started)


def keeper_of(job: Job, train: Examples, valid: list[TaskSplit], ranks: Ranks) -> Keeper:
    """The run's model, optimizer and schedule in the hands of their keeper."""
    # These import torch and transformers, which everything before has spared.
    from ke_t5.recipes.modelling import (
        build_model,
        check_export,
        optimizer_of,
        settle_warmup,
        start_at_mean,
    )
    from ke_t5.recipes.trainer import Keeper
    from ke_t5.train.loop import TrainState, count_steps, has_unused_parameters

    if ranks.is_main and job.flags.hf_path:
        check_export(job)
    module = build_model(job, ranks)
    start_at_mean(job, module, train)
    plan = batch_plan(job, train, num_parts=ranks.size * job.settings.accumulate)
    num_epochs = job.flags.epochs or job.task.defaults.epochs
    unused = ranks.size > 1 and has_unused_parameters(module, train, ranks.device)
    num_steps, optimizer = count_steps(plan, num_epochs), optimizer_of(job, module)
    settle_warmup(job, module, optimizer, num_steps)
    state = TrainState(
        model=ranks.wrap(module, find_unused_parameters=unused),
        module=module,
        optimizer=optimizer,
        lr_multiplier=get_scheduler(job.flags.schedule or "constant", num_steps),
    )
    return Keeper(job, state, ranks, plan=plan, train=train, valid=valid, num_epochs=num_epochs)


def fit_and_keep(job: Job, keeper: Keeper, train: Examples) -> None:
    """Fits the model, and logs, validates and saves on the way."""
    from ke_t5.train.loop import fit

    if not keeper.goes_on():
        return
    updates = fit(
        keeper.state,
        train,
        keeper.plan,
        ranks=keeper.ranks,
        settings=job.settings,
        loss_reduction=job.task.loss_reduction,
        seed=job.flags.seed,
        num_steps=keeper.num_steps,
        workers=job.flags.workers,
    )
    for update in keeper.watch(updates):
        keeper.log(update)
        if keeper.wants_validation(update):
            keeper.validate(update)
        elif keeper.wants_checkpoint(update):
            keeper.save()
        if keeper.ranks.agree_to_stop():
            keeper.save()
            keeper.close()
            raise Stopped(f"at step {update.step}, saved in {job.run.weights}")
        if keeper.is_patience_over():
            break


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
    tell_of_validated_rows(job, train, valid)
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
