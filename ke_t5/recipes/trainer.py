"""The trainer, which decides when a training logs, validates, saves and ends."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from tqdm.contrib.logging import logging_redirect_tqdm

from ke_t5 import heartbeat, stops
from ke_t5.checkpoint.checkpointer import Checkpointer
from ke_t5.checkpoint.closing import Validation
from ke_t5.distributed import Ranks
from ke_t5.errors import Stopped
from ke_t5.recipes.validator import Validator
from ke_t5.report.scores import format_scores
from ke_t5.train.loggers import ProgressBar, RunLog
from ke_t5.train.loop import TrainState, Update, no_loss
from ke_t5.train.trackers import Tracking

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Timetable:
    """When to log, validate, save and end, in updates.

    Attributes:
        epoch_steps: updates in all epochs; num_steps: the update at which this launch ends.
        log_every, validate_every, save_every: intervals; None for the end of each epoch only.
        validate_epochs: the number of epochs after which there is a validation.
        save_seconds: time after the last checkpoint at which to save another; None for no limit.
        patience: validations without a better score after which the run ends; None for no limit.
    """

    epoch_steps: int
    num_steps: int
    log_every: int
    validate_every: int | None = None
    validate_epochs: int = 1
    save_every: int | None = None
    save_seconds: float | None = None
    patience: int | None = None


class Trainer:
    """Runs the checkpointer and the validator between the updates of the training loop."""

    def __init__(
        self,
        state: TrainState,
        ranks: Ranks,
        *,
        timetable: Timetable,
        checkpointer: Checkpointer,
        validator: Validator,
        run: Path,
        tracking: Tracking | None = None,
    ) -> None:
        self.state, self.ranks, self.timetable, self.run = state, ranks, timetable, run
        self.checkpointer, self.validator = checkpointer, validator
        self.tracking = tracking or Tracking((), run)
        self.log = RunLog(run, enabled=False)
        self._saved_at = time.monotonic()

    def open_logs(self, *, is_resumed: bool) -> None:
        """Continues the logs of a resumed run, or starts those of a new one."""
        if self.goes_on() or self.checkpointer.closing is None:
            self.checkpointer.revert_closing()
        resume_step = self.state.step if is_resumed else None
        self.log = RunLog(
            self.run,
            resume_step=resume_step,
            is_validated=not self.checkpointer.is_unvalidated,
            enabled=self.ranks.is_main,
            tracking=self.tracking,
        )

    def goes_on(self) -> bool:
        """Whether this launch has a step left."""
        return self.state.step < self.timetable.num_steps and not self._is_patience_over()

    def catch_up(self, epoch: int, *, ends_epoch: bool) -> None:
        """Runs the validation that was due when the resumed launch ended, if any.

        Args:
            epoch: epoch of the last update, from 0.
            ends_epoch: whether that update was the last of its epoch.
        """
        is_open = self.checkpointer.is_unvalidated and self.checkpointer.closing is None
        if is_open and self._is_time_to_validate(self.state.step, epoch, ends_epoch=ends_epoch):
            with stops.postponed():
                self._validate(epoch)

    def train(self, updates: Iterable[Update]) -> None:
        """Runs the updates.

        Raises:
            Stopped: a process was asked to stop; a checkpoint is saved.
        """
        steps, is_main = self.timetable.num_steps, self.ranks.is_main
        with (
            ProgressBar(steps, initial=self.state.step, enabled=is_main) as bar,
            logging_redirect_tqdm([logging.getLogger("ke_t5")]),
            stops.postponed(),
        ):
            for update in updates:
                bar.update()
                self._log(update, bar)
                epoch, ends_epoch = update.epoch, update.ends_epoch
                if self._is_time_to_validate(update.step, epoch, ends_epoch=ends_epoch):
                    self._validate(epoch)
                elif _is_due(update.step, self.timetable.save_every):
                    self._save()
                must_stop, must_save = self.ranks.agree(stops.requested(), self._is_time_to_save())
                if must_stop or must_save:
                    self._save()
                if must_stop:
                    self.checkpointer.wait()
                    self.log.close()
                    raise Stopped(f"at step {update.step}, saved in {self.run / 'weights'}")
                if self._is_patience_over():
                    break

    def _save(self, *, is_best: bool = False, then: Callable[[], None] | None = None) -> None:
        with heartbeat.phase("saving a checkpoint"):
            self.log.sync()
            self.checkpointer.save(is_best=is_best, then=then)
        self._saved_at = time.monotonic()

    def _is_time_to_save(self) -> bool:
        """Whether process 0 is due for a checkpoint; starts the next interval if so."""
        seconds, now = self.timetable.save_seconds, time.monotonic()
        if seconds is None or not self.ranks.is_main or now - self._saved_at < seconds:
            return False
        self._saved_at = now
        return True

    def _log(self, update: Update, bar: ProgressBar) -> None:
        """Writes the mean loss since the last logged step."""
        self.log.count(rows=update.rows, tokens=update.tokens)
        # The end set by --max_steps is not logged, as an uninterrupted run would not log it.
        is_end = update.step == self.timetable.epoch_steps
        if not _is_due(update.step, self.timetable.log_every) and not is_end:
            return
        self.state.guard.check()
        self.checkpointer.check()
        loss = float(self.ranks.mean(self.state.loss_sum / self.state.loss_steps))
        self.state.loss_sum, self.state.loss_steps = no_loss(), 0
        norm = float(update.grad_norm)
        self.log.step(update.step, epoch=update.epoch, loss=loss, lr=update.lr, grad_norm=norm)
        bar.show(loss=loss)

    def _is_time_to_validate(self, step: int, epoch: int, *, ends_epoch: bool) -> bool:
        is_end = ends_epoch and _is_due(epoch + 1, self.timetable.validate_epochs)
        return is_end or _is_due(step, self.timetable.validate_every)

    def _validate(self, epoch: int) -> None:
        """Validates, and saves a checkpoint, marked as the best if it is."""
        step = self.state.step
        validation = self._evaluate()
        self._log_validation(validation)
        is_best = self.checkpointer.add(validation)
        logger.info(
            "epoch %d, step %d: %s%s", epoch + 1, step,
            format_scores(validation["scores"]), " (best so far)" if is_best else "",
        )  # fmt: skip
        # Results are written after the checkpoint: best.json and eval/ must be of the same one.
        self._save(is_best=is_best, then=self._results(step, is_best=is_best))

    def _evaluate(self) -> Validation:
        """Validates this step, after saving it: a validation may take long."""
        step = self.state.step
        self._save()
        try:
            with stops.at_once(), heartbeat.phase("validating"):
                return self.validator.validate(step)
        except KeyboardInterrupt:
            self.checkpointer.wait()
            self.log.close()
            where = self.run / "weights"
            raise Stopped(f"at step {step}, before its validation, saved in {where}") from None

    def _results(self, step: int, *, is_best: bool) -> Callable[[], None] | None:
        """A function that writes the last validation's results; None if earlier results stay."""
        if self.ranks.is_main and (is_best or self.checkpointer.best is None):
            return self.validator.writing(step)
        return None

    def _is_patience_over(self) -> bool:
        patience = self.timetable.patience
        return patience is not None and self.checkpointer.waited >= patience

    def finish(self) -> None:
        """Validates if the run ended between two scheduled validations; closes the logs."""
        with stops.postponed():
            self._close_run()
            self.checkpointer.wait()
            self.log.close()
        stops.check()

    def _close_run(self) -> None:
        step, checkpointer = self.state.step, self.checkpointer
        if checkpointer.closing is not None:
            checkpointer.point_at_best()
        elif step != checkpointer.validated_at:
            validation = self._evaluate()
            is_best = checkpointer.close(validation, self.validator.folders())
            if write := self._results(step, is_best=is_best):
                write()
            self._save(is_best=is_best)
        if checkpointer.closing is not None:
            self._log_validation(checkpointer.closing, is_closing=True)

    def _log_validation(self, validation: Validation, *, is_closing: bool = False) -> None:
        self.log.scores(
            validation["step"], split=self.validator.name, scores=validation["scores"],
            loss=validation.get("loss"), is_closing=is_closing,
        )  # fmt: skip


def _is_due(step: int, every: int | None) -> bool:
    return bool(every) and step % every == 0
