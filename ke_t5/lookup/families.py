"""Families of models by `model_type`: which ones have an encoder that our heads can read."""

from __future__ import annotations

import inspect
from typing import Any

# Same parameters, other vocabulary: their encoders are T5's.
T5_TYPES = ("t5", "mt5")
# Encoders of encoder-decoders that transformers has, but not in its table of text encoders.
ENCODER_CLASSES = {
    "longt5": "LongT5EncoderModel",
    "switch_transformers": "SwitchTransformersEncoderModel",
}
# Read by the top of the decoder, which sees the input itself, as BART's paper (section 3.2) does.
READ_BY_DECODER = ("bart", "mbart", "plbart", "bigbird_pegasus")
# What all model types of this package begin with.
OUR_PREFIX = "ke_t5_"


def takes_segments(model: Any) -> bool:
    """Whether a model is told which token is of which text of a pair (`token_type_ids`).

    klue/roberta-* have a BERT tokenizer and one token type: a second segment is out of range.
    """
    body = model
    if hasattr(model.config, "reads_segments"):  # a head of ours
        if not model.config.reads_segments:
            return False
        body = model.backbone
    if getattr(body.config, "type_vocab_size", 0) < 2:
        return False
    parameters = inspect.signature(body.forward).parameters.values()
    return any(
        parameter.name == "token_type_ids" or parameter.kind == inspect.Parameter.VAR_KEYWORD
        for parameter in parameters
    )
