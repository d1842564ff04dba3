"""Configurations of our models: each has its own `model_type`.

If a folder said `t5`, it would load as another class, with random weights and without an error.
"""

from __future__ import annotations

from typing import Any, ClassVar

from transformers import AutoConfig, T5Config
from transformers.configuration_utils import PreTrainedConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_TEXT_ENCODING_MAPPING_NAMES

from ke_t5.lookup.families import ENCODER_CLASSES, OUR_PREFIX, READ_BY_DECODER, T5_TYPES


class ConvertedOnReading:
    """A mixin for configurations that also read folders of other types: `converted` turns the dict
    of another configuration into one of the class."""

    @classmethod
    def get_config_dict(cls: Any, *args: Any, **kwargs: Any) -> tuple[dict, dict]:
        """A folder's converted configuration, and the unused arguments."""
        parent: Any = super()  # the configuration class after this mixin
        config, unused = parent.get_config_dict(*args, **kwargs)
        return cls.converted(config), unused


class T5EncoderConfig(ConvertedOnReading, T5Config):
    """A T5 configuration without the decoder; also reads that of a whole T5."""

    model_type = "ke_t5_encoder"

    made_for: ClassVar[str] = "'t5'"

    is_encoder_decoder: bool = False
    use_cache: bool = False

    @classmethod
    def reads(cls, config: dict) -> bool:
        """Whether the body of a model with this configuration fits; its head may be another."""
        ours = config["model_type"].startswith(OUR_PREFIX) and "backbone" not in config
        return ours or config["model_type"] in T5_TYPES

    @classmethod
    def converted(cls, config: dict) -> dict:
        """The configuration dict of a T5 or of another head, converted to this class."""
        if not config.get("model_type") or not cls.reads(config):
            return config
        values = {key: value for key, value in config.items() if key != "architectures"}
        changes = {"model_type": cls.model_type, "is_encoder_decoder": False, "use_cache": False}
        return {**values, **changes}


class SimpleSequenceConfig(T5EncoderConfig):
    """Configuration of T5EncoderForSequenceClassificationSimple."""

    model_type = "ke_t5_sequence_simple"


class MeanSequenceConfig(T5EncoderConfig):
    """Configuration of T5EncoderForSequenceClassificationMean."""

    model_type = "ke_t5_sequence_mean"


class MeanEntityPairConfig(T5EncoderConfig):
    """Configuration of T5EncoderForSequenceClassificationMeanSubmeanObjmean."""

    model_type = "ke_t5_entity_pair_mean"


class FirstEntityPairConfig(T5EncoderConfig):
    """Configuration of T5EncoderForSequenceClassificationFirstSubmeanObjmean."""

    model_type = "ke_t5_entity_pair_first"


class T5ChoiceConfig(T5EncoderConfig):
    """Configuration of T5EncoderForMultipleChoice."""

    model_type = "ke_t5_multiple_choice"


class T5TokenConfig(T5EncoderConfig):
    """Configuration of T5EncoderForTokenClassification."""

    model_type = "ke_t5_token"


class T5CrfConfig(T5EncoderConfig):
    """Configuration of T5EncoderForEntityRecognitionWithCRF.

    `crf_iob2` excludes what IOB2 forbids: I-X after O, at the start, or after another type. The
    published models were trained without it.
    """

    model_type = "ke_t5_token_crf"

    crf_iob2: bool = False


class T5CharacterConfig(T5EncoderConfig):
    """Configuration of T5EncoderForCharacterTagging.

    Args:
        max_token_characters: number of distinct positions within a token; later characters share
            the last.
        character_crf: a CRF over the characters; without it each tag is predicted separately.
        crf_iob2: as in T5CrfConfig.
    """

    model_type = "ke_t5_character"

    max_token_characters: int = 16
    character_crf: bool = True
    crf_iob2: bool = True


class T5QuestionAnsweringConfig(T5EncoderConfig):
    """Configuration of T5EncoderForQuestionAnswering."""

    model_type = "ke_t5_question_answering"


class T5DependencyConfig(T5EncoderConfig):
    """Configuration of T5EncoderForDependencyParsing.

    Args:
        head_width: width of the biaffine space for heads.
        relation_width: width of the biaffine space for relations.
    """

    model_type = "ke_t5_dependency"

    head_width: int = 256
    relation_width: int = 128


class T5CoreferenceConfig(T5EncoderConfig):
    """Configuration of T5EncoderForCoreference.

    Args:
        mention_width: width of the spaces in which starts and ends of mentions are compared.
        mentions_per_token: number of spans kept as mentions, per token of the document.
        max_mentions: maximum number of mentions per document.
    """

    model_type = "ke_t5_coreference"

    mention_width: int = 512
    mentions_per_token: float = 0.4
    max_mentions: int = 2000


class EncoderConfig(ConvertedOnReading, PreTrainedConfig):
    """A head on any encoder, whose own configuration is `backbone`.

    `reads_segments` passes segment ids to an encoder that has them, so that it can tell the texts
    of a pair apart. Models of earlier versions were trained without them.

    `head_dropout` is the dropout before the head; None for the backbone's own.
    """

    model_type = "ke_t5_any_encoder"
    sub_configs = {"backbone": AutoConfig}  # pyright: ignore[reportAssignmentType]
    made_for: ClassVar[str] = "a stand-alone encoder of transformers"

    backbone: dict | PreTrainedConfig | None = None
    reads_segments: bool = False
    head_dropout: float | None = None
    pad_token_id: int | None = None
    bos_token_id: int | None = None
    eos_token_id: int | list[int] | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        if isinstance(self.backbone, dict):
            self.backbone = AutoConfig.for_model(**self.backbone)
        super().__post_init__(**kwargs)

    @property
    def hidden_size(self) -> int:
        """Width of the backbone's last layer."""
        backbone: Any = self.backbone
        nested = getattr(backbone, "encoder", None)  # of T5Gemma
        return getattr(nested, "hidden_size", None) or backbone.hidden_size

    @property
    def number_of_hidden_states(self) -> int:
        """Number of the backbone's layers plus one for its embedding."""
        backbone: Any = self.backbone
        nested = getattr(backbone, "encoder", None) or backbone
        is_decoder = backbone.model_type in READ_BY_DECODER
        return (nested.decoder_layers if is_decoder else nested.num_hidden_layers) + 1

    @property
    def dropout_rate(self) -> float:
        """Dropout before the head: `head_dropout` or, if it is None, the backbone's."""
        if self.head_dropout is not None:
            return self.head_dropout
        names = ("classifier_dropout", "hidden_dropout_prob", "dropout_rate", "dropout")
        rates = (getattr(self.backbone, name, None) for name in names)
        return next((rate for rate in rates if rate is not None), 0.1)

    @classmethod
    def reads(cls, config: dict) -> bool:
        """Whether the body of a model with this configuration fits; its head may be another."""
        kind = config["model_type"]
        is_standalone = kind in MODEL_FOR_TEXT_ENCODING_MAPPING_NAMES or kind in (
            *ENCODER_CLASSES,
            *READ_BY_DECODER,
        )
        if config.get("is_encoder_decoder") and not is_standalone:
            return False
        return "backbone" in config or not kind.startswith(OUR_PREFIX)

    @classmethod
    def converted(cls, config: dict) -> dict:
        """The configuration dict of an encoder or of another head, converted to this class."""
        if not config.get("model_type") or not cls.reads(config):
            return config
        if "backbone" in config:
            return {**config, "model_type": cls.model_type}
        shared = ("pad_token_id", "bos_token_id", "eos_token_id", "tokenizer_class")
        values = {key: config[key] for key in shared if key in config}
        fresh = {"backbone": config, "reads_segments": True}
        return {**values, "model_type": cls.model_type, **fresh}


class AnyMeanSequenceConfig(EncoderConfig):
    """Configuration of EncoderForSequenceClassificationMean."""

    model_type = "ke_t5_any_sequence_mean"


class AnyFirstSequenceConfig(EncoderConfig):
    """Configuration of EncoderForSequenceClassificationFirst."""

    model_type = "ke_t5_any_sequence_first"


class AnyLastSequenceConfig(EncoderConfig):
    """Configuration of EncoderForSequenceClassificationLast."""

    model_type = "ke_t5_any_sequence_last"


class AnyAttentionSequenceConfig(EncoderConfig):
    """Configuration of EncoderForSequenceClassificationAttention."""

    model_type = "ke_t5_any_sequence_attention"


class AnyLayersSequenceConfig(EncoderConfig):
    """Configuration of EncoderForSequenceClassificationLayers."""

    model_type = "ke_t5_any_sequence_layers"


class ChoiceConfig(EncoderConfig):
    """Configuration of EncoderForMultipleChoice."""

    model_type = "ke_t5_any_multiple_choice"


class TokenConfig(EncoderConfig):
    """Configuration of EncoderForTokenClassification."""

    model_type = "ke_t5_any_token"


class EntityPairConfig(EncoderConfig):
    """Configuration of EncoderForSequenceClassificationMeanSubmeanObjmean."""

    model_type = "ke_t5_any_entity_pair_mean"


class QuestionAnsweringConfig(EncoderConfig):
    """Configuration of EncoderForQuestionAnswering."""

    model_type = "ke_t5_any_question_answering"


class CrfConfig(EncoderConfig):
    """Configuration of EncoderForEntityRecognitionWithCRF; `crf_iob2` as in T5CrfConfig."""

    model_type = "ke_t5_any_token_crf"

    crf_iob2: bool = False


class CharacterConfig(EncoderConfig):
    """Configuration of EncoderForCharacterTagging; the arguments of T5CharacterConfig."""

    model_type = "ke_t5_any_character"

    max_token_characters: int = 16
    character_crf: bool = True
    crf_iob2: bool = True


class DependencyConfig(EncoderConfig):
    """Configuration of EncoderForDependencyParsing; the arguments of T5DependencyConfig."""

    model_type = "ke_t5_any_dependency"

    head_width: int = 256
    relation_width: int = 128


class CoreferenceConfig(EncoderConfig):
    """Configuration of EncoderForCoreference; the arguments of T5CoreferenceConfig."""

    model_type = "ke_t5_any_coreference"

    mention_width: int = 512
    mentions_per_token: float = 0.4
    max_mentions: int = 2000
