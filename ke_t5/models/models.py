"""Our model classes: an encoder, a head, and the configuration that says which.

Every class has a `model_type` of its own and is registered with transformers' Auto classes, so
that `AutoModelForSequenceClassification.from_pretrained` and `pipeline` find it.
"""

from __future__ import annotations

import transformers
from transformers import AutoConfig

from ke_t5.forms import FORMS
from ke_t5.models import configs, heads, structured_heads
from ke_t5.models.encoders import EncoderWithHead, T5EncoderWithHead
from ke_t5.models.ngrams import (
    HashedNgramForSequenceClassification as HashedNgramForSequenceClassification,
)


class T5EncoderForSequenceClassificationSimple(T5EncoderWithHead):
    """A class, or a number, for a text, read off its first token."""

    config_class = configs.SimpleSequenceConfig
    pool = staticmethod(heads.first_token)
    add_head = heads.add_sequence_head
    forward = heads.classify_sequences


class T5EncoderForSequenceClassificationMean(T5EncoderWithHead):
    """A class, or a number, for a text, read off the sum of its tokens over root length."""

    config_class = configs.MeanSequenceConfig
    pool = staticmethod(heads.sum_over_root_length)
    add_head = heads.add_sequence_head
    forward = heads.classify_sequences


class EncoderForSequenceClassificationMean(EncoderWithHead):
    """A class, or a number, for a text or a pair, read off the mean of its tokens; any encoder."""

    config_class = configs.AnyMeanSequenceConfig
    pool = staticmethod(heads.mean_over_tokens)
    add_head = heads.add_pooled_head
    forward = heads.classify_sequences


class EncoderForSequenceClassificationFirst(EncoderWithHead):
    """A class, or a number, for a text or a pair, read off its first token; any encoder."""

    config_class = configs.AnyFirstSequenceConfig
    pool = staticmethod(heads.first_token)
    add_head = heads.add_pooled_head
    forward = heads.classify_sequences


class EncoderForSequenceClassificationLast(EncoderWithHead):
    """A class, or a number, for a text or a pair, read off its last token; any encoder."""

    config_class = configs.AnyLastSequenceConfig
    pool = staticmethod(heads.last_token)
    add_head = heads.add_pooled_head
    forward = heads.classify_sequences


class T5EncoderForSequenceClassificationMeanSubmeanObjmean(T5EncoderWithHead):
    """The relation of two entities, read off the whole text and the mean of each entity."""

    config_class = configs.MeanEntityPairConfig
    pool = staticmethod(heads.sum_over_root_length)
    add_head = heads.add_entity_pair_head
    forward = heads.classify_entity_pairs


class T5EncoderForSequenceClassificationFirstSubmeanObjmean(T5EncoderWithHead):
    """The relation of two entities, read off the first token and the mean of each entity."""

    config_class = configs.FirstEntityPairConfig
    pool = staticmethod(heads.first_token)
    add_head = heads.add_entity_pair_head
    forward = heads.classify_entity_pairs


class EncoderForSequenceClassificationMeanSubmeanObjmean(EncoderWithHead):
    """T5EncoderForSequenceClassificationMeanSubmeanObjmean on any encoder."""

    config_class = configs.EntityPairConfig
    pool = staticmethod(heads.sum_over_root_length)
    add_head = heads.add_entity_pair_head
    forward = heads.classify_entity_pairs


class T5EncoderForTokenClassification(T5EncoderWithHead):
    """A class for each token."""

    config_class = configs.T5TokenConfig
    add_head = heads.add_token_head
    forward = heads.classify_tokens


class EncoderForTokenClassification(EncoderWithHead):
    """A class for each token, on any encoder."""

    config_class = configs.TokenConfig
    add_head = heads.add_token_head
    forward = heads.classify_tokens


class T5EncoderForEntityRecognitionWithCRF(T5EncoderWithHead):
    """The best sequence of tags for the tokens, by a linear-chain CRF."""

    config_class = configs.T5CrfConfig
    loss_divisor = "rows"
    add_head = structured_heads.add_crf_head
    forward = structured_heads.tag_with_crf


class EncoderForEntityRecognitionWithCRF(EncoderWithHead):
    """T5EncoderForEntityRecognitionWithCRF on any encoder."""

    config_class = configs.CrfConfig
    loss_divisor = "rows"
    add_head = structured_heads.add_crf_head
    forward = structured_heads.tag_with_crf


class T5EncoderForCharacterTagging(T5EncoderWithHead):
    """A tag for each character, whatever tokens the tokenizer made of them."""

    config_class = configs.T5CharacterConfig
    add_head = structured_heads.add_character_head
    forward = structured_heads.tag_characters

    @property
    def loss_divisor(self) -> str | None:
        """Sentences where a CRF sums over their characters."""
        return "rows" if self.crf is not None else None


class EncoderForCharacterTagging(EncoderWithHead):
    """T5EncoderForCharacterTagging on any encoder."""

    config_class = configs.CharacterConfig
    add_head = structured_heads.add_character_head
    forward = structured_heads.tag_characters
    loss_divisor = T5EncoderForCharacterTagging.loss_divisor


class T5EncoderForQuestionAnswering(T5EncoderWithHead):
    """The first and the last token of the answer in a passage."""

    config_class = configs.T5QuestionAnsweringConfig
    add_head = heads.add_answer_head
    forward = heads.find_answers


class EncoderForQuestionAnswering(EncoderWithHead):
    """The first and the last token of the answer in a passage, on any encoder."""

    config_class = configs.QuestionAnsweringConfig
    add_head = heads.add_answer_head
    forward = heads.find_answers


class T5EncoderForDependencyParsing(T5EncoderWithHead):
    """The head of each word and their relation, by biaffine scores."""

    config_class = configs.T5DependencyConfig
    add_head = structured_heads.add_dependency_head
    forward = structured_heads.parse_dependencies


class EncoderForDependencyParsing(EncoderWithHead):
    """T5EncoderForDependencyParsing on any encoder."""

    config_class = configs.DependencyConfig
    add_head = structured_heads.add_dependency_head
    forward = structured_heads.parse_dependencies


def _register() -> None:
    """Makes each class known to transformers, under the Auto class of its form."""
    for form in FORMS.values():
        for name in form.models:
            model_class = globals()[name]
            model_class.task_forms = (form.name,)
            config_class = model_class.config_class
            AutoConfig.register(config_class.model_type, config_class)
            getattr(transformers, form.auto_class).register(config_class, model_class)


_register()
