"""Preprocessors: literal in, literal out."""

from __future__ import annotations

from functools import partial

import datasets
import pytest
from support.helpers import folders, task_on, toy_tokenizer

from ke_t5.pipe import (
    Feature,
    append_eos,
    map_over_batches,
    map_over_dataset,
    rekey,
    tokenize,
    trim,
)
from ke_t5.pipe.preprocessors import inject, run_steps

FEATURES = {"input_ids": Feature(toy_tokenizer, pad=None)}


@map_over_dataset
def shout(example, *, sequence_length=None, mark="!"):
    return {
        **example,
        "text": example["text"] + mark,
        "limit": (sequence_length or {}).get("inputs"),
    }


@map_over_batches
def double(batch):
    """Two rows for each row; a step that changes their number has to return `_id`."""
    return {name: [value for value in column for _ in range(2)] for name, column in batch.items()}


def test_decorated_step_maps_a_dataset():
    mapped = shout(datasets.Dataset.from_dict({"text": ["가"], "_id": [7]}))
    assert mapped.to_dict() == {"_id": [7], "text": ["가!"], "limit": [None]}


def test_injection_gives_only_what_is_declared_and_never_beats_a_partial():
    fixed = inject(partial(shout, sequence_length={"inputs": 3}), sequence_length={"inputs": 9})
    assert run_steps([fixed])({"text": ["가"]})["limit"] == [3]
    free = inject(shout, sequence_length={"inputs": 9}, output_features=FEATURES)
    assert run_steps([free])({"text": ["가"]})["limit"] == [9]


def test_neighbouring_steps_share_one_batch_and_carry_the_id():
    run = run_steps([shout, partial(shout, mark="?"), partial(rekey, key_map={"inputs": "text"})])
    assert run({"text": ["가", "나"], "_id": [4, 5]}) == {"inputs": ["가!?", "나!?"], "_id": [4, 5]}


def test_a_step_may_change_the_number_of_rows():
    assert run_steps([double])({"text": ["가"], "_id": [4]}) == {
        "text": ["가", "가"],
        "_id": [4, 4],
    }


def test_rekey_fills_a_missing_source_with_the_empty_text():
    assert rekey.example_function({"a": "가"}, key_map={"x": "a", "y": None}) == {
        "x": "가",
        "y": "",
    }


def test_tokenize_cuts_and_counts_rows_over_the_length():
    step = inject(
        partial(tokenize, source="text"), output_features=FEATURES, sequence_length={"text": 4}
    )
    made = run_steps([step])({"text": ["가 나", "가 나 다 라"]})
    assert made["input_ids"] == [[2, 4, 5, 3], [2, 4, 5, 3]]
    assert made["lost:text cut at 4 tokens"] == [0, 1]


def test_tokenize_gives_segment_ids_for_a_pair():
    step = inject(partial(tokenize, source="a", pair="b"), output_features=FEATURES)
    made = run_steps([step])({"a": ["가"], "b": ["나 다"]})
    assert made["input_ids"] == [[2, 4, 3, 5, 6, 3]]
    assert made["token_type_ids"] == [[0, 0, 0, 1, 1, 1]]


@pytest.mark.parametrize(("length", "cut"), [(2, 1), (3, 0)])
def test_trim_counts_what_it_cuts(length, cut):
    made = trim.example_function({"input_ids": [5, 6, 7]}, sequence_length={"inputs": length})
    assert made == {"input_ids": [5, 6, 7][:length], f"lost:inputs cut at {length} tokens": cut}


def test_append_eos_gives_up_the_last_token_of_a_full_example():
    tokenizer = toy_tokenizer()
    features = {"input_ids": Feature(lambda: type("T", (), {"eos_token_id": 1}))}
    assert tokenizer.eos_token_id is None
    step = inject(append_eos, output_features=features, sequence_length={"inputs": 3})
    made = run_steps([step])({"input_ids": [[5, 6], [5, 6, 7]]})
    assert made["input_ids"] == [[5, 6, 1], [5, 6, 1]]
    assert made["lost:inputs cut at 3 tokens"] == [0, 1]


def test_a_row_that_is_trimmed_and_ended_is_counted_once():
    features = {"input_ids": Feature(lambda: type("T", (), {"eos_token_id": 1}))}
    offered = {"output_features": features, "sequence_length": {"inputs": 3}}
    made = run_steps([inject(trim, **offered), inject(append_eos, **offered)])(
        {"input_ids": [[5], [5, 6, 7, 8]]}
    )
    assert made == {"input_ids": [[5, 1], [5, 6, 1]], "lost:inputs cut at 3 tokens": [0, 1]}


def test_lost_counts_survive_into_the_examples(tmp_path):
    rows = [{"text": "가 나 다 라", "label": 0}, {"text": "가", "label": 1}]
    steps = [partial(tokenize, source="text", limit="inputs"), partial(label_as_labels)]
    examples = task_on(rows, steps).get_dataset(
        "train", folders=folders(tmp_path), sequence_length={"inputs": 4}
    )
    assert examples.lost() == {"inputs cut at 4 tokens": (1, 2)}


def test_what_was_lost_of_rows_is_kept_by_a_step_that_drops_some_of_them(tmp_path):
    """In one batch of rows it drops none, in another some."""

    @map_over_batches
    def without_unknown(batch):
        kept = [i for i, label in enumerate(batch["label"]) if label < 3]
        columns = {"input_ids": "input_ids", "labels": "label", "_id": "_id"}
        return {new: [batch[old][i] for i in kept] for new, old in columns.items()}

    rows = [{"text": "가 나 다 라" if i % 2 else "가", "label": i % 3} for i in range(1000)]
    rows += [{"text": "가 나 다 라", "label": label} for label in (3, 0, 3)]
    steps = [partial(tokenize, source="text", limit="inputs"), without_unknown]
    examples = task_on(rows, steps).get_dataset(
        "train", folders=folders(tmp_path), sequence_length={"inputs": 4}
    )
    assert len(examples) == 1001
    assert examples.lost() == {"inputs cut at 4 tokens": (501, 1001)}


def test_what_was_lost_of_a_row_is_at_the_first_of_its_windows():
    @map_over_batches
    def windows(batch):
        return {"text": ["가", "나", "다"], "_id": [7, 9, 9]}

    batch = {"text": ["가", "하", "나 다"], "_id": [7, 8, 9]}
    batch |= {"lost:words": [1, 1, 4], "of:words": [5, 2, 6]}
    made = run_steps([windows])(batch)
    assert made["lost:words"] == [1, 4, 0] and made["of:words"] == [5, 6, 0]


@map_over_dataset
def label_as_labels(example):
    return {**example, "labels": example["label"]}
