"""`ke-t5 tasks` and `ke-t5 models`."""

from __future__ import annotations

import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from ke_t5.commands import models, tasks
from ke_t5.errors import UserError
from ke_t5.forms import FORMS, MODEL_FORMS
from ke_t5.pipe import TaskRegistry


@pytest.fixture
def run(capsys):
    """Runs a command; returns what it prints."""

    def run(command, *words) -> str:
        command.main(command.parser().parse_args([str(word) for word in words]))
        return capsys.readouterr().out

    return run


def test_every_task_is_listed_once(run):
    names = [line.split()[0] for line in run(tasks).splitlines()[1:]]
    assert [name for name in names if name in TaskRegistry.names()] == TaskRegistry.names()
    assert len(set(names)) == len(names) and "klue_gen" in names


def test_words_and_a_form_narrow_the_list(run, tmp_path):
    file = tmp_path / "NSMC" / "ratings_test.txt"
    file.parent.mkdir()
    file.write_text("id\tdocument\tlabel\n1\t좋아요\t1\n", encoding="utf-8")
    shown = run(tasks, "NSMC", "--form", "sequence_classification", "--hf_data_dir", tmp_path)
    head, line = shown.splitlines()
    assert head.split() == ["task", "form", "metric", "source", "data"]
    assert line.split(maxsplit=4)[0] == "nsmc" and line.endswith("found: test")
    (row,) = map(json.loads, run(tasks, "klue_ner", "--json").splitlines())
    assert row["form"] == "token_classification" and row["data"] == "on the hub: klue/klue"
    (row,) = map(json.loads, run(tasks, "text2text", "--json").splitlines())
    assert (row["source"], row["data"]) == ("own data", "--train_file FILE")


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["zzz"], "error: 'zzz': no task matches; see ke-t5 tasks"),
        (["--form", "zzz"], "error: --form: invalid choice: 'zzz'"),
        (["--hf_data_dir", "/nowhere"], "error: --hf_data_dir /nowhere: no such folder; check the"),
    ],
)
def test_filters_without_a_match_are_errors(run, words, line):
    with pytest.raises(UserError, match=line):
        run(tasks, *words)


def test_every_model_class_of_ke_t5_is_listed(run):
    lines = [line.split() for line in run(models).splitlines()[1:]]
    assert {name for _, name, *_ in lines} >= set(MODEL_FORMS)
    assert {form for form, *_ in lines} == set(FORMS)
    shown = run(models, "--form", "question_answering")
    assert "T5EncoderForQuestionAnswering (default)" in shown.splitlines()[1]
    assert "dependency" not in shown


def test_a_folder_is_described_with_its_class_for_each_form(run, tmp_path):
    config = {"model_type": "roberta", "architectures": ["RobertaModel"], "hidden_size": 32,
              "num_hidden_layers": 2, "id2label": {"0": "긍정", "1": "부정"}}  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    save_file({"w": np.zeros((1000, 100), np.float32)}, str(tmp_path / "model.safetensors"))
    facts, _, forms = run(models, tmp_path).partition("\n\n")
    facts = dict(line.split(None, 1) for line in facts.splitlines())
    assert facts["model"] == str(tmp_path) and facts["type"] == "roberta"
    assert facts["labels"] == "긍정, 부정" and facts["size"] == "0.1 M parameters, 0 MB"
    chosen = {line.split()[0]: line for line in forms.splitlines()[1:]}
    assert set(chosen) == set(FORMS)
    assert "transformers:RobertaForTokenClassification" in chosen["token_classification"]
    assert "EncoderForDependencyParsing" in chosen["dependency_parsing"]
    assert "cannot generate, but the task needs an encoder-decoder" in chosen["seq2seq"]


@pytest.mark.parametrize("words", [(), ("model",)])
def test_a_module_that_cannot_be_imported_is_an_error(run, words):
    with pytest.raises(UserError, match="--module_import no_such_module"):
        run(models, *words, "--module_import", "no_such_module")


def test_a_missing_model_is_an_error(run, tmp_path):
    with pytest.raises(UserError, match="ke-t5 models .*: there is no such folder; check the path"):
        run(models, tmp_path / "none")
