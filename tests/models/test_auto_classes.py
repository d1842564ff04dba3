"""transformers finds our models: Auto classes, pipelines, and registration on import."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import transformers
from support.our_models import TAGS, make_model
from support.processes import run_script
from tokenizers import Tokenizer, pre_tokenizers
from tokenizers.models import WordLevel
from tokenizers.processors import TemplateProcessing
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    PreTrainedTokenizerFast,
    pipeline,
)

from ke_t5.models import models

pytestmark = pytest.mark.usefixtures("quiet_transformers")

ROOT = Path(__file__).resolve().parents[2]
WORDS = ["<pad>", "</s>", "<unk>", *"가나다라마바사아자차"]


def make_tokenizer():
    """A tokenizer of single syllables that appends </s>."""
    backend = Tokenizer(WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    backend.post_processor = TemplateProcessing(
        single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", 1)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    )


PIPELINES = {
    "T5EncoderForSequenceClassificationSimple": "text-classification",
    "T5EncoderForSequenceClassificationMean": "text-classification",
    "T5EncoderForTokenClassification": "token-classification",
    "EncoderForSequenceClassificationMean": "text-classification",
}


@pytest.mark.parametrize("name", PIPELINES)
def test_a_pipeline_takes_an_exported_folder(name, tmp_path):
    model = make_model(name)
    model.save_pretrained(tmp_path)
    make_tokenizer().save_pretrained(tmp_path)
    run = pipeline(PIPELINES[name], model=str(tmp_path))
    assert type(run.model) is type(model)
    found = run("가나다")
    assert {entry.get("label", entry.get("entity")) for entry in found} <= set(TAGS.values())


def test_question_answering_folders_load(tmp_path):
    make_model("T5EncoderForQuestionAnswering").save_pretrained(tmp_path)
    loaded = transformers.AutoModelForQuestionAnswering.from_pretrained(tmp_path)
    assert type(loaded) is models.T5EncoderForQuestionAnswering


def test_auto_classes_load_ours_and_only_as_what_they_are(tmp_path):
    make_model("T5EncoderForSequenceClassificationMean").save_pretrained(tmp_path)
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    assert type(loaded) is models.T5EncoderForSequenceClassificationMean
    assert type(AutoConfig.from_pretrained(tmp_path)) is loaded.config_class
    with pytest.raises(ValueError, match="Unrecognized configuration class"):
        transformers.AutoModelForTokenClassification.from_pretrained(tmp_path)


REGISTERED = """
from transformers import AutoModelForTokenClassification, AutoConfig
AutoConfig.from_pretrained({folder!r})
model = AutoModelForTokenClassification.from_pretrained({folder!r})
assert type(model).__name__ == "T5EncoderForTokenClassification"
"""


@pytest.fixture(scope="module")
def exported_tagger(tmp_path_factory):
    """A folder with one of our models."""
    folder = tmp_path_factory.mktemp("tagger")
    make_model("T5EncoderForTokenClassification").save_pretrained(folder)
    return str(folder)


def test_importing_the_package_registers_the_types(exported_tagger):
    code = REGISTERED.format(folder=exported_tagger)
    code = f"""
import ke_t5.models
{code}
from transformers import T5Config, T5ForConditionalGeneration
{code}
"""
    environment = {"PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment, capture_output=True)


def test_it_does_so_after_transformers_was_imported(exported_tagger, tmp_path):
    """As in a process of the server, which has imported transformers but nothing of ours."""
    code = "import sys\nassert 'transformers.models.auto.modeling_auto' in sys.modules\n"
    code += "assert 'ke_t5.models' not in sys.modules\nimport ke_t5.models\n"
    script = tmp_path / "script.py"
    script.write_text(code + REGISTERED.format(folder=exported_tagger))
    done = run_script(script)
    assert done.returncode == 0, done.stderr


def test_what_is_known_of_models_before_torch_imports_nothing_heavy():
    code = (
        "import sys, ke_t5.lookup.choice; assert not {'torch', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": str(ROOT)})
