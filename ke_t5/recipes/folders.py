"""A run's folder: its paths, its contents, and whether it can be written to."""

from __future__ import annotations

import errno
import io
import json
import logging
import os
import re
from argparse import Namespace
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ke_t5 import stops
from ke_t5.checkpoint.names import NAME
from ke_t5.errors import Exit, UserError
from ke_t5.files import (
    move_aside,
    remove_folder,
    remove_leftovers,
    sync_folder,
    temporary_path,
    write_atomically,
)
from ke_t5.pipe import Mixture, ReleaseSource, Task
from ke_t5.pipe.cache import default_data_dir

logger = logging.getLogger(__name__)

LONGEST_NAME = 120
LONGEST_COMPONENT = 255  # bytes of a name on almost all file systems; a Hangul syllable has three


def safe_name(name: str) -> str:
    """A name that is one path component on any system.

    >>> safe_name("../shared/models/roberta-mini"), safe_name("train[90%:]"), safe_name("..")
    ('shared_models_roberta-mini', 'train_90_', '_')
    """
    safe = re.sub(r"[^\w.\-]+", "_", name.strip().lstrip("./\\"))[-LONGEST_NAME:]
    return safe if safe.strip("._") else "_"


def make_folder(path: Path, *, where: str, probe: bool) -> None:
    """Creates the folder if necessary; raises UserError if it cannot be created or written to.

    Args:
        where: the flag that names it, for the error.
        probe: whether to write a file into it as a test.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        if probe:
            file = temporary_path(path / ".write-test")
            file.write_text("")
            file.unlink()
    except OSError as error:
        raise unwritable(error, where=where) from error


def unwritable(error: OSError, *, where: str) -> UserError:
    """The error for a folder that cannot be written to."""
    return UserError(
        f"nothing can be written there ({error.strerror})",
        where,
        "choose a folder that you may write to",
        Exit.MACHINE,
    )


def check_can_write(path: Path, *, where: str) -> None:
    """Like `make_folder` with a probe, but removes the folders that it created."""
    with folder_on_trial(path, where=where):
        pass


@contextmanager
def folder_on_trial(path: Path, *, where: str) -> Iterator[None]:
    """Like `check_can_write`, but the created folders stay until the end of the block."""
    created = [folder for folder in (path, *path.parents) if not folder.exists()]
    try:
        make_folder(path, where=where, probe=True)
        yield
    finally:
        with stops.postponed():  # a stop in between would leave the folders above
            for folder in created:
                with suppress(OSError):  # not created, or another process has written into it
                    folder.rmdir()
        stops.check()


def check_permission(path: Path, *, where: str) -> None:
    """Like `check_can_write`, but only looks: for processes that write nothing there."""
    existing = next(folder for folder in (path, *path.absolute().parents) if folder.exists())
    code = 0
    if not existing.is_dir():
        code = errno.ENOTDIR
    elif not os.access(existing, os.W_OK | os.X_OK):
        code = errno.EACCES
    if code:
        raise unwritable(OSError(code, os.strerror(code)), where=where)


def check_page(file: str | None, *, flag: str = "--html") -> None:
    """Raises UserError if the page that `--html FILE` asks for cannot be written."""
    if file is not None:
        check_can_write(Path(file).parent, where=f"{flag} {file}")


def write_page(file: str, text: str, *, flag: str = "--html") -> None:
    """Writes the page that `--html FILE` asks for, and says so."""
    try:
        write_atomically(Path(file), text)
    except OSError as error:
        raise unwritable(error, where=f"{flag} {file}") from error
    logger.info("%s is written", file)


def check_data_dir(flags: Namespace) -> None:
    """Raises UserError if `--hf_data_dir` is used but is not a folder."""
    if flags.hf_data_dir and not flags.sample and not Path(flags.hf_data_dir).is_dir():
        where, fix = f"--hf_data_dir {flags.hf_data_dir}", "check the path"
        raise UserError("no such folder", where, fix, Exit.DATA)


def data_folder(flags: Namespace, task: Task | Mixture) -> Path | None:
    """`--hf_data_dir`, or `./data`, which is logged if it has raw files of the task."""
    if flags.hf_data_dir:
        return Path(flags.hf_data_dir)
    folder = default_data_dir()
    if folder is not None and not flags.sample:
        sources = {member.source.name: member.source for member in task.members}
        releases = [source for source in sources.values() if isinstance(source, ReleaseSource)]
        found = [source.name for source in releases if source.release.find(folder)]
        if found:
            logger.info("raw files of %s: ./data (--hf_data_dir is not given)", ", ".join(found))
    return folder


@dataclass(frozen=True)
class RunFolder:
    """`<output_dir>/<model class>_<pre_trained_model>/<task>/`."""

    path: Path

    @classmethod
    def of(cls, output_dir: str, model: str, pre_trained_model: str, task: str) -> RunFolder:
        """The folder of a run of that model on that task."""
        model = safe_name(model)
        # Long paths are cut at the front. The class is kept, or two classes would share a folder.
        origin = safe_name(pre_trained_model)[-max(1, LONGEST_NAME - len(model) - 1) :]
        most = max(1, LONGEST_COMPONENT - len(model.encode()) - 1)
        origin = origin.encode()[-most:].decode(errors="ignore")
        return cls(Path(output_dir, f"{model}_{origin}", safe_name(task)))

    @classmethod
    def all_of(cls, output_dir: str, pre_trained_model: str, task: str) -> list[RunFolder]:
        """The runs of any model class on that task that started from `pre_trained_model`."""
        folders = sorted(Path(output_dir).glob(f"*/{safe_name(task)}"))
        begun = {"pre_trained_model": pre_trained_model, "task": task}
        runs = [cls(folder) for folder in folders]
        return [run for run in runs if begun.items() <= run.read_run().items()]

    @classmethod
    def around(cls, path: str) -> RunFolder | None:
        """The run whose folder this is, or that contains this checkpoint; None if there is none."""
        for folder in (Path(path), *Path(path).resolve().parents[:2]):
            if (folder / "model" / "config.json").exists():
                return cls(folder)
        return None

    @property
    def weights(self) -> Path:
        """Checkpoints."""
        return self.path / "weights"

    @property
    def model(self) -> Path:
        """Configuration and tokenizer of the run's model, without weights."""
        return self.path / "model"

    @property
    def export(self) -> Path:
        """The export of `--hf_path default`."""
        return self.path / "hf"

    @property
    def run_file(self) -> Path:
        """The record of what the run was started with."""
        return self.path / "run.json"

    def evaluation(self, split: str) -> Path:
        """Scores and predictions on a split."""
        return self.path / "eval" / safe_name(split)

    def trained_rows(self, task: str) -> Path:
        """Hashes of the rows that a task was trained on."""
        return self.path / "trained_rows" / f"{safe_name(task)}.npy"

    def read_trained_rows(self, task: str) -> np.ndarray:
        """The content of that file; raises UserError if it is damaged."""
        file = self.trained_rows(task)
        content = io.BytesIO(file.read_bytes())
        try:
            hashes = np.lib.format.read_array(content, allow_pickle=False)
            if hashes.ndim != 2 or hashes.dtype != np.uint64 or hashes.shape[1] != 3:
                raise ValueError(f"an array of {hashes.dtype} of shape {hashes.shape}")
        except Exception as error:  # the header is Python's syntax, and fails in many ways
            raise UserError(
                f"not hashes of rows ({error!s:.80})",
                str(file),
                "remove it; then the rows that the run was trained on are no longer recognized",
                Exit.CHECKPOINT,
            ) from error
        return hashes

    def keep_trained_rows(self, task: str, hashes: np.ndarray) -> None:
        """Adds these hashes to those of the rows that the run was trained on."""
        file = self.trained_rows(task)
        if file.is_file():
            hashes = np.concatenate([self.read_trained_rows(task), hashes])
        content = io.BytesIO()
        np.save(content, np.unique(hashes, axis=0))
        write_atomically(file, content.getvalue(), is_durable=True)

    def holds_a_run(self) -> bool:
        """Whether a run was started in this folder."""
        return any((self.path / name).exists() for name in ("run.json", "weights"))

    def has_checkpoint(self) -> bool:
        """Whether there is a checkpoint."""
        manifests = self.weights.glob("step-*/MANIFEST.json")
        return any(NAME.fullmatch(manifest.parent.name) for manifest in manifests)

    def is_trained(self) -> bool:
        """Whether there are a checkpoint and the configuration of its model."""
        return (self.model / "config.json").exists() and self.has_checkpoint()

    def has_best(self) -> bool:
        """Whether a validation has picked a checkpoint."""
        return (self.weights / "best.json").exists()

    def make_new(self) -> Path | None:
        """Creates the folder; moves an older run to `<task>.1`, `.2`, ..., which is returned."""
        moved = move_aside(self.path) if self.holds_a_run() else None
        self.check_writable()
        return moved

    def is_unsaved(self) -> bool:
        """Whether the run was killed before its first checkpoint."""
        folders = self.weights.iterdir() if self.weights.is_dir() else ()
        return self.holds_a_run() and not any(NAME.fullmatch(folder.name) for folder in folders)

    def start_again(self) -> None:
        """Removes the files of such a run, run.json last; keeps the results of tests."""
        for name in ("weights", "model", "trained_rows", "logs", "scheduled"):
            if (self.path / name).exists():
                remove_folder(self.path / name)
        for name in ("metrics.jsonl", "timing.jsonl", "config.gin", "run.json"):
            (self.path / name).unlink(missing_ok=True)

    def remove_leftovers(self) -> None:
        """Removes temporary files of killed processes, except in `weights`."""
        evaluations = self.path / "eval"
        for folder in (self.path, self.path / "trained_rows", evaluations):
            remove_leftovers(folder)
        for folder in evaluations.iterdir() if evaluations.is_dir() else ():
            remove_leftovers(folder)

    def check_writable(self, *, keep: bool = True) -> None:
        """Creates the folder if necessary; raises UserError if it cannot be written to.

        Args:
            keep: whether created folders stay; False for a run that may still fail to start.
        """
        if not keep:
            check_can_write(self.path, where=self._flag)
            return
        make_folder(self.path, where=self._flag, probe=True)
        for folder in self.path.parents[:3]:  # --output_dir may be new, too
            with suppress(PermissionError):
                sync_folder(folder)

    def on_trial(self) -> AbstractContextManager[None]:
        """Creates the folder for a block if necessary; UserError if it cannot be written to."""
        return folder_on_trial(self.path, where=self._flag)

    def check_permission(self) -> None:
        """Like `check_writable`, but only looks."""
        check_permission(self.path, where=self._flag)

    @property
    def _flag(self) -> str:
        return f"--output_dir {self.path}"

    def forget_error(self) -> None:
        """Removes an earlier failure's `error.json`."""
        (self.path / "error.json").unlink(missing_ok=True)

    def read_run(self) -> dict[str, Any]:
        """The content of `run.json`; {} if there is none."""
        if not self.run_file.exists():
            return {}
        try:
            content = json.loads(self.run_file.read_text(encoding="utf-8"))
            _check_facts(content)
        except (ValueError, TypeError, RecursionError) as error:
            raise UserError(
                f"not JSON ({error})" if isinstance(error, ValueError) else str(error),
                str(self.run_file),
                "fix or remove it",
                Exit.CHECKPOINT,
            ) from error
        return content


def _check_facts(content: Any) -> None:
    """Raises TypeError if the content of run.json has the wrong structure."""
    if not isinstance(content, dict):
        raise TypeError("it is not a record of a run")
    types = {
        "task": str, "model_name": str, "pre_trained_model": str, "from_scratch": bool,
        "launches": list, "data": dict, "sealed": bool,
    }  # fmt: skip
    for name, wanted in types.items():
        if not isinstance(content.get(name, wanted()), wanted):
            raise TypeError(f"{name} is {content[name]!r:.60}")
    if not all(isinstance(launch, dict) for launch in content.get("launches", ())):
        raise TypeError("launches are not a list of records")
