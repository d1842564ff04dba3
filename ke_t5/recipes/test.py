"""Testing, from top to bottom: configure, load, evaluate, write."""

from __future__ import annotations

import logging
import time
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from ke_t5.config.resume import BEST, LAST
from ke_t5.distributed import Ranks, session
from ke_t5.errors import Exit, UserError
from ke_t5.failure import announce_run_folder
from ke_t5.pipe import Evaluated, EvaluationHelper, Mixture
from ke_t5.programs import TEST, program_name
from ke_t5.recipes import console, results
from ke_t5.recipes.early_checks import check_model
from ke_t5.recipes.job import (
    Job,
    prepare,
    resumed_run,
    take_exported_model,
    take_pre_trained_model,
    take_run_model,
    take_sample_model,
)
from ke_t5.recipes.split_overlap import warn_of_tested_rows
from ke_t5.recipes.submissions import hand_in, submission_form
from ke_t5.recipes.task_splits import (
    Evaluation,
    TaskSplit,
    evaluate_splits,
    helpers_of,
    load_splits,
    resolve_splits,
)
from ke_t5.recipes.tested import (
    ResultFolders,
    Weights,
    check_task,
    trained_on,
    weights_of_checkpoint,
)
from ke_t5.report.intervals import bootstrap
from ke_t5.report.report import write_report
from ke_t5.report.scores import format_scores
from ke_t5.report.upper_bounds import upper_bounds, upper_bounds_line

if TYPE_CHECKING:
    from transformers import PreTrainedModel

logger = logging.getLogger(__name__)


def main(flags: Namespace) -> None:
    """`test_ddp.py`: scores a model on a split and keeps its predictions."""
    job = prepare(flags)
    form = submission_form(job)
    choose_weights(job)
    announce_run_folder(job.run.path)
    check_model(job)
    parts = load_splits(job, resolve_splits(job, "test"))
    warn_of_tested_rows(job, parts)
    logger.info("loading PyTorch and the model")  # seconds pass until the next line
    with session(notes_stops=False) as ranks:
        started = time.monotonic()
        if ranks.is_main:
            job.run.check_writable(keep=False)
            job.run.forget_error()
        model, weights = model_of(job, ranks)
        helpers = helpers_of(job, model, parts)
        watch = console.watch_batches if ranks.is_main else iter
        evaluation = evaluate_splits(job, helpers, model, parts, ranks=ranks, watch=watch)
        if ranks.is_main:
            folders = keep(job, evaluation, weights=weights, form=form)
            for helper, folder, (part, evaluated) in zip(
                helpers, folders, evaluation.of_parts, strict=True
            ):
                report(job, helper, part, evaluated, weights=weights.name, folder=folder)
            if isinstance(job.task, Mixture):
                console.tell(f"{job.task.name}: {format_scores(evaluation.scores)}")
            console.tell(f"{time.monotonic() - started:.0f} s")


def choose_weights(job: Job) -> None:
    """Decides which model is tested: a run's checkpoint, an exported folder, or one as it comes."""
    flags = job.flags
    if flags.hf_path:
        folder = job.run.export if flags.hf_path == "default" else Path(flags.hf_path)
        take_exported_model(job, folder)
    elif flags.resume:
        if not resumed_run(job):
            raise no_weights(job)
        take_run_model(job)
        check_task(job)
    elif flags.from_scratch:
        if flags.sample:
            take_sample_model(job)
        else:
            take_pre_trained_model(job, from_scratch=True)
    elif job.run.is_trained():
        flags.resume = BEST if job.run.has_best() else LAST
        logger.warning("testing the trained run in %s (--resume %s)", job.run.path, flags.resume)
        take_run_model(job)
        check_task(job)
    elif flags.sample:
        raise untrained(job)
    else:
        take_pre_trained_model(job, from_scratch=False)
        job.may_draw_head = False


def untrained(job: Job) -> UserError:
    """The error for a test of random weights that nobody asked for."""
    return UserError(
        f"there is no trained run in {job.run.path}",
        program_name(TEST),
        "train first, name weights with --resume PATH or --hf_path DIR, or add --from_scratch to "
        "test random weights",
        Exit.CHECKPOINT,
    )


def no_weights(job: Job) -> UserError:
    """The error for a test that finds nothing to test."""
    return UserError(
        f"no complete checkpoint in {job.run.weights}",
        f"--resume {job.flags.resume}",
        "train first, or name a checkpoint",
        Exit.CHECKPOINT,
    )


def model_of(job: Job, ranks: Ranks) -> tuple[PreTrainedModel, Weights]:
    """The model to test, and which weights these are."""
    # These import torch and transformers, which everything before has spared.
    from ke_t5.checkpoint.checkpoints import find_checkpoint, load_checkpoint
    from ke_t5.recipes.modelling import build_model

    model = build_model(job, ranks)
    if not job.has_weights and not job.is_resumed:
        return model, Weights(f"from scratch, seed {job.flags.seed}")
    if not job.is_resumed:
        is_own = job.flags.hf_path == "default"
        return model, Weights("hf" if is_own else job.model_folder, Path(job.model_folder))
    checkpoint = find_checkpoint(job.run.weights, job.flags.resume)
    if checkpoint is None:
        raise no_weights(job)
    load_checkpoint(checkpoint, model=model)
    logger.info("testing %s", checkpoint)
    return model, weights_of_checkpoint(job.run, checkpoint)


def keep(job: Job, evaluation: Evaluation, *, weights: Weights, form: str | None) -> list[Path]:
    """Writes predictions and scores, what took longest first; returns the folder of each part."""
    places = ResultFolders(job, weights)
    origin = results.Origin(
        job.task,
        weights=weights.name,
        sha256=places.identity["weights_sha256"],
        trained_on=trained_on(job),
    )
    folders = []
    for part, evaluated in evaluation.of_parts:
        folder = places.of_part(part)
        results.write_evaluation(folder, part, evaluated, origin)
        folders.append(folder)
        if form is not None:
            hand_in(job, form, evaluated)
    if isinstance(job.task, Mixture):
        split = job.flags.test_split
        results.write_mixture(places.of_mixture(split), split, evaluation, origin)
    for line in job.configuration.unread():
        logger.warning(line)
    return folders


def report(
    job: Job,
    helper: EvaluationHelper,
    part: TaskSplit,
    evaluated: Evaluated,
    *,
    weights: str,
    folder: Path,
) -> None:
    """Writes the report of a part, and prints its table."""
    task = part.task
    found = bootstrap(task, evaluated)
    results.add_intervals(folder, found)
    origin = None if job.flags.sample else job.flags.pre_trained_model
    facts = results.facts_of(
        helper, part, weights=weights, model=job.class_name, pre_trained_model=origin
    )
    best = upper_bounds(task, part.examples)
    if best:
        facts["scores of perfect predictions"] = format_scores(best)
    title = f"{task.name} {part.split}"
    console.tell(
        write_report(
            folder, task=task, evaluated=evaluated, bootstrap=found, title=title, facts=facts
        )
    )
    if best:
        console.tell(upper_bounds_line(task, best))
    console.tell(f"report.html, scores and predictions in {folder}")
