"""Checks that run before any data is prepared."""

from __future__ import annotations

from typing import Any

from ke_t5.checkpoint.settings import HEAD_START
from ke_t5.config.run_config import SPLIT_FLAGS, RunConfig
from ke_t5.errors import UserError
from ke_t5.forms import FORMS
from ke_t5.launchers import launched_rank
from ke_t5.lookup.hub import find_pretrained, require_weights
from ke_t5.pipe import Task
from ke_t5.pipe.prefixes import PREFIX
from ke_t5.pipe.preprocessors import check_room
from ke_t5.pipe.sources import unknown_split
from ke_t5.pipe.splits import check_split
from ke_t5.task.inputs import input_form
from ke_t5.train.optimizer_config import check_optimizer
from ke_t5.train.settings import NONE


def check_training(config: RunConfig) -> None:
    """Raises UserError for training settings that contradict each other or do not suit the task,
    or that the user's own optimizer rejects."""
    check_optimizer(config.optimizer, is_scheduled=config.schedule.changes_rate)
    if config.is_sharded and config.optimizer.name == "Adafactor":
        what = "Adafactor does not support sharded weights"
        raise UserError(what, "--parallel fsdp", "use @AdamW, or drop --parallel")
    fit = config.fit
    unsupported = {
        "padding": fit.padding == NONE,
        "compile": fit.compile,
        "compress_gradients": fit.compress_gradients,
        "head_start": fit.head_start is not None,
    }
    name = next((name for name, is_set in unsupported.items() if is_set), None)
    if config.is_sharded and name is not None:
        what = f"fit.{name} does not support sharded weights"
        raise UserError(what, "--parallel fsdp", "drop one of the two")
    form, problem_type = FORMS[config.task.form], config.task.problem_type
    has_one_label = form.has_one_label and problem_type in (None, "single_label_classification")
    if fit.head_start is not None and not has_one_label:
        what = f"{config.task.name} is not a single-label classification task"
        raise UserError(what, HEAD_START, "drop it")


def check_lengths(config: RunConfig) -> None:
    """Raises UserError for a length in gin that the tokenizer's special tokens use up, and for two
    prefixes if the model reads each input as one text."""
    for task in config.task.members:
        if len(task.prefixes) > 1 and not _is_pair(
            task, task.output_features["input_ids"].load_tokenizer()
        ):
            what = f"has two prefixes, but this model reads {task.name} as one text"
            raise UserError(what, PREFIX, "give one")
    for task in config.task.members if config.data.lengths else ():
        _check_lengths_of(task, config.data.lengths or {})


def _check_lengths_of(task: Task, lengths: dict[str, int]) -> None:
    columns = {"inputs": "input_ids"}
    if FORMS[task.form].generates:
        columns["targets"] = "labels"
    for name in lengths.keys() & columns.keys():
        feature = task.output_features.get(columns[name])
        if feature is not None and feature.tokenizer is not None:
            tokenizer = feature.load_tokenizer()
            is_pair = name == "inputs" and _is_pair(task, tokenizer)
            check_room(tokenizer, lengths[name], pair=is_pair, num_text=1)


def _is_pair(task: Task, tokenizer: Any) -> bool:
    """Whether the tokenizer gets two segments, such as premise and hypothesis, or question and
    passage."""
    has_separator = tokenizer.sep_token is not None
    is_read = FORMS[task.form].reads_passages and has_separator
    form = input_form(task, tokenizer)
    return is_read or isinstance(form[0] if isinstance(form, list) else form, dict)


def check_splits(config: RunConfig) -> None:
    """Raises UserError for a requested split that is malformed or that a source does not have."""
    for purpose, spec in config.data.asked_splits.items():
        if spec is None:
            continue
        where = f"--{SPLIT_FLAGS[purpose]} {spec!r}"
        try:
            names = check_split(spec)
            for task in config.task.members:
                known = task.source.splits(config.data.folders)
                for name in names:
                    if name not in known:
                        raise unknown_split(name, task.source.name, known)
        except UserError as error:
            if not error.where.startswith("split "):
                raise
            raise UserError(error.what, where, error.fix, error.exit_code) from None


def check_output(config: RunConfig) -> None:
    """Raises UserError if the run's folder cannot be written to; leaves nothing behind."""
    is_elsewhere = config.resume is not None and config.resume.path is not None
    if is_elsewhere:
        return
    if launched_rank() == 0:
        config.run.check_writable(keep=False)
    else:  # all processes find this fault first, so that the launch reports only one
        config.run.check_permission()


def check_rows_of_training(config: RunConfig) -> None:
    """Raises UserError for rows that the task rejects, before the tokenizer imports torch.

    Skipped with `--resume`: the rows were accepted before, and a missing run is reported first.
    """
    if config.resume is not None:
        return
    if not config.sample:  # a missing model is reported before rows are read, which takes time
        found = find_pretrained(config.origin.folder)
        if not config.model.from_scratch:
            require_weights(found)
    check_rows(config, "train", "validation")


def check_rows(config: RunConfig, *purposes: str) -> None:
    """Raises UserError for rows that the task rejects, before the tokenizer imports torch."""
    for purpose in purposes:
        splits = getattr(config.splits, purpose)
        for task, split in zip(config.task.members, splits, strict=True):
            for name in check_split(split):
                task.rows(name, config.data.folders)


def check_model(config: RunConfig) -> None:
    """Raises UserError for gin settings that the model's class rejects.

    The class, and torch with it, is imported only if gin sets something about the model.
    """
    if config.gin.sets("model", "EvaluationHelper") or config.fit.head_start is not None:
        from ke_t5.recipes.modelling import check_class

        check_class(config)
