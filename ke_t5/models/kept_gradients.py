"""Embedding gradients on a CPU that reuse their memory and touch only the rows that change.

torch allocates an embedding's gradient in every step, zeros except for the rows of the batch's
tokens, and scales all of it to clip it: for 250,002 x 384 that is 0.4 GB, several times over, and
new memory costs more per page than the arithmetic on it. Here the memory is kept from step to step,
and only rows that were or become nonzero are written. The values are bit-identical, except for the
order of sums if a table is also used by the logits layer or read twice.

Several processes exchange only those rows instead of 0.4 GB of zeros.
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

from ke_t5.models.used_rows import UsedEmbedding, is_lookup

# The embedding size, in weights, from which on this is faster.
LARGE = 1 << 20


class Exchange(Protocol):
    """Collective operations over all processes, in place."""

    def maximum_(self, values: Tensor) -> None:
        """Sets each value to its maximum over all processes."""

    def mean_(self, *tensors: Tensor) -> None:
        """Sets each value to its mean over all processes."""


class KeptGradient:
    """The gradient of an embedding's weight [V, D].

    Args:
        is_sparse: whether only embedding lookups are known to read the weight.

    Attributes:
        rows: the rows that may be nonzero; None if any row may be, because something other than the
            embeddings has added to the gradient.
    """

    def __init__(self, weight: nn.Parameter, *, is_sparse: bool) -> None:
        self.weight, self.is_sparse = weight, is_sparse
        self.rows: Tensor | None = None
        self._kept: Tensor | None = None
        self._version = 0
        # The gradient that this backward pass has started.
        self._started: Tensor | None = None
        # Rows and their sums for a gradient that an earlier pass has started.
        self._pending: list[tuple[Tensor, Tensor]] = []

    def memory(self) -> Tensor:
        """Uninitialized memory for a dense gradient, to be passed to `put`."""
        if self.weight.grad is not None:  # which may be the kept memory
            return torch.empty_like(self.weight)
        if self._kept is None:
            self._kept = torch.empty_like(self.weight)
        self.rows = None
        return self._kept

    def put(self, dense: Tensor) -> Tensor | None:
        """Starts a backward pass from a dense gradient; returns what torch must add, if any."""
        self._started = dense
        if self.weight.grad is None:
            self.weight.grad, self._version = dense, dense._version
            return None
        return dense.detach()  # torch takes it without a copy, and lookups add to it

    def add(self, ids: Tensor, gradients: Tensor) -> Tensor | None:
        """Adds gradients [T, D] to the rows of ids [T]; returns what torch must add, if any."""
        kept, gradient = self._kept, self.weight.grad
        if gradient is None:
            if kept is None:
                kept = torch.zeros_like(self.weight)
            elif self.rows is None:
                kept.zero_()
            else:
                kept.index_fill_(0, self.rows, 0)
            self.rows = ids.unique() if self.is_sparse else None
            self._started = self._kept = kept
            self.weight.grad = kept.index_add_(0, ids, gradients)
        elif self._started is not None and (self.rows is None or self._started is not kept):
            self._started.index_add_(0, ids, gradients)
        elif kept is None or self.rows is None or gradient is not kept:
            dense = torch.zeros_like(self.weight).index_add_(0, ids, gradients)
            return dense if self.is_sparse else self.put(dense)
        elif self._started is not None:
            self._add(*_sums(ids, gradients))
        else:
            self._pending.append(_sums(ids, gradients))
        if kept is not None:
            self._version = kept._version
        return None

    def _add(self, rows: Tensor, sums: Tensor) -> None:
        assert self._kept is not None and self.rows is not None
        self._kept.index_add_(0, rows, sums)
        self.rows = torch.cat([self.rows, rows]).unique()

    def finish(self, weight: Tensor) -> None:
        """Ends a backward pass, after torch has added its own part of the gradient."""
        kept = self._kept
        is_known = kept is not None and weight.grad is kept and self._version == kept._version
        if pending := self._pending:  # torch, too, sums the gradients of a pass before adding them
            self._add(*_sums(*(torch.cat(parts) for parts in zip(*pending, strict=True))))
        self._started, self._pending = None, []
        if not (is_known and self.is_sparse):
            self.rows = None

    def exchange(self, ranks: Exchange) -> None:
        """Averages the gradient over all processes, which must all call this, even without one."""
        size, width = self.weight.shape
        # The last element: whether there is a gradient.
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
    """Unique rows, and the sum of the gradients of each."""
    rows, numbers = ids.unique(return_inverse=True)
    sums = gradients.new_zeros(len(rows), gradients.shape[1])
    return rows, sums.index_add_(0, numbers, gradients)


class _Lookup(torch.autograd.Function):
    """[..., D]: an embedding lookup whose gradient goes to a `KeptGradient`."""

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
    """The kept gradients of a model's embeddings, and the clipping of its whole gradient.

    Args:
        model: on a CPU.
        head: the logits layer, if a `VocabularyLoss` computes the gradient of its weight.
    """

    def __init__(self, model: nn.Module, head: nn.Linear | None = None) -> None:
        self._parameters = list(model.parameters())
        users: dict[int, list[nn.Module]] = {}
        for part in model.modules():
            for weight in part.parameters(recurse=False):
                users.setdefault(id(weight), []).append(part)
        least = LARGE if head is None else head.weight.numel()
        # Not if another layer shares the weight: torch sums its gradients in another order.
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
        """The kept gradient of a weight; None if it is frozen or left to torch."""
        return self._of.get(id(weight))

    @property
    def apart(self) -> list[nn.Parameter]:
        """The weights whose gradients `exchange` averages, in the model's order."""
        return [one.weight for one in self._of.values() if one.is_sparse]

    def exchange(self, ranks: Exchange) -> None:
        """Averages the gradients of the weights in `apart` over all processes."""
        for gradient in self._of.values():
            if gradient.is_sparse:
                gradient.exchange(ranks)

    @contextmanager
    def kept(self) -> Iterator[None]:
        """A context for a forward and a backward pass that computes the kept gradients."""
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
        """Clips the gradient like `torch.nn.utils.clip_grad_norm_`; returns its norm before."""
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
    """The kept gradients of a model on a CPU; None if torch computes all gradients."""
    is_on_cpu = all(parameter.device.type == "cpu" for parameter in model.parameters())
    return KeptGradients(model) if is_on_cpu and not is_compiled else None


def _lookup(part: nn.Embedding, gradient: KeptGradient) -> Any:
    scale = getattr(part, "embed_scale", None)

    def forward(input: Tensor) -> Tensor:
        ids = part.used.places[input] if isinstance(part, UsedEmbedding) else input
        vectors = cast(Tensor, _Lookup.apply(part.weight, ids, gradient, part.padding_idx))
        return vectors if scale is None else vectors * scale

    return forward


def _is_plain(part: nn.Module, least: int) -> bool:
    """Whether a module is an embedding of at least `least` weights that looks up vectors, and at
    most scales them."""
    if not (is_lookup(part) or isinstance(part, UsedEmbedding)):
        return False
    return "forward" not in vars(part) and cast(nn.Embedding, part).weight.numel() >= least
