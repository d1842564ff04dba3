"""The first step of both recipes: a RunConfig from flags and gin, before torch is imported."""

from __future__ import annotations

import dataclasses
import logging
import os
import sys
from argparse import Namespace
from pathlib import Path

import ke_t5.task.task  # noqa: F401 - registers the tasks
import ke_t5.train.optimizers  # noqa: F401 - registers the optimizers before gin binds
from ke_t5.config.gin_config import configure, import_modules
from ke_t5.config.run_config import ModelConfig, RunConfig, resolve_config
from ke_t5.distributed import launched_rank
from ke_t5.errors import UserError, wrapped
from ke_t5.failure import announce_run_folder
from ke_t5.lookup.loader import check_model_name, choose_form
from ke_t5.lookup.lora import LoraSettings, check_lora, lora_settings
from ke_t5.lookup.settings import get_model_config
from ke_t5.own_data import register_kinds
from ke_t5.pipe import Folders, Mixture, Task, get_task
from ke_t5.pipe.task import dataset_settings
from ke_t5.recipes.folders import RunFolder, check_data_dir, data_folder, make_folder
from ke_t5.recipes.model_names import resolve_model_name
from ke_t5.recipes.own_files import check_own_data_flags, with_own_data
from ke_t5.terminal import wrapped_for_terminal

logger = logging.getLogger("ke_t5")


class _Wrapped(logging.Formatter):
    """Formats log messages unabridged, on several lines if they are long."""

    def format(self, record: logging.LogRecord) -> str:
        """The text of a record, with its traceback if it has one."""
        text = super().format(record)
        if "\n" in text:
            return text
        return wrapped_for_terminal(text) if sys.stderr.isatty() else wrapped(text)


def set_up_logging(*, debug: bool, quiet: bool = False) -> None:
    """Logs messages of rank 0 to stderr, and silences the libraries except for progress bars of
    downloads on a terminal.

    Args:
        quiet: logs warnings only.
    """
    if not sys.stderr.isatty() or quiet or launched_rank() != 0:
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Wrapped("%(message)s"))
    logger.handlers[:] = [handler]
    logger.propagate = False
    level = logging.DEBUG if debug else logging.WARNING if quiet else logging.INFO
    logger.setLevel(level if launched_rank() == 0 else logging.CRITICAL)


def prepare(flags: Namespace) -> RunConfig:
    """The configuration from the flags, with all checks that need no torch."""
    set_up_logging(debug=flags.debug, quiet=flags.quiet)
    import_modules(flags.module_import)
    gin = configure(flags.gin_file, flags.gin_param)
    for note in (*flags.notes, *unused_by_sample(flags), *gin.notes):
        logger.warning(note)
    changes, lora = get_model_config(), asked_lora(flags)
    check_data_dir(flags)
    register_kinds()
    task = get_task(flags.task)
    check_own_data_flags(flags, task)
    model_name = resolve_model_name(flags, task.form)
    class_name = check_model_name(model_name)
    task = task.in_form(choose_form(model_name, *task.forms))
    source = "sample" if flags.sample else flags.pre_trained_model
    run = RunFolder.of(flags.output_dir, class_name, source, task.name)
    if flags.resume or not run.holds_a_run():
        # An older run in the folder will be moved aside; failures until then are not its own.
        announce_run_folder(run.path)
    model = ModelConfig(
        model_name, class_name, flags.pre_trained_model, flags.from_scratch, changes, lora
    )
    folders = prepare_folders(flags, task)
    config = resolve_config(flags, gin, task, model=model, run=run, folders=folders)
    return with_prefix_of_gin(with_own_data(config, flags))


def with_prefix_of_gin(config: RunConfig) -> RunConfig:
    """The configuration with gin's prefix, if any, set in its tasks."""
    prefix = dataset_settings().prefix
    if prefix is None:
        return config
    return dataclasses.replace(config, task=config.task.with_prefix(prefix))


def asked_lora(flags: Namespace) -> LoraSettings | None:
    """The requested adapters of a training; None in a test, which takes them from the run.

    Raises:
        UserError: peft is not installed, or the model is trained from scratch.
    """
    if not hasattr(flags, "lora"):
        return None
    settings = lora_settings(flags.lora)
    check_lora(settings)
    if settings is not None and flags.from_scratch:
        what = "adapters change a pre-trained model, and there is none"
        raise UserError(what, "--lora and --from_scratch", "drop one of the two")
    return settings


def prepare_folders(flags: Namespace, task: Task | Mixture) -> Folders:
    """The folders of raw and prepared data; writes the sample's if necessary."""
    folders = Folders(data_folder(flags, task), Path(flags.hf_cache_dir))
    # Not probed: a shared cache that has everything need not be writable.
    make_folder(folders.cache, where=f"--hf_cache_dir {folders.cache}", probe=False)
    if not flags.sample:
        return folders
    from ke_t5.sample import require_sample_rows, sample_data_dir

    folders = Folders(sample_data_dir(folders.cache), folders.cache)
    require_sample_rows(task, folders)
    return folders


def unused_by_sample(flags: Namespace) -> list[str]:
    """A line for each given flag that has no effect with `--sample`."""
    given = [flags.given.get(name) for name in ("pre_trained_model", "hf_data_dir")]
    reason = "is not used: --sample brings its own"
    return [f"{words} {reason}" for words in given if words and flags.sample]
