"""Scores from the columns of the model alone: `--pass_only_model_io`."""

from __future__ import annotations

import numpy as np
import pytest
from support.evaluation import evaluate_on
from support.generation_toys import sentences, tiny_t5, written_examples, written_task
from support.helpers import toy_tokenizer

from ke_t5.errors import UserError
from ke_t5.pipe import EvaluationHelper

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def text_examples(tmp_path_factory):
    return written_examples(tmp_path_factory.mktemp("texts"), num_rows=12)


def test_without_kept_columns_an_example_is_the_models_columns_and_its_id(text_examples):
    task, examples = text_examples
    bare = examples.without_kept()
    assert set(bare.example(0)) == {"input_ids", "labels", "_id"}
    assert "text" in examples.example(0)
    assert bare.take(np.arange(2)).has_kept is False
    assert bare.lost() == examples.lost()


def test_a_task_that_needs_a_kept_column_says_which(text_examples):
    task, examples = text_examples
    with pytest.raises(UserError, match="--pass_only_model_io: the scores of toy need its column"):
        evaluate_on(1, EvaluationHelper(task), tiny_t5(), examples.without_kept(), batch_size=5)


def test_scores_of_less_than_the_task_asks_for_are_named_so(text_examples, caplog):
    less = "only the first word is compared"

    def gold(example):
        known = [token for token in example["labels"] if token > 0]
        return toy_tokenizer().decode(known, skip_special_tokens=True) if known else None

    task, examples = text_examples
    bare = examples.without_kept()
    for told in (less, ""):
        settings = {"target": gold, "inputs": lambda example: "", "without_kept": told}
        task = written_task(sentences(12), **settings)
        helper = EvaluationHelper(task)
        helper.check(tiny_t5(), bare)
        found = evaluate_on(1, helper, tiny_t5(), bare, batch_size=5)
        assert list(found.scores) == ["model_io_exact" if told else "exact"]
        assert found.num_scored == 10
    assert [record.message for record in caplog.records] == [f"--pass_only_model_io: {less}"]
