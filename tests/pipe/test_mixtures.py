"""Mixtures: the tasks that can be mixed, the examples of an epoch, and the mean of the scores."""

from __future__ import annotations

import dataclasses
import math
from functools import partial

import numpy as np
import pytest
from support.helpers import folders, task_on, toy_tokenizer
from support.toys import mix, mix_of_two

import ke_t5.task.task as listing
from ke_t5.errors import Exit, UserError
from ke_t5.pipe import (
    Evaluated,
    Feature,
    MixtureRegistry,
    Monitor,
    get_batches,
    get_task,
    greatest,
    least,
    map_over_dataset,
    rate_num_examples,
    tokenize,
)
from ke_t5.pipe.mixture import mix_examples
from ke_t5.recipes.task_splits import TaskSplit, mixed_scores


@map_over_dataset
def take_label(example):
    return {**example, "labels": example["label"]}


STEPS = (partial(tokenize, source="text", limit="inputs"), take_label)


def toy(name="one", *, num_rows=4, steps=STEPS, **settings):
    """A task of that name over rows of one to three words."""
    rows = [{"text": "가 " * (1 + i % 3), "label": i % 3} for i in range(num_rows)]
    return dataclasses.replace(task_on(rows, steps, **settings), name=name)


# ------------------------------------------------------------------------- what can be mixed


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"form": "question_answering"}, "form is 'sequence_classification' in one and 'qu"),
        (
            {"loss_reduction": "label_tokens"},
            "loss_reduction is 'rows' in one and 'label_tokens' in two",
        ),
        ({"labels": ("a", "b", "c")}, r"labels is None in one and \('a', 'b', 'c'\) in two"),
        ({"problem_type": "regression"}, "problem_type is None in one and 'regression'"),
        (
            {"output_features": {"input_ids": Feature(toy_tokenizer, pad=None)}},
            "only one has a column 'labels'",
        ),
        (
            {"output_features": {"input_ids": Feature(toy_tokenizer, pad=None),
                                 "labels": Feature(rank=0, num_values=7)}},
            "num_values of column 'labels' is 3 in one and 7 in two",
        ),
        ({"best": least("loss")}, r"best is not set in one and loss \(mode 'min'\) in two"),
    ],
)  # fmt: skip
def test_tasks_that_need_different_models_are_not_mixed(settings, message):
    with pytest.raises(UserError, match=f"mixture 'mix': one and two cannot be mixed: {message}"):
        mix(toy(), toy("two", **settings))


def test_scores_of_which_more_and_of_which_less_is_better_have_no_mean():
    with pytest.raises(
        UserError, match=r"best is f1 \(mode 'max'\) in one and loss \(mode 'min'\) in two"
    ):
        mix(toy(best=greatest("f1")), toy("two", best=least("loss")))


@pytest.mark.parametrize(
    ("tasks", "message"), [([], "has no members"), ([toy(), toy()], "lists one twice")]
)
def test_a_mixture_has_members_and_each_once(tasks, message):
    with pytest.raises(UserError, match=message):
        mix(*tasks)


def test_a_mixture_answers_for_its_members():
    klue = get_task("klue_gen")
    assert [task.name for task in klue.members] == [
        "klue_tc_gen", "klue_nli_gen", "klue_sts_gen", "klue_re_gen",
    ]  # fmt: skip
    assert (klue.form, klue.forms, klue.loss_reduction) == ("seq2seq", ("seq2seq",), "label_tokens")
    assert (klue.defaults.batch_size, klue.defaults.epochs) == (32, 5)
    assert klue.best == Monitor("mean", mode="max") == greatest("mean")


def test_the_forms_of_a_mixture_are_those_of_all_members():
    ner, split = get_task("nikl_ner"), get_task("nikl_ner_split")
    assert mix(ner, split).forms == ner.forms
    only = dataclasses.replace(split, variants={})
    assert mix(ner, only).forms == ("token_classification",)
    characters = mix(ner, split).in_form("character_tagging")
    assert {task.form for task in characters.members} == {"character_tagging"}


# ---------------------------------------------------------------------------------- the registry


@pytest.fixture
def registered():
    """A mixture of two tasks that are registered during a test."""
    mixture = mix_of_two()
    with MixtureRegistry.registry.temporary("mix", mixture):
        yield mixture


def test_tasks_are_named_with_or_without_a_rate():
    with MixtureRegistry.registry.temporary("other", None):
        pairs = ["nsmc_gen", ("klue_tc_gen", 3)]
        mixture = MixtureRegistry.add("mine", pairs, default_rate=0.5)
        assert mixture.rates == (0.5, 3)
        assert MixtureRegistry.get("mine") is get_task("mine") is mixture
        assert MixtureRegistry.add("plain", ["nsmc_gen"]).rates == (rate_num_examples,)
    assert "mine" not in MixtureRegistry.names()


def test_an_unknown_member_is_one_line_with_near_names():
    message = r"error: mixture 'mine', 'klue_tc_gne': unknown task; did you mean 'klue_tc_gen'"
    with pytest.raises(UserError, match=message):
        MixtureRegistry.add("mine", ["nsmc_gen", "klue_tc_gne"])
    assert "mine" not in MixtureRegistry.names()


def test_a_name_is_taken_once(registered):
    with pytest.raises(ValueError, match="'mix' is already registered"):
        MixtureRegistry.add("mix", ["nsmc_gen"])
    with pytest.raises(ValueError, match="'nsmc' is already a task"):
        MixtureRegistry.add("nsmc", ["nsmc_gen"])
    with MixtureRegistry.registry.temporary("nsmc", registered):
        with pytest.raises(UserError, match="--task 'nsmc': both a task and a mixture"):
            get_task("nsmc")


@pytest.mark.parametrize(("name", "near"), [("klue_gem", "klue_gen"), ("klue_tcc", "klue_tc")])
def test_an_unknown_name_is_compared_with_tasks_and_mixtures(name, near):
    message = f"--task '{name}': unknown task; did you mean '{near}'.*; --module_import adds your"
    with pytest.raises(UserError, match=message):
        get_task(name)


def test_the_list_of_tasks_ends_with_the_mixtures(tmp_path):
    lines = listing.table_lines(folders(tmp_path))[-2:]
    assert [line.split()[0] for line in lines] == ["klue_gen", "kobest_gen"]
    assert lines[0].split(maxsplit=3) == [
        "klue_gen", "seq2seq", "mean", "klue_tc_gen, klue_nli_gen, klue_sts_gen, klue_re_gen",
    ]  # fmt: skip


# ------------------------------------------------------------------------------------- the rates


@pytest.mark.parametrize(
    ("rates", "shares"),
    [
        ((rate_num_examples, rate_num_examples), (30, 10)),
        ((1, 1), (20, 20)),
        ((3, 5.0), (15, 25)),
        ((partial(rate_num_examples, maximum=10), rate_num_examples), (20, 20)),
        ((lambda task, size: len(task.name), lambda task, size: size), (9, 31)),
        ((1, 1000), (1, 40)),  # at least one
        ((1e308, 1e308), (20, 20)),  # their sum is infinite
        ((3e307, 1e307), (30, 10)),  # their sum x the examples is
    ],
)
def test_rates_give_the_shares_of_an_epoch(rates, shares):
    examples_per_epoch = mix(toy(), toy("two"), rates=rates).examples_per_epoch((30, 10))
    assert examples_per_epoch == ((30, shares[0]), (10, shares[1]))


def test_a_size_is_limited_and_flattened():
    task = toy()
    assert rate_num_examples(task, 900) == 900
    assert rate_num_examples(task, 900, scale=0.5) == 450
    assert rate_num_examples(task, 900, maximum=400) == 400
    assert rate_num_examples(task, 900, maximum=400, temperature=2) == 20


@pytest.mark.parametrize("rate", [0, -1, math.nan, math.inf, "1"])
def test_a_rate_is_a_number_above_zero(rate):
    with pytest.raises(UserError, match=r"mixture 'mix': the rate of two is"):
        mix(toy(), toy("two"), rates=(1, rate))
    mixture = mix(toy(), toy("two"), rates=(1, lambda task, size: rate))
    with pytest.raises(UserError, match=r"mixture 'mix': the rate of two is"):
        mixture.examples_per_epoch((3, 3))


def test_a_member_without_a_labelled_row_is_told():
    with pytest.raises(UserError, match="two has no labelled training examples") as caught:
        mix(toy(), toy("two")).examples_per_epoch((3, 0))
    assert caught.value.exit_code == Exit.DATA


@pytest.mark.parametrize("temperature", [0, -1.0, float("nan")])
def test_a_temperature_is_positive(temperature):
    with pytest.raises(UserError, match="rate_num_examples: temperature is .*; give a number abov"):
        rate_num_examples(toy(), 6, temperature=temperature)


@pytest.mark.parametrize("temperature", [1e-3, 1e-9, 5e-324])
def test_a_temperature_may_be_too_small(temperature):
    message = "rate_num_examples: temperature is .*, too small for 900 examples; give a larger one"
    with pytest.raises(UserError, match=message):
        rate_num_examples(toy(), 900, temperature=temperature)
    assert rate_num_examples(toy(), 900, maximum=1, temperature=temperature) == 1


# ------------------------------------------------------------------------------------- the order

LENGTHS = np.random.default_rng(0).integers(3, 60, size=107)
EXAMPLES_PER_EPOCH = ((90, 41), (10, 33), (7, 7))


def plan(examples_per_epoch=EXAMPLES_PER_EPOCH, *, batch_size=4, num_parts=2, seed=1):
    return get_batches(
        LENGTHS,
        batch_size=batch_size,
        num_parts=num_parts,
        seed=seed,
        examples_per_epoch=examples_per_epoch,
    )


def counts(batches):
    """The number of times that each example occurs."""
    return np.bincount(np.concatenate(batches), minlength=len(LENGTHS))


def test_an_epoch_holds_its_share_of_every_member():
    for epoch in range(5):
        found = np.split(counts(plan().epoch(epoch)), [90, 100])
        assert [part.sum() for part in found] == [41, 33, 7]


@pytest.mark.parametrize("shares", [(35, 35, 36), (36, 36, 36), (41, 33, 7)])
@pytest.mark.parametrize("batch_size", [1, 3, 9, 53, 107])
def test_steps_are_counted_as_batches_are_made(shares, batch_size):
    """Rounded shares do not always sum to the number of examples."""
    one = plan(tuple(zip((90, 10, 7), shares, strict=True)), batch_size=batch_size, num_parts=1)
    epochs = [one.epoch(epoch) for epoch in range(3)]
    assert [one.num_batches(epoch) for epoch in range(3)] == [len(batches) for batches in epochs]
    assert [counts(batches).sum() for batches in epochs] == [sum(shares)] * 3
    assert one.num_steps(3) == sum(map(len, epochs))


@pytest.mark.parametrize("num_epochs", [1, 2, 3, 7])
def test_no_example_is_ahead_of_another_of_its_member_by_more_than_one(num_epochs):
    seen = sum(counts(plan().epoch(epoch)) for epoch in range(num_epochs))
    for part in np.split(seen, [90, 100]):
        assert part.max() - part.min() <= 1


def test_rates_by_size_hold_every_example_once():
    by_size = ((90, 90), (10, 10), (7, 7))
    assert (counts(plan(by_size).epoch(2)) == 1).all()


def test_the_order_is_a_function_of_seed_and_epoch():
    def order(**settings):
        return [batch.tolist() for batch in plan(**settings).epoch(settings.pop("epoch", 3))]

    assert order() == order()
    assert order() != order(seed=2)
    assert order() != [batch.tolist() for batch in plan().epoch(4)]
    assert order() == order(batch_size=8, num_parts=1) == order(batch_size=1, num_parts=8)


def test_members_stand_in_one_batch():
    owners = np.repeat([0, 1, 2], [90, 10, 7])
    assert sum(len(set(owners[batch].tolist())) > 1 for batch in plan().epoch(0)) > 5


# ---------------------------------------------------------------------------------- the examples


def test_mixed_examples_know_whose_they_are(tmp_path):
    one, two = (
        task.get_dataset("train", folders=folders(tmp_path / task.name))
        for task in (toy(keep={"text": "string"}), toy("two", num_rows=3))
    )
    mixed = mix_examples({"one": one.take(np.array([1, 3])), "two": two})
    assert len(mixed) == 5
    assert mixed.row_names([0, 1, 2, 4]) == ["one 1", "one 3", "two 0", "two 2"]
    assert mixed.take(np.array([4, 1])).row_names([0, 1]) == ["two 2", "one 3"]
    assert mixed.batch([1, 2])["labels"].tolist() == [0, 0]
    assert set(mixed.example(0)) == {"input_ids", "labels", "_id"}
    assert one.row_names([2]) == ["2"]


def test_a_column_that_only_one_member_made_is_told(tmp_path):
    features = {
        "input_ids": Feature(toy_tokenizer, pad=None),
        "token_type_ids": Feature(required=False),
        "labels": Feature(rank=0),
    }
    tasks = (
        toy(steps=(*STEPS, add_segments), output_features=features),
        toy("two", output_features=features),
    )
    members = {
        task.name: task.get_dataset("train", folders=folders(tmp_path / task.name))
        for task in tasks
    }
    with pytest.raises(UserError, match="one has a column 'token_type_ids', two does not"):
        mix_examples(members)


@map_over_dataset
def add_segments(example):
    return {**example, "token_type_ids": [0] * len(example["input_ids"])}


# ------------------------------------------------------------------------------------ the scores


def found(name, best, **scores):
    """The result of evaluating a task."""
    return TaskSplit(toy(name, best=greatest(best)), "validation", None, name), Evaluated(
        scores, 3, 3, 0, []
    )


def test_the_mean_of_the_first_scores_comes_first():
    parts = [found("one", "f1", f1=30.0, accuracy=80.0), found("two", "accuracy", accuracy=50.0)]
    assert list(mixed_scores(parts, prefix="").items()) == [
        ("mean", 40.0), ("one/f1", 30.0), ("one/accuracy", 80.0), ("two/accuracy", 50.0),
    ]  # fmt: skip
    assert "teacher_forced_mean" in mixed_scores(parts, prefix="teacher_forced_")


def test_an_undefined_score_leaves_the_mean_undefined_and_never_the_best():
    mean = mixed_scores([found("one", "f1", f1=math.nan), found("two", "f1", f1=90.0)], prefix="")
    assert math.isnan(mean["mean"])
    assert not greatest("mean").improves(mean["mean"], None)


def test_a_member_without_labels_has_no_part_in_the_mean():
    assert mixed_scores([found("one", "f1"), found("two", "f1", f1=9.0)], prefix="") == {
        "mean": 9.0, "two/f1": 9.0,
    }  # fmt: skip
    assert mixed_scores([found("one", "f1")], prefix="") == {}
