"""The training loop: `fit` yields each update; the caller logs, validates and saves.

The loss of a global batch is normalised once, over the whole batch: each part's mean loss
is weighted by its share of the batch's count, so that the gradient does not depend on the number
of processes or of accumulated parts (dropout aside).
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch

from ke_t5 import heartbeat
from ke_t5.distributed import Ranks, no_sync, seed_generators
from ke_t5.errors import UserError
from ke_t5.fault_points import fault_point
from ke_t5.models.kept_gradients import KeptGradients, keep_gradients
from ke_t5.models.unpadding import Unpadding
from ke_t5.models.used_rows import UsedRows, find_used_rows
from ke_t5.models.vocabulary_loss import VocabularyLoss, find_vocabulary_loss
from ke_t5.module_state import reset_module_state
from ke_t5.pipe.batches import BatchPlan, micro_batches
from ke_t5.pipe.columns import RowNumbers
from ke_t5.pipe.examples import Examples
from ke_t5.pipe.losses import loss_of, row_loss_counts
from ke_t5.pipe.masks import MASK, known_mask
from ke_t5.pipe.model_inputs import model_inputs, without_cache
from ke_t5.sharding import whole
from ke_t5.train.averages import average_gradients, averaged_weights
from ke_t5.train.device_step import DeviceStep
from ke_t5.train.graphs import StepGraphs
from ke_t5.train.guard import NonFiniteGuard
from ke_t5.train.schedules import set_learning_rate
from ke_t5.train.settings import FitSettings, products, step_autocast
from ke_t5.train.static_shapes import StaticShapes

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# With token budgets, counting the steps means dividing each epoch into batches beforehand.
MOST_EPOCHS_BY_TOKENS = 10_000


def no_loss() -> torch.Tensor:
    """The initial value of a sum of losses."""
    return torch.zeros((), dtype=torch.float64)


@dataclass
class TrainState:
    """The mutable state of a training, which its checkpoints contain.

    Attributes:
        model: the model, wrapped for several processes.
        module: the same without the wrapper.
        lr_multiplier: a function of the number of updates done to the factor on the learning rate
            of the next one.
        step: number of updates done.
        rows: number of rows seen.
        loss_sum: this rank's share of the losses since the last logged update (a tensor, so that
            nothing waits for it).
        loss_steps: number of updates in `loss_sum`.
        launch_step: `step` at the start of this launch.
        unpadding: removes padding from the computation; None if padding is computed.
        graphs: graphs of whole steps; None if every step is launched kernel by kernel.
        gradients: the kept gradients; None if torch computes and clips all gradients.
        guard: keeps non-finite values out of the weights; call its `check` before anything of the
            run is saved or reported.
        vocabulary_loss: computes the loss in place of the model; None if the model computes it.
        used_rows: the rows of the input embedding that are trained; None for all of them.
        averaged: the weights whose gradients the loop averages over processes itself.
    """

    model: torch.nn.Module
    module: PreTrainedModel
    optimizer: torch.optim.Optimizer
    lr_multiplier: Callable[[int], float]
    step: int = 0
    rows: int = 0
    loss_sum: torch.Tensor = field(default_factory=no_loss)
    loss_steps: int = 0
    launch_step: int = 0
    unpadding: Unpadding | None = None
    graphs: StepGraphs | None = None
    gradients: KeptGradients | None = None
    averaged: list[torch.nn.Parameter] = field(default_factory=list)
    guard: NonFiniteGuard = field(init=False)
    vocabulary_loss: VocabularyLoss | None = field(init=False)
    used_rows: UsedRows | None = field(init=False)

    def __post_init__(self) -> None:
        self.guard = NonFiniteGuard(self.optimizer)
        self.vocabulary_loss = find_vocabulary_loss(self.module) if self.graphs is None else None
        self.used_rows = find_used_rows(self.module)

    def count_update(self, loss: torch.Tensor, *, num_rows: int) -> None:
        """Counts an update and sums its loss; rows that are not trained decay with it."""
        if self.used_rows is not None:
            self.used_rows.decay(self.optimizer)
        self.step += 1
        self.rows += num_rows
        self.loss_sum = self.loss_sum + loss.double()
        self.loss_steps += 1


@dataclass(frozen=True)
class Update:
    """An update of the weights.

    Attributes:
        step: its number, from 1.
        epoch: the epoch it belongs to, from 0.
        ends_epoch: whether it is the last of its epoch.
        loss: this rank's share of its loss (a tensor, so that nothing waits for it).
        lr: the largest learning rate of the parameter groups.
        grad_norm: the norm of its gradient before clipping (a tensor, too).
        rows: number of rows in its global batch.
        tokens: number of input tokens in its global batch, padding excluded.
    """

    step: int
    epoch: int
    ends_epoch: bool
    loss: torch.Tensor
    lr: float
    grad_norm: torch.Tensor
    rows: int
    tokens: int


def count_steps(plan: BatchPlan, num_epochs: int) -> int:
    """The number of updates in `num_epochs` epochs.

    Raises:
        UserError: too many epochs for a token budget, whose batches differ from epoch to epoch.
    """
    if plan.batch_tokens is not None and num_epochs > MOST_EPOCHS_BY_TOKENS:
        raise UserError(
            f"is more than {MOST_EPOCHS_BY_TOKENS}, the maximum with get_batches.batch_tokens",
            f"--epochs {num_epochs}",
            "give fewer, or drop get_batches.batch_tokens",
        )
    return plan.num_steps(num_epochs)


def epoch_of(plan: BatchPlan, step: int) -> tuple[int, bool]:
    """The epoch of an update, from 0, and whether the update is its last."""
    end = 0
    for epoch in itertools.count():
        end += plan.num_batches(epoch)
        if step <= end:
            return epoch, step == end
    raise AssertionError("the epochs never end")


def fit(
    state: TrainState,
    examples: Examples,
    plan: BatchPlan,
    *,
    ranks: Ranks,
    settings: FitSettings,
    loss_reduction: str,
    seed: int,
    num_steps: int,
    workers: int = 0,
) -> Iterator[Update]:
    """Yields each update of the model, from `state.step` until `num_steps` updates are done.

    Raises:
        UserError: exit 6, the loss or its gradient is not finite (see `NonFiniteGuard` for when).
    """
    counts = row_loss_counts(examples, loss_reduction, state.module)
    lengths = examples.row_lengths("input_ids")
    state.model.train()
    state.launch_step = state.step

    def parts_of(batch: np.ndarray) -> list[np.ndarray]:
        shares = {"num_ranks": ranks.size, "accumulation": settings.accumulate}
        return micro_batches(batch, plan.num_tokens(batch), rank=ranks.rank, **shares)

    batches = _batches_from(plan, state.step, num_steps)
    shapes = None if state.graphs is None else state.graphs.shapes
    load = functools.partial(
        _load, parts_of=parts_of, examples=examples, counts=counts, shapes=shapes
    )
    steps = _device_step(state, settings, ranks.device)
    if state.vocabulary_loss is not None:
        state.gradients = state.vocabulary_loss.gradients
    elif ranks.size == 1:
        state.gradients = keep_gradients(state.module, is_compiled=settings.compile)
    if ranks.averages_gradients:
        state.averaged = averaged_weights(state.module, state.gradients)
    fault_point("train.before_first_step")
    with closing(heartbeat.beating(_prefetch(batches, load, workers))) as loaded:
        for epoch, is_last, batch, parts in loaded:
            state.optimizer.zero_grad(set_to_none=True)
            reset_module_state(state.module)
            seed_step = functools.partial(seed_generators, seed, state.step, ranks.rank)
            total = max(1, int(counts[batch].sum()))
            lr, place = _set_rate(state, examples.row_names(batch[:3]))
            with products(settings, ranks.device):
                if steps is None:
                    seed_step()
                    loss = _gradient(state, parts, total, ranks=ranks, settings=settings)
                    norm = _update(state, settings, loss=loss, place=place)
                else:
                    columns, count = parts[0]
                    loss, norm = steps.make(columns, count / total, seed=seed_step, place=place)
            state.count_update(loss, num_rows=len(batch))
            num_tokens = int(lengths[batch].sum())
            yield Update(state.step, epoch, is_last, loss, lr, norm, len(batch), num_tokens)
    state.guard.check()


def _batches_from(
    plan: BatchPlan, step: int, num_steps: int
) -> Iterator[tuple[int, bool, np.ndarray]]:
    """(epoch, whether it ends the epoch, row positions) of the global batches from `step` on."""
    first = 0
    for epoch in itertools.count():
        end = first + plan.num_batches(epoch)
        if step < end:
            batches = plan.epoch(epoch)
            for number in range(step, min(end, num_steps)):
                yield epoch, number == end - 1, batches[number - first]
            step = end
        if end >= num_steps:
            return
        first = end


def _load(
    batch: np.ndarray,
    *,
    parts_of: Callable[[np.ndarray], list[np.ndarray]],
    examples: Examples,
    counts: RowNumbers,
    shapes: StaticShapes | None = None,
) -> list[tuple[dict[str, np.ndarray], int]]:
    """The columns of each part of this rank's batch, fitted to `shapes`, and its loss count.

    A part without a row or a counted label becomes a dummy: one labelled row with weight zero, so
    that every process joins every gradient exchange.
    """
    loaded = []
    for positions in parts_of(batch):
        count = int(counts[positions].sum())
        if count == 0:
            positions = batch[[int(np.argmax(counts[batch] > 0))]]
        columns = examples.batch(positions)
        loaded.append((columns if shapes is None else shapes.fitted(columns), count))
    return loaded


def _prefetch(
    batches: Iterator[tuple[int, bool, np.ndarray]], load: Callable, workers: int
) -> Iterator[tuple[int, bool, np.ndarray, list]]:
    """The batches with the results of `load`, prefetched by `workers` threads."""
    if workers == 0:
        for epoch, is_last, batch in batches:
            yield epoch, is_last, batch, load(batch)
        return
    with ThreadPoolExecutor(workers, thread_name_prefix="load") as pool:
        waiting: list = []
        for epoch, is_last, batch in batches:
            waiting.append((epoch, is_last, batch, pool.submit(load, batch)))
            if len(waiting) > 2 * workers:
                *place, future = waiting.pop(0)
                yield *place, future.result()
        for *place, future in waiting:
            yield *place, future.result()


def _gradient(
    state: TrainState,
    parts: list[tuple[dict[str, np.ndarray], int]],
    total: int,
    *,
    ranks: Ranks,
    settings: FitSettings,
) -> torch.Tensor:
    """Computes the gradient of a batch, exchanged at the last part; returns this rank's share of
    the loss."""
    loss = torch.zeros((), device=ranks.device)
    for number, (columns, count) in enumerate(parts, 1):
        heartbeat.beat()
        with nullcontext() if number == len(parts) else no_sync(state.model):
            inputs = model_inputs(state.module, columns, ranks.device)
            weight = count * ranks.size / total
            loss += _backward(
                state, inputs, columns, weight, settings=settings, device=ranks.device
            )
    if ranks.size > 1 and state.gradients is not None:
        state.gradients.exchange(ranks)
    if ranks.averages_gradients:
        average_gradients(state.averaged, ranks)
    return loss


def _backward(
    state: TrainState,
    inputs: dict[str, torch.Tensor],
    columns: Mapping[str, np.ndarray],
    weight: float | torch.Tensor,
    *,
    settings: FitSettings,
    device: torch.device,
) -> torch.Tensor:
    """Adds a part's gradient; returns its loss times `weight`."""
    fault_point("train.before_forward")
    # DDP exchanges its buckets in the forward pass after the first update.
    may_wait = state.step < state.launch_step + 2
    unpadding, labels = state.unpadding, columns.get("labels")
    with (
        nullcontext() if unpadding is None else unpadding.over(columns[MASK], labels),
        nullcontext() if state.gradients is None else state.gradients.kept(),
    ):
        with (
            nullcontext() if state.vocabulary_loss is None else state.vocabulary_loss.instead(),
            step_autocast(settings, device),
            known_mask(state.module, columns, device),
            heartbeat.waiting() if may_wait else nullcontext(),
        ):
            loss = loss_of(state.model(**inputs, **without_cache(state.module))) * weight
        fault_point("train.before_backward")
        # The factor is 1, or NaN if the loss is not finite: the gradient exchange spreads it.
        loss.backward(loss.detach() * 0 + 1)
    return loss.detach()


def _device_step(
    state: TrainState, settings: FitSettings, device: torch.device
) -> DeviceStep | None:
    """Runs whole steps with the run's graphs; None without graphs."""
    if state.graphs is None:
        return None
    backward = functools.partial(_backward, state, settings=settings, device=device)
    clip = functools.partial(_clip, state, settings)
    return DeviceStep(
        state.module, state.optimizer, guard=state.guard, graphs=state.graphs, backward=backward,
        clip=clip,
    )  # fmt: skip


def _set_rate(state: TrainState, rows: list[str]) -> tuple[float, str]:
    """Sets the learning rate of the next update; returns the largest one, and the update's
    description for messages."""
    set_learning_rate(state.optimizer, state.lr_multiplier(state.step))
    lr = max((group["lr"] for group in state.optimizer.param_groups if group["lr"]), default=0.0)
    return lr, f"step {state.step + 1}, lr {lr:.3g}, rows {', '.join(rows)}"


def _clip(state: TrainState, settings: FitSettings) -> torch.Tensor:
    """Clips the gradient; returns its norm before."""
    most = settings.clip_norm or float("inf")
    if state.gradients is not None:
        return state.gradients.clip(most)
    return whole(torch.nn.utils.clip_grad_norm_(state.module.parameters(), most, foreach=True))


def _update(
    state: TrainState, settings: FitSettings, *, loss: torch.Tensor, place: str
) -> torch.Tensor:
    """Updates the weights unless loss or gradient is not finite; returns the gradient's norm."""
    norm = _clip(state, settings)
    state.guard.watch(torch.isfinite(norm) & torch.isfinite(loss), place)
    state.optimizer.step()
    fault_point("train.after_optimizer")
    return norm
