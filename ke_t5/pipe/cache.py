"""Data sets that are built once: a key over all that they depend on, one builder, atomic rename."""

from __future__ import annotations

import copyreg
import dataclasses
import functools
import hashlib
import inspect
import json
import logging
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from types import CodeType
from typing import Any

from ke_t5.files import new_folder, remove_leftovers
from ke_t5.pipe.code import hash_code, reached_code

logger = logging.getLogger(__name__)

INFO_FILE = "info.json"
DATA_FILE = "data.arrow"
# datasets refuses longer fingerprints together with num_proc.
KEY_LENGTH = 32


@dataclasses.dataclass(frozen=True)
class Folders:
    """Where data lies: raw releases (`--hf_data_dir`, or none) and what is built from them."""

    data: Path | None
    cache: Path


def default_cache_dir() -> Path:
    """`~/.cache/ke_t5`."""
    return Path.home() / ".cache" / "ke_t5"


def default_data_dir() -> Path | None:
    """`./data` if there is such a folder."""
    folder = Path("data")
    return folder if folder.is_dir() else None


def make_key(parts: Any) -> str:
    """32 hex digits over `parts`, which are turned into JSON by `describe`."""
    text = json.dumps(describe(parts), sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:KEY_LENGTH]


@functools.lru_cache(maxsize=1024)
def _hash_file(path: str, _size: int, _modified_ns: int) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hash_files(paths: Iterable[Path]) -> list[str]:
    """The SHA-256 of each file (read once per process while it does not change)."""
    hashes = []
    for path in paths:
        stat = path.stat()
        hashes.append(_hash_file(str(path), stat.st_size, stat.st_mtime_ns))
    return hashes


# Modules and packages that run only once there are examples: a change there makes no others.
AFTERWARDS = (
    "pipe.arguments", "pipe.batches", "pipe.evaluation", "pipe.generation", "pipe.mixture",
    "pipe.model_outputs", "pipe.monitor", "pipe.prediction", "task.metrics", "task.submission",
)  # fmt: skip


def runs_afterwards(module: str) -> bool:
    """Whether a module of this package (`pipe.batches`) is one of `AFTERWARDS` or in one."""
    return any(module == name or module.startswith(f"{name}.") for name in AFTERWARDS)


@functools.cache
def package_version() -> str:
    """A hash over the code of this package that makes examples; comments do not count."""
    root = Path(__file__).resolve().parents[1]
    files = [
        path
        for room in ("pipe", "readers", "task")
        for path in sorted((root / room).rglob("*.py"))
        if not runs_afterwards(".".join(path.relative_to(root).with_suffix("").parts))
    ]
    return hash_code([root / "class_numbers.py", root / "composition.py", *files])


def describe(thing: Any) -> Any:
    """`thing` as JSON data that is equal exactly when it computes the same.

    Functions and classes are described by their names, the code of their modules (see
    `code.reached_code`) and what they close over; partials, dataclasses and other objects by their
    parts. Anything without a stable description raises ValueError.
    """
    return _describe(thing, ())


def code_of(thing: Any) -> list[Any]:
    """The modules of the user's own that `thing`, a function or a partial of one, runs."""
    names = {name for function in _functions(thing) for name in _module_names(function)}
    package = __name__.partition(".")[0]
    return [reached_code(name) for name in sorted(names) if name.partition(".")[0] != package]


def _functions(thing: Any) -> Iterator[Callable]:
    if isinstance(thing, functools.partial):
        for part in (thing.func, *thing.args, *thing.keywords.values()):
            yield from _functions(part)
    elif callable(thing):
        yield thing


def _describe(thing: Any, around: tuple[int, ...]) -> Any:
    """`describe`, inside the things with the ids `around`."""
    kind = type(thing)
    if kind in (type(None), str, int, float, bool):
        return thing
    if isinstance(thing, Path):
        return str(thing)
    if id(thing) in around:  # a function that calls itself, an object that holds itself
        return ["inside", around.index(id(thing))]
    within = functools.partial(_describe, around=(*around, id(thing)))
    if kind is functools.partial:
        return ["partial", within(thing.func), within(thing.args), within(thing.keywords)]
    if isinstance(thing, Mapping):  # in its order: the ids of labels may hang on it
        return ["mapping", kind.__qualname__, [[within(k), within(v)] for k, v in thing.items()]]
    if kind in (list, tuple):
        return [within(value) for value in thing]
    if kind in (set, frozenset):
        return sorted(json.dumps(within(value), sort_keys=True) for value in thing)
    if inspect.isfunction(thing):
        return _describe_function(thing, within)
    if inspect.ismethod(thing):
        return ["method", within(thing.__func__), within(thing.__self__)]
    if inspect.isclass(thing):
        return ["class", thing.__module__, thing.__qualname__, reached_code(thing.__module__)]
    return _describe_object(thing, within)


def _describe_object(thing: Any, within: Callable[[Any], Any]) -> Any:
    """An object by its class and its parts: what a copy of it would be made from."""
    if dataclasses.is_dataclass(thing):
        fields = {field.name: getattr(thing, field.name) for field in dataclasses.fields(thing)}
        return [within(type(thing)), within(fields)]
    if inspect.ismodule(thing):
        return ["module", thing.__name__, reached_code(thing.__name__)]
    module = type(thing).__module__
    if module != "builtins" or inspect.isbuiltin(thing):
        # Not the text that Python shows: it leaves out the middle of a long array or pattern.
        with suppress(TypeError, AttributeError, RuntimeError):  # locks, open files
            reduce = copyreg.dispatch_table.get(type(thing))
            made_from = reduce(thing) if reduce else thing.__reduce_ex__(4)
            if isinstance(made_from, str):
                module = thing.__module__ or module
                inner = within(getattr(thing, "__wrapped__", None))
                return ["global", module, made_from, reached_code(module), inner]
            parts = [list(part) if isinstance(part, Iterator) else part for part in made_from]
            return [within(type(thing)), *map(within, parts)]
    text = repr(thing)
    if " at 0x" in text:
        raise ValueError(
            f"{text} has no stable description, so what it makes cannot be cached: pass a "
            "function, a functools.partial, a dataclass or plain values"
        )
    return [type(thing).__qualname__, text]


def _describe_function(function: Callable, within: Callable[[Any], Any]) -> Any:
    closed_over = [_content(cell) for cell in function.__closure__ or ()]
    inner = getattr(function, "example_function", None)
    if inner is not None:  # a decorated preprocessor closes over itself
        closed_over = [inner]
    code = [[name, reached_code(name)] for name in _module_names(function)]
    return [
        "function",
        function.__module__,
        function.__qualname__,
        code,
        None if _is_found_by_name(function) else _digest(function.__code__),
        [within(value) for value in closed_over],
        within(function.__defaults__),
        within(function.__kwdefaults__),
    ]


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not filled yet
        return None


def _module_names(thing: Any) -> list[str]:
    """The modules that a callable says it is of, and is of: `functools.wraps` copies the name."""
    globals_ = getattr(thing, "__globals__", {})
    names = {getattr(thing, "__module__", None), globals_.get("__name__")}
    if not hasattr(thing, "__globals__"):
        names.add(type(thing).__module__)
    return sorted(name for name in names if name)


def _is_found_by_name(function: Callable) -> bool:
    """Whether the module has this very function under its name, so that its source is enough: not
    so for a lambda, or for one of two functions of one name."""
    found: Any = sys.modules.get(function.__module__)
    if not getattr(found, "__file__", None):
        return False
    for part in function.__qualname__.split("."):
        found = getattr(found, part, None)
    while found is not None and found is not function:
        found = getattr(found, "example_function", getattr(found, "__wrapped__", None))
    return found is function


def _digest(code: CodeType) -> str:
    """A hash of compiled code that does not depend on where it stands."""
    constants = [
        _digest(constant) if isinstance(constant, CodeType) else describe(constant)
        for constant in code.co_consts
    ]
    parts = [code.co_code.hex(), code.co_names, code.co_varnames, constants]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:KEY_LENGTH]


def build_once(folder: Path, build: Callable[[Path], dict[str, Any]]) -> dict[str, Any]:
    """The information stored with `folder`, after building it if nobody has.

    `build(temporary_folder)` writes the files and returns what `info.json` shall hold.
    """

    def build_with_info(temporary: Path) -> None:
        text = json.dumps(build(temporary), ensure_ascii=False, indent=1)
        (temporary / INFO_FILE).write_text(text, encoding="utf-8")

    build_folder_once(folder, build_with_info)
    return json.loads((folder / INFO_FILE).read_text(encoding="utf-8"))


def build_folder_once(folder: Path, build: Callable[[Path], None]) -> None:
    """Makes `folder` if it is not there: `build` fills a temporary one, which is then renamed.

    One process builds while the others wait; the lock of a process that died is free at once, and
    the half-made folder it left is removed.
    """
    from filelock import FileLock

    if folder.is_dir():
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_name(folder.name + ".lock")):
        if folder.is_dir():
            return
        remove_leftovers(folder.parent, folder.name, is_alone=True)
        with new_folder(folder) as temporary:
            build(temporary)
