"""The loss over a large vocabulary on a CPU, with its gradient, for real target tokens only.

A sequence-to-sequence model computes logits for padded targets, too, and torch processes them in a
dozen passes, each into new memory. Here the logits of a few rows at a time become errors in place,
which give both gradients. That of the weight is computed in the memory of `KeptGradients`.

Shape letters: N target tokens, D width, V vocabulary size.
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

from ke_t5.forms import IGNORED
from ke_t5.models.kept_gradients import KeptGradients

# transformers' classes whose loss is the mean cross-entropy of `lm_head` plus, if there is one,
# `final_logits_bias`.
KNOWN = (
    "T5ForConditionalGeneration", "MT5ForConditionalGeneration", "UMT5ForConditionalGeneration",
    "BartForConditionalGeneration", "MBartForConditionalGeneration",
)  # fmt: skip
# Logits in memory at once, and rows turned into errors at once, which stay in the cache.
MOST_LOGITS, ROWS = 1 << 25, 16


class VocabularyLoss:
    """Computes the loss of a model in place of the model's own code.

    Raises:
        ValueError("reason"): this model is not supported.
    """

    def __init__(self, model: nn.Module) -> None:
        kind, head = type(model), getattr(model, "lm_head", None)
        if kind.__name__ not in KNOWN or not kind.__module__.startswith("transformers."):
            raise ValueError("it is of no supported class")
        if type(head) is not nn.Linear or head.bias is not None:
            raise ValueError("its lm_head is not an nn.Linear without bias")
        if head.weight.device.type != "cpu" or isinstance(head.weight, DTensor):
            raise ValueError("its lm_head is sharded or not on a CPU")
        self.model: Any = model
        self.gradients, self.memory = KeptGradients(model, head), _Memory()
        if head.weight.requires_grad and self.gradients.of(head.weight) is None:
            raise ValueError("the weight of its lm_head is used elsewhere")

    @contextmanager
    def instead(self) -> Iterator[None]:
        """A context in which the model's forward, given labels, returns this loss and no logits.

        The forward and backward pass must run in the context `gradients.kept`.
        """
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

        with _replaced([(self.model, with_loss)]):
            yield

    def _loss(self, states: Tensor, labels: Tensor) -> Tensor:
        """The mean loss over the targets that are not ignored."""
        labels = labels.flatten()
        places = (labels != IGNORED).nonzero().squeeze(1)
        bias = getattr(self.model, "final_logits_bias", None)
        if bias is not None and not bias.any():
            bias = None
        return cast(Tensor, _Loss.apply(
            states.flatten(0, 1).index_select(0, places), self.model.lm_head.weight, bias,
            labels[places], self.memory, self.gradients.of(self.model.lm_head.weight),
        ))  # fmt: skip


def find_vocabulary_loss(model: nn.Module) -> VocabularyLoss | None:
    """The loss to use in place of the model's own; None if the model is not supported."""
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
    """Memory that is reused from step to step."""

    def __init__(self) -> None:
        self._kept: dict[Any, Tensor] = {}

    def tensor(self, name: object, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """An uninitialized tensor, which overwrites the previous one of that name."""
        size = math.prod(shape)
        kept = self._kept.get((name, dtype))
        if kept is None or len(kept) < size:
            kept = self._kept[name, dtype] = torch.empty(size, dtype=dtype)
        return kept[:size].view(shape)


class _Loss(torch.autograd.Function):
    """The mean cross-entropy of states [N, D] under a weight [V, D], with the gradient."""

    @staticmethod
    def forward(
        ctx: Any, states: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, *others: Any
    ) -> Tensor:
        memory, of = others
        dtype = states.dtype
        if torch.is_autocast_enabled("cpu"):
            dtype = torch.get_autocast_dtype("cpu")
        with torch.autocast("cpu", enabled=False):
            table = weight
            if weight.dtype != dtype:
                table = memory.tensor("table", tuple(weight.shape), dtype).copy_(weight)
            losses, *ctx.found = _computed(
                states.to(dtype), table, bias, targets, memory=memory,
                of_weight=None if of is None else of.memory(),
            )  # fmt: skip
        ctx.of, ctx.dtype = of, states.dtype
        return losses.mean()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:
        of_states, of_weight = ctx.found
        ctx.found = None  # they are modified in place: no second backward pass
        if bool(gradients[0] != 1):
            of_states.mul_(gradients[0])
            if of_weight is not None:
                of_weight.mul_(gradients[0])
        if of_weight is not None:
            of_weight = ctx.of.put(of_weight)
        return of_states.to(ctx.dtype), of_weight, None, None, None, None


def _computed(
    states: Tensor,
    table: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    *,
    memory: _Memory,
    of_weight: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Losses [N], and the gradients of their mean: of the states [N, D], and `of_weight` [V, D]."""
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
    """Turns logits [N, V] into probabilities minus 1 at the target, and writes the losses [N]."""
    parts = (one.split(ROWS) for one in (logits, targets, losses))
    for rows, wanted, loss in zip(*parts, strict=True):
        exact = rows.to(losses.dtype)  # the same tensor if the type is
        if bias is not None:
            exact += bias
        # The highest probability is 1 / sum(exp(logit - highest)), at least 1 / V.
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
