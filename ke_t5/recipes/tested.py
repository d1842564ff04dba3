"""The weights that a test scores, and the folder of its results, which never overwrite others.

    eval/<split>/                      the run's own task and best checkpoint, as in training
    eval/<task>__<split>__<weights>/   anything else: another checkpoint, task, export or model

`scores.json` identifies the results in a folder (task, split, weights). If a folder has results of
another split or other weights of the same name, some digits of a hash are appended to the new
folder's name. Results of an earlier best checkpoint are moved to a folder with its name.
"""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ke_t5.config.run_config import RunConfig
from ke_t5.errors import Exit, UserError
from ke_t5.files import replace_folder
from ke_t5.pipe import Mixture
from ke_t5.recipes.folders import RunFolder, safe_name
from ke_t5.recipes.task_splits import TaskSplit

logger = logging.getLogger(__name__)

LONGEST_WEIGHTS = 48  # characters of a folder's name
IDENTITY = ("task", "split", "weights", "weights_sha256", "mixture")


@dataclass(frozen=True)
class Weights:
    """The weights that a test scores.

    Attributes:
        name: a checkpoint of the run, a folder, a hub name, or "from scratch".
        files: the folder whose content identifies them if the name does not.
        is_best: whether they are the run's best checkpoint.
    """

    name: str
    files: Path | None = None
    is_best: bool = False

    def short_name(self) -> str:
        """The name as a part of a folder's name."""
        return short_name(self.name)

    def sha256(self) -> str | None:
        """The hash of the weight files; None if the name identifies them."""
        paths = sorted(
            path
            for pattern in ("*.safetensors", "*.bin")
            for path in (self.files.glob(pattern) if self.files and self.files.is_dir() else ())
        )
        if not paths:
            return None
        digest = hashlib.sha256()
        for path in paths:
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        return digest.hexdigest()


def short_name(weights: str) -> str:
    """The name of weights as a part of a folder's name.

    >>> short_name("step-00000240"), short_name("/runs/klue_tc/hf")
    ('step-00000240', 'runs_klue_tc_hf')
    """
    return safe_name(safe_name(weights)[-LONGEST_WEIGHTS:])


def weights_of_checkpoint(run: RunFolder, checkpoint: Path) -> Weights:
    """The weights of a checkpoint of this run or another one; warns if it is unknown which one is
    the best, because best.json is damaged."""
    from ke_t5.checkpoint.folders import folder_name, read_pointer  # it imports torch

    if checkpoint.resolve().parent != run.weights.resolve():
        return Weights(str(checkpoint), checkpoint)
    name = checkpoint.name.removesuffix(".old")
    steps = (read_pointer(run.weights, pointer) for pointer in ("best", "last"))
    try:
        best = next((step for step in steps if step is not None), None)
    except UserError as error:
        logger.warning("%s: %s; the results get their own folder", error.where, error.what)
        best = None
    return Weights(name, is_best=best is not None and name == folder_name(best))


def is_own_task(config: RunConfig) -> bool:
    """Whether the tested task is the one that the run was trained on."""
    return config.run.read_run().get("task", config.task.name) == config.task.name


def trained_on(config: RunConfig) -> str | None:
    """The task that the tested run was trained on, if it differs from the tested one."""
    task = (
        config.run.read_run().get("task", config.task.name)
        if config.origin.is_resumed
        else config.task.name
    )
    return None if task == config.task.name else task


class ResultFolders:
    """The folder for each part of a test's results."""

    def __init__(self, config: RunConfig, weights: Weights) -> None:
        self.config, self.weights = config, weights
        self.is_own = weights.is_best and is_own_task(config)
        self.identity = {"weights": weights.name, "weights_sha256": weights.sha256()}
        if isinstance(config.task, Mixture):
            self.identity["mixture"] = config.task.name

    def of_part(self, part: TaskSplit) -> Path:
        """The folder for a part's results; other results there are moved or left alone."""
        return self._folder(part.name, task=part.task.name, split=part.split)

    def of_mixture(self, split: str) -> Path:
        """The folder for a mixture's own scores."""
        return self._folder(split, task=self.config.task.name, split=split, is_whole=True)

    def _folder(self, name: str, *, task: str, split: str, is_whole: bool = False) -> Path:
        identity = {"task": task, "split": split, **self.identity}
        if is_whole:
            identity.pop("mixture", None)
        folder = self.config.run.evaluation(name)
        if not self.is_own:
            return free_folder(self.config.run, identity)
        previous = identity_of(folder)
        if previous is None or previous == _filled(identity):
            return folder
        if {**previous, "weights": 0} != {**_filled(identity), "weights": 0}:
            return free_folder(self.config.run, identity)  # e.g. another slice of the same name
        target = free_folder(self.config.run, previous)
        replace_folder(folder, target)  # an earlier copy of the same results may be there
        logger.warning(
            "%s held results of %s: moved to %s", folder, previous["weights"], target.name
        )
        return folder


def free_folder(run: RunFolder, identity: dict[str, Any]) -> Path:
    """The folder named after these results; with a hash in its name if it has other results."""
    identity = _filled(identity)
    mixture = identity["mixture"]
    parts = [mixture] if mixture else []
    parts += [identity["task"], safe_name(identity["split"]), short_name(identity["weights"])]
    folder = run.evaluation("__".join(parts))
    if identity_of(folder) in (None, identity):
        return folder
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
    return folder.with_name(f"{folder.name}_{digest[:8]}")


def identity_of(folder: Path) -> dict[str, Any] | None:
    """The identity of the results in a folder, from its scores.json; None if there are none."""
    try:
        content = json.loads((folder / "scores.json").read_text(encoding="utf-8"))
        identity = _filled(content)
    except (OSError, ValueError, AttributeError, RecursionError):
        return None
    if identity["weights_sha256"] is None and "/step-" in str(identity["weights"]):
        identity["weights"] = Path(identity["weights"]).name  # as earlier versions wrote it
    return identity


def _filled(identity: dict[str, Any]) -> dict[str, Any]:
    return {name: identity.get(name) for name in IDENTITY}


# ------------------------------------------------------------------------ the task and the weights


def check_task(config: RunConfig) -> None:
    """Warns if the tested task is not the run's.

    Raises:
        UserError: the model's labels are not those of the task.
    """
    task, run = config.task, config.run
    trained_task = run.read_run().get("task", task.name)
    if trained_task == task.name:
        return
    model = json.loads((run.model / "config.json").read_text(encoding="utf-8"))
    labels = [name for _, name in sorted(model.get("id2label", {}).items(), key=_number)]
    names = None if task.labels is None else list(task.labels)
    problem_types = task.problem_type, model.get("problem_type")
    is_same_kind = problem_types[0] == problem_types[1] or "regression" not in problem_types
    if (names is not None and labels != names) or not is_same_kind:
        raise UserError(
            f"the model of {run.path} was trained on {trained_task} and predicts "
            f"{_shown(labels, model)}; {task.name} has {_shown(names, task)}",
            f"--task {task.name}",
            f"use --task {trained_task}, or a task with the same labels",
            Exit.CHECKPOINT,
        )
    logger.warning(
        "a model of %s is tested on %s; the results get their own folder",
        trained_task, task.name,
    )  # fmt: skip


def _number(item: tuple[str, str]) -> int:
    return int(item[0])


def _shown(labels: list[str] | None, thing: Any) -> str:
    kind = thing.get("problem_type") if isinstance(thing, dict) else thing.problem_type
    if kind == "regression":
        return "numbers"
    if not labels:
        return "no labels"
    return ", ".join(labels[:4]) + (f", ... ({len(labels)} labels)" if len(labels) > 4 else "")
