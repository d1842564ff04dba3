"""Families of models by `model_type`: which ones have an encoder that our heads can read."""

from __future__ import annotations

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
