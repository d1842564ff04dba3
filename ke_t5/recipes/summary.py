"""The log lines at the start of a training, and its scores and suggested commands at the end."""

from __future__ import annotations

import logging
import math
import os
from typing import TYPE_CHECKING

from ke_t5.config.run_config import WARMUP_STEPS, RunConfig
from ke_t5.distributed import Ranks
from ke_t5.errors import counted
from ke_t5.pipe import Mixture, ReleaseSource
from ke_t5.programs import gin_param
from ke_t5.recipes import console
from ke_t5.recipes.folders import RunFolder
from ke_t5.recipes.model_origin import backbone_type
from ke_t5.recipes.task_splits import TaskSplit
from ke_t5.report.scores import format_scores, score_table
from ke_t5.seals import class_title
from ke_t5.train.schedules import full_learning_rate
from ke_t5.train.settings import BF16_STEPS, FP32, NONE, resolved_precision

if TYPE_CHECKING:
    from ke_t5.checkpoint.closing import Validation
    from ke_t5.config.resume import ResumeRequest
    from ke_t5.pipe import BatchPlan
    from ke_t5.recipes.trainer import Timetable, Trainer
    from ke_t5.recipes.validator import Validator

logger = logging.getLogger(__name__)

# A hub model for each model type of the sample.
REAL_MODELS = {"t5": "KETI-AIR/ke-t5-base", "roberta": "klue/roberta-base"}


def report_start(config: RunConfig, trainer: Trainer, plan: BatchPlan) -> None:
    """Logs the settings of the training that is about to start."""
    settings, ranks = config.fit, trainer.ranks
    logger.info(
        "training %s on %s: %s, global batch %s = %d x %s x %d "
        "accumulated, %s%s, %s, %s, %s per process, in %s",
        config.model.class_name, config.task.name,
        planned_steps(trainer.timetable, config.loop.epochs),
        plan.batch_size if plan.batch_tokens is None else f"{plan.batch_tokens} tokens",
        config.batches.size, counted(ranks.size, "process", "processes"), settings.accumulate,
        _padding(settings.padding, plan.window),
        ", as CUDA graphs" if trainer.state.graphs else "",
        _precision(resolved_precision(settings, ranks.device)), ranks.device,
        counted(ranks.threads, "thread"), config.run.path,
    )  # fmt: skip
    if (num_epochs := trainer.timetable.validate_epochs) > 1:
        steps = counted(num_epochs * plan.num_batches(0), "step")
        message = "validating every %d epochs (%s) and at the end; --eval_every: more often"
        logger.info(message, num_epochs, steps)
    if not trainer.goes_on():
        logger.info("nothing is left to train: %s", _why_over(trainer))
    elif warning := warmup_warning(config, trainer):
        logger.warning(warning)


def planned_steps(timetable: Timetable, num_epochs: int) -> str:
    """The number of steps, and which part of the epochs that is."""
    epochs = counted(num_epochs, "epoch")
    if timetable.num_steps < timetable.epoch_steps:  # --max_steps
        all_steps = counted(timetable.epoch_steps, "step", form=",")
        return f"{timetable.num_steps:,} of the {all_steps} of {epochs}"
    return f"{counted(timetable.num_steps, 'step', form=',')} ({epochs})"


def warmup_warning(config: RunConfig, trainer: Trainer) -> str | None:
    """A warning if the training ends within its warm-up, which does not depend on `--max_steps`."""
    num_steps, all_steps = trainer.timetable.num_steps, trainer.timetable.epoch_steps
    is_cut, warmup = num_steps < all_steps, config.schedule.num_warmup_steps(all_steps)
    if warmup == 1 or num_steps > warmup or (config.origin.is_resumed and not is_cut):
        return None
    where = f"--max_steps {num_steps}" if is_cut else counted(num_steps, "step")
    full_rate = full_learning_rate(trainer.state.optimizer)
    reached = f"only {full_rate * num_steps / warmup:.3g} of {full_rate:.3g}"
    if num_steps == warmup:
        reached = f"{full_rate:.3g} only in the last step"
    fixes = ["a larger --max_steps"] if is_cut else []
    if not config.origin.is_resumed:  # a resumed run keeps its warm-up
        shorter = math.ceil(num_steps / 10)
        fixes.insert(0, f"--warmup {shorter} (in gin: {WARMUP_STEPS}={shorter})")
    return (
        f"{where}: the training ends within the warm-up of {warmup} steps, and the learning rate "
        f"reaches {reached}; give {' or '.join(fixes)}"
    )


def _why_over(trainer: Trainer) -> str:
    step, num_steps = trainer.state.step, trainer.timetable.num_steps
    if step >= num_steps:
        return f"the run is at step {step}, and {counted(num_steps, 'step')} are requested"
    waited = counted(trainer.checkpointer.waited, "validation")
    return f"{waited} without a better score (fit.early_stopping)"


def _padding(padding: str, window: int) -> str:
    """How batches are padded and in which order the rows come."""
    order = "random order" if window == 1 else f"windows of {window} batches by length"
    return f"{'no padding' if padding == NONE else 'padded rows'} in {order}"


def _precision(precision: str) -> str:
    """The precision in words, and how to override an automatic choice."""
    if precision == BF16_STEPS:
        off = gin_param("fit.precision", FP32)
        return f"steps in bf16 and validation in fp32 ({off} turns bf16 off)"
    return f"in {precision}"


def print_summary(config: RunConfig, trainer: Trainer, *, seconds: float) -> None:
    """Prints the scores and the suggested commands."""
    step, model_class = trainer.state.step, type(trainer.state.module)
    best = trainer.checkpointer.best_of_all()
    _print_scores(trainer.validator, step, best)
    steps = counted(step - trainer.state.launch_step, "step")
    console.tell_more(f"{steps} in {seconds:.0f} s; results in {config.run.path}")
    best_name, last_name = _names_of_weights(config.run, config.resume, trainer.ranks)
    flags = config.flags
    if config.resume is not None and config.resume.path is not None:  # the path locates the run
        given = {name: words for name, words in flags["given"].items() if name != "output_dir"}
        flags = {**flags, "given": given}
    console.tell_more(
        console.next_commands(
            flags,
            valid_splits=config.splits.validation,
            launcher=launcher(trainer.ranks),
            best=best_name,
            last=last_name,
            stopped_at=step if step < trainer.timetable.epoch_steps else None,
            predict=predict_flags(config, model_class) if config.hf_path else (),
            real_model=REAL_MODELS.get(backbone_type(model_class)),
            reads_release=any(isinstance(one.source, ReleaseSource) for one in config.task.members),
        )
    )


def predict_flags(config: RunConfig, model_class: type) -> list[str]:
    """The flags of `ke-t5 predict` for a run's export and the rows of a FILE, which for a mixture
    are those of its first task."""
    words = ["--hf_path", str(config.export_folder)]
    if isinstance(config.task, Mixture):
        words += ["--task", config.task.members[0].name]
    title = class_title(model_class)
    if not title.startswith(("ke_t5.", "transformers:")):
        words += ["--model_name", title]
    for module in config.flags["module_import"]:
        words += ["--module_import", module]
    return [*words, "--input", "FILE"]


def _print_scores(validator: Validator, step: int, best: Validation | None) -> None:
    """Prints a table of each split's last validation, beside the best one, and the best scores."""
    if validator.last is not None and validator.last.scores:
        for part, evaluated in validator.last.of_parts:
            title, beside = f"{part.task.name} {part.split}, step {step}", None
            if best is not None and best["step"] != step:
                beside = f"best: step {best['step']}", _scores_of(part, best, validator.task)
                title += " (last)"
            console.tell(score_table(title, evaluated, beside=beside))
    if best is not None:
        console.tell(f"best: step {best['step']}, {format_scores(best['scores'])}")


def _scores_of(part: TaskSplit, best: Validation, task: object) -> dict[str, float]:
    """The best validation's scores of a part; those of a mixture are prefixed with the task."""
    if part.task is task:
        return best["scores"]
    prefix = f"{part.task.name}/"
    scores = best["scores"].items()
    return {name.removeprefix(prefix): x for name, x in scores if name.startswith(prefix)}


def launcher(ranks: Ranks) -> str:
    """The command that launches the same number of processes on each machine; "" for a single
    process."""
    if ranks.size == 1:
        return ""
    per_node = int(os.environ.get("LOCAL_WORLD_SIZE") or ranks.size)
    nodes = int(os.environ.get("GROUP_WORLD_SIZE") or 1)
    if nodes == 1:
        return f"torchrun --nproc_per_node={per_node}"
    host = os.environ.get("MASTER_ADDR", "HOST")
    return (
        f"torchrun --nnodes={nodes} --nproc_per_node={per_node} "
        f"--rdzv_backend=c10d --rdzv_endpoint={host}:29400"
    )


def _names_of_weights(
    run: RunFolder, resume: ResumeRequest | None, ranks: Ranks
) -> tuple[str, str]:
    """The `--resume` values for the best and the last checkpoint; paths if the run was resumed by
    path."""
    from ke_t5.checkpoint.folders import folder_name, read_pointer  # it imports torch

    step = read_pointer(run.weights, "best") if ranks.is_main else None
    if resume is None or resume.path is None:
        return "true" if step is None else "best", "true"
    best = run.weights if step is None else run.weights / folder_name(step)
    return str(best), str(run.path)
