"""Decides whether the steps of a run are CUDA graphs (`fit.cuda_graphs`)."""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable
from typing import TypeVar

import torch
from transformers import PreTrainedModel

from ke_t5.checkpoint.settings import CUDA_GRAPHS
from ke_t5.config.run_config import RunConfig
from ke_t5.distributed import Ranks
from ke_t5.lookup.settings import BACKBONE
from ke_t5.models.unpadding import Unpadding
from ke_t5.pipe import Examples
from ke_t5.pipe.batches import BatchPlan
from ke_t5.pipe.losses import can_lack_labels
from ke_t5.recipes.batch_change import progress_of_run
from ke_t5.train.graphs import CudaRecorder, StepGraphs
from ke_t5.train.settings import AUTO
from ke_t5.train.static_shapes import find_shapes

logger = logging.getLogger(__name__)

Result = TypeVar("Result")


def choose_graphs(
    config: RunConfig,
    module: PreTrainedModel,
    train: Examples,
    *,
    plan: BatchPlan,
    ranks: Ranks,
    unpadding: Unpadding | None,
) -> StepGraphs | None:
    """The CUDA graphs of the run's steps; None if steps are launched kernel by kernel.

    A resumed run continues as it began: dropout draws other numbers for batches of other shapes.
    """
    setting = config.fit.cuda_graphs
    if setting == AUTO and ranks.device.type != "cuda":
        return None
    if setting == AUTO and config.origin.is_resumed:
        setting = (progress_of_run(config, ranks) or {"fixed": {}})["fixed"].get(CUDA_GRAPHS, False)
    if setting is False:
        return None
    reason = why_launched(config, ranks, unpadding)
    if reason is None:
        try:
            return new_graphs(config, module, train, plan=plan, ranks=ranks)
        except ValueError as error:
            reason = f"{type(module).__name__}: {error}"
        except (RuntimeError, TypeError, IndexError, KeyError) as error:
            logger.debug("more padding: %s", error)
            reason = f"{type(module).__name__} does not accept more padding"
    logger.info("%s: not used: %s", CUDA_GRAPHS, reason)
    return None


def why_launched(config: RunConfig, ranks: Ranks, unpadding: Unpadding | None) -> str | None:
    """The reason why the steps of a run cannot be CUDA graphs; None if they can."""
    fit = config.fit
    reasons = {
        "there is no GPU": ranks.device.type != "cuda",
        f"{ranks.size} processes exchange gradients": ranks.size > 1,
        "a batch is computed in parts (fit.accumulate)": fit.accumulate > 1,
        "its layers are compiled (fit.compile)": fit.compile,
        "activations are recomputed (fit.gradient_checkpointing)": fit.gradient_checkpointing,
        "each batch has a shape of its own (fit.padding)": unpadding is not None,
    }
    return next((reason for reason, is_so in reasons.items() if is_so), None)


def new_graphs(
    config: RunConfig, module: PreTrainedModel, train: Examples, *, plan: BatchPlan, ranks: Ranks
) -> StepGraphs:
    """The graphs of a run.

    Raises:
        ValueError("reason"): its batches cannot be padded to a few shapes.
    """
    shapes = find_shapes(
        train,
        module,
        num_rows=plan.batch_size if plan.batch_tokens is None else None,
        fills_rows=can_lack_labels(config.task.problem_type),
        device=ranks.device,
    )
    return StepGraphs(shapes, CudaRecorder(), ranks.device, may_draw=drops_no_layer(module))


def drops_no_layer(module: PreTrainedModel) -> bool:
    """Whether a model has layer dropout, which draws on the host, with all rates 0, as BART."""
    values = module.config.to_dict()
    values = values.get(BACKBONE) or values
    shares = [value for name, value in values.items() if name.endswith("layerdrop")]
    return bool(shares) and not any(shares)


def in_memory_of(graphs: StepGraphs | None, evaluate: Callable[[], Result]) -> Result:
    """The result of an evaluation. If it runs out of memory, the graphs are dropped, which hold the
    memory of a whole step, and it is repeated; steps record them again."""
    if graphs is None or not graphs.num_graphs:
        return evaluate()
    try:
        return evaluate()
    except torch.OutOfMemoryError:
        logger.warning("%s: the evaluation needs the memory of the graphs", CUDA_GRAPHS)
    gc.collect()  # the frames of the error hold the tensors of its batch
    graphs.free()
    return evaluate()
