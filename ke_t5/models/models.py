"""Our model classes: each combines an encoder, a head and a configuration.

Every class has its own `model_type` and is registered with transformers' Auto classes, so
that `AutoModelForSequenceClassification.from_pretrained` and `pipeline` find it.
"""

from __future__ import annotations

import transformers
from transformers import AutoConfig

from ke_t5.forms import FORMS, MODEL_FORMS
from ke_t5.models import configs, coreference_heads, heads, poolings, structured_heads
from ke_t5.models.encoders import EncoderWithHead, T5EncoderWithHead
from ke_t5.models.ngrams import (
    HashedNgramForSequenceClassification as HashedNgramForSequenceClassification,
)


class T5EncoderForSequenceClassificationSimple(heads.SequenceHeadWithPooler, T5EncoderWithHead):
    """A class, or a number, for a text, predicted from its first token."""

    config_class = configs.SimpleSequenceConfig
    pool = staticmethod(poolings.first_token)


class T5EncoderForSequenceClassificationMean(heads.SequenceHeadWithPooler, T5EncoderWithHead):
    """A class, or a number, for a text, predicted from the sum of its tokens over the square root
    of their number."""

    config_class = configs.MeanSequenceConfig
    pool = staticmethod(poolings.sum_over_root_length)


class EncoderForSequenceClassificationMean(heads.SequenceHead, EncoderWithHead):
    """A class, or a number, for a text or a pair, predicted from the mean of its tokens; any
    encoder."""

    config_class = configs.AnyMeanSequenceConfig
    pool = staticmethod(poolings.mean_over_tokens)


class EncoderForSequenceClassificationFirst(heads.SequenceHead, EncoderWithHead):
    """A class, or a number, for a text or a pair, predicted from its first token; any encoder."""

    config_class = configs.AnyFirstSequenceConfig
    pool = staticmethod(poolings.first_token)


class EncoderForSequenceClassificationLast(heads.SequenceHead, EncoderWithHead):
    """A class, or a number, for a text or a pair, predicted from its last token; any encoder."""

    config_class = configs.AnyLastSequenceConfig
    pool = staticmethod(poolings.last_token)


class EncoderForSequenceClassificationAttention(heads.SequenceHeadWithAttention, EncoderWithHead):
    """A class, or a number, for a text or a pair, predicted from its tokens, pooled by a learned
    query; any encoder."""

    config_class = configs.AnyAttentionSequenceConfig


class EncoderForSequenceClassificationLayers(heads.SequenceHeadOnLayers, EncoderWithHead):
    """A class, or a number, for a text or a pair, predicted from the mean of its tokens in a
    weighted mean of all layers; any encoder."""

    config_class = configs.AnyLayersSequenceConfig
    pool = staticmethod(poolings.mean_over_tokens)


class T5EncoderForMultipleChoice(heads.ChoiceHead, T5EncoderWithHead):
    """One of several choices, each scored by the mean of its tokens."""

    config_class = configs.T5ChoiceConfig


class EncoderForMultipleChoice(heads.ChoiceHead, EncoderWithHead):
    """One of several choices, each scored by the mean of its tokens, on any encoder."""

    config_class = configs.ChoiceConfig


class T5EncoderForSequenceClassificationMeanSubmeanObjmean(heads.EntityPairHead, T5EncoderWithHead):
    """The relation of two entities, predicted from the whole text and the mean of each entity."""

    config_class = configs.MeanEntityPairConfig
    pool = staticmethod(poolings.sum_over_root_length)


class T5EncoderForSequenceClassificationFirstSubmeanObjmean(
    heads.EntityPairHead, T5EncoderWithHead
):
    """The relation of two entities, predicted from the first token and the mean of each entity."""

    config_class = configs.FirstEntityPairConfig
    pool = staticmethod(poolings.first_token)


class EncoderForSequenceClassificationMeanSubmeanObjmean(heads.EntityPairHead, EncoderWithHead):
    """T5EncoderForSequenceClassificationMeanSubmeanObjmean on any encoder."""

    config_class = configs.EntityPairConfig
    pool = staticmethod(poolings.sum_over_root_length)


class T5EncoderForTokenClassification(heads.TokenHead, T5EncoderWithHead):
    """A class for each token."""

    config_class = configs.T5TokenConfig


class EncoderForTokenClassification(heads.TokenHead, EncoderWithHead):
    """A class for each token, on any encoder."""

    config_class = configs.TokenConfig


class T5EncoderForEntityRecognitionWithCRF(structured_heads.CrfHead, T5EncoderWithHead):
    """The best sequence of tags for the tokens, by a linear-chain CRF."""

    config_class = configs.T5CrfConfig


class EncoderForEntityRecognitionWithCRF(structured_heads.CrfHead, EncoderWithHead):
    """T5EncoderForEntityRecognitionWithCRF on any encoder."""

    config_class = configs.CrfConfig


class T5EncoderForCharacterTagging(structured_heads.CharacterHead, T5EncoderWithHead):
    """A tag for each character, independent of the token boundaries."""

    config_class = configs.T5CharacterConfig


class EncoderForCharacterTagging(structured_heads.CharacterHead, EncoderWithHead):
    """T5EncoderForCharacterTagging on any encoder."""

    config_class = configs.CharacterConfig


class T5EncoderForQuestionAnswering(heads.AnswerHead, T5EncoderWithHead):
    """The first and the last token of the answer in a passage."""

    config_class = configs.T5QuestionAnsweringConfig


class EncoderForQuestionAnswering(heads.AnswerHead, EncoderWithHead):
    """The first and the last token of the answer in a passage, on any encoder."""

    config_class = configs.QuestionAnsweringConfig


class T5EncoderForDependencyParsing(structured_heads.DependencyHead, T5EncoderWithHead):
    """The head of each word and their relation, by biaffine scores."""

    config_class = configs.T5DependencyConfig


class EncoderForDependencyParsing(structured_heads.DependencyHead, EncoderWithHead):
    """T5EncoderForDependencyParsing on any encoder."""

    config_class = configs.DependencyConfig


class T5EncoderForCoreference(coreference_heads.CoreferenceHead, T5EncoderWithHead):
    """The mentions of a document and their coreference chains."""

    config_class = configs.T5CoreferenceConfig


class EncoderForCoreference(coreference_heads.CoreferenceHead, EncoderWithHead):
    """The mentions of a document and their coreference chains, on any encoder."""

    config_class = configs.CoreferenceConfig


def _register() -> None:
    """Registers each class with transformers, under the Auto class of its form."""
    for name, forms in MODEL_FORMS.items():
        model_class = globals()[name]
        model_class.task_forms = forms
        config_class = model_class.config_class
        AutoConfig.register(config_class.model_type, config_class)
        auto_class = getattr(transformers, FORMS[forms[0]].auto_class)
        auto_class.register(config_class, model_class)


_register()
