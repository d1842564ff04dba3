"""Checks that an export replaces nothing but an earlier export of the same task."""

from __future__ import annotations

import re
from pathlib import Path

from ke_t5.config.run_config import RunConfig
from ke_t5.errors import Exit, UserError
from ke_t5.files import remove_leftovers
from ke_t5.launchers import launched_rank
from ke_t5.lookup.hub import check_replaceable
from ke_t5.lookup.task_record import read_record
from ke_t5.recipes.folders import check_can_write


def check_export(config: RunConfig) -> None:
    """Raises UserError before the training if its export (`--hf_path`) could not be written."""
    if not config.hf_path or launched_rank() != 0:
        return
    folder = config.export_folder
    remove_leftovers(folder.parent, folder.name)
    check_replaceable(folder)
    check_target(config, folder)
    check_can_write(folder.parent, where=f"--hf_path {folder}")


def check_target(config: RunConfig, folder: Path) -> None:
    """Raises UserError if an export would replace anything but an older export of the same task,
    for example the pre-trained model."""
    if config.run.path.absolute().resolve().is_relative_to(folder.resolve()):
        what, fix = "it contains the run's own folder", "choose a separate folder"
        raise UserError(what, f"--hf_path {folder}", fix, Exit.CHECKPOINT)
    if folder == config.run.export or not (folder / "config.json").is_file():
        return
    record = read_record(folder)
    card = folder / "README.md"
    text = card.read_text(encoding="utf-8", errors="replace") if card.is_file() else ""
    is_of_task = (
        record.task == config.task.name
        if record is not None  # exports of the first versions have none
        else re.search(rf"(?<![\w]){re.escape(config.task.name)}(?![\w])", text) is not None
    )
    if folder.resolve() == Path(config.model.pre_trained_model).resolve():
        what = "the run starts from this model"
    elif record is None and "ke_t5" not in text:
        what = "it contains a model that was not exported by ke_t5"
    elif not is_of_task:
        what = f"it contains an export of a task other than {config.task.name}"
    else:
        return
    raise UserError(what, f"--hf_path {folder}", "choose a new folder", Exit.CHECKPOINT)
