"""Hashes of Python code that change whenever the results of the code may change.

Comments, docstrings, the kind of quotes and line breaks do not count; every statement does. The
hash of a user's module covers the user's modules that it imports, directly or not.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.util
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from contextlib import suppress
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import NamedTuple

from ke_t5.files import Stamp, stamp_of, write_atomically

PACKAGE = Path(__file__).resolve().parents[1]
HASH_LENGTH = 32
_INSTALLED = frozenset(("site-packages", "dist-packages"))
_STANDARD = tuple(
    Path(folder).resolve()
    for folder in {sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")}
)


class Source(NamedTuple):
    """A source file: its hash and its imports as (level, module, names)."""

    hash: str
    imports: tuple[tuple[int, str, tuple[str, ...]], ...] = ()


class Module(NamedTuple):
    """A module that was located without being imported: its file (None for a namespace package)
    and the folders of its submodules."""

    file: Path | None
    folders: tuple[str, ...] = ()


def hash_code(files: Iterable[Path]) -> str:
    """One hash over the code of these files and their names.

    Parsing this package takes a third of a second, so its hash is kept in a file beside the
    bytecode until a byte of the sources changes.
    """
    files = list(files)
    if not all(path.is_relative_to(PACKAGE) for path in files):
        return _hash_code(files)
    kept = _kept_hash(files)
    content = hashlib.sha256(sys.version.encode())  # syntax trees differ between versions
    for path in files:
        content.update(f"{path}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
    key = content.hexdigest()
    with suppress(OSError, ValueError):
        before, found = kept.read_text(encoding="ascii").split()
        if before == key and len(found) == HASH_LENGTH:
            return found
    found = _hash_code(files)
    if not sys.dont_write_bytecode:
        with suppress(OSError):  # a read-only installation
            write_atomically(kept, f"{key} {found}")
    return found


def _hash_code(files: Iterable[Path]) -> str:
    hashes = [f"{path.name} {read_source(path).hash}" for path in files]
    return hashlib.sha256("\n".join(hashes).encode()).hexdigest()[:HASH_LENGTH]


def _kept_hash(files: Iterable[Path]) -> Path:
    """The file that keeps the hash of these files."""
    names = "\n".join(str(path.relative_to(PACKAGE)) for path in files)
    name = f"code-{hashlib.sha256(names.encode()).hexdigest()[:HASH_LENGTH]}"
    return Path(importlib.util.cache_from_source(__file__)).with_name(name)


def read_source(path: Path) -> Source:
    """The hash and imports of a file (read once per process unless it changes)."""
    return _read(path, stamp_of(path))


@functools.lru_cache(maxsize=4096)
def _read(path: Path, _stamp: Stamp) -> Source:
    content = path.read_bytes()
    try:
        tree = ast.parse(content)
    except (SyntaxError, ValueError):  # an extension in C, or invalid Python
        return Source(hashlib.sha256(content).hexdigest()[:HASH_LENGTH])
    imports = tuple(_imports(tree))
    if b"__doc__" not in content:  # otherwise docstrings are data
        _drop_docstrings(tree)
    return Source(hashlib.sha256(ast.dump(tree).encode()).hexdigest()[:HASH_LENGTH], imports)


def _drop_docstrings(tree: ast.Module) -> None:
    for node in ast.walk(tree):
        is_scope = isinstance(
            node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
        )
        if is_scope and ast.get_docstring(node, clean=False) is not None:
            del node.body[0]


def _imports(tree: ast.Module) -> Iterator[tuple[int, str, tuple[str, ...]]]:
    """All imports of a module, including those in functions and `import_module("name")`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((0, alias.name, ()) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.level, node.module or "", tuple(alias.name for alias in node.names)
        elif isinstance(node, ast.Call) and node.args:
            called = getattr(node.func, "attr", getattr(node.func, "id", ""))
            name = node.args[0]
            if called in ("import_module", "__import__") and isinstance(name, ast.Constant):
                if isinstance(name.value, str):
                    stripped = name.value.lstrip(".")
                    yield len(name.value) - len(stripped), stripped, ()


def reached_code(name: str) -> list[tuple[str, str]]:
    """(module, hash) of a module and of the user's modules that it imports, sorted by name.

    An installed package has its version in place of a hash. Imports of the standard library and of
    this package are not followed.
    """
    hashes: dict[str, str] = {}
    visited: set[str] = set()
    pending = [name, *_parents(name)]
    while pending:
        current = pending.pop()
        module = None if current in visited else find_module(current)
        visited.add(current)
        if module is None or module.file is None:
            continue
        is_own = is_users_own(module.file)
        if _INSTALLED & set(module.file.parts) and not module.file.is_relative_to(PACKAGE):
            package = current.partition(".")[0]
            hashes[f"{package} (installed)"] = installed_version(package)
        if not is_own and current != name:
            continue
        source = read_source(module.file)
        hashes[current] = source.hash
        if is_own:
            for imported in source.imports:
                pending += _imported(current, *imported, is_package=bool(module.folders))
    return sorted(hashes.items())


def _imported(
    importer: str, level: int, base: str, names: tuple[str, ...], *, is_package: bool
) -> list[str]:
    """The names of all modules that an import statement may run."""
    if level:
        parts = importer.split(".")
        kept = len(parts) - level + is_package
        base = ".".join([*parts[: max(0, kept)], *([base] if base else [])])
    candidates = [base, *(f"{base}.{name}" for name in names if name != "*")] if base else []
    return [*candidates, *_parents(base)]


def _parents(name: str) -> list[str]:
    """The packages that contain a module.

    >>> _parents("a.b.c")
    ['a', 'a.b']
    """
    parts = name.split(".")
    return [".".join(parts[:end]) for end in range(1, len(parts))]


def find_module(name: str) -> Module | None:
    """The named module, located without importing it; None if it has no file or folder."""
    loaded = sys.modules.get(name)
    if loaded is not None:
        file = getattr(loaded, "__file__", None)
        folders = tuple(getattr(loaded, "__path__", ()))
        if file is None and not folders:
            return None
        return _existing(file, folders)
    parent, _, _ = name.rpartition(".")
    try:
        if parent:
            around = find_module(parent)
            spec = PathFinder.find_spec(name, list(around.folders)) if around else None
        else:
            spec = importlib.util.find_spec(name)
    except (ImportError, ValueError, AttributeError):
        return None
    return _of_spec(spec)


def _of_spec(spec: ModuleSpec | None) -> Module | None:
    if spec is None:
        return None
    file = spec.origin if spec.has_location else None
    folders = tuple(spec.submodule_search_locations or ())
    return _existing(file, folders) if file or folders else None


def _existing(file: str | None, folders: tuple[str, ...]) -> Module | None:
    path = Path(file).resolve() if file else None
    return None if path and not path.is_file() else Module(path, folders)


@functools.cache
def installed_version(package: str) -> str:
    """The version of an installed package and a hash over its list of files.

    Args:
        package: its name in imports.
    """
    from importlib import metadata

    try:
        found = metadata.distribution(package)
    except metadata.PackageNotFoundError:
        names = metadata.packages_distributions().get(package)  # takes a second
        if not names:
            return ""
        found = metadata.distribution(names[0])
    files = hashlib.sha256((found.read_text("RECORD") or "").encode())
    return f"{found.version} {files.hexdigest()[:HASH_LENGTH]}"


@functools.lru_cache(maxsize=4096)
def is_users_own(file: Path) -> bool:
    """Whether a file is the user's: not of an installed package, the standard library or ke_t5."""
    if file.is_relative_to(PACKAGE) or _INSTALLED & set(file.parts):
        return False
    return not any(file.is_relative_to(folder) for folder in _STANDARD)
