"""Whole training steps as CUDA graphs, one for each shape of a batch.

For a step of a few hundred tokens, the host takes longer to launch a thousand kernels than the GPU
to run them. A graph launches them all at once. The results are those of the ordinary step, dropout
included, so it makes no difference to a run which of its steps were replayed.
"""

from __future__ import annotations

import logging
import math
import random
import weakref
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

import numpy as np
import torch
from torch import Tensor

from ke_t5.train.static_shapes import StaticShapes

logger = logging.getLogger(__name__)

NAME = "fit.cuda_graphs"
# The maximum number of graphs, and the occurrence of a shape at which it is recorded.
MOST_GRAPHS = 64
VISITS = 2

Inputs = dict[str, Tensor]
Replay = Callable[[], Tensor]


class Recorder(Protocol):
    """Records the kernels that a function launches, without running them, and returns a function
    that replays them; raises an exception if that fails."""

    def __call__(self, function: Callable[[], Tensor]) -> Replay: ...


class Step(Protocol):
    """A training step on the tensors of a batch. Each method but `attach` returns a tensor of the
    loss, the norm of the gradient, and 1 if both are finite."""

    def checked(self, inputs: Inputs) -> Tensor:
        """Computes the step without changing anything."""
        ...

    def whole(self, inputs: Inputs) -> Tensor:
        """Updates the weights, or leaves the gradient to the optimizer."""
        ...

    def recorded(self, inputs: Inputs) -> Tensor:
        """The same for a recorder; stores the gradient for `attach`."""
        ...

    def attach(self) -> None:
        """Sets the weights' gradients to those of the replayed step."""
        ...


@dataclass
class Graph:
    """A recorded step, the tensors that it reads, and the function that attaches its gradient."""

    inputs: Inputs
    replay: Replay
    attach: Callable[[], None]

    def __call__(self, host: Mapping[str, Tensor]) -> Tensor:
        """The result of the step for tensors on the host."""
        for name, tensor in host.items():
            self.inputs[name].copy_(tensor, non_blocking=True)
        return self.replay().clone()


@dataclass
class StepGraphs:
    """The graphs of a run.

    Attributes:
        shapes: the shapes of the batches.
        record: records a step as a graph.
        device: the device of the step's tensors.
        may_draw: whether the step may draw random numbers on the host (without using them).
        most_graphs: maximum number of graphs; the least recently used one is dropped.
        reason: why graphs were disabled; None while they are enabled.
    """

    shapes: StaticShapes
    record: Recorder
    device: torch.device
    may_draw: bool = False
    most_graphs: int = MOST_GRAPHS
    reason: str | None = None
    _graphs: OrderedDict[Any, Graph] = field(default_factory=OrderedDict)
    _visits: Counter = field(default_factory=Counter)

    def run(
        self, step: Step, host: Mapping[str, Tensor], *, key: Any, seed: Callable[[], None]
    ) -> Tensor:
        """Runs a step: replays the graph of its shape, or launches its kernels one by one.

        Args:
            host: the step's tensors, on the host; "numbers" are (weight of the loss, 1 to leave the
                weights unchanged, learning rate of each group).
            key: what the step depends on besides its tensors and their shapes.
            seed: seeds the generators for this step.
        """
        key = (key, tuple((name, tuple(tensor.shape)) for name, tensor in host.items()))
        graph = self._graphs.get(key) or self._made(key, host, step, seed)
        seed()
        if graph is not None:
            self._graphs.move_to_end(key)
            output = graph(host)
            graph.attach()
            return output
        try:
            return step.whole(self._moved(host))
        except torch.OutOfMemoryError:
            if not self._graphs:
                raise
            self._disable("their memory is needed for steps without a graph")
        seed()
        return step.whole(self._moved(host))

    def _moved(self, host: Mapping[str, Tensor]) -> Inputs:
        # A copy even on the CPU, because a graph owns its tensors.
        return {
            name: tensor.to(self.device, non_blocking=True, copy=True)
            for name, tensor in host.items()
        }

    def _made(
        self, key: Any, host: Mapping[str, Tensor], step: Step, seed: Callable[[], None]
    ) -> Graph | None:
        """A verified graph if the shape now occurs for the second time, otherwise None."""
        self._visits[key] += 1
        # A shape whose graph was dropped gets no other: recording costs as much as many steps.
        if self.reason is not None or self._visits[key] != VISITS:
            return None
        try:
            graph = self._recorded(host, step, seed)
        except Exception as error:
            logger.debug("%s", NAME, exc_info=True)
            self._disable(_first_line(error))
            return None
        if len(self._graphs) >= self.most_graphs:
            self._graphs.popitem(last=False)
        self._graphs[key] = graph
        return graph

    def _recorded(self, host: Mapping[str, Tensor], step: Step, seed: Callable[[], None]) -> Graph:
        inputs = self._moved(host)
        seed()
        drawn = _host_generators()
        expected = step.checked(inputs).tolist()
        if not self.may_draw and _host_generators() != drawn:
            raise ValueError("the model draws random numbers on the host")
        seed()
        graph = Graph(inputs, self.record(lambda: step.recorded(inputs)), step.attach)
        seed()
        numbers = host["numbers"].clone()
        numbers[1] = 1.0
        found = graph({**host, "numbers": numbers}).tolist()
        if not _agree(expected, found):
            raise ValueError(
                f"the graph's loss and norm are {_shown(found)}, not {_shown(expected)}"
            )
        return graph

    @property
    def num_graphs(self) -> int:
        """The number of graphs."""
        return len(self._graphs)

    def free(self) -> None:
        """Drops all graphs and frees their memory; they are recorded again when needed."""
        self._graphs.clear()
        self._visits.clear()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def _disable(self, reason: str) -> None:
        """Drops all graphs and records no more; the results of steps stay the same."""
        self.reason = reason
        logger.warning("%s: no graphs from here on: %s", NAME, reason)
        self.free()


def _host_generators() -> tuple[Any, ...]:
    python, numpy = random.getstate(), np.random.get_state(legacy=True)
    assert isinstance(numpy, tuple)
    return torch.get_rng_state().numpy().tobytes(), python, numpy[1].tobytes(), numpy[2]


def _agree(expected: list[float], found: list[float]) -> bool:
    """Whether losses and norms differ by rounding only."""
    return all(
        math.isclose(a, b, rel_tol=tolerance, abs_tol=1e-6) or a != a and b != b or a == b
        for a, b, tolerance in zip(expected, found, (2e-3, 1e-2, 0.0), strict=True)
    )


def _shown(numbers: list[float]) -> str:
    return " and ".join(f"{number:.6g}" for number in numbers[:2])


def _first_line(error: Exception) -> str:
    """A line about the original error, which the error at the end of the capture hides."""
    first: BaseException = error
    while isinstance(first.__context__, Exception):
        first = first.__context__
    text = (str(first).strip().splitlines() or [""])[0][:100]
    return text if isinstance(first, ValueError) else f"{type(first).__name__}: {text}"


class CudaRecorder:
    """Records CUDA graphs that share a memory pool."""

    def __init__(self) -> None:
        self._pool: Any = None
        self._graphs: weakref.WeakSet[Any] = weakref.WeakSet()

    def __call__(self, function: Callable[[], Tensor]) -> Replay:
        graph, stream = torch.cuda.CUDAGraph(), torch.cuda.current_stream()
        if not self._graphs:  # torch refuses a pool whose graphs are all gone
            self._pool = torch.cuda.graph_pool_handle()
        try:
            # Thread-local, so that other threads may copy to and from the device meanwhile.
            with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
                output = function()
        except BaseException:
            torch.cuda.set_stream(stream)
            _end_allocation(self._pool)
            _renew_generator()
            raise
        self._graphs.add(graph)

        def replay() -> Tensor:
            graph.replay()
            return output

        return replay


def _end_allocation(pool: Any) -> None:
    """Ends the allocation to the pool of a failed recording.

    torch does not if the capture itself failed (2.13): the allocator would take the recording to be
    going on, and free no cached memory for a tensor that needs it.
    """
    device, torch_c = torch.cuda.current_device(), cast(Any, torch._C)
    try:
        torch_c._cuda_endAllocateToPool(device, pool)
    except (AttributeError, RuntimeError):  # unknown to this torch; or the graph has ended it
        return
    torch_c._cuda_releasePool(device, pool)


def _renew_generator() -> None:
    """Renews the generator's state: after a failed recording, the old one cannot be used."""
    generator = torch.cuda.default_generators[torch.cuda.current_device()]
    generator.graphsafe_set_state(generator.clone_state())
