"""Imports of modules that the user names, and the error if one fails."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType

from ke_t5.errors import UserError


def import_user_module(name: str, where: str, *, missing: Callable[[str], UserError]) -> ModuleType:
    """Imports a module and returns it.

    Args:
        where: the flag that names it, for messages.
        missing: makes the error for a module, or a package around it, that does not exist.

    Raises:
        UserError: there is no such module, or its own code fails; the cause is the exception.
    """
    # Not at the top: settings are read without what `pipe` needs. Nor in the finder: its imports
    # would be sent to itself.
    from ke_t5.pipe.code import is_users_own

    if not any(isinstance(finder, _SourceFinder) for finder in sys.meta_path):
        place = sys.meta_path.index(PathFinder) if PathFinder in sys.meta_path else 0
        sys.meta_path.insert(place, _SourceFinder(is_users_own))
    try:
        return importlib.import_module(name)
    except UserError:
        raise
    except (Exception, SystemExit) as error:
        # `import a.b` reports a missing `a`, too; anything else is missing inside the module.
        absent = error.name if isinstance(error, ModuleNotFoundError) else None
        if absent is not None and f"{name}.".startswith(f"{absent}."):
            raise missing(absent) from error
        raise failed_import(name, where, error) from error


def failed_import(name: str, where: str, error: BaseException) -> UserError:
    """The error for a module whose code fails, with the place and the reason."""
    if isinstance(error, SyntaxError):
        file, line = str(error.filename), error.lineno
    else:
        file, line, *_ = traceback.extract_tb(error.__traceback__)[-1]
    file = file.removeprefix(os.getcwd() + os.sep)
    reason = f"{type(error).__name__}: {error}".splitlines()[0]
    what = f"the import of {name!r} fails at {file}:{line}: {reason}"
    problem = UserError(what, where, "fix the module")
    problem.keep_traceback = True
    return problem


class _SourceLoader(SourceFileLoader):
    """Always compiles the source: Python uses a stale `.pyc` if size and second are the same, and
    examples would be made by other code than their cache key says."""

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        return self.source_to_code(self.get_data(path), path)


class _SourceFinder:
    """Finds what `PathFinder` does; the user's own modules get a `_SourceLoader`."""

    def __init__(self, is_users_own: Callable[[Path], bool]) -> None:
        self._is_users_own = is_users_own

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        spec = PathFinder.find_spec(name, path, target)
        if spec and spec.origin and type(spec.loader) is SourceFileLoader:
            if self._is_users_own(Path(spec.origin).resolve()):
                spec.loader = _SourceLoader(name, spec.origin)
        return spec

    def invalidate_caches(self) -> None:
        """Does nothing: `PathFinder` is in the list as well."""
