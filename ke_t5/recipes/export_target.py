"""Which folder an export may replace: an earlier export of this package, of the same task."""

from __future__ import annotations

import re
from pathlib import Path

from ke_t5.config.run_config import RunConfig
from ke_t5.errors import Exit, UserError


def check_target(config: RunConfig, folder: Path) -> None:
    """Raises UserError if an export would replace anything but an older export of the same
    task, such as the pre-trained model."""
    if folder == config.run.export or not (folder / "config.json").is_file():
        return
    card = folder / "README.md"
    text = card.read_text(encoding="utf-8", errors="replace") if card.is_file() else ""
    if folder.resolve() == Path(config.model.pre_trained_model).resolve():
        what = "the run starts from this model"
    elif "ke_t5" not in text:
        what = "it contains a model that was not exported by ke_t5"
    elif not re.search(rf"(?<![\w]){re.escape(config.task.name)}(?![\w])", text):
        what = f"it contains an export of a task other than {config.task.name}"
    else:
        return
    raise UserError(what, f"--hf_path {folder}", "choose a new folder", Exit.CHECKPOINT)
