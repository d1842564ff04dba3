"""The gradient of a model on a CPU, of whose large embeddings a step changes few rows.

torch makes an embedding's gradient anew in every step, zeros but for the rows of the batch's
tokens, and scales all of it to clip it: for 250,002 x 384 that is 0.4 GB, several times over. Here
it is kept, and only the rows that were or become other than zero are written. Its values are the
same bits (if an embedding is read twice and its weight is used besides, but for the order of sums).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

# Weights of an embedding from which on this takes less time.
LARGE = 1 << 20


class RowGradient:
    """The gradient of a weight [V, D] that embeddings look up.

    Attributes:
        rows: those of the gradient that may not be zero; None if any may not be, because something
            else than the embeddings has added to it.
    """

    def __init__(self, weight: nn.Parameter) -> None:
        self.weight = weight
        self.rows: Tensor | None = None
        self._kept: Tensor | None = None
        self._version = 0
        # Whether the gradient was begun in this backward pass, and what goes to one begun before.
        self._is_new, self._waiting = False, []

    def add(self, ids: Tensor, gradients: Tensor) -> Tensor | None:
        """Adds gradients [T, D] to the rows of tokens [T]; what torch has to add, if anything."""
        kept, gradient = self._kept, self.weight.grad
        if gradient is None:
            if kept is None:
                kept = torch.zeros_like(self.weight)
            elif self.rows is not None:
                kept.index_fill_(0, self.rows, 0)
            self.rows, self._is_new, self._kept = ids.unique(), True, kept
            self.weight.grad = kept.index_add_(0, ids, gradients)
        elif kept is None or self.rows is None or gradient is not kept:
            return torch.zeros_like(self.weight).index_add_(0, ids, gradients)
        elif self._is_new:
            self._add(*_sums(ids, gradients))
        else:
            self._waiting.append(_sums(ids, gradients))
        self._version = kept._version
        return None

    def _add(self, rows: Tensor, sums: Tensor) -> None:
        assert self._kept is not None and self.rows is not None
        self._kept.index_add_(0, rows, sums)
        self.rows = torch.cat([self.rows, rows]).unique()

    def finish(self, weight: Tensor) -> None:
        """Call it when torch has added what else a backward pass adds to the gradient."""
        kept = self._kept
        is_known = kept is not None and weight.grad is kept and self._version == kept._version
        if waiting := self._waiting:  # torch sums up what one pass adds before it adds that
            self._add(*_sums(*(torch.cat(parts) for parts in zip(*waiting, strict=True))))
        self._is_new, self._waiting = False, []
        if not is_known:
            self.rows = self._kept = None


def _sums(ids: Tensor, gradients: Tensor) -> tuple[Tensor, Tensor]:
    """Rows and, for each, the sum of its gradients."""
    rows, numbers = ids.unique(return_inverse=True)
    sums = gradients.new_zeros(len(rows), gradients.shape[1])
    return rows, sums.index_add_(0, numbers, gradients)


class _Lookup(torch.autograd.Function):
    """[..., D]: rows of a weight; its gradient goes to a `RowGradient`."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, ids: Tensor, *others: Any) -> Tensor:
        ctx.save_for_backward(ids)
        ctx.gradient, ctx.padding = others
        return embedding(ids, weight)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:
        (ids,) = ctx.saved_tensors
        ids, rows = ids.flatten(), gradients[0].flatten(0, -2)
        if ctx.padding is not None:
            is_token = ids != ctx.padding
            ids, rows = ids[is_token], rows[is_token]
        return ctx.gradient.add(ids, rows), None, None, None


class RowGradients:
    """What computes and clips the gradient of a model.

    Args:
        model: on a CPU, computed by one process: several exchange whole gradients.
    """

    def __init__(self, model: nn.Module) -> None:
        self._parameters = list(model.parameters())
        users: dict[int, list[nn.Module]] = {}
        for part in model.modules():
            for weight in part.parameters(recurse=False):
                users.setdefault(id(weight), []).append(part)
        # If another layer has the same weight, torch adds up its gradients in another order.
        self._parts = {
            key: [part for part in parts if isinstance(part, nn.Embedding)]
            for key, parts in users.items()
            if all(_is_large(part) for part in parts)
        }
        weights = {id(weight): weight for weight in self._parameters}
        self._of = {key: RowGradient(weights[key]) for key in self._parts}

    @contextmanager
    def kept(self) -> Iterator[None]:
        """A context for a forward and a backward pass."""
        handles = []
        for key, gradient in self._of.items():
            hook = gradient.weight.register_post_accumulate_grad_hook(gradient.finish)
            handles.append(hook)
            for part in self._parts[key]:
                part.forward = _lookup(part, gradient)
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()
            for parts in self._parts.values():
                for part in parts:
                    del part.forward

    def clip(self, max_norm: float) -> Tensor:
        """Clips the gradient as `torch.nn.utils.clip_grad_norm_` does; the norm that it had."""
        gradients = {id(one): one.grad for one in self._parameters if one.grad is not None}
        norm = get_total_norm(list(gradients.values()), foreach=True)
        if bool(norm + 1e-6 <= max_norm):
            return norm  # torch would multiply by 1
        some = {key: one.rows for key, one in self._of.items() if one.rows is not None}
        taken = {
            key: gradients[key].index_select(0, rows) for key, rows in some.items()
            if key in gradients
        }  # fmt: skip
        scaled: Any = [SimpleNamespace(grad=one) for one in {**gradients, **taken}.values()]
        clip_grads_with_norm_(scaled, max_norm, norm, foreach=True)
        for key, values in taken.items():
            gradients[key].index_copy_(0, some[key], values)
        return norm


def _lookup(part: nn.Embedding, gradient: RowGradient) -> Any:
    def forward(input: Tensor) -> Tensor:
        return cast(Tensor, _Lookup.apply(part.weight, input, gradient, part.padding_idx))

    return forward


def _is_large(part: nn.Module) -> bool:
    """Whether it is a plain embedding that is large enough."""
    if type(part) is not nn.Embedding or "forward" in vars(part):
        return False
    is_plain = part.max_norm is None and not part.scale_grad_by_freq and not part.sparse
    return is_plain and part.weight.requires_grad and part.weight.numel() >= LARGE
