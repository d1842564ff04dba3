"""Runs one training of several in its own process and folder; resumes it if it was interrupted.

`<folder>/trial.json`, with the flags and the scores, is written when the training is finished. A
trial that has it is not run again; without it, the training resumes from its last checkpoint.
"""

from __future__ import annotations

import ctypes
import json
import logging
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ke_t5 import stops
from ke_t5.config import flags as reader
from ke_t5.errors import Exit, Stopped, UserError
from ke_t5.files import is_replaced, is_temporary, write_json
from ke_t5.pipe import Mixture, Task
from ke_t5.pipe.scoring import best_score
from ke_t5.programs import CLONE, MODULE, is_one_command
from ke_t5.report.run_files import METRICS

logger = logging.getLogger("ke_t5")

PROGRAM = (sys.executable, "-m", MODULE, "train")
RECORD = "trial.json"
POLL_SECONDS = 0.2
# Flags that each trial sets itself.
_OWN = ("seeds", "seed", "output_dir", "resume")


@dataclass(frozen=True)
class Trial:
    """A training to run.

    Attributes:
        name: the name for display.
        words: the flags of the training, without `--output_dir` and `--resume`.
        folder: its `--output_dir`.
    """

    name: str
    words: Sequence[str]
    folder: Path

    def finished(self) -> dict[str, Any] | None:
        """The content of trial.json; None if the training is not finished.

        Raises:
            UserError: the file is damaged, or the trial was run with other flags.
        """
        file = self.folder / RECORD
        if not file.exists():
            return None
        try:
            record = json.loads(file.read_text(encoding="utf-8"))
            for name, kind in (("scores", dict), ("seconds", (int, float))):
                if not isinstance(record[name], kind):
                    raise TypeError(name)
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            what = f"not a valid record of a trial ({error!s:.60})"
            raise UserError(what, str(file), "remove it", Exit.CHECKPOINT) from error
        if record.get("words") != list(self.words):
            fix = "give the same flags, or another --output_dir"
            raise UserError("was run with other flags", str(self.folder), fix, Exit.CHECKPOINT)
        return record


def own_words() -> list[str]:
    """The flags that this process was started with."""
    return sys.argv[2:] if is_one_command() else sys.argv[1:]


def words_without(words: Sequence[str], names: Sequence[str] = _OWN) -> list[str]:
    """The words of a command line, one per flag, without the named flags.

    >>> words_without(["--task", "klue_tc", "--seed=3", "--sample"])
    ['--task=klue_tc', '--sample']
    """
    return [
        f"--{name}" if value is None else f"--{name}={value}"
        for name, value in reader.words(words, [])
        if name not in names
    ]


def run_trial(
    trial: Trial, *, should_end: Callable[[Mapping[str, Any]], bool] = lambda line: False
) -> tuple[int, dict[str, Any] | None]:
    """Runs a training to its end; returns its exit code, and its record if that is 0.

    Args:
        should_end: called with each validation (a line of metrics.jsonl); True stops the training.

    Raises:
        Stopped: this process was asked to stop, and has stopped the training.
    """
    started = time.monotonic()
    code = _run(trial, should_end)
    if code != 0:
        return code, None
    run = run_of(trial.folder)
    assert run is not None  # a training that ends with 0 has left one
    record = {
        "words": list(trial.words),
        "run": str(run.relative_to(trial.folder)),
        "scores": scores_of(run),
        "seconds": round(time.monotonic() - started, 1),
    }
    write_json(trial.folder / RECORD, record, is_durable=True)
    return 0, record


def trained(trial: Trial) -> dict[str, Any]:
    """Runs a training to its end; returns its record.

    Raises:
        UserError: the training failed; it has the training's exit code.
        Stopped: see `run_trial`.
    """
    code, record = run_trial(trial)
    if record is not None:
        return record
    raise failure("training", trial.name, code)


def failure(what: str, name: str, code: int) -> UserError:
    """The error for a training or test that ended with an exit code, which the error gets too."""
    exit_code = Exit(code) if code in list(Exit) else Exit.MACHINE
    problem = f"its {what} ended with exit code {code}, see the line above"
    return UserError(problem, name, "run the same command again to continue", exit_code)


def _run(trial: Trial, should_end: Callable[[Mapping[str, Any]], bool]) -> int:
    words = [*trial.words, f"--output_dir={trial.folder}", "--resume=auto"]
    is_stopping = False
    validations = _validations(trial.folder)
    with stops.postponed():
        process = subprocess.Popen(
            [*PROGRAM, *words], env=environment(), preexec_fn=_end_with_parent
        )
        while (code := process.poll()) is None:
            ends = any(should_end(line) for line in next(validations))
            if (ends or stops.requested()) and not is_stopping:
                is_stopping = True
                process.send_signal(signal.SIGTERM)
            time.sleep(POLL_SECONDS)
        if stops.requested():
            raise Stopped(f"{trial.name} has stopped")
    return code if code >= 0 else Exit.MACHINE


def environment() -> dict[str, str]:
    """The environment of a program of ours that this process starts."""
    paths = [str(CLONE), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}


def _end_with_parent() -> None:
    """Runs in the new process: if this process dies, the training is to save and stop."""
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGTERM)


def _validations(folder: Path) -> Iterator[list[dict[str, Any]]]:
    """Yields the validations added to metrics.jsonl since the last iteration; all of them again if
    a resumed training has truncated the file (see `train.loggers.RunLog`)."""
    last, place = None, 0
    while True:
        found: list[dict[str, Any]] = []
        with suppress(FileNotFoundError):  # not written yet, or removed to begin again
            run = run_of(folder)
            if run is not None:
                file = run / METRICS
                place = place if run == last and place <= file.stat().st_size else 0
                last = run
                place = _read_validations(file, place, found)
        yield found


def _read_validations(file: Path, place: int, found: list[dict[str, Any]]) -> int:
    """Appends the validations after a position of the file; returns the end of the last complete
    line."""
    with file.open("rb") as stream:
        stream.seek(place)
        for line in stream:
            if not line.endswith(b"\n"):
                break
            place += len(line)
            with suppress(ValueError):  # the rest of a truncated line
                content = json.loads(line)
                if isinstance(content, dict) and "scores" in content:
                    found.append(content)
    return place


def run_of(folder: Path) -> Path | None:
    """The run folder of a trial; None if there is none, and the newest if there are several
    because the command was changed."""
    records = [file for file in folder.glob("*/*/run.json") if not is_replaced(file.parent)]
    return max(records, key=lambda file: file.stat().st_mtime_ns).parent if records else None


def scores_of(run: Path) -> dict[str, dict[str, float | None]]:
    """Split -> scores of a run's best checkpoint."""
    found = {}
    for file in sorted(run.glob("eval/*/scores.json")):
        if not is_temporary(file.parent):
            content = json.loads(file.read_text(encoding="utf-8"))
            found[file.parent.name] = content["scores"]
    return found


def best_of(task: Task | Mixture, record: Mapping[str, Any]) -> float:
    """The score that selects the best checkpoint, for a mixture the mean; NaN if there is none."""
    for scores in record["scores"].values():
        numbers = {name: math.nan if x is None else x for name, x in scores.items()}
        if isinstance(task, Mixture) and not any("/" in name for name in numbers):
            continue
        return best_score(task, numbers)
    return math.nan


def check_words(flags: Any) -> None:
    """Raises UserError for flags that only a single training supports."""
    if "RANK" in os.environ:
        fix = "start without torchrun, as ke-t5 train --nproc N"
        raise UserError("starts the processes of each training itself", "torchrun", fix)
    resume = flags.resume
    if resume is not None and str(resume) not in ("auto", "true", "last"):
        fix = "drop it: each training resumes from its own last checkpoint"
        raise UserError("applies to a single training only", f"--resume {resume}", fix)
    if flags.hf_path not in (None, "default"):
        fix = "write --hf_path default: each run exports into its own folder"
        raise UserError("applies to a single training only", f"--hf_path {flags.hf_path}", fix)
