"""Which kinds of task models serve: ours by name, those of transformers by its own tables."""

from __future__ import annotations

# Our classes and the kind of task that each serves.
OUR_MODELS = {
    "T5EncoderForSequenceClassificationSimple": "sequence_classification",
    "T5EncoderForSequenceClassificationMean": "sequence_classification",
    "EncoderForSequenceClassificationMean": "sequence_classification",
    "EncoderForSequenceClassificationFirst": "sequence_classification",
    "EncoderForSequenceClassificationLast": "sequence_classification",
    "T5EncoderForTokenClassification": "token_classification",
    "T5EncoderForEntityRecognitionWithCRF": "token_classification",
    "EncoderForEntityRecognitionWithCRF": "token_classification",
    "T5EncoderForSequenceClassificationMeanSubmeanObjmean": "entity_pair_classification",
    "T5EncoderForSequenceClassificationFirstSubmeanObjmean": "entity_pair_classification",
    "T5EncoderForCharacterTagging": "character_tagging",
    "EncoderForCharacterTagging": "character_tagging",
    "T5EncoderForQuestionAnswering": "question_answering",
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

# The kinds of model that transformers has, by the names of its own tables.
TRANSFORMERS_TABLES = {
    "sequence_classification": "MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES",
    "token_classification": "MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES",
    "question_answering": "MODEL_FOR_QUESTION_ANSWERING_MAPPING_NAMES",
    "seq2seq": "MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES",
}
