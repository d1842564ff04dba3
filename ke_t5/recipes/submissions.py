"""`--submission`: the predictions of a test as the benchmark takes them."""

from __future__ import annotations

import logging
from pathlib import Path

from ke_t5.errors import UserError
from ke_t5.files import move_aside
from ke_t5.forms import FORMS
from ke_t5.pipe import Evaluated, Mixture, Task
from ke_t5.recipes import console
from ke_t5.recipes.job import Job
from ke_t5.task.submission import format_of, write_submission

logger = logging.getLogger(__name__)


def submission_form(job: Job) -> str | None:
    """The form of the file that `--submission` asks for, None without the flag.

    Raises:
        UserError: the benchmark takes no such predictions, or the file could not be written.
    """
    flags = job.flags
    if not flags.submission:
        return None
    if isinstance(job.task, Mixture):
        name = job.task.members[0].name
        fix = f"test one of its tasks: --task {name} --resume {job.run.path}"
        raise UserError("a submission covers one task", f"--submission of {job.task.name}", fix)
    form = format_of(job.task.name)
    split, folder = flags.test_split or "", Path(flags.submission).parent
    if "+" in split:
        raise UserError(
            "a submission covers one split", f"--test_split {split}", "name one, or a slice of one"
        )
    if flags.pass_only_model_io and FORMS[job.task.form].needs_text:
        raise UserError(
            f"without the text, predictions of {job.task.name} are made for tokens",
            f"--submission {flags.submission}",
            "leave out --pass_only_model_io",
        )
    if not folder.is_dir():
        raise UserError(
            f"the folder {folder} does not exist",
            f"--submission {flags.submission}",
            "create it first",
        )
    return form


def keep_older(path: Path) -> None:
    """Renames a file of that name, which may be of other weights, to `<name>.1`, `.2`, ..."""
    if path.is_file():
        older = move_aside(path)
        logger.warning("the older submission %s was renamed to %s", path, older.name)


def hand_in(job: Job, form: str, evaluated: Evaluated) -> None:
    """Writes the predictions in that form."""
    assert isinstance(job.task, Task)  # `submission_form` refuses a mixture
    split = job.flags.test_split.partition("[")[0]
    rows = job.task.rows(split, job.folders).dataset
    guids = rows["guid"] if "guid" in rows.column_names else rows["_id"]
    keep_older(Path(job.flags.submission))
    path = write_submission(
        form,
        job.flags.submission,
        [str(guids[line["id"]]) for line in evaluated.predictions],
        [line["prediction"] for line in evaluated.predictions],
        scores=evaluated.row_scores if form == "klue_re" else None,
    )
    console.tell(f"submission in the {form} format: {path}")
