"""Decides which rows of the input embedding a run trains (`fit.embedding_rows`)."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterator
from typing import Any

import numpy as np
from transformers import PreTrainedModel

from ke_t5.checkpoint.settings import EARLIER, EMBEDDING_ROWS
from ke_t5.config.run_config import RunConfig
from ke_t5.distributed import Ranks
from ke_t5.errors import UserError
from ke_t5.models.used_rows import UsedRows, input_embedding
from ke_t5.pipe import Examples
from ke_t5.pipe.workers import is_known
from ke_t5.programs import gin_param
from ke_t5.recipes.batch_change import progress_of_run
from ke_t5.task.utils import get_vocabulary
from ke_t5.train.model_checks import passes, used_rows_suffice
from ke_t5.train.settings import ALL, AUTO, USED

logger = logging.getLogger(__name__)

# The number of untrained weights from which on splitting the embedding is worth it.
LARGE = 1 << 20
# Columns of token ids without a tokenizer of their own.
TOKENS = ("input_ids", "decoder_input_ids")


def choose_embedding_rows(
    config: RunConfig, module: PreTrainedModel, train: Examples, ranks: Ranks
) -> RunConfig:
    """The configuration with the rows in force; splits the model's embedding if only the used
    ones are trained.

    A resumed run continues as it began: the gradient's norm may be rounded differently.

    Raises:
        UserError: the rows cannot be trained apart as requested.
    """
    setting = config.fit.embedding_rows
    if setting == AUTO and config.origin.is_resumed:
        progress = progress_of_run(config, ranks) or {"fixed": {}}
        setting = progress["fixed"].get(EMBEDDING_ROWS, EARLIER[EMBEDDING_ROWS])
    reason: str | None = "as requested"
    if setting != ALL:
        reason = _split(config, module, train, ranks, is_forced=setting == USED)
    if reason is not None and config.fit.embedding_rows == USED:
        raise UserError(
            reason,
            f"{EMBEDDING_ROWS}={USED!r}",
            f"drop it, or give {gin_param(EMBEDDING_ROWS, ALL)}",
        )
    if reason is not None:
        logger.debug("%s: all: %s", EMBEDDING_ROWS, reason)
    rows = USED if reason is None else ALL
    return dataclasses.replace(config, fit=dataclasses.replace(config.fit, embedding_rows=rows))


def _split(
    config: RunConfig, module: PreTrainedModel, train: Examples, ranks: Ranks, *, is_forced: bool
) -> str | None:
    """Splits the embedding if possible, and worth it or forced; otherwise returns the reason."""
    name = type(module).__name__
    reason = why_all(config)
    if reason is not None:
        return reason
    if not (is_forced or is_known(module)):
        return f"the code of {name} is the user's own"  # it may draw tokens
    try:
        size = input_embedding(module).weight.shape[0]
    except ValueError as error:
        return f"{name}: {error}"
    used = UsedRows(module, used_tokens(module, train, size))
    if not is_forced and used.table.numel() - used.weight.numel() < LARGE:
        return "too few of its weights are unused"
    is_same = ranks.is_main and passes(
        lambda: used_rows_suffice(used, module, train, ranks.device), "with the used rows alone"
    )
    if not ranks.broadcast(is_same):
        return f"{name} computes a different loss with these rows alone"
    used.split()
    about = f"{len(used.rows):,} of {size:,} rows, whose tokens are in the training data"
    logger.info("%s: trains %s", EMBEDDING_ROWS, about)
    return None


def why_all(config: RunConfig) -> str | None:
    """The reason why a run trains all rows whatever its model; None if there is none."""
    optimizer = config.optimizer
    if config.is_sharded:
        return "--parallel fsdp shards the weights"
    if not optimizer.is_own or optimizer.name == "Adafactor":
        return f"{optimizer.name} may change rows without a gradient"
    decay = optimizer.settings["weight_decay"]
    is_decoupled = optimizer.name == "AdamW" or optimizer.settings.get("decoupled_weight_decay")
    if decay and not is_decoupled:
        return f"{optimizer.name}.weight_decay is a gradient of every row"
    return None


def used_tokens(module: PreTrainedModel, train: Examples, size: int) -> np.ndarray:
    """The ids below `size`, ascending, of the tokens in the training data, and of all special
    tokens."""
    is_used = np.zeros(size, dtype=bool)
    special = [*get_vocabulary().all_special_ids, *_special_ids(module.config)]
    for name, feature in train.features.items():
        if name in train.columns and (feature.tokenizer is not None or name in TOKENS):
            counts = train.value_counts(name)[:size]
            is_used[: len(counts)] |= counts > 0
            special.append(feature.pad_value())
    is_used[[one for one in special if one is not None and 0 <= one < size]] = True
    return np.flatnonzero(is_used)


def _special_ids(config: Any) -> Iterator[int]:
    """The ids of special tokens in a model's configuration, and in those of its parts."""
    for name, value in config.to_dict().items():
        parts = value if isinstance(value, dict) else {name: value}
        for key, ids in parts.items():
            if str(key).endswith("_token_id"):
                yield from ids if isinstance(ids, list) else [ids]
