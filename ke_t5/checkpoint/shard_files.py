"""Checkpoints of sharded weights, one file per process, by PyTorch's distributed checkpoint
(`torch.distributed.checkpoint`); any number of processes can read them.

The files have the format of its `HuggingFaceStorageWriter`, without pickles: safetensors whose
headers have the offset of each shard in its tensor. They are written like our other files: one
tensor at a time, hashed on the way, flushed to disk and read back. Imported only where needed,
because importing PyTorch's part takes a moment.
"""

from __future__ import annotations

import dataclasses
import errno
import json
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.default_planner import DefaultLoadPlanner, DefaultSavePlanner
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader
from torch.distributed.checkpoint.metadata import Metadata, MetadataIndex
from torch.distributed.checkpoint.planner import SavePlan, SavePlanner
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save
from torch.distributed.checkpoint.storage import StorageWriter, WriteResult
from torch.distributed.tensor import DTensor
from torch.futures import Future

from ke_t5.checkpoint.serialization import write_tensors
from ke_t5.seals import first_fault
from ke_t5.sharding import local

MODEL = "model."  # prefix of the model's tensors; the optimizer's have their own
FLAT = {"flatten_state_dict": False, "flatten_sharded_tensors": False}


def shard_name(number: int) -> str:
    """The file name of a process's shards; processes are counted from 1."""
    return f"shard-{number:05}-model-00001-of-00001.safetensors"


# ------------------------------------------------------------------------------------------ writing


class ShardWriter(StorageWriter):
    """Writes this process's file; process 0 also creates and completes the folder.

    Args:
        begin: creates the folder and returns it; called by process 0 before any file is written.
        commit: called with the folder and the seals of all files once they are on disk.
    """

    def __init__(self, begin: Callable[[], Path], commit: Callable[[Path, dict], object]) -> None:
        self._begin, self._commit = begin, commit
        self._folder = Path()

    def reset(self, checkpoint_id: Any = None) -> None:
        """Does nothing: a writer is used once."""

    def set_up_storage_writer(self, is_coordinator: bool, *args: Any, **kwargs: Any) -> None:
        """Does nothing: `begin` creates the folder."""

    def prepare_local_plan(self, plan: SavePlan) -> SavePlan:
        """The plan, unchanged."""
        return plan

    def prepare_global_plan(self, plans: list[SavePlan]) -> list[SavePlan]:
        """The plans with the path of each process's file; called on process 0."""
        self._folder = self._begin()
        paths = [self._folder / shard_name(number) for number, _ in enumerate(plans, start=1)]
        return [
            dataclasses.replace(plan, storage_data=path)
            for plan, path in zip(plans, paths, strict=True)
        ]

    def write_data(self, plan: SavePlan, planner: SavePlanner) -> Future[list[WriteResult]]:
        """Writes the file; the result has its name and seal."""
        parts, places = {}, {}
        for item in plan.items:
            assert item.tensor_data is not None
            part = planner.resolve_data(item)
            assert isinstance(part, Tensor)
            offsets, sizes = item.tensor_data.chunk.offsets, item.tensor_data.chunk.sizes
            if any(offsets) and not sizes[0]:  # more processes than rows
                continue
            parts[item.index.fqn] = part
            places[item.index.fqn] = {"saved_offsets": list(offsets)}
        path: Path = plan.storage_data
        about = {"DCP_SHARDING_INFO": json.dumps(places), "DCP_VERSION": "1.0", "format": "pt"}
        seal = write_tensors(path, parts, about)
        if fault := first_fault(path.parent, {path.name: seal}):
            raise OSError(errno.EIO, f"what was written cannot be read back: {fault}")
        future: Future[list[WriteResult]] = Future()
        future.set_result([WriteResult(MetadataIndex(path.name), seal["size"], seal)])
        return future

    def finish(self, metadata: Metadata, results: list[list[WriteResult]]) -> None:
        """Turns the files into a checkpoint, on process 0."""
        seals = {one.index.fqn: one.storage_data for parts in results for one in parts}
        self._commit(self._folder, seals)

    @classmethod
    def validate_checkpoint_id(cls, checkpoint_id: Any) -> bool:
        """Whether the path is valid: never, a writer is given its own."""
        return False


class _SavePlanner(DefaultSavePlanner):
    """Decides which process writes what, with the values of a copy."""

    def __init__(self, values: Mapping[str, Tensor]) -> None:
        super().__init__(**FLAT)
        self._values = values

    def lookup_object(self, index: MetadataIndex) -> Tensor:
        return self._values[index.fqn]


def save_parts(
    tensors: dict[str, Tensor], values: Mapping[str, Tensor], writer: ShardWriter, group: Any
) -> None:
    """Writes this process's shards while the other processes write theirs.

    Args:
        tensors: all tensors by name, the same ones on each process, sharded or not.
        values: this process's part of each, on the CPU.
        group: a gloo group of all processes that is not used otherwise meanwhile.

    Raises:
        OSError: from the disk of any process; the same on all.
    """
    try:
        planner = _SavePlanner(values)
        save(tensors, storage_writer=writer, planner=planner, process_group=group)
    except CheckpointException as error:
        raise _cause_of(error) from error


def _cause_of(error: CheckpointException) -> BaseException:
    """The error of the first process that has failed."""
    return error.failures[min(error.failures)][0]


# ------------------------------------------------------------------------------------------ reading


class _Reader(HuggingFaceStorageReader):
    """Reads the headers of all files once."""

    _about: Metadata | None = None

    def read_metadata(self) -> Metadata:
        if self._about is None:
            self._about = super().read_metadata()
        return self._about


class ShardFiles:
    """The tensors of a checkpoint in shards, whose hashes have been checked.

    Raises:
        ValueError, KeyError, TypeError, ...: the files are not what this program writes. Only
            their headers have been read.
    """

    def __init__(self, folder: Path, files: Mapping[str, object]) -> None:
        strange = {path.name for path in folder.glob("*.safetensors")} - files.keys()
        if strange:
            raise ValueError(f"{min(strange)} was added")
        self._reader = _Reader(str(folder))
        self._found: dict[str, Any] = dict(self._reader.read_metadata().state_dict_metadata)
        for name, tensor in self._found.items():
            _check_parts(name, tensor)

    def read(self, of: str, like: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The tensors of the "model" or the "optimizer": this process's part, on its device, of
        those that are sharded in `like`; the others in full."""
        names = {
            (name.removeprefix(MODEL) if of == "model" else name): name
            for name in self._found
            if name.startswith(f"{of}.")
        }
        targets = {
            name: _empty(one.size, one.properties.dtype, like.get(short))
            for short, name in names.items()
            for one in [self._found[name]]
        }
        try:
            with warnings.catch_warnings():
                # Each process reads for itself, and waits for no other.
                warnings.filterwarnings("ignore", "torch.distributed is disabled", UserWarning)
                planner = DefaultLoadPlanner(**FLAT)
                load(targets, storage_reader=self._reader, planner=planner, no_dist=True)
        except CheckpointException as error:
            raise _cause_of(error) from error
        return {short: targets[name] for short, name in names.items()}


def _check_parts(name: str, tensor: Any) -> None:
    """Raises ValueError unless the parts of a tensor are slices of its first dimension that cover
    it exactly once."""
    rows, *others = tensor.size or (1,)
    zeros = (0,) * len(others)
    end, places = 0, []
    for part in sorted(tensor.chunks, key=lambda one: tuple(one.offsets)):
        size = part.sizes[0] if tensor.size else 1
        places.append((end, *zeros) if tensor.size else ())
        is_right = tuple(part.offsets) == places[-1] and [*part.sizes[1:]] == others
        if not is_right or (rows and not size):
            break
        end += size
    else:
        if end == rows and len(places) == len(set(places)):
            return
    raise ValueError(f"the parts of {name} do not make a whole")


def _empty(shape: torch.Size, dtype: torch.dtype, like: Tensor | None) -> Tensor:
    """An empty tensor, sharded like another one if that has the same shape."""
    if not isinstance(like, DTensor) or like.shape != shape:
        return torch.empty(shape, dtype=dtype)
    own = torch.empty_like(local(like.detach()), dtype=dtype)
    return DTensor.from_local(
        own, like.device_mesh, like.placements, run_check=False, shape=shape, stride=like.stride()
    )
