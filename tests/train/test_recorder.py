"""Recording CUDA graphs, with a stand-in for torch's allocator that keeps its rules."""

from __future__ import annotations

from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import torch

from ke_t5.train.graphs import CudaRecorder


class Allocator:
    """Which recordings are going on, and how many graphs use each pool."""

    def __init__(self):
        self.going_on, self.uses, self.number = [], {}, 0

    def handle(self):
        self.number += 1
        return (0, self.number)

    def begin(self, pool):
        # Of a pool that was used before, the allocator requires a graph.
        assert pool not in self.uses or self.uses[pool] > 0
        self.uses[pool] = self.uses.get(pool, 0) + 1
        self.going_on.append(pool)

    def end(self, device, pool):
        if pool not in self.going_on:
            raise RuntimeError("endAllocatePool: not currently recording to mempool_id")
        self.going_on.remove(pool)

    def release(self, device, pool):
        self.uses[pool] -= 1


@pytest.fixture
def allocator(monkeypatch):
    """torch.cuda with this allocator; `fails` makes the end of a capture fail, as an invalid one
    does."""
    allocator, generators = Allocator(), []

    class Graph:
        pool, fails = None, False

        def replay(self):
            pass

        def __del__(self):
            if self.pool is not None:
                allocator.release(0, self.pool)

    @contextmanager
    def capture(graph, *, pool, capture_error_mode):
        assert capture_error_mode == "thread_local"
        allocator.begin(pool)
        try:
            yield
        finally:
            if Graph.fails:
                raise RuntimeError("CUDA error: operation failed due to a previous error")
            allocator.end(0, pool)
            graph.pool = pool

    generator = SimpleNamespace(
        clone_state=lambda: "state", graphsafe_set_state=lambda state: generators.append(state)
    )
    for name, value in {
        "CUDAGraph": Graph, "graph": capture, "graph_pool_handle": allocator.handle,
        "current_stream": lambda: "stream", "set_stream": lambda stream: None,
        "current_device": lambda: 0, "default_generators": (generator,),
    }.items():  # fmt: skip
        monkeypatch.setattr(torch.cuda, name, value)
    for name, value in {"end": allocator.end, "release": allocator.release}.items():
        name = {"end": "_cuda_endAllocateToPool", "release": "_cuda_releasePool"}[name]
        monkeypatch.setattr(torch._C, name, value, raising=False)
    allocator.graph, allocator.generators = Graph, generators
    return allocator


def test_graphs_share_a_pool_as_long_as_one_of_them_lives(allocator):
    record = CudaRecorder()
    first, second = record(lambda: 1), record(lambda: 2)
    assert (first(), second()) == (1, 2) and allocator.uses == {(0, 1): 2}
    del first, second
    third = record(lambda: 3)
    assert third() == 3 and allocator.uses == {(0, 1): 0, (0, 2): 1}


@pytest.mark.parametrize("is_invalid", [False, True])
def test_a_recording_that_fails_leaves_none_going_on(allocator, is_invalid):
    def fail():
        raise ValueError("the model asks for a value")

    record = CudaRecorder()
    kept = record(lambda: 1)
    allocator.graph.fails = is_invalid
    with pytest.raises(RuntimeError if is_invalid else ValueError):
        record(fail)
    assert not allocator.going_on and allocator.uses == {(0, 1): 1} and kept() == 1
    assert allocator.generators == ["state"]
