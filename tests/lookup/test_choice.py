"""The model class that is chosen for a checkpoint without `--model_name`."""

from __future__ import annotations

import pytest

from ke_t5.config.flags import parse_train
from ke_t5.errors import UserError
from ke_t5.files import write_json
from ke_t5.forms import FORMS
from ke_t5.lookup.choice import choose_listed, choose_model
from ke_t5.lookup.hub import Pretrained
from ke_t5.recipes.model_names import resolve_model_name

SEQUENCE, TOKEN = "sequence_classification", "token_classification"


def checkpoint(model_type, *architectures, **config):
    """A pre-trained model with this configuration, without a folder."""
    whole = {"model_type": model_type, "architectures": list(architectures), **config}
    return Pretrained("x", None, True, whole)


@pytest.mark.parametrize(
    ("model_type", "form", "expected"),
    [
        ("t5", "seq2seq", "transformers:T5ForConditionalGeneration"),
        ("mt5", "seq2seq", "transformers:MT5ForConditionalGeneration"),
        ("umt5", "seq2seq", "transformers:UMT5ForConditionalGeneration"),
        ("bart", "seq2seq", "transformers:BartForConditionalGeneration"),
        ("t5", SEQUENCE, "T5EncoderForSequenceClassificationMean"),
        ("mt5", SEQUENCE, "T5EncoderForSequenceClassificationMean"),
        ("umt5", SEQUENCE, "transformers:UMT5ForSequenceClassification"),
        ("roberta", TOKEN, "transformers:RobertaForTokenClassification"),
        ("deberta-v2", "question_answering", "transformers:DebertaV2ForQuestionAnswering"),
        ("longt5", SEQUENCE, "EncoderForSequenceClassificationMean"),
        ("bart", TOKEN, "EncoderForTokenClassification"),
        ("longt5", TOKEN, "EncoderForTokenClassification"),
        ("t5gemma", "question_answering", "EncoderForQuestionAnswering"),
        ("bert", "dependency_parsing", "EncoderForDependencyParsing"),
        ("qwen3", "character_tagging", "EncoderForCharacterTagging"),
        (
            "electra",
            "entity_pair_classification",
            "EncoderForSequenceClassificationMeanSubmeanObjmean",
        ),
    ],
)
def test_the_class_follows_from_architecture_and_task(model_type, form, expected):
    assert choose_model(form, checkpoint(model_type)).model_name == expected


@pytest.mark.parametrize(
    ("saved", "form", "expected"),
    [
        ("T5ForSequenceClassification", SEQUENCE, "transformers:T5ForSequenceClassification"),
        ("T5ForSequenceClassification", TOKEN, "T5EncoderForTokenClassification"),
        ("T5EncoderForSequenceClassificationSimple", SEQUENCE, None),
        ("T5EncoderForEntityRecognitionWithCRF", TOKEN, None),
    ],
)
def test_a_head_that_the_checkpoint_was_saved_with_is_used(saved, form, expected):
    assert choose_model(form, checkpoint("t5", saved)).model_name == (expected or saved)


def test_our_saved_models_serve_other_tasks_too():
    ours = checkpoint("ke_t5_sequence_mean")
    assert choose_model(TOKEN, ours).model_name == "T5EncoderForTokenClassification"
    ours = checkpoint("ke_t5_any_token", backbone={"model_type": "bert"})
    assert choose_model("dependency_parsing", ours).model_name == "EncoderForDependencyParsing"


def test_without_a_class_the_task_is_refused():
    for found, form, message in (
        (checkpoint("bert"), "seq2seq", "needs an encoder-decoder.*without _gen"),
        (checkpoint("exaone"), TOKEN, "token classification class for 'exaone'"),
        (checkpoint("pegasus"), TOKEN, "token classification class for 'pegasus'"),
        (checkpoint("vit-x"), "dependency_parsing", "dependency parsing class for 'vit-x'"),
    ):
        with pytest.raises(UserError, match=message):
            choose_model(form, found)


def test_an_auto_class_stands_for_the_class_in_its_table():
    auto = "AutoModelForTokenClassification"
    found = choose_listed(auto, TOKEN, checkpoint("electra"))
    assert found.model_name == "transformers:ElectraForTokenClassification"
    with pytest.raises(UserError, match=f"no {auto} for model type 'bart'"):
        choose_listed(auto, TOKEN, checkpoint("bart"))
    message = "not for a task of sequence classification.*use transformers:AutoModelForSequenceCl"
    for name in ("AutoModel", auto):
        with pytest.raises(UserError, match=message):
            choose_listed(name, SEQUENCE, checkpoint("bert"))
    with pytest.raises(UserError, match="not for a task of dependency parsing; drop it"):
        choose_listed(auto, "dependency_parsing", checkpoint("bert"))


@pytest.mark.parametrize(
    ("others", "expected"),
    [
        ((), "my:Tagger"),
        (("transformers:BertModel",), FORMS["token_classification"].default_model),
        ((None,), FORMS["token_classification"].default_model),  # a record without a class
    ],
)
def test_a_run_that_goes_on_is_found_without_its_class(tmp_path, others, expected):
    for number, name in enumerate(("my:Tagger", *others)):
        folder = tmp_path / f"class{number}_away" / "klue_ner"
        begun = {"pre_trained_model": "no/where", "task": "klue_ner"}
        write_json(folder / "run.json", begun if name is None else {**begun, "model_name": name})
    words = ["--task", "klue_ner", "--pre_trained_model", "no/where", "--resume", "best"]
    flags = parse_train([*words, "--output_dir", str(tmp_path)])
    assert resolve_model_name(flags, "token_classification") == expected


def test_a_model_without_its_decoder_cannot_generate():
    config = {"model_type": "t5", "is_encoder_decoder": False}
    what = "a 't5' model with is_encoder_decoder = false cannot generate, but the task needs an"
    with pytest.raises(UserError, match=what):
        choose_model("seq2seq", Pretrained("model", None, True, config))
