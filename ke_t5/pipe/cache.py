"""Data sets that are built once: a key over their inputs, one builder, an atomic rename."""

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

from ke_t5.fault_points import fault_point
from ke_t5.files import Stamp, new_folder, remove_folder, remove_leftovers, stamp_of
from ke_t5.pipe.code import hash_code, reached_code
from ke_t5.pipe.integrity import fault_of, read_info, write_info

logger = logging.getLogger(__name__)

DATA_FILE = "data.arrow"
# datasets refuses longer fingerprints together with num_proc.
KEY_LENGTH = 32


@dataclasses.dataclass(frozen=True)
class Folders:
    """The folders of raw releases (`--hf_data_dir`, or None) and of what is built from them."""

    data: Path | None
    cache: Path


def default_cache_dir() -> Path:
    """`~/.cache/ke_t5`."""
    return Path.home() / ".cache" / "ke_t5"


def default_data_dir() -> Path | None:
    """`./data` if it exists."""
    folder = Path("data")
    return folder if folder.is_dir() else None


def make_key(parts: Any) -> str:
    """A hash of 32 hex digits over `describe(parts)`."""
    text = json.dumps(describe(parts), sort_keys=True, ensure_ascii=False)
    # An unpaired surrogate is reported when the row is stored.
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:KEY_LENGTH]


@functools.lru_cache(maxsize=1024)
def _hash_file(path: Path, _stamp: Stamp) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hash_files(paths: Iterable[Path]) -> list[str]:
    """The SHA-256 of each file (read once per process while it does not change)."""
    return [_hash_file(path, stamp_of(path)) for path in paths]


# Modules and packages that run after the examples are made: changing them leaves these unchanged.
AFTERWARDS = (
    "pipe.arguments", "pipe.batches", "pipe.decoding", "pipe.evaluation",
    "pipe.evaluation_batches", "pipe.generation", "pipe.model_inputs",
    "pipe.lazy_order", "pipe.lines", "pipe.mixture", "pipe.model_outputs", "pipe.monitor",
    "pipe.prediction", "pipe.scoring", "pipe.translation", "pipe.workers", "task.listing",
    "task.metrics", "task.release_check", "task.submission",
)  # fmt: skip


def runs_afterwards(module: str) -> bool:
    """Whether a module of this package (`pipe.batches`) is one of `AFTERWARDS` or in one."""
    return any(module == name or module.startswith(f"{name}.") for name in AFTERWARDS)


@functools.cache
def package_version() -> str:
    """A hash over this package's code that makes examples, without comments."""
    root = Path(__file__).resolve().parents[1]
    files = [
        path
        for room in ("pipe", "readers", "task", "own_data")
        for path in sorted((root / room).rglob("*.py"))
        if not runs_afterwards(".".join(path.relative_to(root).with_suffix("").parts))
    ]
    return hash_code([root / "class_numbers.py", root / "composition.py", *files])


def describe(thing: Any) -> Any:
    """JSON data that identify what `thing` computes.

    Functions and classes are described by their names, the code of their modules (see
    `code.reached_code`) and their closures; partials, dataclasses and other objects by their
    parts.

    Raises:
        ValueError: an object has no stable description.
    """
    return _describe(thing, ())


def code_of(thing: Any) -> list[Any]:
    """The code of the user's modules that a function or partial runs (see `code.reached_code`)."""
    names = {name for function in _functions(thing) for name in _module_names(function)}
    package = __name__.partition(".")[0]
    return [reached_code(name) for name in sorted(names) if name.partition(".")[0] != package]


def _functions(thing: Any) -> Iterator[Callable]:
    if isinstance(thing, functools.partial):
        for inner in (thing.func, *thing.args, *thing.keywords.values()):
            yield from _functions(inner)
    elif callable(thing):
        yield thing


def _describe(thing: Any, around: tuple[int, ...]) -> Any:
    """`describe` for a part of the objects with the ids `around`."""
    cls = type(thing)
    if cls in (type(None), str, int, float, bool):
        return thing
    if isinstance(thing, Path):
        return str(thing)
    if id(thing) in around:  # a recursive function, an object that refers to itself
        return ["inside", around.index(id(thing))]
    within = functools.partial(_describe, around=(*around, id(thing)))
    if cls is functools.partial:
        return ["partial", within(thing.func), within(thing.args), within(thing.keywords)]
    if isinstance(thing, Mapping):  # in order: label ids may depend on it
        return ["mapping", cls.__qualname__, [[within(k), within(v)] for k, v in thing.items()]]
    if cls in (list, tuple):
        return [within(value) for value in thing]
    if cls in (set, frozenset):
        return sorted(json.dumps(within(value), sort_keys=True) for value in thing)
    if inspect.isfunction(thing):
        return _describe_function(thing, within)
    if inspect.ismethod(thing):
        return ["method", within(thing.__func__), within(thing.__self__)]
    if inspect.isclass(thing):
        return ["class", thing.__module__, thing.__qualname__, reached_code(thing.__module__)]
    return _describe_object(thing, within)


def _describe_object(thing: Any, within: Callable[[Any], Any]) -> Any:
    """An object by its class and the parts that pickle would store."""
    if dataclasses.is_dataclass(thing):
        fields = {field.name: getattr(thing, field.name) for field in dataclasses.fields(thing)}
        return [within(type(thing)), within(fields)]
    if inspect.ismodule(thing):
        return ["module", thing.__name__, reached_code(thing.__name__)]
    module = type(thing).__module__
    if module != "builtins" or inspect.isbuiltin(thing):
        # Not its repr, which abbreviates long arrays and patterns.
        with suppress(TypeError, AttributeError, RuntimeError):  # locks, open files
            reduce = copyreg.dispatch_table.get(type(thing))
            state = reduce(thing) if reduce else thing.__reduce_ex__(4)
            if isinstance(state, str):
                module = thing.__module__ or module
                inner = within(getattr(thing, "__wrapped__", None))
                return ["global", module, state, reached_code(module), inner]
            parts = [list(part) if isinstance(part, Iterator) else part for part in state]
            return [within(type(thing)), *map(within, parts)]
    text = repr(thing)
    if " at 0x" in text:
        raise ValueError(
            f"{text} has no stable description, so its results cannot be cached: pass a "
            "function, a functools.partial, a dataclass or plain values"
        )
    return [type(thing).__qualname__, text]


def _describe_function(function: Callable, within: Callable[[Any], Any]) -> Any:
    closure = [_content(cell) for cell in function.__closure__ or ()]
    inner = getattr(function, "example_function", None)
    if inner is not None:  # a decorated preprocessor closes over itself
        closure = [inner]
    code = [[name, reached_code(name)] for name in _module_names(function)]
    return [
        "function",
        function.__module__,
        function.__qualname__,
        code,
        None if _is_found_by_name(function) else _digest(function.__code__),
        [within(value) for value in closure],
        within(function.__defaults__),
        within(function.__kwdefaults__),
    ]


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not filled yet
        return None


def _module_names(thing: Any) -> list[str]:
    """The modules that a callable names and that define it, two if `functools.wraps` was used."""
    globals_ = getattr(thing, "__globals__", {})
    names = {getattr(thing, "__module__", None), globals_.get("__name__")}
    if not hasattr(thing, "__globals__"):
        names.add(type(thing).__module__)
    return sorted(name for name in names if name)


def _is_found_by_name(function: Callable) -> bool:
    """Whether the function's name in its module leads to it, so that the module's source identifies
    it; False for a lambda or a name that was redefined."""
    thing: Any = sys.modules.get(function.__module__)
    if not getattr(thing, "__file__", None):
        return False
    for name in function.__qualname__.split("."):
        thing = getattr(thing, name, None)
    while thing is not None and thing is not function:
        thing = getattr(thing, "example_function", getattr(thing, "__wrapped__", None))
    return thing is function


def _digest(code: CodeType) -> str:
    """A hash of compiled code, independent of its position in the file."""
    constants = [
        _digest(constant) if isinstance(constant, CodeType) else describe(constant)
        for constant in code.co_consts
    ]
    parts = [code.co_code.hex(), code.co_names, code.co_varnames, constants]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:KEY_LENGTH]


def build_once(folder: Path, build: Callable[[Path], dict[str, Any]]) -> dict[str, Any]:
    """The content of the folder's `info.json`; a missing or damaged folder is built first.

    `build(temporary_folder)` writes the files and returns the content of `info.json`.
    """

    def build_with_info(temporary: Path) -> None:
        write_info(temporary, build(temporary))

    build_folder_once(folder, build_with_info, fault_of=fault_of)
    return read_info(folder)


def build_folder_once(
    folder: Path,
    build: Callable[[Path], None],
    *,
    fault_of: Callable[[Path], str | None] = lambda folder: None,
) -> None:
    """Makes `folder` if it does not exist: `build` fills a temporary one, which is then renamed.

    One process builds while the others wait. If it dies, its lock is released and the incomplete
    folder that it left is removed by the next.

    Args:
        fault_of: says what is wrong with an existing folder, which is then reported and built
            again; None for nothing.
    """
    from filelock import FileLock

    if folder.is_dir() and fault_of(folder) is None:
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_name(folder.name + ".lock")):
        if folder.is_dir():
            fault = fault_of(folder)
            if fault is None:
                return
            # Only critical lines are logged on every rank, and only the builder has this one.
            logger.critical("%s: %s; rebuilding it", folder, fault)
            remove_folder(folder)
        remove_leftovers(folder.parent, folder.name, is_alone=True)
        with new_folder(folder) as temporary:
            build(temporary)
            fault_point("cache.before_rename")
