"""Updates best.json and `eval/` of a resumed run to its best checkpoint.

They are of the previous best if the run was killed between saving a new best checkpoint and
writing its results, and of a later checkpoint if the run is resumed from an earlier one.
"""

from __future__ import annotations

import logging
from pathlib import Path

from ke_t5.checkpoint.checkpoints import load_checkpoint
from ke_t5.checkpoint.folders import find_fault, folder_name, locate
from ke_t5.recipes import results
from ke_t5.recipes.trainer import Trainer

logger = logging.getLogger(__name__)


def restore_results(trainer: Trainer) -> None:
    """Points best.json at the best checkpoint, and evaluates it if its results are missing."""
    trainer.checkpointer.point_at_best()
    best, ranks = trainer.checkpointer.best_of_all(), trainer.ranks
    if best is None or not ranks.broadcast(_are_missing(trainer, best["step"])):
        return
    step, weights = best["step"], trainer.run / "weights"
    logger.info("eval/ has no results of %s: evaluating it again", folder_name(step))
    if step == trainer.state.step:
        _evaluate(trainer, step)
    elif _load(trainer, locate(weights / folder_name(step))):
        _evaluate(trainer, step)
        # By path: the resumed checkpoint may be outside weights/.
        assert trainer.checkpointer.loaded is not None
        load_checkpoint(trainer.checkpointer.loaded, model=trainer.state.module, is_checked=True)


def _are_missing(trainer: Trainer, step: int) -> bool:
    folders = trainer.validator.folders() if trainer.ranks.is_main else []
    return any(results.weights_of(folder) != folder_name(step) for folder in folders)


def _evaluate(trainer: Trainer, step: int) -> None:
    trainer.validator.validate(step)
    if trainer.ranks.is_main:
        trainer.validator.write(step)
    trainer.validator.last = None  # the summary shows only validations of this launch


def _load(trainer: Trainer, path: Path) -> bool:
    """Loads only the model's weights; False, with a warning, if the checkpoint is damaged."""
    if fault := trainer.ranks.broadcast(find_fault(path) if trainer.ranks.is_main else None):
        logger.warning("%s is damaged (%s): its results are not restored", path, fault)
        return False
    load_checkpoint(path, model=trainer.state.module, is_checked=True)
    return True
