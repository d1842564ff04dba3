"""Reads the files of a run's folder: `run.json`, the logs, `config.gin`, the scores."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ke_t5.errors import Exit, UserError
from ke_t5.files import is_temporary

RUN, METRICS, TIMING, CONFIG = "run.json", "metrics.jsonl", "timing.jsonl", "config.gin"
EARLY = re.compile(r"^fit\.early_stopping = \d", re.MULTILINE)


@dataclass(frozen=True)
class RunFiles:
    """The contents of a run's folder; missing files, as in folders of older versions, are empty.

    Attributes:
        run: the content of run.json.
        metrics, timing: the lines of the logs, without one that a killed process left incomplete.
        config: the text of config.gin.
        evaluations: folder in `eval/` -> its scores.json.
        best: the name of the best checkpoint; None if there is none.
    """

    folder: Path
    run: dict[str, Any]
    metrics: list[dict[str, Any]]
    timing: list[dict[str, Any]]
    config: str
    evaluations: dict[str, dict[str, Any]]
    best: str | None

    @property
    def launches(self) -> list[dict[str, Any]]:
        """The launches of the run."""
        return self.run.get("launches", [])

    def validations(self) -> list[dict[str, Any]]:
        """The log lines of validations."""
        return [line for line in self.metrics if isinstance(line.get("scores"), dict)]

    def steps_missing(self) -> int:
        """The number of training steps that an interrupted run still has to make; 0 if it has
        ended, may stop early, or has no record of its steps."""
        made = [int(line["step"]) for line in self.metrics if "step" in line]
        may_end_early = EARLY.search(self.config) is not None
        planned = self.run.get("steps")
        if may_end_early or not made or not isinstance(planned, int):
            return 0
        return max(0, planned - max(made))

    def updates(self) -> list[dict[str, Any]]:
        """The log lines of training steps."""
        return [line for line in self.metrics if "scores" not in line]


def read_run_files(folder: Path) -> RunFiles:
    """The run in a folder.

    Raises:
        UserError: there is none, or its run.json is damaged.
    """
    return RunFiles(
        folder,
        _read_run(folder),
        list(_lines(folder / METRICS)),
        list(_lines(folder / TIMING)),
        _text(folder / CONFIG),
        _evaluations(folder / "eval"),
        _read(folder / "weights" / "best.json").get("snapshot"),
    )


def _read_run(folder: Path) -> dict[str, Any]:
    file = folder / RUN
    if not file.is_file():
        raise UserError(f"has no {RUN}", str(folder), _near(folder), Exit.CHECKPOINT)
    content = _read(file)
    if not content or not _is_record(content):
        raise UserError("no record of a run", str(file), "restore it", Exit.CHECKPOINT)
    return content


def _is_record(content: Mapping[str, Any]) -> bool:
    """Whether the parts of run.json that reports use have the right types."""
    launches = content.get("launches", [])
    is_known = isinstance(launches, list) and all(isinstance(one, dict) for one in launches)
    facts = (content.get(name) for name in ("batch", "schedule", "versions", "data"))
    return is_known and all(isinstance(one, dict | None) for one in facts)


def _near(folder: Path) -> str:
    """Advice naming the folder below or above that may be meant."""
    found = [
        path.parent for depth in ("*", "*/*") for path in sorted(folder.glob(f"{depth}/{RUN}"))
    ]
    found += [path for path in folder.resolve().parents[:3] if (path / RUN).is_file()]
    if not found:
        return "name a run's folder: <output_dir>/<model>/<task>"
    more = f" or one of {len(found) - 1} more" if len(found) > 1 else ""
    return f"did you mean {found[0]}{more}?"


def _read(file: Path) -> dict[str, Any]:
    """An object in a JSON file; {} if there is none."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _lines(file: Path) -> Iterator[dict[str, Any]]:
    for text in _text(file).splitlines():
        try:
            line = json.loads(text)
        except (ValueError, RecursionError):
            continue
        if isinstance(line, dict) and isinstance(line.get("step"), int):
            yield line


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _evaluations(folder: Path) -> dict[str, dict[str, Any]]:
    files = sorted(file for file in folder.glob("*/scores.json") if not is_temporary(file.parent))
    read: Mapping[str, dict[str, Any]] = {file.parent.name: _read(file) for file in files}
    return {name: found for name, found in read.items() if isinstance(found.get("scores"), dict)}
