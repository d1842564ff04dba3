"""Imports of modules that the user names, and the error if one fails."""

from __future__ import annotations

import importlib
import os
import traceback
from collections.abc import Callable
from types import ModuleType

from ke_t5.errors import UserError


def import_user_module(name: str, where: str, *, missing: Callable[[str], UserError]) -> ModuleType:
    """The module of that name.

    Args:
        where: the flag that names it, for messages.
        missing: the error if the module, or a package around it, does not exist, by its name.

    Raises:
        UserError: there is no such module, or its own code fails; the cause is the exception.
    """
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
