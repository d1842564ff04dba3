"""Saves and restores a run, and keeps track of its best validation.

Training continues while a checkpoint is written (see `writer`): follow-up work, such as writing the
results of the best one, is submitted with it, and `wait` is called before a launch ends.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ke_t5 import heartbeat
from ke_t5.checkpoint import closing
from ke_t5.checkpoint.checkpoints import (
    load_checkpoint,
    read_run_progress,
    remove_older,
    save_checkpoint,
)
from ke_t5.checkpoint.closing import Validation
from ke_t5.checkpoint.folders import correct_pointer, read_pointer
from ke_t5.checkpoint.serialization import check_types
from ke_t5.checkpoint.writer import Writer
from ke_t5.sharding import gathered_state, is_sharded

if TYPE_CHECKING:
    from ke_t5.distributed import Ranks
    from ke_t5.train.loop import TrainState


# How long ranks that do not see rank 0's disk wait for its writer when a launch is stopped.
PATIENCE_SECONDS = 30.0


class Checkpointer:
    """Writes checkpoints to `<run>/weights` and reads them; only rank 0 writes, except for shards.

    Args:
        run: the run's folder.
        epoch_steps: updates in all epochs.
        improves: whether a score beats the best so far (None if there is none yet); None if there
            is no score to compare.

    Raises:
        UserError: the model has a tensor that a checkpoint cannot contain.

    Attributes:
        settings: settings that must not change on a resume; stored in every checkpoint.
        best: the best scheduled validation, None before the first.
        waited: scheduled validations since then.
        closing: the unscheduled validation at the end of the run (see `closing`), if any.
        validated_at, saved_at: steps of the last validation and of the last checkpoint, -1 before.
        loaded: the checkpoint that was loaded, if any; is_unvalidated: whether its step was not
            validated.
    """

    def __init__(
        self,
        run: Path,
        state: TrainState,
        ranks: Ranks,
        *,
        epoch_steps: int,
        improves: Callable[[float, float | None], bool] | None,
    ) -> None:
        check_types(state.module)  # not after the steps before the first checkpoint
        self.run, self.state, self.ranks = run, state, ranks
        self.epoch_steps, self._improves = epoch_steps, improves
        self.settings: dict[str, Any] = {}
        self.best: Validation | None = None
        self.closing: Validation | None = None
        self.waited, self.validated_at, self.saved_at = 0, -1, -1
        self.loaded: Path | None = None
        self.is_unvalidated = False
        self._saved_validation = -1  # `validated_at` in the last checkpoint
        self._written_at = -1  # the step of the last checkpoint of this launch
        self._writer = Writer()

    def load(self, checkpoint: Path) -> dict[str, Any]:
        """Loads a checkpoint whose hashes have been checked into model, optimizer and state, and
        returns its progress."""
        closed_at = self.ranks.broadcast(closing.closing_step(self.run))
        state = self.state
        progress = read_run_progress(checkpoint)
        load_checkpoint(checkpoint, model=state.module, optimizer=state.optimizer, is_checked=True)
        state.step = state.launch_step = progress["step"]
        state.rows = progress["rows"]
        state.loss_sum = torch.tensor(_own_loss(progress, self.ranks), dtype=torch.float64)
        state.loss_steps = progress["loss_steps"]
        self.best, self.waited = progress["best"], progress["waited"]
        # Checkpoints of older versions do not say when they were validated.
        self.validated_at = progress.get("validated", self.best["step"] if self.best else -1)
        self.is_unvalidated = progress.get("validated", state.step) != state.step
        self.saved_at, self._saved_validation = state.step, self.validated_at
        self.closing = progress.get("closing") if closed_at == state.step else None
        self.loaded = checkpoint
        return progress

    def remove_older(self, checkpoint: Path) -> None:
        """Removes the older checkpoints that a launch killed after saving this one has left."""
        weights = self.run / "weights"
        if self.ranks.is_main and checkpoint.parent == weights:
            remove_older(weights, self.state.step, self._keep())

    def revert_closing(self) -> None:
        """Reverts the closing validation: the run continues as if it had never been made."""
        self.closing = None
        if self.ranks.is_main:
            closing.revert(self.run)

    def is_better(self, score: float | None) -> bool:
        """Whether this score beats the best so far; without scores the latest is the best."""
        if score is None or self._improves is None:
            return True
        return self._improves(score, None if self.best is None else self.best["score"])

    def add(self, validation: Validation) -> bool:
        """Adds a scheduled validation; returns whether it is the best so far."""
        self.validated_at = validation["step"]
        is_best = self.is_better(validation["score"])
        self.waited = 0 if is_best else self.waited + 1
        if is_best:
            self.best = validation
        return is_best

    def close(self, validation: Validation, evaluations: Iterable[Path]) -> bool:
        """Adds the closing validation; returns whether it is the best of all, and so replaces the
        results in these folders."""
        is_best = self.is_better(validation["score"])
        self.closing = {**validation, "is_best": is_best}
        if self.ranks.is_main:
            self._wait_for_writer()  # the scheduled best and its results are set aside
            replaced = evaluations if is_best or self.best is None else ()
            closing.set_aside(self.run, replaced, step=validation["step"])
        return is_best

    def point_at_best(self) -> None:
        """Makes best.json name the best checkpoint, if a launch was killed before it did."""
        best = self.best_of_all()
        if best is not None and self.ranks.is_main:
            correct_pointer(self.run / "weights", "best", best["step"])

    def best_of_all(self) -> Validation | None:
        """The best validation, the closing one included."""
        return closing.best_of({"best": self.best, "closing": self.closing})

    def save(self, *, is_best: bool = False, then: Callable[[], None] | None = None) -> None:
        """Saves a checkpoint, unless one of this step has been saved and nothing is new.

        Returns as soon as the tensors are copied. Raises the error of an earlier save, if any.

        Args:
            then: called by rank 0 in the writer's thread once the checkpoint is on disk.
        """
        is_saved = self.saved_at == self.state.step and self._saved_validation == self.validated_at
        if not is_saved or is_best or self.closing is not None:
            self._save(is_best=is_best)
        if then is not None and self.ranks.is_main:
            self._writer.submit(then)

    def _save(self, *, is_best: bool) -> None:
        self.state.guard.check_state(self.state.module, self.state.step)
        is_divided = is_sharded(self.state.module)
        save = self._save_shards if is_divided and self.ranks.has_one_disk else self._save_whole
        save(
            progress=self._progress(),
            is_best=is_best,
            keep=self._keep(),
            has_tensors=self._written_at == self.state.step,
            writer=self._writer,
        )
        self.saved_at = self._written_at = self.state.step
        self._saved_validation = self.validated_at

    def _save_shards(self, **options: Any) -> None:
        from ke_t5.checkpoint.shard_saving import save_shards

        save_shards(
            self.run / "weights",
            model=self.state.module,
            optimizer=self.state.optimizer,
            group=self.ranks.writers_group(),
            is_main=self.ranks.is_main,
            **options,
        )

    def _save_whole(self, **options: Any) -> None:
        is_divided = is_sharded(self.state.module)
        if is_divided:  # the host has room for one copy only
            if self.ranks.is_main:
                self._writer.wait()
            self.ranks.barrier()
        model, optimizer = gathered_state(
            self.state.module, self.state.optimizer, is_main=self.ranks.is_main
        )
        if self.ranks.is_main:
            save_checkpoint(
                self.run / "weights",
                model=model,
                optimizer=optimizer,
                is_own=is_divided,
                **options,
            )

    def _keep(self) -> tuple[int, ...]:
        return () if self.best is None else (self.best["step"],)

    def check(self) -> None:
        """Raises the error of a failed write, if any; does not wait."""
        self._writer.check()

    def wait(self) -> None:
        """Waits until everything that was saved is on disk. The other ranks look for it there: if
        one ended earlier, the launcher would end rank 0.

        Raises:
            UserError: a checkpoint cannot be written.
        """
        self._wait_for_writer()
        # If rank 0 dies or stalls meanwhile, the launch is ended.
        patience = math.inf if self.ranks.has_one_disk else PATIENCE_SECONDS
        end = time.monotonic() + patience
        with heartbeat.waiting():
            while not self._is_written() and time.monotonic() < end:
                time.sleep(0.05)

    def _wait_for_writer(self) -> None:
        with self._patience():
            self._writer.wait()

    def _patience(self) -> AbstractContextManager[None]:
        # The writers of shards wait for each other.
        return heartbeat.waiting() if is_sharded(self.state.module) else nullcontext()

    def _is_written(self) -> bool:
        if self.ranks.is_main or self._written_at < 0:
            return True
        return read_pointer(self.run / "weights", "last") == self._written_at

    def settle(self) -> None:
        """Waits for pending writes, whether they fail or not."""
        with self._patience():
            self._writer.settle()

    def _progress(self) -> dict[str, Any]:
        return {
            "step": self.state.step,
            "rows": self.state.rows,
            "loss_sum": _mean_loss(self.state, self.ranks),
            "loss_shares": self.ranks.gather(float(self.state.loss_sum)),
            "loss_steps": self.state.loss_steps,
            "epoch_steps": self.epoch_steps,
            "best": self.best,
            "waited": self.waited,
            "validated": self.validated_at,
            "closing": self.closing,
            "fixed": self.settings,
        }


def _own_loss(progress: dict[str, Any], ranks: Ranks) -> float:
    """This rank's share of the loss since the last logged step. With another number of processes,
    or an older checkpoint, the mean of the shares, which may differ in the last bit."""
    shares = progress.get("loss_shares", ())
    return shares[ranks.rank] if len(shares) == ranks.size else progress["loss_sum"]


def _mean_loss(state: TrainState, ranks: Ranks) -> float:
    """The loss since the last logged step, of which each rank has its own share."""
    return float(ranks.mean(state.loss_sum.to(ranks.device)))
