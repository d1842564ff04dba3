"""The loss over a large vocabulary on a CPU: real target tokens only, and its gradient at once.

A sequence-to-sequence model computes logits for padded targets too, and torch goes through them in
a dozen passes, each into new memory. Here a few rows at a time become errors in place, from which
both gradients follow. A table of word vectors gets its gradient in memory that is kept: of 65 MB
that are new in each step, every page costs more than what is computed there.

Shape letters: N target tokens, D width, V words.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.nn import functional

IGNORED = -100
# transformers' classes whose loss is the mean cross entropy of `lm_head`, whose bias is
# `final_logits_bias`.
KNOWN = (
    "T5ForConditionalGeneration", "MT5ForConditionalGeneration", "UMT5ForConditionalGeneration",
    "BartForConditionalGeneration", "MBartForConditionalGeneration",
)  # fmt: skip
# Their tables of word vectors.
TABLES = ("Embedding", "BartScaledWordEmbedding", "MBartScaledWordEmbedding")
# Logits in memory at once, and rows of which errors are made at once: they stay in the cache.
MOST_LOGITS, ROWS = 1 << 25, 16


class VocabularyLoss:
    """What computes the loss of a model in place of its own code.

    Raises:
        ValueError("reason"): not of this model.
    """

    def __init__(self, model: nn.Module) -> None:
        kind, head = type(model), getattr(model, "lm_head", None)
        if kind.__name__ not in KNOWN or not kind.__module__.startswith("transformers."):
            raise ValueError("it is of no known class")
        if type(head) is not nn.Linear or head.bias is not None:
            raise ValueError("its lm_head is not a plain one")
        if head.weight.device.type != "cpu" or isinstance(head.weight, DTensor):
            raise ValueError("it is not as a whole on a CPU")
        self.model: Any = model
        self.memory = _Memory()

    @contextmanager
    def instead(self) -> Iterator[None]:
        """A context in which the model's forward, given labels, returns this loss and no logits."""
        head, found = self.model.lm_head, []

        def no_logits(states: Tensor) -> Tensor:
            found.append(states)
            return states.new_empty(len(states), 0, 1)

        forward = self.model.forward

        @functools.wraps(forward)
        def with_loss(*inputs: Any, **named: Any) -> Any:
            labels = named.pop("labels", None)
            if labels is None:
                return forward(*inputs, **named)
            if named.get("decoder_input_ids") is None:
                shifted = self.model.prepare_decoder_input_ids_from_labels(labels)
                named["decoder_input_ids"] = shifted
            with _replaced([(head, no_logits)]):
                output = forward(*inputs, **named)
            output["loss"] = self._loss(found.pop(), labels)
            return output

        self.memory.begin()
        with _replaced([(self.model, with_loss), *self._lookups()]):
            yield

    def _loss(self, states: Tensor, labels: Tensor) -> Tensor:
        """The mean loss of the targets that are not ignored."""
        labels = labels.flatten()
        places = (labels != IGNORED).nonzero().squeeze(1)
        bias = getattr(self.model, "final_logits_bias", None)
        if bias is not None and not bias.any():
            bias = None
        return cast(Tensor, _Loss.apply(
            states.flatten(0, 1).index_select(0, places), self.model.lm_head.weight, bias,
            labels[places], self.memory,
        ))  # fmt: skip

    def _lookups(self) -> Iterator[tuple[nn.Module, Callable[[Tensor], Tensor]]]:
        """The model's tables, each with a forward whose gradient is in the kept memory."""
        for part in self.model.modules():
            if type(part).__name__ not in TABLES or not isinstance(part, nn.Embedding):
                continue
            is_plain = part.max_norm is None and not part.sparse and not part.scale_grad_by_freq
            if is_plain and part.weight.requires_grad and len(part.weight) == self._num_words:
                yield part, functools.partial(_looked_up, part, self.memory)

    @property
    def _num_words(self) -> int:
        return self.model.lm_head.out_features


def find_vocabulary_loss(model: nn.Module) -> VocabularyLoss | None:
    """What computes the model's loss; None if that is left to the model."""
    try:
        return VocabularyLoss(model)
    except ValueError:
        return None


@contextmanager
def _replaced(forwards: list[tuple[nn.Module, Callable[..., Any]]]) -> Iterator[None]:
    with ExitStack() as changes:
        for part, forward in forwards:
            before = vars(part).get("forward")
            part.forward = forward
            if before is None:
                changes.callback(delattr, part, "forward")
            else:
                changes.callback(setattr, part, "forward", before)
        yield


class _Memory:
    """Memory that is kept from step to step, and the gradients of this step's tables."""

    def __init__(self) -> None:
        self._kept: dict[Any, Tensor] = {}
        self.gradients: dict[Tensor, Tensor] = {}

    def begin(self) -> None:
        """Forgets the gradients of the step before."""
        self.gradients.clear()

    def tensor(self, name: object, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """A tensor of any content; the one before of that name is lost."""
        size = math.prod(shape)
        kept = self._kept.get((name, dtype))
        if kept is None or len(kept) < size:
            kept = self._kept[name, dtype] = torch.empty(size, dtype=dtype)
        return kept[:size].view(shape)

    def like(self, weight: Tensor) -> Tensor:
        """A tensor for a gradient: `weight.grad` may still be the last one."""
        if weight.grad is not None:
            return torch.empty_like(weight)
        return self.tensor(weight, tuple(weight.shape), weight.dtype)

    def handed_over(self, weight: Tensor, gradient: Tensor) -> Tensor:
        """The gradient for autograd, which takes another tensor of this memory without a copy;
        lookups add theirs to it until it arrives at the weight."""
        self.gradients[weight] = gradient
        return gradient.detach()


class _Loss(torch.autograd.Function):
    """The mean cross entropy of states [N, D] under a weight [V, D]; the gradient is computed
    with it."""

    @staticmethod
    def forward(
        ctx: Any, states: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, memory: Any
    ) -> Tensor:
        dtype = states.dtype
        if torch.is_autocast_enabled("cpu"):
            dtype = torch.get_autocast_dtype("cpu")
        with torch.autocast("cpu", enabled=False):
            table = weight
            if weight.dtype != dtype:
                table = memory.tensor("table", tuple(weight.shape), dtype).copy_(weight)
            losses, *ctx.found = _computed(
                states.to(dtype), table, bias, targets, memory=memory,
                of_weight=memory.like(weight) if ctx.needs_input_grad[1] else None,
            )  # fmt: skip
        ctx.of, ctx.memory, ctx.dtype = weight, memory, states.dtype
        return losses.mean()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:
        of_states, of_weight = ctx.found
        ctx.found = None  # they are changed: there is no second time
        if bool(gradients[0] != 1):
            of_states.mul_(gradients[0])
            if of_weight is not None:
                of_weight.mul_(gradients[0])
        if of_weight is not None:
            of_weight = ctx.memory.handed_over(ctx.of, of_weight)
        return of_states.to(ctx.dtype), of_weight, None, None, None


def _computed(
    states: Tensor,
    table: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    *,
    memory: _Memory,
    of_weight: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """[N] losses, and the gradients of their mean: of the states [N, D], and `of_weight` [V, D]."""
    exact = torch.promote_types(states.dtype, torch.float32)
    losses, of_states = states.new_empty(len(states), dtype=exact), torch.empty_like(states)
    shares = (states.to(exact) / max(1, len(states))).to(states.dtype)
    if of_weight is not None and not len(states):
        of_weight.zero_()
    size = max(ROWS, MOST_LOGITS // len(table))
    for first in range(0, len(states), size):
        rows = slice(first, first + size)
        part = states[rows]
        logits = memory.tensor("logits", (len(part), len(table)), part.dtype)
        torch.mm(part, table.T, out=logits)
        _errors(logits, targets[rows, None], bias, losses[rows])
        torch.mm(logits, table, out=of_states[rows])
        if of_weight is not None:
            _add_product(of_weight, logits.T, shares[rows], memory=memory, is_first=first == 0)
    return losses, of_states.to(exact).div_(max(1, len(states))), of_weight


def _errors(logits: Tensor, targets: Tensor, bias: Tensor | None, losses: Tensor) -> None:
    """Turns logits [N, V] into probabilities less 1 at the target, and writes the losses [N]."""
    parts = (one.split(ROWS) for one in (logits, targets, losses))
    for rows, wanted, loss in zip(*parts, strict=True):
        exact = rows.to(losses.dtype)  # the same tensor if it is exact
        if bias is not None:
            exact += bias
        # The highest probability is 1 / sum(exp(logit - highest)), and never close to 0.
        highest, at_target = exact.amax(-1), exact.gather(1, wanted).squeeze(1)
        torch.softmax(exact, -1, out=exact)
        loss.copy_(highest - at_target - exact.amax(-1).log())
        exact.scatter_add_(1, wanted, exact.new_full(wanted.shape, -1.0))
        if exact is not rows:
            rows.copy_(exact)


def _add_product(
    total: Tensor, left: Tensor, right: Tensor, *, memory: _Memory, is_first: bool
) -> None:
    if total.dtype == left.dtype:
        torch.addmm(total, left, right, beta=0 if is_first else 1, out=total)
        return
    product = memory.tensor("product", tuple(total.shape), left.dtype)
    torch.mm(left, right, out=product)
    if is_first:
        total.copy_(product)
    else:
        total.add_(product)


def _looked_up(part: nn.Embedding, memory: _Memory, ids: Tensor) -> Tensor:
    vectors = cast(Tensor, _Lookup.apply(part.weight, ids, part.padding_idx, memory))
    scale = getattr(part, "embed_scale", None)
    return vectors if scale is None else vectors * scale


class _Lookup(torch.autograd.Function):
    """A table's vectors of ids, whose gradient is added to that of the table's other uses."""

    @staticmethod
    def forward(
        ctx: Any, weight: Tensor, ids: Tensor, padding: int | None, memory: _Memory
    ) -> Tensor:
        ctx.of, ctx.ids, ctx.padding, ctx.memory = weight, ids, padding, memory
        return functional.embedding(ids, weight)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:
        ids, rows = ctx.ids.flatten(), gradients[0].flatten(0, -2)
        if ctx.padding is not None:
            is_read = ids != ctx.padding
            ids, rows = ids[is_read], rows[is_read]
        total, new = ctx.memory.gradients.get(ctx.of), None
        if total is None:
            total = ctx.memory.like(ctx.of).zero_()
            new = ctx.memory.handed_over(ctx.of, total)
        total.index_add_(0, ids, rows.to(total.dtype))
        return new, None, None, None
