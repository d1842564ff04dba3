"""Model names: their spellings, the errors, and that checking them does not import torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ke_t5.errors import UserError
from ke_t5.forms import FORMS
from ke_t5.lookup import loader

ROOT = Path(__file__).resolve().parents[2]
MEAN = "T5EncoderForSequenceClassificationMean"

USER_MODULE = '''
from transformers import T5EncoderModel
from ke_t5.models.loader import register_model

@register_model("{alias}")
class MyModel(T5EncoderModel):
    """A user's own."""

class NoModel:
    pass
'''


@pytest.fixture
def user_folder(tmp_path, monkeypatch):
    """A current folder with an importable `my_models_N/my_model.py`; restores path and registry."""
    name = f"my_models_{tmp_path.name}".replace("-", "_")
    package = tmp_path / name
    package.mkdir()
    (package / "my_model.py").write_text(USER_MODULE.format(alias=f"alias_{name}"))
    (package / "broken.py").write_text("import no_such_library\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    known = dict(loader._MODELS._things)
    yield name
    loader._MODELS._things = known


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (MEAN, MEAN),
        (f"ke_t5.models.models:{MEAN}", MEAN),
        ("ke_t5.models.models:t5_encoder_for_sequence_classification_mean", MEAN),
        (
            "ke_t5.models.models:t5_encoder_for_entity_recognition_with_crf",
            "T5EncoderForEntityRecognitionWithCRF",
        ),
        ("transformers:RobertaForSequenceClassification", "RobertaForSequenceClassification"),
        ("transformers:t5_for_conditional_generation", "T5ForConditionalGeneration"),
    ],
)
def test_every_spelling_names_the_class(name, expected):
    assert loader.check_model_name(name) == expected
    assert loader.load_model(name).__name__ == expected


def test_every_registered_model_is_there():
    for name in loader.registered_models():
        assert loader.load_model(name).__name__ == loader.check_model_name(name)


@pytest.mark.parametrize("form", FORMS)
def test_the_default_model_has_the_right_form(form):
    model_class = loader.load_model(loader.default_model_name(form))
    assert loader.check_form(model_class, form) == form


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("T5EncoderForTokenClasification", "did you mean 'T5EncoderForTokenClassification'"),
        (
            "RobertaForSequenceClassification",
            "did you mean 'transformers:RobertaForSequenceClassification'",
        ),
        (
            "RobertaForSequencClassification",
            "did you mean 'transformers:RobertaForSequenceClassification'",
        ),
        ("transformers:RobertaForSequencClassification", "did you mean 'RobertaForSequenceC"),
        ("ke_t5.models.models:T5EncoderForTokenClass", "did you mean 'T5EncoderForTok"),
        ("no_such_module:Model", "there is no module 'no_such_module'"),
        ("ke_t5.models.no_such:Model", "there is no module 'ke_t5.models.no_such'"),
        (":", "there is no module ''"),
    ],
)
def test_an_unknown_name_is_explained_by_both(name, message):
    for find in (loader.check_model_name, loader.load_model):
        with pytest.raises(UserError, match=f"^error: --model_name {name!r}: .*{message}"):
            find(name)


def test_the_check_imports_neither_torch_nor_the_module(user_folder):
    code = f"""
import sys
from ke_t5.lookup.loader import check_model_name
for name in ("transformers:BertForTokenClassification", {MEAN!r}, "{user_folder}.my_model:MyModel",
             "ke_t5.models.models:t5_encoder_for_token_classification"):
    check_model_name(name)
loaded = [name for name in sys.modules if name.split(".")[0] in ("torch", {user_folder!r})]
assert not loaded, loaded
assert "ke_t5.models.models" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": str(ROOT)})


def test_a_users_class_is_found_from_the_current_folder(user_folder):
    named = loader.load_model(f"{user_folder}.my_model:MyModel")
    assert named is loader.load_model(f"{user_folder}.my_model:my_model")
    assert named is loader.load_model(f"alias_{user_folder}")
    assert loader.check_model_name(f"alias_{user_folder}") == "MyModel"


def test_an_import_that_fails_says_which_and_why(user_folder):
    message = (
        f"the import of '{user_folder}.broken' fails at {user_folder}/broken.py:1: "
        ".*no_such_library'; fix the module$"
    )
    with pytest.raises(UserError, match=message) as caught:
        loader.load_model(f"{user_folder}.broken:Model")
    assert isinstance(caught.value.__cause__, ModuleNotFoundError) and caught.value.keep_traceback


def test_an_alias_that_was_not_imported_says_how():
    with pytest.raises(UserError, match="--module_import runs your @register_model"):
        loader.check_model_name("abcdefg")


def test_one_similar_name_is_suggested():
    for name, similar in (
        ("EncoderForSequenceClasificationMean", "EncoderForSequenceClassificationMean"),
        ("T5ForConditionalGeneration", "transformers:T5ForConditionalGeneration"),
        ("ForCharacterTagging", "EncoderForCharacterTagging"),
    ):
        with pytest.raises(UserError, match=f"unknown model; did you mean '{similar}'[?]$"):
            loader.check_model_name(name)


def test_a_checkpoint_in_place_of_a_class_belongs_to_another_flag(tmp_path, monkeypatch):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/config.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    for name in ("klue/roberta-base", "mine", str(tmp_path)):
        with pytest.raises(UserError, match="not a checkpoint; give that with --pre_trained_mod"):
            loader.check_model_name(name)


def test_a_class_that_is_no_model_is_refused(user_folder):
    with pytest.raises(UserError, match="my_model:NoModel is not a PreTrainedModel"):
        loader.load_model(f"{user_folder}.my_model:NoModel")
    with pytest.raises(UserError, match=r"@register_model\('x'\) .*Path is not a PreTrainedModel"):
        loader.register_model("x")(Path)


def test_a_duplicate_alias_names_both():
    with pytest.raises(UserError, match=f"T5Enc.*: the alias is taken by ke_t5.*:{MEAN}; choose"):
        loader.register_model(MEAN)(loader.load_model("T5EncoderForTokenClassification"))


@pytest.mark.parametrize(
    ("name", "form", "message"),
    [
        (
            MEAN,
            "seq2seq",
            "a model for sequence classification and multilabel classification, but the task needs "
            "one for seq2seq",
        ),
        (
            "transformers:RobertaForSequenceClassification",
            "token_classification",
            "but the task needs one for token classification; choose .*T5EncoderForTokenC",
        ),
        ("transformers:RobertaForMaskedLM", "seq2seq", "a model without a head for any task"),
    ],
)
def test_a_class_of_the_wrong_kind_is_one_line(name, form, message):
    with pytest.raises(UserError, match=message):
        loader.check_form(loader.load_model(name), form)


def test_transformers_classes_of_the_right_kind_pass():
    for name, form in (
        ("T5ForSequenceClassification", "sequence_classification"),
        ("T5ForTokenClassification", "token_classification"),
        ("T5ForQuestionAnswering", "question_answering"),
        ("BartForConditionalGeneration", "seq2seq"),
    ):
        assert loader.check_form(loader.load_model(f"transformers:{name}"), form) == form


def test_a_users_class_goes_by_its_own_word_its_base_or_passes():
    bert = loader.load_model("transformers:BertForTokenClassification")
    derived = type("Derived", (bert,), {"__module__": "mine"})
    declared = type("Declared", (bert,), {"__module__": "mine", "task_forms": ("seq2seq",)})
    unknown = type("Unknown", (loader.load_model("transformers:BertModel"),), {"__module__": "m"})
    assert loader.check_form(derived, "token_classification") == "token_classification"
    with pytest.raises(UserError, match="the task needs one for seq2seq"):
        loader.check_form(derived, "seq2seq")
    declared.task_forms = "seq2seq"  # a string is one form, not one per letter
    assert loader.check_form(declared, "seq2seq") == "seq2seq"
    assert loader.check_form(declared, "seq2seq") == "seq2seq"
    assert loader.check_form(unknown, "seq2seq") == "seq2seq"


def test_the_first_form_that_fits_is_chosen():
    tagger = loader.load_model("T5EncoderForCharacterTagging")
    forms = ("token_classification", "character_tagging")
    assert loader.check_form(tagger, *forms) == "character_tagging"
