"""The ids that a model's configuration must share with its tokenizer: their number, special ids."""

from __future__ import annotations

from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_MASKED_LM_MAPPING_NAMES,
)

from ke_t5.errors import Exit, UserError
from ke_t5.lookup.tokenizer_fit import end_ids, written_end


def check_ids(
    tokenizer: PreTrainedTokenizerBase, config: PreTrainedConfig, name: str, *, where: str
) -> None:
    """Raises UserError if the tokenizer has more ids than the model's embedding has rows."""
    backbone = getattr(config, "backbone", None) or config
    rows = getattr(backbone.get_text_config(), "vocab_size", None)
    ids = max(tokenizer.get_vocab().values(), default=-1) + 1
    if rows is not None and ids > rows:
        raise UserError(
            f"the tokenizer {tokenizer.name_or_path!r} has {ids:,} ids, but the embedding of "
            f"{name!r} has {rows:,} rows",
            where,
            "use the model's tokenizer (do not bind another vocab_name)",
            Exit.CHECKPOINT,
        )


def fit_config(config: PreTrainedConfig, tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """Sets the special ids of a configuration to the tokenizer's where they differ; a line for each
    that was overridden."""
    _take_pad_id(config, tokenizer)
    backbone = getattr(config, "backbone", None) or config
    if not getattr(backbone, "is_encoder_decoder", False):
        return []
    lines = _take_end_id(backbone, tokenizer)
    if getattr(backbone, "decoder_start_token_id", None) is None:
        # As each family was trained: T5 starts with padding, BERT and BART with their start token.
        ids = (tokenizer.bos_token_id, tokenizer.cls_token_id, tokenizer.pad_token_id)
        backbone.decoder_start_token_id = next((i for i in ids if i is not None), None)
    return lines


def _take_end_id(config: PreTrainedConfig, tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """Sets the end token that the tokenizer appends: generation stops there, BART classifies it."""
    end_id = written_end(tokenizer, end_ids(tokenizer, config))
    configured = getattr(config, "eos_token_id", None)
    if end_id is None or end_id in _ends_of(config):
        return []
    config.eos_token_id = end_id
    description = "no end token" if configured is None else f"the end token {configured}"
    return [f"config.json has {description}, but the tokenizer appends {end_id}, which is used"]


def _take_pad_id(config: PreTrainedConfig, tokenizer: PreTrainedTokenizerBase) -> None:
    """Sets the padding id: a decoder's classifier reads the last token that is not padding."""
    text = config.get_text_config()
    kind = getattr(text, "model_type", "")
    only_decodes = (
        kind in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES and kind not in MODEL_FOR_MASKED_LM_MAPPING_NAMES
    )
    if getattr(text, "pad_token_id", None) is None or only_decodes:
        text.pad_token_id = config.pad_token_id = tokenizer.pad_token_id


def _ends_of(config: object) -> list[int]:
    """A configuration's end ids; [] if it has none."""
    ends = getattr(config, "eos_token_id", None)
    return ends if isinstance(ends, list) else [] if ends is None else [ends]


def fit_generation(model: PreTrainedModel) -> None:
    """Sets the end, padding and start ids of `generate` from the model's configuration."""
    own, config = getattr(model, "generation_config", None), model.config
    if own is None or not config.is_encoder_decoder:
        return
    if not set(_ends_of(config)) <= set(_ends_of(own)):
        own.eos_token_id = config.eos_token_id
    if getattr(config, "pad_token_id", None) is not None:
        own.pad_token_id = config.pad_token_id
    if own.decoder_start_token_id is None:
        own.decoder_start_token_id = getattr(config, "decoder_start_token_id", None)
