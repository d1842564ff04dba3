"""Whole training steps as CUDA graphs, one for each shape of a batch.

A step of a few hundred tokens takes a GPU less time than its thousand launches take the host. A
graph launches them all at once. Its numbers are those of the step launched one by one, dropout
too: which steps were replayed makes no difference to a run.
"""

from __future__ import annotations

import logging
import math
import random
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from ke_t5.train.static_shapes import StaticShapes

logger = logging.getLogger(__name__)

NAME = "fit.cuda_graphs"
# Graphs that are kept, and how often a shape is seen before it gets one.
MOST_GRAPHS = 64
VISITS = 2

Inputs = dict[str, Tensor]
Replay = Callable[[], Tensor]


class Recorder(Protocol):
    """Records what a function launches, without its being done, and returns what does it; raises
    an exception if it cannot be recorded."""

    def __call__(self, function: Callable[[], Tensor]) -> Replay: ...


class Step(Protocol):
    """A training step: what is done with the tensors of a batch. All give a tensor with the loss,
    the norm of the gradient, and 1 if both are finite."""

    def checked(self, inputs: Inputs) -> Tensor:
        """Changes nothing."""
        ...

    def whole(self, inputs: Inputs) -> Tensor:
        """Updates the weights, or leaves the gradient for those who do."""
        ...

    def recorded(self, inputs: Inputs) -> Tensor:
        """The same, with the gradient where `attach` finds it."""
        ...

    def attach(self) -> None:
        """Hands over the gradient of a step that was replayed."""
        ...


@dataclass
class Graph:
    """A recorded step, the tensors that it reads, and what hands over its gradient."""

    inputs: Inputs
    replay: Replay
    attach: Callable[[], None]

    def __call__(self, host: Mapping[str, Tensor]) -> Tensor:
        """What the step gives for tensors of the host."""
        for name, tensor in host.items():
            self.inputs[name].copy_(tensor, non_blocking=True)
        return self.replay().clone()


@dataclass
class StepGraphs:
    """The graphs of a run.

    Attributes:
        shapes: of the batches.
        record: makes a graph of a step.
        device: of the step's tensors.
        may_draw: whether the step may draw numbers on the host (without using them).
        reason: why there are no graphs any more; None as long as there are.
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
        """Makes a step: with the graph of this shape, or launch by launch.

        Args:
            host: the step's tensors, on the host; "numbers" are (weight of the loss, 1 to leave the
                weights as they are, learning rate of each group).
            key: what the step depends on, besides tensors and their shapes.
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
            self._give_up("the memory is needed for steps that have no graph")
        seed()
        return step.whole(self._moved(host))

    def _moved(self, host: Mapping[str, Tensor]) -> Inputs:
        # A copy on the CPU too: a graph's tensors are its own.
        return {
            name: tensor.to(self.device, non_blocking=True, copy=True)
            for name, tensor in host.items()
        }

    def _made(
        self, key: Any, host: Mapping[str, Tensor], step: Step, seed: Callable[[], None]
    ) -> Graph | None:
        """A graph for a shape that is seen often enough, which gives what the step gives."""
        self._visits[key] += 1
        # One that was dropped gets none again: recording costs as much as many steps.
        if self.reason is not None or self._visits[key] != VISITS:
            return None
        try:
            graph = self._recorded(host, step, seed)
        except Exception as error:
            logger.debug("%s", NAME, exc_info=True)
            self._give_up(_first_line(error))
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
            raise ValueError(f"loss and norm are {_shown(found)} in it, not {_shown(expected)}")
        return graph

    def _give_up(self, reason: str) -> None:
        """Launches the steps one by one from here on; their numbers stay the same."""
        self.reason = reason
        self._graphs.clear()
        logger.warning("%s: no graphs from here on: %s", NAME, reason)
        if self.device.type == "cuda":
            torch.cuda.empty_cache()


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
    """What failed, in a line: the error of the capture's end hides the one before."""
    first: BaseException = error
    while isinstance(first.__context__, Exception):
        first = first.__context__
    text = (str(first).strip().splitlines() or [""])[0][:100]
    return text if isinstance(first, ValueError) else f"{type(first).__name__}: {text}"


class CudaRecorder:
    """Records CUDA graphs that share their memory."""

    def __init__(self) -> None:
        self._pool: Any = None

    def __call__(self, function: Callable[[], Tensor]) -> Replay:
        graph, stream = torch.cuda.CUDAGraph(), torch.cuda.current_stream()
        try:
            # Other threads may copy to and from the device meanwhile.
            with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
                output = function()
        except BaseException:
            torch.cuda.set_stream(stream)
            _renew_generator()
            raise
        self._pool = graph.pool()

        def replay() -> Tensor:
            graph.replay()
            return output

        return replay


def _renew_generator() -> None:
    """Gives the generator another state: the one of a recording that failed draws nothing more."""
    generator = torch.cuda.default_generators[torch.cuda.current_device()]
    generator.graphsafe_set_state(generator.clone_state())
