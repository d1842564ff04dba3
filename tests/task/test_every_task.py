"""Training, validation and test of every task on the embedded sample, and of several kinds of
model."""

from __future__ import annotations

import ast
import json
import re

import pytest
from support.recipe_runs import run_folder, scores, test, train

import ke_t5.task.task  # noqa: F401 - registers the tasks
from ke_t5.errors import UserError
from ke_t5.pipe import TaskRegistry
from ke_t5.task.labels import KLUE_NER

SHORT = ("--sample", "--batch_size", 4, "--max_steps", 2, "--eval_rows", 3)
# Models that are hardly trained generate up to the limit.
BRIEF = ("--gin_param", "EvaluationHelper.model_kwargs={'max_new_tokens': 4}")


# Tasks that only differ in their rows from one trained here are trained in the full matrix.
LIKE_OTHERS = re.compile(
    "(khsd_|apeach|kold|khaters|korfin|paws|massive|naver|ud_|korquad2_|sae4k|nikluge|nikl_cr).*"
)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.full if LIKE_OTHERS.fullmatch(name) else ())
        for name in TaskRegistry.names()
    ],
)
def test_a_task_trains_and_is_scored_on_the_sample(tmp_path, cache_dir, name):
    brief = BRIEF if TaskRegistry.get(name).form == "seq2seq" else ()
    train("--task", name, *SHORT, *brief, output=tmp_path, cache=cache_dir)
    (found,) = (run_folder(tmp_path) / "eval").iterdir()
    told = json.loads((found / "scores.json").read_text())
    assert told["rows"] == 3
    assert TaskRegistry.get(name).best.metric in told["scores"]


@pytest.mark.parametrize(
    ("task", "model"),
    [
        ("klue_tc", "transformers:BertForSequenceClassification"),
        ("klue_nli", "transformers:ElectraForSequenceClassification"),
        ("klue_tc", "transformers:T5ForSequenceClassification"),
        ("klue_tc", "T5EncoderForSequenceClassificationSimple"),
        ("klue_tc", "ke_t5.models.models:t5_encoder_for_sequence_classification_mean"),
        ("klue_sts", "transformers:RobertaForSequenceClassification"),
        ("klue_ner", "transformers:BertForTokenClassification"),
        ("klue_ner", "T5EncoderForEntityRecognitionWithCRF"),
        ("klue_ner", "EncoderForEntityRecognitionWithCRF"),
        ("klue_ner", "T5EncoderForCharacterTagging"),
        ("nikl_ner2020_split", "EncoderForCharacterTagging"),
        ("klue_mrc", "transformers:RobertaForQuestionAnswering"),
        ("klue_re_tk_idx", "T5EncoderForSequenceClassificationFirstSubmeanObjmean"),
        ("klue_dp", "EncoderForDependencyParsing"),
    ],
)
def test_a_model_of_the_right_kind_trains_resumes_and_exports(tmp_path, cache_dir, task, model):
    words = ("--task", task, "--model_name", model, *SHORT)
    train(*words, output=tmp_path, cache=cache_dir)
    train(*words, "--resume", "true", "--hf_path", "default", output=tmp_path, cache=cache_dir)
    words = ("--task", task, "--model_name", model, "--sample", "--batch_size", 4)
    words = (*words, "--test_split", "validation[:3]")
    test(*words, "--resume", "best", output=tmp_path, cache=cache_dir)
    expected = scores(tmp_path, "validation_3_")
    test(*words, "--hf_path", "default", output=tmp_path, cache=cache_dir)
    found = scores(tmp_path, f"{task}__validation_3___hf")
    assert expected.pop("weights") == "step-00000002"
    assert found.pop("weights") == "hf" and len(found.pop("weights_sha256")) == 64
    assert found == expected


def test_characters_are_tagged_without_a_crf(tmp_path, cache_dir):
    words = ("--task", "nikl_ner_split", "--model_name", "T5EncoderForCharacterTagging", *SHORT)
    config = ("--gin_param", "model.config={'character_crf': False}")
    train(*words, *config, "--hf_path", "default", output=tmp_path, cache=cache_dir)
    exported = json.loads((run_folder(tmp_path) / "hf" / "config.json").read_text())
    assert not exported["character_crf"]
    with pytest.raises(UserError, match="model.config was {'character_crf': False} and is"):
        train(*words, "--resume", "true", output=tmp_path, cache=cache_dir)
    words = ("--task", "nikl_ner_split", "--model_name", "T5EncoderForCharacterTagging", "--sample")
    split = ("--test_split", "validation[:3]", "--pass_only_model_io", "true")
    test(*words, "--resume", "best", *split, output=tmp_path, cache=cache_dir)
    found = scores(tmp_path, "validation_3_")["scores"]
    assert set(found) == {
        f"model_io_{name}" for name in ("entity_f1_micro", "entity_f1", "token_accuracy")
    }


def test_the_snippet_for_crf_runs_as_it_stands_on_an_export(tmp_path, cache_dir, capsys):
    name = "T5EncoderForEntityRecognitionWithCRF"
    words = ("--task", "klue_ner", "--model_name", name, *SHORT, "--hf_path", "default")
    train(*words, output=tmp_path, cache=cache_dir)
    capsys.readouterr()
    known = {"model_path": str(run_folder(tmp_path) / "hf"), "input_txt": "김민수는 서울에 산다."}
    exec(SNIPPET, known)  # as pasted by a user
    printed = ast.literal_eval(capsys.readouterr().out)
    assert printed[-1][0] == "</s>" and len(printed) == len(known["predicted_classes"])
    assert {label for _, label in printed} <= set(KLUE_NER.names)


@pytest.mark.parametrize("crf", [True, False])
def test_the_card_of_a_model_that_tags_characters_says_how_to_ask_it(
    tmp_path, cache_dir, capsys, crf
):
    words = ("--task", "klue_ner", "--model_name", "T5EncoderForCharacterTagging", *SHORT)
    config = ("--gin_param", f"model.config={{'character_crf': {crf}}}")
    train(*words, *config, "--hf_path", "default", output=tmp_path, cache=cache_dir)
    folder = run_folder(tmp_path) / "hf"
    (code,) = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    capsys.readouterr()
    exec(code.replace('"this folder"', repr(str(folder))), {})
    printed = ast.literal_eval(capsys.readouterr().out)
    assert "".join(character for character, _ in printed) == "김민수는 서울에 산다."
    assert {tag for _, tag in printed} <= set(KLUE_NER.names)


@pytest.mark.parametrize("iob2", [None, False])
def test_a_crf_that_is_trained_on_tags_knows_iob2_unless_asked_otherwise(tmp_path, cache_dir, iob2):
    words = ("--task", "klue_ner", "--model_name", "EncoderForEntityRecognitionWithCRF", *SHORT)
    config = () if iob2 is None else ("--gin_param", f"model.config={{'crf_iob2': {iob2}}}")
    train(*words, *config, output=tmp_path, cache=cache_dir)
    saved = json.loads((run_folder(tmp_path) / "model" / "config.json").read_text())
    assert saved.get("crf_iob2", False) == (iob2 is None)


SNIPPET = """
from transformers import T5Tokenizer
from ke_t5.lookup import loader
from ke_t5.models import models
model_cls = loader.load_model('T5EncoderForEntityRecognitionWithCRF')
tokenizer = T5Tokenizer.from_pretrained(model_path)
model = model_cls.from_pretrained(model_path)
id2label = model.config.id2label
inputs = tokenizer(input_txt, return_tensors="pt")
output = model(input_ids=inputs.input_ids, attention_mask=inputs.attention_mask)
input_ids = inputs.input_ids[0]
predicted_classes = output.logits[0]
inp_tks = [tokenizer.decode(x) for x in input_ids]
lbls = [id2label[x] for x in predicted_classes]
print(list(zip(inp_tks, lbls)))
"""
