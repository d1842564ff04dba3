"""Tables loaded by the library `datasets`, from the hub or from files, and errors of loading.

Script data sets on the hub are read from the parquet copy that the hub makes of them.
"""

from __future__ import annotations

import errno
import glob
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ke_t5.errors import Exit, UserError
from ke_t5.hub import network_fault
from ke_t5.pipe.file_faults import BYTE_ORDER_MARK, encoding_fault
from ke_t5.readers.streams import listed

if TYPE_CHECKING:
    import datasets

CONVERTED = "refs/convert/parquet"
_SCRIPT = "scripts are no longer supported"
_SEPARATED = (".csv", ".tsv", ".txt")
_DATA_FILES = (*_SEPARATED, ".json", ".jsonl", ".parquet")


def load(function: Callable, path: str, config: str | None, **settings: Any) -> Any:
    """The result of `function`, `load_dataset` or `get_dataset_split_names` of `datasets`."""
    try:
        return function(path, config, **settings)
    except RuntimeError as error:
        if _SCRIPT not in str(error):
            raise
    folder = {"data_dir": config} if config else {}
    try:
        return function(path, revision=CONVERTED, **folder, **settings)
    except Exception as error:
        if network_fault(error) is not None:
            raise
        raise RuntimeError(
            "it is a script, which datasets no longer runs, and the hub has no parquet copy of it"
        ) from error


def unreadable(error: Exception, where: str, fix: str) -> Exception:
    """The UserError for an exception of `load`; a fault of the machine is returned unchanged."""
    if isinstance(error, UserError):
        return error
    cut_off = network_fault(error, where)
    if cut_off is not None:
        return cut_off
    cause: BaseException = error
    while _is_wrapper(cause) and (inner := cause.__cause__ or cause.__context__) is not None:
        cause = inner
    is_response = getattr(cause, "response", None) is not None
    if isinstance(cause, OSError) and cause.errno not in (None, errno.ENOENT) and not is_response:
        return cause
    lines = (str(cause).strip() or type(cause).__name__).splitlines()
    reason = (" ".join(lines) if lines[0].rstrip().endswith(":") else lines[0]).rstrip(".")
    reason = reason if len(reason) <= 100 else f"{reason[:97]}..."
    return UserError(f"cannot be read ({reason})", where, fix, Exit.DATA)


def _is_wrapper(error: BaseException) -> bool:
    """Whether datasets has wrapped an error in one that does not state the reason."""
    is_generation = type(error).__name__.startswith("DatasetGeneration")
    return is_generation or "split names could not be parsed" in str(error)


def hub_revision(path: str) -> str:
    """The commit of a data set on the hub; a UserError if the hub does not return it."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    try:
        revision = HfApi().dataset_info(path, timeout=10).sha
    except Exception as error:
        cut_off = network_fault(error, f"data set {path!r}")
        if cut_off is None and not isinstance(error, HfHubHTTPError):
            raise
        raise cut_off or UserError(
            f"the hub refused it ({str(error).splitlines()[0]})",
            f"data set {path!r}",
            "check the name, log in if it is gated, or put the raw release into --hf_data_dir",
            Exit.DATA,
        ) from error
    assert revision is not None, "it is unset only if other fields are requested"
    return revision


def with_class_names(table: datasets.Dataset) -> Iterator[dict[str, Any]]:
    """Rows with the names of ClassLabel numbers, and None for -1."""
    import datasets

    def with_names(value: Any, feature: Any) -> Any:
        if value is None:
            return None
        if isinstance(feature, datasets.ClassLabel):
            return feature.int2str(value) if value >= 0 else None
        if isinstance(feature, datasets.List):
            return [with_names(item, feature.feature) for item in value]
        if isinstance(feature, dict):
            return {name: with_names(value[name], inner) for name, inner in feature.items()}
        return value

    for row in table:
        yield {name: with_names(row[name], inner) for name, inner in table.features.items()}


def is_builder(name: str) -> bool:
    """Whether `name` is a builder of `datasets` ("csv", "json", "text")."""
    from datasets import packaged_modules

    return name in packaged_modules._PACKAGED_DATASETS_MODULES


def local_files(path: str, data_files: Any) -> list[Path]:
    """The local files of a table that have a known suffix of data files."""
    if data_files is None:
        files: Iterable[Path] = sorted(Path(path).rglob("*")) if Path(path).is_dir() else []
    else:
        files = map(Path, itertools.chain(*(glob.glob(p) for p in _flat(data_files))))
    return [file for file in files if file.suffix in _DATA_FILES and file.is_file()]


def source_files(path: str, data_files: Any, data_dir: str | None) -> list[Path] | None:
    """All local files of a table except hidden ones; None if it has none."""
    files: list[Path] = []
    for folder in map(Path, filter(None, (path, data_dir))):
        for file in sorted(folder.rglob("*")) if folder.is_dir() else ():
            is_hidden = any(part.startswith(".") for part in file.relative_to(folder).parts)
            if file.is_file() and not is_hidden:
                files.append(file)
    for pattern in _flat(data_files or ()):
        files += filter(Path.is_file, map(Path, sorted(glob.glob(pattern, recursive=True))))
    return list(dict.fromkeys(files)) or None


def _flat(files: Any) -> Iterator[str]:
    if isinstance(files, str | Path):
        yield str(files)
    else:
        for item in files.values() if isinstance(files, Mapping) else files:
            yield from _flat(item)


def renamed(table: datasets.Dataset, names: Mapping[str, str], where: str) -> datasets.Dataset:
    """The table with its columns renamed; a UserError if that fails."""
    new = [names.get(name, name) for name in table.column_names]
    missing = [name for name in names if name not in table.column_names]
    twice = [name for name in new if new.count(name) > 1]
    if missing or twice:
        what = f"no column {missing[0]!r:.40}" if missing else f"two columns named {twice[0]!r:.40}"
        what = f"cannot be renamed ({what}); the columns are {listed(table.column_names, 6)}"
        raise UserError(what, where, "check rename={old name: new name}", Exit.DATA)
    return table.rename_columns(dict(names)) if names else table


def _are_tables(files: Iterable[Path]) -> bool:
    return any(file.suffix in (".csv", ".tsv") for file in files)


def misread(
    table: datasets.Dataset, where: str, files: Sequence[Path], options: Mapping[str, Any]
) -> UserError | None:
    """The error for a table whose content shows that these files were read wrongly, or None.

    Args:
        options: the builder's options.
    """
    json_files = [file for file in files if file.suffix.startswith(".json")]
    if json_files:
        try:
            table.data.table.validate(full=True)  # datasets does not check the encoding of JSON
        except ValueError as error:
            what = f"its texts are not UTF-8 ({error})"
            fix = "save its files as UTF-8"
            return encoding_fault(json_files) or UserError(what, where, fix, Exit.DATA)
    for name in table.column_names:
        if name.endswith(".1") and name[:-2] in table.column_names and _are_tables(files):
            what, fix = f"its header has {name[:-2]!r:.40} twice", "rename one of the columns"
            return UserError(what, where, fix, Exit.DATA)
    if all(file.suffix in _SEPARATED for file in files):
        problem = _uneven(table.column_names, is_index="index_col" in options or not files)
        if problem is not None:
            return UserError(problem[0], where, problem[1], Exit.DATA)
    first = table[0] if len(table) else {}
    values = [*first, *(value for value in first.values() if isinstance(value, str))]
    if any(value.startswith(BYTE_ORDER_MARK) for value in values):
        fix = 'pass encoding="utf-8-sig" to HFDataSource'
        return UserError("its first text starts with a byte-order mark", where, fix, Exit.DATA)
    return None


def _uneven(names: Sequence[str], *, is_index: bool) -> tuple[str, str] | None:
    """What is wrong with the separator or the header, judging by the columns, and the fix; None for
    nothing.

    If rows have more cells than the header, pandas takes the first cells as an index, so that all
    others move to the column before.

    Args:
        is_index: whether the table may have an index.
    """
    header = [name for name in names if not name.startswith("__index_level_")]
    for sep, shown in (("\t", "\\t"), (";", ";")):
        if len(header) == 1 and sep in header[0]:
            what = f"its header has a single column, {header[0]!r:.60}"
            return what, f'pass sep="{shown}" to HFDataSource'
    if len(header) == len(names) or is_index:
        return None
    fix = "name every column, and remove separators at the ends of rows"
    return "its rows have more cells than the header", fix
