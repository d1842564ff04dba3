"""The forms of task, one row each: what a form needs of a model and how outputs are processed.

To add a form, add a row here, a head in `ke_t5.models` and a reducer in `ke_t5.pipe.model_outputs`.
"""

from __future__ import annotations

from dataclasses import dataclass

# The label that losses ignore, as in torch's cross entropy; also that of an unlabelled row.
IGNORED = -100


@dataclass(frozen=True)
class Form:
    """One form of task.

    Attributes:
        name: the value of `Task.form`.
        default_model: the class for T5 checkpoints, as `--model_name` takes it.
        any_encoder_model: our class for all other encoders, None if only transformers has one.
        models: the names of all our classes in `ke_t5.models.models`.
        auto_class: the Auto class of transformers under which ours are registered.
        transformers_table: the name of transformers' table of classes for the form, if it has one.
        reducer: the function of `ke_t5.pipe.model_outputs` that turns a batch's output into one
            record per row; None if the answers are generated.
        loss_reduction: what the loss is a mean over, unless the task says otherwise.
        pipeline: the transformers pipeline for the form, if any.
        predicts_tags: predictions are one tag per token or character.
        reads_passages: an input is a question and a passage.
        needs_text: predictions are characters, words or passages of the row's text.
        reads_pooler: transformers' classes may read a pooler that the checkpoint lacks.
        has_choices: an input is a text for each choice: ids are [rows, choices, tokens].
        links_mentions: predictions are chains of mentions, and an input is a document in windows.
        answers: the key of a prediction in the output of `ke-t5 predict`.
        unlimited_form: the form with the same labels whose scores the tokenizer does not limit.
    """

    name: str
    default_model: str
    any_encoder_model: str | None = None
    models: tuple[str, ...] = ()
    auto_class: str = "AutoModel"
    transformers_table: str | None = None
    reducer: str | None = None
    loss_reduction: str = "rows"
    pipeline: str | None = None
    predicts_tags: bool = False
    reads_passages: bool = False
    needs_text: bool = False
    reads_pooler: bool = False
    has_choices: bool = False
    links_mentions: bool = False
    answers: str = "label"
    unlimited_form: str | None = None

    @property
    def has_one_label(self) -> bool:
        """Whether a text, or a pair of texts, has one label (or one number)."""
        return self.pipeline == "text-classification" and self.answers == "label"

    @property
    def generates(self) -> bool:
        """Whether a sequence-to-sequence model writes the answers."""
        return self.reducer is None


# Models with one logit per class, for single-label and multi-label tasks.
_CLASSIFIERS = (
    "T5EncoderForSequenceClassificationSimple",
    "T5EncoderForSequenceClassificationMean",
    "EncoderForSequenceClassificationMean",
    "EncoderForSequenceClassificationFirst",
    "EncoderForSequenceClassificationLast",
    "EncoderForSequenceClassificationAttention",
    "EncoderForSequenceClassificationLayers",
    "HashedNgramForSequenceClassification",
)

_ROWS = (
    Form(
        "sequence_classification",
        default_model="T5EncoderForSequenceClassificationMean",
        any_encoder_model="EncoderForSequenceClassificationMean",
        models=_CLASSIFIERS,
        auto_class="AutoModelForSequenceClassification",
        transformers_table="MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES",
        reducer="class_logits",
        pipeline="text-classification",
        reads_pooler=True,
    ),
    Form(
        "multilabel_classification",
        default_model="T5EncoderForSequenceClassificationMean",
        any_encoder_model="EncoderForSequenceClassificationMean",
        models=_CLASSIFIERS,
        auto_class="AutoModelForSequenceClassification",
        transformers_table="MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES",
        reducer="class_logits",
        pipeline="text-classification",
        reads_pooler=True,
        answers="labels",
    ),
    Form(
        "multiple_choice",
        default_model="T5EncoderForMultipleChoice",
        any_encoder_model="EncoderForMultipleChoice",
        models=("T5EncoderForMultipleChoice", "EncoderForMultipleChoice"),
        auto_class="AutoModelForMultipleChoice",
        transformers_table="MODEL_FOR_MULTIPLE_CHOICE_MAPPING_NAMES",
        reducer="class_logits",
        reads_pooler=True,
        has_choices=True,
        answers="choice",
    ),
    Form(
        "token_classification",
        default_model="T5EncoderForTokenClassification",
        any_encoder_model="EncoderForTokenClassification",
        models=(
            "T5EncoderForTokenClassification",
            "T5EncoderForEntityRecognitionWithCRF",
            "EncoderForTokenClassification",
            "EncoderForEntityRecognitionWithCRF",
        ),
        auto_class="AutoModelForTokenClassification",
        transformers_table="MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES",
        reducer="token_tags",
        loss_reduction="label_tokens",
        pipeline="token-classification",
        predicts_tags=True,
        needs_text=True,
        unlimited_form="character_tagging",
        answers="entities",
    ),
    Form(
        "question_answering",
        default_model="T5EncoderForQuestionAnswering",
        any_encoder_model="EncoderForQuestionAnswering",
        models=("T5EncoderForQuestionAnswering", "EncoderForQuestionAnswering"),
        auto_class="AutoModelForQuestionAnswering",
        transformers_table="MODEL_FOR_QUESTION_ANSWERING_MAPPING_NAMES",
        reducer="span_logits",
        loss_reduction="start_end",
        pipeline="question-answering",
        reads_passages=True,
        needs_text=True,
        answers="answer",
    ),
    Form(
        "seq2seq",
        default_model="transformers:T5ForConditionalGeneration",
        auto_class="AutoModelForSeq2SeqLM",
        transformers_table="MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES",
        loss_reduction="label_tokens",
        answers="text",
    ),
    Form(
        "entity_pair_classification",
        default_model="T5EncoderForSequenceClassificationMeanSubmeanObjmean",
        any_encoder_model="EncoderForSequenceClassificationMeanSubmeanObjmean",
        models=(
            "T5EncoderForSequenceClassificationMeanSubmeanObjmean",
            "T5EncoderForSequenceClassificationFirstSubmeanObjmean",
            "EncoderForSequenceClassificationMeanSubmeanObjmean",
        ),
        auto_class="AutoModelForSequenceClassification",
        reducer="class_logits",
    ),
    Form(
        "dependency_parsing",
        default_model="T5EncoderForDependencyParsing",
        any_encoder_model="EncoderForDependencyParsing",
        models=("T5EncoderForDependencyParsing", "EncoderForDependencyParsing"),
        reducer="trees",
        loss_reduction="label_tokens",
        needs_text=True,
        answers="tree",
    ),
    Form(
        "character_tagging",
        default_model="T5EncoderForCharacterTagging",
        any_encoder_model="EncoderForCharacterTagging",
        models=("T5EncoderForCharacterTagging", "EncoderForCharacterTagging"),
        auto_class="AutoModelForTokenClassification",
        reducer="character_tags",
        loss_reduction="label_tokens",
        predicts_tags=True,
        needs_text=True,
        answers="entities",
    ),
    Form(
        "coreference_resolution",
        default_model="T5EncoderForCoreference",
        any_encoder_model="EncoderForCoreference",
        models=("T5EncoderForCoreference", "EncoderForCoreference"),
        reducer="mention_chains",
        links_mentions=True,
        needs_text=True,
        answers="chains",
    ),
)

FORMS = {form.name: form for form in _ROWS}

# The form of a task that names none.
DEFAULT_FORM = "seq2seq"

# Our model classes: name -> forms.
MODEL_FORMS = {
    model: tuple(name for name, form in FORMS.items() if model in form.models)
    for row in FORMS.values()
    for model in row.models
}
