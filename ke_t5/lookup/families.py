"""Model families by `model_type`, and which of them have an encoder for our heads."""

from __future__ import annotations

import inspect
from typing import Any

# Same parameters, different vocabularies: both have T5's encoder.
T5_TYPES = ("t5", "mt5")
# Encoder classes of encoder-decoders that are missing from transformers' table of text encoders.
ENCODER_CLASSES = {
    "longt5": "LongT5EncoderModel",
    "switch_transformers": "SwitchTransformersEncoderModel",
}
# Heads use the decoder's last layer, and the decoder gets the input too (BART paper, section 3.2).
READ_BY_DECODER = ("bart", "mbart", "plbart", "bigbird_pegasus")
# The prefix of this package's model types.
OUR_PREFIX = "ke_t5_"


def takes_segments(model: Any) -> bool:
    """Whether a model takes segment ids (`token_type_ids`) for text pairs.

    klue/roberta-* have a BERT tokenizer but only one token type: segment 1 is out of range.
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
