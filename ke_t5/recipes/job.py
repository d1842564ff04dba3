"""What both recipes begin with: flags and gin made into one job, before torch is imported."""

from __future__ import annotations

import logging
import os
import shlex
import sys
from argparse import Namespace
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ke_t5.task.task  # noqa: F401 - registers the tasks
import ke_t5.train.optimizers  # noqa: F401 - registers the optimizers before gin binds
from ke_t5.config.gin_config import Configuration, configure, import_modules
from ke_t5.config.resume import ResumeMode
from ke_t5.distributed import Ranks, launched_rank
from ke_t5.errors import Exit, UserError
from ke_t5.failure import announce_run_folder
from ke_t5.files import write_json
from ke_t5.launchers import is_on_another_node, launch_name
from ke_t5.lookup.hub import Pretrained, find_pretrained, require_weights
from ke_t5.lookup.loader import (
    check_form,
    check_model_name,
    choose_form,
    load_model,
)
from ke_t5.lookup.settings import get_model_config
from ke_t5.lookup.tokenizer_fit import fit_tokenizer
from ke_t5.pipe import Folders, Mixture, Task, get_task
from ke_t5.recipes.folders import RunFolder, data_folder, make_folder
from ke_t5.recipes.model_names import resolve_model_name
from ke_t5.recipes.record import git_commit, versions
from ke_t5.recipes.vocabulary import VOCABULARY, settle_vocabulary
from ke_t5.task.utils import get_vocabulary
from ke_t5.train.settings import FitSettings, get_fit_settings

if TYPE_CHECKING:
    import numpy as np
    from transformers import PreTrainedModel

logger = logging.getLogger("ke_t5")


@dataclass
class Job:
    """A run as it was asked for.

    Attributes:
        model_name: as `load_model` takes it; `class_name` is the class it names.
        model_folder: hub name or folder that configuration, tokenizer and weights come from.
        has_weights: whether the weights there are to be loaded (False from scratch).
        may_draw_head: whether a head that the weights do not hold may be drawn.
        is_resumed: whether the weights are those of a checkpoint of `run`; is_restart: whether this
            launch began the run there, before a process of it failed.
        has_default_warmup: whether the number of warm-up steps follows from that of all steps.
        model_config: what the user changes in the model's configuration.
        examples_per_epoch: of a mixture, (training examples, examples in an epoch) of each member.
        data: split -> number and content hash of its examples, for `run.json`.
        trained_rows: task -> hashes of the rows that it is trained on (see `row_hashes`).
    """

    flags: Namespace
    configuration: Configuration
    task: Task | Mixture
    model_name: str
    class_name: str
    model_folder: str
    has_weights: bool
    folders: Folders
    run: RunFolder
    settings: FitSettings
    may_draw_head: bool = True
    is_resumed: bool = False
    is_restart: bool = False
    has_default_warmup: bool = False
    model_config: dict[str, Any] = field(default_factory=dict)
    examples_per_epoch: tuple[tuple[int, int], ...] = ()
    data: dict[str, Any] = field(default_factory=dict)
    trained_rows: dict[str, np.ndarray] = field(default_factory=dict)

    def load_class(self) -> type[PreTrainedModel]:
        """The model's class, which must be of the task's kind."""
        model_class = load_model(self.model_name)
        check_form(model_class, self.task.form)
        return model_class

    def task_config(self) -> dict[str, Any]:
        """What the task says of the model's configuration."""
        labels = self.task.labels
        if labels is None:
            return {}
        names = dict(enumerate(labels))
        found: dict[str, Any] = {
            "id2label": names,
            "label2id": {name: i for i, name in names.items()},
        }
        if self.task.problem_type is not None:
            found["problem_type"] = self.task.problem_type
        return found

    def sources(self) -> str:
        """Where the rows come from, for people."""
        return ", ".join(dict.fromkeys(task.source.name for task in self.task.members))

    def batch_size(self) -> int:
        """Rows per process."""
        return self.flags.batch_size or self.task.defaults.batch_size

    def open_run(self, ranks: Ranks) -> None:
        """Makes the run's folder, or goes on in it; rank 0 does, the others wait."""
        if ranks.is_main:
            if self.is_resumed or self.is_restart:
                self.run.check_writable()
            else:
                moved = self.run.make_new()
                if moved is not None:
                    logger.warning("an older run was in %s: moved to %s", self.run.path, moved.name)
            self.run.forget_error()
            earlier = self.run.read_run().get("launches", []) if self.is_resumed else []
            write_json(self.run.run_file, {**self.description(ranks), "launches": earlier})
            for name, hashes in self.trained_rows.items():
                self.run.keep_trained_rows(name, hashes)
        ranks.barrier()
        announce_run_folder(self.run.path)

    def description(self, ranks: Ranks) -> dict[str, Any]:
        """What `run.json` says: the command, versions, data and their keys."""
        return {
            "command": shlex.join(sys.argv),
            "task": self.task.name,
            "model_name": self.model_name,
            "pre_trained_model": self.flags.pre_trained_model,
            "from_scratch": self.flags.from_scratch,
            "model_folder": self.model_folder,
            "seed": self.flags.seed,
            "processes": ranks.size,
            "launch": launch_name(),
            "device": str(ranks.device),
            "source": self.sources(),
            "data": self.data,
            "git_commit": git_commit(),
            "versions": versions(),
        }


def set_up_logging(*, debug: bool) -> None:
    """Messages of rank 0 on stderr, one plain line each; what the libraries say is left out."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger.handlers[:] = [handler]
    logger.propagate = False
    level = logging.DEBUG if debug else logging.INFO
    logger.setLevel(level if launched_rank() == 0 else logging.CRITICAL)


def prepare(flags: Namespace) -> Job:
    """The job that the flags ask for; everything in it is checked that needs no torch."""
    set_up_logging(debug=flags.debug)
    import_modules(flags.module_import)
    configuration = configure(flags.gin_file, flags.gin_param)
    for note in (*flags.notes, *unused_by_sample(flags), *configuration.notes):
        logger.warning(note)
    settings, model_config = get_fit_settings(), get_model_config()
    task = get_task(flags.task)
    model_name = resolve_model_name(flags, task.form)
    class_name = check_model_name(model_name)
    task = task.in_form(choose_form(model_name, *task.forms))
    source = "sample" if flags.sample else flags.pre_trained_model
    run = RunFolder.of(flags.output_dir, class_name, source, task.name)
    if flags.resume or not run.holds_a_run():
        # An older run is moved away first: this one's failures are none of its own.
        announce_run_folder(run.path)
    folders = Folders(data_folder(flags, task), Path(flags.hf_cache_dir))
    # Not probed: a shared cache that holds everything need not be writable.
    make_folder(folders.cache, where=f"--hf_cache_dir {folders.cache}", probe=False)
    if flags.sample:
        from ke_t5.sample import require_sample_rows, sample_data_dir

        folders = Folders(sample_data_dir(folders.cache), folders.cache)
        require_sample_rows(task, folders)
    return Job(
        flags, configuration, task, model_name, class_name, flags.pre_trained_model, True, folders,
        run, settings, model_config=model_config,
    )  # fmt: skip


def unused_by_sample(flags: Namespace) -> list[str]:
    """A line for each flag that `--sample` leaves without a meaning."""
    given = [flags.given.get(name) for name in ("pre_trained_model", "hf_data_dir")]
    told = "is not used: --sample brings its own"
    return [f"{words} {told}" for words in given if words and flags.sample]


def take_run_model(job: Job) -> None:
    """Lets the job go on with the run's own configuration and tokenizer (`--resume`)."""
    if not (job.run.model / "config.json").exists():
        what = "no run was saved there"
        fix = "give the flags of that run (--task, --model_name, --pre_trained_model, --output_dir)"
        if is_on_another_node():  # process 0 may well see it
            what = f"process {launched_rank()} on {os.uname().nodename} sees no run there"
            fix = f"put --output_dir on a disk that all nodes share, or {fix}"
        where = f"--resume {job.flags.resume} ({job.run.path})"
        raise UserError(what, where, fix, Exit.CHECKPOINT)
    _take_folder(job, job.run.model, has_weights=False, flag="--resume")
    job.is_resumed = True
    # `--resume PATH` need not repeat them, and a model card tells of them.
    begun = job.run.read_run()
    for name in vars(job.flags).keys() & {"pre_trained_model", "from_scratch"}:
        now = getattr(job.flags, name)
        setattr(job.flags, name, begun.get(name, now))
        if name in job.flags.given and getattr(job.flags, name) != now:
            logger.warning(
                "%s is not used: the run began with %r", job.flags.given[name], begun[name]
            )


def take_exported_model(job: Job, folder: Path) -> None:
    """Lets the job use an exported folder (`--hf_path`)."""
    require_weights(find_pretrained(folder, where="--hf_path"), where="--hf_path")
    _take_folder(job, folder, has_weights=True, flag="--hf_path")
    job.may_draw_head = False


def take_sample_model(job: Job) -> None:
    """Lets the job use a tiny model of the class that was asked for (`--sample`)."""
    from ke_t5.sample import sample_model_dir

    folder = sample_model_dir(job.folders.cache, backbone_type(job.load_class()))
    _take_folder(job, folder, has_weights=False, flag="--sample")


def backbone_type(model_class: type[PreTrainedModel]) -> str:
    """The `model_type` of the folders that a class starts from: T5 for heads on T5's encoder,
    RoBERTa for heads on any encoder and for classes that do not say."""
    config_class = model_class.config_class
    for base in getattr(config_class, "__mro__", ()):
        module = base.__module__
        if module.startswith("transformers.models.") and getattr(base, "model_type", ""):
            return base.model_type
    is_own = getattr(config_class, "model_type", "") and not hasattr(config_class, "converted")
    return config_class.model_type if is_own else "roberta"


def take_pre_trained_model(job: Job, *, from_scratch: bool) -> None:
    """Lets the job use `--pre_trained_model`, with its weights unless it starts from scratch."""
    found = find_pretrained(job.model_folder)
    if not from_scratch:
        require_weights(found)
    job.has_weights = not from_scratch
    settle_vocabulary(job.configuration, found)
    fit_vocabulary(found, where=f"--pre_trained_model {found.name}")


def _take_folder(job: Job, folder: Path, *, has_weights: bool, flag: str) -> None:
    job.model_folder, job.has_weights = str(folder), has_weights
    bind_and_tell(job, VOCABULARY, str(folder), flag)
    fit_vocabulary(find_pretrained(folder, where=flag), where=f"{flag} {folder}")


def fit_vocabulary(found: Pretrained, *, where: str) -> None:
    """Loads the tokenizer and makes it fit the model; what changes is reported."""
    for line in fit_tokenizer(get_vocabulary(), found.config, where=where):
        logger.info(line)


def bind_and_tell(job: Job, name: str, value: object, place: str) -> None:
    """Binds for the run itself, and warns if a gin file said something else."""
    before = len(job.configuration.notes)
    job.configuration.bind(name, value, place)
    for note in job.configuration.notes[before:]:
        logger.warning(note)


def resumed_run(job: Job) -> bool:
    """Whether there is a run to go on with; `--resume PATH` moves the job to that run's folder.

    Only `--resume auto` may find none.
    """
    resume = job.flags.resume
    if resume.path is not None:
        run = RunFolder.around(resume.path)
        if run is not None:
            job.run = run
            announce_run_folder(run.path)
            return True
    if resume.mode is ResumeMode.AUTO:
        return any(job.run.weights.glob("step-*/MANIFEST.json"))
    return True
