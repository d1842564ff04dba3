"""The programs' names, and the commands that start them from the current folder.

In a clone they are scripts; an installed package has entry points for them. Both also have `ke-t5
train` and `ke-t5 test`, which are `python -m ke_t5 train` where the package is not installed.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path

TRAIN, TEST = "train_ddp.py", "test_ddp.py"
ENTRY_POINTS = {TRAIN: "ke-t5-train", TEST: "ke-t5-test"}
COMMAND_NAMES = {TRAIN: "train", TEST: "test"}
# Names of `--task` for several tasks of different forms, each of which trains its own model.
SUITES = {
    "kobest": tuple(f"kobest_{name}" for name in ("boolq", "copa", "hellaswag", "sentineg", "wic"))
}
ONE_COMMAND, MODULE = "ke-t5", "ke_t5"
PACKAGE = Path(__file__).resolve().parent
CLONE = PACKAGE.parent


def program_name(script: str) -> str:
    """The name of a program as started here: its script, its entry point or the command."""
    if is_one_command():
        return f"{ONE_COMMAND} {COMMAND_NAMES[script]}"
    return ENTRY_POINTS[script] if _uses_entry_points() else script


def command(script: str, launcher: str = "") -> str:
    """The command that starts a program from the current folder, without flags.

    Args:
        launcher: such as "torchrun --nproc_per_node=2"; "" for a single process.

    In a clone "python train_ddp.py" or "torchrun --nproc_per_node=2 train_ddp.py"; installed
    "ke-t5-train" or "torchrun --nproc_per_node=2 --no-python ke-t5-train"; and "ke-t5 train" or
    "ke-t5 train --nproc 2" ("python -m ke_t5 train") if this process was started so.
    """
    if is_one_command():
        return " ".join([one_command(COMMAND_NAMES[script]), *_launch_flags(launcher)])
    if not _uses_entry_points():
        return f"{launcher or 'python'} {shlex.quote(str(_scripts_folder() / script))}"
    program = shlex.quote(_entry_point(ENTRY_POINTS[script]))
    return f"{launcher} --no-python {program}" if launcher else program


def one_command(name: str) -> str:
    """`ke-t5 NAME`; `python -m ke_t5 NAME` if this process was started so, or by a script.

    A clone that is not the current folder is found by `PYTHONPATH=../clone python -m ke_t5 NAME`.
    """
    if _is_module():
        return f"python -m {MODULE} {name}"
    if Path(sys.argv[0]).name not in ENTRY_POINTS:
        return f"{shlex.quote(_entry_point(ONE_COMMAND))} {name}"
    folder = str(_scripts_folder())
    path = "" if folder == "." else f"PYTHONPATH={shlex.quote(folder)} "
    return f"{path}python -m {MODULE} {name}"


def _launch_flags(launcher: str) -> list[str]:
    """A launcher's flags as `ke-t5 train` takes them; it chooses the backend itself."""
    words = [word.replace("=", " ") for word in launcher.split()[1:]]
    return [word.replace("nproc_per_node", "nproc") for word in words if "_backend" not in word]


def own_words() -> list[str]:
    """The arguments that make torchrun run this program, without the program's flags."""
    return ["-m", MODULE] if _is_module() else ["--no-python", sys.argv[0]]


def started_again() -> str:
    """This process's program and its flags, as arguments of torchrun."""
    started = Path(sys.argv[0])
    if _is_module():
        return f"-m {MODULE} {shell_line(sys.argv[1:])}"
    if started.name in (*ENTRY_POINTS.values(), ONE_COMMAND):
        return f"--no-python {shell_line([started.name, *sys.argv[1:]])}"
    return shell_line(sys.argv) if sys.argv[0] else TRAIN


def shell_line(words: Iterable[str]) -> str:
    """The words as one line for a shell, with as few quotes as possible (`shlex.join` nests them).

    >>> print(shell_line(["--label_column", "감정", "--gin_param", "f.x={'a': 1}", "a b"]))
    --label_column 감정 --gin_param "f.x={'a': 1}" 'a b'
    """
    return " ".join(map(_shell_word, words))


def gin_param(name: str, value: object) -> str:
    """The flag that binds a gin name, for a shell.

    >>> print(gin_param("fit.precision", "fp32"), gin_param("fit.accumulate", 2))
    --gin_param "fit.precision='fp32'" --gin_param fit.accumulate=2
    """
    return shell_line(["--gin_param", f"{name}={value!r}"])


def _shell_word(word: str) -> str:
    if re.fullmatch(r"[\w@%+=:,./-]+", word):
        return word
    is_plain = not re.search(r'["$`\\!]', word)  # nothing that double quotes leave active
    return f'"{word}"' if "'" in word and is_plain else shlex.quote(word)


def is_one_command() -> bool:
    """Whether this process was started as `ke-t5 ...` or `python -m ke_t5 ...`."""
    return Path(sys.argv[0]).stem == ONE_COMMAND or _is_module()


def _is_module() -> bool:
    started = Path(sys.argv[0])
    return started.name == "__main__.py" and started.resolve().parent == PACKAGE


def _uses_entry_points() -> bool:
    started = Path(sys.argv[0])
    if started.name in ENTRY_POINTS:
        return False
    return started.stem in ENTRY_POINTS.values() or not (CLONE / TRAIN).exists()


def _entry_point(name: str) -> str:
    """The entry point's name if PATH leads to this environment's, otherwise its path."""
    started = Path(sys.argv[0])
    if started.stem not in (*ENTRY_POINTS.values(), ONE_COMMAND):
        return name
    path = started.with_name(name)
    on_path = shutil.which(name)
    return name if on_path and Path(on_path).resolve() == path.resolve() else str(path)


def _scripts_folder() -> Path:
    started = Path(sys.argv[0])
    return started.parent if started.name in ENTRY_POINTS else Path(os.path.relpath(CLONE))
