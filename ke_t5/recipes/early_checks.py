"""What is known to be wrong before any data is prepared."""

from __future__ import annotations

from argparse import Namespace

from ke_t5.recipes.job import Job
from ke_t5.train.optimizers import check_optimizer

CHANGING = ("linear", "cosine", "inverse_sqrt")  # schedules that change the rate at every step


def check_training(flags: Namespace) -> None:
    """Raises UserError for settings of the optimizer and its schedule that exclude each other."""
    is_scheduled = bool(flags.warmup) or flags.schedule in CHANGING
    check_optimizer(learning_rate=flags.learning_rate, is_scheduled=is_scheduled)


def check_model(job: Job) -> None:
    """Raises UserError for what gin says that the model's class refuses.

    The class, and torch with it, is imported only if gin says something about the model.
    """
    if job.configuration.sets("model", "EvaluationHelper"):
        from ke_t5.recipes.modelling import check_class

        check_class(job)
