"""Epochs that are drawn window by window: every row once, the same batches on every access."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from ke_t5.pipe import batches, get_batches
from ke_t5.pipe.lazy_order import permuted

LENGTHS = np.random.default_rng(0).integers(3, 60, size=1003)


@pytest.fixture(autouse=True)
def lazy(monkeypatch):
    monkeypatch.setattr(batches, "LAZY_ABOVE", 100)


def plan(batch_size=8, **settings):
    return get_batches(LENGTHS, batch_size=batch_size, num_parts=1, seed=1, **settings)


def rows_of(made):
    return [sorted(batch.tolist()) for batch in made]


@pytest.mark.parametrize("size", [1, 2, 3, 5, 64, 65, 1000, 4097])
def test_a_permutation_has_every_place_once(size):
    found = permuted(np.arange(size), size, [3, 1])
    assert sorted(found.tolist()) == list(range(size))
    assert permuted(np.arange(size)[::-1][:5], size, [3, 1]).tolist() == found[::-1][:5].tolist()


def test_permutations_look_random():
    """Values correlate neither with places nor with their neighbours, and differ between keys."""
    size = 100_000
    one, other = (permuted(np.arange(size), size, [0, epoch]) for epoch in (0, 1))
    for a, b in ((one, np.arange(size)), (one, other), (one[:-1], one[1:])):
        assert abs(np.corrcoef(a, b)[0, 1]) < 0.02
    counts = np.histogram2d(np.arange(size), one, bins=20)[0]
    assert ((counts - 250) ** 2 / 250).sum() < 480  # 361 degrees of freedom
    assert np.bincount(one % 8).tolist() == np.bincount(np.arange(size) % 8).tolist()
    assert abs((one % 2 == np.arange(size) % 2).mean() - 0.5) < 0.01


def test_an_epoch_has_every_row_once_in_batches_of_one_length():
    made = plan().epoch(0)
    assert len(made) == plan().num_batches(0) == -(-len(LENGTHS) // 8)
    assert sorted(sum(rows_of(made), [])) == list(range(len(LENGTHS)))
    padded = sum(LENGTHS[batch].max() * len(batch) for batch in made)
    laid_out = dataclasses.replace(plan(), batch_tokens=None)
    assert laid_out.is_lazy and 1 - LENGTHS.sum() / padded < 0.15
    assert rows_of(made) != rows_of(plan().epoch(1))
    with pytest.raises(IndexError):
        made[len(made)]


def test_a_batch_does_not_depend_on_those_asked_for_before():
    whole = [batch.tolist() for batch in plan().epoch(2)]
    for number in (100, 7, 8, 0, len(whole) - 1):
        assert plan().epoch(2)[number].tolist() == whole[number]


def test_small_data_and_budgets_of_tokens_are_laid_out(monkeypatch):
    assert not plan(batch_tokens=300).is_lazy
    monkeypatch.setattr(batches, "LAZY_ABOVE", 1 << 22)
    assert not plan().is_lazy and isinstance(plan().epoch(0), list)


def test_another_batch_size_leaves_what_was_seen_and_cuts_the_rest_of_the_epoch_anew():
    before, after = plan(8), plan(16)
    per_epoch = before.num_batches(0)
    changed = dataclasses.replace(after, earlier=((per_epoch + 13, 8),))
    assert rows_of(changed.epoch(0)) == rows_of(before.epoch(0))
    assert rows_of(changed.epoch(1))[:13] == rows_of(before.epoch(1))[:13]
    assert {len(batch) for batch in list(changed.epoch(1))[13:-1]} == {16}
    assert sorted(sum(rows_of(changed.epoch(1)), [])) == list(range(len(LENGTHS)))
    assert rows_of(changed.epoch(2)) == rows_of(after.epoch(2))
    steps = [len(changed.epoch(epoch)) for epoch in range(4)]
    assert [changed.num_batches(epoch) for epoch in range(4)] == steps
    twice = dataclasses.replace(plan(4), earlier=((3, 8), (5, 16)))
    assert rows_of(twice.epoch(0))[:3] == rows_of(before.epoch(0))[:3]
    assert sorted(sum(rows_of(twice.epoch(0)), [])) == list(range(len(LENGTHS)))


def test_a_member_of_a_mixture_is_passed_through_independently_of_epochs():
    """After any epoch, the numbers of times that its rows have been seen differ by at most one."""
    sizes = (10, len(LENGTHS) - 10)
    mixed = plan(examples_per_epoch=((sizes[0], 43), (sizes[1], len(LENGTHS) - 43)))
    seen = np.zeros(len(LENGTHS), dtype=np.int64)
    for epoch in range(4):
        rows = np.concatenate(list(mixed.epoch(epoch)))
        assert len(rows) == len(LENGTHS) and (rows < 10).sum() == 43
        seen += np.bincount(rows, minlength=len(LENGTHS))
        for part in (seen[:10], seen[10:]):
            assert part.max() - part.min() <= 1
