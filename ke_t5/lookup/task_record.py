"""`ke_t5.json` in an export or a run's `model/`: the task that the model was trained on.

With this file a model can predict without `--task`. Folders of earlier versions have none.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ke_t5.errors import Exit, UserError
from ke_t5.files import write_json

RECORD = "ke_t5.json"


@dataclass(frozen=True)
class TaskRecord:
    """The content of `ke_t5.json`.

    Attributes:
        task: the name of the task or mixture.
        form: see `ke_t5.forms`.
        model_class: module:Class.
        members: task -> {"sequence_length": in tokens, "generation": how predictions are made,
            "prefix": text before its inputs, if any}; one entry for each task of a mixture.
        own_data: columns, labels and so on of the user's own data; None for a registered task.
        modules: the user's modules, from `--module_import`.
        versions: versions of Python and the libraries.
    """

    task: str
    form: str
    model_class: str
    members: Mapping[str, Mapping[str, Any]]
    own_data: Mapping[str, Any] | None = None
    modules: tuple[str, ...] = ()
    versions: Mapping[str, Any] = field(default_factory=dict)

    def prefix_of(self, task: str) -> tuple[str, ...]:
        """The prefixes of a task's inputs; for a task that is not a member, the first member's."""
        first = next(iter(self.members.values()), {})
        return tuple(self.members.get(task, first).get("prefix") or ())

    def write(self, folder: Path) -> None:
        """Writes the file into a folder."""
        write_json(folder / RECORD, {"format": 1, **asdict(self)})


# Keys that must be there, and their types.
_REQUIRED = {"task": str, "form": str, "model_class": str, "members": dict}
_OPTIONAL = {"own_data": dict, "modules": list, "versions": dict}


def read_record(folder: Path) -> TaskRecord | None:
    """The task record of a folder; None for one of an earlier version or another program.

    Raises:
        UserError: the file is damaged.
    """
    file = folder / RECORD
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise _damaged(file, f"cannot be read ({error!s:.80})") from error
    if not isinstance(content, dict):
        raise _damaged(file, "it is not a record of a task")
    for name, kind in _REQUIRED.items():
        if not isinstance(content.get(name), kind):
            raise _damaged(file, f"{name} is {content.get(name)!r:.40}")
    for name, kind in _OPTIONAL.items():
        if not isinstance(content.get(name), (kind, type(None))):
            raise _damaged(file, f"{name} is {content[name]!r:.40}")
    if not all(isinstance(member, dict) for member in content["members"].values()):
        raise _damaged(file, "members are not records")
    for member in content["members"].values():
        prefix = member.get("prefix", [])
        if not isinstance(prefix, list) or not all(isinstance(one, str) for one in prefix):
            raise _damaged(file, f"prefix is {prefix!r:.40}")
    return TaskRecord(
        **{name: content[name] for name in _REQUIRED},
        own_data=content.get("own_data"),
        modules=tuple(map(str, content.get("modules") or ())),
        versions=content.get("versions") or {},
    )


def _damaged(file: Path, what: str) -> UserError:
    fix = "restore it, or remove it and name the task with --task"
    return UserError(what, str(file), fix, Exit.CHECKPOINT)
