"""Encoders, and T5's decoder, without padding: a batch's rows are concatenated, and padded again
for the head.

A model is changed only inside `Unpadding.over`: weights, exports, evaluation and heads stay as they
are.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ke_t5.forms import IGNORED
from ke_t5.models import unpadded_targets as targets_of
from ke_t5.models.dropout import dropouts
from ke_t5.models.unpadded_rows import ATTENTION, UnpaddedRows, unpadded_rows
from ke_t5.models.unpadded_targets import UnpaddedTargets

# An encoder's arguments with one element per token.
COLUMNS = ("input_ids", "token_type_ids", "position_ids", "inputs_embeds")
# transformers' encoder classes. With `embeddings`, which use positions, and `encoder`:
WITH_POSITIONS = (
    "BertModel", "RobertaModel", "XLMRobertaModel", "CamembertModel", "ElectraModel",
)  # fmt: skip
# With rotary positions:
WITH_ROTATIONS = ("ModernBertModel",)
# With a relative position bias, in the attention of the first layer:
WITH_BIAS = ("T5Stack", "MT5Stack")


class Unpadding:
    """Removes the padding from the computation of a model's encoder.

    Attributes:
        only_first: the last layer computes the rows' first tokens only; the vectors of the others
            are NaN, so that the loss shows if the head reads one.

    Raises:
        ValueError("reason"): this model is not supported.
    """

    def __init__(self, model: nn.Module) -> None:
        found = list(_stacks(model, (*WITH_POSITIONS, *WITH_ROTATIONS, *WITH_BIAS)))
        if len(found) != 1:
            raise ValueError("its encoder is of no supported class")
        self.encoder: Any = found[0]
        self.decoder: Any = next(_stacks(model, WITH_BIAS, is_decoder=True), None)
        self.config: Any = self.encoder.config
        self.only_first = False
        if self.config._attn_implementation != "sdpa":
            raise ValueError(f"its attention is {self.config._attn_implementation!r}")
        reads_layers = any(getattr(part, "reads_every_layer", False) for part in model.modules())
        if reads_layers or self.config.output_hidden_states or self.config.output_attentions:
            raise ValueError("it returns the states of its layers")

    @contextmanager
    def over(self, mask: np.ndarray, labels: np.ndarray | None = None) -> Iterator[None]:
        """A context for the forward and backward pass of one batch, in which the model computes
        only real tokens, and a few of padding (see `UnpaddedRows`).

        Args:
            mask: [..., S], nonzero for a token.
            labels: [B, L], the decoder's targets.
        """
        device, has_decoder = next(self.encoder.parameters()).device, self.decoder is not None
        with ExitStack() as hooks:
            begin = functools.partial(_begin, hooks, has_decoder=has_decoder)
            rows = unpadded_rows(mask, device)
            if rows is not None:
                begin(self.encoder, self._hooks(rows), ATTENTION)
            targets = None
            if has_decoder and labels is not None:
                targets = targets_of.unpadded_targets(mask, labels != IGNORED, device)
            if targets is not None:
                begin(self.decoder, _target_hooks(self.decoder, targets), targets_of.ATTENTION)
            yield

    @property
    def may_skip_tokens(self) -> bool:
        """Whether the encoder's layers are known well enough for `only_first`."""
        return type(self.encoder).__name__ in WITH_POSITIONS

    def _hooks(self, rows: UnpaddedRows) -> Iterator[Any]:
        """Hooks that concatenate the rows before the encoder's layers and pad them again after."""
        encoder, name = self.encoder, type(self.encoder).__name__
        if name in WITH_POSITIONS:
            yield _before(encoder.embeddings, lambda inputs: _numbered(encoder, rows, inputs))
            yield _before(encoder.encoder, lambda inputs: {**inputs, "unpadded": rows})
            if self.only_first:
                yield from _first_token_hooks(encoder.encoder.layer[-1].attention, rows)
            padded = rows.padded_first if self.only_first else rows.padded
            yield encoder.encoder.register_forward_hook(_padding(padded))
            return
        yield _before(encoder, lambda inputs: _without_padding(encoder, rows, inputs))
        yield encoder.register_forward_hook(_padding(rows.padded))
        if name in WITH_BIAS:
            first = encoder.block[0].layer[0].SelfAttention
            width = rows.shape[1]
            yield _before(
                first, lambda inputs: {**inputs, "position_bias": first.compute_bias(width, width)}
            )


def _first_token_hooks(attention: Any, rows: UnpaddedRows) -> Iterator[Any]:
    """Hooks that restrict a layer's attention, and so all that follows, to first tokens."""

    def firsts(inputs: dict[str, Any]) -> dict[str, Any]:
        return {name: rows.first(states) for name, states in inputs.items()}

    of_firsts = dataclasses.replace(rows, only_first=True)
    yield _before(attention.self, lambda inputs: {**inputs, "unpadded": of_firsts})
    yield _before(attention.self.query, firsts)
    yield attention.self.query.register_forward_hook(lambda _, __, made: rows.repeated(made))
    yield _before(attention.output, firsts)


def _stacks(
    model: nn.Module, known: tuple[str, ...], *, is_decoder: bool = False
) -> Iterator[nn.Module]:
    """The model's encoders or decoders of the `known` transformers classes."""
    for module in model.modules():
        kind = type(module)
        if kind.__name__ in known and kind.__module__.startswith("transformers."):
            if bool(getattr(module.config, "is_decoder", False)) == is_decoder:
                yield module


def gelus(stack: nn.Module) -> Iterator[tuple[nn.Module, Callable[[Tensor], Tensor]]]:
    """The activations that transformers computes in eight passes, each with a one-pass forward that
    rounds differently."""
    for part in stack.modules():
        if type(part).__name__ == "NewGELUActivation":
            yield part, functools.partial(functional.gelu, approximate="tanh")


def _begin(
    hooks: ExitStack, stack: Any, handles: Iterator[Any], attention: str, *, has_decoder: bool
) -> None:
    """Switches an encoder or decoder to unpadded rows until `hooks` is closed."""
    for handle in handles:
        hooks.callback(handle.remove)
    hooks.callback(setattr, stack.config, "_attn_implementation", "sdpa")
    stack.config._attn_implementation = attention
    if next(stack.parameters()).device.type != "cpu":
        return
    for part, forward in (*dropouts(stack), *(gelus(stack) if has_decoder else ())):
        part.forward = forward
        hooks.callback(delattr, part, "forward")


def _target_hooks(decoder: Any, targets: UnpaddedTargets) -> Iterator[Any]:
    """Hooks that concatenate the targets before a decoder's layers and pad them again after."""

    def unpadded(inputs: dict[str, Any]) -> dict[str, Any]:
        flat = _flat(targets.rows, inputs)
        return {**flat, "attention_mask": None, "encoder_attention_mask": None, "unpadded": targets}

    yield _before(decoder, unpadded)
    yield decoder.register_forward_hook(_padding(targets.rows.padded))
    own, cross = (layer for layer in decoder.block[0].layer[:2])
    width = targets.rows.shape[1]
    yield _before(own.SelfAttention, lambda inputs: {
        **inputs, "position_bias": own.SelfAttention.compute_bias(width, width) + targets.future(),
    })  # fmt: skip
    # Otherwise the layer allocates zeros for all targets and inputs of the batch.
    bias = targets.mask.new_zeros(1)
    yield _before(cross.EncDecAttention, lambda inputs: {**inputs, "position_bias": bias})


def _before(module: nn.Module, change: Callable[[dict[str, Any]], dict[str, Any]]) -> Any:
    """A hook that changes the arguments of a module's forward, by name."""
    names = list(inspect.signature(module.forward).parameters)

    def hook(_: nn.Module, positional: tuple, named: dict[str, Any]) -> tuple[tuple, dict]:
        return (), change({**dict(zip(names, positional, strict=False)), **named})

    return module.register_forward_pre_hook(hook, with_kwargs=True)


def _flat(rows: UnpaddedRows, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """A module's arguments with the columns of the batch concatenated."""
    flat = dict(inputs)
    for name in COLUMNS:
        column = inputs.get(name)
        if column is None:
            continue
        if column.shape[:2] != rows.shape:
            raise ValueError(f"{name} has the shape {tuple(column.shape[:2])}, not {rows.shape}")
        flat[name] = rows.flat(column)
    return flat


def _numbered(encoder: Any, rows: UnpaddedRows, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of the embeddings, concatenated, with each token's position."""
    flat = _flat(rows, inputs)
    if flat.get("position_ids") is None:
        # RoBERTa's positions start after the padding's id, and skip padding.
        number = getattr(encoder.embeddings, "create_position_ids_from_input_ids", None)
        positions = rows.columns
        if number is not None:
            positions = rows.flat(number(inputs["input_ids"], encoder.embeddings.padding_idx))
        flat["position_ids"] = positions
    return flat


def _without_padding(encoder: Any, rows: UnpaddedRows, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of an encoder, concatenated."""
    flat = _flat(rows, inputs)
    flat["attention_mask"] = None
    if type(encoder).__name__ in WITH_ROTATIONS and flat.get("position_ids") is None:
        flat["position_ids"] = rows.columns
    return {**flat, "unpadded": rows}


def _padding(padded: Callable[[Tensor], Tensor]) -> Callable[..., Any]:
    """A hook that pads the vectors returned by a module."""

    def hook(_: nn.Module, __: tuple, output: Any) -> Any:
        if isinstance(output, tuple):
            return (padded(output[0]), *output[1:])
        output.last_hidden_state = padded(output.last_hidden_state)
        return output

    return hook


def losses_agree(padded: Tensor, unpadded: Tensor) -> bool:
    """Whether two losses differ by rounding only."""
    return bool(torch.isclose(unpadded, padded, rtol=1e-4, atol=1e-5))
