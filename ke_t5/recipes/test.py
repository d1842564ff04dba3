"""Testing, from top to bottom: configure, load, evaluate, write."""

from __future__ import annotations

import logging
import time
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from ke_t5.distributed import Ranks, session
from ke_t5.errors import Exit, UserError
from ke_t5.failure import announce_run_folder
from ke_t5.pipe import Evaluated, EvaluationHelper, Examples, evaluate, get_dataset
from ke_t5.pipe.splits import default_split
from ke_t5.recipes import console, results
from ke_t5.recipes.ceilings import ceiling, ceiling_line
from ke_t5.recipes.intervals import bootstrap
from ke_t5.recipes.job import (
    Job,
    prepare,
    resumed_run,
    take_exported_model,
    take_pre_trained_model,
    take_run_model,
    take_sample_model,
)
from ke_t5.recipes.report import write_report
from ke_t5.recipes.seen_rows import tell_of_tested_rows
from ke_t5.recipes.submissions import hand_in, submission_form
from ke_t5.train.settings import autocast

if TYPE_CHECKING:
    from transformers import PreTrainedModel

logger = logging.getLogger(__name__)


def main(flags: Namespace) -> None:
    """`test_ddp.py`: scores a model on a split and keeps its predictions."""
    job = prepare(flags)
    form = submission_form(job)
    choose_weights(job)
    announce_run_folder(job.run.path)
    examples = examples_of(job)
    with session(notes_stops=False) as ranks:
        started = time.monotonic()
        if ranks.is_main:
            job.run.check_writable()
            job.run.forget_error()
        model, weights = model_of(job, ranks)
        helper = EvaluationHelper(job.task, seed=job.flags.seed)
        helper.check(model, examples)
        evaluated = evaluate(
            helper,
            model,
            examples,
            batch_size=job.batch_size(),
            ranks=ranks,
            autocast=lambda: autocast(job.settings, ranks.device),
            watch=console.watch_batches if ranks.is_main else iter,
        )
        if ranks.is_main:
            keep(job, helper, evaluated, examples, weights=weights, form=form)
            console.tell(f"{time.monotonic() - started:.0f} s")


def choose_weights(job: Job) -> None:
    """Decides which model is tested: a run's snapshot, an exported folder, or one as it comes."""
    flags = job.flags
    if flags.hf_path:
        folder = job.run.export if flags.hf_path == "default" else Path(flags.hf_path)
        take_exported_model(job, folder)
    elif flags.resume:
        if not resumed_run(job):
            raise no_weights(job)
        take_run_model(job)
    elif flags.sample:
        take_sample_model(job)
    else:
        take_pre_trained_model(job, from_scratch=False)
        job.may_draw_head = False


def no_weights(job: Job) -> UserError:
    """The error for a test that finds nothing to test."""
    return UserError(
        f"no whole snapshot in {job.run.weights}",
        f"--resume {job.flags.resume}",
        "train first, or name a snapshot",
        Exit.CHECKPOINT,
    )


def examples_of(job: Job) -> Examples:
    """The examples of the split to test on; tells what was lost on the way to them."""
    flags = job.flags
    flags.test_split = flags.test_split or default_split(job.task.source, job.folders, "test")
    examples = get_dataset(job.task, flags.test_split, folders=job.folders)
    console.report_examples(job.task, flags.test_split, examples)
    tell_of_tested_rows(job)
    return examples.without_kept() if flags.pass_only_model_io else examples


def model_of(job: Job, ranks: Ranks) -> tuple[PreTrainedModel, str]:
    """The model to test, and the snapshot or folder that its weights are from."""
    # These import torch and transformers, which everything before has spared.
    from ke_t5.recipes.modelling import build_model
    from ke_t5.train.snapshots import find_snapshot, load_snapshot

    model = build_model(job, ranks)
    if not job.is_resumed:
        return model, job.model_folder
    snapshot = find_snapshot(job.run.weights, job.flags.resume)
    if snapshot is None:
        raise no_weights(job)
    load_snapshot(snapshot, model=model)
    logger.info("testing %s", snapshot)
    return model, str(snapshot)


def keep(
    job: Job,
    helper: EvaluationHelper,
    evaluated: Evaluated,
    examples: Examples,
    *,
    weights: str,
    form: str | None,
) -> None:
    """Writes predictions, scores and report, and prints the table: what took longest goes first."""
    split = job.flags.test_split
    folder = results.write_evaluation(job, split, evaluated, examples, weights=weights)
    if form is not None:
        hand_in(job, form, evaluated)
    for line in job.configuration.unread():
        logger.warning(line)
    found = bootstrap(job.task, evaluated)
    results.add_intervals(folder, found)
    facts = results.facts_of(job, helper, examples, split=split, weights=weights)
    best = ceiling(job.task, examples)
    if best:
        facts["scores of perfect predictions"] = console.format_scores(best)
    title = f"{job.task.name} {split}"
    console.tell(
        write_report(
            folder, task=job.task, evaluated=evaluated, bootstrap=found, title=title, facts=facts
        )
    )
    if best:
        console.tell(ceiling_line(job.task, best))
    console.tell(f"report.html, scores and predictions in {folder}")
