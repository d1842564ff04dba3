"""Which kinds of task models serve: ours by name, those of transformers by its own tables."""

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

# Our classes and the kind of task that each serves.
OUR_MODELS = {
    "T5EncoderForSequenceClassificationSimple": "sequence_classification",
    "T5EncoderForSequenceClassificationMean": "sequence_classification",
    "EncoderForSequenceClassificationMean": "sequence_classification",
    "EncoderForSequenceClassificationFirst": "sequence_classification",
    "EncoderForSequenceClassificationLast": "sequence_classification",
    "T5EncoderForTokenClassification": "token_classification",
    "T5EncoderForEntityRecognitionWithCRF": "token_classification",
    "EncoderForTokenClassification": "token_classification",
    "EncoderForEntityRecognitionWithCRF": "token_classification",
    "T5EncoderForSequenceClassificationMeanSubmeanObjmean": "entity_pair_classification",
    "T5EncoderForSequenceClassificationFirstSubmeanObjmean": "entity_pair_classification",
    "EncoderForSequenceClassificationMeanSubmeanObjmean": "entity_pair_classification",
    "T5EncoderForCharacterTagging": "character_tagging",
    "EncoderForCharacterTagging": "character_tagging",
    "T5EncoderForQuestionAnswering": "question_answering",
    "EncoderForQuestionAnswering": "question_answering",
    "T5EncoderForDependencyParsing": "dependency_parsing",
    "EncoderForDependencyParsing": "dependency_parsing",
}

DEFAULT_MODELS = {
    "sequence_classification": "T5EncoderForSequenceClassificationMean",
    "token_classification": "T5EncoderForTokenClassification",
    "question_answering": "T5EncoderForQuestionAnswering",
    "seq2seq": "transformers:T5ForConditionalGeneration",
    "entity_pair_classification": "T5EncoderForSequenceClassificationMeanSubmeanObjmean",
    "dependency_parsing": "T5EncoderForDependencyParsing",
    "character_tagging": "T5EncoderForCharacterTagging",
}

# Our heads that fit on any encoder of transformers, for checkpoints that are not T5.
ANY_ENCODER_MODELS = {
    "sequence_classification": "EncoderForSequenceClassificationMean",
    "token_classification": "EncoderForTokenClassification",
    "question_answering": "EncoderForQuestionAnswering",
    "entity_pair_classification": "EncoderForSequenceClassificationMeanSubmeanObjmean",
    "dependency_parsing": "EncoderForDependencyParsing",
    "character_tagging": "EncoderForCharacterTagging",
}

# The kinds of model that transformers has, by the names of its own tables.
TRANSFORMERS_TABLES = {
    "sequence_classification": "MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES",
    "token_classification": "MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES",
    "question_answering": "MODEL_FOR_QUESTION_ANSWERING_MAPPING_NAMES",
    "seq2seq": "MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES",
}
