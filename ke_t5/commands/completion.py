"""Shell completion of commands, flags, tasks, models and gin files, by argcomplete.

Each press of the tab key starts the program, so nothing heavy is imported here. Finding the names
of the tasks takes a third of a second; they are cached until a module that registers them changes.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from ke_t5.commands.table import COMMANDS
from ke_t5.config.flags import SCHEDULES
from ke_t5.files import write_atomically
from ke_t5.forms import MODEL_FORMS
from ke_t5.programs import ONE_COMMAND, PACKAGE

CACHE = Path.home() / ".cache" / "ke_t5" / "task_names.json"


def complete() -> None:
    """Prints the completions for the shell and ends the process."""
    import argcomplete

    line = os.environ.get("COMP_LINE", "")
    argcomplete.autocomplete(
        parser_for(line.split()), always_complete_options="long", default_completer=_files()
    )


def parser_for(words: list[str]) -> argparse.ArgumentParser:
    """A parser of the whole line, in which only the command of the line has its flags."""
    whole = argparse.ArgumentParser(ONE_COMMAND)
    whole.add_argument("--version", action="store_true")
    commands = whole.add_subparsers(parser_class=argparse.ArgumentParser)
    for command in COMMANDS:
        parents = []
        if command.name in words[1:2]:
            parents = [importlib.import_module(command.module).parser()]
        subparser = commands.add_parser(
            command.name, help=command.summary, parents=parents, add_help=False
        )
        for action in subparser._actions:
            if action.dest in COMPLETERS:
                action.completer = COMPLETERS[action.dest]  # type: ignore[attr-defined]
    return whole


def _files() -> Any:
    from argcomplete.completers import FilesCompleter

    return FilesCompleter()


def tasks(**_: Any) -> list[str]:
    """The names of our tasks and mixtures, including those for the user's own data."""
    rooms = [(PACKAGE / room).rglob("*.py") for room in ("task", "readers", "own_data")]
    files = sorted(file for room in rooms for file in room)
    state = [[str(file), file.stat().st_mtime_ns, file.stat().st_size] for file in files]
    with suppress(OSError, ValueError, KeyError, TypeError):
        cached = json.loads(CACHE.read_text(encoding="utf-8"))
        if cached["state"] == state:
            return cached["names"]
    importlib.import_module("ke_t5.task.task")
    importlib.import_module("ke_t5.own_data").register_kinds()
    pipe = importlib.import_module("ke_t5.pipe")
    names = [*pipe.TaskRegistry.names(), *pipe.MixtureRegistry.names()]
    with suppress(OSError):
        CACHE.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(CACHE, json.dumps({"state": state, "names": names}))
    return names


def pre_trained_models(prefix: str, **_: Any) -> list[str]:
    """The models in the hub's cache, and folders."""
    home = Path(os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface")
    hub = Path(os.environ.get("HF_HUB_CACHE") or home / "hub")
    cached = [path.name for path in hub.glob("models--*")] if hub.is_dir() else []
    names = [name.removeprefix("models--").replace("--", "/") for name in cached]
    return [*names, *folders(prefix)]


def gin_files(prefix: str, **_: Any) -> list[str]:
    """The gin files that can be given by name, and files."""
    places = (Path("gin"), PACKAGE / "gin")
    return [*(file.name for place in places for file in place.glob("*.gin")), *_files()(prefix)]


def folders(prefix: str, **_: Any) -> list[str]:
    """The folders that start with the prefix."""
    from argcomplete.completers import DirectoriesCompleter

    return list(DirectoriesCompleter()(prefix))


def _among(names: Iterable[str]) -> Callable[..., list[str]]:
    """A completer for a fixed list of names."""
    return lambda **_: list(names)


_YES_NO = _among(("true", "false"))
# Flag -> completer of its values, in all commands.
COMPLETERS: dict[str, Callable[..., list[str]]] = {
    "task": tasks,
    "model_name": _among((*MODEL_FORMS, "transformers:")),
    "pre_trained_model": pre_trained_models,
    "gin_file": gin_files,
    "schedule": _among(SCHEDULES),
    "nproc": _among(("1", "2", "gpu")),
    "resume": lambda prefix, **_: ["true", "auto", "best", *folders(prefix)],
    **dict.fromkeys(("hf_data_dir", "hf_cache_dir", "output_dir", "hf_path"), folders),
    **dict.fromkeys(("sample", "from_scratch", "pass_only_model_io"), _YES_NO),
}
