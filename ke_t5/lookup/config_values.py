"""Values in a `config.json` with which a model cannot be made, or fails when it is used.

transformers checks the types, not the numbers: BERT is built with -1 layers, and without token
types it fails in its first forward pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeGuard

from ke_t5.errors import Exit, UserError


def _is_object(value: object) -> bool:
    return isinstance(value, dict)


def _is_filled(value: object) -> bool:
    # transformers takes the sizes of a model of billions for what is not there.
    return isinstance(value, dict) and bool(value)


_LAYERS = (
    "num_hidden_layers", "num_layers", "num_encoder_layers", "n_layer", "n_layers",
    "encoder_layers",
)  # fmt: skip
_SIZES = frozenset((
    *_LAYERS, "vocab_size", "hidden_size", "d_model", "n_embd", "dim", "embedding_size",
    "num_attention_heads", "num_heads", "n_head", "n_heads", "encoder_attention_heads",
    "decoder_attention_heads", "num_key_value_heads", "intermediate_size", "d_ff", "hidden_dim",
    "d_inner", "ffn_dim", "encoder_ffn_dim", "decoder_ffn_dim", "d_kv", "head_dim", "d_head",
    "max_position_embeddings", "n_positions", "n_ctx", "type_vocab_size",
    "relative_attention_max_distance",
))  # fmt: skip
# Models that are trained without a decoder, and without token types, say 0 of them.
_LEAST = {
    "num_decoder_layers": 0,
    "decoder_layers": 0,
    # T5 counts half of them for each direction, and half of those one by one.
    "relative_attention_num_buckets": 4,
}
_WITHOUT_TOKEN_TYPES = ("deberta", "deberta-v2")
_MOST_LAYERS = 1000  # no model has so many; a file that says more would be built for hours
# Configurations of the parts of a model.
_PARTS = ("backbone", "text_config", "encoder", "decoder")
_PROBLEMS = ("regression", "single_label_classification", "multi_label_classification")
# Not numbers: what is right, in code and in words.
_KINDS: dict[str, tuple[Callable[[object], bool], str]] = {
    **dict.fromkeys(_PARTS, (_is_filled, "a JSON object with values")),
    "quantization_config": (_is_object, "a JSON object"),
    "architectures": (lambda value: isinstance(value, list), "a list of names"),
    "problem_type": (lambda value: value in _PROBLEMS, f"one of {', '.join(_PROBLEMS)}"),
    "return_dict": (lambda value: value is not False, "true"),
}


def check_config_values(config: Mapping[str, Any], path: str) -> None:
    """Raises UserError for the first value that no model can have; names the file and the value."""
    for name, value, need in _impossible(config):
        raise UserError(
            f"{name} is {value!r:.40}", path, f"give {need}, or download it again", Exit.CHECKPOINT
        )


def _impossible(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, object, str]]:
    """(name, value, what is needed) of each impossible value, in nested configurations too."""
    for name, value in config.items():
        if name in _PARTS and isinstance(value, dict):
            yield from _impossible(value, f"{prefix}{name}.")
        need = _need(name, value, config)
        if need is not None:
            yield prefix + name, value, need


def _need(name: str, value: object, config: Mapping[str, Any]) -> str | None:
    """What a value must be, None if it may be what it is. Types are left to transformers, unless
    it does not check them."""
    if name in _KINDS and value is not None:
        is_right, need = _KINDS[name]
        return None if is_right(value) else need
    if name == "decoder_start_token_id" and value is not None:
        size = config.get("vocab_size")
        is_id = isinstance(value, int) and 0 <= value and not (_is_number(size) and value >= size)
        return None if is_id else "the id of a token"
    if not _is_number(value):
        return None
    if name in _LAYERS and value > _MOST_LAYERS:
        return f"{_MOST_LAYERS} at most"
    is_share = "dropout" in name or name.endswith("_prob")
    if is_share and not 0 <= value <= 1:
        return "a number from 0 to 1"
    least = _LEAST.get(name, 1 if name in _SIZES else None)
    if name == "type_vocab_size" and config.get("model_type") in _WITHOUT_TOKEN_TYPES:
        least = 0
    return f"{least} or more" if least is not None and value < least else None


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)
