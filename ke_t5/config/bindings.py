"""Parses gin text into bindings with their places. Reads files and parameters, runs nothing.

Statements are parsed by gin's own parser. gin's private names are used in this file only, by the
functions before `Binding`.
"""

from __future__ import annotations

import os
import tokenize
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import gin.config
from gin import config_parser

from ke_t5.config.gin_syntax import fault
from ke_t5.errors import UserError, suggestion


def matching(name: str) -> list[str]:
    """The complete names of all configurables that match a full or partial `name`."""
    return gin.config._REGISTRY.matching_selectors(name)


def configurable(complete: str) -> gin.config.Configurable:
    """The configurable of that complete name: `wrapped`, `allowlist`, `denylist`."""
    return gin.config._REGISTRY[complete]


def configurables() -> dict[str, str]:
    """Shortest name -> complete name of everything that a gin file may bind."""
    registry = gin.config._REGISTRY
    names = [complete for complete, _ in registry.items() if not complete.startswith("gin.")]
    return {registry.minimal_selector(complete): complete for complete in names}


def operative() -> dict[tuple[str, str], dict[str, object]]:
    """(scope, complete name) -> the parameters of calls so far, from gin or by default."""
    with gin.config._OPERATIVE_CONFIG_LOCK:
        return {key: dict(values) for key, values in gin.config._OPERATIVE_CONFIG.items()}


def bound() -> dict[tuple[str, str], dict[str, object]]:
    """(scope, complete name) -> the parameters that are bound."""
    return {key: dict(values) for key, values in gin.config._CONFIG.items()}


# Errors of gin's parser; Python 3.12.1 raises SystemError for some characters.
UNREADABLE = (SyntaxError, tokenize.TokenError, ValueError, RecursionError, SystemError)
MACRO = "gin.macro"
CONSTANT = "gin.constant"


@dataclass(frozen=True)
class Binding:
    """`name = value` as written at `place` ("train.gin:7", "--gin_param 'x.y=1'").

    `selector` is complete, `parameter` is "value" for a macro. `source` is "file", "param" (the
    command line) or "run" (the recipe itself).
    """

    scope: str
    selector: str
    parameter: str
    value: object
    name: str
    place: str
    source: str

    @property
    def key(self) -> tuple[str, str, str]:
        """The key that all bindings of one parameter share, however they spell it."""
        return self.scope, self.selector, self.parameter


class Reader:
    """Turns gin texts into bindings; `problems` has the errors in the order of the texts.

    Args:
        folders: searched in this order for a file that is not found as given. An included file
            must be in one of these or in the folder of the including file.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        self.folders = [folder for folder in folders if folder.is_dir()]
        self.problems: list[UserError] = []

    def file(self, name: str) -> list[Binding]:
        """The bindings of a file named on the command line, with those of its includes."""
        paths = [Path(name), *(folder / name for folder in self.folders)]
        for path in paths:
            if path.is_file():
                return self._file(path, opened=())
        where = f"--gin_file {name!r}"
        if any(path.is_dir() for path in paths):
            self._problem(where, "is a folder", "name a .gin file")
            return []
        names = gin_files([Path(name).parent, *self.folders])
        fix = suggestion(Path(name).name, names)
        self._problem(where, f"no such file in {Path.cwd()} or gin/", fix)
        return []

    def param(self, text: str) -> list[Binding]:
        """The bindings of one --gin_param."""
        place = f"--gin_param {text!r:.90}"
        return list(self._statements(text, lambda line: place, "param", self._refuse_include))

    def _file(self, path: Path, opened: tuple[Path, ...]) -> list[Binding]:
        path = path.resolve()
        text = self._text(path)
        if text is None:
            return []
        shown = os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)

        def include(name: str, place: str) -> list[Binding]:
            target = self._included(name, place, path)
            if target in (*opened, path):
                self._problem(place, f"include {name!r} is circular", "remove it")
            elif target is not None:
                return self._file(target, (*opened, path))
            return []

        return list(self._statements(text, lambda line: f"{shown}:{line}", "file", include))

    def _included(self, name: str, place: str, includer: Path) -> Path | None:
        allowed = [folder.resolve() for folder in (includer.parent, *self.folders)]
        targets = [(folder / name).resolve() for folder in allowed]
        targets = [target for target in targets if target.is_file()]
        for target in targets:
            if any(target.is_relative_to(folder) for folder in allowed):
                return target
        if targets:
            fix = "move it there, or give it as a --gin_file (your own code: --module_import)"
            self._problem(place, f"include {name!r} leaves {includer.parent} and gin/", fix)
        else:
            fix = suggestion(Path(name).name, gin_files(allowed))
            self._problem(place, f"include {name!r}: no such file", fix)
        return None

    def _refuse_include(self, name: str, place: str) -> list[Binding]:
        self._problem(place, "include is allowed in files only", f"give --gin_file {name}")
        return []

    def _text(self, path: Path) -> str | None:
        try:
            content = path.read_bytes()
        except OSError as error:
            self._problem(str(path), f"cannot be read ({error.strerror})", "check its permissions")
            return None
        try:
            return content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = content.count(b"\n", 0, error.start) + 1
            what = "not UTF-8"
            try:
                content.decode("cp949")
                what += ", looks like CP949"
            except UnicodeDecodeError:
                pass
            self._problem(f"{path}:{line}", what, "save it as UTF-8")
            return None

    def _statements(
        self,
        text: str,
        place_of: Callable[[int], str],
        source: str,
        include: Callable[[str, str], list[Binding]],
    ) -> Iterator[Binding]:
        try:
            parser = config_parser.ConfigParser(text, _Delegate())
            while (statement := parser.parse_statement()) is not None:
                place = place_of(statement.location.line_num)
                if isinstance(statement, config_parser.IncludeStatement):
                    yield from include(statement.filename, place)
                elif isinstance(statement, config_parser.ImportStatement):
                    fix = f"import your own code with --module_import {statement.module}"
                    self._problem(place, "a gin file may not import", fix)
                elif isinstance(statement, config_parser.BindingStatement):
                    binding = self._binding(statement, place, source)
                    if binding:
                        yield binding
        except UNREADABLE as error:
            line, what, fix = fault(text, error, matching, is_param=source == "param")
            self._problem(place_of(line), what, fix)

    def _binding(
        self, statement: config_parser.BindingStatement, place: str, source: str
    ) -> Binding | None:
        scope, selector, parameter, value, _ = statement
        unknown = [leaf for leaf in leaves(value) if isinstance(leaf, _UnknownReference)]
        for reference in unknown:
            self._unknown(reference.name, place, sign="@")
        name = f"{scope}/{selector}" if scope else selector
        if not parameter:
            if matching(selector):
                fix = f"write {name}.<parameter> = ..."
                self._problem(place, f"{name!r} names no parameter", fix)
                return None
            return Binding(name, MACRO, "value", value, name, place, source)
        found = matching(selector)
        if len(found) == 1:
            name = f"{name}.{parameter}"
            binding = Binding(scope, found[0], parameter, value, name, place, source)
            return None if unknown else binding
        self._unknown(selector, place)
        return None

    def _unknown(self, name: str, place: str, sign: str = "") -> None:
        selectors, short = matching(name), configurables()
        if selectors:
            fix = f"write {' or '.join(sorted(selectors))}"
            self._problem(place, f"'{sign}{name}' is ambiguous", fix)
        else:
            names = short.values() if "." in name else short
            what = f"unknown gin name '{sign}{name}'"
            self._problem(place, what, suggestion(name, {*names, *short}))

    def _problem(self, where: str, what: str, fix: str) -> None:
        self.problems.append(UserError(what, where, fix))


class _Delegate(gin.config.ParserDelegate):
    """gin's references and macros; an unknown reference is kept, to be reported with its place."""

    def configurable_reference(self, scoped_selector: str, evaluate: bool) -> object:
        name = scoped_selector.rsplit("/", 1)[-1]
        if len(matching(name)) != 1:
            return _UnknownReference(name)
        return super().configurable_reference(scoped_selector, evaluate)


class _UnknownReference(NamedTuple):
    name: str


def leaves(value: object) -> Iterator[object]:
    """All leaves of a gin value, without the containers themselves."""
    if isinstance(value, dict):
        value = [*value, *value.values()]
    if isinstance(value, list | tuple) and not isinstance(value, _UnknownReference):
        for item in value:
            yield from leaves(item)
    else:
        yield value


def gin_files(folders: Sequence[Path]) -> set[str]:
    """The names of the .gin files in these folders."""
    return {file.name for folder in folders for file in folder.glob("*.gin")}
