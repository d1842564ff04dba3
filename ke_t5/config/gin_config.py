"""The run's gin files and parameters, checked against the code before anything is bound.

>>> configuration = configure(["train_default.gin"], ["AdamW.lr=3e-4"])  # doctest: +SKIP
>>> configuration.value("AdamW.lr")  # doctest: +SKIP
0.0003
"""

from __future__ import annotations

import copy
import functools
import importlib
import inspect
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

import gin.config

from ke_t5.config import bindings as gin_bindings
from ke_t5.config.annotations import fits, hint_of, shown
from ke_t5.config.bindings import CONSTANT, MACRO, Binding, Reader, leaves
from ke_t5.config.ranges import problem_of
from ke_t5.errors import UserError, nearest, suggestion
from ke_t5.user_modules import import_user_module

# (scope, complete name, parameter)
Key = tuple[str, str, str]
SEARCH = (Path("gin"), Path(__file__).resolve().parents[1] / "gin")


@dataclass(frozen=True)
class Configuration:
    """The bindings in effect and their places.

    Attributes:
        bindings: (scope, complete name, parameter) -> the binding in effect.
        notes: a line for each binding given twice and for each that a flag overrides.
    """

    bindings: Mapping[Key, Binding] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, bindings: Iterable[Binding]) -> Configuration:
        """The configuration of bindings in reading order: the last one of a key is used."""
        final: dict[Key, Binding] = {}
        notes = []
        for binding in bindings:
            before = final.get(binding.key)
            # A parameter on the command line is meant to replace that of a file.
            deliberate = before and (binding.source, before.source) == ("param", "file")
            if before and not deliberate and not is_required(before.value):
                notes.append(
                    f"{binding.place}: {binding.name!r} is bound at {before.place} too; "
                    f"{binding.place} is used"
                )
            final[binding.key] = binding
        return cls(MappingProxyType(final), tuple(notes))

    def bound(self, name: str) -> bool:
        """Whether `name` ("AdamW.lr", unscoped) is bound."""
        return self._key(name) in self.bindings

    def sets(self, *selectors: str) -> bool:
        """Whether any parameter of these configurables is bound."""
        complete = {name for selector in selectors for name in gin_bindings.matching(selector)}
        return any(selector in complete for _, selector, _ in self.bindings)

    def binding(self, name: str) -> Binding | None:
        """The binding of `name` in effect, None if it is not bound."""
        return self.bindings.get(self._key(name))

    def value(self, name: str, default: object = None) -> object:
        """The bound value of `name`, with macros and calls resolved, or `default`."""
        binding = self.binding(name)
        return default if binding is None else copy.deepcopy(binding.value)

    def conflict(self, name: str, value: object, place: str) -> str | None:
        """A line if `name` is bound to another value than the one that is used.

        Args:
            place: the source of that value: a flag as given ("--learning_rate 3e-4").
        """
        before = self.binding(name)
        bound = self.value(name)
        if before is None or bound == value:
            return None
        return f"{place} is used, not {before.place}: {before.name} = {bound!r}"

    def with_binding(self, name: str, value: object, place: str) -> Configuration:
        """The configuration with a binding of the run itself, which overrides that of a file, in
        gin too; a different value there is noted.

        Args:
            place: the source of the value, for that note.
        """
        scope, complete, parameter = key = self._key(name)
        with gin.unlock_config():
            gin.bind_parameter(key, value)
        binding = Binding(scope, complete, parameter, value, name, place, "run")
        note = self.conflict(name, value, place)
        notes = self.notes if note is None else (*self.notes, note)
        return Configuration(MappingProxyType({**self.bindings, key: binding}), notes)

    def unread(self, *, ignored: str = "") -> list[str]:
        """A line for each of the user's bindings that this run has not read so far.

        Args:
            ignored: the short name of a configurable whose bindings may stay unread.
        """
        calls = gin_bindings.operative()
        lines = []
        for key, binding in self.bindings.items():
            scope, complete, parameter = key
            # A binding without a scope, or in scope a, is read by calls in scope a/b too.
            read = any(
                called == complete and parameter in values and f"{inside}/".startswith(prefix)
                for (inside, called), values in calls.items()
                for prefix in (f"{scope}/" if scope else "",)
            )
            is_ignored = binding.source == "run" or complete.rpartition(".")[2] == ignored
            if not read and not is_ignored:
                lines.append(
                    f"{binding.place}: {binding.name!r} is set but this run never reads it"
                )
        return lines

    def operative(self, resolved: Mapping[str, object] | None = None) -> str:
        """The parameters that the run has read so far, with defaults, as the text of a gin file.

        Args:
            resolved: name ("AdamW.lr") -> the number or text that the run uses in its place.
        """
        text = gin.operative_config_str()
        for name, value in (resolved or {}).items():
            line = f"{name} = {value!r}"
            text, count = re.subn(rf"(?m)^{re.escape(name)} = .*$", lambda _, n=line: n, text)
            header = f"# Parameters for {name.rpartition('.')[0]}:\n"
            if not count and header in text:
                before, _, after = text.partition(header)
                rule, _, rest = after.partition("\n")
                text = f"{before}{header}{rule}\n{line}\n{rest}"
        return text

    def _key(self, name: str) -> Key:
        selector, _, parameter = name.rpartition(".")
        (complete,) = gin_bindings.matching(selector) or [selector]
        return "", complete, parameter


def configure(
    gin_files: Sequence[str] = (),
    gin_params: Sequence[str] = (),
    *,
    search: Sequence[Path] = SEARCH,
) -> Configuration:
    """Binds the files, then the parameters, and locks gin.

    Args:
        search: folders searched for a file that is not found as given.

    Raises:
        UserError: the first problem, with the places of the others. Nothing is bound then.
    """
    reader = Reader(search)
    read = [binding for name in gin_files for binding in reader.file(name)]
    read += [binding for text in gin_params for binding in reader.param(text)]
    configuration = Configuration.of(read)
    final = list(configuration.bindings.values())
    macros = {b.scope: b for b in final if b.selector == MACRO}
    problems = reader.problems + [p for b in final for p in faults(b, macros)]
    if problems:
        raise first_of(problems)
    for binding in final:
        gin.bind_parameter(binding.key, binding.value)
    gin.finalize()
    return configuration


def clear() -> None:
    """Removes all bindings and unlocks gin; configurables stay registered. For tests."""
    gin.clear_config()


def first_of(problems: Sequence[UserError]) -> UserError:
    """The first problem, followed by the places of the others."""
    first = problems[0]
    others = list(dict.fromkeys(p.where for p in problems[1:] if p.where != first.where))
    if others:
        shown = ", ".join(others[:5]) + (f" and {len(others) - 5} more" if others[5:] else "")
        first = UserError(first.what, first.where, f"{first.fix} (also: {shown})")
    return first


def faults(binding: Binding, macros: dict[str, Binding]) -> list[UserError]:
    """The problems with the name, the references or the type of one binding."""
    for reference in references(binding.value):
        name = "/".join(reference.scopes)
        if reference.config_key[1] == MACRO and name not in macros:
            fix = f"define it: {name} = ..."
            if macros:
                fix = suggestion(name, macros)
            return [UserError(f"unknown macro '%{name}'", binding.place, fix)]
    if is_required(binding.value):
        fix = f"give --gin_param '{binding.name}=...'"
        return [UserError(f"{binding.name!r} must be given", binding.place, fix)]
    if binding.selector == MACRO:
        return []
    return unknown_parameter(binding) or wrong_value(binding, macros)


def unknown_parameter(binding: Binding) -> list[UserError]:
    """The problem if there is no such parameter, or gin may not set it."""
    thing = gin_bindings.configurable(binding.selector)
    signature = inspect.signature(thing.wrapped).parameters.values()
    known = {p.name for p in signature if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)}
    takes_any = any(p.kind == p.VAR_KEYWORD for p in signature)
    allowed = set(thing.allowlist or known) - set(thing.denylist or ())
    denied = thing.denylist and binding.parameter in thing.denylist
    if binding.parameter in allowed or (takes_any and not thing.allowlist and not denied):
        return []
    what = f"{binding.name.rpartition('.')[0]!r} has no parameter {binding.parameter!r} to set"
    return [UserError(what, binding.place, suggestion(binding.parameter, allowed))]


def wrong_value(binding: Binding, macros: dict[str, Binding]) -> list[UserError]:
    """The problem if a value does not have the type or the range of the annotation."""
    wrapped = gin_bindings.configurable(binding.selector).wrapped
    hint = hint_of(wrapped, binding.parameter)
    value = resolved(binding.value, macros)
    if fits(value, hint):
        problem = None if references(value) else problem_of(value, hint)
        return (
            [UserError(f"{binding.name} {problem[0]}", binding.place, problem[1])]
            if problem
            else []
        )
    given = f"{value!r:.60}" if references(value) else f"{value!r:.60} ({type(value).__name__})"
    what = f"{binding.name!r} must be {shown(hint)}, not {given}"
    fix = "give one"
    if isinstance(value, str):
        # The usual mistakes: a name or a number in quotes.
        fix = f"write @{value}" if gin_bindings.matching(value) else "check the quotes"
    return [UserError(what, binding.place, fix)]


def references(value: object) -> list[gin.config.ConfigurableReference]:
    """All @references and %macros in a value."""
    return [leaf for leaf in leaves(value) if isinstance(leaf, gin.config.ConfigurableReference)]


def resolved(value: object, macros: dict[str, Binding], depth: int = 0) -> object:
    """The value of a %macro; other values unchanged."""
    if isinstance(value, gin.config.ConfigurableReference) and depth < len(macros):
        macro = macros.get("/".join(value.scopes))
        if value.config_key[1] == MACRO and macro:
            return resolved(macro.value, macros, depth + 1)
    return value


def is_required(value: object) -> bool:
    """Whether a value is %gin.REQUIRED, which must be set elsewhere."""
    if not isinstance(value, gin.config.ConfigurableReference):
        return False
    return value.config_key[1] == CONSTANT and copy.deepcopy(value) is gin.REQUIRED


def import_modules(names: Sequence[str]) -> None:
    """Imports the user's own modules, the current folder first on the path.

    Raises:
        UserError: names the module, the line and the reason; the user's exception is its cause.
            If the module itself fails, `keep_traceback` is set.
    """
    if names:
        folder = str(Path.cwd())
        # Behind other entries, a module of the same name elsewhere would win.
        sys.path[:] = [folder, *(entry for entry in sys.path if entry != folder)]
        importlib.invalidate_caches()
    for name in names:
        where = f"--module_import {name}"
        missing = functools.partial(_missing_module, name, where)
        if name.startswith("."):
            raise missing(name)
        import_user_module(name, where, missing=missing)


def _holds_code(folder: Path) -> bool:
    """Whether a folder contains Python modules."""
    return folder.is_dir() and any(folder.glob("*.py"))


def _missing_module(name: str, where: str, absent: str) -> UserError:
    """The error for a module that does not exist, or whose package `absent` does not."""
    if name.endswith(".py") or "/" in name:
        fix = f"write {name.removesuffix('.py').strip('./').replace('/', '.')}"
        return UserError("a module is named with dots, without .py", where, fix)
    *folders, last = absent.split(".")
    inside = Path.cwd().joinpath(*folders)
    files = inside.iterdir() if inside.is_dir() else []
    modules = {f.name.removesuffix(".py") for f in files if f.suffix == ".py" or _holds_code(f)}
    names = [name for name in modules if name.isidentifier()]
    near = nearest(last, names) or names
    fix = suggestion(absent, [".".join((*folders, name)) for name in near])
    return UserError(f"no module {absent!r} in {Path.cwd()}", where, fix)
