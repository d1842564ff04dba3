"""Evaluates the model of a training, and writes the results."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ke_t5.checkpoint.closing import Validation
from ke_t5.checkpoint.folders import folder_name
from ke_t5.pipe import EvaluationHelper, Mixture, Task
from ke_t5.pipe.scoring import best_score
from ke_t5.recipes import results
from ke_t5.recipes.folders import RunFolder
from ke_t5.recipes.task_splits import Evaluation, TaskSplit


class Validator:
    """Evaluates the validation splits of a training.

    Args:
        task: the run's task; its `best` says which score to compare by.
        splits: one for each member of the task; helpers: how each is predicted.
        evaluate: evaluates the model in its current state.
        run: where results are written; the caller writes on rank 0 only.
        facts: facts about the run for the reports.

    Attributes:
        name: the names of all splits.
        last: the last evaluation; None before the first.
    """

    def __init__(
        self,
        task: Task | Mixture,
        splits: Sequence[TaskSplit],
        helpers: Sequence[EvaluationHelper],
        *,
        evaluate: Callable[[], Evaluation],
        run: RunFolder,
        facts: Mapping[str, Any],
    ) -> None:
        self.task, self.splits, self.helpers = task, splits, helpers
        self.run, self.facts = run, facts
        self.name = ", ".join(dict.fromkeys(part.split for part in splits))
        self.last: Evaluation | None = None
        self._evaluate = evaluate

    def validate(self, step: int) -> Validation:
        """The scores after `step` updates."""
        self.last = self._evaluate()
        scores, loss = self.last.scores, self.last.loss
        validation: Validation = {"step": step, "score": self._score_of(scores), "scores": scores}
        return validation if loss is None else {**validation, "loss": loss}

    def _score_of(self, scores: Mapping[str, float]) -> float | None:
        """The score to compare by; None without a metric, or if no row has a label."""
        if self.task.best is None or not scores:
            return None
        return best_score(self.task, scores)

    def folders(self) -> list[Path]:
        """The folders that `write` writes to."""
        names = (*(part.name for part in self.splits), self.name)
        return [self.run.evaluation(name) for name in dict.fromkeys(names)]

    def write(self, step: int) -> None:
        """Writes the last evaluation as results of the checkpoint at `step`."""
        self.writing(step)()

    def writing(self, step: int) -> Callable[[], None]:
        """A function that writes the current last evaluation, to be called later by a thread."""
        last = self.last
        if last is None:
            raise ValueError("nothing has been evaluated")

        def write() -> None:
            origin = results.Origin(self.task, weights=folder_name(step))
            for part, evaluated in last.of_parts:
                results.write_evaluation(self.run.evaluation(part.name), part, evaluated, origin)
            if isinstance(self.task, Mixture):
                results.write_mixture(self.run.evaluation(self.name), self.name, last, origin)

        return write

    def report(self) -> None:
        """Writes the report of each validation whose predictions are in the run's folder."""
        for helper, part in zip(self.helpers, self.splits, strict=True):
            folder = self.run.evaluation(part.name)
            results.report_validation(folder, helper, part, facts=self.facts)
