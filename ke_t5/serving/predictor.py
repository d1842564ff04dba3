"""Predicts rows with a loaded model, in order and in bounded memory.

Rows are prepared by the task's preprocessors and predicted by the code that evaluates a split, so
the predictions are those that a test writes into `predictions.jsonl`.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from ke_t5.config.gin_config import Configuration
from ke_t5.distributed import Ranks
from ke_t5.errors import Exit, UserError
from ke_t5.pipe import EvaluationHelper, Examples, Task, evaluate
from ke_t5.pipe.evaluation import engine_ready
from ke_t5.pipe.preparation import Preparation, prepare_rows
from ke_t5.pipe.preprocessors import LOST
from ke_t5.pipe.rows import ROW_ID
from ke_t5.serving.content import WITH_PLACES, as_given, content_of, kind_of
from ke_t5.serving.rows import FIX, decomposed_text, unlabelled
from ke_t5.train.settings import FitSettings, autocast

if TYPE_CHECKING:
    from transformers import PreTrainedModel

VOCABULARY = "ke_t5.task.utils.get_vocabulary.vocab_name"
# Rows are sorted by length within windows of this many batches, or rows if those are more.
WINDOW_BATCHES, WINDOW_ROWS = 8, 256

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Prediction:
    """The prediction of a row.

    Attributes:
        value: the prediction, of the type of the task's gold, as in `predictions.jsonl`.
        content: the prediction as JSON (see `serving.content`).
        error: why there is no prediction; None if there is one.
        lost: what preparing the row lost, e.g. "inputs cut at 128 tokens".
    """

    value: Any = None
    content: dict[str, Any] = field(default_factory=dict)
    error: UserError | None = None
    lost: tuple[str, ...] = ()


class OneProcess(Ranks):
    """A single process that evaluates with all of its threads."""

    @contextmanager
    def evaluation_threads(self) -> Iterator[int]:
        """Keeps all threads for one batch: digits need not be the same on other machines, and a
        single row should not wait."""
        yield 1


class Predictor:
    """A model with its task and tokenizer (see `serving.loading.load_predictor`).

    Args:
        model: the model, on its device.
        lengths: the maximum lengths of `inputs` and `targets` in tokens.
        vocabulary: the folder of the tokenizer.
        batch_size: rows per batch.
        fit: settings of the training, of which the precision is used.

    Attributes:
        lost: what the preparation of the rows lost -> how often, e.g. inputs cut at 128 tokens.
    """

    def __init__(
        self,
        task: Task,
        model: PreTrainedModel,
        helper: EvaluationHelper,
        *,
        lengths: Mapping[str, int],
        vocabulary: str,
        batch_size: int,
        fit: FitSettings,
    ) -> None:
        import torch

        self.task, self.model, self.helper = task, model, helper
        self.kind, self.batch_size, self.lengths = kind_of(task), batch_size, dict(lengths)
        self.device = next(model.parameters()).device
        self._vocabulary, self._fit = vocabulary, fit
        self._ranks = OneProcess(0, 1, self.device, torch.get_num_threads())
        self._engine: ExitStack | None = None
        self.lost: Counter[str] = Counter()

    @property
    def window(self) -> int:
        """The number of rows in memory at a time."""
        return max(WINDOW_ROWS, WINDOW_BATCHES * self.batch_size)

    def __call__(self, rows: Iterable[Row], *, keep_errors: bool = False) -> Iterator[Prediction]:
        """Yields the prediction of each row, in order; labels are not read.

        Args:
            rows: mappings with the task's columns (`Task.input_columns`).
            keep_errors: whether to yield a `Prediction` with an `error` for an invalid row.

        Raises:
            UserError: an invalid row, named by its number from 0.
        """
        rows, done = iter(rows), 0
        while window := list(itertools.islice(rows, self.window)):
            predictions = self._window(window)
            for number, prediction in enumerate(predictions, done):
                if prediction.error is not None and not keep_errors:
                    raise at_place(prediction.error, f"row {number}")
                yield prediction
            done += len(window)

    def _window(self, rows: Sequence[Row]) -> list[Prediction]:
        Configuration.of([]).with_binding(VOCABULARY, self._vocabulary, "the model's own")
        predictions: dict[int, Prediction] = {}
        known: dict[int, dict[str, Any]] = {}
        for number, row in enumerate(rows):
            try:
                known[number] = {**unlabelled(self.task, row), ROW_ID: number}
            except UserError as error:
                predictions[number] = Prediction(error=error)
        examples, faults = self._examples(list(known.values()))
        predictions |= {number: Prediction(error=error) for number, error in faults.items()}
        if examples is not None:
            predictions |= self._predicted(examples, known, rows)
        return [predictions[number] for number in range(len(rows))]

    def _examples(self, rows: list[dict]) -> tuple[Examples | None, dict[int, UserError]]:
        """The examples of the valid rows, None if there are none; number -> error of the others."""
        faults: dict[int, UserError] = {}
        try:
            dataset = prepare_rows(self._preparation, rows) if rows else None
        except (UserError, KeyError, TypeError, ValueError) as error:
            if isinstance(error, UserError) and error.exit_code != Exit.DATA:
                raise
            sound = []
            for row in rows:
                try:
                    prepare_rows(self._preparation, [row])
                    sound.append(row)
                except UserError as error:
                    faults[row[ROW_ID]] = error
                except (KeyError, TypeError, ValueError) as error:
                    faults[row[ROW_ID]] = self._unprepared(error)
            dataset = prepare_rows(self._preparation, sound) if sound else None
        if dataset is None:
            return None, faults
        return Examples(dataset, self.task.output_features), faults

    def _unprepared(self, error: Exception) -> UserError:
        what = f"{self.task.name} cannot read it ({type(error).__name__}: {error!s:.80})"
        return UserError(what, "row", "give the columns that the task reads", Exit.DATA)

    @property
    def _preparation(self) -> Preparation:
        task = self.task
        steps, features, keep = task.preprocessors, task.output_features, task.keep
        return Preparation(task.name, "rows", steps, features, keep, self.lengths)

    def _predicted(
        self, examples: Examples, rows: Mapping[int, Row], given: Sequence[Row]
    ) -> dict[int, Prediction]:
        self.lost.update({what: count for what, (count, _) in examples.lost().items()})
        precision = partial(autocast, self._fit, self.device)
        if self._engine is None:  # the weights never change, so they are converted once
            self._engine = ExitStack()
            self._engine.enter_context(engine_ready(self.helper, self.model, precision))
        evaluated = evaluate(
            self.helper,
            self.model,
            examples,
            batch_size=self.batch_size,
            ranks=self._ranks,
            autocast=precision,
        )
        predictions, lost = {}, _lost_by_row(examples)
        for line, scores in zip(evaluated.predictions, evaluated.row_scores, strict=True):
            number = line["id"]
            content = content_of(self.task, rows[number], line, scores)
            if self.kind in WITH_PLACES:
                text = decomposed_text(self.task, given[number])
                content = content if text is None else as_given(content, text)
            predictions[number] = Prediction(
                line["prediction"], content, lost=tuple(lost.get(number, ()))
            )
        return predictions


def _lost_by_row(examples: Examples) -> dict[int, list[str]]:
    """The id of each row that the preparation lost something of -> what it lost."""
    lost: dict[int, list[str]] = {}
    ids = examples.dataset[ROW_ID]
    for what in examples.lost():
        for row, count in zip(ids, examples.dataset[LOST + what], strict=True):
            if count and what not in lost.setdefault(row, []):
                lost[row].append(what)
    return lost


def at_place(error: UserError, place: str) -> UserError:
    """The error of a row, with the row's place."""
    return UserError(error.what, place, error.fix or FIX, error.exit_code)
