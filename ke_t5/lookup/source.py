"""Finds a module and the names that it defines, from its source and without importing it."""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Iterable, Iterator
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path


def find_spec(module_name: str) -> ModuleSpec | None:
    """The module's spec, found without importing its parent packages as importlib would."""
    top, *rest = module_name.split(".")
    try:
        spec = importlib.util.find_spec(top) if top else None
    except ValueError:
        # Raised for a loaded module without an origin (`__main__`).
        return None
    for depth in range(len(rest)):
        if spec is None or spec.submodule_search_locations is None:
            return None
        full_name = ".".join([top, *rest[: depth + 1]])
        spec = PathFinder.find_spec(full_name, list(spec.submodule_search_locations))
    return spec


def names_in_source(spec: ModuleSpec) -> set[str] | None:
    """The names that a module's source defines; None if only an import could find them."""
    if spec.origin is None or not spec.origin.endswith(".py"):
        return None
    try:
        tree = ast.parse(Path(spec.origin).read_bytes())
    except (OSError, SyntaxError, ValueError):
        # The import reports the fault, with its line.
        return None
    names = set(_defined_names(tree.body))
    return None if names & {"*", "__getattr__"} else names


def _defined_names(body: Iterable[ast.stmt]) -> Iterator[str]:
    for node in body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            yield node.name
        elif isinstance(node, ast.Import | ast.ImportFrom):
            yield from (alias.asname or alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from (target.id for target in targets if isinstance(target, ast.Name))
        else:
            blocks = [getattr(node, part, []) for part in ("body", "orelse", "finalbody")]
            blocks += [handler.body for handler in getattr(node, "handlers", [])]
            for block in blocks:
                yield from _defined_names(block)
