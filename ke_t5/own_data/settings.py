"""The settings of own data, from flags, gin, the files, and the run or export in use."""

from __future__ import annotations

import logging
import os
from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from ke_t5.config.configurable import configurable
from ke_t5.config.precedence import first_set
from ke_t5.config.ranges import Text
from ke_t5.errors import Exit, UserError, suggestion
from ke_t5.own_data.columns import (
    chosen_choices,
    chosen_columns,
    flag_of,
    require_column,
    require_distinct,
)
from ke_t5.own_data.rows import files_of
from ke_t5.own_data.source import FLAGS, with_labels
from ke_t5.own_data.spec import OF_FILE, ROLES, SEPARATOR, SPLITS, OwnData
from ke_t5.own_data.tagged import conll_columns, is_conll
from ke_t5.pipe.cache import Folders, default_cache_dir
from ke_t5.readers.table_files import check_options, columns

if TYPE_CHECKING:
    from ke_t5.config.gin_config import Configuration

logger = logging.getLogger(__name__)

FILE_FLAGS = {split: flag.removeprefix("--") for split, flag in FLAGS.items()}
COLUMN_FLAGS = {role: f"{role}_column" for role in ("text", "text_pair", "label")}
# The folder of free text below --hf_data_dir.
FREE_TEXT = "free_text"
# Column names of the optional second text of a choice.
QUESTIONS = ("question", "질문")
# Kinds with one text -> kinds with two texts and the same labels.
OF_PAIRS = {"classification": "pair_classification", "regression": "similarity"}
# Kinds whose files are not tables with a text and a label in each row.
UNSKIPPED = ("tagging", "reading", "span_corruption_ko")
ALL_FLAGS = (*FILE_FLAGS.values(), *COLUMN_FLAGS.values(), "choice_columns")


def _check_splits(value: Mapping[str, str]) -> None:
    """Raises ValueError("what; fix") for a mapping whose keys are not names of splits."""
    unknown = next((split for split in value if split not in SPLITS), None)
    if unknown is not None:
        fix = suggestion(unknown, SPLITS)
        raise ValueError(f"names {unknown!r:.40}, which is not a split; {fix}")


OneOrBySplit = Text | Annotated[dict[str, Text], _check_splits]


@configurable("own_data", module="ke_t5.own_data")
def own_data_settings(
    *,
    train_file: Text | None = None,
    valid_file: Text | None = None,
    test_file: Text | None = None,
    text_column: Text | None = None,
    text_pair_column: Text | None = None,
    label_column: Text | None = None,
    choice_columns: Text | None = None,
    encoding: OneOrBySplit | None = None,
    sheet: OneOrBySplit | None = None,
    separator: Text | None = None,
    skip_empty: bool | None = None,
) -> dict[str, Any]:
    """The gin bindings of `own_data` by name; None for those not set.

    Args:
        train_file: as `--train_file`, which takes precedence; likewise the other files and columns.
        encoding: Python's name for the encoding of text files, or one for each split:
            {'train': 'cp949', 'test': 'utf-8'}; default: detected.
        sheet: name of the sheet of a workbook, or one for each split; default: the first.
        separator: the separator between the labels in a cell, for multilabel; default: a comma.
        skip_empty: skip rows without a text or label instead of raising an error; not for tagging,
            reading and span_corruption_ko.
    """
    return dict(locals())


def load_own_data(
    task: str,
    *,
    cache: Path | None = None,
    files: Mapping[str, str],
    columns: Mapping[str, str] | None = None,
    choice_columns: str | None = None,
    **options: Any,
) -> OwnData:
    """Own data for a task, with labels and missing columns determined from its training file.

    Args:
        task: one of `spec.KIND_OF`.
        cache: the folder of prepared data; default: the usual one.
        files: split -> file; "train" is required.
        columns: role -> column, for columns that cannot be guessed from the header.
        choice_columns: the columns of the choices, comma-separated.
        options: further fields of `OwnData`; `encoding` and `sheet` may be dicts by split.

    Raises:
        UserError: the settings or the training file are invalid; names the file and line.
    """
    by_split = {name: options.pop(name) for name in OF_FILE if isinstance(options.get(name), dict)}
    own = OwnData(task, dict(files), by_split=by_split, **options)
    check_options(files.values(), prefix="own_data.", encoding=own.encoding, sheet=own.sheet)
    _check_by_split(own)
    if own.separator != SEPARATOR and own.kind != "multilabel":
        what = f"{own.task} has one label per row"
        fix = "drop it, or use --task multilabel"
        raise UserError(what, f"own_data.separator {own.separator!r:.40}", fix)
    if own.skip_empty and own.kind in UNSKIPPED:
        raise UserError(f"{own.task} skips no rows", "own_data.skip_empty True", "drop it")
    own = _with_columns(own, dict(columns or {}), choice_columns)
    folders = Folders(None, cache or default_cache_dir())
    return with_labels(own, folders, name=task)


def _check_by_split(own: OwnData) -> None:
    """Raises UserError for an option of a split that does not apply to its file."""
    for name, each in own.by_split.items():
        for split, value in each.items():
            if split in own.files:
                given = {"encoding": None, "sheet": None, name: value}
                check_options([own.files[split]], prefix="own_data.", **given)
            elif split != "test":  # that file may be given to a test of the trained model
                where = f"own_data.{name} {dict(each)!r:.60}"
                raise UserError(
                    f"{split} has no file", where, f"add {FLAGS[split]} FILE, or drop it"
                )


def _with_columns(own: OwnData, given: dict[str, str], choices: str | None) -> OwnData:
    """The data with its columns and choices."""
    path = Path(own.files["train"])
    if own.kind != "choice":
        if choices:
            what, where = f"{own.task} has no choices", f"--choice_columns {choices!r:.60}"
            raise UserError(what, where, "drop it, or use --task choice")
        return own.replace(columns=_columns_of(own, given))
    one = own.for_split("train")
    names = columns(path, encoding=one.encoding, sheet=one.sheet)
    own = own.replace(choices=chosen_choices(path, names, choices))
    require_distinct(path, given, own.choices)
    pair = given.pop("text_pair", None)
    if pair is not None:
        require_column(path, names, pair, "text_pair")
    taken = (*own.choices, *([pair] if pair else []))
    found = _columns_of(own, given, but=taken)
    left = [name for name in names if name not in (*taken, *found.values())]
    pair = pair or next((name for name in left if name.casefold() in QUESTIONS), None)
    asked = f"; question: {pair!r} (--text_pair_column)" if pair else ""
    shown = ", ".join(map(repr, own.choices))
    logger.info("%s: choices: %s (--choice_columns: others)%s", path, shown, asked)
    return own.replace(columns={**found, **({"text_pair": pair} if pair else {})})


def _columns_of(own: OwnData, given: dict[str, str], but: Sequence[str] = ()) -> dict[str, str]:
    """Role -> column of the training file; logs guesses.

    Args:
        but: columns that have another role.
    """
    path, roles = Path(own.files["train"]), ROLES[own.kind]
    own = own.for_split("train")
    if own.kind == "multilabel" and "text_pair" in given:
        roles = ROLES["pair_classification"]
    extra = [role for role in given if role not in roles]
    if extra:
        what = f"{own.task} has no such column" if roles else f"{own.task} has columns of its own"
        fix = "drop it"
        if extra[0] == "text_pair" and own.kind in OF_PAIRS:
            fix += f", or use --task {own.task.replace(own.kind, OF_PAIRS[own.kind])}"
        raise UserError(what, f"{flag_of(extra[0])} {given[extra[0]]!r:.60}", fix)
    if not roles:
        return {}
    if own.kind == "tagging" and is_conll(path):
        names = conll_columns(path, own.encoding)
        given = {"text": names[0], "label": names[-1], **given}
        return chosen_columns(path, names, roles, given, kind=own.kind)
    first, *_ = files_of(own.kind, path)
    names = columns(first, encoding=own.encoding, sheet=own.sheet)
    names = [name for name in names if name not in but]
    chosen = chosen_columns(path, names, roles, given, kind=own.kind)
    guessed = [role for role in roles if role not in given]
    if guessed:
        shown = ", ".join(f"{role} {chosen[role]!r}" for role in roles)
        flags = ", ".join(map(flag_of, guessed))
        logger.info("%s: columns: %s (%s: others)", path, shown, flags)
    return chosen


def own_data_for(
    task: str,
    flags: Namespace,
    gin: Configuration,
    *,
    folders: Folders,
    stored: OwnData | None,
) -> OwnData:
    """The own data of a run, from flags and gin, and from the run or export in use.

    Args:
        task: one of `KIND_OF`.
        stored: the own data of the run or export in use; None for a new run.

    Raises:
        UserError: no file is given, a file has faults, or flags contradict the stored data.
    """
    given = _given(flags, gin)
    files = {
        split: os.path.expanduser(given.pop(flag))
        for split, flag in FILE_FLAGS.items()
        if given.get(flag)
    }
    asked = {role: given.pop(flag) for role, flag in COLUMN_FLAGS.items() if given.get(flag)}
    options = {name: value for name, value in given.items() if value is not None}
    if stored is not None:
        is_new_test = "test" in files and not hasattr(flags, "epochs")
        of_test = _of_new_test(stored, options) if is_new_test else {}
        _check_same(stored, asked, options, flags)
        if of_test:
            encoding, sheet = map(of_test.get, OF_FILE)
            check_options([files["test"]], prefix="own_data.", encoding=encoding, sheet=sheet)
        by_split = {**stored.by_split}
        for name, value in of_test.items():
            by_split[name] = {**by_split.get(name, {}), "test": value}
        return stored.replace(task=task, files={**stored.files, **files}, by_split=by_split)
    if "train" not in files and (texts := _free_text(task, folders)):
        files["train"] = str(texts)
    if "train" not in files:
        what, fix = "it needs a file of your own data", "add --train_file FILE"
        if not hasattr(flags, "epochs"):  # a test, whose labels are those of the training
            what = "it needs its training run or an export of it"
            fix = "add --hf_path EXPORT, or --pre_trained_model and --output_dir as in the training"
        raise UserError(what, f"--task {flags.task}", fix)
    return load_own_data(task, cache=folders.cache, files=files, columns=asked, **options)


def _of_new_test(stored: OwnData, options: dict[str, Any]) -> dict[str, str]:
    """Encoding and sheet of a new test file, removed from the options unless they contradict the
    stored ones of another split."""
    found = {}
    for name in OF_FILE:
        value = options.get(name)
        each: Mapping[str, Any] = value if isinstance(value, dict) else {"test": value}
        others = {split: one for split, one in each.items() if split != "test"}
        if any(getattr(stored.for_split(split), name) != one for split, one in others.items()):
            continue
        options.pop(name, None)
        if each.get("test") is not None:
            found[name] = each["test"]
    return found


def _free_text(task: str, folders: Folders) -> Path | None:
    """The default folder of free text, if it exists; None for other tasks."""
    if task != "span_corruption_ko" or folders.data is None:
        return None
    texts = folders.data / FREE_TEXT
    if not texts.is_dir():
        return None
    logger.info("reading the texts of %s (--train_file: others)", texts)
    return texts


def _given(flags: Namespace, gin: Configuration) -> dict[str, Any]:
    """The setting of each name from flags, then gin; logs gin values overridden by a flag."""
    bound = own_data_settings()
    values = {name: first_set(getattr(flags, name, None), default=bound[name]) for name in bound}
    for name, value in values.items():
        note = gin.conflict(f"own_data.{name}", value, flags.given.get(name, ""))
        if name in flags.given and note is not None:
            logger.warning(note)
    return values


def _check_same(
    stored: OwnData, asked: Mapping[str, str], options: Mapping[str, Any], flags: Namespace
) -> None:
    """Raises UserError for a column or option that differs from the stored one."""
    options = {**options}
    if "choice_columns" in options:
        options["choices"] = [name.strip() for name in options.pop("choice_columns").split(",")]
    before = {**stored.to_json(), **stored.by_split}
    before |= {COLUMN_FLAGS[role]: x for role, x in stored.columns.items()}
    now = {**options, **{COLUMN_FLAGS[role]: column for role, column in asked.items()}}
    for name, value in now.items():
        if before.get(name) != value:
            where = flags.given.get(name, f"own_data.{name} = {value!r:.60}")
            had = f"the run began with {before[name]!r:.60}" if before.get(name) else "it had none"
            fix = "drop it, or begin a new run without --resume"
            raise UserError(had, where, fix, Exit.CHECKPOINT)


def refuse_own_data(flags: Namespace) -> None:
    """Raises UserError for a flag of own data with a task that has its own data."""
    name = next((name for name in ALL_FLAGS if getattr(flags, name, None)), None)
    if name is not None:
        kinds = "classification, regression, tagging, reading, text2text, ..."
        fix = f"choose a task for your own data: --task {kinds}"
        what = f"--task {flags.task} has data already"
        raise UserError(what, flags.given[name], fix)
