"""Finds and reads the evaluations of a run, and checks that two are of the same rows."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ke_t5.errors import Exit, UserError, suggestion
from ke_t5.files import is_replaced, is_temporary
from ke_t5.lookup.loader import choose_form
from ke_t5.own_data import OwnData, register
from ke_t5.pipe import Evaluated, Mixture, Task, get_task
from ke_t5.pipe.scoring import compute_scores
from ke_t5.recipes.folders import RunFolder
from ke_t5.recipes.predictions import read_predictions
from ke_t5.recipes.results import PREDICTIONS, SCORES, read_evaluation


@dataclass(frozen=True)
class Side:
    """One of the two evaluations of a comparison.

    Attributes:
        place: the folder or file that it was read from.
        weights: the name of the checkpoint or model.
    """

    place: Path
    task: Task
    split: str
    weights: str
    evaluated: Evaluated


def evaluations_of(path: Path) -> dict[str, Path]:
    """Name -> folder (or file of predictions) of the evaluations at `path`, which is the folder of
    a run, a folder with one run, an `eval/SPLIT`, a `scores.json` or a `predictions.jsonl`.

    Raises:
        UserError: there is none.
    """
    if not path.exists():
        raise _error(path, "no such file or folder")
    if path.is_file():
        if path.name == SCORES or (path.name == PREDICTIONS and (path.parent / SCORES).exists()):
            path = path.parent
        return {path.name: path}
    if (path / SCORES).exists():
        return {path.name: path}
    folders = sorted(file.parent for file in path.glob(f"eval/*/{PREDICTIONS}"))
    found = {folder.name: folder for folder in folders if not is_temporary(folder)}
    if found:
        return found
    folders = sorted(file.parent for file in path.glob("*/*/run.json"))
    runs = [folder for folder in folders if not is_replaced(folder)]
    if len(runs) > 1:
        raise _error(path, f"has {len(runs)} runs, such as {runs[0].relative_to(path)}")
    if not runs:
        raise _error(path, "no results: there is no eval/SPLIT/predictions.jsonl")
    return evaluations_of(runs[0])


def _error(path: Path, what: str) -> UserError:
    fix = "name the folder of a run, or eval/SPLIT in it"
    return UserError(what, str(path), fix, Exit.DATA)


def pairs_of(first: Path, second: Path, split: str | None) -> list[tuple[Path, Path]]:
    """The pairs of evaluations to compare: those with the same name, or the only ones.

    Raises:
        UserError: there are none.
    """
    both = evaluations_of(first), evaluations_of(second)
    if split is not None:
        for path, found in zip((first, second), both, strict=True):
            if split not in found:
                where = f"--split {split}"
                raise UserError(f"{path} has no such results", where, suggestion(split, found))
        return [(both[0][split], both[1][split])]
    shared = [name for name in both[0] if name in both[1]]
    if shared:
        return [(both[0][name], both[1][name]) for name in shared]
    if all(len(found) == 1 for found in both):
        return [(next(iter(both[0].values())), next(iter(both[1].values())))]
    raise UserError(
        f"{first} has {', '.join(both[0])}, {second} has {', '.join(both[1])}",
        "no split in common",
        "test both on one split, or name eval/SPLIT of each",
        Exit.DATA,
    )


def read_side(place: Path, task_name: str | None) -> Side:
    """The evaluation in a folder of results, or in a file of predictions.

    Args:
        task_name: the task of predictions without a scores.json.

    Raises:
        UserError: the files cannot be read, or the task is unknown.
    """
    try:
        if place.is_file():
            return _of_predictions(place, task_name)
        facts = json.loads((place / SCORES).read_text(encoding="utf-8"))
        task = _task_of(facts["task"], _run_around(place))
        evaluated = read_evaluation(place)
        return Side(place, task, str(facts["split"]), str(facts["weights"]), _checked(evaluated))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        what = f"not valid test results ({type(error).__name__}: {error!s:.60})"
        raise UserError(what, str(place), "test again", Exit.DATA) from error
    except OSError as error:
        what = f"cannot be read ({error.strerror})"
        raise UserError(what, str(error.filename), "test again", Exit.DATA) from error


def _of_predictions(place: Path, task_name: str | None) -> Side:
    if task_name is None:
        fix = "name their task with --task"
        raise UserError("predictions without a scores.json beside them", str(place), fix)
    task = _task_of(task_name, {})
    lines, row_scores = read_predictions(place)
    labelled = [i for i, line in enumerate(lines) if line["gold"] is not None]
    columns = [[lines[i][side] for i in labelled] for side in ("gold", "prediction")]
    of_labelled = [row_scores[i] for i in labelled] if row_scores else []
    scores = compute_scores(task, columns[0], columns[1], of_labelled)
    unparsable = sum(prediction is None for prediction in columns[1])
    evaluated = Evaluated(scores, len(lines), len(labelled), unparsable, lines, row_scores)
    return Side(place, task, place.stem, place.stem, _checked(evaluated))


def _checked(evaluated: Evaluated) -> Evaluated:
    """The evaluation in the order of its rows; ValueError or KeyError if it is not valid."""
    lines, row_scores = evaluated.predictions, evaluated.row_scores
    ids = [line["id"] for line in lines]
    if len(set(ids)) != len(ids) or len(ids) != evaluated.num_rows:
        raise ValueError(f"{len(ids)} predictions of {evaluated.num_rows} rows")
    for name in ("inputs", "gold", "prediction"):
        if not all(name in line for line in lines):
            raise KeyError(name)
    order = sorted(range(len(ids)), key=ids.__getitem__)
    return dataclasses.replace(
        evaluated,
        predictions=[lines[i] for i in order],
        row_scores=[row_scores[i] for i in order] if row_scores else [],
    )


def _run_around(place: Path) -> Mapping[str, Any]:
    """run.json of the run whose `eval/SPLIT` a folder is."""
    run = RunFolder(place.resolve().parents[1])
    facts = run.read_run()
    register_own_data(facts, where=run.run_file)
    return facts


def register_own_data(run: Mapping[str, Any], *, where: Path) -> None:
    """Registers the task of a run on the user's own data, which only its run.json describes."""
    if run.get("own_data") is not None:
        register(OwnData.from_json(run["own_data"], str(where)))


def _task_of(name: str, run: Mapping[str, Any]) -> Task:
    """The task, in the form of the run's model."""
    task = get_task(name)
    if isinstance(task, Mixture):
        raise UserError("a mixture", f"--task {name}", "name one of its tasks", Exit.DATA)
    model_name = run.get("model_name")
    if model_name and len(task.forms) > 1:
        return task.in_form(choose_form(model_name, *task.forms))
    return task


def check_same_rows(first: Side, second: Side) -> None:
    """Raises UserError if the two were not tested on the same rows."""
    what = difference_of_rows(first, second)
    if what is not None:
        where, fix = f"{first.place} and {second.place}", "test both on the same data"
        raise UserError(f"not the same data: {what}", where, fix, Exit.DATA)


def difference_of_rows(first: Side, second: Side) -> str | None:
    """The first difference between the rows of two evaluations; None if they are the same."""
    one, other = (
        {line["id"]: line for line in side.evaluated.predictions} for side in (first, second)
    )
    if one.keys() != other.keys():
        missing = sorted(one.keys() ^ other.keys())
        return f"{len(one)} and {len(other)} rows; row {missing[0]} is in one only"
    sides = ["gold", *(["inputs"] if first.task.name == second.task.name else [])]
    for row, line in one.items():
        unequal = next((side for side in sides if line[side] != other[row][side]), None)
        if unequal is not None:
            return f"row {row} has another {'text' if unequal == 'inputs' else 'gold label'}"
    return None
