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

PATIENCE_SECONDS = 5.0  # without a line


class RunLog:
    """Writes what happens in a run to its folder; a resumed run continues its logs.

        metrics.jsonl   {"step": 240, "epoch": 1, "loss": 0.5, "lr": 0.0001, "grad_norm": 1.2}
                        {"step": 240, "split": "validation", "scores": {"accuracy": 88.1},
                         "validation_loss": 0.6}
        timing.jsonl    {"step": 240, "seconds": 6.2, "steps_per_second": 8.1, ...}
        logs/           the same for TensorBoard: train/loss, validation/accuracy, timing/seconds

    metrics.jsonl has no clock times in it, so equal runs write equal bytes. Its lines are on the
    disk when `sync` or `scores` returns: before a checkpoint, from which a run may go on.

    Args:
        folder: the run's folder.
        resume_step: the step of the checkpoint that the run resumes from, None for a new run. Lines
            of later steps are dropped (for a new run, all), because they will be written again,
            and so are those of closing validations (see `ke_t5.checkpoint.closing`).
        enabled: False on every rank but 0: nothing is written.
        tracking: gets all numbers, too.
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
        """Counts an update with its rows and tokens, for the rates of the next `step`."""
        self._steps, self._rows = self._steps + 1, self._rows + rows
        self._tokens += tokens
        self._counted_at = time.monotonic()

    def step(self, step: int, **values: object) -> None:
        """Logs values of training after `step` updates, and the rates since the last time.

        Args:
            values: numbers, tensors or numpy numbers of one element, texts, lists and mappings of
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
            loss: of the split, None if it was not computed.
            is_closing: of the validation that ends a run between two of its schedule.
        """
        if not self._is_open:
            return
        # The time since the last update was evaluation: the training rates leave it out.
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
        """Brings all lines to the disk."""
        if self._is_open:
            os.fsync(self._metrics.fileno())

    def close(self) -> None:
        """Ends the log; a second call does nothing."""
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
        # A split's name may contain brackets, which TensorBoard would warn of.
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
        """TensorBoard's writer, made at the first number: its import takes seconds."""
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
    """Keeps the lines of steps before `end_step`, those with scores of steps before `end_scores`,
    in one instant."""
    if not path.exists():
        return
    # What follows the last line's end is a line that a killed process has begun.
    lines = path.read_bytes().split(b"\n")[:-1]
    remove_leftovers(path.parent, path.name)
    content = b"".join(line + b"\n" for line in lines if _stays(line, end_step, end_scores))
    write_atomically(path, content, is_durable=True)


def _stays(line: bytes, end_step: int, end_scores: int) -> bool:
    """Whether a line is whole, of a step before its end, and not of a closing validation."""
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
    """Loss, rate and time left: a bar on a terminal, a logged line now and then elsewhere.

    Args:
        total: steps in all.
        initial: steps that an earlier part of the run has done.
        name: what the steps are of.
        enabled: False on every rank but 0: silent.
        is_passing: shown only after a second, and gone when it ends.
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
        self._is_silent = name != "train"  # nothing else logs how far it is
        self._told = time.monotonic()
        self._step = self._start_step = initial
        self._start = time.monotonic()
        # `disable=None` is tqdm's word for "unless standard error is a terminal".
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
        """Steps are done."""
        self._step += num_steps
        self._bar.update(num_steps)
        if self._is_silent and self._enabled and self._bar.disable:
            now = time.monotonic()
            if now - self._told > PATIENCE_SECONDS:
                self._told = now
                logger.info("%s: step %d/%d", self._name, self._step, self._total)

    def show(self, *, loss: float) -> None:
        """Shows the loss; if standard error is not a terminal, this logs a line."""
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
        """Ends the bar."""
        self._bar.close()

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
