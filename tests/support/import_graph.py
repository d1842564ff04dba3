"""The import graph of the package, read from its source."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

from support.processes import ROOT

PACKAGE = "ke_t5"
SCRIPTS = ("train_ddp", "test_ddp")


def module_name(path: Path) -> str:
    """A file's name in the table, without the package; "" for the package itself."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(part for part in parts if part not in (PACKAGE, "__init__"))


@functools.cache
def sources() -> dict[str, Path]:
    """Every module of the package, and the two scripts, by name."""
    files = [*(ROOT / PACKAGE).rglob("*.py"), *(ROOT / f"{name}.py" for name in SCRIPTS)]
    return {module_name(path): path for path in sorted(files)}


def imported(tree: ast.AST, *, for_types: bool = False) -> Iterator[str]:
    """The full names that a module imports, inside functions too; those for types alone if asked
    for."""
    for node in ast.iter_child_nodes(tree):
        is_for_types = isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        if is_for_types and not for_types:
            yield from imported(ast.Module(node.orelse, []))
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: write the whole name"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        yield from imported(node, for_types=for_types)


@functools.cache
def arrows(*, for_types: bool = False) -> dict[str, frozenset[str]]:
    """Module -> the modules of ours that it imports; optionally those for types only."""
    found = {}
    for name, path in sources().items():
        ours = set()
        for full in imported(ast.parse(path.read_text(encoding="utf-8")), for_types=for_types):
            if full.split(".")[0] == PACKAGE:
                inner = full.removeprefix(PACKAGE).lstrip(".")
                ours.add(inner if inner in sources() else inner.rpartition(".")[0])
        found[name] = frozenset(ours - {name})
    return found
