"""The tokenizer bound by gin, and the one in the model's folder."""

from __future__ import annotations

import json

import pytest
from support.helpers import toy_tokenizer

import ke_t5.task.utils  # noqa: F401 - registers what is bound
from ke_t5.config.gin_config import configure
from ke_t5.errors import Exit, UserError
from ke_t5.lookup.hub import find_pretrained
from ke_t5.recipes.vocabulary import VOCABULARY, settle_vocabulary
from ke_t5.task.utils import get_vocabulary

BOUND = "get_vocabulary.vocab_name='klue/roberta-small'\n"


@pytest.fixture
def model(tmp_path):
    """A function from a name to a model's folder, with or without a tokenizer."""

    def make(name, *, tokenizer=True, **config):
        folder = tmp_path / name
        folder.mkdir(parents=True)
        (folder / "config.json").write_text(json.dumps({"model_type": "roberta", **config}))
        if tokenizer:
            toy_tokenizer().save_pretrained(folder)
        return find_pretrained(folder)

    return make


@pytest.fixture
def bound(tmp_path):
    """Settings as from a gin file that binds a hub name in its second line."""
    (tmp_path / "my.gin").write_text("# settings\n" + BOUND)
    return configure([str(tmp_path / "my.gin")])


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("roberta-small", {}),
        ("klue/roberta-small", {}),
        ("klue_roberta-small", {}),
        ("models--klue--roberta-small/snapshots/0123", {}),
        ("mine", {"_name_or_path": "klue/roberta-small"}),
    ],
)
def test_the_folder_of_the_same_model_has_its_tokenizer(model, bound, caplog, name, config):
    found = model(name, **config)
    bound = settle_vocabulary(bound, found)
    assert bound.value(VOCABULARY) == found.name
    assert get_vocabulary().convert_tokens_to_ids("가") == 4
    assert "my.gin:2" in caplog.text and "hub cannot be reached" in caplog.text


@pytest.mark.parametrize(("tokenizer", "other"), [(True, "my-model"), (False, "FOLDER")])
def test_a_tokenizer_of_another_model_is_an_error_that_names_the_line(
    model, bound, tokenizer, other
):
    found = model("my-model", tokenizer=tokenizer)
    with pytest.raises(UserError) as caught:
        settle_vocabulary(bound, found)
    line = str(caught.value)
    assert "my.gin:2: get_vocabulary.vocab_name = 'klue/roberta-small': no such folder" in line
    assert '--gin_param "get_vocabulary.vocab_name=' in line and other in line
    assert caught.value.exit_code == Exit.FLAGS


def test_without_a_binding_it_is_the_models(model):
    configuration, found = configure(), model("any")
    configuration = settle_vocabulary(configuration, found)
    assert configuration.value(VOCABULARY) == found.name
