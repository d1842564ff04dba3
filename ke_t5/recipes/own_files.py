"""The task of the user's own files, from flags and gin, or from the record of a run."""

from __future__ import annotations

import dataclasses
from argparse import Namespace
from pathlib import Path
from typing import Any

from ke_t5.config.resume import ResumeMode
from ke_t5.config.run_config import RunConfig
from ke_t5.lookup.task_record import RECORD, read_record
from ke_t5.own_data import OwnData, own_data_of, register
from ke_t5.own_data.rows import files_of
from ke_t5.own_data.settings import FILE_FLAGS, own_data_for, refuse_own_data
from ke_t5.pipe import Mixture, Task
from ke_t5.recipes.folders import RunFolder


def check_own_data_flags(flags: Namespace, task: Task | Mixture) -> None:
    """Raises UserError for an own-data flag with a task that has its data, and for a file that is
    missing or not a table; runs before a model is looked up."""
    own = own_data_of(task)
    if own is None:
        refuse_own_data(flags)
        return
    for name in FILE_FLAGS.values():
        if file := getattr(flags, name, None):
            files_of(own.kind, Path(file))


def with_own_data(config: RunConfig, flags: Namespace) -> RunConfig:
    """The configuration with the task of the user's own files; unchanged for any other task."""
    task, begun = config.task, own_data_of(config.task)
    if begun is None or not isinstance(task, Task):
        return config
    name = task.source.name
    # A task that a user's module registered has its data already.
    stored = begun if begun.files else _stored(config, flags, kind=begun.kind)
    own = own_data_for(
        begun.kind + task.name.removeprefix(name),
        flags,
        config.gin,
        folders=config.data.folders,
        stored=stored,
    )
    return dataclasses.replace(config, task=register(own, name=name).in_form(task.form))


def _stored(config: RunConfig, flags: Namespace, *, kind: str) -> OwnData | None:
    """The own data of a resumed run or a tested model; None for a new run."""
    record, file = _record(config, flags)
    if not record:
        return None
    own = OwnData.from_json(record, str(file))
    return own if own.kind == kind else None


def _record(config: RunConfig, flags: Namespace) -> tuple[Any, Path]:
    """The own-data record of a run or an export, if any, and the file that it is in."""
    run, resume, is_test = config.run, config.resume, not hasattr(flags, "epochs")
    if is_test and flags.hf_path:
        folder = config.export_folder
        run = RunFolder.around(str(folder))
        if run is None:  # an export, which has no file names
            record = read_record(folder)
            return record and record.own_data, folder / RECORD
    elif resume is not None and resume.path is not None:
        run = RunFolder.around(resume.path) or run
    elif resume is not None and resume.mode is ResumeMode.AUTO and not run.has_checkpoint():
        return None, run.run_file
    elif resume is None and (not is_test or flags.from_scratch or not run.is_trained()):
        return None, run.run_file
    return run.read_run().get("own_data"), run.run_file
