"""Testing, from top to bottom: configure, load, evaluate, write."""

from __future__ import annotations

import logging
import time
from pathlib import Path

from ke_t5.distributed import session
from ke_t5.errors import Exit, UserError
from ke_t5.flags import parse_test
from ke_t5.pipe import EvaluationHelper, Examples, evaluate, get_dataset
from ke_t5.pipe.splits import default_split
from ke_t5.recipes import console
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

logger = logging.getLogger(__name__)


def main(argv: list[str]) -> None:
    """`test_ddp.py`: scores a model on a split and keeps its predictions."""
    flags = parse_test(argv)
    job = prepare(flags)
    choose_weights(job)
    examples = examples_of(job)
    with session() as ranks:
        # These import torch and transformers, which everything above has spared.
        from ke_t5.recipes.modelling import autocast_of, build_model, write_evaluation
        from ke_t5.train.snapshots import find_snapshot, load_snapshot

        started = time.monotonic()
        if ranks.is_main:
            job.run.check_writable()
            job.run.forget_error()
        model = build_model(job, ranks)
        snapshot = None
        if flags.resume:
            snapshot = find_snapshot(job.run.weights, flags.resume)
            if snapshot is None:
                raise no_weights(job)
            load_snapshot(snapshot, model=model)
            logger.info("testing %s", snapshot)
        helper = EvaluationHelper(job.task, seed=flags.seed)
        helper.check(model, examples)
        evaluated = evaluate(
            helper,
            model,
            examples,
            batch_size=job.batch_size(),
            ranks=ranks,
            autocast=lambda: autocast_of(job, ranks),
            watch=console.watch_batches if ranks.is_main else iter,
        )
        if not ranks.is_main:
            return
        found = bootstrap(job.task, evaluated)
        folder = write_evaluation(job, flags.test_split, evaluated, examples, bootstrap=found)
        for line in job.configuration.unread():
            logger.warning(line)
        console.tell(write_report(
            folder,
            task=job.task,
            evaluated=evaluated,
            bootstrap=found,
            title=f"{job.task.name} {flags.test_split}",
            facts=facts_of(job, helper, examples, snapshot=snapshot),
        ))  # fmt: skip
        console.tell(
            f"{time.monotonic() - started:.0f} s; report.html, scores and predictions in {folder}"
        )


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


def facts_of(
    job: Job, helper: EvaluationHelper, examples: Examples, *, snapshot: Path | None
) -> dict[str, object]:
    """What a report says of a run besides its scores."""
    facts: dict[str, object] = {
        "split": job.flags.test_split,
        "model": job.class_name,
        "pre-trained model": job.flags.pre_trained_model,
        "tested weights": snapshot or job.model_folder,
        "predicted by": helper.model_fn,
    }
    facts.update({f"{helper.model_fn}: {name}": x for name, x in helper.model_kwargs.items()})
    if helper.is_teacher_forced:
        facts["teacher-forced"] = "yes: the decoder saw the gold answers, this is no generation"
    for what, (count, total) in examples.lost().items():
        of = f" of {total:,}" if total else ""
        facts[f"lost: {what}"] = f"{count:,}{of}"
    return facts


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
    return examples.without_kept() if flags.pass_only_model_io else examples
