"""Training, from top to bottom: configure, build, fit, evaluate, save, export."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from ke_t5.distributed import session
from ke_t5.errors import Stopped
from ke_t5.flags import parse_train
from ke_t5.pipe import Examples, get_batches, get_dataset
from ke_t5.pipe.splits import default_split
from ke_t5.recipes import console
from ke_t5.recipes.job import (
    Job,
    prepare,
    resumed_run,
    take_pre_trained_model,
    take_run_model,
    take_sample_model,
)

if TYPE_CHECKING:
    import torch

    from ke_t5.pipe import BatchPlan

logger = logging.getLogger(__name__)


def main(argv: list[str]) -> None:
    """`train_ddp.py`: trains, and leaves a run's folder behind."""
    flags = parse_train(argv)
    job = prepare(flags)
    is_resumed = choose_model(job)
    train, valid = examples_of(job)
    with session() as ranks:
        # These import torch and transformers, which everything above has spared.
        from ke_t5.recipes.keeper import Keeper
        from ke_t5.recipes.modelling import build_model, export_best
        from ke_t5.train.loop import TrainState, count_steps, fit, has_unused_parameters

        started = time.monotonic()
        job.open_run(ranks, is_resumed=is_resumed)
        module = build_model(job, ranks)
        plan = batch_plan(job, train, num_parts=ranks.size * job.settings.accumulate)
        num_epochs = flags.epochs or job.task.defaults.epochs
        epoch_steps = count_steps(plan, num_epochs)
        num_steps = min(flags.max_steps or epoch_steps, epoch_steps)
        unused = ranks.size > 1 and has_unused_parameters(module, train, ranks.device)
        state = TrainState(
            model=ranks.wrap(module, find_unused_parameters=unused),
            module=module,
            optimizer=optimizer_of(job, module),
            factor=schedule_of(job, epoch_steps),
        )
        keeper = Keeper(
            job,
            state,
            valid,
            ranks,
            num_steps=num_steps,
            epoch_steps=epoch_steps,
            plan=plan,
            train=train,
        )
        keeper.restore()
        keeper.announce(num_epochs)
        updates = fit(
            state,
            train,
            plan,
            ranks=ranks,
            settings=job.settings,
            divisor=job.task.divisor,
            seed=flags.seed,
            num_steps=num_steps,
            workers=flags.workers,
        )
        for update in keeper.watch(updates):
            keeper.log(update)
            if keeper.wants_validation(update):
                keeper.validate(update)
            elif keeper.wants_snapshot(update):
                keeper.save()
            if ranks.agree_to_stop():
                keeper.save()
                keeper.close()
                raise Stopped(f"stopped at step {state.step}, saved in {job.run.weights}")
            if keeper.is_patience_over():
                break
        keeper.finish()
        if flags.hf_path:
            export_best(job, module, ranks)
        keeper.tell_result(seconds=time.monotonic() - started)


def choose_model(job: Job) -> bool:
    """Decides where configuration, tokenizer and weights come from; whether a run is resumed."""
    if job.flags.resume and resumed_run(job):
        take_run_model(job)
        return True
    if job.flags.sample:
        take_sample_model(job)
    else:
        take_pre_trained_model(job, from_scratch=job.flags.from_scratch)
    return False


def examples_of(job: Job) -> tuple[Examples, Examples]:
    """Training and validation examples; tells what was lost on the way to them."""
    flags, task = job.flags, job.task
    source, folders = task.source, job.folders
    flags.train_split = flags.train_split or default_split(source, folders, "train")
    flags.valid_split = flags.valid_split or default_split(source, folders, "validation")
    found = []
    for split in (flags.train_split, flags.valid_split):
        examples = get_dataset(task, split, folders=folders)
        console.report_examples(task, split, examples)
        found.append(examples.without_kept() if flags.pass_only_model_io else examples)
    train, valid = found[0].labelled(), found[1]
    if len(train) < len(found[0]):
        logger.warning("%d training rows have no label: left out", len(found[0]) - len(train))
    if flags.eval_rows:
        valid = valid.some_rows(flags.eval_rows)
    if task.labels:
        console.warn_of_shifted_labels(train, valid, task.labels)
    return train, valid


def batch_plan(job: Job, train: Examples, *, num_parts: int) -> BatchPlan:
    """The order of the training batches."""
    targets = train.lengths("labels") if job.task.form == "seq2seq" else None
    return get_batches(
        train.lengths("input_ids"),
        targets,
        batch_size=job.batch_size(),
        num_parts=num_parts,
        seed=job.flags.seed,
    )


def optimizer_of(job: Job, module: torch.nn.Module) -> torch.optim.Optimizer:
    """The optimizer that gin names, at the learning rate of flag, gin or default, in this order."""
    from ke_t5.train.optimizers import get_optimizer

    build = get_optimizer(
        learning_rate=job.flags.learning_rate,
        default_learning_rate=default_learning_rate(module, from_scratch=not job.has_weights),
    )
    return build(module)


def default_learning_rate(module: torch.nn.Module, *, from_scratch: bool) -> float:
    """What practitioners use: 5e-5 for BERT and its kin, more for T5; 1e-3 for fresh weights."""
    if from_scratch:
        return 1e-3
    return 3e-4 if "t5" in module.config.model_type else 5e-5


def schedule_of(job: Job, num_steps: int):
    """Number of updates done -> factor on the learning rate, laid out over all epochs."""
    from ke_t5.train.schedules import get_scheduler

    return get_scheduler(job.flags.schedule or "constant", num_steps)
