"""Generation: answers as `model.generate` gives them row by row, arguments checked by name."""

from __future__ import annotations

import ast
import functools
import logging

import numpy as np
import pytest
import torch
from support.evaluation import evaluate_on
from support.generation_toys import sentences, tiny_t5, written_examples
from support.helpers import folders, task_on, toy_tokenizer
from support.toy_model import toy_model

from ke_t5.distributed import Ranks
from ke_t5.errors import UserError
from ke_t5.pipe import Defaults, EvaluationHelper, evaluate
from ke_t5.pipe.arguments import argument_names

LONGEST = 12
NUM_ROWS = 25  # every fifth has no label
BEAMS = {"num_beams": 3, "max_new_tokens": LONGEST}


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """On a busy machine more threads wait for each other longer than these sums take."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    return written_examples(tmp_path_factory.mktemp("examples"), num_rows=NUM_ROWS)


@pytest.fixture(scope="module")
def model():
    return tiny_t5()


def written(helper, model, examples, *, batch_size=8, num_ranks=1) -> list[list[str]]:
    """All answers to each row, in the order of the rows."""
    evaluated = evaluate_on(num_ranks, helper, model, examples, batch_size=batch_size)
    return [line.get("sequences") or [line["prediction"] or ""] for line in evaluated.predictions]


@pytest.fixture(scope="module")
def row_by_row(model, built):
    """The same by `model.generate` alone: one row, no padding."""

    @functools.cache
    def answers(arguments: str) -> list[list[str]]:
        found = []
        for example in built[1].examples(range(NUM_ROWS)):
            ids = torch.tensor([example["input_ids"]])
            with torch.inference_mode():
                output = model.generate(input_ids=ids, **ast.literal_eval(arguments))
            found.append(toy_tokenizer().batch_decode(output, skip_special_tokens=True))
        return found

    return answers


# -------------------------------------------------------------------------------- equal answers


@pytest.mark.parametrize("batch_size", [7, NUM_ROWS])
@pytest.mark.parametrize(
    "arguments",
    [
        {"num_beams": 1, "max_new_tokens": LONGEST},
        {**BEAMS, "early_stopping": True},
        {**BEAMS, "early_stopping": False},
        {**BEAMS, "early_stopping": "never", "length_penalty": 0.0},
        {"num_beams": 4, "max_length": 10, "min_length": 4, "no_repeat_ngram_size": 2},
        {**BEAMS, "num_return_sequences": 3},
    ],
    ids=str,
)
def test_answers_are_those_of_generate_row_by_row(built, model, row_by_row, arguments, batch_size):
    task, examples = built
    helper = EvaluationHelper(task, model_kwargs=arguments)
    found = written(helper, model, examples, batch_size=batch_size)
    assert found == row_by_row(str(arguments))
    assert len({len(answers[0].split()) for answers in found}) > 1  # some end early, some late


def test_generation_stops_at_the_longest_need(built, model, monkeypatch):
    task, examples = built
    lengths = []
    forward = model.generate

    def watched(**inputs):
        output = forward(**inputs)
        lengths.append((inputs["input_ids"].shape, output.sequences.shape[1]))
        return output

    monkeypatch.setattr(model, "generate", watched)
    helper = EvaluationHelper(task, model_kwargs={"num_beams": 1, "max_new_tokens": 200})
    found = written(helper, model, examples)
    widths = [shape[1] for shape, _ in lengths]
    assert widths == sorted(widths, reverse=True)
    assert (
        sum(shape[0] * shape[1] for shape, _ in lengths) < 1.3 * examples.lengths("input_ids").sum()
    )
    longest = max(len(answers[0].split()) for answers in found)
    assert max(length for _, length in lengths) <= longest + 2  # start and end
    assert longest < 100


@pytest.mark.parametrize(
    "arguments",
    [{**BEAMS, "early_stopping": True}, {"do_sample": True, "top_k": 8, "max_new_tokens": 6}],
)
def test_an_evaluation_gives_the_same_bytes_on_any_number_of_threads(built, model, arguments):
    task, examples = built
    helper, found = EvaluationHelper(task, model_kwargs=arguments), []
    for threads in (1, 3):
        ranks = Ranks(0, 1, torch.device("cpu"), threads)
        found.append(evaluate(helper, model, examples, batch_size=4, ranks=ranks, wants_loss=True))
    torch.set_num_threads(1)
    alone, together = ([dict(line) for line in one.predictions] for one in found)
    assert alone == together and len({line["prediction"] for line in alone}) > 3
    assert (found[0].scores, found[0].loss) == (found[1].scores, found[1].loss)


# --------------------------------------------------------------------------------------- limits


def test_the_tasks_own_arguments_and_limit_are_the_default(built):
    task, _ = built
    assert EvaluationHelper(task).model_kwargs == {"max_new_tokens": 7}  # as long as a target
    own = Defaults(generate={"max_new_tokens": 5, "num_beams": 2})
    task, _ = task_with(defaults=own)
    assert EvaluationHelper(task).model_kwargs == {"max_new_tokens": 5, "num_beams": 2}
    given = EvaluationHelper(task, model_kwargs={"num_beams": 4})
    assert given.model_kwargs == {"max_new_tokens": 5, "num_beams": 4}
    given = EvaluationHelper(task, model_kwargs={"max_length": 9})
    assert given.model_kwargs == {"max_length": 9}


def task_with(**settings):
    from support.generation_toys import written_task

    return written_task(sentences(4), **settings), None


# ------------------------------------------------------------------------------------- sampling

SAMPLED = {"do_sample": True, "top_k": 8, "top_p": 0.95, "temperature": 1.5, "max_new_tokens": 6}


def test_sampled_answers_are_the_same_for_a_seed_whoever_draws_them(built, model):
    task, examples = built
    helper = EvaluationHelper(task, model_kwargs=SAMPLED, seed=3)
    first = written(helper, model, examples)
    assert first == written(helper, model, examples)
    assert first == written(helper, model, examples, num_ranks=2)
    assert first != written(EvaluationHelper(task, model_kwargs=SAMPLED, seed=4), model, examples)


def test_all_returned_sequences_are_kept_and_the_first_is_scored(built, model):
    task, examples = built
    arguments = {**BEAMS, "num_return_sequences": 2}
    lines = evaluate_on(
        1, EvaluationHelper(task, model_kwargs=arguments), model, examples, batch_size=8
    ).predictions
    assert all(len(line["sequences"]) == 2 for line in lines)
    assert all((line["prediction"] or "") == line["sequences"][0] for line in lines)


def test_an_answer_that_cannot_be_read_is_kept_as_it_was_written(built, model):
    task, examples = built
    unread = task_with(decode=lambda records, examples: (None, None))[0]
    evaluated = evaluate_on(1, EvaluationHelper(unread), model, examples, batch_size=8)
    assert evaluated.unparsable == evaluated.num_scored == 20
    assert all(line["prediction"] is None and line["sequences"] for line in evaluated.predictions)


# --------------------------------------------------------------------------------------- scores


def test_beam_search_says_how_sure_it_is(built, model):
    task, examples = built
    arguments = {**BEAMS, "length_penalty": 0.5}
    helper = EvaluationHelper(task, model_kwargs=arguments)
    lines = evaluate_on(1, helper, model, examples, batch_size=8).predictions
    for line in lines[:5]:
        ids = torch.tensor([examples.example(line["id"])["input_ids"]])
        output = model.generate(
            input_ids=ids, **arguments, return_dict_in_generate=True, output_scores=True
        )
        assert line["score"] == pytest.approx(float(output.sequences_scores.exp()))
        assert 0 < line["score"] < 1


def test_the_scores_over_the_vocabulary_are_not_kept(built, model, monkeypatch):
    task, examples = built
    outputs = []
    generate = model.generate
    monkeypatch.setattr(model, "generate", lambda **a: outputs.append(generate(**a)) or outputs[-1])
    for more in ({}, {"use_cache": False}, {"encoder_no_repeat_ngram_size": 3}):
        helper = EvaluationHelper(task, model_kwargs={**BEAMS, **more})
        helper.predict(model, examples.batch(range(5)))
    assert max(getattr(value, "numel", int)() for value in vars(outputs[0]).values()) < 5 * 3 * 32
    for output in outputs[1:]:
        assert output.scores and all(step.numel() == 0 for step in output.scores)


@pytest.mark.parametrize(
    ("arguments", "is_ours"),
    [({}, True), ({"use_cache": False}, False), ({"cache_implementation": "dynamic"}, False)],
    ids=str,
)
def test_beams_do_not_copy_what_they_have_in_common(built, model, arguments, is_ours, monkeypatch):
    """The answers of all three are those of the default; only the default has our cache."""
    task, examples = built
    caches = []
    generate = model.generate

    def watched(**given):
        caches.append(type(given.get("past_key_values")).__name__)
        return generate(**given)

    monkeypatch.setattr(model, "generate", watched)
    helper = EvaluationHelper(task, model_kwargs={**BEAMS, **arguments})
    found = written(helper, model, examples)
    assert set(caches) == {"DecoderCache" if is_ours else "NoneType"}
    assert found == written(EvaluationHelper(task, model_kwargs=BEAMS), model, examples)


def test_without_beams_there_is_no_score(built, model):
    task, examples = built
    helper = EvaluationHelper(task, model_kwargs={"max_new_tokens": 4})
    lines = evaluate_on(1, helper, model, examples, batch_size=8).predictions
    assert not any("score" in line for line in lines)


# ---------------------------------------------------------------------------- arguments by name


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
            r"length exceeds max length \(max_new_tokens=7, min_new_tokens=8\); raise max_new",
        ),
        ({"do_sample": True, "temperature": -1.0}, "rejects them: .*temperature.*; fix the value"),
        ({"do_sample": True, "top_k": -1}, "rejects them: .*top_k"),
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
