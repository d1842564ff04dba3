"""Every task of the table trains, validates and is tested on the embedded sample; several kinds of
model do."""

from __future__ import annotations

import json

import pytest
from recipe_runs import run_folder, scores, test, train

import ke_t5.task.task  # noqa: F401 - registers the tasks
from ke_t5.pipe import TaskRegistry

SHORT = ("--sample", "--batch_size", 4, "--max_steps", 2, "--eval_rows", 3)
# Weights that were hardly trained write until they are stopped.
BRIEF = ("--gin_param", "EvaluationHelper.model_kwargs={'max_new_tokens': 4}")


@pytest.mark.parametrize("name", TaskRegistry.names())
def test_a_task_trains_and_is_scored_on_the_sample(tmp_path, cache_dir, name):
    brief = BRIEF if TaskRegistry.get(name).form == "seq2seq" else ()
    train("--task", name, *SHORT, *brief, output=tmp_path, cache=cache_dir)
    (found,) = (run_folder(tmp_path) / "eval").iterdir()
    told = json.loads((found / "scores.json").read_text())
    assert told["rows"] == 3
    assert TaskRegistry.get(name).best.score in told["scores"]


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
    assert scores(tmp_path, "validation_3_") == expected
