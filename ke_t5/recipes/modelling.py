"""The model of a job: built, exported, and what an evaluation leaves on disk."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from ke_t5.distributed import Ranks
from ke_t5.models import build, export
from ke_t5.pipe import Evaluated, Examples
from ke_t5.recipes.card import model_card
from ke_t5.recipes.folders import write_json, write_json_lines
from ke_t5.recipes.intervals import Bootstrap
from ke_t5.recipes.job import Job
from ke_t5.task.utils import get_vocabulary
from ke_t5.train.snapshots import find_snapshot, load_snapshot, read_progress

logger = logging.getLogger(__name__)


def build_model(job: Job, ranks: Ranks) -> PreTrainedModel:
    """The job's model on this rank's device; what the libraries said about it in one line."""
    model_class = job.load_class()
    is_resumed = Path(job.model_folder) == job.run.model
    is_new = job.may_draw_head and not is_resumed
    of_task = job.task.model_config if is_new else {}
    known = {name: x for name, x in of_task.items() if hasattr(model_class.config_class, name)}
    model, note = build.build_model(
        model_class,
        job.model_folder,
        from_scratch=not job.has_weights,
        seed=job.flags.seed,
        task_config=job.task_config(),
        model_config={**known, **job.model_config},
        tokenizer=get_vocabulary(),
        new_head=job.may_draw_head,
    )
    if not is_resumed:  # the weights come from a snapshot, after this
        logger.info(note)
    if job.settings.gradient_checkpointing:
        # transformers 5.23 has a new name for it; the old one warns there.
        new_name = getattr(model, "activation_checkpointing_enable", None)
        (new_name or model.gradient_checkpointing_enable)()
    if ranks.is_main and not is_resumed:
        export.save_configuration(model, get_vocabulary(), job.run.model)
    model.to(ranks.device)
    if job.settings.compile:
        model.compile(dynamic=True)
    return model


def write_evaluation(
    job: Job,
    split: str,
    evaluated: Evaluated,
    examples: Examples,
    *,
    bootstrap: Bootstrap | None = None,
) -> Path:
    """Writes `eval/<split>/scores.json` and `predictions.jsonl`; returns the folder."""
    folder = job.run.evaluation(split)
    scores: dict[str, Any] = {
        "task": job.task.name,
        "split": split,
        "rows": evaluated.num_rows,
        "scored": evaluated.num_scored,
        "unparsable": evaluated.unparsable,
        "scores": evaluated.scores,
        "lost": {what: count for what, (count, _) in examples.lost().items()},
    }
    if bootstrap is not None:
        scores["intervals"] = {
            name: [interval.low, interval.high] for name, interval in bootstrap.intervals.items()
        }
    write_json(folder / "scores.json", scores)
    write_json_lines(folder / "predictions.jsonl", evaluated.predictions)
    return folder


def export_best(job: Job, module: PreTrainedModel, ranks: Ranks) -> None:
    """Writes the best snapshot as a folder for `from_pretrained` (`--hf_path`)."""
    if ranks.is_main:
        path = job.run.export if job.flags.hf_path == "default" else Path(job.flags.hf_path)
        snapshot = find_snapshot(job.run.weights, "best")
        load_snapshot(snapshot, model=module)
        best = read_progress(snapshot)["best"]
        card = model_card(job, module, best["scores"] if best else {})

        export.export(module, get_vocabulary(), path, card=card)
        logger.info("exported %s to %s", snapshot.name, path)
    ranks.barrier()
