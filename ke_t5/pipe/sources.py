"""Sources of rows: raw releases, the hub, or a function."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import logging
import pickle
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from ke_t5.errors import Exit, UserError, suggestion
from ke_t5.hub import why_no_data, why_unreachable
from ke_t5.pipe import tables
from ke_t5.pipe.cache import Folders, code_of, hash_files, make_key, package_version
from ke_t5.pipe.file_faults import file_fault, refuse_null
from ke_t5.pipe.integrity import INFO_FILE, fault_of
from ke_t5.pipe.rows import (
    ROW_ID,
    Row,
    Rows,
    check_names,
    composed_table,
    report_composed,
    stored_rows,
    stored_table,
)
from ke_t5.pipe.tables import hub_revision, with_class_names
from ke_t5.readers.streams import listed
from ke_t5.readers.unread import near_misses, warn_about_unread_files
from ke_t5.registry import check_plain

if TYPE_CHECKING:
    import datasets

    from ke_t5.readers.release import Hub, RawSplit, Release

logger = logging.getLogger(__name__)

# Rows of a function are spooled to disk above this size.
SPOOLED_BYTES = 1 << 20
# Otherwise pandas reads the texts "NA", "null" and "None" as empty cells.
ONLY_EMPTY_IS_MISSING = {"keep_default_na": False, "na_values": [""]}
LOCAL = "use a local folder, or try --sample, which needs no data"


class DataSource(ABC):
    """Rows by split.

    Attributes:
        name: a name for messages and folders.
        group: the column whose equal values must not be split between training and validation, or
            None.
    """

    name: str
    group: str | None = None

    @abstractmethod
    def splits(self, folders: Folders) -> list[str]:
        """The names of the available splits; raises UserError if there are none."""

    @abstractmethod
    def rows(self, split: str, folders: Folders) -> Rows:
        """The rows of one split; raises UserError if it is not available."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})"


class ReleaseSource(DataSource):
    """Rows of a raw release below `--hf_data_dir`, or the same rows from the hub."""

    def __init__(self, release: Release) -> None:
        self.release = release
        self.name = release.name
        self.group = release.group

    def find(self, folders: Folders) -> dict[str, RawSplit]:
        """The raw release's splits by name; {} if there is no release."""
        if folders.data is None:
            return {}
        if not folders.data.is_dir():
            raise UserError(
                "no such folder", f"--hf_data_dir {folders.data}", "check the path",
                Exit.DATA,
            )  # fmt: skip
        return self.release.find(folders.data)

    def splits(self, folders: Folders) -> list[str]:
        raw_splits = self.find(folders)
        if raw_splits:
            return list(raw_splits)
        if self.release.hub is None:
            raise self._missing(folders, "nor on a public hub")
        return list(self.release.hub.splits)

    def rows(self, split: str, folders: Folders) -> Rows:
        raw_splits = self.find(folders)
        if not raw_splits:
            return self._hub_rows(split, folders)
        if split not in raw_splits:
            raise unknown_split(split, self.name, raw_splits)
        assert folders.data is not None, "else there are no raw splits"
        raw = raw_splits[split]
        warn_about_unread_files(self.release, raw_splits, folders.data)
        code, hashes = code_of(raw.rows), hash_files(raw.files)
        columns = dict(self.release.columns)
        key = make_key([package_version(), self.name, split, hashes, code, columns])
        folder = folders.cache / "rows" / self.name / f"{split}-{key}"
        origin = ", ".join(path.name for path in raw.files[:3])
        rows = stored_rows(folder, self.release.columns, raw.rows, origin=origin)
        names = [_name_below(path, folders.data) for path in raw.files]
        provenance = {"files": dict(zip(names, hashes, strict=True))}
        return dataclasses.replace(rows, provenance=provenance)

    def _missing(self, folders: Folders, why: str) -> UserError:
        place = f"--hf_data_dir {folders.data}" if folders.data else "--hf_data_dir (not given)"
        near = near_misses(self.release, folders.data)
        what = f"no {self.name} there{near}, {why}"
        first, *others = self.release.layout
        files = f"{first} ..." if others else first
        url = self.release.home.split()[0]  # without the conditions in parentheses
        fix = f"put {files} of {url} there, or try --sample"
        return UserError(what, place, fix, Exit.DATA)

    def _advice(self) -> str:
        places = " and ".join(self.release.layout[:2])
        return f"get it from {self.release.home} and put {places} into the folder"

    def _hub_rows(self, split: str, folders: Folders) -> Rows:
        hub = self.release.hub
        if hub is None:
            raise self._missing(folders, "nor on a public hub")
        if split not in hub.splits:
            raise unknown_split(split, self.name, hub.splits)
        parent = folders.cache / "rows" / self.name
        why = why_no_data()
        if why is not None:
            return self._earlier_rows(split, folders, origin=hub.path, why=why)
        revision = hub_revision(hub.path)
        key = make_key(
            [
                package_version(),
                hub.path,
                hub.configs_of(split),
                hub.splits[split],
                revision,
                code_of(hub.to_rows),
                dict(self.release.columns),
            ]
        )
        rows = stored_rows(
            parent / f"{split}-hub-{key}",
            self.release.columns,
            lambda: read_hub(
                hub, split, folders.cache / "hub", fix=f"{self._advice()} of --hf_data_dir"
            ),
            origin=f"{hub.path}@{revision[:12]}",
        )
        return dataclasses.replace(rows, provenance={"hub": hub.path, "revision": revision})

    def _earlier_rows(self, split: str, folders: Folders, *, origin: str, why: str) -> Rows:
        """The rows that were last fetched from the hub, which is unreachable now."""
        parent = folders.cache / "rows" / self.name
        earlier = sorted(
            parent.glob(f"{split}-hub-*/{INFO_FILE}"), key=lambda path: path.stat().st_mtime
        )
        earlier = [path.parent for path in earlier if fault_of(path.parent) is None]
        if not earlier:
            raise self._missing(folders, f"and {why}")
        logger.warning("%s: %s; using the rows fetched earlier", self.name, why)
        rows = stored_rows(earlier[-1], self.release.columns, lambda: (), origin=origin)
        path, _, revision = rows.origin.partition("@")
        return dataclasses.replace(rows, provenance={"hub": path, "revision": revision})


def _name_below(path: Path, folder: Path) -> str:
    return str(path.relative_to(folder)) if path.is_relative_to(folder) else str(path)


def read_hub(hub: Hub, split: str, cache: Path, *, fix: str) -> Iterator[Row]:
    """The rows of a hub split, in the release's form; a UserError with `fix` if loading fails."""
    import datasets

    for config in hub.configs_of(split):
        try:
            table = tables.load(
                datasets.load_dataset,
                hub.path,
                config,
                split=hub.splits[split],
                cache_dir=str(cache),
            )
        except Exception as error:
            raise tables.unreadable(error, f"data set {hub.path!r}", fix) from error
        for row in table if not hub.class_names else with_class_names(table):
            yield from hub.to_rows(row)


def unknown_split(split: str, source: str, known: Iterable[str]) -> UserError:
    """The error for a split that a source does not have."""
    return UserError(
        f"{source} has no such split here", f"split {split!r}", suggestion(split, known), Exit.DATA
    )


class HFDataSource(DataSource):
    """Rows of any data set that `datasets.load_dataset` reads without code: parquet, JSON, CSV.

    Args:
        path: a name on the hub, a local folder, or a builder such as "json" with `data_files`.
        config: the data set's configuration.
        splits: split name -> a split expression of the data set, such as "train[:90%]"; default:
            the data set's own splits.
        group: the column whose equal values must not be split between training and validation.
        data_files: as for `datasets.load_dataset`.
        rename: the data set's column -> the name that a task expects.
        options: options of the builder, such as `sep="\\t"` and `encoding="cp949"`.
    """

    def __init__(
        self,
        path: str,
        config: str | None = None,
        *,
        splits: Mapping[str, str] | None = None,
        group: str | None = None,
        data_files: Mapping[str, str] | None = None,
        rename: Mapping[str, str] | None = None,
        **options: Any,
    ) -> None:
        self.path, self.config, self.data_files = path, config, data_files
        self.name = "_".join(part for part in (path.replace("/", "_"), config) if part)
        self.group = group
        self._splits, self._options, self._rename = splits, options, dict(rename or {})

    def splits(self, folders: Folders) -> list[str]:
        if self._splits is not None:
            return list(self._splits)
        import datasets

        return self._load(datasets.get_dataset_split_names)

    def rows(self, split: str, folders: Folders) -> Rows:
        known = self.splits(folders)
        if split not in known:
            raise unknown_split(split, self.name, known)
        title = f"{self.path} {split}"
        files = tables.source_files(self.path, self.data_files, self._options.get("data_dir"))
        if files is None:  # the fingerprint includes the data set's revision
            table, num_composed = composed_table(self._table(split, folders.cache / "hub"), title)
            report_composed(title, num_composed, len(table))
            table = table.add_column(ROW_ID, np.arange(len(table)))
            rows = Rows(table, table._fingerprint, self.path)
        else:
            folder = folders.cache / "rows" / self.name[-80:] / f"{split}-{self._key(split, files)}"
            load = functools.partial(self._table, split)
            rows = stored_table(folder, load, origin=self.path, title=title)
        return dataclasses.replace(rows, provenance=self._provenance(self._data_files()))

    def _key(self, split: str, files: Sequence[Path]) -> str:
        """A hash over everything on which the rows of a split of local files depend."""
        settings = [self.config, self._splits, self.data_files, self._options, self._rename]
        contents = dict(zip(map(str, files), hash_files(files), strict=True))
        library = version("datasets")
        return make_key([package_version(), library, self.path, split, settings, contents])

    def _data_files(self) -> list[Path]:
        return tables.local_files(self.path, self.data_files)

    def _table(self, split: str, cache: Path) -> datasets.Dataset:
        """The checked table of a split; datasets writes its files to `cache`."""
        import datasets

        table = self._load(
            datasets.load_dataset,
            split=(self._splits or {}).get(split, split),
            cache_dir=str(cache),
            **(ONLY_EMPTY_IS_MISSING if self.path == "csv" else {}),
        )
        where = f"data set {self.path!r}"
        problem = tables.misread(table, where, self._data_files(), self._options)
        if problem is not None:
            raise problem
        table = tables.renamed(table, self._rename, where)
        if ROW_ID in table.column_names:
            what = f"has a column {ROW_ID!r}, a name reserved for the index of a row"
            raise self._error(what, "give it another name with rename=")
        return table

    def _provenance(self, files: Sequence[Path]) -> dict[str, Any]:
        """The SHA-256 of local files, or the commit on the hub."""
        if files:
            names = [str(file) for file in files]
            return {"files": dict(zip(names, hash_files(files), strict=True))}
        is_local = Path(self.path).exists() or tables.is_builder(self.path)
        if is_local or why_no_data() is not None:
            return {}
        try:
            return {"hub": self.path, "revision": hub_revision(self.path)}
        except (UserError, OSError):  # the data set itself has been loaded
            return {"hub": self.path, "revision": None}

    def _load(self, function: Callable, **settings: Any) -> Any:
        """The result of a function of `datasets`; a UserError with the reason if it fails."""
        if self.data_files:
            settings["data_files"] = self.data_files
        is_local = Path(self.path).exists() or tables.is_builder(self.path)
        if not is_local and (why := why_unreachable()) is not None:
            if self.data_files:
                raise self._error(
                    "datasets cannot read files of that type",
                    "save them as CSV, JSON or parquet and give that builder, "
                    "or read them in a FunctionDataSource",
                )
            raise self._error(f"the hub cannot be reached: {why}")
        files = self._data_files()
        refuse_null(files)
        try:
            return tables.load(function, self.path, self.config, **{**settings, **self._options})
        except Exception as error:
            if not is_local and (why := why_no_data()) is not None:  # and it is not in the cache
                raise self._error(f"the hub cannot be reached: {why}") from error
            where, fix = f"data set {self.path!r}", "check its name, configuration and splits"
            if files and self.data_files:
                where += f" ({listed([file.name for file in files], 2)})"
                fix = "check its files and the options of HFDataSource"
            problem = tables.unreadable(error, where, fix)
            if isinstance(problem, UserError) and problem.exit_code == Exit.DATA:
                problem = file_fault(files, self._options) or problem
            raise problem from error

    def _error(self, what: str, fix: str = LOCAL) -> UserError:
        return UserError(what, f"data set {self.path!r}", fix, Exit.DATA)


class FunctionDataSource(DataSource):
    """Rows of `function(split)`, an iterable of dicts, which is read one row at a time.

    Args:
        function: returns the rows of one split.
        splits: the available splits.
        columns: a schema like `readers.release.Release.columns`.
    """

    def __init__(
        self,
        function: Callable[[str], Iterable[Row]],
        splits: Sequence[str],
        columns: Mapping[str, Any],
        *,
        name: str = "function",
        group: str | None = None,
    ) -> None:
        for one, kind in ((name, "data source"), *((split, "split") for split in splits)):
            check_plain(one, kind)
        self.function, self.columns, self._splits = function, columns, list(splits)
        self.name, self.group = name, group

    def splits(self, folders: Folders) -> list[str]:
        return self._splits

    def rows(self, split: str, folders: Folders) -> Rows:
        if split not in self._splits:
            raise unknown_split(split, self.name, self._splits)
        folders.cache.mkdir(parents=True, exist_ok=True)
        made = self.function(split)
        # A map-style data set of torch has `__getitem__` only.
        if not isinstance(made, Iterable) and not hasattr(made, "__getitem__"):
            what = f"the function returned {type(made).__name__}, expected rows"
            where = f"data source {self.name!r}, split {split!r}"
            raise UserError(what, where, "return or yield a dict for each row", Exit.DATA)
        # The rows are hashed first and then stored, but a second call may return others.
        with tempfile.SpooledTemporaryFile(SPOOLED_BYTES, dir=str(folders.cache)) as spool:
            digest = hashlib.sha256()
            for number, row in enumerate(made):
                check_names(
                    row, self.columns, f"data source {self.name!r}, row {number} of {split}"
                )
                digest.update(make_key(row).encode())
                pickle.dump(row, spool)
            parts = [package_version(), self.name, split, digest.hexdigest(), dict(self.columns)]
            folder = folders.cache / "rows" / self.name / f"{split}-{make_key(parts)}"
            spooled = functools.partial(_unpickled, spool)
            return stored_rows(folder, self.columns, spooled, origin=self.name)


def _unpickled(spool: IO[bytes]) -> Iterator[Row]:
    spool.seek(0)
    with suppress(EOFError):
        while True:
            yield pickle.load(spool)
