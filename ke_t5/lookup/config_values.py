"""Rejects values in a `config.json` with which a model cannot be built or used.

transformers checks types, but not ranges: BERT is built with -1 layers, and without token types it
fails in its first forward pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeGuard

from ke_t5.errors import Exit, UserError


def _is_object(value: object) -> bool:
    return isinstance(value, dict)


def _is_filled(value: object) -> bool:
    # For missing entries transformers uses the sizes of a model with billions of parameters.
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
# Exceptions to the minimum of 1: models without a decoder have 0 decoder layers.
_LEAST = {
    "num_decoder_layers": 0,
    "decoder_layers": 0,
    # T5 uses half of them for each direction, and half of those for exact distances.
    "relative_attention_num_buckets": 4,
}
_WITHOUT_TOKEN_TYPES = ("deberta", "deberta-v2")
_MOST_LAYERS = 1000  # no model has this many, and building one would take hours
# Nested configurations.
_PARTS = ("backbone", "text_config", "encoder", "decoder")
_PROBLEMS = ("regression", "single_label_classification", "multi_label_classification")
# Values that are not numbers: a check, and what the error asks for.
_KINDS: dict[str, tuple[Callable[[object], bool], str]] = {
    **dict.fromkeys(_PARTS, (_is_filled, "a JSON object with values")),
    "quantization_config": (_is_object, "a JSON object"),
    "architectures": (lambda value: isinstance(value, list), "a list of names"),
    "problem_type": (lambda value: value in _PROBLEMS, f"one of {', '.join(_PROBLEMS)}"),
    "return_dict": (lambda value: value is not False, "true"),
}


def check_config_values(config: Mapping[str, Any], path: str) -> None:
    """Raises UserError for the first invalid value, with the file, the name and the value."""
    for name, value, valid in _invalid_values(config):
        raise UserError(
            f"{name} is {value!r:.40}", path, f"give {valid}, or download it again", Exit.CHECKPOINT
        )


def _invalid_values(
    config: Mapping[str, Any], prefix: str = ""
) -> Iterator[tuple[str, object, str]]:
    """Yields (name, value, what would be valid), also for nested configurations."""
    for name, value in config.items():
        if name in _PARTS and isinstance(value, dict):
            yield from _invalid_values(value, f"{prefix}{name}.")
        valid = _valid_instead(name, value, config)
        if valid is not None:
            yield prefix + name, value, valid


def _valid_instead(name: str, value: object, config: Mapping[str, Any]) -> str | None:
    """What would be valid in place of an invalid value; None if the value is valid. Checks only
    those types that transformers does not."""
    if name in _KINDS and value is not None:
        is_valid, valid = _KINDS[name]
        return None if is_valid(value) else valid
    if name == "decoder_start_token_id" and value is not None:
        size = config.get("vocab_size")
        is_id = isinstance(value, int) and 0 <= value and not (_is_number(size) and value >= size)
        return None if is_id else "the id of a token"
    if not _is_number(value):
        return None
    if name in _LAYERS and value > _MOST_LAYERS:
        return f"at most {_MOST_LAYERS}"
    is_share = "dropout" in name or name.endswith("_prob")
    if is_share and not 0 <= value <= 1:
        return "a number from 0 to 1"
    least = _LEAST.get(name, 1 if name in _SIZES else None)
    if name == "type_vocab_size" and config.get("model_type") in _WITHOUT_TOKEN_TYPES:
        least = 0
    return f"{least} or more" if least is not None and value < least else None


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)
