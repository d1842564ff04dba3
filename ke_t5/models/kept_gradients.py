"""The gradients of word tables on a CPU: kept from step to step, and written where they change.

torch makes an embedding's gradient anew in every step, zeros but for the rows of the batch's
tokens, and scales all of it to clip it: for 250,002 x 384 that is 0.4 GB, several times over. Of
memory that is new, every page costs more than what is computed there. Here it is kept, and only the
rows that were or become other than zero are written. Its values are the same bits, but for the
order of sums where a table has another use: in the layer of logits, or if it is read twice.

Several processes exchange those rows, too, rather than 0.4 GB of zeros.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

# Weights of an embedding from which on this takes less time.
LARGE = 1 << 20
# Embeddings of transformers that scale their vectors by `embed_scale`.
SCALED = ("BartScaledWordEmbedding", "MBartScaledWordEmbedding")


class Exchange(Protocol):
    """What all processes call together."""

    def maximum_(self, values: Tensor) -> None:
        """Sets each value to the largest of all processes."""

    def mean_(self, values: Tensor) -> None:
        """Sets each value to the mean over all processes."""


class KeptGradient:
    """The gradient of a weight [V, D] that embeddings look up.

    Args:
        is_sparse: whether nothing else reads the weight, as far as is known before a pass.

    Attributes:
        rows: those of the gradient that may not be zero; None if any may not be, because something
            else than the embeddings has added to it.
    """

    def __init__(self, weight: nn.Parameter, *, is_sparse: bool) -> None:
        self.weight, self.is_sparse = weight, is_sparse
        self.rows: Tensor | None = None
        self._kept: Tensor | None = None
        self._version = 0
        # What this backward pass began, and what goes to a gradient that one before began.
        self._begun: Tensor | None = None
        self._waiting: list[tuple[Tensor, Tensor]] = []

    def memory(self) -> Tensor:
        """A tensor of any content for a whole gradient, to be handed to `put`."""
        if self.weight.grad is not None:  # it may be what is kept
            return torch.empty_like(self.weight)
        if self._kept is None:
            self._kept = torch.empty_like(self.weight)
        self.rows = None
        return self._kept

    def put(self, whole: Tensor) -> Tensor | None:
        """Begins a backward pass with a whole gradient; what torch has to add, if anything."""
        self._begun = whole
        if self.weight.grad is None:
            self.weight.grad, self._version = whole, whole._version
            return None
        return whole.detach()  # which torch takes without a copy; lookups add theirs to it

    def add(self, ids: Tensor, gradients: Tensor) -> Tensor | None:
        """Adds gradients [T, D] to the rows of tokens [T]; what torch has to add, if anything."""
        kept, gradient = self._kept, self.weight.grad
        if gradient is None:
            if kept is None:
                kept = torch.zeros_like(self.weight)
            elif self.rows is None:
                kept.zero_()
            else:
                kept.index_fill_(0, self.rows, 0)
            self.rows = ids.unique() if self.is_sparse else None
            self._begun = self._kept = kept
            self.weight.grad = kept.index_add_(0, ids, gradients)
        elif self._begun is not None and (self.rows is None or self._begun is not kept):
            self._begun.index_add_(0, ids, gradients)
        elif kept is None or self.rows is None or gradient is not kept:
            whole = torch.zeros_like(self.weight).index_add_(0, ids, gradients)
            return whole if self.is_sparse else self.put(whole)
        elif self._begun is not None:
            self._add(*_sums(ids, gradients))
        else:
            self._waiting.append(_sums(ids, gradients))
        if kept is not None:
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
        self._begun, self._waiting = None, []
        if not (is_known and self.is_sparse):
            self.rows = None

    def exchange(self, ranks: Exchange) -> None:
        """Makes it the mean over processes; all of them call it, with a gradient or without."""
        size, width = self.weight.shape
        # At the end whether there is a gradient at all.
        is_touched = torch.zeros(size + 1, dtype=torch.uint8)
        if self.weight.grad is not None:
            is_touched[size] = 1
            is_touched[slice(None) if self.rows is None else self.rows] = 1
        ranks.maximum_(is_touched)
        if not is_touched[size]:
            return
        if self.weight.grad is None:  # zeros
            no_ids = torch.zeros(0, dtype=torch.int64)
            self.add(no_ids, self.weight.new_zeros(0, width))
            self.finish(self.weight)
        gradient = cast(Tensor, self.weight.grad)
        rows = is_touched[:size].nonzero().flatten()
        if len(rows) == size:
            self.rows = None
            ranks.mean_(gradient)
            return
        values = gradient.index_select(0, rows)
        ranks.mean_(values)
        gradient.index_copy_(0, rows, values)
        self.rows = rows


def _sums(ids: Tensor, gradients: Tensor) -> tuple[Tensor, Tensor]:
    """Rows and, for each, the sum of its gradients."""
    rows, numbers = ids.unique(return_inverse=True)
    sums = gradients.new_zeros(len(rows), gradients.shape[1])
    return rows, sums.index_add_(0, numbers, gradients)


class _Lookup(torch.autograd.Function):
    """[..., D]: rows of a weight; its gradient goes to a `KeptGradient`."""

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


class KeptGradients:
    """What computes and clips the gradient of a model.

    Args:
        model: on a CPU.
        head: the layer of logits whose loss leaves the gradient of its weight here.
    """

    def __init__(self, model: nn.Module, head: nn.Linear | None = None) -> None:
        self._parameters = list(model.parameters())
        users: dict[int, list[nn.Module]] = {}
        for part in model.modules():
            for weight in part.parameters(recurse=False):
                users.setdefault(id(weight), []).append(part)
        least = LARGE if head is None else head.weight.numel()
        # If another layer has the same weight, torch adds up its gradients in another order.
        self._parts = {
            key: [part for part in parts if part is not head]
            for key, parts in users.items()
            if all(part is head or _is_plain(part, least) for part in parts)
        }
        self._of = {
            id(weight): KeptGradient(weight, is_sparse=head is None or weight is not head.weight)
            for weight in self._parameters if weight.requires_grad and id(weight) in self._parts
        }  # fmt: skip

    def of(self, weight: Tensor) -> KeptGradient | None:
        """The gradient of a weight; None if it is not trained, or left to torch."""
        return self._of.get(id(weight))

    @property
    def apart(self) -> list[nn.Parameter]:
        """The weights whose gradients `exchange` exchanges, in the order of the model's."""
        return [one.weight for one in self._of.values() if one.is_sparse]

    def exchange(self, ranks: Exchange) -> None:
        """Makes the gradients that are kept apart the means over processes."""
        for gradient in self._of.values():
            if gradient.is_sparse:
                gradient.exchange(ranks)

    @contextmanager
    def kept(self) -> Iterator[None]:
        """A context for a forward and a backward pass."""
        handles = []
        for key, gradient in self._of.items():
            hook = gradient.weight.register_post_accumulate_grad_hook(gradient.finish)
            handles.append(hook)
            for part in self._parts[key]:
                part.forward = _lookup(cast(nn.Embedding, part), gradient)
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()
            for key in self._of:
                for part in self._parts[key]:
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


def keep_gradients(model: nn.Module, *, is_compiled: bool) -> KeptGradients | None:
    """What computes the model's gradients; None if that is left to torch, as on a GPU."""
    is_on_cpu = all(parameter.device.type == "cpu" for parameter in model.parameters())
    return KeptGradients(model) if is_on_cpu and not is_compiled else None


def _lookup(part: nn.Embedding, gradient: KeptGradient) -> Any:
    scale = getattr(part, "embed_scale", None)

    def forward(input: Tensor) -> Tensor:
        vectors = cast(Tensor, _Lookup.apply(part.weight, input, gradient, part.padding_idx))
        return vectors if scale is None else vectors * scale

    return forward


def _is_plain(part: nn.Module, least: int) -> bool:
    """Whether it is an embedding of so many weights that only looks up vectors, and scales them."""
    if type(part) is not nn.Embedding and type(part).__name__ not in SCALED:
        return False
    if not isinstance(part, nn.Embedding) or "forward" in vars(part):
        return False
    if part.weight.numel() < least:
        return False
    return part.max_norm is None and not part.scale_grad_by_freq and not part.sparse
