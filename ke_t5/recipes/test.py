"""Testing, from top to bottom: configure, load, evaluate, write."""

from __future__ import annotations

import dataclasses
import logging
import time
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from ke_t5 import heartbeat
from ke_t5.config.resume import BEST, LAST
from ke_t5.config.run_config import RunConfig
from ke_t5.distributed import Ranks, session
from ke_t5.errors import Exit, UserError
from ke_t5.failure import announce_run_folder
from ke_t5.garbage import collect_as_usual
from ke_t5.lookup.hub import find_pretrained, saved_class
from ke_t5.pipe import Evaluated, EvaluationHelper, Mixture
from ke_t5.programs import TEST, program_name
from ke_t5.recipes import console, results
from ke_t5.recipes.early_checks import (
    check_lengths,
    check_model,
    check_output,
    check_rows,
    check_splits,
)
from ke_t5.recipes.model_names import check_class
from ke_t5.recipes.model_origin import (
    find_run,
    from_export,
    from_pre_trained,
    from_run,
    from_sample,
)
from ke_t5.recipes.prepare import prepare
from ke_t5.recipes.run_locks import held_locks
from ke_t5.recipes.split_overlap import warn_of_tested_rows
from ke_t5.recipes.submissions import hand_in, submission_form
from ke_t5.recipes.task_record import cut_as_tuned, prefixed_as_trained
from ke_t5.recipes.task_splits import (
    Evaluation,
    TaskSplit,
    evaluate_splits,
    helpers_of,
    load_splits,
    with_splits,
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
    config = prepare(flags)
    form = submission_form(config)
    check_splits(config)
    check_output(config)
    config = choose_weights(config)
    announce_run_folder(config.run.path)
    config = with_splits(config, "test")
    check_rows(config, "test")
    config = prefixed_as_trained(config)
    check_lengths(config)
    check_model(config)
    config = cut_as_tuned(config)
    parts = load_splits(config, "test")
    warn_of_tested_rows(config, parts)
    logger.info("loading PyTorch and the model")  # seconds pass until the next line
    with held_locks() as locks, session(stall_timeout=config.flags["stall_timeout"]) as ranks:
        started = time.monotonic()
        if ranks.is_main:
            config.run.check_writable(keep=False)
            config.run.remove_leftovers()
            config.run.forget_error()
        model, weights = model_of(config, ranks)
        collect_as_usual()
        if ranks.is_main and weights.is_best:  # others write to folders of their own
            for part in parts:
                locks.take(config.run, split=part.name, action="testing")
        helpers = helpers_of(config, model, parts)
        watch = console.watch_batches if ranks.is_main else iter
        with heartbeat.phase("testing"):
            evaluation = evaluate_splits(config, helpers, model, parts, ranks=ranks, watch=watch)
        if ranks.is_main:
            folders = keep(config, evaluation, weights=weights, form=form)
            for helper, folder, (part, evaluated) in zip(
                helpers, folders, evaluation.of_parts, strict=True
            ):
                report(config, helper, part, evaluated, weights=weights.name, folder=folder)
            if isinstance(config.task, Mixture):
                console.tell(f"{config.task.name}: {format_scores(evaluation.scores)}")
            console.tell_more(f"{time.monotonic() - started:.0f} s")


def choose_weights(config: RunConfig) -> RunConfig:
    """Chooses the model to test: a run's checkpoint, an export, or a pre-trained model."""
    if config.hf_path:
        return from_export(config)
    if config.resume:
        found = find_run(config)
        if found is None:
            raise no_weights(config)
        return from_tested_run(found)
    if config.model.from_scratch:
        return from_sample(config) if config.sample else from_pre_trained(config, from_scratch=True)
    if config.run.is_trained():
        config = dataclasses.replace(config, resume=BEST if config.run.has_best() else LAST)
        logger.warning(
            "testing the trained run in %s (--resume %s)", config.run.path, config.resume
        )
        return from_tested_run(config)
    if config.sample:
        raise untrained(config)
    config = from_pre_trained(config, from_scratch=False)
    found = find_pretrained(config.origin.folder)
    check_class(config, saved_class(found), f"--pre_trained_model {found.name}")
    origin = dataclasses.replace(config.origin, may_draw_head=False)
    return dataclasses.replace(config, origin=origin)


def from_tested_run(config: RunConfig) -> RunConfig:
    """Uses the run's own model; its labels must be those of the task."""
    config = from_run(config)
    check_task(config)
    return config


def untrained(config: RunConfig) -> UserError:
    """The error for a test that would score random weights without `--from_scratch`."""
    return UserError(
        f"there is no trained run in {config.run.path}",
        program_name(TEST),
        "train first, name weights with --resume PATH or --hf_path DIR, or add --from_scratch to "
        "test random weights",
        Exit.CHECKPOINT,
    )


def no_weights(config: RunConfig) -> UserError:
    """The error for a test without a checkpoint."""
    return UserError(
        f"no complete checkpoint in {config.run.weights}",
        f"--resume {config.resume}",
        "train first, or name a checkpoint",
        Exit.CHECKPOINT,
    )


def model_of(config: RunConfig, ranks: Ranks) -> tuple[PreTrainedModel, Weights]:
    """The model to test, and the identity of its weights."""
    # Imported here: they import torch and transformers, which nothing has needed so far.
    from ke_t5.checkpoint.checkpoints import find_checkpoint, load_checkpoint, read_run_progress
    from ke_t5.recipes.modelling import build_model

    origin = config.origin
    if not origin.is_resumed and not origin.has_weights:
        return build_model(config, ranks), Weights(f"from scratch, seed {config.seed}")
    if config.resume is None or not origin.is_resumed:
        name = "hf" if config.hf_path == "default" else origin.folder
        return build_model(config, ranks), Weights(name, Path(origin.folder))
    checkpoint = find_checkpoint(config.run.weights, config.resume)
    if checkpoint is None:
        raise no_weights(config)
    saved = read_run_progress(checkpoint)["fixed"].get("--model_name")
    check_class(config, saved, str(checkpoint))
    model = build_model(config, ranks)
    load_checkpoint(checkpoint, model=model, is_checked=True)
    logger.info("testing %s", checkpoint)
    weights = weights_of_checkpoint(config.run, checkpoint)
    name = config.model.class_name
    if saved not in (None, name):  # the results are not the run's own
        weights = Weights(f"{weights.name} as {name}")
    return model, weights


def keep(
    config: RunConfig, evaluation: Evaluation, *, weights: Weights, form: str | None
) -> list[Path]:
    """Writes the predictions and scores of all parts; returns the folder of each part."""
    places = ResultFolders(config, weights)
    origin = results.Origin(
        config.task,
        weights=weights.name,
        sha256=places.identity["weights_sha256"],
        trained_on=trained_on(config),
    )
    folders = []
    for part, evaluated in evaluation.of_parts:
        folder = places.of_part(part)
        results.write_evaluation(folder, part, evaluated, origin)
        folders.append(folder)
        if form is not None:
            hand_in(config, form, evaluated)
    if isinstance(config.task, Mixture):
        split = config.splits.title("test")
        results.write_mixture(places.of_mixture(split), split, evaluation, origin)
    # A training's gin file sets its optimizer as well.
    for line in config.gin.unread(ignored=config.optimizer.name):
        logger.warning(line)
    return folders


def report(
    config: RunConfig,
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
    origin = None if config.sample else config.model.pre_trained_model
    facts = results.facts_of(
        helper, part, weights=weights, model=config.model.class_name, pre_trained_model=origin
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
    console.tell_more(f"report.html, scores and predictions in {folder}")
