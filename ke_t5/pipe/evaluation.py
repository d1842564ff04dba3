"""Evaluation: every example predicted exactly once, metrics once over the whole split.

torch is imported inside the functions: gin binds `EvaluationHelper` before it is paid for.
"""

from __future__ import annotations

import inspect
import logging
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

import gin
from ke_t5.errors import Exit, UserError, suggestion
from ke_t5.pipe.batches import evaluation_batches
from ke_t5.pipe.examples import Examples
from ke_t5.pipe.task import Task

if TYPE_CHECKING:
    import torch

    from ke_t5.distributed import Ranks

logger = logging.getLogger(__name__)

Record = dict[str, Any]

# Arguments that transformers 5 serves only with code from the hub.
HUB_ONLY_ARGUMENTS = (
    "num_beam_groups", "diversity_penalty", "penalty_alpha", "dola_layers", "constraints",
    "force_words_ids",
)  # fmt: skip


def model_inputs(
    model: torch.nn.Module, batch: Mapping[str, np.ndarray], device: torch.device
) -> dict[str, torch.Tensor]:
    """The batch as tensors on `device`, without the columns that this model has no place for.

    Only `token_type_ids` may be left out: klue/roberta-* put a BERT tokenizer in front of a model
    with one token type, where a second segment id would be out of range.
    """
    import torch

    inputs = {}
    for name, array in batch.items():
        if name == "token_type_ids" and not _takes_segments(model):
            continue
        kind = np.float32 if array.dtype.kind == "f" else np.int64
        tensor = torch.from_numpy(np.ascontiguousarray(array, dtype=kind))
        inputs[name] = tensor.to(device, non_blocking=True)
    return inputs


def _takes_segments(model: torch.nn.Module) -> bool:
    if getattr(model.config, "type_vocab_size", 0) < 2:
        return False
    parameters = inspect.signature(model.forward).parameters.values()
    return any(
        parameter.name == "token_type_ids" or parameter.kind == inspect.Parameter.VAR_KEYWORD
        for parameter in parameters
    )


@gin.configurable(denylist=["task", "seed"])
class EvaluationHelper:
    """How a task's predictions are made.

    Args:
        task: what is predicted.
        model_fn: a method of the model: "forward", "generate" or any other; default: "generate"
            for sequence-to-sequence tasks, else "forward".
        model_kwargs: its arguments; default: the task's own.
        model_input_keys: the batch's columns that it gets; default: those that it needs.
        seed: of sampling, where the arguments ask for it.
    """

    def __init__(
        self,
        task: Task,
        *,
        model_fn: str | None = None,
        model_kwargs: dict | None = None,
        model_input_keys: list | tuple | None = None,
        seed: int = 0,
    ) -> None:
        self.task, self.seed = task, seed
        is_seq2seq = task.form == "seq2seq"
        self.model_fn = model_fn or ("generate" if is_seq2seq else "forward")
        own = dict(task.defaults.generate) if self.model_fn == "generate" else {}
        self.model_kwargs = own if model_kwargs is None else dict(model_kwargs)
        self.model_input_keys = model_input_keys
        # A decoder fed with the gold answer is not a test of generation: its scores say so.
        self.is_teacher_forced = is_seq2seq and self.model_fn == "forward"

    def check(self, model: torch.nn.Module) -> None:
        """Raises UserError where the model has no such method, or it cannot take an argument."""
        method = getattr(model, self.model_fn, None)
        if not callable(method):
            methods = [name for name in dir(type(model)) if callable(getattr(type(model), name))]
            public = [name for name in methods if not name.startswith("_")]
            raise UserError(
                f"{type(model).__name__} has no method {self.model_fn!r}",
                "EvaluationHelper.model_fn",
                suggestion(self.model_fn, public),
            )
        if self.model_fn == "generate" and not model.can_generate():
            raise UserError(
                f"{type(model).__name__} cannot generate",
                "EvaluationHelper.model_fn",
                f"leave it out for {self.task.name}, or choose a sequence-to-sequence model",
            )
        self._check_arguments(method, model)

    def _check_arguments(self, method: Callable, model: torch.nn.Module) -> None:
        known = set(inspect.signature(method).parameters)
        takes_any = "kwargs" in known
        if self.model_fn == "generate":
            refused = [name for name in HUB_ONLY_ARGUMENTS if self.model_kwargs.get(name)]
            if refused and not (refused == ["num_beam_groups"] and self._num_groups() == 1):
                raise UserError(
                    f"{refused[0]!r} works in transformers 5 only with code from the hub",
                    "EvaluationHelper.model_kwargs",
                    "use num_beams, do_sample, top_k, top_p or temperature",
                )
            known |= set(model.generation_config.to_dict())
            known |= set(inspect.signature(model.forward).parameters)
            takes_any = False
        unknown = sorted(set(self.model_kwargs) - known)
        if unknown and not takes_any:
            raise UserError(
                f"{type(model).__name__}.{self.model_fn} takes no {unknown[0]!r}",
                "EvaluationHelper.model_kwargs",
                suggestion(unknown[0], known - {"self", "kwargs", "args"}),
            )

    def _num_groups(self) -> int:
        return int(self.model_kwargs.get("num_beam_groups", 1))

    def predict(self, model: torch.nn.Module, batch: Mapping[str, np.ndarray]) -> list[Record]:
        """One record per row of the batch: what the model said, reduced to what decoding needs."""
        inputs = model_inputs(model, batch, next(model.parameters()).device)
        if self.model_input_keys is not None:
            missing = sorted(set(self.model_input_keys) - set(inputs))
            if missing:
                raise UserError(
                    f"the batches of {self.task.name} hold no {missing[0]!r}",
                    "EvaluationHelper.model_input_keys",
                    suggestion(missing[0], inputs),
                )
            inputs = {name: inputs[name] for name in self.model_input_keys}
        elif self.model_fn == "generate":
            inputs = {name: inputs[name] for name in ("input_ids", "attention_mask")}
        elif not self.is_teacher_forced:
            inputs = {name: value for name, value in inputs.items() if name not in GOLD_COLUMNS}
        if self.model_fn == "generate":
            return self._generate(model, inputs)
        output = getattr(model, self.model_fn)(**inputs, **self.model_kwargs)
        reduce = _generated_tokens if self.is_teacher_forced else REDUCERS[self.task.form]
        records = reduce(output, {name: np.asarray(column) for name, column in batch.items()})
        return self._with_text(records) if self.is_teacher_forced else records

    def _generate(self, model: torch.nn.Module, inputs: Mapping[str, Any]) -> list[Record]:
        arguments = dict(self.model_kwargs)
        if not {"max_length", "max_new_tokens"} & set(arguments):
            arguments["max_new_tokens"] = self.task.defaults.sequence_length["targets"]
        sequences = model.generate(**inputs, **arguments)
        per_row = len(sequences) // len(inputs["input_ids"])
        texts = self._tokenizer().batch_decode(sequences, skip_special_tokens=True)
        return [
            {"sequences": texts[row * per_row : (row + 1) * per_row]}
            for row in range(len(inputs["input_ids"]))
        ]

    def _with_text(self, records: list[Record]) -> list[Record]:
        tokenizer = self._tokenizer()
        return [
            {"sequences": [tokenizer.decode(record["ids"], skip_special_tokens=True)]}
            for record in records
        ]

    def _tokenizer(self) -> Any:
        feature = self.task.output_features.get("labels") or self.task.output_features["input_ids"]
        return (feature.tokenizer or self.task.output_features["input_ids"].tokenizer)()


# ------------------------------------------------------------------ from outputs to records

GOLD_COLUMNS = ("labels", "start_positions", "end_positions", "relation_labels")


def _logits(output: Any, batch: Mapping[str, np.ndarray]) -> list[Record]:
    return [{"logits": row} for row in output.logits.float().cpu().tolist()]


def _tags(output: Any, batch: Mapping[str, np.ndarray]) -> list[Record]:
    if isinstance(output.logits, list):  # a CRF answers with the best path
        return [{"tags": list(path)} for path in output.logits]
    tags = output.logits.argmax(-1).cpu().numpy()
    lengths = batch["attention_mask"].sum(1)
    return [{"tags": row[:length].tolist()} for row, length in zip(tags, lengths, strict=True)]


def _span_logits(output: Any, batch: Mapping[str, np.ndarray]) -> list[Record]:
    starts = output.start_logits.float().cpu().numpy()
    ends = output.end_logits.float().cpu().numpy()
    lengths = batch["attention_mask"].sum(1)
    return [
        {"start": start[:length], "end": end[:length]}
        for start, end, length in zip(starts, ends, lengths, strict=True)
    ]


def _generated_tokens(output: Any, batch: Mapping[str, np.ndarray]) -> list[Record]:
    ids = output.logits.argmax(-1).cpu().numpy()
    lengths = (batch["labels"] >= 0).sum(1)
    return [{"ids": row[:length]} for row, length in zip(ids, lengths, strict=True)]


def _trees(output: Any, batch: Mapping[str, np.ndarray]) -> list[Record]:
    heads = output.head_logits.argmax(-1).cpu().tolist()
    relations = output.relation_logits.argmax(-1).cpu().tolist()
    num_words = (batch["word_token_idx"][..., 0] >= 0).sum(1)
    return [
        {"heads": row[:count], "relations": names[:count]}
        for row, names, count in zip(heads, relations, num_words, strict=True)
    ]


REDUCERS: dict[str, Callable[[Any, Mapping[str, np.ndarray]], list[Record]]] = {
    "sequence_classification": _logits,
    "entity_pair_classification": _logits,
    "token_classification": _tags,
    "question_answering": _span_logits,
    "dependency_parsing": _trees,
}


# ---------------------------------------------------------------------------- the whole split


@dataclass(frozen=True)
class Evaluated:
    """What an evaluation found.

    Attributes:
        scores: name -> value x 100 (NaN where it is undefined), the same on every rank.
        num_rows: rows predicted; num_scored: those of them that have a label.
        unparsable: answers that could not be read.
        predictions: on rank 0, one dict per row in the order of `_id`; elsewhere empty.
    """

    scores: dict[str, float]
    num_rows: int
    num_scored: int
    unparsable: int
    predictions: list[dict[str, Any]]


def evaluate(
    helper: EvaluationHelper,
    model: torch.nn.Module,
    examples: Examples,
    *,
    batch_size: int,
    ranks: Ranks,
    autocast: Callable[[], AbstractContextManager] = nullcontext,
    watch: Callable[[Iterable], Iterable] = iter,
) -> Evaluated:
    """The scores of the examples; the model is left in the mode it was in.

    Args:
        batch_size: rows per batch; the batches do not depend on the number of processes.
        autocast: the precision that the run computes in.
        watch: wraps the batches, for a progress bar.
    """
    import torch

    batches = evaluation_batches(examples.lengths("input_ids"), batch_size)
    was_training = model.training
    model.eval()
    answers: list[tuple[int, Record]] = []
    mine = range(ranks.rank, len(batches), ranks.size)
    with torch.inference_mode(), ranks.evaluation_threads(), autocast():
        for number in watch(mine):
            torch.manual_seed(helper.seed + number)
            records = helper.predict(model, examples.batch(batches[number]))
            answers += zip(batches[number].tolist(), records, strict=True)
    model.train(was_training)
    gathered = ranks.gather(answers)
    if not ranks.is_main:
        scores, num_rows, num_scored, unparsable = ranks.broadcast(None)
        return Evaluated(scores, num_rows, num_scored, unparsable, [])
    evaluated = score(helper, examples, [answer for part in gathered for answer in part])
    ranks.broadcast(
        (evaluated.scores, evaluated.num_rows, evaluated.num_scored, evaluated.unparsable)
    )
    return evaluated


def score(
    helper: EvaluationHelper, examples: Examples, answers: Sequence[tuple[int, Record]]
) -> Evaluated:
    """Decodes the (position, record) answers and computes the metrics over all of them."""
    task = helper.task
    by_position = dict(answers)
    if len(answers) != len(examples) or set(by_position) != set(range(len(examples))):
        raise RuntimeError(
            f"{len(answers)} answers for {len(examples)} examples: each must be predicted once"
        )
    windows: dict[int, list[int]] = {}
    for position, row_id in enumerate(examples.ids.tolist()):
        windows.setdefault(row_id, []).append(position)
    predictions, targets, decoded, all_scores = [], [], [], []
    for row_id in sorted(windows):
        rows = [examples.example(position) for position in windows[row_id]]
        records = [by_position[position] for position in windows[row_id]]
        prediction, scores = task.decode(records, rows)
        target = task.target(rows[0])
        line = {"id": row_id, "inputs": task.inputs(rows[0]), "gold": target}
        line["prediction"] = prediction
        if scores is not None:
            line["score"] = float(max(scores)) if isinstance(scores, (list, tuple)) else scores
        if len(records[0].get("sequences", ())) > 1:
            line["sequences"] = records[0]["sequences"]
        predictions.append(line)
        if target is not None:
            targets.append(target)
            decoded.append(prediction)
            all_scores.append(scores)
    return Evaluated(
        compute_scores(task, targets, decoded, all_scores, prefix=_score_prefix(helper)),
        len(windows),
        len(targets),
        sum(prediction is None for prediction in decoded),
        predictions,
    )


def _score_prefix(helper: EvaluationHelper) -> str:
    return "teacher_forced_" if helper.is_teacher_forced else ""


def compute_scores(
    task: Task, targets: list, predictions: list, scores: list, *, prefix: str = ""
) -> dict[str, float]:
    """All metrics of a task by name, x 100; {} where no row has a label."""
    if not targets:
        return {}
    found: dict[str, float] = {}
    for metric in task.metric_fns:
        wants_scores = "scores" in inspect.signature(metric).parameters
        values = (
            metric(targets, predictions, scores) if wants_scores else metric(targets, predictions)
        )
        found.update({prefix + name: float(value) for name, value in values.items()})
    return found


def best_score(task: Task, scores: Mapping[str, float]) -> float:
    """The score that picks the best snapshot; NaN where the run did not compute it."""
    if task.best is None:
        return math.nan
    for prefix in ("", "teacher_forced_"):
        if prefix + task.best.score in scores:
            return scores[prefix + task.best.score]
    raise UserError(
        f"no metric gives {task.best.score!r}, they give {', '.join(sorted(scores)) or 'nothing'}",
        f"task {task.name!r}",
        suggestion(task.best.score, scores),
        Exit.DATA,
    )
