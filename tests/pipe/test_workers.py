"""Parallel batches: results equal those of one worker, whatever the model does."""

from __future__ import annotations

import random
import threading
from contextlib import closing

import pytest
import torch

from ke_t5.pipe.workers import computed, workers_within


def results(compute, numbers=range(7), *, model=None, num_workers=3):
    """The results of the workers."""
    return computed(
        compute, numbers, model=torch.nn.Linear(2, 2) if model is None else model, seed=5,
        num_workers=num_workers, context=torch.inference_mode,
    )  # fmt: skip


def test_batches_are_computed_at_once_and_come_in_order():
    both, names = threading.Barrier(2), set()

    def compute(number):
        both.wait(timeout=120)  # for the other one
        names.add(threading.current_thread().name)
        assert torch.is_inference_mode_enabled() and torch.get_num_threads() == 1
        return number

    assert list(results(compute, range(8), num_workers=2)) == list(range(8))
    assert len(names) == 2 and threading.main_thread().name not in names


def drawn(number):
    """A batch number with a random number, from torch and Python in turn."""
    return number, [torch.rand(1).item(), random.random()][number % 2]


class Growing(torch.nn.Linear):
    """A layer that returns how many times it was called."""

    __module__ = "ke_t5.tests"
    calls = 0

    def forward(self, x):
        self.calls += 1
        return self.calls


class Own(torch.nn.Linear):
    """A layer of the user's own class."""


def test_a_model_that_draws_or_changes_itself_computes_one_batch_after_the_other():
    alone = list(results(drawn, num_workers=1))
    assert list(results(drawn)) == alone and len({x for _, x in alone}) == 7
    growing = Growing(2, 2)
    growing.calls = 0
    assert list(results(growing, model=growing)) == [1] * 7


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")  # in the compiler's imports
def test_the_model_of_an_own_class_or_a_compiled_one_is_called_by_one_thread():
    compiled = torch.nn.Sequential(torch.nn.Linear(2, 2))
    compiled[0].compile()
    for model in (Own(2, 2), compiled):
        found = list(results(lambda _: threading.current_thread().name, model=model))
        assert set(found) == {threading.current_thread().name}


def test_the_first_error_is_raised_and_nobody_goes_on_computing():
    def compute(number):
        if number >= 3:
            raise ValueError(f"batch {number}")
        return number

    found = []
    with pytest.raises(ValueError, match="batch 3"):
        found.extend(results(compute))
    before, endless = threading.active_count(), torch.nn.Linear(2, 2)

    def forever(number):
        while number:
            endless(torch.zeros(2))
        return number

    with closing(results(forever, model=endless)) as some:
        assert next(some) == 0 and threading.active_count() > before
    assert threading.active_count() == before
    assert endless(torch.zeros(2)).shape == (2,)


def test_batches_at_once_have_a_gib_for_their_logits():
    of_a_batch = 32 * 128 * 64_000  # rows, tokens of the longest target, pieces
    assert [workers_within(16, of_a_batch // parts) for parts in (1, 4, 64)] == [1, 4, 16]
    assert workers_within(2, 1) == 2
