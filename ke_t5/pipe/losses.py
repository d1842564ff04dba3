"""The weights of examples in a mean loss, and the loss in a model's output.

torch is imported inside the functions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from ke_t5.errors import UserError
from ke_t5.pipe.columns import RowNumbers
from ke_t5.pipe.examples import Examples

if TYPE_CHECKING:
    import torch

# Labelled rows, label tokens, rows with a labelled span.
LOSS_REDUCTIONS = ("rows", "label_tokens", "start_end")


def loss_counts(examples: Examples, loss_reduction: str, module: torch.nn.Module) -> np.ndarray:
    """Each example's weight in the mean loss: its label tokens, or 1 if it has a label."""
    return np.asarray(row_loss_counts(examples, loss_reduction, module))


def row_loss_counts(examples: Examples, loss_reduction: str, module: torch.nn.Module) -> RowNumbers:
    """The weights of `loss_counts`, computed on demand.

    The model class may override the task's loss_reduction with an attribute `loss_divisor`.

    Raises:
        ValueError: loss_reduction is not one of `LOSS_REDUCTIONS`.
    """
    loss_reduction = getattr(module, "loss_divisor", None) or loss_reduction
    if loss_reduction not in LOSS_REDUCTIONS:
        raise ValueError(
            f"a loss is a mean over one of {', '.join(LOSS_REDUCTIONS)}, not {loss_reduction!r}"
        )
    name = "start_positions" if loss_reduction == "start_end" else "labels"
    return examples.row_counts(name, most=1 if loss_reduction == "rows" else None)


def can_lack_labels(problem_type: str | None) -> bool:
    """Whether a loss of this kind ignores rows without a label, of class -100."""
    return problem_type not in ("regression", "multi_label_classification")


def find_loss(output: object) -> torch.Tensor | None:
    """The loss in a model's output; None if there is none."""
    return output.get("loss") if isinstance(output, Mapping) else getattr(output, "loss", None)


def loss_of(output: object) -> torch.Tensor:
    """The loss in a model's output; a UserError if there is none to train with."""
    import torch

    loss = find_loss(output)
    fix = "return a Hugging Face output with `loss` when `labels` are given"
    if not isinstance(loss, torch.Tensor):
        what = f"no loss ({type(output).__name__})"
        if loss is not None:
            what = f"a loss that is not a tensor ({type(loss).__name__})"
    elif loss.numel() != 1:
        what, fix = f"a loss of shape {list(loss.shape)}", "return its mean over the batch"
    elif torch.is_grad_enabled() and not loss.requires_grad:
        what, fix = "a loss without a gradient", "compute it from the logits, not detached"
    else:
        return loss.reshape(()) if loss.dim() else loss
    raise UserError(f"its forward returned {what}", "--model_name", fix)
