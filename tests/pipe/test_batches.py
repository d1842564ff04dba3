"""Batches: an order independent of ranks and workers, little padding, no duplicates."""

from __future__ import annotations

import dataclasses
from functools import partial

import numpy as np
import pytest

from ke_t5.errors import UserError
from ke_t5.pipe import get_batches
from ke_t5.pipe.batches import BatchPlan, micro_batches
from ke_t5.pipe.evaluation_batches import evaluation_batches
from ke_t5.train.loop import _batches_from, count_steps

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
    assert 1 - LENGTHS.sum() / padded < 0.12
    means = np.array([LENGTHS[batch].mean() for batch in batches])
    steps = np.arange(len(means))
    assert abs(np.corrcoef(means, steps)[0, 1]) < 0.35  # not long to short


def test_batch_tokens_bounds_the_padded_tokens_of_a_batch():
    batches = plan(batch_tokens=300, num_parts=2).epoch(0)
    assert sorted(np.concatenate(batches).tolist()) == list(range(len(LENGTHS)))
    assert all(LENGTHS[batch].max() * len(batch) <= 600 for batch in batches)


@pytest.mark.parametrize("name", ["batch_tokens", "window"])
def test_sizes_below_one_are_refused(name):
    with pytest.raises(UserError, match=rf"get_batches.{name}: is 0; give at least 1"):
        plan(**{name: 0})


def test_a_window_holds_eight_batches():
    """The first eight batches are those of the first 8 x 16 rows of the order, sorted by length."""
    order = np.random.default_rng([1, 0]).permutation(len(LENGTHS))[: 8 * 16]
    batches = plan(batch_size=16, num_parts=1).epoch(0)[:8]
    assert sorted(np.concatenate(batches).tolist()) == sorted(order.tolist())
    spans = sorted((LENGTHS[batch].min(), LENGTHS[batch].max()) for batch in batches)
    assert all(high <= low for (_, high), (low, _) in zip(spans, spans[1:], strict=False))


def test_a_window_of_one_batch_is_random_order():
    order = np.random.default_rng([1, 0]).permutation(len(LENGTHS))
    batches = plan(batch_size=16, num_parts=1, window=1).epoch(0)
    expected = [order[i : i + 16] for i in range(0, len(order), 16)]
    assert [sorted(batch) for batch in batches] == [sorted(batch) for batch in expected]


def padded_tokens(batch, targets=0 * LENGTHS):
    return (LENGTHS[batch].max() + targets[batch].max()) * len(batch)


@pytest.mark.parametrize("window", [1, 3, 8, 50])
def test_windows_by_tokens_are_as_large_as_the_budget_allows(window):
    """With one more row, the window would need one more batch."""
    targets = np.random.default_rng(1).integers(1, 20, size=len(LENGTHS))
    made = get_batches(
        LENGTHS, targets, batch_size=8, num_parts=1, seed=1, batch_tokens=600, window=window
    )
    order = np.random.default_rng([1, 0]).permutation(len(LENGTHS))
    windows = list(made._windows(order))
    assert sorted(np.concatenate(sum(windows, [])).tolist()) == list(range(len(LENGTHS)))
    start = 0
    for cut in windows:
        assert len(cut) == window or cut is windows[-1]
        assert all(padded_tokens(batch, targets) <= 600 for batch in cut)
        start += sum(map(len, cut))
        if cut is not windows[-1]:
            more = order[start - sum(map(len, cut)) : start + 1]
            more = more[np.lexsort((LENGTHS[more], targets[more] // 4))]
            assert len(made._cut(more)) == window + 1


def test_windows_by_tokens_do_not_depend_on_the_batch_size():
    """Windows of a fixed number of rows left most batches far below the budget."""
    one, other = plan(batch_tokens=400, batch_size=1), plan(batch_tokens=400, batch_size=32)
    for a, b in zip(one.epoch(0), other.epoch(0), strict=True):
        assert np.array_equal(a, b)
    lengths = np.random.default_rng(2).integers(5, 25, size=20_000)
    batches = get_batches(
        lengths, batch_size=32, num_parts=1, seed=0, batch_tokens=8192, window=50
    ).epoch(0)
    padded = [int(lengths[batch].max()) * len(batch) for batch in batches]
    assert len(batches) <= np.ceil(lengths.sum() / 8192) + 3
    assert 1 - lengths.sum() / sum(padded) < 0.04


def test_a_row_above_the_budget_has_a_batch_of_its_own():
    lengths = np.array([5, 700, 5, 5, 900])
    batches = get_batches(lengths, batch_size=2, num_parts=1, seed=0, batch_tokens=20).epoch(0)
    assert sorted(sorted(batch.tolist()) for batch in batches) == [[0, 2, 3], [1], [4]]


def test_without_padding_a_batch_by_tokens_is_filled_with_real_ones_in_random_order():
    made = plan(batch_tokens=300, num_parts=1, window=1, is_padded=False)
    order = np.random.default_rng([1, 0]).permutation(len(LENGTHS))
    start = 0
    for batch in made.epoch(0):
        assert sorted(batch) == sorted(order[start : start + len(batch)])
        start += len(batch)
        assert LENGTHS[batch].sum() <= 300
        assert start == len(order) or LENGTHS[batch].sum() + LENGTHS[order[start]] > 300
    assert start == len(LENGTHS)
    assert made.padding() == 0


def test_without_padding_a_long_row_among_short_ones_is_not_padded_beyond_memory():
    lengths = np.array([900, *[1] * 600])
    made = get_batches(
        lengths, batch_size=2, num_parts=1, seed=0, batch_tokens=1000, window=1, is_padded=False
    )
    (long,) = [batch for batch in made.epoch(0) if 0 in batch]
    assert len(long) <= 16 * 1000 // 900


def test_the_padding_of_a_plan_is_what_its_batches_are_padded_with():
    made = plan(batch_size=16, num_parts=1, window=1)
    padded = sum(LENGTHS[batch].max() * len(batch) for batch in made.epoch(0))
    assert made.padding() > 0.2
    assert made.padding() == pytest.approx(1 - LENGTHS.sum() / padded)


def test_an_epoch_by_tokens_is_cut_once(monkeypatch):
    made, real = [], BatchPlan._ordered
    monkeypatch.setattr(
        BatchPlan, "_ordered", lambda self, epoch: made.append(epoch) or real(self, epoch)
    )
    by_tokens = plan(batch_tokens=300)
    assert count_steps(by_tokens, 2) == count_steps(by_tokens, 2)
    steps = list(_batches_from(by_tokens, 0, count_steps(by_tokens, 2)))
    assert len(steps) == count_steps(by_tokens, 2)
    assert made == [0, 1]


def test_targets_are_sorted_before_inputs():
    targets = np.random.default_rng(1).integers(1, 40, size=len(LENGTHS))
    batches = get_batches(LENGTHS, targets, batch_size=16, num_parts=1, seed=0).epoch(0)
    padded = sum(targets[batch].max() * len(batch) for batch in batches)
    assert 1 - targets.sum() / padded < 0.15


@pytest.mark.parametrize("num_ranks", [1, 2, 3, 4])
@pytest.mark.parametrize("num_parts", [1, 2, 3])
def test_a_batch_is_shared_out_whole(num_ranks, num_parts):
    batch, lengths = np.arange(7), np.array([3, 9, 2, 2, 9, 3, 2])
    parts = [
        part
        for rank in range(num_ranks)
        for part in micro_batches(
            batch, lengths, rank=rank, num_ranks=num_ranks, accumulation=num_parts
        )
    ]
    assert len(parts) == num_ranks * num_parts
    assert sorted(np.concatenate(parts).tolist()) == batch.tolist()


@pytest.mark.parametrize("num_ranks", [2, 3, 8])
def test_each_rank_gets_about_as_many_tokens(num_ranks):
    numbers = np.random.default_rng(0)
    for size in (32, 61, 128):
        lengths = numbers.integers(3, 100, size=size)
        options = {"num_ranks": num_ranks, "accumulation": 1}
        shares = [
            micro_batches(np.arange(size), lengths, rank=rank, **options)[0]
            for rank in range(num_ranks)
        ]
        rows = [len(share) for share in shares]
        tokens = [int(lengths[share].sum()) for share in shares]
        assert max(rows) - min(rows) <= 1
        assert max(tokens) - min(tokens) <= lengths.max()


def test_the_tokens_of_a_row_are_those_of_input_and_target():
    plan = get_batches(np.array([3, 5, 7]), np.array([1, 0, 4]), batch_size=2, num_parts=1, seed=0)
    assert plan.num_tokens(np.array([2, 0])).tolist() == [11, 4]


def test_one_process_computes_the_rows_in_order():
    batch, lengths = np.array([5, 2, 9, 4]), np.array([1, 7, 3, 2])
    parts = micro_batches(batch, lengths, rank=0, num_ranks=1, accumulation=2)
    assert [part.tolist() for part in parts] == [[5, 2], [9, 4]]


def test_evaluation_batches_by_tokens_and_larger_ones_on_a_gpu():
    lengths = np.array([300, 4, 100, 4, 4, 50, 4])
    by_tokens = evaluation_batches(lengths, 2, tokens=200, copies=2)
    assert [batch.tolist() for batch in by_tokens] == [[0], [2], [5, 1], [3, 4, 6]]
    many = np.full(40_000, 16)
    on_gpu = partial(evaluation_batches, copies=4, device="cuda")
    assert [len(b) for b in on_gpu(many, 32)][:2] == [256, 256]
    assert len(on_gpu(many, 32, logits=64_000 * 100)[0]) == 41
    assert len(on_gpu(many, 64, logits=64_000 * 100)[0]) == 64
    assert len(on_gpu(np.full(99, 900), 32)[0]) == 32


def test_a_generation_on_a_cpu_has_larger_batches_and_at_least_eight():
    generation = partial(evaluation_batches, copies=4, is_generated=True)
    assert len(generation(np.full(4000, 16), 32)[0]) == 64
    assert len(generation(np.full(4000, 16), 96)[0]) == 96
    assert len(generation(np.full(4000, 40), 16)[0]) == 51
    assert len(generation(np.full(4000, 16), 8, logits=64_000 * 100)[0]) == 10
    assert [len(batch) for batch in generation(np.full(160, 16), 16)] == [20] * 8
    assert len(evaluation_batches(np.full(4000, 16), 32)[0]) == 32


def test_evaluation_batches_are_fixed_and_longest_first():
    batches = evaluation_batches(np.array([3, 9, 5, 9, 1]), 2)
    assert [batch.tolist() for batch in batches] == [[1, 3], [2, 0], [4]]


def rows_of(batches):
    """The rows of each batch, sorted."""
    return [sorted(batch.tolist()) for batch in batches]


def test_another_batch_size_leaves_what_was_seen_and_cuts_the_rest_of_the_epoch_anew():
    before, after = plan(8, 1), plan(16, 1)
    per_epoch = before.num_batches(0)
    changed = dataclasses.replace(after, earlier=((per_epoch + 7, 8),))
    assert rows_of(changed.epoch(0)) == rows_of(before.epoch(0))
    assert rows_of(changed.epoch(1))[:7] == rows_of(before.epoch(1))[:7]
    assert {len(batch) for batch in changed.epoch(1)[7:-1]} == {16}
    assert sorted(sum(rows_of(changed.epoch(1)), [])) == list(range(len(LENGTHS)))
    assert rows_of(changed.epoch(2)) == rows_of(after.epoch(2))
    steps = [len(changed.epoch(epoch)) for epoch in range(4)]
    assert [changed.num_batches(epoch) for epoch in range(4)] == steps
    assert [changed.num_steps(epochs) for epochs in range(5)] == [sum(steps[:i]) for i in range(5)]
    assert changed.num_steps(10**9) == sum(steps) + (10**9 - 4) * after.num_batches(0)


def test_a_second_change_in_one_epoch_leaves_the_first():
    once = dataclasses.replace(plan(16, 1), earlier=((3, 8),))
    twice = dataclasses.replace(plan(4, 1), earlier=((3, 8), (5, 16)))
    assert rows_of(twice.epoch(0))[:5] == rows_of(once.epoch(0))[:5]
    assert sorted(sum(rows_of(twice.epoch(0)), [])) == list(range(len(LENGTHS)))


def test_a_mixture_keeps_its_shares_when_the_batch_size_changes():
    shares = {"examples_per_epoch": ((10, 40), (len(LENGTHS) - 10, len(LENGTHS) - 40))}
    before, after = plan(8, 1, **shares), plan(16, 1, **shares)
    changed = dataclasses.replace(after, earlier=((5, 8),))
    assert sorted(sum(rows_of(changed.epoch(0)), [])) == sorted(sum(rows_of(before.epoch(0)), []))
