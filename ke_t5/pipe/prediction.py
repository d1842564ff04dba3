"""Predictions: the model outputs of a batch, reduced to one dict per row.

torch is imported inside the functions: gin binds `EvaluationHelper` before torch is loaded.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import numpy as np

from ke_t5.config.configurable import configurable
from ke_t5.config.ranges import Count
from ke_t5.errors import UserError, suggestion
from ke_t5.fault_points import fault_point
from ke_t5.forms import FORMS
from ke_t5.pipe import arguments, generation, translation
from ke_t5.pipe.arguments import KWARGS, class_of
from ke_t5.pipe.examples import Examples
from ke_t5.pipe.losses import find_loss
from ke_t5.pipe.masks import MASK, known_mask
from ke_t5.pipe.model_inputs import GOLD_COLUMNS, model_inputs
from ke_t5.pipe.model_outputs import Arrays, RowOutput, likeliest_tokens, reduced
from ke_t5.pipe.task import Task

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

    from ke_t5.pipe.arguments import Generative, GenerativeModel, Model

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class GenerationSettings:
    """How a task's predictions are made; the attributes are arguments of `EvaluationHelper`."""

    model_fn: str
    model_kwargs: Mapping[str, Any]
    model_input_keys: tuple[str, ...] | None
    threshold: str | None = None
    engine: str | None = None
    eval_batch_tokens: int | None = None


@configurable(module="ke_t5.pipe.evaluation", denylist=["task", "seed"])
class EvaluationHelper:
    """How a task's predictions are made.

    Args:
        task: the task.
        model_fn: a method of the model: "forward", "generate" or any other; default: the task's
            own, otherwise "generate" for sequence-to-sequence tasks and "forward" for others.
        model_kwargs: arguments of the method; default: the task's own.
        model_input_keys: the columns of a batch that are passed to the method; default: those that
            it needs. Padding is always masked.
        engine: the library that generates: None for transformers, "ctranslate2", or
            "ctranslate2-int8", some of whose answers differ (see `pipe.translation`).
        eval_batch_tokens: token budget of a batch, in which each beam counts; default: as many
            rows as a training batch, or more if they are short (see `evaluation_batches`).
        seed: the seed of sampling.
        threshold: the probability from which a label of a multi-label task is predicted: None for
            0.5, "tuned" for one threshold for all labels, "per_label" for one for each; both are
            chosen on the validation split after the training.
    """

    def __init__(
        self,
        task: Task,
        *,
        model_fn: str | None = None,
        model_kwargs: Annotated[dict, arguments.check_generation_values] | None = None,
        model_input_keys: list | tuple | None = None,
        engine: Literal["ctranslate2", "ctranslate2-int8"] | None = None,
        eval_batch_tokens: Count | None = None,
        seed: int = 0,
        threshold: Literal["tuned", "per_label"] | None = None,
    ) -> None:
        self.task, self.seed, self.threshold = task, seed, threshold
        if threshold is not None and task.problem_type != "multi_label_classification":
            what = f"{task.name} is not a multi-label task of an encoder"
            raise UserError(what, f"EvaluationHelper.threshold={threshold!r}", "remove it")
        self.engine, self.eval_batch_tokens = engine, eval_batch_tokens
        self._translator: translation.Translator | None = None
        self._is_compared = False
        self.is_seq2seq = FORMS[task.form].generates
        of_form = "generate" if self.is_seq2seq else "forward"
        self.model_fn = model_fn or task.defaults.model_fn or of_form
        own = dict(task.defaults.generate) if self.generates else {}
        self.model_kwargs = own if model_kwargs is None else dict(model_kwargs)
        if self.generates:
            limit = task.defaults.sequence_length["targets"]
            limit = task.defaults.generate.get("max_new_tokens", limit)
            self.model_kwargs = arguments.with_limit(self.model_kwargs, limit)
        self.model_input_keys = model_input_keys

    @property
    def settings(self) -> GenerationSettings:
        """The given settings, completed by the task's own."""
        keys = self.model_input_keys
        keys = None if keys is None else tuple(keys)
        kwargs = MappingProxyType(self.model_kwargs)
        machine = self.engine, self.eval_batch_tokens
        return GenerationSettings(self.model_fn, kwargs, keys, self.threshold, *machine)

    @property
    def generates(self) -> bool:
        """Whether the output is generated token by token."""
        return self.model_fn == "generate"

    def num_beams(self, model: torch.nn.Module) -> int:
        """The number of sequences per row during generation."""
        if not self.generates:
            return 1
        names = ("num_beams", "num_return_sequences")
        generative = cast("GenerativeModel", model)
        return max(arguments.effective_value(generative, self.model_kwargs, n, 1) for n in names)

    @property
    def is_teacher_forced(self) -> bool:
        """Whether the decoder sees the gold targets; the scores' names then say so."""
        return self.is_seq2seq and self.model_fn == "forward"

    def check(self, model: torch.nn.Module, examples: Examples | None = None) -> None:
        """Raises UserError if the method or its arguments do not fit the model; warns about
        settings without an effect."""
        if self.generates:
            self._check_form(model)
        self._check_engine(model)
        method = self._method(model)
        self._check_columns(model, method)
        if self.generates:
            self._check_generation(cast("GenerativeModel", model))
        else:
            self._check_arguments(model, method)
        if examples is not None and not examples.has_kept and self.task.without_kept:
            logger.warning("--pass_only_model_io: %s", self.task.without_kept)

    def check_class(self, model_class: type[PreTrainedModel]) -> None:
        """Raises UserError for what `check` rejects in every model of this class."""
        if self.generates:
            self._check_form(model_class)
        self._check_engine(model_class)
        method = self._method(model_class)
        self._check_columns(model_class, method)
        if self.generates:
            generative = cast("type[GenerativeModel]", model_class)
            arguments.check_arguments(generative, self.model_kwargs)
        else:
            self._check_arguments(model_class, method)

    def _check_engine(self, model: Model) -> None:
        if self.engine is None:
            return
        if not self.generates:
            what, where = f"{self.task.name} is not generated", translation.where(self.engine)
            raise UserError(what, where, "remove it")
        translation.check_engine(cast("Generative", model), self.model_kwargs, self.engine)

    @contextmanager
    def ready(self, model: torch.nn.Module, *, num_workers: int) -> Iterator[None]:
        """A context for predicting `num_workers` batches at once. With CTranslate2, the model's
        current weights are converted on entry, unless an outer context has done so."""
        import torch

        if self.engine is None or self._translator is not None:
            yield
            return
        self._translator = translation.Translator(
            cast("GenerativeModel", model), self.model_kwargs, engine=self.engine,
            num_workers=num_workers, num_threads=torch.get_num_threads(),
        )  # fmt: skip
        try:
            yield
        finally:
            self._translator = None

    def _method(self, model: Model) -> Callable:
        method = getattr(model, self.model_fn, None)
        if not callable(method):
            own = class_of(model)
            methods = [name for name in dir(own) if callable(getattr(own, name))]
            public = [name for name in methods if not name.startswith("_")]
            raise UserError(
                f"{own.__name__} has no method {self.model_fn!r}",
                "EvaluationHelper.model_fn",
                suggestion(self.model_fn, public),
            )
        return method

    def _check_form(self, model: Model) -> None:
        where = "EvaluationHelper.model_fn"
        if not self.is_seq2seq:
            fix = "remove it, or choose a task that generates text, such as klue_tc_gen"
            raise UserError(f"{self.task.name} is not a generation task", where, fix)
        if not cast("Generative", model).can_generate():
            name = class_of(model).__name__
            raise UserError(f"{name} cannot generate", where, "choose a sequence-to-sequence model")

    def _check_generation(self, model: GenerativeModel) -> None:
        for line in generation.drop_model_values(model, self.model_kwargs):
            logger.warning(line)
        limit = arguments.position_limit(model)
        # `max_length` counts the decoder's start token too.
        for name, num_more in (("max_new_tokens", 0), ("max_length", 1)):
            requested = self.model_kwargs.get(name) or 0
            if limit is not None and requested > limit + num_more:
                self.model_kwargs[name] = limit + num_more
                message = "%s reduced from %d to the model's %d"
                logger.warning(message, name, requested, limit + num_more)
        arguments.check_arguments(model, self.model_kwargs)
        for line in arguments.idle_arguments(model, self.model_kwargs):
            logger.warning("%s: %s", KWARGS, line)
        generation.try_out(model, self.model_kwargs)

    def _check_arguments(self, model: Model, method: Callable) -> None:
        known = arguments.known_names(model, method)
        if known is None:
            return
        unknown = sorted(set(self.model_kwargs) - known)
        if unknown:
            raise UserError(
                f"{class_of(model).__name__}.{self.model_fn} has no argument {unknown[0]!r}",
                KWARGS,
                suggestion(unknown[0], known - {MASK, *self.task.output_features}),
            )

    def _check_columns(self, model: Model, method: Callable) -> None:
        columns = {*self.task.output_features, MASK}
        self._require(columns)
        self._check_keys(model, arguments.required_names(method) & columns)
        for name in sorted(set(self.model_kwargs) & columns):
            fix = "remove it: the batches provide it"
            raise UserError(f"{name!r} is a column of {self.task.name}", KWARGS, fix)
        known = arguments.known_names(model, method)
        if known is not None and MASK not in known and not self.generates:
            raise UserError(
                f"{class_of(model).__name__}.{self.model_fn} has no argument {MASK!r}, so that "
                "padding would count",
                "EvaluationHelper.model_fn",
                "add that argument",
            )

    def _check_keys(self, model: Model, needed: Collection[str]) -> None:
        """Raises UserError if `model_input_keys` leaves out a column that the method needs."""
        if self.model_input_keys is None:
            return
        if self.generates or self.model_fn == "forward":
            needed = {*needed, "input_ids", *(["labels"] if self.is_teacher_forced else [])}
        missing = sorted(set(needed) - {*self.model_input_keys, MASK})
        if missing:
            what = f"{class_of(model).__name__}.{self.model_fn} needs {missing[0]!r}"
            raise UserError(what, "EvaluationHelper.model_input_keys", "add it")

    def _require(self, columns: Collection[str]) -> None:
        missing = sorted(set(self.model_input_keys or ()) - set(columns))
        if missing:
            raise UserError(
                f"the batches of {self.task.name} have no column {missing[0]!r} for this model",
                "EvaluationHelper.model_input_keys",
                suggestion(missing[0], columns),
            )

    def predict(self, model: torch.nn.Module, batch: Arrays) -> list[RowOutput]:
        """The model outputs for each row of the batch, reduced to what decoding needs."""
        return self.predict_with_loss(model, batch, wants_loss=False)[0]

    def predict_with_loss(
        self,
        model: torch.nn.Module,
        batch: Arrays,
        *,
        wants_loss: bool = True,
        compares: bool = False,
    ) -> tuple[list[RowOutput], torch.Tensor | None]:
        """The outputs of `predict` and the batch's loss, None if the method returns none.

        Args:
            compares: compares CTranslate2's answers with those of `generate`, the first time.
        """
        tensors = model_inputs(model, batch, next(model.parameters()).device)
        is_forward = self.model_fn == "forward"
        inputs = self._inputs(model, tensors, with_gold=wants_loss and is_forward)
        if self.generates:
            fault_point("generate.before_batch")
            generative = cast("GenerativeModel", model)
            if self._translator is None:
                ids, scores = generation.generate(generative, inputs, self.model_kwargs)
            else:
                ids, scores = self._translator.generate(inputs)
                if compares and not self._is_compared:
                    self._is_compared = True
                    self._translator.compare(ids, generative, inputs)
            outputs = self._text_outputs(ids, len(inputs["input_ids"]), scores)
            return outputs, find_loss(model(**tensors)) if wants_loss else None
        fault_point("evaluate.before_batch")
        # Hooks run for a call of the model, but not of its `forward`.
        method = model if is_forward else getattr(model, self.model_fn)
        with known_mask(model, batch, tensors["input_ids"].device):
            output = method(**inputs, **self.model_kwargs)
        loss = find_loss(output) if wants_loss and is_forward else None
        return self._outputs(output, batch), loss

    def _outputs(self, output: Any, batch: Arrays) -> list[RowOutput]:
        arrays = {name: np.asarray(column) for name, column in batch.items()}
        if self.is_teacher_forced:
            ids = likeliest_tokens(output, arrays)
            outputs = self._text_outputs(ids, len(ids))
            name = self._tokenizer().convert_ids_to_tokens
            return [{**one, "tokens": name(row)} for one, row in zip(outputs, ids, strict=True)]
        if self.is_seq2seq:
            sequences = getattr(output, "sequences", output)
            return self._text_outputs(sequences, len(arrays["input_ids"]))
        labels = self.task.labels
        num_labels = None if labels is None else len(labels)
        return reduced(output, arrays, self.task.form, num_labels=num_labels)

    def _inputs(
        self,
        model: torch.nn.Module,
        tensors: Mapping[str, torch.Tensor],
        *,
        with_gold: bool = False,
    ) -> dict[str, torch.Tensor]:
        """The columns to pass to the method: `model_input_keys`, or by default those it needs.

        Args:
            with_gold: whether to include the labels, if the method accepts them.
        """
        if self.model_input_keys is not None:
            self._require(tensors)
            return {name: tensors[name] for name in {*self.model_input_keys, MASK}}
        if self.is_teacher_forced:
            return dict(tensors)
        # `generate` passes unknown arguments on to `forward`.
        method = model.forward if self.generates else getattr(model, self.model_fn)
        names, needed = arguments.argument_names(method), arguments.required_names(method)
        return {
            name: tensor
            for name, tensor in tensors.items()
            if (names is None or name in names)
            and (with_gold or name not in GOLD_COLUMNS or name in needed)
        }

    def _text_outputs(
        self, sequences: Any, num_rows: int, scores: list[float] | None = None
    ) -> list[RowOutput]:
        """The texts of each row, given token ids [sequences, T], lists of ids, or texts."""
        texts = sequences.tolist() if hasattr(sequences, "tolist") else list(sequences)
        if texts and not isinstance(texts[0], str):
            texts = self._tokenizer().batch_decode(texts, skip_special_tokens=True)
        per_row, rest = divmod(len(texts), num_rows)
        if rest or not per_row:
            raise UserError(
                f"{self.model_fn} returned {len(texts)} sequences for {num_rows} rows",
                "EvaluationHelper.model_fn",
                "return token ids or texts, the same number for each row",
            )
        outputs: list[RowOutput] = []
        for start in range(0, len(texts), per_row):
            outputs.append({"sequences": texts[start : start + per_row]})
            if scores:
                outputs[-1]["score"] = scores[start]
        return outputs

    def _tokenizer(self) -> Any:
        features = self.task.output_features
        tokenizers = [
            features[name].tokenizer for name in ("labels", "input_ids") if name in features
        ]
        return next(tokenizer for tokenizer in tokenizers if tokenizer is not None)()
