"""The keeper of a run: what is logged, validated and saved after an update, and when."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from tqdm.contrib.logging import logging_redirect_tqdm

from ke_t5.checkpoint.checkpoints import clean, load_checkpoint, save_checkpoint
from ke_t5.checkpoint.folders import folder_name, write_pointer
from ke_t5.distributed import Ranks
from ke_t5.models.export import save_configuration
from ke_t5.pipe import BatchPlan, Examples
from ke_t5.pipe.evaluation import best_score
from ke_t5.recipes import closing, console, record, results
from ke_t5.recipes.job import Job
from ke_t5.recipes.modelling import export_best
from ke_t5.recipes.resume_check import (
    check_schedule,
    check_unchanged,
    checkpoint_to_go_on_from,
    fixed_settings,
    keep_warmup,
    schedule_of,
)
from ke_t5.recipes.task_splits import Evaluation, TaskSplit, evaluate_splits, helpers_of
from ke_t5.report.scores import counted, format_scores
from ke_t5.task.utils import get_vocabulary
from ke_t5.train.loggers import ProgressBar, RunLog
from ke_t5.train.loop import TrainState, Update, count_steps

logger = logging.getLogger(__name__)


class Keeper:
    """Stands between the loop and the run's folder.

    Attributes:
        num_steps: updates of this launch (`--max_steps`); epoch_steps: of all epochs.
        best: {"step", "score", "scores"} of the best validation of the schedule, or None.
        waited: validations since then.
        closing: the same, and "is_best", of a validation off the schedule that ended the run.
    """

    def __init__(
        self,
        job: Job,
        state: TrainState,
        ranks: Ranks,
        *,
        plan: BatchPlan,
        train: Examples,
        valid: Sequence[TaskSplit],
        num_epochs: int,
    ) -> None:
        self.job, self.state, self.ranks = job, state, ranks
        self.plan, self.train, self.valid = plan, train, valid
        self.num_epochs, self.epoch_steps = num_epochs, count_steps(plan, num_epochs)
        self.num_steps = min(job.flags.max_steps or self.epoch_steps, self.epoch_steps)
        self.helpers = helpers_of(job, state.module, valid)
        self.fixed: dict[str, Any] = {}
        self.best: dict[str, Any] | None = None
        self.waited = 0
        self.closing: dict[str, Any] | None = None
        self.last: Evaluation | None = None
        self.validated_at = self.saved_at = -1
        self.run_log = RunLog(job.run.path, enabled=False)
        self.started = time.monotonic()
        self.bar = ProgressBar(self.num_steps, enabled=False)

    def restore(self) -> None:
        """Goes on from the checkpoint that `--resume` names, else keeps what the model is, for a
        resumption; opens the logs."""
        if self.ranks.is_main:
            if not self.job.is_resumed:
                save_configuration(self.state.module, get_vocabulary(), self.job.run.model)
            clean(self.job.run.weights)
        checkpoint, progress = checkpoint_to_go_on_from(self.job, self.ranks), None
        closed_at = self.ranks.broadcast(closing.closing_step(self.job.run))
        # Not after loading, which gives the optimizer the settings of the checkpoint.
        self.fixed = fixed_settings(
            self.job, self.state, plan=self.plan, train=self.train, valid=self.valid
        )
        if checkpoint is not None:
            progress = load_checkpoint(
                checkpoint, model=self.state.module, optimizer=self.state.optimizer
            )
            keep_warmup(self.job, self.state, progress["fixed"], total=self.epoch_steps)
            self.fixed |= schedule_of(self.job)
        if progress is not None:
            check_unchanged(progress["fixed"], self.fixed, where=str(checkpoint))
            self.state.step, self.state.rows = progress["step"], progress["rows"]
            check_schedule(
                self.job, self.state, total_before=progress.get("epoch_steps"),
                total=self.epoch_steps, num_steps=self.num_steps,
            )  # fmt: skip
            self.state.loss_sum = progress["loss_sum"]
            self.state.loss_steps = progress["loss_steps"]
            self.best, self.waited = progress["best"], progress["waited"]
            self.saved_at = self.state.step
            # Checkpoints of older versions do not know when they were validated.
            best_step = -1 if self.best is None else self.best["step"]
            self.validated_at = progress.get("validated", best_step)
            if closed_at == self.state.step and not self.goes_on():
                self.closing = progress.get("closing")
            logger.info("resumed from %s (step %d)", checkpoint, self.state.step)
        if self.ranks.is_main and self.closing is None:
            closing.take_back(self.job.run)
        self.run_log = RunLog(
            self.job.run.path,
            resume_step=self.state.step if checkpoint is not None else None,
            enabled=self.ranks.is_main,
        )

    # ------------------------------------------------------------------------- while it runs

    def announce(self) -> None:
        """Says what is about to happen."""
        settings, ranks = self.job.settings, self.ranks
        logger.info(
            "training %s on %s: %s (%s), global batch %s = %d x %d processes x %d "
            "accumulated, %s, %d thread(s) per process, in %s",
            self.job.class_name, self.job.task.name, counted(self.num_steps, "step"),
            counted(self.num_epochs, "epoch"),
            self.plan.batch_size if self.plan.batch_tokens is None
            else f"{self.plan.batch_tokens} tokens",
            self.job.batch_size(), ranks.size, settings.accumulate, ranks.device, ranks.threads,
            self.job.run.path,
        )  # fmt: skip
        if self.ranks.is_main:  # so that a run that is killed has it too
            record.keep_configuration(self)
            record.record_start(self)

    def watch(self, updates: Iterable[Update]) -> Iterator[Update]:
        """The updates, with a progress bar on rank 0."""
        self.bar = ProgressBar(self.num_steps, initial=self.state.step, enabled=self.ranks.is_main)
        with self.bar, logging_redirect_tqdm([logging.getLogger("ke_t5")]):
            yield from updates

    def log(self, update: Update) -> None:
        """Writes the mean loss since the last logged step, every `--print_freq` steps."""
        self.run_log.count(rows=update.rows, tokens=update.tokens)
        self.bar.update()
        # The end that --max_steps sets is no logged step: a resumed run would not know of it.
        if update.step % self.job.flags.print_freq and update.step != self.epoch_steps:
            return
        self.state.guard.check()
        loss = float(self.ranks.mean(self.state.loss_sum / self.state.loss_steps))
        self.state.loss_sum, self.state.loss_steps = 0.0, 0
        self.run_log.step(update.step, epoch=update.epoch, loss=loss, lr=update.lr)
        self.bar.show(loss=loss)

    def wants_validation(self, update: Update) -> bool:
        """At the end of an epoch, and every `--eval_every` steps."""
        every = self.job.flags.eval_every
        return update.ends_epoch or bool(every and update.step % every == 0)

    def wants_checkpoint(self, update: Update) -> bool:
        """Every `--save_every` steps."""
        every = self.job.flags.save_every
        return bool(every and update.step % every == 0)

    def validate(self, update: Update) -> None:
        """Validates, and saves the checkpoint, as the best one if it is."""
        scores = self._evaluate().scores
        step = self.validated_at = self.state.step
        self.run_log.scores(step, split=self.job.flags.valid_split, scores=scores)
        score = self._score_of(scores)
        is_best = self.improves(score)
        self.waited = 0 if is_best else self.waited + 1
        if is_best:
            self.best = {"step": step, "score": score, "scores": scores}
        logger.info(
            "epoch %d, step %d: %s%s", update.epoch + 1, step,
            format_scores(scores), " (best so far)" if is_best else "",
        )  # fmt: skip
        self.save(is_best=is_best)
        if is_best or self.best is None:
            self._write()

    def _score_of(self, scores: Mapping[str, float]) -> float | None:
        """The score to judge by; None without a metric, or where no row has a label."""
        if self.job.task.best is None or not scores:
            return None
        return best_score(self.job.task, scores)

    def improves(self, score: float | None) -> bool:
        """Whether this score beats the best so far; without one the latest is the best."""
        if score is None:
            return True
        return self.job.task.best.improves(score, None if self.best is None else self.best["score"])

    def _evaluate(self) -> Evaluation:
        self.last = evaluate_splits(
            self.job, self.helpers, self.state.module, self.valid, ranks=self.ranks,
            watch=console.watch_validation if self.ranks.is_main else iter,
        )  # fmt: skip
        return self.last

    def _write(self) -> None:
        if self.ranks.is_main:
            step = folder_name(self.state.step)
            for part, evaluated in self.last.of_parts:
                results.write_evaluation(self.job, part, evaluated, weights=step)
            results.write_mixture(self.job, self.job.flags.valid_split, self.last, weights=step)

    def save(self, *, is_best: bool = False) -> None:
        """Saves a checkpoint; rank 0 writes, the others wait."""
        if self.saved_at == self.state.step and not is_best and self.closing is None:
            return
        self.state.guard.check()
        # Each rank has its own share of the loss since the last logged step; their mean is kept.
        share = torch.as_tensor(self.state.loss_sum, dtype=torch.float64, device=self.ranks.device)
        progress = {
            "step": self.state.step,
            "rows": self.state.rows,
            "loss_sum": float(self.ranks.mean(share)),
            "loss_steps": self.state.loss_steps,
            "epoch_steps": self.epoch_steps,
            "best": self.best,
            "waited": self.waited,
            "validated": self.validated_at,
            "closing": self.closing,
            "fixed": self.fixed,
        }
        if self.ranks.is_main:
            save_checkpoint(
                self.job.run.weights,
                model=self.state.module,
                optimizer=self.state.optimizer,
                progress=progress,
                is_best=is_best,
                keep=() if self.best is None else (self.best["step"],),
            )
        self.saved_at = self.state.step
        self.ranks.barrier()

    def is_patience_over(self) -> bool:
        """Whether `fit.early_stopping` validations have brought no better score."""
        patience = self.job.settings.early_stopping
        return patience is not None and self.waited >= patience

    # -------------------------------------------------------------------------------- the end

    def best_of_all(self) -> dict[str, Any] | None:
        """The best validation, the closing one included."""
        return closing.best_of({"best": self.best, "closing": self.closing})

    def goes_on(self) -> bool:
        """Whether this launch has a step to make."""
        return self.state.step < self.num_steps and not self.is_patience_over()

    def finish(self) -> None:
        """Validates a run that ended between two validations of its schedule; closes the logs."""
        step = self.state.step
        if self.closing is None and step != self.validated_at:
            self._validate_at_end()
        elif self.closing is not None and self.closing["is_best"] and self.ranks.is_main:
            write_pointer(self.job.run.weights, "best", step)  # its launch may have been killed
        if self.closing is not None:
            split, scores = self.job.flags.valid_split, self.closing["scores"]
            self.run_log.scores(step, split=split, scores=scores, is_closing=True)
        self.close()

    def _validate_at_end(self) -> None:
        """Makes the closing validation and saves its checkpoint (see `closing`)."""
        step, scores = self.state.step, self._evaluate().scores
        score = self._score_of(scores)
        is_best = self.improves(score)
        self.closing = {"step": step, "score": score, "scores": scores, "is_best": is_best}
        writes = is_best or self.best is None
        if self.ranks.is_main:
            names = [*(part.name for part in self.valid), self.job.flags.valid_split]
            closing.set_aside(self.job.run, dict.fromkeys(names) if writes else (), step=step)
        if writes:
            self._write()
        self.save(is_best=is_best)

    def export(self) -> None:
        """Writes the best checkpoint as a folder for `from_pretrained` (`--hf_path`)."""
        export_best(self.job, self.state.module, self.ranks, settings=self.fixed)

    def report(self) -> None:
        """Writes the report of the validation whose predictions the run's folder holds."""
        if self.ranks.is_main:
            for helper, part in zip(self.helpers, self.valid, strict=True):
                results.report_validation(self.job, helper, part)

    def close(self) -> None:
        """Closes the logs and keeps the configuration that the run has read."""
        self.run_log.close()
        if self.ranks.is_main:
            record.record_end(self, seconds=time.monotonic() - self.started)
            record.keep_configuration(self)
            for line in self.job.configuration.unread():
                logger.warning(line)
