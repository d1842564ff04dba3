"""Prefixes of texts by gin: from the examples to the export, which predicts with them unasked."""

from __future__ import annotations

import json

import pytest
from support.recipe_runs import run_folder, test, train

from ke_t5.errors import UserError
from ke_t5.pipe import get_task
from ke_t5.pipe.prefixes import check_prefix, normalized, prefixed
from ke_t5.serving.loading import load_predictor

STS = ("--task", "klue_sts", "--sample", "--batch_size", 8)
MEAN = ("--model_name", "EncoderForSequenceClassificationMean")
SHORT = ("--train_split", "train[:16]", "--valid_split", "validation[:8]", "--max_steps", 2)
PAIR = ("--gin_param", "get_dataset.prefix=('query: ', 'passage: ')")


@pytest.fixture(scope="module")
def sts_run(tmp_path_factory, cache_dir):
    """A training with a prefix for each text of a pair, exported, and tested without a word."""
    output = tmp_path_factory.mktemp("prefixed")
    train(*STS, *MEAN, *SHORT, *PAIR, "--hf_path", "default", output=output, cache=cache_dir)
    split = ("--test_split", "validation[:8]")
    test(*STS, *MEAN, "--resume", "best", *split, output=output, cache=cache_dir)
    test(*STS, *MEAN, "--hf_path", "default", *split, output=output, cache=cache_dir)
    return output


def lines_of(output, split):
    file = run_folder(output) / "eval" / split / "predictions.jsonl"
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def test_a_test_of_the_run_and_one_of_its_export_read_what_the_training_read(sts_run):
    lines = lines_of(sts_run, "validation_8_")
    for line in lines:
        first, second = line["inputs"].split(" | ")
        assert first.startswith("query: ") and second.startswith("passage: ")
    assert lines_of(sts_run, "klue_sts__validation_8___hf") == lines


def test_the_run_and_the_export_say_it_and_the_card_shows_it(sts_run):
    for folder in ("model", "hf"):
        record = json.loads((run_folder(sts_run) / folder / "ke_t5.json").read_text())
        assert record["members"]["klue_sts"]["prefix"] == ["query: ", "passage: "]
    form = {"text": "query: {sentence1}", "text_pair": "passage: {sentence2}"}
    config = json.loads((run_folder(sts_run) / "hf" / "config.json").read_text())
    assert config["task_specific_params"]["klue_sts"]["input"] == form
    card = (run_folder(sts_run) / "hf" / "README.md").read_text()
    assert json.dumps(form) in card and "| get_dataset.prefix | ['query: ', 'passage: '] |" in card


def test_a_predictor_reads_it_too(sts_run, sample_data):
    from support.trained_models import Models

    rows = Models(None, sts_run, sample_data).rows(get_task("klue_sts"))[:8]
    for place in (run_folder(sts_run), run_folder(sts_run) / "hf"):
        found = [one.value for one in load_predictor(place, batch_size=8)(rows)]
        expected = [line["prediction"] for line in lines_of(sts_run, "validation_8_")]
        assert found == pytest.approx(expected, abs=1e-5)


def test_a_test_may_ask_for_another_and_is_warned(sts_run, cache_dir, capsys):
    words = ("--gin_param", "get_dataset.prefix=''", "--test_split", "validation[:3]")
    test(*STS, *MEAN, "--resume", "true", *words, output=sts_run, cache=cache_dir)
    told = capsys.readouterr().err
    assert "get_dataset.prefix: klue_sts was ('query: ', 'passage: ') in training" in told
    (folder,) = (run_folder(sts_run) / "eval").glob("*validation_3_*")
    assert "query" not in (folder / "predictions.jsonl").read_text()


@pytest.mark.parametrize("other", [(), ("--gin_param", "get_dataset.prefix='query: '")])
def test_a_run_does_not_go_on_with_another(sts_run, cache_dir, other):
    words = (*STS, *MEAN, *SHORT[:-1], 3, *other, "--resume", "true")
    with pytest.raises(UserError) as raised:
        train(*words, output=sts_run, cache=cache_dir)
    was, now = "was ['query: ', 'passage: ']", "['query: ']" if other else "None"
    assert f"get_dataset.prefix {was} and is {now} now" in str(raised.value)


def test_two_prefixes_for_a_model_that_reads_one_text_are_refused(tmp_path, cache_dir):
    with pytest.raises(UserError) as raised:  # T5 has no separator
        train(*STS, *SHORT, *PAIR, output=tmp_path, cache=cache_dir)
    assert str(raised.value).startswith(
        "error: get_dataset.prefix: has two texts, and this model reads klue_sts as one text; give"
    )


def test_a_task_that_marks_places_takes_none():
    with pytest.raises(UserError) as raised:
        get_task("klue_ner").with_prefix("query: ")
    what = "klue_ner marks places in its texts, which take no prefix; leave it out"
    assert f"get_dataset.prefix: {what}" in str(raised.value)
    assert get_task("klue_ner").with_prefix("").prefixes == ()


@pytest.mark.parametrize("name", ["klue_tc", "klue_tc_gen", "kmhas", "kobest_copa", "klue_re"])
def test_other_forms_take_one(name):
    task = get_task(name)
    with_one = task.with_prefix("Instruct: 분류\nQuery: ")
    assert with_one.prefixes == ("Instruct: 분류\nQuery: ",)
    assert with_one.with_prefix("") != with_one and with_one.with_prefix("").prefixes == ()
    assert with_one.with_prefix("Instruct: 분류\nQuery: ") is with_one


def test_all_tasks_of_a_mixture_take_it():
    assert {task.prefixes for task in get_task("kobest_gen").with_prefix("q: ").members} == {
        ("q: ",)
    }


def test_prefixes_are_one_for_all_texts_or_one_for_each():
    assert prefixed(["가", "나"], ["q: "]) == ["q: 가", "q: 나"]
    assert prefixed(["가", "나"], ["q: ", "p: "]) == ["q: 가", "p: 나"]
    assert prefixed(["가"], []) == ["가"] and normalized(["", ""]) == ()
    with pytest.raises(ValueError, match="2 prefixes for 3 texts"):
        prefixed(["가", "나", "다"], ["q: ", "p: "])
    with pytest.raises(ValueError, match="has 3 texts; give one, or two for the texts of a pair"):
        check_prefix(("a", "b", "c"))
