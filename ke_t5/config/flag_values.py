"""Convert the text of a flag into its value; each function raises ValueError("what; fix")."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable

from ke_t5.config.resume import LAST, ResumeRequest
from ke_t5.errors import suggestion

PARALLEL = ("ddp", "fsdp")
SCHEDULES = ("linear", "cosine", "constant", "constant_with_warmup", "inverse_sqrt")
YES, NO = ("true", "1", "yes", "on"), ("false", "0", "no", "off")
LONGEST_NAME, LONGEST_PATH = 200, 3000  # bytes; file systems take 255 and 4096
TRACKERS = ("wandb", "mlflow", "tensorboard")


def text(value: str) -> str:
    if not value.strip():
        raise ValueError("empty; give it a value")
    if any(0xD800 <= ord(character) < 0xE000 for character in value):
        raise ValueError("not UTF-8; type or rename it in UTF-8")
    if any(ord(character) < 32 and character not in "\n\t" for character in value):
        raise ValueError("has a control character; retype it")
    return value


def path(value: str) -> str:
    expanded = os.path.expanduser(text(value))
    longest = max(len(os.fsencode(part)) for part in expanded.split("/"))
    # Temporary files beside it have longer names.
    if longest > LONGEST_NAME or len(os.fsencode(expanded)) > LONGEST_PATH:
        raise ValueError(f"longer than a file's name can be ({longest} bytes); choose a short one")
    return expanded


def boolean(value: str) -> bool:
    if value.lower() in YES + NO:
        return value.lower() in YES
    raise ValueError("neither true nor false; write true or false, or omit the value")


def whole(least: int, most: int | None = None) -> Callable[[str], int]:
    """Reads whole numbers from `least` to `most`, both included."""

    def read(value: str) -> int:
        try:
            number = int(value)
        except ValueError:
            raise ValueError(f"not a whole number; give {least} or more") from None
        if number < least:
            raise ValueError(f"too small; give {least} or more")
        if most is not None and number > most:
            raise ValueError(f"too large; give {most} or less")
        return number

    return read


class Minutes(float):
    """A number of minutes."""

    def __str__(self) -> str:
        return f"{float(self):g}m"


def interval(value: str) -> int | Minutes:
    """A number of steps, or minutes with the suffix "m"."""
    number = value.removesuffix("m")
    try:
        return whole(1)(value) if number == value else Minutes(positive(number))
    except ValueError:
        fix = "give steps such as 500, or minutes such as 15m"
        raise ValueError(f"neither steps nor minutes; {fix}") from None


def positive(value: str) -> float:
    try:
        number = float(value)
    except ValueError:
        raise ValueError("not a number; give one such as 5e-5") from None
    if not (number > 0 and math.isfinite(number)):
        raise ValueError("not above zero and finite; give a number such as 5e-5")
    return number


def schedule(value: str) -> str:
    folded = value.lower()
    name = "linear" if folded in YES else "constant" if folded in NO else value
    if name not in SCHEDULES:
        raise ValueError(f"no such schedule; {suggestion(name, SCHEDULES)}")
    return name


def parallel(value: str) -> str:
    """The way in which several processes share the work."""
    if value not in PARALLEL:
        raise ValueError(f"no such mode; {suggestion(value, PARALLEL)}")
    return value


def warmup(value: str) -> int | float:
    """Steps for 0 or a whole number of at least 1, otherwise a share of all steps."""
    try:
        number = float(value)
    except ValueError:
        number = -1.0
    if number >= 1 and number.is_integer():
        return int(number)
    if not 0 <= number < 1:
        raise ValueError(
            "neither steps nor a share; give whole steps such as 100, or a share such as 0.1"
        )
    return number or 0


def resume(value: str) -> ResumeRequest | None:
    folded = text(value).lower()
    if folded in NO:
        return None
    if folded in YES:
        return LAST
    return ResumeRequest.parse(folded if folded in ("auto", "best") else path(value))


def hf_path(value: str) -> str | None:
    """A folder, "default" for that of the run, None for no export."""
    folded = text(value).lower()
    if folded in NO:
        return None
    return "default" if folded in (*YES, "default") else path(value)


def num_processes(value: str) -> int | str:
    """A number, or "gpu": as many as there are GPUs."""
    if value.lower() in ("gpu", "auto"):
        return "gpu"
    try:
        return whole(1)(value)
    except ValueError:
        raise ValueError("not a number of processes; give 1 or more, or gpu") from None


def tracker(value: str) -> str:
    if value.lower() not in TRACKERS:
        raise ValueError(f"unknown tracker; give one of {', '.join(TRACKERS)}")
    return value.lower()


def repository(value: str) -> str:
    """The name of a hub repository: model, or user/model."""
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?", value, re.ASCII):
        raise ValueError("not a name on the hub; give one such as my-model or user/my-model")
    return value
