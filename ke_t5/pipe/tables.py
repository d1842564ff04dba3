"""Tables as the library `datasets` loads them: from the hub or from files, and why one cannot be.

Data sets of the hub that are kept as a script are read from the copy in parquet that the hub makes
of them.
"""

from __future__ import annotations

import glob
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ke_t5.errors import Exit, UserError
from ke_t5.hub import network_fault
from ke_t5.readers.streams import opened

if TYPE_CHECKING:
    import datasets

CONVERTED = "refs/convert/parquet"
_SCRIPT = "scripts are no longer supported"
_TEXT_FILES = (".csv", ".tsv", ".json", ".jsonl", ".txt")
BYTE_ORDER_MARK = "\ufeff"


def ask(function: Callable, path: str, config: str | None, **settings: Any) -> Any:
    """What `function` of `datasets` (load_dataset, get_dataset_split_names) answers."""
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
            "it is kept as a script, which datasets no longer runs, and the hub has no copy of it "
            "in parquet"
        ) from error


def unreadable(error: Exception, where: str, fix: str) -> Exception:
    """The error to raise for one of `ask`: a UserError, or a fault of the machine as it is."""
    if isinstance(error, UserError):
        return error
    cut_off = network_fault(error, where)
    if cut_off is not None:
        return cut_off
    # What went wrong in a file is behind an error that says only that something did.
    is_shell = type(error).__name__.startswith("DatasetGeneration")
    cause = (error.__cause__ if is_shell else None) or error
    is_answer = getattr(cause, "response", None) is not None
    if isinstance(cause, OSError) and not isinstance(cause, FileNotFoundError) and not is_answer:
        return cause
    reason = (str(cause).strip() or type(cause).__name__).splitlines()[0].rstrip(".")
    return UserError(f"it cannot be read ({reason})", where, fix, Exit.DATA)


def hub_revision(path: str) -> str:
    """The commit of a data set on the hub; a UserError where the hub does not give it."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    try:
        return HfApi().dataset_info(path, timeout=10).sha
    except Exception as error:
        cut_off = network_fault(error, f"data set {path!r}")
        if cut_off is None and not isinstance(error, HfHubHTTPError):
            raise
        raise cut_off or UserError(
            f"the hub does not give it ({str(error).splitlines()[0]})",
            f"data set {path!r}",
            "check the name, log in if it is gated, or put the raw release into --hf_data_dir",
            Exit.DATA,
        ) from error


def with_class_names(table: datasets.Dataset) -> Iterator[dict[str, Any]]:
    """Rows whose ClassLabel numbers are replaced by their names, -1 by None."""
    import datasets

    def named(value: Any, feature: Any) -> Any:
        if value is None:
            return None
        if isinstance(feature, datasets.ClassLabel):
            return feature.int2str(value) if value >= 0 else None
        if isinstance(feature, datasets.List):
            return [named(item, feature.feature) for item in value]
        if isinstance(feature, dict):
            return {name: named(value[name], kind) for name, kind in feature.items()}
        return value

    for row in table:
        yield {name: named(row[name], kind) for name, kind in table.features.items()}


def is_builder(name: str) -> bool:
    """Whether `datasets` itself reads files of that kind ("csv", "json", "text")."""
    from datasets import packaged_modules

    return name in packaged_modules._PACKAGED_DATASETS_MODULES


def local_files(path: str, data_files: Any) -> list[Path]:
    """The text files that a table is made from, as far as they are on this machine."""
    if data_files is None:
        found: Iterable[Path] = sorted(Path(path).rglob("*")) if Path(path).is_dir() else []
    else:
        found = map(Path, itertools.chain(*(glob.glob(p) for p in _flat(data_files))))
    return [file for file in found if file.suffix in _TEXT_FILES and file.is_file()]


def _flat(files: Any) -> Iterator[str]:
    if isinstance(files, str | Path):
        yield str(files)
    else:
        for part in files.values() if isinstance(files, Mapping) else files:
            yield from _flat(part)


def encoding_fault(files: Iterable[Path]) -> UserError | None:
    """The error for the first of these files that is not UTF-8, with the option that reads it."""
    for file in files:
        try:
            with opened(file) as lines:
                for _ in lines:
                    pass
        except UserError as error:
            encoding = error.what.rpartition(" ")[2].lower()
            fix = error.fix
            # A list in JSON is always read as UTF-8.
            if encoding in ("cp949", "utf-16") and file.suffix != ".json":
                fix = f'give HFDataSource encoding="{encoding}", or {fix}'
            return UserError(error.what, error.where, fix, error.exit_code)
    return None


def renamed(table: datasets.Dataset, names: Mapping[str, str], where: str) -> datasets.Dataset:
    """The table with its columns under our names; a UserError if that cannot be."""
    if not names:
        return table
    try:
        return table.rename_columns(dict(names))
    except ValueError as error:
        has = f"the columns are {', '.join(map(repr, table.column_names))}"
        fix = "check rename={its name: new name}"
        raise UserError(f"cannot be renamed ({error}); {has}", where, fix, Exit.DATA) from error


def misread(table: datasets.Dataset, where: str, files: Iterable[Path]) -> UserError | None:
    """The error for a table from these files whose content shows that it was read wrongly."""
    json_files = [file for file in files if file.suffix.startswith(".json")]
    if json_files:
        try:
            table.data.table.validate(full=True)  # JSON is taken as UTF-8 without a look
        except ValueError as error:
            what = f"its texts are not UTF-8 ({error})"
            fix = "save its files as UTF-8"
            return encoding_fault(json_files) or UserError(what, where, fix, Exit.DATA)
    for name in table.column_names:
        for sep, shown in (("\t", "\\t"), (";", ";")):
            if sep in name:
                what = f"its header is one column, {name!r:.60}"
                fix = f'give HFDataSource sep="{shown}"'
                return UserError(what, where, fix, Exit.DATA)
    first = table[0] if len(table) else {}
    values = [*first, *(value for value in first.values() if isinstance(value, str))]
    if any(value.startswith(BYTE_ORDER_MARK) for value in values):
        fix = 'give HFDataSource encoding="utf-8-sig"'
        return UserError("its first text begins with a byte-order mark", where, fix, Exit.DATA)
    return None
