"""Encoders that compute real tokens only: a batch's rows are laid end to end, and padded again for
the head.

Only inside `Unpadding.over` is anything of a model changed, so that weights, exports, evaluation
and every head stay as they are.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ke_t5.models.dropout import dropouts
from ke_t5.models.unpadded_rows import ATTENTION, UnpaddedRows, unpadded_rows

# The columns of a batch that an encoder may read, a number for each token.
COLUMNS = ("input_ids", "token_type_ids", "position_ids", "inputs_embeds")
# Classes of transformers' encoders. These have `embeddings`, which use positions, and `encoder`:
WITH_POSITIONS = (
    "BertModel", "RobertaModel", "XLMRobertaModel", "CamembertModel", "ElectraModel",
)  # fmt: skip
# rotary positions:
WITH_ROTATIONS = ("ModernBertModel",)
# a bias by the distance of two tokens, in the attention of the first layer:
WITH_BIAS = ("T5Stack", "MT5Stack")


class Unpadding:
    """What leaves the padding out of a model's encoder.

    Raises:
        ValueError("reason"): it cannot be left out of this model's.
    """

    def __init__(self, model: nn.Module) -> None:
        known = (*WITH_POSITIONS, *WITH_ROTATIONS, *WITH_BIAS)
        found = [
            module
            for module in model.modules()
            if type(module).__name__ in known
            and type(module).__module__.startswith("transformers.")
            and not getattr(module.config, "is_decoder", False)
        ]
        if len(found) != 1:
            raise ValueError("its encoder is not one of the known ones")
        self.encoder: Any = found[0]
        self.config: Any = self.encoder.config
        if self.config._attn_implementation != "sdpa":
            raise ValueError(f"its attention is {self.config._attn_implementation!r}")
        reads_layers = any(getattr(part, "reads_every_layer", False) for part in model.modules())
        if reads_layers or self.config.output_hidden_states or self.config.output_attentions:
            raise ValueError("it returns the states of its layers")

    @contextmanager
    def over(self, mask: np.ndarray) -> Iterator[None]:
        """A context in which the model computes the tokens of a batch with this mask [..., S] only:
        its forward and its backward pass, which may compute parts of it again."""
        rows = unpadded_rows(mask, next(self.encoder.parameters()).device)
        if rows is None:
            yield
            return
        with ExitStack() as hooks:
            for handle in self._hooks(rows):
                hooks.callback(handle.remove)
            hooks.callback(setattr, self.config, "_attn_implementation", "sdpa")
            self.config._attn_implementation = ATTENTION
            for part, forward in dropouts(self.encoder) if rows.tokens.device.type == "cpu" else ():
                part.forward = forward
                hooks.callback(delattr, part, "forward")
            yield

    def _hooks(self, rows: UnpaddedRows) -> Iterator[Any]:
        """Hooks that lay the rows end to end in front of the encoder's layers, and pad them again
        behind."""
        encoder, name = self.encoder, type(self.encoder).__name__
        if name in WITH_POSITIONS:
            yield _before(encoder.embeddings, lambda inputs: _numbered(encoder, rows, inputs))
            yield _before(encoder.encoder, lambda inputs: {**inputs, "unpadded": rows})
            yield encoder.encoder.register_forward_hook(_padding(rows))
            return
        yield _before(encoder, lambda inputs: _without_padding(encoder, rows, inputs))
        yield encoder.register_forward_hook(_padding(rows))
        if name in WITH_BIAS:
            first = encoder.block[0].layer[0].SelfAttention
            width = rows.shape[1]
            yield _before(
                first, lambda inputs: {**inputs, "position_bias": first.compute_bias(width, width)}
            )


def _before(module: nn.Module, change: Callable[[dict[str, Any]], dict[str, Any]]) -> Any:
    """A hook that changes the arguments of a module's forward, by name."""
    names = list(inspect.signature(module.forward).parameters)

    def hook(_: nn.Module, positional: tuple, named: dict[str, Any]) -> tuple[tuple, dict]:
        return (), change({**dict(zip(names, positional, strict=False)), **named})

    return module.register_forward_pre_hook(hook, with_kwargs=True)


def _flat(rows: UnpaddedRows, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """An encoder's arguments with the columns of the batch laid end to end."""
    flat = dict(inputs)
    for name in COLUMNS:
        column = inputs.get(name)
        if column is None:
            continue
        if column.shape[:2] != rows.shape:
            raise ValueError(f"{name} is of shape {tuple(column.shape[:2])}, not {rows.shape}")
        flat[name] = rows.flat(column)
    return flat


def _numbered(encoder: Any, rows: UnpaddedRows, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of the embeddings, laid end to end, with each token's position."""
    flat = _flat(rows, inputs)
    if flat.get("position_ids") is None:
        # RoBERTa's begin behind the number of the padding, and skip it.
        number = getattr(encoder.embeddings, "create_position_ids_from_input_ids", None)
        positions = rows.columns
        if number is not None:
            positions = rows.flat(number(inputs["input_ids"], encoder.embeddings.padding_idx))
        flat["position_ids"] = positions
    return flat


def _without_padding(encoder: Any, rows: UnpaddedRows, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of an encoder, laid end to end."""
    flat = _flat(rows, inputs)
    flat["attention_mask"] = None
    if type(encoder).__name__ in WITH_ROTATIONS and flat.get("position_ids") is None:
        flat["position_ids"] = rows.columns
    return {**flat, "unpadded": rows}


def _padding(rows: UnpaddedRows) -> Callable[..., Any]:
    """A hook that pads the vectors that a module returns."""

    def hook(_: nn.Module, __: tuple, output: Any) -> Any:
        if isinstance(output, tuple):
            return (rows.padded(output[0]), *output[1:])
        output.last_hidden_state = rows.padded(output.last_hidden_state)
        return output

    return hook


def losses_agree(padded: Tensor, unpadded: Tensor) -> bool:
    """Whether two losses differ by rounding only."""
    return bool(torch.isclose(unpadded, padded, rtol=1e-4, atol=1e-5))
