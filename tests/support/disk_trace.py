"""The operations of a run on a folder, and the states that a crash can leave behind.

`recorded` notes each rename, link, swap and fsync below a folder, and between two of them what was
written, made or removed. `states` replays every prefix: with all that was done by then (a killed
process), or with what had been flushed only (a power failure, on a disk that keeps nothing else).
"""

from __future__ import annotations

import hashlib
import itertools
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from ke_t5 import files
from ke_t5.checkpoint.serialization import HashedFile

SCANNED_WRITES = 10  # of the writes of tensors, every tenth is an operation
Tree = dict[str, bytes | None]  # path -> content, None for a folder


class Operation(NamedTuple):
    """One change: "write" (or create), "remove", "rename", "link", "exchange" or "fsync"."""

    kind: str
    path: str
    other: str = ""
    content: bytes | None = None


class Trace:
    """The operations below a folder, and its current state."""

    def __init__(self, root: Path) -> None:
        self.root, self.operations, self.tree = root, [], {}
        self._stamps: dict[str, tuple[int, int, int]] = {}
        self.lock = threading.RLock()  # checkpoints are written in a thread

    def name(self, path: Any, dir_fd: int | None = None) -> str | None:
        """A path relative to the folder; None outside of it."""
        if isinstance(path, int):
            path = os.readlink(f"/proc/self/fd/{path}")
        elif dir_fd is not None:
            path = os.path.join(os.readlink(f"/proc/self/fd/{dir_fd}"), path)
        path = Path(os.path.abspath(path))
        return str(path.relative_to(self.root)) if path.is_relative_to(self.root) else None

    def scan(self) -> None:
        """Records what was written, created and removed since the last call."""
        # One listing per folder, as another thread writes: `rglob` lists each folder twice, and can
        # find a file of a folder that it missed.
        found = {
            str(path.relative_to(self.root)): path
            for folder, folders, names in os.walk(self.root)
            for path in map(Path(folder).joinpath, (*folders, *names))
        }
        for name in sorted(self.tree.keys() - found.keys(), reverse=True):
            self.add(Operation("remove", name))
        for name in sorted(found):
            stat = found[name].stat()
            stamp = stat.st_ino, stat.st_size, stat.st_mtime_ns
            if found[name].is_dir():
                if name not in self.tree:
                    self.add(Operation("write", name))
            elif self._stamps.get(name) != stamp:
                self._stamps[name] = stamp
                content = found[name].read_bytes()
                if self.tree.get(name) != content:
                    self.add(Operation("write", name, content=content))

    def add(self, operation: Operation) -> None:
        """Records an operation."""
        self.operations.append(operation)
        apply(self.tree, operation)


def apply(tree: Tree, operation: Operation) -> None:
    """Applies an operation."""
    kind, path, other, content = operation
    if kind == "write":
        tree[path] = content
    elif kind == "remove":
        tree.pop(path, None)
    elif kind == "link":
        tree[other] = tree[path]
    elif kind in ("rename", "exchange"):
        moved = {other + name[len(path) :]: name for name in _below(tree, path)}
        back = {path + name[len(other) :]: name for name in _below(tree, other)}
        before = {name: tree.pop(name) for name in (*moved.values(), *back.values())}
        tree |= {new: before[old] for new, old in moved.items()}
        if kind == "exchange":
            tree |= {new: before[old] for new, old in back.items()}


def _below(tree: Tree, path: str) -> list[str]:
    return [name for name in tree if name == path or name.startswith(f"{path}/")]


@contextmanager
def recorded(root: Path) -> Iterator[Trace]:
    """Records the operations of the block below `root`."""
    trace = Trace(root.resolve())

    def watch(function: Any, kind: str) -> Any:
        def watched(*args: Any, dir_fd: int | None = None, **options: Any) -> Any:
            names = [trace.name(arg, dir_fd) for arg in args[:2] if not isinstance(arg, bool)]
            options = options if dir_fd is None else {**options, "dir_fd": dir_fd}
            if not names or names[0] is None:
                return function(*args, **options)
            with trace.lock:
                trace.scan()
                result = function(*args, **options)
                if kind and result is not False:
                    trace.add(Operation(kind, names[0], names[1] or "" if len(names) > 1 else ""))
            return result

        return watched

    real_write, writes = HashedFile.write, itertools.count()

    def write(file: HashedFile, content: Any) -> None:
        real_write(file, content)
        if next(writes) % SCANNED_WRITES == 0:
            file._file.flush()
            with trace.lock:
                trace.scan()

    with pytest.MonkeyPatch.context() as patch:
        for name in ("unlink", "rmdir"):
            patch.setattr(os, name, watch(getattr(os, name), ""))
        for name in ("rename", "replace"):
            patch.setattr(os, name, watch(getattr(os, name), "rename"))
        patch.setattr(os, "link", watch(os.link, "link"))
        patch.setattr(os, "fsync", watch(os.fsync, "fsync"))
        patch.setattr(files, "exchange", watch(files.exchange, "exchange"))
        patch.setattr(HashedFile, "write", write)
        yield trace
        trace.scan()


def states(operations: list[Operation]) -> Iterator[tuple[Operation, Tree]]:
    """The tree after every prefix of the operations."""
    tree: Tree = {}
    for operation in operations:
        apply(tree, operation)
        yield operation, tree


class _Node:
    """A file or folder: its content or entries, and those that are flushed to the disk."""

    def __init__(self, content: bytes | None) -> None:
        self.content, self.flushed = content, b""
        self.entries: dict[str, _Node] = {}
        self.flushed_entries: dict[str, _Node] = {}


def flushed_states(operations: list[Operation]) -> Iterator[tuple[Operation, Tree]]:
    """The tree that is on the disk after every fsync: file contents and names of folders that were
    flushed. The topmost folder is taken to be there."""
    root = _Node(None)

    def parent(path: str) -> tuple[dict[str, _Node], str]:
        node, (*folders, name) = root, path.split("/")
        for folder in folders:
            node = node.entries[folder]
        return node.entries, name

    for operation in operations:
        kind, path, other, content = operation
        entries, name = (root.entries, "") if path == "." else parent(path)
        if kind == "write":
            entries.setdefault(name, _Node(content)).content = content
        elif kind == "remove":
            entries.pop(name, None)
        elif kind == "link":
            targets, target = parent(other)
            targets[target] = entries[name]
        elif kind in ("rename", "exchange"):
            targets, target = parent(other)
            moved = entries.pop(name)
            if kind == "exchange":
                entries[name] = targets[target]
            targets[target] = moved
        else:
            node = root if path == "." else entries[name]
            node.flushed, node.flushed_entries = node.content or b"", dict(node.entries)
            yield operation, _flushed(root)


def _flushed(node: _Node, prefix: str = "") -> Tree:
    tree: Tree = {}
    for name, inner in node.flushed_entries.items():
        tree[prefix + name] = None if inner.content is None else inner.flushed
        tree |= _flushed(inner, f"{prefix}{name}/")
    return tree


class Replayer:
    """Writes states as folders; equal files are hard links."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._count = folder, 0
        self._files: dict[int, tuple[bytes, Path]] = {}  # by the id of the content
        (folder / "contents").mkdir(parents=True)

    def make(self, tree: Tree) -> Path:
        """A new folder with this tree."""
        self._count += 1
        root = self._folder / f"state-{self._count}"
        root.mkdir()
        for name in sorted(tree):
            content = tree[name]
            if content is None:
                (root / name).mkdir(exist_ok=True)
                continue
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            os.link(self._file_of(content), root / name)
        return root

    def _file_of(self, content: bytes) -> Path:
        if id(content) not in self._files:
            file = self._folder / "contents" / hashlib.sha256(content).hexdigest()
            if not file.exists():
                file.write_bytes(content)
            self._files[id(content)] = content, file
        return self._files[id(content)][1]
