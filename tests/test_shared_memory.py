"""Averaging over processes of one host: the values, and when there is no shared memory."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from support.processes import run_on_ranks

from ke_t5 import shared_memory
from ke_t5.shared_memory import LEAST, PIECE, shared_mean


def _own_values(rank, size):
    return torch.randn(size, generator=torch.Generator().manual_seed(rank))


def _opened(ranks, folder):
    shared_memory.FOLDER = Path(folder)  # a file there can be mapped, too
    return shared_mean(ranks.rank, ranks.size, broadcast=ranks.broadcast, least=ranks.least)


def _means(ranks, folder, sizes):
    mean = _opened(ranks, folder)
    assert mean is not None
    found = [_own_values(ranks.rank, size) for size in sizes]
    for values in found:
        mean.mean_(values)
    return [values.numpy() for values in found]


@pytest.mark.parametrize("num_ranks", [2, 3])
def test_every_process_gets_the_same_mean(tmp_path, num_ranks):
    """One value has fewer parts than there are processes; the last size takes several pieces."""
    sizes = [1, LEAST + 1, 2 * PIECE + 5]
    found = run_on_ranks(_means, num_ranks, tmp_path, sizes)
    for number, size in enumerate(sizes):
        mean = torch.stack([_own_values(rank, size) for rank in range(num_ranks)]).mean(dim=0)
        for means in found:
            assert torch.equal(torch.from_numpy(means[number]), torch.from_numpy(found[0][number]))
            torch.testing.assert_close(torch.from_numpy(means[number]), mean)


def test_gloo_averages_what_is_small_or_of_another_type():
    mean = shared_memory.SharedMean(torch.zeros(3, PIECE), 0)
    assert mean.accepts(torch.zeros(LEAST))
    assert not mean.accepts(torch.zeros(LEAST - 1))
    assert not mean.accepts(torch.zeros(LEAST, dtype=torch.float64))
    assert not mean.accepts(torch.zeros(LEAST, 2).t())


def _gradients(ranks, folder):
    """The averaged gradient of a model, and whether it was averaged in shared memory."""
    shared_memory.FOLDER = folder
    torch.manual_seed(0)
    model = ranks.wrap(torch.nn.Linear(200, 100), find_unused_parameters=False)
    (model(_own_values(ranks.rank, 200)) ** 2).sum().backward()
    return model.module.weight.grad.numpy(), ranks._shared_mean is not None


def test_a_model_has_the_gradient_that_gloo_computes(tmp_path):
    folders = tmp_path, tmp_path / "missing"
    shared, gloo = (run_on_ranks(_gradients, 2, folder) for folder in folders)
    assert [used for _, used in shared + gloo] == [True, True, False, False]
    for gradient, _ in shared + gloo:
        assert (gradient == gloo[0][0]).all()


def _is_shared(ranks, folder, fault):
    if fault == "no room" and ranks.rank == 0:
        os.posix_fallocate = _no_room
    elif fault == "another container" and ranks.rank == 1:
        os.path.exists = lambda path: False
    return _opened(ranks, folder) is not None


def _no_room(*_):
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("fault", [None, "no room", "another container"])
def test_all_processes_do_without_memory_that_one_does_not_have(tmp_path, fault):
    assert run_on_ranks(_is_shared, 2, tmp_path, fault) == [fault is None] * 2
    assert not list(tmp_path.iterdir())
