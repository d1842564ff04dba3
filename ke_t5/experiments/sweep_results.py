"""The results of a sweep: its table, and its best settings as a gin file with a command.

<output_dir>/sweep-<task>/
    sweep.md, sweep.json, best.gin              of the last sweep
    results/AdamW.lr_batch_size-0a1b2c3d/       the same files of each sweep
    AdamW.lr_1e-5_batch_size_16-4e5f6a7b/       the trials of all sweeps
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ke_t5.errors import counted
from ke_t5.experiments.axes import Axis
from ke_t5.experiments.trials import Trial
from ke_t5.files import write_atomically, write_json
from ke_t5.pipe import Mixture, Task
from ke_t5.programs import COMMAND_NAMES, TRAIN, one_command, shell_line
from ke_t5.recipes import console
from ke_t5.recipes.folders import make_folder, safe_name
from ke_t5.report.pages import Section, markdown_of, text_of


@dataclass(frozen=True)
class Sweep:
    """A sweep.

    Attributes:
        words: the flags that all trials share.
        folder: contains the trials of all sweeps of the task.
        seed: the seed of optuna's sampler.
        is_grid: whether it tries all combinations; otherwise optuna chooses.
    """

    task: Task | Mixture
    axes: Sequence[Axis]
    words: Sequence[str]
    folder: Path
    seed: int
    is_grid: bool = True

    @property
    def is_maximized(self) -> bool:
        """Whether higher scores are better."""
        return self.task.best is None or self.task.best.mode == "max"

    @property
    def results(self) -> Path:
        """The folder of this sweep's own results: the same for the same settings and flags."""
        settings = [(axis.name, axis.values, axis.ends()) for axis in self.axes]
        digest = _digest(repr((self.is_grid, settings, self.words)))
        names = safe_name(",".join(axis.name for axis in self.axes))
        return self.folder / "results" / f"{names[:60]}-{digest}"

    def trial(self, values: Sequence[str]) -> Trial:
        """The trial with these values of the axes."""
        pairs = list(zip(self.axes, values, strict=True))
        name = ", ".join(f"{axis.name}={value}" for axis, value in pairs)
        words = [*self.words, *(axis.word(value) for axis, value in pairs)]
        return Trial(name, words, self.folder / f"{safe_name(name)[:60]}-{_digest(name)}")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]


@dataclass(frozen=True)
class Result:
    """The result of a finished trial."""

    values: tuple[str, ...]
    score: float
    state: str
    seconds: float
    run: Path


def write_table(sweep: Sweep, results: Sequence[Result]) -> None:
    """Writes sweep.md, sweep.json and best.gin, in the sweep's own folder and in that of all sweeps
    of the task; prints the table."""
    sign = -1 if sweep.is_maximized else 1
    ranked = sorted(results, key=lambda x: (not math.isfinite(x.score), sign * x.score))
    metric = sweep.task.best.metric if sweep.task.best else "score"
    head = [*(axis.name for axis in sweep.axes), metric, "state", "seconds", "folder"]
    rows = [
        [
            *one.values,
            f"{one.score:.2f}" if math.isfinite(one.score) else "–",
            one.state,
            f"{one.seconds:,.0f}",
            str(one.run),
        ]
        for one in ranked
    ]
    numbers = (len(sweep.axes), len(sweep.axes) + 2)
    notes = ["scores of the best validation of each trial"]
    best = ranked[0] if ranked and math.isfinite(ranked[0].score) else None
    if best is not None:
        notes.append(f"best settings: {best_command(sweep, best, sweep.results)}")
    title = f"{sweep.task.name}: a sweep of {counted(len(results), 'trial')}"
    sections = [Section("Trials, the best first", head, rows, numbers, notes, most_lines=100)]
    content = {
        "task": sweep.task.name,
        "metric": metric,
        "trials": [_as_json(sweep, one) for one in ranked],
    }
    make_folder(sweep.results, where=f"--output_dir {sweep.folder.parent}", probe=False)
    for folder in (sweep.results, sweep.folder):
        if best is not None:
            write_atomically(folder / "best.gin", best_gin(sweep, best, folder))
        write_atomically(folder / "sweep.md", markdown_of(title, "", sections))
        write_json(folder / "sweep.json", content, is_durable=True)
    places = f"{sweep.results} (and, until the next sweep, in {sweep.folder})"
    console.tell(f"{title}\n{text_of(sections)}\nsweep.md and sweep.json in {places}")


def _as_json(sweep: Sweep, result: Result) -> dict[str, Any]:
    """A trial as in sweep.json."""
    return {
        "settings": dict(zip((a.name for a in sweep.axes), result.values, strict=True)),
        "score": result.score if math.isfinite(result.score) else None,
        "state": result.state,
        "seconds": result.seconds,
        "run": str(result.run),
    }


def best_command(sweep: Sweep, best: Result, folder: Path) -> str:
    """The command that trains with the best settings, which are in the folder's best.gin."""
    pairs = list(zip(sweep.axes, best.values, strict=True))
    words = [*sweep.words, *(axis.word(value) for axis, value in pairs if axis.is_flag)]
    if any(not axis.is_flag for axis, _ in pairs):
        words.append(f"--gin_file={folder / 'best.gin'}")
    return f"{one_command(COMMAND_NAMES[TRAIN])} {shell_line(words)}"


def best_gin(sweep: Sweep, best: Result, folder: Path) -> str:
    """The best settings as a gin file that starts with the command that uses it."""
    bindings = [
        f"{axis.name} = {value}"
        for axis, value in zip(sweep.axes, best.values, strict=True)
        if not axis.is_flag
    ]
    return "\n".join([f"# {best_command(sweep, best, folder)}", "", *bindings, ""])
