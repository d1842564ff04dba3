"""Small functions registered with gin, and helpers for the tests of settings."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import gin
import pytest

from ke_t5.config.gin_config import configure
from ke_t5.errors import Exit, UserError

if TYPE_CHECKING:
    from nowhere import Nothing


@gin.configurable(module="toys.optimizers")
def ToyAdam(params, lr=5e-5, betas=(0.9, 0.999), fused=None, amsgrad=False):
    return lr, betas, fused, amsgrad


@gin.configurable(module="toys", denylist=["task"])
def toy_dataset(
    task: str = "",
    *,
    split: str = "train",
    length: dict[str, int] | None = None,
    rows: int = 3,
    mode: Literal["fast", "slow"] = "fast",
    strange: "Nothing" = None,
):
    return task, split, length, rows, mode, strange


@gin.configurable(module="toys")
def toy_optimizer(cls: Callable = ToyAdam):
    return cls(None)


@gin.configurable(module="toys.one")
class Twin:
    def __init__(self, size: int = 1, **options):
        self.size, self.options = size, options


gin.configurable("Twin", module="toys.two")(lambda size=2: size)


def configured(*files: str, params=()):
    """The configuration from files a.gin, b.gin, ... with these texts."""
    names = [f"{letter}.gin" for letter, _ in zip("abc", files, strict=False)]
    for name, text in zip(names, files, strict=True):
        Path(name).write_text(text, encoding="utf-8")
    return configure(names, params, search=(Path("gin"),))


def fault(*files: str, params=()) -> str:
    with pytest.raises(UserError) as caught:
        configured(*files, params=params)
    assert caught.value.exit_code == Exit.FLAGS
    line = str(caught.value)
    assert "\n" not in line
    assert not gin.config_is_locked() and gin.config_str() == ""
    return line
