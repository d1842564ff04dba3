"""`--submission`: writes the predictions of a test in the benchmark's format."""

from __future__ import annotations

import logging
from pathlib import Path

from ke_t5.config.run_config import RunConfig
from ke_t5.errors import Exit, UserError
from ke_t5.files import move_aside
from ke_t5.forms import FORMS
from ke_t5.launchers import launched_rank
from ke_t5.pipe import Evaluated, Mixture, Task
from ke_t5.recipes import console
from ke_t5.recipes.folders import check_can_write
from ke_t5.task.submission import format_of, write_submission

logger = logging.getLogger(__name__)


def submission_form(config: RunConfig) -> str | None:
    """The format of the file that `--submission` requests; None without the flag.

    Raises:
        UserError: the benchmark does not take such predictions, or the file cannot be written.
    """
    if config.submission is None:
        return None
    if isinstance(config.task, Mixture):
        name = config.task.members[0].name
        fix = f"test one of its tasks: --task {name} --resume {config.run.path}"
        raise UserError("a submission covers one task", f"--submission of {config.task.name}", fix)
    form = format_of(config.task.name)
    split, folder = config.data.asked_splits["test"] or "", Path(config.submission).parent
    if "+" in split:
        raise UserError(
            "a submission covers one split", f"--test_split {split}", "name one, or a slice of one"
        )
    if config.data.model_columns_only and FORMS[config.task.form].needs_text:
        raise UserError(
            f"without the text, predictions of {config.task.name} are per token",
            f"--submission {config.submission}",
            "drop --pass_only_model_io",
        )
    if Path(config.submission).is_dir():
        where = f"--submission {config.submission}"
        raise UserError("is a folder", where, "name a file in it", Exit.MACHINE)
    if not folder.is_dir():
        raise UserError(
            f"the folder {folder} does not exist",
            f"--submission {config.submission}",
            "create it first",
        )
    if launched_rank() == 0:
        check_can_write(folder, where=f"--submission {config.submission}")
    return form


def keep_older(path: Path) -> None:
    """Renames an existing file, which may be of other weights, to `<name>.1`, `.2`, ..."""
    if path.is_file():
        older = move_aside(path)
        logger.warning("the older submission %s was renamed to %s", path, older.name)


def hand_in(config: RunConfig, form: str, evaluated: Evaluated) -> None:
    """Writes the predictions in that format."""
    assert isinstance(config.task, Task)  # `submission_form` refuses a mixture
    assert config.submission is not None
    split = config.splits.title("test").partition("[")[0]
    rows = config.task.rows(split, config.data.folders).dataset
    # NIKL's contest expects the objects of the test file, with the answers filled in.
    name = next(name for name in ("raw", "guid", "_id") if name in rows.column_names)
    guids = rows[name]
    keep_older(Path(config.submission))
    path = write_submission(
        form,
        config.submission,
        [str(guids[line["id"]]) for line in evaluated.predictions],
        [line["prediction"] for line in evaluated.predictions],
        scores=evaluated.row_scores if form == "klue_re" else None,
    )
    console.tell(f"submission in the {form} format: {path}")
