"""Our model classes: an encoder, a head, and the configuration that says which.

Every class has a `model_type` of its own and is registered with transformers' Auto classes, so
that `AutoModelForSequenceClassification.from_pretrained` and `pipeline` find it.
"""

from __future__ import annotations

from transformers import (
    AutoModel,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
)

from ke_t5.models import configs, heads, structured_heads
from ke_t5.models.encoders import EncoderWithHead, T5EncoderWithHead


class T5EncoderForSequenceClassificationSimple(T5EncoderWithHead):
    """A class, or a number, for a text, read off its first token."""

    config_class = configs.SimpleSequenceConfig
    task_forms = ("sequence_classification",)
    pool = staticmethod(heads.first_token)
    add_head = heads.add_sequence_head
    forward = heads.classify_sequences


class T5EncoderForSequenceClassificationMean(T5EncoderWithHead):
    """A class, or a number, for a text, read off the sum of its tokens over root length."""

    config_class = configs.MeanSequenceConfig
    task_forms = ("sequence_classification",)
    pool = staticmethod(heads.sum_over_root_length)
    add_head = heads.add_sequence_head
    forward = heads.classify_sequences


class EncoderForSequenceClassificationMean(EncoderWithHead):
    """A class, or a number, for a text or a pair, read off the mean of its tokens; any encoder."""

    config_class = configs.AnyMeanSequenceConfig
    task_forms = ("sequence_classification",)
    pool = staticmethod(heads.mean_over_tokens)
    add_head = heads.add_pooled_head
    forward = heads.classify_sequences


class EncoderForSequenceClassificationFirst(EncoderWithHead):
    """A class, or a number, for a text or a pair, read off its first token; any encoder."""

    config_class = configs.AnyFirstSequenceConfig
    task_forms = ("sequence_classification",)
    pool = staticmethod(heads.first_token)
    add_head = heads.add_pooled_head
    forward = heads.classify_sequences


class EncoderForSequenceClassificationLast(EncoderWithHead):
    """A class, or a number, for a text or a pair, read off its last token; any encoder."""

    config_class = configs.AnyLastSequenceConfig
    task_forms = ("sequence_classification",)
    pool = staticmethod(heads.last_token)
    add_head = heads.add_pooled_head
    forward = heads.classify_sequences


class T5EncoderForSequenceClassificationMeanSubmeanObjmean(T5EncoderWithHead):
    """The relation of two entities, read off the whole text and the mean of each entity."""

    config_class = configs.MeanEntityPairConfig
    task_forms = ("entity_pair_classification",)
    pool = staticmethod(heads.sum_over_root_length)
    add_head = heads.add_entity_pair_head
    forward = heads.classify_entity_pairs


class T5EncoderForSequenceClassificationFirstSubmeanObjmean(T5EncoderWithHead):
    """The relation of two entities, read off the first token and the mean of each entity."""

    config_class = configs.FirstEntityPairConfig
    task_forms = ("entity_pair_classification",)
    pool = staticmethod(heads.first_token)
    add_head = heads.add_entity_pair_head
    forward = heads.classify_entity_pairs


class EncoderForSequenceClassificationMeanSubmeanObjmean(EncoderWithHead):
    """T5EncoderForSequenceClassificationMeanSubmeanObjmean on any encoder."""

    config_class = configs.EntityPairConfig
    task_forms = ("entity_pair_classification",)
    pool = staticmethod(heads.sum_over_root_length)
    add_head = heads.add_entity_pair_head
    forward = heads.classify_entity_pairs


class T5EncoderForTokenClassification(T5EncoderWithHead):
    """A class for each token."""

    config_class = configs.T5TokenConfig
    task_forms = ("token_classification",)
    add_head = heads.add_token_head
    forward = heads.classify_tokens


class EncoderForTokenClassification(EncoderWithHead):
    """A class for each token, on any encoder."""

    config_class = configs.TokenConfig
    task_forms = ("token_classification",)
    add_head = heads.add_token_head
    forward = heads.classify_tokens


class T5EncoderForEntityRecognitionWithCRF(T5EncoderWithHead):
    """The best sequence of tags for the tokens, by a linear-chain CRF."""

    config_class = configs.T5CrfConfig
    task_forms = ("token_classification",)
    loss_divisor = "rows"
    add_head = structured_heads.add_crf_head
    forward = structured_heads.tag_with_crf


class EncoderForEntityRecognitionWithCRF(EncoderWithHead):
    """T5EncoderForEntityRecognitionWithCRF on any encoder."""

    config_class = configs.CrfConfig
    task_forms = ("token_classification",)
    loss_divisor = "rows"
    add_head = structured_heads.add_crf_head
    forward = structured_heads.tag_with_crf


class T5EncoderForCharacterTagging(T5EncoderWithHead):
    """A tag for each character, whatever tokens the tokenizer made of them."""

    config_class = configs.T5CharacterConfig
    task_forms = ("character_tagging",)
    add_head = structured_heads.add_character_head
    forward = structured_heads.tag_characters

    @property
    def loss_divisor(self) -> str | None:
        """Sentences where a CRF sums over their characters."""
        return "rows" if self.crf is not None else None


class EncoderForCharacterTagging(EncoderWithHead):
    """T5EncoderForCharacterTagging on any encoder."""

    config_class = configs.CharacterConfig
    task_forms = ("character_tagging",)
    add_head = structured_heads.add_character_head
    forward = structured_heads.tag_characters
    loss_divisor = T5EncoderForCharacterTagging.loss_divisor


class T5EncoderForQuestionAnswering(T5EncoderWithHead):
    """The first and the last token of the answer in a passage."""

    config_class = configs.T5QuestionAnsweringConfig
    task_forms = ("question_answering",)
    add_head = heads.add_answer_head
    forward = heads.find_answers


class EncoderForQuestionAnswering(EncoderWithHead):
    """The first and the last token of the answer in a passage, on any encoder."""

    config_class = configs.QuestionAnsweringConfig
    task_forms = ("question_answering",)
    add_head = heads.add_answer_head
    forward = heads.find_answers


class T5EncoderForDependencyParsing(T5EncoderWithHead):
    """The head of each word and their relation, by biaffine scores."""

    config_class = configs.T5DependencyConfig
    task_forms = ("dependency_parsing",)
    add_head = structured_heads.add_dependency_head
    forward = structured_heads.parse_dependencies


class EncoderForDependencyParsing(EncoderWithHead):
    """T5EncoderForDependencyParsing on any encoder."""

    config_class = configs.DependencyConfig
    task_forms = ("dependency_parsing",)
    add_head = structured_heads.add_dependency_head
    forward = structured_heads.parse_dependencies


_AUTO_CLASSES = (
    (AutoModelForSequenceClassification, T5EncoderForSequenceClassificationSimple),
    (AutoModelForSequenceClassification, T5EncoderForSequenceClassificationMean),
    (AutoModelForSequenceClassification, EncoderForSequenceClassificationMean),
    (AutoModelForSequenceClassification, EncoderForSequenceClassificationFirst),
    (AutoModelForSequenceClassification, EncoderForSequenceClassificationLast),
    (AutoModelForSequenceClassification, T5EncoderForSequenceClassificationMeanSubmeanObjmean),
    (AutoModelForSequenceClassification, T5EncoderForSequenceClassificationFirstSubmeanObjmean),
    (AutoModelForSequenceClassification, EncoderForSequenceClassificationMeanSubmeanObjmean),
    (AutoModelForTokenClassification, T5EncoderForTokenClassification),
    (AutoModelForTokenClassification, EncoderForTokenClassification),
    (AutoModelForTokenClassification, T5EncoderForEntityRecognitionWithCRF),
    (AutoModelForTokenClassification, EncoderForEntityRecognitionWithCRF),
    (AutoModelForTokenClassification, T5EncoderForCharacterTagging),
    (AutoModelForTokenClassification, EncoderForCharacterTagging),
    (AutoModelForQuestionAnswering, T5EncoderForQuestionAnswering),
    (AutoModelForQuestionAnswering, EncoderForQuestionAnswering),
    (AutoModel, T5EncoderForDependencyParsing),
    (AutoModel, EncoderForDependencyParsing),
)
for _auto, _model in _AUTO_CLASSES:
    _auto.register(_model.config_class, _model)
del _auto, _model
