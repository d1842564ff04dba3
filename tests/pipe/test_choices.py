"""Batches of multiple choice: shapes, padding, masks and token budgets."""

from __future__ import annotations

import numpy as np
import pytest
from support.toys import BERT, ROWS, T5, character_tokenizer, examples_on, save_tokenizers

from ke_t5.inspection.facts import _decoded
from ke_t5.pipe import TaskRegistry, get_batches
from ke_t5.task.choices import ALIKE

COPA = ROWS["kobest_copa"]


@pytest.fixture(scope="module")
def vocabularies(tmp_path_factory):
    return save_tokenizers(tmp_path_factory.mktemp("tokenizers"))


@pytest.fixture
def build(vocabularies, tmp_path):
    def built(rows, kind=BERT, **lengths):
        folders = {"vocabulary": vocabularies[kind], "cache": tmp_path}
        return examples_on("kobest_copa", rows, **folders, **lengths)[1]

    return built


def test_a_batch_has_the_tokens_of_each_choice_and_masks_the_rest(build):
    batch = build(COPA).batch([0, 1])
    shape = batch["input_ids"].shape
    assert shape[:2] == (2, 2) and batch["attention_mask"].shape == shape
    assert batch["token_type_ids"].shape == shape and batch["labels"].tolist() == [0, 1]
    decode = character_tokenizer(BERT).decode
    for choice in (0, 1):
        ids, mask = batch["input_ids"][0, choice], batch["attention_mask"][0, choice].astype(bool)
        text = decode(ids[mask])
        assert text == f"[CLS]비가 온다. 결과[SEP]{COPA[0][f'choice{choice + 1}']}[SEP]"
        assert set(ids[~mask]) <= {character_tokenizer(BERT).pad_token_id}
        assert mask[: mask.sum()].all()  # padding is to the right


def test_without_a_separator_a_choice_is_one_text_with_names(build):
    batch = build(COPA, T5).batch([0])
    decode = character_tokenizer(T5).decode
    ids = batch["input_ids"][0, 0][batch["attention_mask"][0, 0] == 1]
    assert decode(ids) == "premise: 비가 온다. question: 결과 choice: 젖는다.</s>"


def test_a_row_costs_its_choices_with_their_padding(build):
    examples = build(COPA)
    lengths = examples.lengths("input_ids")
    assert lengths.tolist() == [examples.batch([i])["input_ids"].size for i in range(len(COPA))]
    plan = get_batches(lengths, batch_size=9, num_parts=1, seed=0, batch_tokens=int(lengths.max()))
    assert sorted(map(len, plan.epoch(0))) == [1, 1, 1]
    sizes = [examples.batch(rows)["input_ids"].size for rows in plan.epoch(0)]
    assert max(sizes) <= lengths.max()


def test_choices_that_are_cut_and_become_alike_are_counted(build):
    rows = [{**row, "choice2": row["choice1"] + "끝"} for row in COPA]
    examples = build(rows, inputs=8)
    lost = examples.lost()
    assert lost[ALIKE] == (3, 3)
    assert lost["choices with their text cut at 8 tokens"] == (6, 6)
    assert np.array_equal(*np.moveaxis(examples.batch([0])["input_ids"], 1, 0))


def test_inspect_shows_the_choices_one_after_the_other(build):
    shown = _decoded(TaskRegistry.get("kobest_copa"), build(COPA))
    first, second = (f"[CLS]비가 온다. 결과[SEP]{COPA[0][f'choice{i}']}[SEP]" for i in (1, 2))
    assert shown[0]["decoded"] == first + second and shown[0]["gold"] == "1"
