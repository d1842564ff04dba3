"""Tiny versions of any text model of transformers: config.json and a tokenizer, no weights."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from ke_t5.errors import UserError, suggestion
from ke_t5.sample.cache import build_once, sample_root
from ke_t5.sample.grammar import load_json
from ke_t5.sample.vocabulary import MODEL_MAX_LENGTH, token_ids, tokenizer_dir, vocabulary_size

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

ConfigClass = type["PreTrainedConfig"]

# The names of sizes and ids in the configurations of transformers, and tiny values for them.
_VALUES = load_json("models")
_SIZES = _VALUES["names of sizes"]
# The models with T5's vocabulary and its ids for padding and end.
_T5_TYPES = ("t5", "mt5", "longt5", "switch_transformers")
# RoBERTa and its relatives have one token type and count positions from the padding id.
_ONE_SEGMENT = ("roberta", "camembert")
_POSITIONS = MODEL_MAX_LENGTH + 2
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
    # The longest prefix wins: XLMRobertaModel is not an XLMModel, nor T5GemmaModel a T5Model.
    prefixes = {name.removesuffix("Config"): key for key, name in CONFIG_MAPPING_NAMES.items()}
    fitting = [prefix for prefix in prefixes if model.startswith(prefix)]
    if not fitting:
        names = [*CONFIG_MAPPING_NAMES, *CONFIG_MAPPING_NAMES.values()]
        raise UserError(
            "transformers has no such model type or class",
            f"sample model {model!r}",
            suggestion(model, names),
        )
    return CONFIG_MAPPING[prefixes[max(fitting, key=len)]]


def _of_transformers(config_class: ConfigClass) -> ConfigClass:
    """The configuration class of transformers that one of ours is derived from.

    Our classes for arbitrary encoders have none; BERT's is used for them.
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


def _has_one_segment(config_class: ConfigClass) -> bool:
    return any(name in config_class.model_type for name in _ONE_SEGMENT)


def _has_segments(config_class: ConfigClass) -> bool:
    """Whether the model distinguishes the two texts of a pair by token types."""
    num_types = config_class().to_dict().get("type_vocab_size") or 0
    return num_types > 1 and not _has_one_segment(config_class)


def _sizes(defaults: dict, *, width: int, num_layers: int, num_heads: int) -> dict:
    """Tiny values for the sizes of a configuration."""
    sizes = (width, num_layers, num_heads, 2 * width, width // num_heads, _POSITIONS)
    values = {
        name: size for names, size in zip(_SIZES.values(), sizes, strict=True) for name in names
    }
    values |= _VALUES["other sizes"]
    return {name: value for name, value in values.items() if defaults.get(name) is not None}


def _ids(defaults: dict, config_class: ConfigClass) -> dict:
    """The special ids of a configuration, as assigned by the tokenizers."""
    values = dict(_VALUES["T5" if _is_t5(config_class) else "separators"])
    if _has_one_segment(config_class):
        values["type_vocab_size"] = 1
    # T5's class reads this id, although it is not among its defaults.
    needed = ("decoder_start_token_id",) if defaults.get("is_encoder_decoder") else ()
    return {name: value for name, value in values.items() if name in defaults or name in needed}


def _tiny_config(config_class: ConfigClass, tokenizer: Path, **sizes: int) -> PreTrainedConfig:
    defaults = config_class().to_dict()
    required = {
        "vocabulary size": ["vocab_size"],
        "width": _SIZES["width"],
        "number of layers": [*_SIZES["number of layers"], "block_sizes"],
    }
    missing = [
        what
        for what, names in required.items()
        if all(defaults.get(name) is None for name in names)
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
    values = _sizes(defaults, **sizes) | _ids(defaults, config_class)
    values |= _VALUES["needed by a type"].get(config_class.model_type, {})
    return config_class(**(values | {"vocab_size": size}))


def sample_tokenizer_dir(cache_dir: Path, model: str | ConfigClass) -> Path:
    """A folder with the sample's tokenizer in the format for such a model.

    Raises:
        UserError: unknown model type or class, or the folder cannot be written.
    """
    config_class = find_config_class(model)
    return tokenizer_dir(
        cache_dir, is_t5=_is_t5(config_class), segments=_has_segments(config_class)
    )


def _require_same_tokenizer(folder: Path, config: PreTrainedConfig) -> None:
    """Raises UserError if transformers does not load the tokenizer of the folder (Qwen2)."""
    from transformers import AutoTokenizer

    probe = "새 책이 나왔다, 3월 5일에."
    loaded = AutoTokenizer.from_pretrained(folder, config=config, trust_remote_code=False)
    if loaded(probe)["input_ids"] != token_ids(folder, probe):
        raise UserError(
            f"transformers always loads a {type(loaded).__name__}, which does not fit the sample",
            f"sample model {type(config).__name__}",
            "use another class, or --pre_trained_model FOLDER --from_scratch with its tokenizer",
        )


def _untie_head(path: Path) -> None:
    """Unties head and embedding, as in T5 v1.1; transformers 5 always writes `true`."""
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
            "RobertaConfig") or a configuration class; for the heads of this package, T5's.

    Raises:
        UserError: unknown model type or class, a class without a tiny version, or the folder
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
