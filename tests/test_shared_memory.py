"""Averaging over processes of one host: the values, and when there is no shared memory."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from support.processes import run_on_ranks

from ke_t5 import data_parallel, shared_memory
from ke_t5.shared_memory import SharedMean, shared_mean
from ke_t5.train.averages import average_gradients

PIECE = 1000  # values averaged at once


def _own_values(rank, size):
    return torch.randn(size, generator=torch.Generator().manual_seed(rank))


def _opened(ranks, folder):
    shared_memory.FOLDER = Path(folder)  # a file there can be mapped, too
    shared_memory.NUM_BYTES = 4 * PIECE * (ranks.size + 1)
    return shared_mean(ranks.rank, ranks.size, broadcast=ranks.broadcast, least=ranks.least)


def _means(ranks, folder, sizes):
    mean = _opened(ranks, folder)
    assert mean is not None
    found = [_own_values(ranks.rank, size) for size in sizes]
    mean.mean_(found)
    return [values.numpy() for values in found]


@pytest.mark.parametrize("num_ranks", [2, 3])
def test_every_process_gets_the_same_mean(tmp_path, num_ranks):
    """The tensors take several pieces, the last of which has fewer values than processes."""
    sizes = [5, PIECE - 3, 0, 2 * PIECE - 1]
    found = run_on_ranks(_means, num_ranks, tmp_path, sizes)
    for number, size in enumerate(sizes):
        mean = torch.stack([_own_values(rank, size) for rank in range(num_ranks)]).mean(dim=0)
        for means in found:
            assert torch.equal(torch.from_numpy(means[number]), torch.from_numpy(found[0][number]))
            torch.testing.assert_close(torch.from_numpy(means[number]), mean)


def test_gloo_averages_other_types():
    mean = SharedMean(torch.zeros(3, PIECE), 0)
    assert mean.accepts(torch.zeros(2))
    assert not mean.accepts(torch.zeros(2, dtype=torch.float64))
    assert not mean.accepts(torch.zeros(2, 2).t())


class _Model(torch.nn.Module):
    """Linear layers of which rank 0 uses the first, and the others the first two."""

    def __init__(self):
        super().__init__()
        self.layers = torch.nn.ModuleList(torch.nn.Linear(9, 9) for _ in range(3))
        self.layers[0].bias.data = self.layers[0].bias.data.double()
        self.layers[1].weight.data = self.layers[1].weight.data.t()  # not contiguous
        self.register_buffer("shift", torch.randn(9))

    def forward(self, values, rank):
        values = self.layers[0].weight @ values + self.layers[0].bias.float() + self.shift
        return values if rank == 0 else self.layers[1](values)


def _gradients(ranks, folder):
    """The averaged gradients of a model, and whether they were averaged in shared memory."""
    shared_memory.FOLDER = folder
    torch.manual_seed(ranks.rank)
    module = _Model()
    model = ranks.wrap(module, find_unused_parameters=True)
    (model(_own_values(ranks.rank, 9), ranks.rank) ** 2).sum().backward()
    if ranks.averages_gradients:
        average_gradients(list(module.parameters()), ranks)
    gradients = [None if one.grad is None else one.grad.tolist() for one in module.parameters()]
    return gradients, ranks.averages_gradients


def test_a_model_has_the_weights_and_gradients_of_one_wrapped(tmp_path):
    """Those that only one process computes, and of other types; others have none."""
    folders = tmp_path, tmp_path / "missing"
    shared, wrapped = (run_on_ranks(_gradients, 2, folder) for folder in folders)
    assert [is_shared for _, is_shared in shared + wrapped] == [True, True, False, False]
    for gradients, _ in shared + wrapped:
        assert gradients == wrapped[0][0]
        assert [one is None for one in gradients] == [False] * 4 + [True] * 2


class _OldDDP(torch.nn.Module):
    """The options of torch before 2.13, which also leave buffers as they are at the start."""

    def __init__(
        self, module, device_ids, broadcast_buffers, find_unused_parameters, gradient_as_bucket_view
    ):
        super().__init__()
        assert not broadcast_buffers


def _buffer_of_a_wrapped_model(ranks):
    data_parallel.DistributedDataParallel = _OldDDP
    torch.manual_seed(ranks.rank)
    model = _Model()
    options = {"find_unused_parameters": False, "compresses": False, "apart": []}
    data_parallel.wrap(model, ranks.device, **options)
    return model.shift.tolist()


def test_buffers_start_equal_with_older_torch():
    first, second = run_on_ranks(_buffer_of_a_wrapped_model, 2)
    assert first == second


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
