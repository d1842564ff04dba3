"""LoRA settings: from gin's `lora`, and in the file that a run keeps. Imports no torch."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ke_t5.config.configurable import configurable
from ke_t5.config.ranges import Count, DecayRate, Positive, check_values
from ke_t5.errors import Exit, UserError

FILE = "lora.json"  # in a run's model/
BASE = "base"  # a key of that file
WHERE = "--lora"
RANK = 8
# peft's name for all linear layers of the body.
ALL_LINEAR = "all-linear"


@dataclass(frozen=True)
class LoraSettings:
    """The adapters of a training.

    Attributes:
        rank: rank of the two matrices that are added to each layer.
        alpha: their product is scaled by alpha / rank (default: twice the rank).
        dropout: dropout of the adapters' inputs.
        target_modules: suffixes of the names of the layers to adapt, such as ("query", "value");
            default: all linear layers of the body.
    """

    rank: int
    alpha: float
    dropout: float
    target_modules: tuple[str, ...] = ()


@configurable("lora", module="ke_t5.models.lora")
def get_lora_settings(
    rank: Count | None = None,
    alpha: Positive | None = None,
    dropout: DecayRate = 0.05,
    target_modules: Sequence[str] | None = None,
) -> LoraSettings | None:
    """Trains low-rank matrices beside the layers of the frozen body; heads are trained in full.
    `--lora` enables it with a rank of 8, and so does any `rank` in gin."""
    check_values("lora", get_lora_settings, locals())
    if rank is None:
        return None
    names = target_modules or ()
    if isinstance(names, str):
        names = () if names == ALL_LINEAR else (names,)
    return LoraSettings(rank, 2.0 * rank if alpha is None else float(alpha), dropout, tuple(names))


def lora_settings(is_requested: bool) -> LoraSettings | None:
    """The adapters that gin binds, or the default ones if the flag is given; None without both."""
    bound = get_lora_settings()
    return get_lora_settings(rank=RANK) if is_requested and bound is None else bound


def check_lora(settings: LoraSettings | None) -> None:
    """Raises UserError if there are adapters to train, but peft is not installed."""
    if settings is not None and find_spec("peft") is None:
        fix = 'run pip install "ke_t5[lora]"'
        raise UserError("peft is not installed", WHERE, fix, Exit.FLAGS)


def write_lora(settings: LoraSettings, folder: Path, *, base: str | None) -> None:
    """Writes the settings beside a run's configuration.

    Args:
        base: the folder or hub name of the frozen weights; None if the checkpoints contain them.
    """
    if base is not None and Path(base).expanduser().is_dir():
        base = str(Path(base).expanduser().absolute())
    values = dataclasses.asdict(settings) | ({} if base is None else {BASE: base})
    (folder / FILE).write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def read_base(folder: str | Path) -> str | None:
    """The folder or hub name of a run's frozen weights, from its `model/`; None if the checkpoints
    contain them.

    Raises:
        UserError: the file is damaged.
    """
    is_there = read_lora(folder) is not None
    return json.loads((Path(folder) / FILE).read_bytes()).get(BASE) if is_there else None


def read_lora(folder: str | Path) -> LoraSettings | None:
    """The adapters of a run, from its `model/`; None if it has none.

    Raises:
        UserError: the file is damaged.
    """
    path = Path(folder) / FILE
    if not path.is_file():
        return None
    try:
        values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(values.pop(BASE, ""), str):
            raise TypeError(BASE)
        names = tuple(str(name) for name in values.pop("target_modules"))
        settings = LoraSettings(target_modules=names, **values)
        check_values("lora", get_lora_settings, {**values, "target_modules": list(names)})
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, UserError) as error:
        what = "not what this program writes"
        raise UserError(what, str(path), "restore the file", Exit.CHECKPOINT) from error
    return settings
