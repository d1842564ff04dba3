"""What a training prints when it is over: scores, the best beside the last, the next commands."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ke_t5.distributed import Ranks
from ke_t5.recipes import console
from ke_t5.recipes.job import backbone_type
from ke_t5.recipes.task_splits import TaskSplit
from ke_t5.report.scores import counted, format_scores, score_table

if TYPE_CHECKING:
    from ke_t5.recipes.trainer import Keeper

# A hub model for each kind of model that the sample has.
REAL_MODELS = {"t5": "KETI-AIR/ke-t5-base", "roberta": "klue/roberta-base"}


def tell_result(keeper: Keeper, *, seconds: float) -> None:
    """Prints the scores and what to do next."""
    job, state, best = keeper.job, keeper.state, keeper.best_of_all()
    if keeper.last is not None and keeper.last.scores:
        for part, evaluated in keeper.last.of_parts:
            title = f"{part.task.name} {part.split}, step {state.step}"
            beside = None
            if best is not None and best["step"] != state.step:
                beside = f"best: step {best['step']}", _scores_of(part, best, job.task)
                title += " (last)"
            console.tell(score_table(title, evaluated, beside=beside))
    if best is not None:
        console.tell(f"best: step {best['step']}, {format_scores(best['scores'])}")
    steps = counted(state.step, "step")
    console.tell(f"{steps} in {seconds:.0f} s; results in {job.run.path}")
    best_name, last_name = _names_of_weights(keeper)
    console.tell(
        console.next_commands(
            job.flags,
            launcher=launcher(keeper.ranks),
            best=best_name,
            last=last_name,
            stopped_at=state.step if state.step < keeper.epoch_steps else None,
            real_model=REAL_MODELS.get(backbone_type(type(state.module))),
        )
    )


def _scores_of(part: TaskSplit, best: Mapping[str, Any], task: object) -> dict[str, float]:
    """The best validation's scores of a part, which a mixture keeps by task."""
    if part.task is task:
        return best["scores"]
    prefix = f"{part.task.name}/"
    scores = best["scores"].items()
    return {name.removeprefix(prefix): x for name, x in scores if name.startswith(prefix)}


def launcher(ranks: Ranks) -> str:
    """The command that starts as many processes again, on each machine as many as now; "" for one
    process, which needs none."""
    if ranks.size == 1:
        return ""
    per_node = int(os.environ.get("LOCAL_WORLD_SIZE") or ranks.size)
    nodes = int(os.environ.get("GROUP_WORLD_SIZE") or 1)
    if nodes == 1:
        return f"torchrun --nproc_per_node={per_node}"
    host = os.environ.get("MASTER_ADDR", "HOST")
    return (
        f"torchrun --nnodes={nodes} --nproc_per_node={per_node} "
        f"--rdzv_backend=c10d --rdzv_endpoint={host}:29400"
    )


def _names_of_weights(keeper: Keeper) -> tuple[str, str]:
    """How `--resume` finds the best checkpoint and the last; by path in a run found by path."""
    from ke_t5.checkpoint.folders import folder_name, read_pointer  # it imports torch

    run = keeper.job.run
    step = read_pointer(run.weights, "best") if keeper.ranks.is_main else None
    resume = keeper.job.flags.resume
    if resume is None or resume.path is None:
        return "true" if step is None else "best", "true"
    best = run.weights if step is None else run.weights / folder_name(step)
    return str(best), str(run.path)
