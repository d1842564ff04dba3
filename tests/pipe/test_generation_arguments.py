"""Arguments of generation and of other methods of a model, checked by name."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch
from support.evaluation import evaluate_on, written
from support.generation_toys import sentences, tiny_t5, written_examples
from support.helpers import folders, task_on, toy_tokenizer
from support.toy_model import toy_model

from ke_t5.errors import UserError
from ke_t5.pipe import EvaluationHelper
from ke_t5.pipe.arguments import argument_names

pytestmark = pytest.mark.usefixtures("one_thread")

SAMPLED = {"do_sample": True, "top_k": 8, "top_p": 0.95, "temperature": 1.5, "max_new_tokens": 6}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    return written_examples(tmp_path_factory.mktemp("examples"), num_rows=25)


@pytest.fixture(scope="module")
def model():
    return tiny_t5()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_beam": 4}, r"generate has no argument 'num_beam'; did you mean 'num_beams'"),
        ({"max_newtokens": 4}, "did you mean 'max_new_tokens'"),
        ({"zzz": 1}, "T5ForConditionalGeneration.generate has no argument 'zzz'; available: "),
        ({"num_beam_groups": 2, "num_beams": 4}, "'num_beam_groups' only with code from the hub"),
        ({"penalty_alpha": 0.6, "top_k": 4}, "'penalty_alpha' only with code from the hub"),
        ({"custom_generate": "a/b"}, "'custom_generate' only with code from the hub"),
        ({"force_words_ids": [[4]]}, "'force_words_ids' only with code from the hub"),
        (
            {"num_return_sequences": 2},
            "num_return_sequences 2 exceeds num_beams 1; give num_beams=2, or do_sample=True",
        ),
        (
            {"num_return_sequences": 5, "num_beams": 4},
            "num_return_sequences 5 exceeds num_beams 4; give num_beams=5$",
        ),
        (
            {"num_return_sequences": 5, "num_beams": 4, "do_sample": True},
            "exceeds num_beams 4; give num_beams=5$",
        ),
        (
            {"min_length": 30, "max_length": 20},
            r"min length exceeds max length \(max_length=20, min_length",
        ),
        (
            {"min_new_tokens": 8},
            r"length exceeds max length \(max_new_tokens=7, min_new_tokens=8\); lower the min or",
        ),
        ({"do_sample": True, "temperature": -1.0}, "rejects them: .*temperature.*; fix the value"),
        ({"do_sample": True, "top_k": -1}, "rejects them: .*top_k"),
        ({"decoder_start_token_id": 10**6}, "rejects them: index out of range"),
        ({"watermarking_config": 3}, "rejects them: 'int' object has no attribute"),
        ({"num_beams": 2, "early_stopping": "sometimes"}, "rejects them: .*early_stopping"),
        ({"num_beams": 0}, "num_beams is 0; give 1"),
        ({"input_ids": 1}, "'input_ids' is a column of toy; remove it: the batches provide it"),
    ],
    ids=str,
)
def test_arguments_that_generate_cannot_take_are_one_line(built, model, arguments, message):
    helper = EvaluationHelper(built[0], model_kwargs=arguments)
    with pytest.raises(UserError, match=f"EvaluationHelper.model_kwargs: .*{message}") as caught:
        helper.check(model)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "arguments",
    [
        {"num_beam_groups": 1, "diversity_penalty": 0.0, "num_beams": 2},
        {"num_return_sequences": 3, "do_sample": True},
        {"early_stopping": True, "length_penalty": 2.0, "max_length": 200, "min_length": 30,
         "no_repeat_ngram_size": 3, "num_beams": 4},
        {"min_length": 3},
        {"use_cache": False, "repetition_penalty": 1.2, "bad_words_ids": [[5]]},
    ],
    ids=str,
)  # fmt: skip
def test_arguments_that_generate_takes_are_taken(built, model, arguments, caplog):
    task, examples = built
    helper = EvaluationHelper(task, model_kwargs=arguments)
    with caplog.at_level(logging.WARNING):
        helper.check(model)
        helper.predict(model, examples.batch(range(3)))
    assert [record.message for record in caplog.records if record.name.startswith("ke_t5")] == []


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"length_penalty": 2.0, "early_stopping": True}, ["num_beams > 1"]),
        ({"num_beams": 2, "temperature": 0.5, "top_k": 3}, ["temperature, top_k: no effect"]),
        ({"max_length": 9, "max_new_tokens": 5}, ["max_length: no effect with max_new_tokens"]),
        (
            {"min_length": 3, "min_new_tokens": 2, "top_p": 0.5},
            ["top_p: no effect without do_sample=True", "min_length: no effect with min_new"],
        ),
    ],
    ids=str,
)
def test_what_changes_nothing_is_told_once_and_not_by_the_library(
    built, model, arguments, told, caplog
):
    task, examples = built
    library = logging.getLogger("transformers")
    library.addHandler(caplog.handler)
    helper = EvaluationHelper(task, model_kwargs=arguments)
    helper.check(model)
    evaluate_on(1, helper, model, examples, batch_size=8)
    library.removeHandler(caplog.handler)
    assert len(caplog.records) == len(told)
    for record, text in zip(caplog.records, told, strict=True):
        assert (
            record.message.startswith("EvaluationHelper.model_kwargs: ") and text in record.message
        )


def test_the_check_leaves_mode_and_random_numbers_alone(built, model):
    model.train()
    torch.manual_seed(1)
    EvaluationHelper(built[0], model_kwargs=SAMPLED).check(model)
    drawn = torch.rand(2)
    assert model.training
    model.eval()
    torch.manual_seed(1)
    assert torch.equal(drawn, torch.rand(2))


# ------------------------------------------------------------------------------ methods by name


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    def ids(dataset):
        return dataset.map(
            lambda row: {"input_ids": toy_tokenizer()(row["text"])["input_ids"]},
            remove_columns=["text"],
        )

    rows = [{"text": row["text"], "label": 0} for row in sentences(6)]

    def with_labels(dataset):
        return ids(dataset).rename_column("label", "labels")

    task = task_on(rows, [with_labels], decode=lambda records, examples: (
        int(np.argmax(records[0]["logits"])), None
    ))  # fmt: skip
    return task, task.get_dataset("train", folders=folders(tmp_path_factory.mktemp("labelled")))


def test_an_unknown_method_comes_with_the_near_ones(built, model):
    with pytest.raises(UserError, match="model_fn: .* has no method 'genrate'.*'generate'"):
        EvaluationHelper(built[0], model_fn="genrate").check(model)


def test_a_task_of_labels_is_not_generated(labelled):
    with pytest.raises(UserError, match="toy is not a generation task; .* such as klue_tc_gen"):
        EvaluationHelper(labelled[0], model_fn="generate").check(toy_model())


def test_a_model_that_cannot_generate_is_one_line(built):
    with pytest.raises(UserError, match="ToyModel cannot generate; choose a sequence-to-seq"):
        EvaluationHelper(built[0]).check(toy_model())


def test_forward_refuses_what_it_cannot_take(labelled):
    helper = EvaluationHelper(labelled[0], model_kwargs={"attention_masks": 1})
    with pytest.raises(UserError, match="ToyModel.forward has no argument 'attention_masks'"):
        helper.check(toy_model())


def test_typed_keywords_are_known_by_name(model):
    names = argument_names(model.forward)
    assert {"input_ids", "output_attentions"} <= names and "output_atentions" not in names
    assert argument_names(lambda **anything: 0) is None


def test_a_head_knows_its_encoders_arguments(labelled):
    from transformers import RobertaConfig

    from ke_t5.models.models import EncoderForEntityRecognitionWithCRF as Tagger

    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    backbone = RobertaConfig(vocab_size=20, intermediate_size=8, **sizes)
    tagger = Tagger(Tagger.config_class(backbone=backbone))
    EvaluationHelper(labelled[0], model_kwargs={"output_attentions": True}).check(tagger)
    with pytest.raises(
        UserError, match="has no argument 'output_atentions'; .*'output_attentions'"
    ):
        EvaluationHelper(labelled[0], model_kwargs={"output_atentions": True}).check(tagger)


def test_any_method_of_the_model_will_do(built, model, labelled, monkeypatch):
    task, examples = built
    seen = []

    def shout(input_ids, attention_mask, labels=None, *, word):
        seen.append(labels)
        return [f"{word}{row.sum()}" for row in attention_mask]

    monkeypatch.setattr(model, "shout", shout, raising=False)
    helper = EvaluationHelper(task, model_fn="shout", model_kwargs={"word": "길이"})
    helper.check(model)
    found = written(helper, model, examples)
    assert [answers[0] for answers in found] == [
        f"길이{length}" for length in examples.lengths("input_ids")
    ]
    assert set(seen) == {None}  # it can do without the gold answers, so it does not see them


def test_a_method_that_takes_no_mask_is_refused(built, model, monkeypatch):
    monkeypatch.setattr(model, "blind", lambda input_ids: input_ids, raising=False)
    with pytest.raises(
        UserError, match="blind has no argument 'attention_mask', so that padding would"
    ):
        EvaluationHelper(built[0], model_fn="blind").check(model)


def test_answers_that_are_too_few_are_refused(built, model, monkeypatch):
    task, examples = built
    monkeypatch.setattr(model, "one", lambda input_ids, attention_mask: ["가"], raising=False)
    with pytest.raises(UserError, match="one returned 1 sequences for 3 rows"):
        EvaluationHelper(task, model_fn="one").predict(model, examples.batch(range(3)))


def test_padding_is_masked_whatever_columns_are_asked_for(built, model):
    task, examples = built
    helper = EvaluationHelper(task, model_input_keys=["input_ids"])
    helper.check(model)
    assert written(helper, model, examples) == written(EvaluationHelper(task), model, examples)


def test_a_column_that_is_not_there_is_one_line(built, model):
    helper = EvaluationHelper(built[0], model_input_keys=["input_id"])
    message = "model_input_keys: .* toy have no column 'input_id' for this model; .*input_ids"
    with pytest.raises(UserError, match=message):
        helper.check(model)


@pytest.mark.parametrize(
    ("model_fn", "keys", "message"),
    [
        ("generate", ["attention_mask"], "T5ForConditionalGeneration.generate needs 'input_ids'"),
        ("generate", [], "T5ForConditionalGeneration.generate needs 'input_ids'; add it"),
        ("forward", ["labels"], "T5ForConditionalGeneration.forward needs 'input_ids'"),
        ("forward", ["input_ids"], "T5ForConditionalGeneration.forward needs 'labels'"),
        ("shout", ["input_ids"], "T5ForConditionalGeneration.shout needs 'labels'"),
    ],
)
def test_a_needed_column_that_is_left_out_is_one_line(
    built, model, monkeypatch, model_fn, keys, message
):
    shout = lambda input_ids, attention_mask, labels: []  # noqa: E731
    monkeypatch.setattr(model, "shout", shout, raising=False)
    with pytest.raises(UserError, match=f"EvaluationHelper.model_input_keys: {message}"):
        EvaluationHelper(built[0], model_fn=model_fn, model_input_keys=keys).check(model)
