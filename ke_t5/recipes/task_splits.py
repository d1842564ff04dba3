"""The parts of a run's data: the examples of a split of a task, or of each member of a mixture."""

from __future__ import annotations

import dataclasses
import functools
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ke_t5.config.precedence import first_set
from ke_t5.config.run_config import RunConfig
from ke_t5.distributed import Ranks
from ke_t5.forms import FORMS
from ke_t5.pipe import (
    Evaluated,
    EvaluationHelper,
    Examples,
    Mixture,
    Task,
    evaluate,
    get_dataset,
)
from ke_t5.pipe.mixture import MEAN
from ke_t5.pipe.scoring import best_score, score_prefix
from ke_t5.pipe.splits import default_split
from ke_t5.recipes import console
from ke_t5.recipes.token_health import check_tokens
from ke_t5.report.constant_predictions import one_answer_line
from ke_t5.train.settings import autocast

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TaskSplit:
    """A task's examples of a split.

    Attributes:
        name: name of its results: the split, or `<task>__<split>` in a mixture.
    """

    task: Task
    split: str
    examples: Examples
    name: str

    def on(self, examples: Examples) -> TaskSplit:
        """The same with other examples."""
        return dataclasses.replace(self, examples=examples)


def part_name(task: Task, split: str) -> str:
    """The name of a mixture's part."""
    return f"{task.name}__{split}"


def with_splits(config: RunConfig, *purposes: str) -> RunConfig:
    """The configuration with the split of each member: the requested one, or its default."""
    folders, asked = config.data.folders, config.data.asked_splits
    splits = {
        purpose: tuple(
            first_set(
                asked[purpose],
                default=functools.partial(default_split, task.source, folders, purpose),
            )
            for task in config.task.members
        )
        for purpose in purposes
    }
    return dataclasses.replace(config, splits=dataclasses.replace(config.splits, **splits))


def load_splits(config: RunConfig, purpose: str) -> list[TaskSplit]:
    """The examples of the splits for a purpose, one part for each member; logs what preprocessing
    has lost."""
    parts = []
    for task, split in zip(config.task.members, getattr(config.splits, purpose), strict=True):
        data = config.data
        examples = get_dataset(task, split, folders=data.folders, sequence_length=data.lengths)
        console.report_examples(task, split, examples)
        check_tokens(task, split, examples)
        if data.model_columns_only:
            examples = examples.without_kept()
        name = split if task is config.task else part_name(task, split)
        parts.append(TaskSplit(task, split, examples, name))
    return parts


# ------------------------------------------------------------------------------------ evaluation


@dataclass(frozen=True)
class Evaluation:
    """The result of evaluating all parts.

    Attributes:
        of_parts: each part with its result.
        scores: the task's scores; for a mixture, `<task>/<score>` of every member, and the mean of
            the scores that pick each member's best checkpoint, over members with labelled rows.
        loss: the mean over all scored rows; None if it was not computed.
    """

    of_parts: list[tuple[TaskSplit, Evaluated]]
    scores: dict[str, float]
    loss: float | None = None


def helper_of(config: RunConfig, task: Task) -> EvaluationHelper:
    """How a member of the task is predicted."""
    return EvaluationHelper(task, seed=config.seed, **vars(config.generation[task.name]))


def helpers_of(
    config: RunConfig, model: torch.nn.Module, parts: Sequence[TaskSplit]
) -> list[EvaluationHelper]:
    """How each part is predicted; raises UserError if the model does not support it."""
    helpers = [helper_of(config, part.task) for part in parts]
    for helper, part in zip(helpers, parts, strict=True):
        helper.check(model, part.examples)
    return helpers


def evaluate_splits(
    config: RunConfig,
    helpers: Sequence[EvaluationHelper],
    model: torch.nn.Module,
    parts: Sequence[TaskSplit],
    *,
    ranks: Ranks,
    watch: Callable[[range], Iterable[int]] = iter,
    wants_loss: bool = False,
) -> Evaluation:
    """Evaluates all parts (see `evaluate`); warns if a model answers all rows alike."""
    results = [
        evaluate(
            helper,
            model,
            part.examples,
            batch_size=config.batches.size,
            ranks=ranks,
            autocast=lambda: autocast(config.fit, ranks.device),
            watch=watch,
            wants_loss=wants_loss,
        )
        for helper, part in zip(helpers, parts, strict=True)
    ]
    of_parts = list(zip(parts, results, strict=True))
    for part, evaluated in of_parts:
        title = f"{part.task.name} {part.split}"
        form = FORMS[part.task.form]
        unpooled = form.any_encoder_model if form.reads_pooler else None
        line = one_answer_line(title, evaluated.predictions, unpooled=unpooled)
        if line is not None:
            logger.warning(line)
    if isinstance(config.task, Mixture):
        prefixes = [score_prefix(h, part.examples) for h, part in zip(helpers, parts, strict=True)]
        scores = mixed_scores(of_parts, prefix=max(prefixes, key=len))
        return Evaluation(of_parts, scores, _mixed_loss(results))
    return Evaluation(of_parts, results[0].scores, results[0].loss)


def _mixed_loss(results: Sequence[Evaluated]) -> float | None:
    weighted = [(one.loss, one.num_scored) for one in results if one.loss is not None]
    total = sum(count for _, count in weighted)
    return sum(loss * count for loss, count in weighted) / total if total else None


def mixed_scores(
    of_parts: Sequence[tuple[TaskSplit, Evaluated]], *, prefix: str
) -> dict[str, float]:
    """The scores of a mixture, the mean first; {} if no row has a label.

    Args:
        prefix: prefix of the mean's name, for how the scores were obtained (see `score_prefix`).
    """
    scored = [(part.task, result.scores) for part, result in of_parts if result.scores]
    bests = [best_score(task, scores) for task, scores in scored if task.best is not None]
    mixed = {prefix + MEAN: sum(bests) / len(bests)} if bests else {}
    for task, scores in scored:
        mixed |= {f"{task.name}/{name}": value for name, value in scores.items()}
    return mixed
