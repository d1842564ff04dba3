"""Generation: answers as `model.generate` gives them row by row."""

from __future__ import annotations

import ast
import functools

import pytest
import torch
from support.evaluation import evaluate_on, written
from support.generation_toys import sentences, tiny_t5, written_examples
from support.helpers import toy_tokenizer

from ke_t5.distributed import Ranks
from ke_t5.pipe import Defaults, EvaluationHelper, evaluate

pytestmark = pytest.mark.usefixtures("one_thread")

LONGEST = 12
NUM_ROWS = 25  # every fifth has no label
BEAMS = {"num_beams": 3, "max_new_tokens": LONGEST}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    return written_examples(tmp_path_factory.mktemp("examples"), num_rows=NUM_ROWS)


@pytest.fixture(scope="module")
def model():
    return tiny_t5()


@pytest.fixture(scope="module")
def row_by_row(model, built):
    """The answers of `model.generate` for single rows, without padding."""

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


@pytest.mark.parametrize(
    ("num_rows", "num_beams", "expected"),
    [(8, 1, "medium"), (1, 4, "medium"), (3, 1, "highest"), (1, 2, "highest")],
)
def test_many_sequences_at_once_are_computed_by_the_faster_library(
    built, model, monkeypatch, num_rows, num_beams, expected
):
    """oneDNN is slower for one vector or two."""
    monkeypatch.setattr("ke_t5.products.uses_onednn", lambda: True)
    seen = set()
    handle = model.register_forward_pre_hook(
        lambda *_: seen.add(torch.get_float32_matmul_precision())
    )
    arguments = {"num_beams": num_beams, "max_new_tokens": 2}
    helper = EvaluationHelper(built[0], model_kwargs=arguments)
    evaluate_on(1, helper, model, built[1].some_rows(num_rows), batch_size=8)
    handle.remove()
    assert (seen, torch.get_float32_matmul_precision()) == ({expected}, "highest")


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


@pytest.mark.parametrize(("name", "longest"), [("max_new_tokens", 11), ("max_length", 12)])
def test_no_answer_is_longer_than_the_decoder_has_positions(built, caplog, name, longest):
    from transformers import BartConfig, BartForConditionalGeneration

    task, examples = built
    config = BartConfig(
        vocab_size=20, d_model=8, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=8, decoder_ffn_dim=8, max_position_embeddings=12,
        pad_token_id=0, bos_token_id=2, eos_token_id=3, decoder_start_token_id=2,
    )  # fmt: skip
    model = BartForConditionalGeneration(config)
    helper = EvaluationHelper(task, model_kwargs={name: 40, "min_new_tokens": 11})
    helper.check(model)
    assert helper.model_kwargs[name] == longest
    assert f"{name} reduced from 40 to the model's {longest}" in caplog.text
    assert len(helper.predict(model, examples.batch([0]))) == 1


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
    """All three give the same answers; only the default uses our cache."""
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
