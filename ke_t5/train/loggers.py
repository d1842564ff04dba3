"""The logs of a run: metrics.jsonl, timing.jsonl, TensorBoard, and a progress bar."""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TextIO

from tqdm import tqdm

from ke_t5.fault_points import fault_point
from ke_t5.files import plain, remove_leftovers, write_atomically
from ke_t5.train.trackers import Tracking

logger = logging.getLogger(__name__)

LOG_INTERVAL_SECONDS = 5.0  # of progress without a terminal


class RunLog:
    """Writes the logs of a run to its folder; a resumed run continues them.

        metrics.jsonl   {"step": 240, "epoch": 1, "loss": 0.5, "lr": 0.0001, "grad_norm": 1.2}
                        {"step": 240, "split": "validation", "scores": {"accuracy": 88.1},
                         "validation_loss": 0.6}
        timing.jsonl    {"step": 240, "seconds": 6.2, "steps_per_second": 8.1, ...}
        logs/           the same for TensorBoard: train/loss, validation/accuracy, timing/seconds

    metrics.jsonl contains no clock times, so that equal runs write equal bytes. Its lines are on
    disk when `sync` or `scores` returns, and so before the checkpoint that a run may resume from.

    Args:
        folder: the run's folder.
        resume_step: the step of the checkpoint that the run resumes from, None for a new run. Lines
            of later steps are dropped (for a new run, all), because they will be written again,
            and so are those of closing validations (see `ke_t5.checkpoint.closing`).
        is_validated: whether the scores of `resume_step` itself are kept.
        enabled: whether anything is written; False on every rank but 0.
        tracking: also receives all numbers.
    """

    def __init__(
        self,
        folder: Path,
        *,
        resume_step: int | None = None,
        is_validated: bool = True,
        enabled: bool = True,
        tracking: Tracking | None = None,
    ) -> None:
        self._folder = folder
        self._tracking = tracking or Tracking((), folder)
        self._is_open = enabled
        self._end_step = 0 if resume_step is None else resume_step + 1
        self._end_scores = self._end_step - (not is_validated)
        self._tensorboard = None
        self._has_tensorboard = True
        self._restart_clock()
        if enabled:
            folder.mkdir(parents=True, exist_ok=True)
            self._metrics = self._open("metrics.jsonl")
            self._timing = self._open("timing.jsonl")

    def _open(self, name: str) -> TextIO:
        path = self._folder / name
        _cut(path, self._end_step, self._end_scores)
        return path.open("a", encoding="utf-8", newline="\n", buffering=1)

    def count(self, *, rows: int, tokens: int) -> None:
        """Counts an update with its rows and tokens, for the rates that the next `step` logs."""
        self._steps, self._rows = self._steps + 1, self._rows + rows
        self._tokens += tokens
        self._counted_at = time.monotonic()

    def step(self, step: int, **values: object) -> None:
        """Logs values of training after `step` updates, and the rates since the last call.

        Args:
            values: numbers, one-element tensors or arrays, strings, and lists and mappings of
                these; NaN and inf are written as null.
        """
        if not self._is_open:
            return
        self._add(self._metrics, {"step": step, **values}, "train", values)
        seconds = max(time.monotonic() - self._since, 1e-9)
        timing = {
            "seconds": seconds,
            "steps_per_second": self._steps / seconds,
            "rows_per_second": self._rows / seconds,
            "tokens_per_second": self._tokens / seconds,
        }
        timing = {name: round(value, 4) for name, value in timing.items()}
        self._add(self._timing, {"step": step, **timing}, "timing", timing)
        self._restart_clock()

    def scores(
        self,
        step: int,
        *,
        split: str,
        scores: Mapping[str, object],
        loss: float | None = None,
        is_closing: bool = False,
    ) -> None:
        """Logs the scores of a split after `step` updates.

        Args:
            loss: the split's loss, None if it was not computed.
            is_closing: whether this is the validation that ends a run between two scheduled ones.
        """
        if not self._is_open:
            return
        # The time since the last update was evaluation; the training rates exclude it.
        self._since += time.monotonic() - max(self._counted_at, self._since)
        line: dict[str, object] = {"step": step, "split": split, "scores": scores}
        values = dict(scores)
        if loss is not None:
            line["validation_loss"] = values["loss"] = loss
        if is_closing:
            line["closing"] = True
        # The role, not the slice: runs on other slices are compared in one chart.
        self._add(self._metrics, line, "validation", values)
        os.fsync(self._metrics.fileno())
        if self._tensorboard is not None:
            self._tensorboard.flush()

    def sync(self) -> None:
        """Flushes all lines to disk."""
        if self._is_open:
            os.fsync(self._metrics.fileno())

    def close(self) -> None:
        """Closes the log; a second call does nothing."""
        if self._is_open:
            self._is_open = False
            self._metrics.close()
            self._timing.close()
            if self._tensorboard is not None:
                self._tensorboard.close()
            self._tracking.flush()

    def __enter__(self) -> RunLog:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _restart_clock(self) -> None:
        self._since = self._counted_at = time.monotonic()
        self._steps = self._rows = self._tokens = 0

    def _add(self, file: TextIO, line: Mapping, prefix: str, values: Mapping) -> None:
        line, values = plain(line), plain(values)
        fault_point("log.before_write")
        file.write(json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n")
        fault_point("log.after_write")
        numbers = {n: v for n, v in values.items() if isinstance(v, (int, float))}
        if not numbers:
            return
        # A split's name may contain brackets, about which TensorBoard would warn.
        tags = {
            re.sub(r"[^\w./-]+", "_", f"{prefix}/{name}", flags=re.ASCII): value
            for name, value in numbers.items()
        }
        self._tracking.log(line["step"], tags)
        writer = self._writer()
        if writer is None:
            return
        for tag, value in tags.items():
            writer.add_scalar(tag, value, line["step"])

    def _writer(self):
        """TensorBoard's writer, created at the first number because its import takes seconds."""
        if self._tensorboard is None and self._has_tensorboard:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError as error:
                self._has_tensorboard = False
                logger.warning("logs/ stays empty: TensorBoard cannot be imported (%s)", error)
                return None
            logs = self._folder / "logs"
            self._tensorboard = SummaryWriter(str(logs), purge_step=self._end_step)
        return self._tensorboard


def _cut(path: Path, end_step: int, end_scores: int) -> None:
    """Atomically drops all lines but those of steps before `end_step`, or before `end_scores` if
    they have scores."""
    if not path.exists():
        return
    # After the last line break there may be a partial line of a killed process.
    lines = path.read_bytes().split(b"\n")[:-1]
    remove_leftovers(path.parent, path.name)
    content = b"".join(line + b"\n" for line in lines if _stays(line, end_step, end_scores))
    write_atomically(path, content, is_durable=True)


def _stays(line: bytes, end_step: int, end_scores: int) -> bool:
    """Whether a line is complete, of a step before its limit, and not of a closing validation."""
    try:
        values = json.loads(line)
        end = end_scores if "scores" in values else end_step
        return values["step"] < end and not values.get("closing")
    except (ValueError, KeyError, TypeError, RecursionError):
        return False


def is_quiet() -> bool:
    """Whether only warnings and results are shown (`--quiet`)."""
    return logging.getLogger("ke_t5").level == logging.WARNING


class ProgressBar:
    """Loss, rate and time left: a bar on a terminal, otherwise occasional log lines.

    Args:
        total: total number of steps.
        initial: number of steps done by an earlier part of the run.
        name: the activity that is shown.
        enabled: whether anything is shown; False on every rank but 0.
        is_passing: whether the bar appears only after a second and is removed at the end.
    """

    def __init__(
        self,
        total: int,
        *,
        initial: int = 0,
        name: str = "train",
        enabled: bool = True,
        is_passing: bool = False,
    ) -> None:
        enabled = enabled and not is_quiet()
        self._total, self._name, self._enabled = total, name, enabled
        self._logs_steps = name != "train"  # whose steps `show` logs
        self._logged_at = time.monotonic()
        self._step = self._start_step = initial
        self._start = time.monotonic()
        # For tqdm, `disable=None` means "unless standard error is a terminal".
        self._bar = tqdm(
            total=total,
            initial=initial,
            desc=name,
            unit="step",
            dynamic_ncols=True,
            disable=None if enabled else True,
            delay=1.0 if is_passing else 0.0,
            leave=not is_passing,
        )

    def update(self, num_steps: int = 1) -> None:
        """Advances the bar."""
        self._step += num_steps
        self._bar.update(num_steps)
        if self._logs_steps and self._enabled and self._bar.disable:
            now = time.monotonic()
            if now - self._logged_at > LOG_INTERVAL_SECONDS:
                self._logged_at = now
                logger.info("%s: step %d/%d", self._name, self._step, self._total)

    def show(self, *, loss: float) -> None:
        """Shows the loss; logs a line if standard error is not a terminal."""
        if not self._bar.disable:
            self._bar.set_postfix_str(f"loss {loss:.4g}")
        elif self._enabled:
            done = self._step - self._start_step
            rate = done / max(time.monotonic() - self._start, 1e-9)
            left = (self._total - self._step) / rate if rate else 0.0
            logger.info(
                "%s: step %d/%d, loss %.4g, %.3g steps/s, %s left",
                self._name,
                self._step,
                self._total,
                loss,
                rate,
                tqdm.format_interval(left),
            )

    def write(self, text: str) -> None:
        """Prints a line above the bar."""
        if not self._bar.disable:
            self._bar.write(text, file=sys.stderr)
        elif self._enabled:
            logger.info("%s", text)

    def close(self) -> None:
        """Closes the bar."""
        self._bar.close()

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
