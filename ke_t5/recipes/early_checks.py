"""What is known to be wrong before any data is prepared."""

from __future__ import annotations

from ke_t5.config.run_config import RunConfig
from ke_t5.train.optimizers import check_optimizer

CHANGING = ("linear", "cosine", "inverse_sqrt")  # schedules that change the rate at every step


def check_training(config: RunConfig) -> None:
    """Raises UserError for settings of the optimizer and its schedule that exclude each other."""
    schedule = config.schedule
    is_scheduled = bool(schedule.warmup) or schedule.name in CHANGING
    check_optimizer(learning_rate=config.loop.learning_rate, is_scheduled=is_scheduled)


def check_model(config: RunConfig) -> None:
    """Raises UserError for what gin says that the model's class refuses.

    The class, and torch with it, is imported only if gin says something about the model.
    """
    if config.gin.sets("model", "EvaluationHelper"):
        from ke_t5.recipes.modelling import check_class

        check_class(config)
