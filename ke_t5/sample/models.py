"""Tiny models of any text model of transformers: config.json and a tokenizer, no weights."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from ke_t5.errors import UserError, suggestion
from ke_t5.sample.cache import build_once, sample_root
from ke_t5.sample.vocabulary import (
    CLS,
    MASK,
    MODEL_MAX_LENGTH,
    PAD,
    SEP,
    token_ids,
    tokenizer_dir,
    vocabulary_size,
)

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

ConfigClass = type["PreTrainedConfig"]

# The models that share T5's vocabulary and its ids for padding and end.
_T5_TYPES = ("t5", "mt5", "longt5", "switch_transformers")
# RoBERTa and its relatives have one token type and count positions from the padding id.
_ONE_SEGMENT = ("roberta", "camembert")
_POSITIONS = MODEL_MAX_LENGTH + 2
# The names that the classes of transformers give to the same size.
_WIDTH = ("hidden_size", "d_model", "n_embd", "dim", "emb_dim", "embedding_size", "d_embed")
_DEPTH = (
    "num_hidden_layers", "num_layers", "num_encoder_layers", "num_decoder_layers", "n_layer",
    "n_layers", "encoder_layers", "decoder_layers",
)  # fmt: skip
_HEADS = (
    "num_attention_heads", "num_heads", "n_head", "n_heads", "encoder_attention_heads",
    "decoder_attention_heads", "num_encoder_attention_heads", "num_decoder_attention_heads",
    "num_key_value_heads",
)  # fmt: skip
_INNER = (
    "intermediate_size", "d_ff", "hidden_dim", "d_inner", "ffn_dim", "encoder_ffn_dim",
    "decoder_ffn_dim", "moe_intermediate_size",
)  # fmt: skip
_HEAD_WIDTH = ("d_kv", "head_dim", "d_head")
_LENGTH = ("max_position_embeddings", "n_positions", "n_ctx")
# Sizes that do not depend on the others, and what some types need in addition.
_OTHERS = {
    "attention_window": 64,
    "block_sizes": [1, 1],
    "entity_vocab_size": 10,
    "num_experts": 4,
    "num_local_experts": 4,
    "num_experts_per_tok": 2,
    "rotary_dim": 16,
}
_OF_TYPE = {
    "big_bird": {"attention_type": "original_full"},
    "gpt_neo": {"attention_types": [[["global"], 2]], "num_layers": 2},
    "xmod": {"default_language": "en_XX"},
}
_T5_VALUES = {
    "feed_forward_proj": "gated-gelu",
    "tie_word_embeddings": False,
    "decoder_start_token_id": 0,
    "pad_token_id": 0,
    "eos_token_id": 1,
}
# The embeddings of T5's checkpoints have more rows than their tokenizers have ids.
_T5_ROWS = 128


def find_config_class(model: str | ConfigClass) -> ConfigClass:
    """The configuration class of a model type, a class name, or the class itself.

    >>> [find_config_class(name).__name__ for name in ("bert", "T5Config", "XLMRobertaModel")]
    ['BertConfig', 'T5Config', 'XLMRobertaConfig']

    Raises:
        UserError: transformers has no such type or class.
    """
    from transformers.models.auto.configuration_auto import (
        CONFIG_MAPPING,
        CONFIG_MAPPING_NAMES,  # pyright: ignore[reportPrivateImportUsage] - here in all versions
    )

    if isinstance(model, type):
        return _of_transformers(model) if model.__module__.startswith("ke_t5.") else model
    if model in CONFIG_MAPPING:
        return CONFIG_MAPPING[model]
    # The longest name wins: XLMRobertaModel is not an XLMModel, nor T5GemmaModel a T5Model.
    prefixes = {name.removesuffix("Config"): key for key, name in CONFIG_MAPPING_NAMES.items()}
    fitting = [prefix for prefix in prefixes if model.startswith(prefix)]
    if not fitting:
        known = [*CONFIG_MAPPING_NAMES, *CONFIG_MAPPING_NAMES.values()]
        raise UserError(
            "transformers has no such model type or class",
            f"sample model {model!r}",
            suggestion(model, known),
        )
    return CONFIG_MAPPING[prefixes[max(fitting, key=len)]]


def _of_transformers(config_class: ConfigClass) -> ConfigClass:
    """The class of transformers from which one of ours is derived, whose folders it reads.

    Ours for any encoder are not derived from one: BERT stands in for all of them.
    """
    from transformers import BertConfig, PreTrainedConfig

    for base in config_class.__mro__:
        is_config = issubclass(base, PreTrainedConfig) and base is not PreTrainedConfig
        if is_config and base.__module__.startswith("transformers."):
            return base
    return BertConfig


def _is_t5(config_class: ConfigClass) -> bool:
    """Whether the class is T5's or derived from it."""
    return any(getattr(base, "model_type", None) in _T5_TYPES for base in config_class.__mro__)


def _sizes(known: dict, *, width: int, num_layers: int, num_heads: int) -> dict:
    """Tiny values for the size arguments that a configuration has."""
    values = {
        _WIDTH: width,
        _DEPTH: num_layers,
        _HEADS: num_heads,
        _INNER: 2 * width,
        _HEAD_WIDTH: width // num_heads,
        _LENGTH: _POSITIONS,
    }
    sizes = {name: value for names, value in values.items() for name in names}
    sizes |= _OTHERS
    return {name: value for name, value in sizes.items() if known.get(name) is not None}


def _ids(known: dict, config_class: ConfigClass) -> dict:
    """The special ids that a configuration has, as the tokenizers assign them."""
    if _is_t5(config_class):
        values = _T5_VALUES
    else:
        values = {
            "pad_token_id": PAD,
            "bos_token_id": CLS,
            "eos_token_id": SEP,
            "cls_token_id": CLS,
            "sep_token_id": SEP,
            "mask_token_id": MASK,
            "decoder_start_token_id": SEP,
            "forced_eos_token_id": SEP,
        }
        if any(name in config_class.model_type for name in _ONE_SEGMENT):
            values["type_vocab_size"] = 1
    # T5's class reads this id, although its defaults do not have it.
    needed = ("decoder_start_token_id",) if known.get("is_encoder_decoder") else ()
    return {name: value for name, value in values.items() if name in known or name in needed}


def _tiny_config(
    config_class: ConfigClass, tokenizer: Path, *, width: int, num_layers: int, num_heads: int
) -> PreTrainedConfig:
    known = config_class().to_dict()
    sizes = _sizes(known, width=width, num_layers=num_layers, num_heads=num_heads)
    missing = [
        what
        for what, names in (
            ("vocabulary size", ("vocab_size",)),
            ("width", _WIDTH),
            ("number of layers", (*_DEPTH, "block_sizes")),
        )
        if not any(known.get(name) is not None for name in names)
    ]
    if missing:
        raise UserError(
            f"a tiny model needs a known {' or '.join(missing)}",
            f"sample model {config_class.__name__}",
            "use a text model, or --pre_trained_model FOLDER --from_scratch with your own "
            "small configuration",
        )
    size = vocabulary_size(tokenizer)
    if _is_t5(config_class):
        size = -(-size // _T5_ROWS) * _T5_ROWS
    values = sizes | _ids(known, config_class) | _OF_TYPE.get(config_class.model_type, {})
    return config_class(**(values | {"vocab_size": size}))


def _has_segments(config_class: ConfigClass) -> bool:
    """Whether the model distinguishes the two texts of a pair by token types."""
    if any(name in config_class.model_type for name in _ONE_SEGMENT):
        return False
    return (config_class().to_dict().get("type_vocab_size") or 0) > 1


def sample_tokenizer_dir(cache_dir: Path, model: str | ConfigClass) -> Path:
    """A folder with the sample's tokenizer in the format that such a model takes.

    Raises:
        UserError: no such model type or class; the folder cannot be written.
    """
    config_class = find_config_class(model)
    return tokenizer_dir(
        cache_dir, is_t5=_is_t5(config_class), segments=_has_segments(config_class)
    )


def _require_same_tokenizer(folder: Path, config: PreTrainedConfig) -> None:
    """Raises UserError if transformers loads another tokenizer than the folder's (Qwen2)."""
    from transformers import AutoTokenizer

    probe = "새 책이 나왔다, 3월 5일에."
    loaded = AutoTokenizer.from_pretrained(folder, config=config)
    if loaded(probe)["input_ids"] != token_ids(folder, probe):
        raise UserError(
            f"transformers always loads a {type(loaded).__name__}, which does not fit the sample",
            f"sample model {type(config).__name__}",
            "use another class, or --pre_trained_model FOLDER --from_scratch with its tokenizer",
        )


def _untie_head(path: Path) -> None:
    """Declares head and embedding different, as in T5 v1.1; transformers 5 always writes `true`."""
    config = json.loads(path.read_text(encoding="utf-8"))
    config["tie_word_embeddings"] = False
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def sample_model_dir(
    cache_dir: Path,
    model: str | ConfigClass,
    *,
    width: int = 128,
    num_layers: int = 2,
    num_heads: int = 4,
) -> Path:
    """A folder with config.json and tokenizer of a tiny model, built on first use.

    Args:
        model: a model type ("roberta"), a class name ("RobertaForSequenceClassification",
            "RobertaConfig") or a configuration class; of this package's own heads, T5's.

    Raises:
        UserError: no such model type or class; a class that has no tiny model; the folder
            cannot be written.
    """
    config_class = find_config_class(model)
    tokenizer = sample_tokenizer_dir(cache_dir, config_class)
    config = _tiny_config(
        config_class, tokenizer, width=width, num_layers=num_layers, num_heads=num_heads
    )
    content = json.dumps(config.to_dict(), sort_keys=True, default=str)
    version = hashlib.sha256(content.encode()).hexdigest()[:8]
    name = re.sub(r"[^\w-]", "_", config_class.model_type or config_class.__name__)

    def build(folder: Path) -> None:
        for file in tokenizer.iterdir():
            shutil.copyfile(file, folder / file.name)
        config.save_pretrained(folder)
        if _is_t5(config_class):
            _untie_head(folder / "config.json")
        _require_same_tokenizer(folder, config)

    return build_once(sample_root(cache_dir) / "models" / f"{name}-{version}", build)
