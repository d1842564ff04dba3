"""What a run says of its task, for those who load its model later (see `lookup.task_record`)."""

from __future__ import annotations

from typing import Any

from ke_t5.config.run_config import RunConfig
from ke_t5.lookup.task_record import TaskRecord
from ke_t5.own_data import own_data_of
from ke_t5.pipe import Mixture, Task
from ke_t5.recipes.record import versions
from ke_t5.seals import class_title


def task_record(config: RunConfig, model_class: type) -> TaskRecord:
    """The record of a run's task, with the lengths and the generation that are in force."""
    members = {}
    for task in config.task.members:
        generation = config.generation[task.name]
        members[task.name] = {
            "sequence_length": {**task.defaults.sequence_length, **(config.data.lengths or {})},
            # Not `asdict`, which cannot copy a read-only mapping.
            "generation": {**vars(generation), "model_kwargs": dict(generation.model_kwargs)},
        }
    return TaskRecord(
        config.task.name,
        config.task.form,
        class_title(model_class),
        members,
        own_data=recorded_own_data(config.task),
        modules=tuple(config.flags.get("module_import") or ()),
        versions=versions(),
    )


def recorded_own_data(task: Task | Mixture) -> dict[str, Any] | None:
    """How a task of own data was made, without the names of the files, which an export is not to
    give away; None for any other task."""
    own = own_data_of(task)
    return None if own is None else {**own.to_json(), "files": {}}
