"""Fast paths of the preparation give the results of working row by row."""

from __future__ import annotations

import gc
import math
import pickle

import numpy as np
import pytest
from support.helpers import toy_tokenizer
from transformers import PreTrainedTokenizerFast

import ke_t5.task.task  # noqa: F401
from ke_t5.errors import UserError
from ke_t5.pipe import IGNORED, Feature, TaskRegistry, features
from ke_t5.pipe.features import _problem, check_batch, valid_numbers
from ke_t5.pipe.preparation import _few_collections
from ke_t5.pipe.preprocessors import _encode_whole

TEXTS = ["", "가 나", "나 " * 700, "[SEP] 가 ??? 나"] * 3


class Lowercase(PreTrainedTokenizerFast):
    """A tokenizer that calls its library in another way than transformers."""

    def _encode_plus(self, text, *args, **settings):
        return super()._encode_plus([part.replace("나", "가") for part in text], *args, **settings)


@pytest.mark.parametrize("columns", [[TEXTS], [TEXTS, TEXTS[::-1]]])
@pytest.mark.parametrize("segments", [False, True])
def test_tokens_are_those_that_the_tokenizer_gives(columns, segments):
    names = ["input_ids", "token_type_ids", "attention_mask"] if segments else ["input_ids"]
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=toy_tokenizer().backend_tokenizer, model_input_names=names
    )
    expected = dict(tokenizer(*columns, verbose=False))
    tokenizer(["가"], truncation=True, max_length=2)  # leaves its settings in the library
    found = _encode_whole(tokenizer, columns)
    assert found == {name: expected[name] for name in found}
    assert ("token_type_ids" in found) == (segments and len(columns) == 2)
    assert _encode_whole(tokenizer, [[]])["input_ids"] == []


def test_a_tokenizer_with_a_way_of_its_own_is_called():
    own = Lowercase(tokenizer_object=toy_tokenizer().backend_tokenizer)
    assert _encode_whole(own, [["나"]])["input_ids"] == own(["가"])["input_ids"]


@pytest.mark.parametrize(
    "value",
    [[1, 2], [IGNORED, 0], [3], [-1], [], [1.5], ["a"], [None], None, 1, [[1]], [True], "ab",
     [2**70], np.array([1, 2])],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("limit", [None, 3])
@pytest.mark.parametrize("rank", [0, 1])
def test_a_column_that_is_valid_at_once_is_valid_row_by_row(value, limit, rank):
    feature = Feature(rank=rank, num_values=limit)
    column = [[1], value] if rank else [1, value]
    problem = _problem(value, feature, value)
    assert not (valid_numbers(column, feature) and problem)
    if problem is None:
        check_batch({"a": column}, {"a": feature}, [], where="here")
    else:
        with pytest.raises(UserError, match="here, row 1: column 'a' "):
            check_batch({"a": column}, {"a": feature}, [], where="here")
    assert valid_numbers([[1], [2, IGNORED]] if rank else [1, IGNORED], feature)


def test_garbage_is_collected_as_before_once_examples_are_prepared():
    before = gc.get_threshold()
    with pytest.raises(ValueError), _few_collections():
        assert gc.get_threshold()[0] >= 100_000 and gc.isenabled()
        raise ValueError
    assert gc.get_threshold() == before


def test_sources_and_steps_can_be_sent_to_another_process():
    for name in TaskRegistry.names():
        task = TaskRegistry.get(name)
        assert pickle.loads(pickle.dumps(task.source)).name == task.source.name
        assert len(pickle.loads(pickle.dumps(list(task.preprocessors)))) == len(task.preprocessors)


@pytest.mark.parametrize(
    ("column", "rank"), [([0.5, math.nan], 0), ([[0.0, 1.0], [math.nan, math.nan]], 1)]
)
def test_a_column_of_floats_is_checked_as_a_whole(monkeypatch, column, rank):
    monkeypatch.setattr(features, "_problem", lambda *_: pytest.fail("checked value by value"))
    feature = Feature(rank=rank, dtype="float32")
    assert check_batch({"a": column}, {"a": feature}, [], where="here") == {}


@pytest.mark.parametrize("value", [math.inf, 1e39, None, "1", [1.0]])
def test_a_column_of_floats_with_a_fault_is_an_error(value):
    for column, rank in (([0.5, value], 0), ([[0.5], [0.5, value]], 1)):
        feature = Feature(rank=rank, dtype="float32")
        with pytest.raises(UserError, match="here, row 1: column 'a' contains"):
            check_batch({"a": column}, {"a": feature}, [], where="here")
