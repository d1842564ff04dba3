"""The closing validation of a run that ended between two scheduled validations.

A run that `--max_steps` ends within an epoch is validated once more. That validation counts: it is
logged, and its checkpoint can be the best. But a later `--resume` beyond it must end with the bytes
of an uninterrupted run, which does not have that validation; so it is reverted then:

* `progress.json` of its checkpoint keeps `best` and `waited` of the scheduled validations, and the
  closing validation separately.
* Its line in metrics.jsonl is marked `"closing": true`. Such lines are dropped when a run is
  resumed, and logged again if no step is left.
* Before its results replace those of the scheduled best, these are copied to `<run>/scheduled/`,
  with the step in best.json; `revert` restores both. The checkpoint of that step is kept meanwhile.

All of this can be repeated, so a process killed halfway does no harm.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import NoneType
from typing import Any, NotRequired, TypedDict

from ke_t5.checkpoint.folders import read_pointer, write_pointer
from ke_t5.errors import Exit, UserError
from ke_t5.files import new_folder, remove_folder, remove_leftovers, write_json
from ke_t5.seals import is_inside

FOLDER, RECORD = "scheduled", "scheduled.json"


class Validation(TypedDict):
    """A validation as a checkpoint stores it.

    `score` is the one to compare, None if there is none; only closing ones have `is_best`; `loss`
    is missing if the model computes none.
    """

    step: int
    score: float | None
    scores: dict[str, float]
    loss: NotRequired[float]
    is_best: NotRequired[bool]


def set_aside(run: Path, evaluations: Iterable[Path], *, step: int) -> None:
    """Copies these folders of `<run>/eval/`, and the step in best.json, to `<run>/scheduled/`.

    Args:
        step: the step of the closing validation.
    """
    folder = run / FOLDER
    if folder.exists():  # a launch was killed after this
        return
    names, best = [], read_pointer(run / "weights", "best")
    with new_folder(folder, is_durable=True) as temporary:
        for evaluation in evaluations:
            names.append(evaluation.name)
            if evaluation.is_dir():
                shutil.copytree(evaluation, temporary / "eval" / evaluation.name)
        write_json(temporary / RECORD, {"closing": step, "best": best, "evaluations": names})


def closing_step(run: Path) -> int | None:
    """The step of the closing validation whose results are in the run's folder, if any.

    Raises:
        UserError: the record of it is damaged.
    """
    folder = run / FOLDER
    return _read_record(folder)["closing"] if folder.exists() else None


def _read_record(folder: Path) -> dict[str, Any]:
    path = folder / RECORD
    try:
        record = json.loads(path.read_bytes())
        is_intact = (
            type(record["closing"]) is int
            and type(record["best"]) in (int, NoneType)
            and all(is_inside(name) for name in record["evaluations"])
        )
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        is_intact = False
    if not is_intact:
        fix = f"remove {folder}: the best checkpoint is looked up, and evaluated again"
        raise UserError("the file is damaged", str(path), fix, Exit.CHECKPOINT)
    return record


def revert(run: Path) -> None:
    """Restores the scheduled results and the scheduled best."""
    folder = run / FOLDER
    remove_leftovers(run, FOLDER)
    if not folder.exists():
        return
    record = _read_record(folder)
    for name in record["evaluations"]:
        _restore(folder / "eval" / name, run / "eval" / name)
    if record["best"] is None:
        (run / "weights" / "best.json").unlink(missing_ok=True)
    else:
        write_pointer(run / "weights", "best", record["best"])
    remove_folder(folder)


def _restore(copy: Path, target: Path) -> None:
    if copy.is_dir():
        with new_folder(target, is_durable=True) as temporary:
            shutil.copytree(copy, temporary, dirs_exist_ok=True)
    elif target.exists():
        remove_folder(target)


def best_of(progress: Mapping[str, Any]) -> Validation | None:
    """The best validation in a checkpoint's progress, the closing one included; None if it has
    none."""
    closing = progress.get("closing")
    return closing if closing is not None and closing["is_best"] else progress["best"]
