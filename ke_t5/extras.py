"""Optional libraries, which extras of the package install."""

from __future__ import annotations

from importlib.util import find_spec

from ke_t5.errors import Exit, UserError


def require_extra(where: str, extra: str, *modules: str) -> None:
    """Raises UserError, with the command that installs the extra, if a module is missing."""
    missing = [name for name in modules if find_spec(name) is None]
    if missing:
        what = f"{missing[0]} is not installed"
        raise UserError(what, where, f'run pip install "ke_t5[{extra}]"', Exit.FLAGS)
