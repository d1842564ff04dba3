"""Several ranks in one process, one after the other."""

from __future__ import annotations

from typing import Any

import torch

from ke_t5.distributed import Ranks
from ke_t5.pipe import Evaluated, EvaluationHelper, Examples, evaluate


class PretendRanks(Ranks):
    """One of several ranks that take turns, the main one last; `shared` is what all can see."""

    shared: list[Any]

    def gather(self, thing: Any) -> list[Any] | None:
        self.shared.append(thing)
        return self.shared if self.is_main else None

    def broadcast(self, thing: Any) -> Any:
        return thing if self.is_main else ({}, 0, 0, 0)


def evaluate_on(
    num_ranks: int, helper: EvaluationHelper, model: Any, examples: Examples, **settings: Any
) -> Evaluated:
    """The evaluation of so many ranks."""
    shared: list[Any] = []
    for rank in reversed(range(num_ranks)):
        ranks = PretendRanks(rank, num_ranks, torch.device("cpu"), torch.get_num_threads())
        ranks.shared = shared
        evaluated = evaluate(helper, model, examples, ranks=ranks, **settings)
    return evaluated
