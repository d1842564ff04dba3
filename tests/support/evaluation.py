"""Evaluations with several ranks in one process, and with a model that is always right."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ke_t5.distributed import Ranks
from ke_t5.pipe import Evaluated, EvaluationHelper, Examples, Task, evaluate
from ke_t5.pipe.scoring import score
from ke_t5.task.coreference import labelled_chains


class PretendRanks(Ranks):
    """One of several ranks that take turns, the main one last; `shared` is visible to all."""

    shared: list[Any]

    def gather(self, thing: Any) -> list[Any] | None:
        self.shared.append(thing)
        return self.shared if self.is_main else None

    def broadcast(self, thing: Any) -> Any:
        return thing if self.is_main else ({}, 0, 0, 0, None)


def evaluate_on(
    num_ranks: int, helper: EvaluationHelper, model: Any, examples: Examples, **settings: Any
) -> Evaluated:
    """The evaluation on `num_ranks` ranks."""
    shared: list[Any] = []
    for rank in reversed(range(num_ranks)):
        ranks = PretendRanks(rank, num_ranks, torch.device("cpu"), torch.get_num_threads())
        ranks.shared = shared
        evaluated = evaluate(helper, model, examples, ranks=ranks, **settings)
    return evaluated


def written(
    helper: EvaluationHelper,
    model: Any,
    examples: Examples,
    *,
    batch_size: int = 8,
    num_ranks: int = 1,
) -> list[list[str]]:
    """All model outputs for each row, in the order of the rows."""
    evaluated = evaluate_on(num_ranks, helper, model, examples, batch_size=batch_size)
    return [line.get("sequences") or [line["prediction"] or ""] for line in evaluated.predictions]


def perfect_record(task: Task, example: dict, tokenizer: Any) -> dict:
    """The model output that gives exactly the example's labels."""
    labels = example.get("labels")
    if task.problem_type == "regression":
        return {"logits": [float(labels)]}
    if task.form == "multilabel_classification":
        return {"logits": [99.0 if mark == 1 else -99.0 for mark in labels]}
    if task.form in ("sequence_classification", "entity_pair_classification", "multiple_choice"):
        return {"logits": [99.0 * (label == labels) for label in range(len(task.labels))]}
    if task.form in ("token_classification", "character_tagging"):
        return {"tags": [max(tag, 0) for tag in labels]}
    if task.form == "seq2seq":
        known = [token for token in labels if token >= 0]
        return {"sequences": [tokenizer.decode(known, skip_special_tokens=True)]}
    if task.form == "dependency_parsing":
        columns = {"heads": labels, "relations": example["relation_labels"]}
        return {name: [max(value, 0) for value in column] for name, column in columns.items()}
    if task.form == "coreference_resolution":
        return {"chains": labelled_chains(labels)}
    start, end = np.zeros(len(example["input_ids"])), np.zeros(len(example["input_ids"]))
    start[max(example["start_positions"], 0)] = end[max(example["end_positions"], 0)] = 99.0
    return {"start": start, "end": end}


def perfect_scores(task: Task, examples: Examples, tokenizer: Any) -> Evaluated:
    """The evaluation of a model that is always right."""
    answers = [
        (i, perfect_record(task, examples.example(i), tokenizer)) for i in range(len(examples))
    ]
    return score(EvaluationHelper(task), examples, answers)
