"""Evaluation: every example predicted exactly once, by the model or an engine, and scored.

torch is imported inside the functions: this module is imported before torch is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from ke_t5 import heartbeat
from ke_t5.errors import Exit, UserError
from ke_t5.pipe.eager import eager
from ke_t5.pipe.evaluation_batches import evaluation_batches
from ke_t5.pipe.examples import Examples
from ke_t5.pipe.generation import being_evaluated
from ke_t5.pipe.logits import watched_logits
from ke_t5.pipe.losses import can_lack_labels, loss_counts
from ke_t5.pipe.model_outputs import RowOutput
from ke_t5.pipe.prediction import EvaluationHelper
from ke_t5.pipe.scoring import Evaluated, score
from ke_t5.pipe.workers import computed, workers_within
from ke_t5.products import FEW_VECTORS, fast_products
from ke_t5.programs import gin_param

if TYPE_CHECKING:
    import numpy as np
    import torch

    from ke_t5.distributed import Ranks


def evaluate(
    helper: EvaluationHelper,
    model: torch.nn.Module,
    examples: Examples,
    *,
    batch_size: int,
    ranks: Ranks,
    autocast: Callable[[], AbstractContextManager] = nullcontext,
    watch: Callable[[range], Iterable[int]] = iter,
    wants_loss: bool = False,
) -> Evaluated:
    """The scores of the examples; the model's mode is restored.

    Args:
        batch_size: rows per batch; the batches do not depend on the number of processes.
        autocast: returns the context of the run's precision.
        watch: wraps the iteration over batches, for a progress bar.
        wants_loss: computes the loss too, which takes an extra forward pass if the task generates.

    Raises:
        UserError: exit 6, a logit is NaN or infinite.
    """
    logits = _logits_of_row(helper, model, examples)
    batches = evaluation_batches(
        examples.lengths("input_ids"), batch_size, tokens=helper.eval_batch_tokens,
        copies=helper.num_beams(model),
        logits=logits, device=ranks.device.type, is_generated=helper.generates,
    )  # fmt: skip
    counts = _loss_counts(helper, model, examples) if wants_loss else None
    outputs: list[tuple[int, RowOutput]] = []
    losses: list[tuple[int, float, int]] = []  # batch number, mean loss, loss count
    own_batches = range(ranks.rank, len(batches), ranks.size)
    most_rows = max(map(len, batches), default=1)
    at_once = most_rows * logits if wants_loss else 1
    # A step of the generation multiplies one vector per sequence, an encoder one per token.
    num_vectors = most_rows * helper.num_beams(model) if helper.generates else FEW_VECTORS

    def compute(number: int) -> tuple[list[RowOutput], float | None, int]:
        count = 0 if counts is None else int(counts[batches[number]].sum())
        found, loss = _predict(
            helper, model, examples, batches[number], are_numbers, wants_loss=count > 0,
            compares=ranks.is_main and number == 0,
        )  # fmt: skip
        return found, None if loss is None else float(loss), count

    with (
        ranks.evaluation_threads() as num_threads, fast_products(ranks.device, num_vectors),
        being_evaluated(model), eager(model),
        watched_logits(model) as are_numbers, ranks.layers_in_turn(model) as is_divided,
        engine_ready(helper, model, autocast, num_workers=num_threads),
        closing(
            computed(
                compute, own_batches, model=model, seed=helper.seed,
                num_workers=1 if is_divided else workers_within(num_threads, at_once),
                context=partial(_inference, autocast, is_divided=is_divided),
            )
        ) as results,
        closing(heartbeat.beating(watch(own_batches))) as each,
    ):  # fmt: skip
        for number, (found, loss, count) in zip(each, results, strict=True):
            outputs += zip(batches[number].tolist(), found, strict=True)
            if loss is not None:
                losses.append((number, loss, count))
    by_rank = ranks.gather((outputs, losses))
    del outputs
    return _shared_scores(helper, examples, by_rank, ranks)


def _shared_scores(
    helper: EvaluationHelper, examples: Examples, by_rank: list[Any] | None, ranks: Ranks
) -> Evaluated:
    """The scores of all rows on every rank; predictions on rank 0 only.

    Args:
        by_rank: the (outputs, losses) of each rank on rank 0, None elsewhere.
    """
    if by_rank is None:
        scores, num_rows, num_scored, unparsable, loss = ranks.broadcast(None)
        return Evaluated(scores, num_rows, num_scored, unparsable, [], loss=loss)
    evaluated = score(helper, examples, _drained([part for part, _ in by_rank]))
    loss = _mean_loss([one for _, part in by_rank for one in part])
    evaluated = replace(evaluated, loss=loss, engine=helper.engine)
    ranks.broadcast(
        (
            evaluated.scores, evaluated.num_rows, evaluated.num_scored, evaluated.unparsable,
            evaluated.loss,
        )
    )  # fmt: skip
    return evaluated


def _logits_of_row(helper: EvaluationHelper, model: torch.nn.Module, examples: Examples) -> int:
    """The number of vocabulary logits of the longest target; 1 if there are no targets."""
    if not helper.is_seq2seq or "labels" not in examples.columns:
        return 1
    longest = int(examples.lengths("labels").max(initial=1))
    return longest * int(getattr(model.config, "vocab_size", 1))


@contextmanager
def engine_ready(
    helper: EvaluationHelper,
    model: torch.nn.Module,
    autocast: Callable[[], AbstractContextManager] = nullcontext,
    *,
    num_workers: int = 1,
) -> Iterator[None]:
    """A context in which the helper's engine is ready; its weights are converted once, on entry."""
    with ExitStack() as stack:
        with _inference(autocast):
            stack.enter_context(helper.ready(model, num_workers=num_workers))
        yield


@contextmanager
def _inference(
    autocast: Callable[[], AbstractContextManager], *, is_divided: bool = False
) -> Iterator[None]:
    """A context without gradients, in the run's precision; torch keeps both per thread."""
    import torch

    keeps = torch.is_autocast_cache_enabled()
    with torch.no_grad() if is_divided else torch.inference_mode(), autocast():
        # The cache would keep a low-precision copy of every gathered layer.
        torch.set_autocast_cache_enabled(keeps and not is_divided)
        try:
            yield
        finally:
            torch.set_autocast_cache_enabled(keeps)


def _loss_counts(
    helper: EvaluationHelper, model: torch.nn.Module, examples: Examples
) -> np.ndarray | None:
    """The weight of each example in the mean loss; None if unlabelled rows would count too."""
    counts = loss_counts(examples, helper.task.loss_reduction, model)
    is_whole = can_lack_labels(helper.task.problem_type) or bool((counts > 0).all())
    return counts if is_whole else None


def _mean_loss(losses: list[tuple[int, float, int]]) -> float | None:
    """The mean loss over all batches, summed in order so that it is the same on any number of
    processes; None if nothing counts."""
    total = sum(count for _, _, count in losses)
    return sum(loss * count for _, loss, count in sorted(losses)) / total if total else None


def _predict(
    helper: EvaluationHelper,
    model: torch.nn.Module,
    examples: Examples,
    positions: np.ndarray,
    are_numbers: Callable[[], bool],
    *,
    wants_loss: bool,
    compares: bool,
) -> tuple[list[RowOutput], torch.Tensor | None]:
    """The outputs and loss of one batch; a UserError if one of its logits is not finite."""
    outputs, loss, error = [], None, None
    try:
        batch = examples.batch(positions)
        outputs, loss = helper.predict_with_loss(
            model, batch, wants_loss=wants_loss, compares=compares
        )
    except (RuntimeError, UserError) as refused:  # torch cannot sample from NaN
        error = refused
    if not are_numbers():
        rows = ", ".join(examples.row_names(positions[:3]))
        raise UserError(
            "the model's logits are not finite",
            f"evaluating {helper.task.name}, rows {rows}",
            f"test weights from before it diverged, or add {gin_param('fit.precision', 'fp32')}",
            Exit.DIVERGED,
        ) from error
    if error is not None:
        raise error
    return outputs, loss


def _drained(lists: list[list[tuple[int, RowOutput]]]) -> Iterator[tuple[int, RowOutput]]:
    """The items of the lists, each of which is removed as it is yielded."""
    for one in lists:
        while one:
            yield one.pop()
