"""Whether a loaded model equals its checkpoint's files, tensor by tensor.

Some versions of transformers silently fill T5's embedding from the head, or with zeros.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn
from transformers import PreTrainedModel

from ke_t5.errors import Exit, UserError
from ke_t5.lookup.hub import PICKLED_WEIGHTS, SAFE_WEIGHTS, Pretrained, has_own_head
from ke_t5.lookup.tensor_names import file_of
from ke_t5.seals import is_inside

# Tables that models compute themselves, but old checkpoints contain.
COMPUTED = r"(position_ids|token_type_ids|inv_freq|masked_bias|attn\.bias|attention\.bias)$"


def compare_with_files(
    model: PreTrainedModel, info: dict[str, Any], pretrained: Pretrained, *, where: str
) -> None:
    """Compares the model with the files it was loaded from, and corrects an embedding or a head.

    Args:
        info: the loading info of `from_pretrained`; an embedding that is in no file is added to its
            `missing_keys`, unused tensors are added to its `unexpected_keys`.

    Raises:
        UserError: another tensor differs from the file's.
    """
    drawn = {*info["missing_keys"], *(key for key, *_ in info["mismatched_keys"])}
    prefixes = _prefixes(model)
    parameters = {
        _plain(name, prefixes): tensor
        for name, tensor in model.state_dict(keep_vars=True).items()
        if name not in drawn
    }
    right: set[int] = set()
    wrong: dict[str, Tensor] = {}
    unused, seen = set(), set()
    for name, tensor in read_tensors(pretrained):
        key = _key_of(model, name, parameters.keys(), prefixes)
        own = parameters.get(key)
        if own is None:
            unused.add(name)
        elif own.shape == tensor.shape:
            seen.add(own.data_ptr())
            if torch.equal(own.detach(), tensor.to(own.dtype)):
                right.add(own.data_ptr())
            else:
                wrong[key] = tensor
    if not seen:
        return  # no local file, or only unknown names: nothing to compare
    is_converted = _is_converted(model)
    for name, tensor in wrong.items():
        if not _set_table(model, parameters[name], tensor, right) and not is_converted:
            if parameters[name].data_ptr() not in right:
                raise _differs(name, pretrained, where)
    if not is_converted:
        ignored = model._keys_to_ignore_on_load_unexpected or []
        patterns = (COMPUTED, *ignored)
        known = {_plain(key, prefixes) for key in (*drawn, *info["unexpected_keys"])}
        info["unexpected_keys"] = {*info["unexpected_keys"]} | {
            name
            for name in unused
            if _plain(name, prefixes) not in known
            and not any(re.search(pattern, name) for pattern in patterns)
        }
    _require_embedding(model, info, pretrained, seen)


def read_tensors(pretrained: Pretrained) -> Iterator[tuple[str, Tensor]]:
    """(name, tensor) of each tensor in a checkpoint's files, one at a time."""
    for name in (*SAFE_WEIGHTS, *PICKLED_WEIGHTS):
        path = file_of(pretrained, name)
        if path is None:
            continue
        files = [path]
        if name.endswith(".index.json"):
            parts = json.loads(path.read_text(encoding="utf-8"))["weight_map"].values()
            names = [name for name in dict.fromkeys(parts) if is_inside(name)]
            files = [part for one in names if (part := file_of(pretrained, one))]
        for file in files:
            yield from _tensors_in(file)
        return


def _tensors_in(path: Path) -> Iterator[tuple[str, Tensor]]:
    if path.suffix == ".safetensors":
        with safe_open(path, framework="pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118 - it is not a dict and cannot be iterated
                yield name, tensors.get_tensor(name)
    else:
        yield from torch.load(path, map_location="cpu", weights_only=True).items()


def _prefixes(model: PreTrainedModel) -> tuple[str, ...]:
    """The prefixes of parameter names that either the model or a file may lack."""
    body = getattr(model, "backbone", None)
    prefixes = {model.base_model_prefix, getattr(body, "base_model_prefix", "")}
    return tuple(f"{prefix}." for prefix in prefixes if prefix)


def _plain(name: str, prefixes: tuple[str, ...]) -> str:
    """A tensor's name without its model's prefix, in its current spelling."""
    for prefix in prefixes:
        name = name.removeprefix(prefix)
    return re.sub(r"\.beta$", ".bias", re.sub(r"\.gamma$", ".weight", name))


def _key_of(
    model: PreTrainedModel, name: str, known: Collection[str], prefixes: tuple[str, ...]
) -> str:
    """The model's plain name of a file's tensor, which transformers may have renamed."""
    if _plain(name, prefixes) not in known:
        for one in getattr(model, "_weight_conversions", None) or []:
            if type(one).__name__ == "WeightRenaming":
                name, _ = one.rename_source_key(name)
    return _plain(name, prefixes)


def _is_converted(model: PreTrainedModel) -> bool:
    """Whether transformers computes parameters from the files' tensors (such as experts)."""
    conversions = getattr(model, "_weight_conversions", None) or []
    return any(type(one).__name__ == "WeightConverter" for one in conversions)


def _set_table(model: PreTrainedModel, own: Tensor, tensor: Tensor, right: set[int]) -> bool:
    """Sets an embedding or a head to the file's values; False if it is another tensor."""
    embedding: Any = model.get_input_embeddings()
    head: Any = model.get_output_embeddings()
    if head is not None and own is head.weight and own.data_ptr() in right:
        # The head shares the embedding's memory, but the file has a separate one.
        head.weight = nn.Parameter(tensor.to(own.dtype))
        return True
    if embedding is None or own.data_ptr() != embedding.weight.data_ptr():
        return False
    if own.data_ptr() not in right:
        with torch.no_grad():
            own.copy_(tensor)
        right.add(own.data_ptr())
    return True


def _require_embedding(
    model: PreTrainedModel, info: dict[str, Any], pretrained: Pretrained, seen: set[int]
) -> None:
    """Adds an embedding that is in no file to `missing_keys`."""
    embedding: Any = model.get_input_embeddings()
    head: Any = model.get_output_embeddings()
    if embedding is None:
        return
    tables = {
        name: tensor
        for name, tensor in model.state_dict(keep_vars=True).items()
        if tensor.data_ptr() == embedding.weight.data_ptr()
    }
    is_head = head is not None and head.weight.data_ptr() == embedding.weight.data_ptr()
    is_in_file = embedding.weight.data_ptr() in seen
    if is_in_file and is_head and has_own_head(pretrained.config):
        # The file may have the head only, loaded in place of the embedding.
        prefixes = _prefixes(model)
        bodies = {_plain(name, prefixes) for name in tables} - {"lm_head.weight"}
        is_in_file = any(_plain(name, prefixes) in bodies for name, _ in read_tensors(pretrained))
    if not is_in_file and not tables.keys() & {*info["missing_keys"]}:
        name = next((n for n in tables if n != "lm_head.weight"), None)
        info["missing_keys"] = {*info["missing_keys"], *([name] if name else [])}


def _differs(name: str, pretrained: Pretrained, where: str) -> UserError:
    return UserError(
        f"{name} differs from the file after loading",
        f"{where} {pretrained.name}",
        "use another version of transformers, or save the model again with this one",
        Exit.CHECKPOINT,
    )
