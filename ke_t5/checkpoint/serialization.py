"""Converts models and optimizers to and from safetensors and JSON; nothing is pickled."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import safetensors
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ke_t5.errors import Exit, UserError
from ke_t5.fault_points import fault_point
from ke_t5.frozen_weights import base_of, kept_state
from ke_t5.models.used_rows import used_rows_of
from ke_t5.seals import XXH3, json_bytes, new_hash
from ke_t5.sharding import is_sharded, like, load_shards

# torch dtype -> its name in a safetensors header.
DTYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e4m3fnuz: "F8_E4M3FNUZ",
    torch.float8_e5m2: "F8_E5M2",
    torch.float8_e5m2fnuz: "F8_E5M2FNUZ",
    torch.float8_e8m0fnu: "F8_E8M0",
    torch.complex64: "C64",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint64: "U64",
    torch.uint32: "U32",
    torch.uint16: "U16",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}


class HashedFile:
    """A new file that hashes what is written to it, and is flushed to disk when its block ends."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("xb")
        self._hash = new_hash(XXH3)
        self._size = 0

    def write(self, content: bytes | memoryview) -> None:
        """Appends bytes."""
        self._file.write(content)
        self._hash.update(content)
        self._size += len(content)

    def seal(self) -> dict:
        """The `size` in bytes and the hash of everything written."""
        return {"size": self._size, XXH3: self._hash.hexdigest()}

    def __enter__(self) -> HashedFile:
        return self

    def __exit__(self, *exception: object) -> None:
        with self._file:
            self._file.flush()
            fault_point("checkpoint.before_fsync")
            os.fsync(self._file.fileno())


def write_tensors(
    path: Path, tensors: Mapping[str, Tensor], about: Mapping[str, str] | None = None
) -> dict:
    """Writes a safetensors file and returns its seal; equal tensors give equal bytes.

    safetensors' own `save_file` would need all of a GPU's tensors in host memory at once, hash
    nothing and report a full disk as text; this takes one tensor at a time.

    Args:
        about: further texts for the header.

    Raises:
        TypeError: safetensors has no such type of tensor.
    """
    header: dict[str, Any] = {"__metadata__": dict(about)} if about else {}
    offset = 0
    # Widest types first keep every tensor aligned for reading by memory map.
    names = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))
    for name in names:
        tensor = tensors[name]
        end = offset + tensor.numel() * tensor.element_size()
        header[name] = {
            "dtype": _stored_type(name, tensor),
            "shape": list(tensor.shape),
            "data_offsets": [offset, end],
        }
        offset = end
    head = json.dumps(header, separators=(",", ":")).encode()
    head += b" " * (-len(head) % 8)
    with HashedFile(path) as file:
        fault_point("checkpoint.written_0")
        file.write(len(head).to_bytes(8, "little") + head)
        for name in names:
            if tensors[name].numel():
                flat = tensors[name].detach().cpu().contiguous().reshape(-1)
                file.write(flat.view(torch.uint8).numpy().data)
            _pass_fault_points(header[name]["data_offsets"], offset)
        return file.seal()


def _stored_type(name: str, tensor: Tensor) -> str:
    if tensor.dtype not in DTYPES:
        raise TypeError(f"{name} is {tensor.dtype}, which safetensors cannot store")
    return DTYPES[tensor.dtype]


def check_types(model: nn.Module) -> None:
    """Raises UserError for a model with a tensor that a checkpoint cannot contain."""
    for name, tensor in kept_state(model).items():
        try:
            _stored_type(name, tensor)
        except TypeError as error:
            fix = "use another type in the model, or register it with persistent=False"
            raise UserError(str(error), type(model).__name__, fix) from error


def _pass_fault_points(offsets: list[int], size: int) -> None:
    """Passes the fault points between two offsets of a file with `size` bytes."""
    for percent in (1, 50, 99):
        if offsets[0] < percent * size / 100 <= offsets[1]:
            fault_point(f"checkpoint.written_{percent}")


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file, on the CPU, memory-mapped and not yet read."""
    with safetensors.safe_open(path, framework="pt", device="cpu") as file:
        return {name: file.get_tensor(name) for name in file.keys()}


def write_json(path: Path, content: object) -> dict:
    """Writes plain JSON and returns its seal."""
    with HashedFile(path) as file:
        file.write(json_bytes(content))
        return file.seal()


def encode(value: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    """`value` as plain JSON; its tensors are added to `tensors` under dotted names.

    `{0: (1, float("nan"))}` -> `{"$pairs": [[0, {"$tuple": [1, {"$float": "nan"}]}]]}`

    Raises:
        TypeError: it contains anything but tensors, numbers, texts, lists, tuples and mappings.
    """
    if isinstance(value, Tensor):
        tensors[name] = value
        return {"$tensor": name}
    if value is None or isinstance(value, (str, bool)):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else {"$float": repr(float(value))}
    if isinstance(value, (list, tuple)):
        items = [encode(item, f"{name}.{i}", tensors) for i, item in enumerate(value)]
        return items if isinstance(value, list) else {"$tuple": items}
    if isinstance(value, Mapping):
        pairs = [(key, encode(item, f"{name}.{key}", tensors)) for key, item in value.items()]
        if all(isinstance(key, str) and not key.startswith("$") for key, _ in pairs):
            return dict(pairs)
        return {"$pairs": [[encode(key, name, tensors), item] for key, item in pairs]}
    raise TypeError(
        f"{name} is a {type(value).__name__}; a checkpoint takes tensors, numbers, texts, lists, "
        "tuples and mappings"
    )


def decode(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    """The value that `encode` was given."""
    if isinstance(value, list):
        return [decode(item, tensors) for item in value]
    if not isinstance(value, dict):
        return value
    if "$tensor" in value:
        return tensors[value["$tensor"]]
    if "$float" in value:
        return float(value["$float"])
    if "$tuple" in value:
        return tuple(decode(value["$tuple"], tensors))
    if "$pairs" in value:
        return {decode(key, tensors): decode(item, tensors) for key, item in value["$pairs"]}
    return {key: decode(item, tensors) for key, item in value.items()}


def model_tensors(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors of a state, tied ones once, and alias -> name for the other names."""
    tensors, aliases, first = {}, {}, {}
    for name, tensor in state.items():
        place = (tensor.data_ptr(), tensor.device, tensor.dtype, tensor.shape, tensor.stride())
        owner = first.setdefault(place, name) if tensor.numel() else name
        if owner == name:
            tensors[name] = tensor
        else:
            aliases[name] = owner
    return tensors, aliases


def load_model(
    model: nn.Module,
    tensors: Mapping[str, Tensor],
    aliases: Mapping[str, str],
    where: str,
    *,
    base: str | None = None,
) -> None:
    """Copies every tensor into the model.

    Args:
        base: the hash of the frozen weights that were left out, if any were.

    Raises:
        UserError: names, shapes or types differ, the model ties weights that were separate, or it
            has other frozen weights.
    """
    saved = {**tensors, **{alias: tensors[name] for alias, name in aliases.items()}}
    if base is not None and base != base_of(model):
        what = "its adapters were trained on other weights"
        fix = "give the model that the run began with, unchanged, by --pre_trained_model"
        raise UserError(what, where, fix, Exit.CHECKPOINT)
    state = model.state_dict() if base is None else kept_state(model)
    _check_model(type(model).__name__, saved, state, where)
    if is_sharded(model):
        load_shards(model, saved)
        return
    for alias, name in model_tensors(state)[1].items():
        if aliases.get(alias, alias) != aliases.get(name, name):
            raise UserError(
                f"{alias} and {name} are separate in it, but tied in this model",
                where,
                "build the model as it was saved (from its own folder, or the same flags)",
                Exit.CHECKPOINT,
            )
    model.load_state_dict(saved, strict=base is None)


def _check_model(
    name: str, saved: Mapping[str, Tensor], current: Mapping[str, Tensor], where: str
) -> None:
    shared = [name for name in current if name in saved]
    problems = {
        "missing keys": [name for name in current if name not in saved],
        "unexpected keys": [name for name in saved if name not in current],
        "different": [d for name in shared if (d := _difference(name, saved, current))],
    }
    texts = [f"{kind} {_shorten(names)}" for kind, names in problems.items() if names]
    if texts:
        raise UserError(
            f"it does not fit this {name}: {'; '.join(texts)}",
            where,
            "use the --model_name and --pre_trained_model that it was trained with",
            Exit.CHECKPOINT,
        )


def _shorten(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if names[3:] else "")


def _difference(name: str, saved: Mapping[str, Tensor], current: Mapping[str, Tensor]) -> str:
    there, here = saved[name], current[name]
    if there.shape != here.shape:
        return f"{name} ({tuple(there.shape)} in it, {tuple(here.shape)} in the model)"
    if there.dtype != here.dtype:
        return f"{name} ({there.dtype} in it, {here.dtype} in the model)"
    return ""


def optimizer_state(optimizer: Optimizer) -> tuple[dict, dict[str, Tensor]]:
    """The optimizer's class and state as plain JSON, and the tensors that it refers to."""
    tensors: dict[str, Tensor] = {}
    state = encode(_scatter_rows(optimizer), "optimizer", tensors)
    return {"class": type(optimizer).__name__, "state": state}, tensors


def _scatter_rows(optimizer: Optimizer) -> dict[str, Any]:
    """The optimizer's state, with that of `UsedRows` for all rows of their embedding."""
    state_dict = optimizer.state_dict()
    states = state_dict["state"]
    parameters = [one for group in optimizer.param_groups for one in group["params"]]
    for number, parameter in enumerate(parameters):
        used, shape = used_rows_of(parameter), parameter.shape
        if used is not None and number in states:
            states[number] = {
                name: used.scatter(value) if getattr(value, "shape", None) == shape else value
                for name, value in states[number].items()
            }
    return state_dict


def _gather_rows(optimizer: Optimizer, state_dict: dict) -> None:
    """Undoes `_scatter_rows`."""
    for state, parameter in _pairs(optimizer, state_dict):
        used = used_rows_of(parameter)
        if used is None:
            continue
        for name, value in state.items():
            if getattr(value, "shape", None) == used.table.shape:
                state[name] = used.gather(value)


def parameters_of(optimizer: Optimizer, content: dict) -> dict[str, Tensor]:
    """Name of each tensor in a saved optimizer's state -> the parameter that it belongs to."""
    state_dict = decode(content["state"], _Names())
    return {
        name: parameter
        for saved, parameter in _pairs(optimizer, state_dict)
        for name in saved.values()
        if isinstance(name, str)
    }


class _Names(dict[str, Any]):
    """Maps each name to itself."""

    def __missing__(self, name: str) -> str:
        return name


def _pairs(optimizer: Optimizer, state_dict: dict) -> Iterator[tuple[dict, Tensor]]:
    """(the saved state of a parameter, the parameter)."""
    groups = zip(optimizer.param_groups, state_dict["param_groups"], strict=False)
    for group, saved in groups:
        for i, parameter in zip(saved["params"], group["params"], strict=False):
            yield state_dict["state"].get(i, {}), parameter


def load_optimizer(
    optimizer: Optimizer, content: dict, tensors: Mapping[str, Tensor], where: str
) -> None:
    """Restores the optimizer's saved state bit for bit.

    On the CPU the state stays memory-mapped until `keep_state`.

    Raises:
        UserError: another class of optimizer, or other groups of parameters.
    """
    fix = "resume with the optimizer settings of the run that saved it"
    if content["class"] != type(optimizer).__name__:
        raise UserError(
            f"it was saved by {content['class']}, but this run uses {type(optimizer).__name__}",
            where,
            fix,
            Exit.CHECKPOINT,
        )
    state_dict = decode(content["state"], tensors)
    _gather_rows(optimizer, state_dict)
    _check_state(optimizer, state_dict)
    _shard(optimizer, state_dict)
    try:
        optimizer.load_state_dict(state_dict)
    except ValueError as error:
        raise UserError(str(error), where, fix, Exit.CHECKPOINT) from error
    _undo_casts(optimizer, state_dict)


def keep_state(optimizer: Optimizer) -> None:
    """Copies the state out of the memory-mapped file, whose disk space is not freed before, and
    whose alignment can change the rounding of arithmetic."""
    for state in optimizer.state.values():
        for name, value in state.items():
            if isinstance(value, Tensor) and value.device.type == "cpu":
                state[name] = value.clone()


# Tensors of an optimizer's state that have the shape of their parameter.
_SHAPED = ("exp_avg", "exp_avg_sq", "max_exp_avg_sq", "momentum_buffer")


def _check_state(optimizer: Optimizer, state_dict: dict) -> None:
    """Raises ValueError for settings or averages with which the next update would fail."""
    groups = zip(optimizer.param_groups, state_dict["param_groups"], strict=False)
    for group, saved in groups:
        for name, value in group.items():
            is_number = isinstance(value, (int, float))
            if is_number and name in saved and not isinstance(saved[name], (int, float)):
                raise ValueError(f"{name} is {saved[name]!r:.40}")
    for state, parameter in _pairs(optimizer, state_dict):
        for name, value in state.items():
            if name in _SHAPED and value is not None and value.shape != parameter.shape:
                raise ValueError(f"{name} has the shape {tuple(value.shape)}")


def _shard(optimizer: Optimizer, state_dict: dict) -> None:
    """Replaces each average by this process's shard of it, if weights are sharded."""
    for state, parameter in _pairs(optimizer, state_dict):
        state.update({n: like(x, parameter) for n, x in state.items() if torch.is_tensor(x)})


def _undo_casts(optimizer: Optimizer, state_dict: dict) -> None:
    """Restores the types that `load_state_dict` has changed to those of the parameters.

    A bf16 model's Adafactor keeps float32 averages; torch would round them to bf16.
    """
    ids = (i for group in state_dict["param_groups"] for i in group["params"])
    parameters = (p for group in optimizer.param_groups for p in group["params"])
    for i, parameter in zip(ids, parameters, strict=True):
        for name, value in state_dict["state"].get(i, {}).items():
            loaded = optimizer.state[parameter][name]
            if isinstance(value, Tensor) and loaded.dtype != value.dtype:
                optimizer.state[parameter][name] = value.to(loaded.device)
