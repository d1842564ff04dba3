"""From rows to examples: a task's steps in one map, checked, and cached on disk under a key."""

from __future__ import annotations

import functools
import gc
import logging
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from ke_t5.class_numbers import with_names
from ke_t5.config import bindings
from ke_t5.errors import Exit, UserError, counted
from ke_t5.pipe.arrow_files import in_background, new_table, packed
from ke_t5.pipe.cache import DATA_FILE, Folders, build_once, make_key, package_version
from ke_t5.pipe.code import find_module, is_users_own
from ke_t5.pipe.column_files import save_array, write_columns
from ke_t5.pipe.features import Feature, Numbers, check_batch, feature_key
from ke_t5.pipe.forked import in_order
from ke_t5.pipe.preprocessors import LOST, OF, Batch, inject, is_mapped, run_steps, step_name
from ke_t5.pipe.rows import ROW_ID, ROWS_AT_ONCE, Rows, arrow_features, open_table
from ke_t5.registry import check_plain

if TYPE_CHECKING:
    import datasets
    import numpy as np

# Where errors of steps say that they occurred.
STEPS = ("rekey", "tokenize", "step ")
# In the folder of prepared examples: the file of their row ids, and an entry of its `info.json`.
IDS_FILE, COLUMNS = "ids.npy", "columns"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Preparation:
    """How the rows of one split become examples.

    Attributes:
        task: the task's name, for messages and folder names.
        split: the split's name, likewise.
        preprocessors: the steps in order.
        output_features: the columns that the model sees.
        keep: other columns to keep, as a schema in plain words.
        sequence_length: tokens of `inputs` and `targets`.
        num_proc: number of processes; the examples do not depend on it.
    """

    task: str
    split: str
    preprocessors: Sequence[Callable]
    output_features: Mapping[str, Feature]
    keep: Mapping[str, Any]
    sequence_length: Mapping[str, int]
    num_proc: int = 1

    def key(self, rows: Rows) -> str:
        """A hash over all that the examples of these rows depend on."""
        features = {name: feature_key(one) for name, one in self.output_features.items()}
        return make_key(
            [rows.key, package_version(), list(self.preprocessors),
             sorted(self.sequence_length.items()), features, dict(self.keep),
             _library_versions(), _users_bindings()]
        )  # fmt: skip

    def steps(self) -> tuple[list[Callable], list[Callable]]:
        """The steps up to the last that needs a data set, and the rest, which share one map."""
        steps = [
            inject(step, sequence_length=self.sequence_length, output_features=self.output_features)
            for step in self.preprocessors
        ]
        last = len(steps)
        while last > 0 and is_mapped(steps[last - 1]):
            last -= 1
        return steps[:last], steps[last:]

    @property
    def where(self) -> str:
        """The task and the split, for messages."""
        return f"task {self.task!r}, split {self.split!r}"


class Prepared(NamedTuple):
    """Examples in the cache: their data set, key, folder and the folder's info."""

    dataset: datasets.Dataset
    key: str
    folder: Path
    info: Mapping[str, Any]


def prepare(preparation: Preparation, rows: Rows, folders: Folders) -> Prepared | None:
    """The examples of all these rows, built first if they are not in the cache; None if there are
    none.

    Raises:
        UserError: an example does not match the task's features.
    """
    key = preparation.key(rows)
    check_plain(preparation.split, "split")
    folder = folders.cache / "examples" / preparation.task / f"{preparation.split}-{key}"

    def build(temporary: Path) -> dict[str, Any]:
        num_rows = len(rows.dataset)
        name = f"{preparation.task} {preparation.split}"
        logger.info("%s: preparing %s", name, counted(num_rows, "row"))
        with _few_collections(), _over_dataset(preparation, rows.dataset, key) as dataset:
            examples = _write(preparation, dataset, file=temporary / DATA_FILE, key=key)
        info = {"rows": len(rows.dataset), "rows_key": rows.key}
        if examples is None:
            return {**info, "examples": 0}
        table = examples.data
        names = [name for name in preparation.output_features if name in table.column_names]
        save_array(temporary / IDS_FILE, _ids(table, num_rows, where=preparation.where))
        columns = write_columns(temporary, table, names)
        return {**info, "examples": len(examples), COLUMNS: columns}

    if len(rows.dataset) == 0:
        return None
    info = build_once(folder, build)
    if info["examples"] == 0:
        return None
    return Prepared(open_table(folder / DATA_FILE), key, folder, info)


def prepare_rows(preparation: Preparation, rows: Sequence[Mapping[str, Any]]) -> datasets.Dataset:
    """The examples of a few rows with their `_id`, made in memory without a cache.

    Raises:
        UserError: a row is not what the steps expect.
    """
    import datasets

    over_dataset, over_batches = preparation.steps()
    batch = {name: [row[name] for row in rows] for name in rows[0]}
    if over_dataset:
        dataset = datasets.Dataset.from_dict(batch)
        for step in over_dataset:
            dataset = _applied(step, dataset, where=preparation.where)
        batch = dataset[:]
    examples = _finisher(preparation, run_steps(over_batches))(batch).batch
    return datasets.Dataset.from_dict(examples, features=_arrow_features(preparation, examples))


def _users_bindings() -> list[str]:
    """The gin bindings of the user's functions, which may be steps or be called by steps."""
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


@contextmanager
def _few_collections() -> Iterator[None]:
    """A context with rare garbage collections that skip existing objects: each batch of rows makes
    thousands of lists, and collecting would take as long as everything else."""
    thresholds = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(max(100_000, thresholds[0]), *thresholds[1:])
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)
        gc.unfreeze()


def _ids(table: Any, num_rows: int, *, where: str) -> np.ndarray:
    """The `_id` of each example; a UserError if one is not that of a row of the split."""
    column = table.column(ROW_ID)
    ids = column.to_numpy()
    if column.null_count or ids.min() < 0 or ids.max() >= num_rows:
        what = f"the preprocessors return examples whose {ROW_ID!r} is none of the split's rows"
        raise UserError(what, where, f"give each the {ROW_ID!r} of a row", Exit.DATA)
    return ids


@contextmanager
def _over_dataset(
    preparation: Preparation, dataset: datasets.Dataset, key: str
) -> Iterator[datasets.Dataset]:
    """A context with the rows after the steps that need a data set.

    datasets caches the results of such steps in files beside the rows, by the fingerprint of the
    rows and the names of the step's functions, so that they may be stale. With the examples' key as
    the fingerprint none are found; the files in our folder of rows are removed on exit.
    """
    import datasets

    steps = preparation.steps()[0]
    if not steps:
        yield dataset
        return
    folders = {Path(file["filename"]).parent for file in dataset.cache_files}
    own = [folder for folder in folders if (folder / DATA_FILE).exists()]
    made: set[Path] = set()
    dataset = datasets.Dataset(
        dataset.data, info=dataset.info, split=dataset.split, fingerprint=key
    )
    try:
        for step in steps:
            dataset = _applied(step, dataset, where=preparation.where)
            made |= {Path(file["filename"]) for file in dataset.cache_files}
        yield dataset
    finally:
        for file in made:
            if file.parent in own and file.name != DATA_FILE:
                file.unlink(missing_ok=True)


def _applied(step: Callable, dataset: datasets.Dataset, *, where: str) -> datasets.Dataset:
    """The data set that a step makes of another; a UserError if it returns anything else."""
    import datasets

    made = step(dataset)
    if not isinstance(made, datasets.Dataset):
        what = f"returns {type(made).__name__}, expected a data set"
        raise UserError(what, f"{where}, {step_name(step)}", "return the data set", Exit.DATA)
    return made


def _write(
    preparation: Preparation, dataset: datasets.Dataset, *, file: Path, key: str
) -> datasets.Dataset | None:
    """Writes the examples of a data set to `file` with the steps that share one map; returns the
    examples, None if there are none."""
    import datasets
    from datasets.utils import tqdm

    _, over_batches = preparation.steps()
    run, features, where = run_steps(over_batches), dataset.features, preparation.where
    finish = _finisher(preparation, lambda batch: run(with_names(batch, features)))
    finish = _naming_rows(finish, dataset, where=where)
    starts = range(0, len(dataset), ROWS_AT_ONCE)
    columns = functools.partial(_columns, finish, dataset)
    bar = tqdm(desc=f"{preparation.task} {preparation.split}", total=len(dataset), unit=" examples")
    with bar:
        # The first batch with an example determines the columns.
        found = ((i, batch) for i, batch in enumerate(map(columns, starts)) if batch is not None)
        number, first = next(found, (0, None))
        if first is None:
            return None
        kinds = _arrow_features(preparation, first)
        with new_table(file, kinds, where=where, fingerprint=key) as append:
            append(first)
            bar.update(min(ROWS_AT_ONCE * (number + 1), len(dataset)))
            num_proc, rest = preparation.num_proc, starts[number + 1 :]
            work = functools.partial(_packed, columns, kinds, where=where)
            batches = in_order(columns if num_proc == 1 else work, rest, num_proc, where=where)
            # Tokenizing releases Python's lock, so that a batch can be written meanwhile.
            with closing(batches), in_background(append) as append_later:
                for batch in batches:
                    if batch is not None:
                        append_later(batch)
                    bar.update(min(ROWS_AT_ONCE, len(dataset) - bar.n))
    return datasets.Dataset.from_file(str(file))


def _columns(
    finish: Callable[[Batch], Finished], dataset: datasets.Dataset, start: int
) -> dict[str, Any] | None:
    """The columns of the examples of a batch of rows; None if there are none."""
    batch, numbers = finish(cast(Batch, dataset[start : start + ROWS_AT_ONCE]))
    return {**batch, **numbers} if batch[ROW_ID] else None


def _packed(
    columns: Callable[[int], dict[str, Any] | None], kinds: Any, start: int, *, where: str
) -> bytes | None:
    batch = columns(start)
    return None if batch is None else packed(batch, kinds, where=where)


class Finished(NamedTuple):
    """A batch of examples, with its integer columns as `Numbers` too."""

    batch: Batch
    numbers: Mapping[str, Numbers]


def _finisher(
    preparation: Preparation, run: Callable[[Batch], Batch]
) -> Callable[[Batch], Finished]:
    """A function from a batch of rows to a checked batch of examples without other columns."""
    kept = [*preparation.keep, ROW_ID]
    features = preparation.output_features

    def finish(rows: Batch) -> Finished:
        batch = run(rows)
        if not batch:
            return Finished({ROW_ID: []}, {})
        numbers = check_batch(batch, features, kept, where=preparation.where)
        lost = [name for name in batch if name.startswith((LOST, OF))]
        columns = [*features, *kept, *lost]
        whole = {
            name: column
            for name, column in numbers.items()
            if features[name].dtype.startswith("int")
        }
        return Finished({name: batch[name] for name in columns if name in batch}, whole)

    return finish


def _naming_rows(
    finish: Callable[[Batch], Finished], dataset: datasets.Dataset, *, where: str
) -> Callable[[Batch], Finished]:
    """`finish` with errors that name task, split and row."""

    def named(rows: Batch) -> Finished:
        try:
            return finish(rows)
        except UserError as error:
            if not error.where.startswith(("row ", *STEPS)):
                raise
            place = f"{where}, {error.where}"
            raise UserError(error.what, place, error.fix, error.exit_code) from error
        except Exception as error:
            step, row = _users_line(error), _faulty_row(finish, rows)
            if step is None or row is None or _fails_always(finish, dataset):
                raise  # a bug in the user's module or in ours
            what = " ".join(f"{type(error).__name__}: {error}".split())
            fault = UserError(
                f"{step} fails ({what:.80})", f"{where}, row {row}", "fix that row, or the step",
                Exit.DATA,
            )  # fmt: skip
            fault.keep_traceback = True
            raise fault from error

    return named


def _users_line(error: Exception) -> str | None:
    """`file:line` of the innermost call in a user's module; None if there is none."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if frame.filename.endswith(".py") and is_users_own(Path(frame.filename)):
            return f"{Path(frame.filename).name}:{frame.lineno}"
    return None


def _faulty_row(finish: Callable[[Batch], Finished], rows: Batch) -> int | None:
    """The `_id` of the first row for which `finish` fails; None if there is none."""
    for place, row in enumerate(rows[ROW_ID]):
        one = {name: column[place : place + 1] for name, column in rows.items()}
        if not _succeeds(finish, one):
            return row
    return None


def _fails_always(finish: Callable[[Batch], Finished], dataset: datasets.Dataset) -> bool:
    """Whether `finish` fails for each of the first rows."""
    return not any(_succeeds(finish, dataset[i : i + 1]) for i in range(min(len(dataset), 10)))


def _succeeds(finish: Callable[[Batch], Finished], rows: Batch) -> bool:
    try:
        finish(rows)
    except Exception:
        return False
    return True


def _arrow_features(preparation: Preparation, first: Batch) -> Any:
    """The types of the first batch's columns, for datasets."""
    import datasets

    schema: dict[str, Any] = {}
    for name in first:
        if name in preparation.output_features:
            feature = preparation.output_features[name]
            schema[name] = (feature.dtype, [feature.dtype], [[feature.dtype]])[feature.rank]
        elif name == ROW_ID:
            schema[name] = "int64"
        elif name.startswith((LOST, OF)):
            schema[name] = "int32"
        else:
            schema[name] = preparation.keep[name]
    return datasets.Features(arrow_features(schema))
