"""Batches: an order that knows neither ranks nor workers, little padding, nothing twice."""

from __future__ import annotations

import numpy as np
import pytest

from ke_t5.errors import UserError
from ke_t5.pipe import get_batches
from ke_t5.pipe.batches import evaluation_batches, share

LENGTHS = np.random.default_rng(0).integers(3, 60, size=1003)


def plan(batch_size=8, num_parts=2, seed=1, **settings):
    return get_batches(LENGTHS, batch_size=batch_size, num_parts=num_parts, seed=seed, **settings)


def test_an_epoch_holds_every_example_once():
    assert sorted(np.concatenate(plan().epoch(0)).tolist()) == list(range(len(LENGTHS)))


def test_the_order_is_a_function_of_seed_and_epoch():
    first, again = plan().epoch(3), plan().epoch(3)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0], plan().epoch(4)[0])
    assert not np.array_equal(first[0], plan(seed=2).epoch(3)[0])


def test_the_global_batches_do_not_know_how_they_are_shared_out():
    one, four = plan(batch_size=16, num_parts=1).epoch(0), plan(batch_size=4, num_parts=4).epoch(0)
    assert all(np.array_equal(a, b) for a, b in zip(one, four, strict=True))


def test_buckets_keep_padding_small_and_lengths_random():
    batches = plan(batch_size=16, num_parts=1).epoch(0)
    padded = sum(LENGTHS[batch].max() * len(batch) for batch in batches)
    assert 1 - LENGTHS.sum() / padded < 0.06
    means = np.array([LENGTHS[batch].mean() for batch in batches])
    steps = np.arange(len(means))
    assert abs(np.corrcoef(means, steps)[0, 1]) < 0.35  # not long to short


def test_batch_tokens_bounds_the_padded_tokens_of_a_batch():
    batches = plan(batch_tokens=300, num_parts=2).epoch(0)
    assert sorted(np.concatenate(batches).tolist()) == list(range(len(LENGTHS)))
    assert all(LENGTHS[batch].max() * len(batch) <= 600 for batch in batches)


def test_batch_tokens_below_one_is_refused():
    with pytest.raises(UserError, match=r"get_batches.batch_tokens: is 0; give at least 1"):
        plan(batch_tokens=0)


def test_targets_are_sorted_before_inputs():
    targets = np.random.default_rng(1).integers(1, 40, size=len(LENGTHS))
    batches = get_batches(LENGTHS, targets, batch_size=16, num_parts=1, seed=0).epoch(0)
    padded = sum(targets[batch].max() * len(batch) for batch in batches)
    assert 1 - targets.sum() / padded < 0.15


@pytest.mark.parametrize("num_ranks", [1, 2, 3, 4])
@pytest.mark.parametrize("num_parts", [1, 2, 3])
def test_a_batch_is_shared_out_whole(num_ranks, num_parts):
    batch = np.arange(7)
    parts = [
        part
        for rank in range(num_ranks)
        for part in share(batch, rank=rank, num_ranks=num_ranks, num_parts=num_parts)
    ]
    assert len(parts) == num_ranks * num_parts
    assert sorted(np.concatenate(parts).tolist()) == batch.tolist()


def test_evaluation_batches_are_fixed_and_longest_first():
    batches = evaluation_batches(np.array([3, 9, 5, 9, 1]), 2)
    assert [batch.tolist() for batch in batches] == [[1, 3], [2, 0], [4]]
