"""From rows to examples: a task's steps in one map, checked, and kept on disk under a key."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ke_t5.class_numbers import with_names
from ke_t5.config import bindings
from ke_t5.pipe.cache import DATA_FILE, Folders, build_once, make_key, package_version
from ke_t5.pipe.code import find_module, is_users_own
from ke_t5.pipe.features import check_batch, feature_key
from ke_t5.pipe.preprocessors import LOST, OF, Batch, inject, is_mapped, run_steps
from ke_t5.pipe.rows import ROW_ID, Rows, arrow_features

if TYPE_CHECKING:
    import datasets

    from ke_t5.pipe.task import Task


def prepare(
    task: Task, rows: Rows, split: str, *, folders: Folders, sequence_length: Mapping[str, int]
) -> tuple[datasets.Dataset, str] | None:
    """A task's examples of all these rows and their key, made first if nobody has; None for none.

    Raises:
        UserError: an example breaks what the task's features promise.
    """
    import datasets

    key = _key(task, rows, sequence_length)
    folder = folders.cache / "examples" / task.name / f"{split}-{key}"

    def build(temporary: Path) -> dict[str, Any]:
        file = temporary / DATA_FILE
        num_examples = _make(
            task, rows.dataset, file=file, key=key, split=split, sequence_length=sequence_length
        )
        return {"rows": len(rows.dataset), "examples": num_examples, "rows_key": rows.key}

    if len(rows.dataset) == 0 or build_once(folder, build)["examples"] == 0:
        return None
    return datasets.Dataset.from_file(str(folder / DATA_FILE)), key


def _key(task: Task, rows: Rows, sequence_length: Mapping[str, int]) -> str:
    features = {name: feature_key(feature) for name, feature in task.output_features.items()}
    return make_key(
        [rows.key, package_version(), list(task.preprocessors),
         sorted(sequence_length.items()), features, dict(task.keep), _library_versions(),
         _users_bindings()]
    )  # fmt: skip


def _users_bindings() -> list[str]:
    """What gin binds in the user's own functions: a step may be one of them, or call one."""
    bound = bindings.bound()
    own = {key for key in bound if key[1] != bindings.MACRO and _is_own_configurable(key[1])}
    if own:
        own |= {key for key in bound if key[1] == bindings.MACRO}
    return [f"{key}: {sorted(bound[key].items())!r}" for key in sorted(own)]


def _is_own_configurable(selector: str) -> bool:
    module = find_module(bindings.configurable(selector).wrapped.__module__)
    return module is not None and module.file is not None and is_users_own(module.file)


@functools.cache
def _library_versions() -> tuple[str, ...]:
    from importlib.metadata import version

    return tuple(f"{name} {version(name)}" for name in ("datasets", "transformers", "tokenizers"))


def _make(
    task: Task,
    dataset: datasets.Dataset,
    *,
    file: Path,
    key: str,
    split: str,
    sequence_length: Mapping[str, int],
) -> int:
    """Writes the examples to `file`, unless there are none, and returns their number."""
    steps = [
        inject(step, sequence_length=sequence_length, output_features=task.output_features)
        for step in task.preprocessors
    ]
    last = len(steps)
    while last > 0 and is_mapped(steps[last - 1]):
        last -= 1
    for step in steps[:last]:
        dataset = step(dataset)
    run, features = run_steps(steps[last:]), dataset.features
    finish = _finisher(
        task,
        lambda batch: run(with_names(batch, features)),
        where=f"task {task.name!r}, split {split!r}",
    )
    alone = (finish(dataset[i : i + 1]) for i in range(len(dataset)))
    first = next((batch for batch in alone if batch[ROW_ID]), None)
    if first is None:
        return 0
    made = dataset.map(
        finish,
        batched=True,
        remove_columns=dataset.column_names,
        features=_arrow_features(task, first),
        cache_file_name=str(file),
        new_fingerprint=key,
        desc=f"{task.name} {split}",
    )
    return len(made)


def _finisher(task: Task, run: Callable[[Batch], Batch], *, where: str) -> Callable[[Batch], Batch]:
    """A function from a batch of rows to one of examples, checked, with no column too many."""
    kept = [*task.keep, ROW_ID]

    def finish(batch: Batch) -> Batch:
        made = run(batch)
        if not made:
            return {ROW_ID: []}
        check_batch(made, task.output_features, kept, where=where)
        lost = [name for name in made if name.startswith((LOST, OF))]
        return {n: made[n] for n in [*task.output_features, *kept, *lost] if n in made}

    return finish


def _arrow_features(task: Task, first: Batch) -> Any:
    import datasets

    kinds: dict[str, Any] = {}
    for name in first:
        if name in task.output_features:
            feature = task.output_features[name]
            kinds[name] = (feature.dtype, [feature.dtype], [[feature.dtype]])[feature.rank]
        elif name == ROW_ID:
            kinds[name] = "int64"
        elif name.startswith((LOST, OF)):
            kinds[name] = "int32"
        else:
            kinds[name] = task.keep[name]
    return datasets.Features(arrow_features(kinds))
