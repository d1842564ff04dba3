"""The user's changes to a model's configuration: bound by gin, before torch is imported."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ke_t5.config.configurable import configurable
from ke_t5.config.ranges import Fraction, check_values
from ke_t5.errors import UserError, suggestion

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

WHERE, DROPOUT = "model.config", "model.dropout"
# The encoder's configuration within that of our generic encoder head.
BACKBONE = "backbone"
# The dropout of that head; None for the encoder's.
HEAD_DROPOUT = "head_dropout"

# Set by the task.
OF_TASK = ("id2label", "label2id", "num_labels", "problem_type")


@configurable("model", module="ke_t5.models.settings")
def get_model_config(config: dict | None = None, dropout: Fraction | None = None) -> dict[str, Any]:
    """Changes to the model's configuration, for `change_config`; {} for none.

    Args:
        config: values by their names in the model's configuration: dropout_rate, crf_iob2,
            character_crf and so on.
        dropout: value of every dropout in the configuration, except those set in `config`.
    """
    check_values("model", get_model_config, locals())
    config = dict(config or {})
    taken = [name for name in config if name in OF_TASK]
    if taken:
        raise UserError(f"{taken[0]!r} is set by the task", WHERE, "drop it")
    return config if dropout is None else {DROPOUT: dropout, **config}


def change_config(config: PreTrainedConfig, values: Mapping[str, Any]) -> None:
    """Sets values in a model's configuration, or in that of the encoder under one of our heads.

    Args:
        values: by name; `DROPOUT` sets every dropout.

    Raises:
        UserError: an unknown name, or a value of the wrong type or range.
    """
    values, backbone = dict(values), getattr(config, BACKBONE, None)
    if (dropout := values.pop(DROPOUT, None)) is not None:
        _set_dropouts(config, dropout)
    parts = [config] if backbone is None else [config, backbone]
    known = {name: part for part in reversed(parts) for name in part.to_dict() if name != BACKBONE}
    for name, value in values.items():
        if name not in known:
            titles = " with ".join(type(part).__name__ for part in parts)
            raise UserError(f"{titles} has no {name!r}", WHERE, suggestion(name, known))
        before = known[name].to_dict()[name]
        kinds = (int, float) if type(before) is float else (type(before),)
        if before is not None and type(value) not in kinds:
            raise UserError(
                f"{name!r} must be like {before!r}, not {value!r}", WHERE, "check the quotes"
            )
        _check_number(name, before, value)
        setattr(known[name], name, value)


def _set_dropouts(config: PreTrainedConfig, dropout: float) -> None:
    found = False
    for part in _parts(config):
        for name, value in part.to_dict().items():
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            if is_number and ("dropout" in name or name.endswith("pdrop")):
                setattr(part, name, float(dropout))
                found = True
    # The head keeps its default if it reads none of the encoder's (GPT-2, Funnel).
    if getattr(config, "dropout_rate", dropout) != dropout:
        setattr(config, HEAD_DROPOUT, float(dropout))
        found = True
    if dropout and not found:
        raise UserError(f"{type(config).__name__} has no dropout", DROPOUT, "drop it")


def _parts(config: PreTrainedConfig) -> Iterator[PreTrainedConfig]:
    """Yields a configuration and its nested configurations."""
    yield config
    for name in {BACKBONE, *config.sub_configs}:
        if (part := getattr(config, name, None)) is not None:
            yield from _parts(part)


def _check_number(name: str, before: object, value: object) -> None:
    """Raises UserError for a size below 1, an id below 0, or a probability not within [0, 1]."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return
    if name.endswith("_id"):
        if value < 0:
            raise UserError(f"{name!r} is {value!r}", WHERE, "give the id of a token")
        return
    is_probability = any(word in name for word in ("dropout", "_prob"))
    if is_probability and not 0 <= value <= 1:
        raise UserError(f"{name!r} is {value!r}", WHERE, "give a number from 0 to 1")
    if isinstance(before, int) and before > 0 and value < 1:
        raise UserError(f"{name!r} is {value!r}", WHERE, "give 1 or more")
