"""A model ready to train or test, with a line about where its weights come from."""

from __future__ import annotations

import copy
import pickle
import re
import sys
import traceback
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging as transformers_logging

from ke_t5.errors import Exit, UserError
from ke_t5.faults import OUT_OF_MEMORY
from ke_t5.hub import network_fault
from ke_t5.lookup.hub import (
    WHERE,
    Pretrained,
    find_pretrained,
    has_own_head,
    require_weights,
)
from ke_t5.lookup.settings import change_config
from ke_t5.models import vocabulary
from ke_t5.models.account import digest, size_of
from ke_t5.models.fidelity import compare_with_files

# The attribute that `post_init` sets on a model.
POST_INIT = "all_tied_weights_keys"
# Bytes; torch's alignment of the tensors that it allocates on a CPU.
ALIGNMENT = 64


def build_model(
    model_class: type[PreTrainedModel],
    folder: str | Path,
    *,
    from_scratch: bool,
    seed: int,
    task_config: dict[str, Any],
    model_config: Mapping[str, Any] | None = None,
    tokenizer: PreTrainedTokenizerBase | None = None,
    dtype: torch.dtype = torch.float32,
    new_head: bool = True,
    weights: str | Path | None = None,
    where: str = WHERE,
) -> tuple[PreTrainedModel, str]:
    """The model, in evaluation mode on the CPU, and a line about where its weights come from.

    Random weights depend on the seed only; the global random state is left unchanged.

    Args:
        folder: a folder or hub name in transformers' layout.
        from_scratch: initialize all weights; only the folder's configuration is used.
        task_config: the task's additions to the configuration (num_labels, id2label, ...).
        model_config: the user's changes to it.
        tokenizer: checked against the embedding.
        new_head: whether a head missing from the weights may be initialized.
        weights: the folder or hub name of the weights, if they are not in `folder`.

    Raises:
        UserError: no weights, another architecture, more missing than the head, too many ids.
    """
    pretrained = find_pretrained(folder, where=where)
    config = _config(model_class, pretrained, task_config, where)
    change_config(config, model_config or {})
    lines: list[str] = []
    if tokenizer is not None:
        vocabulary.check_ids(tokenizer, config, pretrained.name, where=where)
        lines += vocabulary.fit_config(config, tokenizer)
    drawn = None
    with quiet(), torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        if from_scratch:
            model = _draw(model_class, pretrained, config, dtype)
            note = f"{pretrained.name}: fresh weights (seed {seed}), {size_of(model)}"
        else:
            if weights is not None:
                pretrained = find_pretrained(weights, where=where)
            require_weights(pretrained, where=where)
            model, info = _load(model_class, pretrained, config, dtype, where)
            _align(model)
            compare_with_files(model, info, pretrained, where=where)
            names = list(task_config.get("id2label", {}).values())
            drawn = {*info["missing_keys"], *(key for key, *_ in info["mismatched_keys"])}
            note = digest(model, info, pretrained, names, new_head=new_head, where=where)
    if tokenizer is not None:
        vocabulary.fit_generation(model)
    # The parameters that a training may still initialize differently; None: all of them.
    names = None if drawn is None else frozenset(drawn)
    model.drawn_parameters = names  # pyright: ignore[reportArgumentType]
    return _keep_head_apart(model).eval(), "; ".join([note, *lines])


def check_config(
    model_class: type[PreTrainedModel],
    folder: str | Path,
    *,
    task_config: dict[str, Any],
    model_config: Mapping[str, Any],
    where: str = WHERE,
) -> None:
    """Raises UserError if the class cannot use the folder's configuration, or a change in
    `model_config` is invalid; see `build_model`."""
    pretrained = find_pretrained(folder, where=where)
    change_config(_config(model_class, pretrained, task_config, where), model_config)


def _config(
    model_class: type[PreTrainedModel],
    pretrained: Pretrained,
    task_config: dict[str, Any],
    where: str,
) -> PreTrainedConfig:
    config_class, kind = model_class.config_class, pretrained.config["model_type"]
    if config_class is None:
        raise UserError(
            f"{model_class.__name__} has no config_class",
            "--model_name",
            "set it to the class of its configuration",
        )
    reads = getattr(config_class, "reads", None)
    if not (reads(pretrained.config) if reads else kind == config_class.model_type):
        made_for = getattr(config_class, "made_for", repr(config_class.model_type))
        raise UserError(
            f"checkpoint is {kind!r}, but {model_class.__name__} expects {made_for}",
            f"{where} {pretrained.name}",
            "drop --model_name, or give the folder of such a model",
            Exit.CHECKPOINT,
        )
    changes = dict(task_config)
    if "id2label" in changes:
        # The library accepts the names or their number, but fails to compare them given both.
        changes.pop("num_labels", None)
    with quiet():
        return config_class.from_pretrained(
            pretrained.name,
            local_files_only=pretrained.local_only,
            trust_remote_code=False,
            **changes,
        )


def _draw(
    model_class: type[PreTrainedModel],
    pretrained: Pretrained,
    config: PreTrainedConfig,
    dtype: torch.dtype,
) -> PreTrainedModel:
    model = _made(model_class, pretrained, config)
    model.to(dtype)  # pyright: ignore[reportArgumentType] - the library wraps it
    _require_post_init(model)
    head = model.get_output_embeddings()
    if head is not None and has_own_head(pretrained.config):
        # transformers ties it to the embedding; T5 v1.1 initializes it separately, with this std.
        weight = torch.empty_like(head.weight)
        factor = getattr(config, "initializer_factor", 1.0)
        nn.init.normal_(weight, std=factor * weight.size(1) ** -0.5)
        head.weight = nn.Parameter(weight)
    return model


def _load(
    model_class: type[PreTrainedModel],
    pretrained: Pretrained,
    config: PreTrainedConfig,
    dtype: torch.dtype,
    where: str,
) -> tuple[PreTrainedModel, dict]:
    try:
        loaded: Any = model_class.from_pretrained(
            pretrained.name,
            config=config,
            dtype=dtype,
            local_files_only=pretrained.local_only,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            weights_only=True,
            trust_remote_code=False,
        )
        return loaded
    except Exception as error:
        if POST_INIT in str(error):
            raise _no_post_init(model_class) from error
        if type(error).__name__ != "SafetensorError":
            with torch.device("meta"):  # raises again if the weights are not the cause
                _made(model_class, pretrained, copy.deepcopy(config))
        if isinstance(error, UserError) or _is_of_class(error, model_class):
            raise
        raise _unreadable(pretrained, where, error) from error


def _made(
    model_class: type[PreTrainedModel], pretrained: Pretrained, config: PreTrainedConfig
) -> PreTrainedModel:
    """The model of a configuration, newly initialized; UserError if its values are invalid."""
    try:
        return model_class(config)
    except Exception as error:
        if POST_INIT in str(error):
            raise _no_post_init(model_class) from error
        is_known = isinstance(error, UserError | MemoryError) or _is_of_class(error, model_class)
        if is_known or re.search(OUT_OF_MEMORY, str(error).lower()):
            raise
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        what = f"its config.json is invalid ({reason:.70})"
        fix = "check its values and gin's model.config"
        raise UserError(what, f"{WHERE} {pretrained.name}", fix, Exit.CHECKPOINT) from error


def _is_of_class(error: Exception, model_class: type[PreTrainedModel]) -> bool:
    """Whether an exception was raised by the code of the user's own model class."""
    if model_class.__module__.partition(".")[0] in ("transformers", "ke_t5"):
        return False
    file = getattr(sys.modules.get(model_class.__module__), "__file__", None)
    frames = traceback.extract_tb(error.__traceback__)
    return bool(frames) and frames[-1].filename == file


def _align(model: PreTrainedModel) -> None:
    """Copies unaligned weights of a memory-mapped file to aligned memory.

    Kernels sum unaligned numbers in another order, so that the scores of an export would differ
    from its checkpoint's in the last digits.
    """
    for tensor in (*model.parameters(), *model.buffers()):
        if tensor.data_ptr() % ALIGNMENT:
            tensor.data = tensor.data.clone()


def _require_post_init(model: PreTrainedModel) -> None:
    if not hasattr(model, POST_INIT):
        raise _no_post_init(type(model))


def _no_post_init(model_class: type[PreTrainedModel]) -> UserError:
    name = f"{model_class.__module__}:{model_class.__qualname__}"
    return UserError(
        "its __init__ never calls post_init(), which transformers 5 needs",
        f"--model_name {name}",
        "end __init__ with self.post_init() (instead of self.init_weights())",
    )


def _unreadable(pretrained: Pretrained, where: str, error: Exception) -> UserError:
    cut_off = network_fault(error, f"{where} {pretrained.name!r}")
    if cut_off is not None:
        return cut_off
    first_line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    if isinstance(error, pickle.UnpicklingError):
        named = re.search(r"GLOBAL ([\w.]+)", str(error))
        first_line = "its pickle is damaged"
        if named:
            first_line = f"its pickle contains {named[1]:.60}, which could run code"
    return UserError(
        f"its weights cannot be read: {first_line:.80}",
        f"{where} {pretrained.name}",
        "download or save them again",
        Exit.CHECKPOINT,
    )


def _keep_head_apart(model: PreTrainedModel) -> PreTrainedModel:
    """Keeps saving and resizing from tying a head and an embedding that differ."""
    head, embedding = model.get_output_embeddings(), model.get_input_embeddings()
    if head is None or embedding is None or head.weight is embedding.weight:
        return model
    for table in ("_tied_weights_keys", "all_tied_weights_keys"):
        tied = getattr(model, table, None)
        if isinstance(tied, dict):
            setattr(model, table, {k: v for k, v in tied.items() if k != "lm_head.weight"})
    return model


@contextmanager
def quiet() -> Iterator[None]:
    """A context that silences the libraries' logs, progress bars and warnings."""
    verbosity = transformers_logging.get_verbosity()
    bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        if bars:
            transformers_logging.enable_progress_bar()
