"""The configuration of a run: flags, gin and the task's defaults, resolved once, then frozen.

Flags override gin, gin overrides the task's defaults, and those the package's (`first_set`). Parts
that are known later are replaced: the run and weights to start from (`ModelOrigin`), the splits
once the data folder was read (`Splits`), and, once the model is known, the default learning rate
and warm-up (`OptimizerConfig`, `ScheduleConfig`).
"""

from __future__ import annotations

import dataclasses
import logging
import math
from argparse import Namespace
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from ke_t5.config.flags import Minutes
from ke_t5.config.gin_config import Configuration
from ke_t5.config.precedence import first_set
from ke_t5.config.resume import ResumeRequest
from ke_t5.errors import counted
from ke_t5.lookup.lora import LoraSettings
from ke_t5.pipe import EvaluationHelper, Folders, Mixture, Task
from ke_t5.pipe.batches import BatchSettings, batch_settings
from ke_t5.pipe.prediction import GenerationSettings
from ke_t5.pipe.task import dataset_settings
from ke_t5.train.optimizer_config import OptimizerConfig, get_optimizer_config
from ke_t5.train.schedules import ScheduleSettings, schedule_settings
from ke_t5.train.settings import FitSettings, get_fit_settings

if TYPE_CHECKING:
    from ke_t5.recipes.folders import RunFolder

logger = logging.getLogger(__name__)

PURPOSES = ("train", "validation", "test")
SPLIT_FLAGS = {"train": "train_split", "validation": "valid_split", "test": "test_split"}
# Schedules that change the rate at every step.
CHANGING = ("linear", "cosine", "inverse_sqrt")
WARMUP_RATIO, WARMUP_STEPS = "get_scheduler.warmup_ratio", "get_scheduler.warmup_steps"
# The most steps of the default warm-up.
MOST_WARMUP = 100


@dataclass(frozen=True)
class ModelConfig:
    """The requested model.

    Attributes:
        name: as `load_model` takes it; `class_name` is the class it names.
        pre_trained_model: hub name or folder that the run starts from.
        from_scratch: whether it starts with new weights.
        changes: the user's changes to the model's configuration.
        lora: settings of the adapters that are trained instead of all weights, if any.
    """

    name: str
    class_name: str
    pre_trained_model: str
    from_scratch: bool
    changes: Mapping[str, Any] = field(default_factory=dict)
    lora: LoraSettings | None = None


@dataclass(frozen=True)
class ModelOrigin:
    """Where a launch takes configuration, tokenizer and weights from.

    Attributes:
        folder: hub name or folder of configuration and tokenizer.
        has_weights: whether the weights there are loaded (False from scratch).
        may_draw_head: whether a head that is not among the weights may be initialized randomly.
        is_resumed: whether the weights are those of a checkpoint of the run.
        base: folder of the weights that the checkpoints of a resumed run leave out (`--lora`).
    """

    folder: str
    has_weights: bool = True
    may_draw_head: bool = True
    is_resumed: bool = False
    base: str | None = None


@dataclass(frozen=True)
class Splits:
    """The split of each member of the task; empty for purposes that the run does not have."""

    train: tuple[str, ...] = ()
    validation: tuple[str, ...] = ()
    test: tuple[str, ...] = ()

    def title(self, purpose: str) -> str:
        """The splits of a purpose as text, each once: "train", "validation, test"."""
        return ", ".join(dict.fromkeys(getattr(self, purpose)))


@dataclass(frozen=True)
class DataConfig:
    """Which rows are read, and how long examples are.

    Attributes:
        asked_splits: purpose ("train", "validation", "test") -> the requested split, None for the
            default of each task.
        lengths: {"inputs": tokens, "targets": tokens} as gin sets them, None for the task's own.
        eval_rows: rows to validate on, None for all.
        model_columns_only: whether batches keep only the columns that the model reads.
    """

    folders: Folders
    asked_splits: Mapping[str, str | None]
    lengths: dict[str, int] | None
    eval_rows: int | None
    model_columns_only: bool


@dataclass(frozen=True)
class BatchConfig:
    """The batches of a run.

    Attributes:
        size: rows per process and micro-batch.
        settings: gin's settings of training batches.
    """

    size: int
    settings: BatchSettings


@dataclass(frozen=True)
class ScheduleConfig:
    """How the learning rate changes.

    Attributes:
        name: the name of the schedule, None for the default, a constant rate.
        settings: settings of warm-up and decay.
        is_open: whether neither --schedule nor --warmup is given, so that the model decides.
        is_warmup_bound: whether gin sets the warm-up.
        has_default_warmup: whether the number of warm-up steps is derived from that of all steps.
    """

    name: str | None
    settings: ScheduleSettings
    is_open: bool = False
    is_warmup_bound: bool = False
    has_default_warmup: bool = False

    @property
    def in_force(self) -> str:
        """The name of the schedule in use."""
        return self.name or "constant"

    @property
    def changes_rate(self) -> bool:
        """Whether the rate is not the same at every step."""
        rises = self.name == "constant_with_warmup" and self.settings.has_warmup
        return self.name in CHANGING or rises

    def num_warmup_steps(self, total_steps: int) -> int:
        """The updates of the warm-up if all epochs have `total_steps`; 0 without one."""
        return 0 if self.in_force == "constant" else self.settings.num_warmup_steps(total_steps)

    def with_warmup_steps(self, steps: int, *, is_default: bool) -> ScheduleConfig:
        """The configuration with another number of warm-up steps."""
        settings = self.settings._replace(warmup_steps=steps)
        return dataclasses.replace(self, settings=settings, has_default_warmup=is_default)


@dataclass(frozen=True)
class LoopConfig:
    """How long a training runs and when it logs, validates and saves, in updates.

    Attributes:
        epochs: passes over the data; max_steps: updates after which the launch ends, None for all.
        log_every, validate_every, save_every: updates between two of each, None for never.
        save_seconds: seconds between two checkpoints, None for never.
        workers: threads per process that load batches ahead.
    """

    epochs: int
    max_steps: int | None
    log_every: int
    validate_every: int | None
    save_every: int | None
    save_seconds: float | None
    workers: int


@dataclass(frozen=True)
class RunConfig:
    """One run, complete before torch is imported.

    Attributes:
        run: the run's folder.
        origin: where the model comes from; the pre-trained model until that is decided.
        generation: task -> how its predictions are made.
        hf_path: "default" or a folder as given, None without. submission: file of predictions.
        flags: flag -> value, as parsed; given: flag -> what the user typed, if given.
        gin: the bindings and their places.
    """

    task: Task | Mixture
    run: RunFolder
    model: ModelConfig
    origin: ModelOrigin
    data: DataConfig
    batches: BatchConfig
    fit: FitSettings
    optimizer: OptimizerConfig
    schedule: ScheduleConfig
    loop: LoopConfig
    generation: Mapping[str, GenerationSettings]
    resume: ResumeRequest | None
    hf_path: str | None
    submission: str | None
    seed: int
    sample: bool
    flags: Mapping[str, Any]
    given: Mapping[str, str]
    gin: Configuration
    splits: Splits = Splits()

    @property
    def is_sharded(self) -> bool:
        """Whether the weights are sharded over the processes."""
        return self.flags.get("parallel") == "fsdp"

    @property
    def export_folder(self) -> Path:
        """Where an export is written, or read by a test."""
        is_own = self.hf_path in (None, "default")
        return self.run.export if is_own else Path(str(self.hf_path))

    @property
    def sources(self) -> str:
        """The names of the task's data sources."""
        return ", ".join(dict.fromkeys(task.source.name for task in self.task.members))


def resolve_config(
    flags: Namespace,
    gin: Configuration,
    task: Task | Mixture,
    *,
    model: ModelConfig,
    run: RunFolder,
    folders: Folders,
) -> RunConfig:
    """The configuration of a run, from flags, gin and the task's defaults.

    Raises:
        UserError: gin sets a value that no run can use.
    """
    flag = MappingProxyType(vars(flags))
    is_training = "epochs" in flag
    optimizer = get_optimizer_config(flag.get("learning_rate"))
    return RunConfig(
        task=task,
        run=run,
        model=model,
        origin=ModelOrigin(model.pre_trained_model),
        data=DataConfig(
            folders,
            asked_splits=MappingProxyType({p: flag.get(name) for p, name in SPLIT_FLAGS.items()}),
            lengths=dataset_settings().sequence_length,
            eval_rows=flag.get("eval_rows"),
            model_columns_only=flag["pass_only_model_io"],
        ),
        batches=BatchConfig(
            first_set(flag["batch_size"], default=task.defaults.batch_size),
            batch_settings() if is_training else BatchSettings(),
        ),
        fit=get_fit_settings(),
        optimizer=optimizer,
        schedule=_schedule(flags, gin),
        loop=_loop(flag, task),
        generation=MappingProxyType(
            {member.name: EvaluationHelper(member).settings for member in task.members}
        ),
        resume=flag["resume"],
        hf_path=flag["hf_path"],
        submission=flag.get("submission"),
        seed=flag["seed"],
        sample=flag["sample"],
        flags=flag,
        given=MappingProxyType(flags.given),
        gin=_with_learning_rate(flags, gin, optimizer),
    )


def _loop(flag: Mapping[str, Any], task: Task | Mixture) -> LoopConfig:
    every = flag.get("save_every")
    return LoopConfig(
        epochs=first_set(flag.get("epochs"), default=task.defaults.epochs),
        max_steps=flag.get("max_steps"),
        log_every=flag.get("print_freq", 1),
        validate_every=flag.get("eval_every"),
        save_every=None if isinstance(every, Minutes) else every,
        save_seconds=60 * every if isinstance(every, Minutes) else None,
        workers=flag["workers"],
    )


def _with_learning_rate(
    flags: Namespace, gin: Configuration, optimizer: OptimizerConfig
) -> Configuration:
    """The bindings, with the rate of --learning_rate instead of gin's; a conflict is reported."""
    name, rate = f"{optimizer.name}.lr", getattr(flags, "learning_rate", None)
    if rate is None or not gin.bound(name):
        return gin
    place = flags.given["learning_rate"]
    note = gin.conflict(name, rate, place)
    if note is not None:
        logger.warning(note)
    return gin.with_binding(name, rate, place)


def _schedule(flags: Namespace, gin: Configuration) -> ScheduleConfig:
    """The schedule from flags and gin; a share given by --warmup overrides even steps in gin."""
    name, warmup = getattr(flags, "schedule", None), getattr(flags, "warmup", None)
    bound = schedule_settings()
    share = warmup if isinstance(warmup, float) else None
    steps = warmup if share is None else None
    settings = bound._replace(
        warmup_ratio=first_set(share, default=bound.warmup_ratio),
        warmup_steps=None if share is not None else first_set(steps, default=bound.warmup_steps),
    )
    ratio = settings.warmup_ratio if settings.warmup_steps is None else None
    used = {WARMUP_RATIO: ratio, WARMUP_STEPS: settings.warmup_steps}
    beaten_by = flags.given.get("warmup", WARMUP_STEPS)
    for parameter, value in used.items():
        note = gin.conflict(parameter, value, beaten_by)
        if note is not None:
            logger.warning(note)
    if warmup and name in (None, "constant"):
        name = "constant_with_warmup"
    return ScheduleConfig(
        name,
        settings,
        is_open=name is None and warmup is None,
        is_warmup_bound=any(map(gin.bound, used)),
    )


def with_default_warmup(config: RunConfig, num_steps: int) -> RunConfig:
    """The configuration with the default warm-up of pre-trained encoders, unless another is set.

    KLUE's published settings warm up over a tenth of the steps. The default is the same but at most
    `MOST_WARMUP` steps: a run that `--max_steps` ends early would otherwise never reach its rate.
    """
    if not config.schedule.is_open:
        return config
    schedule = dataclasses.replace(config.schedule, name="constant_with_warmup")
    if not schedule.is_warmup_bound:
        default = min(math.ceil(num_steps / 10), MOST_WARMUP)
        schedule = schedule.with_warmup_steps(default, is_default=True)
        if not config.origin.is_resumed:
            logger.info("warm-up: %s (--warmup 0 for none)", counted(default, "step"))
    return dataclasses.replace(config, schedule=schedule)
