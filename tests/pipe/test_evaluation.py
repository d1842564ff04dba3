"""Evaluation: every example is scored exactly once, on any rank and with any kept columns."""

from __future__ import annotations

import dataclasses
import logging
import math
import random

import numpy as np
import pytest
import torch
from support.evaluation import evaluate_on
from support.generation_toys import tiny_t5, written_examples
from support.helpers import folders, task_on, toy_tokenizer
from support.processes import run_on_ranks
from support.toy_model import toy_model

from ke_t5.distributed import Ranks, seed_generators
from ke_t5.errors import UserError
from ke_t5.pipe import EvaluationHelper, evaluate, greatest, map_over_dataset
from ke_t5.pipe.features import IGNORED
from ke_t5.pipe.model_inputs import model_inputs
from ke_t5.pipe.scoring import best_score, compute_scores

pytestmark = pytest.mark.usefixtures("one_thread")

ALONE = Ranks(0, 1, torch.device("cpu"), 1)


@map_over_dataset
def to_ids(row: dict) -> dict:
    """The example with its token ids, and its label or `IGNORED`."""
    label = IGNORED if row["label"] is None else row["label"]
    return {"input_ids": toy_tokenizer()(row["text"])["input_ids"], "labels": label}


@map_over_dataset
def to_ids_and_text(row: dict) -> dict:
    """The example of the step above, with its text."""
    ids = toy_tokenizer()(row["text"])["input_ids"]
    return {"input_ids": ids, "labels": row["label"], "text": row["text"]}


def counted(targets: list, predictions: list) -> dict[str, float]:
    """The number of scored rows, and the percentage of correct ones."""
    hits = sum(t == p for t, p in zip(targets, predictions, strict=True))
    return {"count": float(len(targets)), "right": 100.0 * hits / len(targets)}


def class_task(rows: list[dict], **settings):
    """A task of three classes."""
    return task_on(
        rows,
        [to_ids],
        **{
            "decode": lambda records, examples: (int(np.argmax(records[0]["logits"])), None),
            "target": lambda example: None if example["labels"] == IGNORED else example["labels"],
            "metric_fns": (counted,),
            "best": greatest("right"),
            **settings,
        },
    )


def class_rows(num_rows: int, *, unlabelled: int = 0) -> list[dict]:
    """Rows of different lengths; the last ones have no label."""
    words = "가 나 다 라 마 바 사".split()
    return [
        {
            "text": " ".join(words[: 1 + 3 * i % 7]),
            "label": None if i >= num_rows - unlabelled else i % 3,
        }
        for i in range(num_rows)
    ]


@pytest.fixture(scope="module")
def class_examples(tmp_path_factory):
    path = tmp_path_factory.mktemp("classes")

    def built(num_rows: int, **settings):
        task = class_task(class_rows(num_rows, **settings))
        return task, task.get_dataset("train", folders=folders(path / f"{num_rows}{settings}"))

    return built


# ----------------------------------------------------------------------------------- exactly once


@pytest.mark.parametrize("num_rows", [1, 2, 3, 5, 17])
def test_every_example_is_scored_exactly_once(class_examples, num_rows):
    task, examples = class_examples(num_rows)
    helper, model = EvaluationHelper(task), toy_model()
    alone = None
    for batch_size in (1, 2, 7, 16):
        for num_ranks in (1, 2, 3):
            found = evaluate_on(num_ranks, helper, model, examples, batch_size=batch_size)
            assert [line["id"] for line in found.predictions] == list(range(num_rows))
            assert (found.num_rows, found.num_scored) == (num_rows, num_rows)
            assert found.scores["count"] == num_rows
            answers = [(line["gold"], line["prediction"]) for line in found.predictions]
            alone = alone or (found.scores, answers)
            assert (found.scores, answers) == alone


def test_the_loss_is_a_mean_over_labelled_rows_whoever_predicts_them(class_examples):
    task, examples = class_examples(17, unlabelled=4)
    helper, model, found = EvaluationHelper(task), toy_model(), []
    plain = evaluate_on(1, helper, model, examples, batch_size=3)
    for num_ranks in (1, 2, 3):
        one = evaluate_on(num_ranks, helper, model, examples, batch_size=3, wants_loss=True)
        assert (one.predictions, one.scores) == (plain.predictions, plain.scores)
        found.append(one.loss)
    alone = [
        model(**model_inputs(model, examples.batch([i]), ALONE.device)).loss.item()
        for i in range(13)
    ]
    assert found[0] == pytest.approx(sum(alone) / 13) and len(set(found)) == 1
    assert plain.loss is None


def test_there_is_no_loss_if_unlabelled_rows_would_count_in_it(class_examples):
    task, examples = class_examples(5, unlabelled=1)
    helper = EvaluationHelper(dataclasses.replace(task, problem_type="regression"))
    assert evaluate_on(1, helper, toy_model(), examples, batch_size=3, wants_loss=True).loss is None


SAMPLED = {"do_sample": True, "top_k": 8, "num_return_sequences": 2, "max_new_tokens": 6}


def on_ranks(ranks, path):
    """Labels are in one batch only, so that one of two ranks has none; answers are sampled."""
    task = class_task(class_rows(3))
    examples = task.get_dataset("train", folders=folders(path / "labels"))
    model = toy_model(dropout=0.5).train()
    labels = evaluate(EvaluationHelper(task), model, examples, batch_size=16, ranks=ranks)
    assert model.training
    task, examples = written_examples(path / "texts", num_rows=9)
    helper = EvaluationHelper(task, model_kwargs=SAMPLED)
    drawn = evaluate(helper, tiny_t5(), examples, batch_size=2, ranks=ranks)
    return [(each.scores, each.num_rows, each.predictions) for each in (labels, drawn)]


def test_two_processes_find_what_one_finds(tmp_path):
    alone = on_ranks(ALONE, tmp_path)
    first, second = run_on_ranks(on_ranks, 2, tmp_path)
    assert first == alone
    assert second == [(scores, num_rows, []) for scores, num_rows, _ in alone]
    assert all(len(line["sequences"]) == 2 for line in first[1][2])


def test_answers_that_are_missing_or_doubled_are_our_own_fault(class_examples):
    from ke_t5.pipe.scoring import score

    task, examples = class_examples(2)
    record = {"logits": [0.0, 1.0, 0.0]}
    for answers in ([(0, record)], [(0, record), (0, record)], [(0, record)] * 3):
        with pytest.raises(RuntimeError, match="each must be predicted once"):
            score(EvaluationHelper(task), examples, answers)


def test_more_rows_than_are_read_at_once(class_examples, monkeypatch):
    from ke_t5.pipe import scoring

    monkeypatch.setattr(scoring, "ROWS_AT_ONCE", 4)
    task, examples = class_examples(17)
    found = evaluate_on(1, EvaluationHelper(task), toy_model(), examples, batch_size=5)
    assert [line["gold"] for line in found.predictions] == [i % 3 for i in range(17)]


def test_some_rows_are_spread_over_the_split(class_examples):
    _, examples = class_examples(17)
    assert examples.some_rows(4).ids.tolist() == [0, 4, 8, 12]
    assert examples.some_rows(99).ids.tolist() == list(range(17))
    assert examples.some_rows(1).ids.tolist() == [0]


@pytest.fixture
def texts_kept(tmp_path):
    """A task that keeps the texts, and 17 examples."""
    keep = {"keep": {"text": "string"}, "inputs": lambda example: example["text"]}
    task = class_task(class_rows(17), **keep)
    task = dataclasses.replace(task, preprocessors=(to_ids_and_text,))
    return task, task.get_dataset("train", folders=folders(tmp_path))


def test_texts_stay_on_the_disk_until_they_are_asked_for(texts_kept, monkeypatch):
    from ke_t5.pipe import scoring
    from ke_t5.pipe.examples import Examples

    monkeypatch.setattr(scoring, "ROWS_AT_ONCE", 4)
    task, examples = texts_kept
    found = evaluate_on(1, EvaluationHelper(task), toy_model(), examples, batch_size=5)
    read, lazy_examples = [], Examples.lazy_examples
    monkeypatch.setattr(Examples, "lazy_examples", lambda self, positions: [
        read.append(list(positions)), *lazy_examples(self, positions)][1:])  # fmt: skip
    line = found.predictions[9]
    assert "inputs" in line and "gold" in line and "other" not in line and not read
    texts = [examples.example(i)["text"] for i in range(17)]
    assert line["inputs"] == texts[9] and read == [[8, 9, 10, 11]]
    assert [one["inputs"] for one in found.predictions] == texts and len(read) == 6
    assert list(line) == list(dict(line)) and list(line)[:3] == ["id", "inputs", "gold"]
    with pytest.raises(KeyError, match="other"):
        line["other"]


def test_an_example_is_read_column_by_column(texts_kept):
    _, examples = texts_kept
    for some in (examples, examples.without_kept()):
        lazy = some.lazy_examples([3, 1])
        assert [dict(example) for example in lazy] == some.examples([3, 1])
        assert [len(example) for example in lazy] == [len(one) for one in some.examples([3, 1])]
        assert ("text" in lazy[0]) == some.has_kept and lazy[0]["_id"] == 3
        with pytest.raises(KeyError, match="other"):
            lazy[0]["other"]


def test_windows_of_a_row_are_decoded_together(tmp_path):
    def windows(dataset):
        rows = [
            {"input_ids": [2, 4 + number % 3, 3], "labels": row["label"], "_id": row["_id"]}
            for row in dataset
            for number in range(row["label"] + 1)
        ]
        return type(dataset).from_list(rows)

    seen = []

    def decode(records, examples):
        seen.append((len(records), [example["_id"] for example in examples]))
        return len(records) - 1, None

    task = task_on(
        [{"text": "", "label": label} for label in (0, 2, 1)], [windows],
        decode=decode, metric_fns=(counted,),
    )  # fmt: skip
    examples = task.get_dataset("train", folders=folders(tmp_path))
    for num_ranks in (1, 2, 3):
        seen.clear()
        found = evaluate_on(num_ranks, EvaluationHelper(task), toy_model(), examples, batch_size=2)
        assert seen == [(1, [0]), (3, [1, 1, 1]), (2, [2, 2])]
        assert found.scores == {"count": 3.0, "right": 100.0}


# ------------------------------------------------------------------- what is scored, and its names


def test_rows_without_a_label_are_predicted_and_not_scored(class_examples):
    task, examples = class_examples(5, unlabelled=2)
    found = evaluate_on(1, EvaluationHelper(task), toy_model(), examples, batch_size=2)
    assert (found.num_rows, found.num_scored, found.scores["count"]) == (5, 3, 3.0)
    assert [line["gold"] for line in found.predictions] == [0, 1, 2, None, None]
    assert all(line["prediction"] in (0, 1, 2) for line in found.predictions)


def test_a_split_without_labels_has_no_scores(class_examples):
    task, examples = class_examples(2, unlabelled=2)
    found = evaluate_on(1, EvaluationHelper(task), toy_model(), examples, batch_size=2)
    assert (found.scores, found.num_rows, found.num_scored) == ({}, 2, 0)


def test_answers_that_cannot_be_read_are_counted_among_the_scored(class_examples):
    task = class_task(
        class_rows(5, unlabelled=2),
        decode=lambda records, examples: (None if examples[0]["_id"] != 1 else 1, None),
    )
    _, examples = class_examples(5, unlabelled=2)
    found = evaluate_on(1, EvaluationHelper(task), toy_model(), examples, batch_size=2)
    assert found.unparsable == 2
    assert found.scores == {"count": 3.0, "right": pytest.approx(100 / 3)}


def test_a_metric_that_asks_for_scores_gets_them(class_examples):
    def confident(targets, predictions, scores):
        return {"confidence": 100.0 * sum(map(max, scores)) / len(scores)}

    task = class_task([], metric_fns=(counted, confident))
    found = compute_scores(task, [0, 1], [0, 0], [[0.5, 0.5], [0.9, 0.1]])
    assert found == {"count": 2.0, "right": 50.0, "confidence": pytest.approx(70.0)}


@pytest.fixture(scope="module")
def text_examples(tmp_path_factory):
    return written_examples(tmp_path_factory.mktemp("texts"), num_rows=12, best=greatest("exact"))


def test_a_decoder_that_sees_the_gold_says_so_in_its_scores(text_examples):
    task, examples = text_examples
    helper = EvaluationHelper(task, model_fn="forward")
    helper.check(tiny_t5())
    found = evaluate_on(1, helper, tiny_t5(), examples, batch_size=5)
    assert set(found.scores) == {"teacher_forced_exact"}
    assert best_score(task, found.scores) == found.scores["teacher_forced_exact"]
    # A row without a label has no place where a token could be predicted.
    assert [line["prediction"] for line in found.predictions if line["gold"] is None] == [None] * 2


def test_the_loss_of_generated_answers_is_that_of_the_gold_ones(text_examples):
    task, examples = text_examples
    settings = {"batch_size": 8, "wants_loss": True}
    written, forced = (
        evaluate_on(1, EvaluationHelper(task, **how), tiny_t5(), examples, **settings)
        for how in ({}, {"model_fn": "forward"})
    )
    assert written.loss == forced.loss > 0
    plain = evaluate_on(1, EvaluationHelper(task), tiny_t5(), examples, batch_size=8)
    assert written.predictions == plain.predictions


def test_teacher_forcing_gives_the_likeliest_token_at_each_place(text_examples):
    task, examples = text_examples
    records = EvaluationHelper(task, model_fn="forward").predict(tiny_t5(), examples.batch([0, 1]))
    example = examples.example(0)
    ids, labels = (torch.tensor([example[name]]) for name in ("input_ids", "labels"))
    with torch.inference_mode():
        best = tiny_t5()(input_ids=ids, labels=labels).logits.argmax(-1)
    assert records[0]["sequences"] == [toy_tokenizer().decode(best[0], skip_special_tokens=True)]


@pytest.mark.parametrize("prefix", ["", "teacher_forced_", "model_io_", "teacher_forced_model_io_"])
def test_the_best_score_is_found_under_any_of_its_names(prefix):
    task = class_task([])
    assert best_score(task, {prefix + "right": 3.0, prefix + "count": 9.0}) == 3.0


def test_no_score_is_no_best_score():
    assert math.isnan(best_score(class_task([], best=None), {"right": 3.0}))
    with pytest.raises(UserError, match="no metric returns 'right'; they return count"):
        best_score(class_task([]), {"count": 1.0})


def test_a_split_without_labels_has_no_best_score():
    assert math.isnan(best_score(class_task([]), {}))


# ----------------------------------------------------------------------------- what it leaves alone


def test_every_module_is_left_in_the_mode_it_was_in(class_examples):
    task, examples = class_examples(3)
    model = toy_model(dropout=0.5).train()
    model.hidden.eval()  # frozen by its user
    evaluate_on(1, EvaluationHelper(task), model, examples, batch_size=2)
    assert model.training and model.drop.training and not model.hidden.training


def test_a_failure_leaves_mode_and_logging_alone(class_examples):
    task, examples = class_examples(3)
    model = toy_model().train()
    level = logging.getLogger("transformers").level
    with pytest.raises(RuntimeError, match="broken"):
        evaluate(EvaluationHelper(task), model, examples, batch_size=2, ranks=ALONE, watch=_broken)
    assert model.training
    assert logging.getLogger("transformers").level == level


def _broken(numbers):
    yield from ()
    raise RuntimeError("broken")


def test_random_numbers_go_on_where_they_were(class_examples):
    task, examples = class_examples(3)
    model = toy_model()

    def drawn():
        return torch.rand(3).tolist(), random.random(), np.random.rand()

    seed_generators(7)
    expected = drawn()
    seed_generators(7)
    evaluate_on(1, EvaluationHelper(task), model, examples, batch_size=2)
    assert drawn() == expected
