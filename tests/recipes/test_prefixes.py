"""Text prefixes set by gin: from the examples to the export, which predicts with them."""

from __future__ import annotations

import contextlib
import io
import json
import re

import pytest
from support.recipe_runs import run_folder, test, train
from support.toys import (
    BERT,
    ROWS,
    T5,
    changed,
    character_tokenizer,
    examples_on,
    folders,
    save_tokenizers,
)

from ke_t5.errors import UserError
from ke_t5.pipe import get_task
from ke_t5.pipe.prefixes import check_prefix, normalized, prefixed
from ke_t5.recipes.console import report_examples
from ke_t5.serving.loading import load_predictor
from ke_t5.task.qa.passages import CUT_OFF

STS = ("--task", "klue_sts", "--sample", "--batch_size", 8)
MEAN = ("--model_name", "EncoderForSequenceClassificationMean")
SHORT = ("--train_split", "train[:16]", "--valid_split", "validation[:8]", "--max_steps", 2)
PAIR = ("--gin_param", "get_dataset.prefix=('query: ', 'passage: ')")


@pytest.fixture(scope="module")
def sts_run(tmp_path_factory, cache_dir):
    """A training with a prefix for each text of a pair, exported and tested."""
    output = tmp_path_factory.mktemp("prefixed")
    split, told = ("--test_split", "validation[:8]"), io.StringIO()
    with contextlib.redirect_stderr(told):
        train(*STS, *MEAN, *SHORT, *PAIR, "--hf_path", "default", output=output, cache=cache_dir)
        test(*STS, *MEAN, "--resume", "best", *split, output=output, cache=cache_dir)
        test(*STS, *MEAN, "--hf_path", "default", *split, output=output, cache=cache_dir)
    (output / "told.txt").write_text(told.getvalue(), encoding="utf-8")
    return output


def lines_of(output, split):
    file = run_folder(output) / "eval" / split / "predictions.jsonl"
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def test_a_test_of_the_run_and_one_of_its_export_read_what_the_training_read(sts_run):
    lines = lines_of(sts_run, "validation_8_")
    # Shown without the prefix: models with different prefixes are compared on the same texts.
    assert not any("query: " in line["inputs"] for line in lines)
    assert lines_of(sts_run, "klue_sts__validation_8___hf") == lines
    told = (sts_run / "told.txt").read_text(encoding="utf-8")
    shown = r"the first input is '\[CLS\] query: .*\[SEP\] passage: .*\[SEP\]'"
    assert len(re.findall(shown, told)) == 4  # of the training's two splits, and of both tests
    assert told.count("the prefix is ('query: ', 'passage: '), as in training") == 2


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
    assert "the first input" not in told


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
        "error: get_dataset.prefix: has two prefixes, but this model reads klue_sts as one text;"
    )


def test_a_task_that_marks_places_takes_none():
    with pytest.raises(UserError) as raised:
        get_task("klue_ner").with_prefix("query: ")
    what = "klue_ner marks positions in its texts, which do not support a prefix; remove it"
    assert f"get_dataset.prefix: {what}" in str(raised.value)
    assert get_task("klue_ner").with_prefix("").prefixes == ()


@pytest.fixture(scope="module")
def vocabularies(tmp_path_factory):
    return save_tokenizers(tmp_path_factory.mktemp("tokenizers"))


def test_each_choice_and_its_text_have_their_own(vocabularies, tmp_path, caplog):
    where = {"vocabulary": vocabularies[BERT], "cache": tmp_path}
    task = examples_on("kobest_copa", ROWS["kobest_copa"], **where)[0]
    task = task.with_prefix(("질의: ", "결과: "))
    examples = task.get_dataset("train", folders=folders(tmp_path))
    with caplog.at_level("INFO", logger="ke_t5"):
        report_examples(task, "train", examples)
    first = "[CLS]질의: 비가 온다. 결과[SEP]결과: 젖는다.[SEP]"
    assert f"kobest_copa train: the first input is '{first}'" in caplog.text
    batch = examples.batch([0])
    ids = batch["input_ids"][0, 1][batch["attention_mask"][0, 1] == 1]
    second = f"결과: {ROWS['kobest_copa'][0]['choice2']}"
    assert character_tokenizer(BERT).decode(ids).endswith(f"[SEP]{second}[SEP]")


@pytest.mark.parametrize("limit", [40, 44])
def test_answers_that_a_prefix_pushes_out_are_counted(vocabularies, tmp_path, limit):
    context = "첫째 글이다. 둘째 글에 정답이 있다."
    answers = [{"text": "정답", "start": context.index("정답")}]
    row = changed("klue_mrc", context=context, question="답은?", answers=answers)
    task = examples_on("klue_mrc_gen", [row], vocabulary=vocabularies[T5], cache=tmp_path)[0]
    beyond = len("klue_mrc question: 답은? context: ") + context.index("정답이")
    for prefix in ("", "지시: "):
        length = beyond + len(prefix) + limit - 40  # the end token is one of them
        part = task.with_prefix(prefix).get_dataset(
            "train", folders=folders(tmp_path), sequence_length={"inputs": length, "targets": 9}
        )
        assert part.lost().get(CUT_OFF) == ((1, 1) if limit == 40 else None)


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
