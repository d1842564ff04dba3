"""Tasks: a source, the steps from rows to examples, and how predictions become scores."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Generic, TypeVar

from ke_t5.config.configurable import configurable
from ke_t5.config.ranges import Count, check_values
from ke_t5.errors import Exit, UserError, suggestion
from ke_t5.forms import DEFAULT_FORM, FORMS
from ke_t5.pipe.cache import Folders
from ke_t5.pipe.examples import Examples
from ke_t5.pipe.features import Feature
from ke_t5.pipe.monitor import Monitor
from ke_t5.pipe.prefixes import PREFIX, check_prefix, normalized, prefixes_of, with_prefixes
from ke_t5.pipe.preparation import Preparation, prepare
from ke_t5.pipe.preprocessors import Example
from ke_t5.pipe.rows import Rows
from ke_t5.pipe.sources import DataSource
from ke_t5.pipe.splits import HELD_IN, HELD_OUT, resolve_split
from ke_t5.pipe.stored_splits import stored_examples
from ke_t5.registry import Registry, check_plain

if TYPE_CHECKING:
    import datasets
    import numpy as np

T = TypeVar("T")


@dataclass(frozen=True)
class Defaults:
    """A task's defaults, which flags and gin override.

    Attributes:
        batch_size: rows per batch.
        epochs: epochs of a training.
        sequence_length: tokens of `inputs` and `targets`.
        generate: arguments of `generate`.
        model_fn: the method for predictions (see `EvaluationHelper`); default: by the form.
    """

    batch_size: int = 32
    epochs: int = 4
    sequence_length: Mapping[str, int] = field(
        default_factory=lambda: {"inputs": 512, "targets": 512}
    )
    generate: Mapping[str, Any] = field(default_factory=dict)
    model_fn: str | None = None


@dataclass(frozen=True)
class Task:
    """A benchmark, in one form.

    Attributes:
        name: the value of `--task`.
        source: where the rows come from.
        preprocessors: steps from rows to examples (see `pipe.preprocessors`).
        output_features: the columns that the model sees, by name.
        form: what the model computes, one of `ke_t5.forms.FORMS`.
        metric_fns: functions (targets, predictions[, scores]) -> {name: value x 100} over the
            whole split.
        best: the metric that picks the best checkpoint, and its mode.
        decode: (outputs, examples) -> (prediction, scores): turns the model outputs of one row (one
            per window) into a prediction of the gold's type; scores may be None. The prediction is
            None if the output cannot be parsed ("unparsable").
        target: example -> the gold; None if the row has no label.
        inputs: example -> the row's text, for display.
        keep: other columns that decode, target and inputs need, as a schema in plain words.
        without_kept: what is scored instead if these are dropped (`--pass_only_model_io`), for
            display; the scores are then named `model_io_*`. Empty if nothing changes.
        input_columns: columns of a row from which the model's input is made; empty: unknown.
        label_columns: columns of the gold, which rows to predict lack.
        labels: id -> label name, for models with labels.
        problem_type: as in transformers' configuration ("regression", ...).
        model_config: values of a new model's configuration, for the names that it knows.
        loss_reduction: what the loss is a mean over, "rows", "label_tokens" or "start_end";
            default: the form's.
        row_checks: functions (dataset, where) that reject bad rows before a tokenizer is loaded.
        defaults: default settings.
        variants: other form -> the fields that differ in it.
    """

    name: str
    source: DataSource
    preprocessors: Sequence[Callable]
    output_features: Mapping[str, Feature]
    form: str = DEFAULT_FORM
    metric_fns: Sequence[Callable[..., dict[str, float]]] = ()
    best: Monitor | None = None
    decode: Callable[[list[dict], list[Example]], tuple[Any, Any]] | None = None
    target: Callable[[Example], Any] | None = None
    inputs: Callable[[Example], str] | None = None
    keep: Mapping[str, Any] = field(default_factory=dict)
    without_kept: str = ""
    input_columns: tuple[str, ...] = ()
    label_columns: tuple[str, ...] = ()
    labels: tuple[str, ...] | None = None
    problem_type: str | None = None
    model_config: Mapping[str, Any] = field(default_factory=dict)
    loss_reduction: str = ""
    row_checks: Sequence[Callable[[datasets.Dataset, str], None]] = ()
    defaults: Defaults = field(default_factory=Defaults)
    variants: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    # (split, key) of rows that passed `row_checks`: a start loads them several times.
    _checked: set[tuple[str, str]] = field(
        default_factory=set, init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        check_plain(self.name, "task")
        for form in self.forms:
            if form not in FORMS:
                forms = tuple(FORMS)
                raise ValueError(f"task {self.name!r}: form {form!r} is not one of {forms}")
        if not self.loss_reduction:
            object.__setattr__(self, "loss_reduction", FORMS[self.form].loss_reduction)
        clash = set(self.keep) & set(self.output_features)
        if clash:
            raise ValueError(f"task {self.name!r}: {clash} are both model columns and kept columns")

    @property
    def forms(self) -> tuple[str, ...]:
        """The forms that the task can take, its own first."""
        return (self.form, *self.variants)

    @property
    def members(self) -> tuple[Task, ...]:
        """The task itself; a mixture has several."""
        return (self,)

    def in_form(self, form: str) -> Task:
        """The task in another of its `forms`."""
        if form == self.form:
            return self
        return dataclasses.replace(self, form=form, variants={}, **self.variants[form])

    @property
    def prefixes(self) -> tuple[str, ...]:
        """The prefixes of its texts, one for all or one for each; () for none."""
        return prefixes_of(self.preprocessors)

    def with_prefix(self, prefix: str | Sequence[str]) -> Task:
        """The task with a prefix before its texts: one for all, or two for the texts of a pair.

        Raises:
            UserError: its texts do not support prefixes.
        """
        prefixes = normalized(prefix)
        if prefixes == self.prefixes:
            return self
        steps = with_prefixes(self.preprocessors, prefixes)
        if not steps:
            what = f"{self.name} marks positions in its texts, which do not support a prefix"
            raise UserError(what, PREFIX, "remove it")
        return dataclasses.replace(self, preprocessors=steps)

    def rows(self, split: str, folders: Folders) -> Rows:
        """The checked raw rows of one whole split."""
        rows = self.source.rows(split, folders)
        if (split, rows.key) not in self._checked:
            for check in self.row_checks:
                check(rows.dataset, f"task {self.name!r}, split {split!r}")
            self._checked.add((split, rows.key))
        return rows

    def get_dataset(
        self,
        split: str,
        *,
        folders: Folders,
        sequence_length: Mapping[str, int] | None = None,
        num_proc: int = 1,
    ) -> Examples:
        """The examples of a split expression such as `train[:90%]+validation`.

        Args:
            split: a split, a slice of one, or a sum of these.
            folders: the folders of raw releases and of cached examples.
            sequence_length: tokens of `inputs` and `targets`; default: the task's own.
            num_proc: number of processes that prepare examples that are not in the cache.
        """
        sequence_length = {**self.defaults.sequence_length, **(sequence_length or {})}
        slices = resolve_split(split, self.source, folders, self.rows)
        by_slice = [
            self._examples(
                Preparation(
                    self.name, name, self.preprocessors, self.output_features, self.keep,
                    sequence_length, num_proc,
                ),
                ids, folders, offset=offset, spec=split,
            )
            for name, ids, offset in slices
        ]  # fmt: skip
        examples = by_slice[0] if len(by_slice) == 1 else Examples.concatenate(by_slice)
        if len(examples) == 0:
            counts = ", ".join(
                f"{name}: {len(ids)} of {len(self.rows(name, folders).dataset)} rows"
                for name, ids, _ in slices
            )
            fix = "choose a slice with rows"
            if split in (HELD_IN, HELD_OUT):
                fix = "give more rows, or some to validate on (--valid_file or --valid_split)"
            raise UserError(
                f"contains no examples ({counts})",
                f"split {split!r} of task {self.name!r}", fix, Exit.DATA,
            )  # fmt: skip
        return examples

    def _examples(
        self,
        preparation: Preparation,
        ids: range | np.ndarray,
        folders: Folders,
        *,
        offset: int,
        spec: str,
    ) -> Examples:
        prepared = prepare(preparation, self.rows(preparation.split, folders), folders)
        if prepared is None:
            return Examples.empty(self.output_features)
        whose = [spec, self.source.group or ""]
        features = self.output_features
        return stored_examples(
            folders.cache, prepared, features, ids, id_offset=offset, whose=whose
        )


class TaskTable(Generic[T]):
    """A registry of possible values of `--task`."""

    registry: Registry[T]

    @classmethod
    def get(cls, name: str) -> T:
        """The entry of that name; an unknown name is a UserError with similar names."""
        return cls.registry.get(name, f"--task {name!r}")

    @classmethod
    def names(cls) -> list[str]:
        """All names, sorted."""
        return cls.registry.names()


class TaskRegistry(TaskTable[Task]):
    """All tasks by name."""

    registry = Registry(
        "task", "python -m ke_t5.task.task lists them all; --module_import adds your own"
    )

    @classmethod
    def add(cls, name: str, *args: Any, **settings: Any) -> Task:
        """Registers `Task(name, ...)`; raises ValueError if the name is taken."""
        return cls.registry.add(name, Task(name, *args, **settings))


def check_lengths(lengths: Mapping[str, object]) -> None:
    """Raises ValueError("what; fix") for an unknown key or an invalid length."""
    known = ("inputs", "targets")
    for name, length in lengths.items():
        if name not in known:
            raise ValueError(f"has an unknown key {name!r}; {suggestion(str(name), known)}")
        if type(length) is not int or length < 1:
            raise ValueError(
                f"is {length!r} for {name!r}; give a whole number of tokens, 1 or more"
            )


@dataclass(frozen=True)
class DatasetSettings:
    """How a task's examples are made.

    Attributes:
        sequence_length: {"inputs": tokens, "targets": tokens}; default: the task's own.
        prefix: the prefix of each text, such as "query: ", or two for the texts of a pair.
        num_proc: number of processes that prepare examples that are not in the cache; the examples
            do not depend on it.
    """

    sequence_length: dict[str, int] | None
    prefix: str | Sequence[str] | None
    num_proc: int = 1


@configurable("get_dataset", module="ke_t5.pipe.task")
def dataset_settings(
    sequence_length: Annotated[dict, check_lengths] | None = None,
    prefix: Annotated[str | Sequence[str], check_prefix] | None = None,
    num_proc: Count = 1,
) -> DatasetSettings:
    """The settings bound to gin's `get_dataset`."""
    values = {"sequence_length": sequence_length, "prefix": prefix, "num_proc": num_proc}
    check_values("get_dataset", dataset_settings, values)
    return DatasetSettings(sequence_length, prefix, num_proc)


def get_dataset(
    task: Task,
    split: str,
    *,
    folders: Folders,
    sequence_length: dict[str, int] | None = None,
) -> Examples:
    """The examples of one split of a task; lengths come from the argument, gin or the task, in this
    order, and prefixes and processes from gin."""
    given: dict[str, Any] = {} if sequence_length is None else {"sequence_length": sequence_length}
    settings = dataset_settings(**given)
    if settings.prefix is not None:
        task = task.with_prefix(settings.prefix)
    lengths, num_proc = settings.sequence_length, settings.num_proc
    return task.get_dataset(split, folders=folders, sequence_length=lengths, num_proc=num_proc)
