"""LoRA: what gin's `lora` says, and what a run keeps of it beside its configuration. No torch."""

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
BASE = "base"  # in that file
WHERE = "--lora"
RANK = 8
# peft's word for all linear layers of the body.
ALL_LINEAR = "all-linear"


@dataclass(frozen=True)
class LoraSettings:
    """The adapters of a training.

    Attributes:
        rank: of the two narrow matrices beside each layer.
        alpha: their product counts alpha / rank times (default: twice the rank).
        dropout: of what they read.
        target_modules: ends of the names of the layers that get them, such as ("query", "value");
            all linear layers of the body if there is none.
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
    """Trains narrow matrices beside the layers of the body, which stays as it is; heads are trained
    as a whole. `--lora` switches it on with a rank of 8, and so does a `rank` in gin."""
    check_values("lora", get_lora_settings, locals())
    if rank is None:
        return None
    names = target_modules or ()
    if isinstance(names, str):
        names = () if names == ALL_LINEAR else (names,)
    return LoraSettings(rank, 2.0 * rank if alpha is None else float(alpha), dropout, tuple(names))


def lora_settings(is_asked: bool) -> LoraSettings | None:
    """What gin binds; its defaults if the flag asks for adapters; None for an ordinary training."""
    bound = get_lora_settings()
    return get_lora_settings(rank=RANK) if is_asked and bound is None else bound


def check_lora(settings: LoraSettings | None) -> None:
    """Raises UserError if adapters are wanted, but their library is not installed."""
    if settings is not None and find_spec("peft") is None:
        fix = 'run pip install "ke_t5[lora]"'
        raise UserError("peft is not installed", WHERE, fix, Exit.FLAGS)


def write_lora(settings: LoraSettings, folder: Path, *, base: str | None) -> None:
    """Writes the settings beside a run's configuration.

    Args:
        base: the folder or hub name of the frozen weights; None if they are in the checkpoints.
    """
    if base is not None and Path(base).expanduser().is_dir():
        base = str(Path(base).expanduser().absolute())
    values = dataclasses.asdict(settings) | ({} if base is None else {BASE: base})
    (folder / FILE).write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def read_base(folder: str | Path) -> str | None:
    """Where the frozen weights of a run are, by its `model/`; None if its checkpoints are whole.

    Raises:
        UserError: the file is not what this program writes.
    """
    is_there = read_lora(folder) is not None
    return json.loads((Path(folder) / FILE).read_bytes()).get(BASE) if is_there else None


def read_lora(folder: str | Path) -> LoraSettings | None:
    """The adapters of a run by its `model/`; None if it has none.

    Raises:
        UserError: the file is not what this program writes.
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
