"""Starts of the two programs from a process that has imported our modules, but not torch.

A fresh interpreter takes half a second to a second before it reads a flag; a fork of the server
takes a few milliseconds, and still shows whether a start imports torch. Run as a script it is that
server: a line of JSON in, a line of JSON out.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from support.processes import python_path

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("torch", "transformers.modeling_utils", "sklearn", "matplotlib")
TIMEOUT = 120


class Ended(NamedTuple):
    """How a process ended; `heavy` lists the modules of `HEAVY` that it imported."""

    code: int
    output: str
    errors: str
    heavy: list[str]


class ColdServer:
    """A running server, which must be closed."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            cwd=ROOT, env={**os.environ, "PYTHONPATH": python_path()},
        )  # fmt: skip

    def run(
        self, args: Sequence[str], folder: Path, environments: Sequence[Mapping[str, str]]
    ) -> list[Ended]:
        """What processes of `python args` do in `folder`, one for each of the environments; if one
        of them fails, the others are ended as torchrun does."""
        with TemporaryDirectory() as outputs:
            places = [str(Path(outputs, str(i))) for i, _ in enumerate(environments)]
            order = {"args": list(args), "folder": str(folder), "outputs": places}
            order["environments"] = [dict(environment) for environment in environments]
            assert self._process.stdin and self._process.stdout
            self._process.stdin.write(json.dumps(order) + "\n")
            self._process.stdin.flush()
            codes = json.loads(self._process.stdout.readline())
            return [_ended(code, Path(place)) for code, place in zip(codes, places, strict=True)]

    def close(self) -> None:
        """Ends the server."""
        self._process.communicate()


def _ended(code: int, place: Path) -> Ended:
    # A process that was ended by another one's failure has not written these.
    files = [place / name for name in ("stdout", "stderr", "heavy")]
    texts = [file.read_text(errors="replace") if file.exists() else "" for file in files]
    return Ended(code, *texts[:2], texts[2].split())


# ------------------------------------------------------------------------------------ the server


def serve() -> None:
    """Handles requests until stdin is closed."""
    # Read at the import of transformers, which a start of its own comes to later (recipes.prepare).
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    import datasets  # noqa: F401
    import transformers  # noqa: F401

    import ke_t5.cli  # noqa: F401
    import ke_t5.recipes.test  # noqa: F401
    import ke_t5.recipes.train  # noqa: F401

    assert not set(HEAVY) & set(sys.modules)
    for line in sys.stdin:
        order = json.loads(line)
        children = [
            _fork(order, environment, place)
            for environment, place in zip(order["environments"], order["outputs"], strict=True)
        ]
        sys.stdout.write(json.dumps(_codes_of(children)) + "\n")
        sys.stdout.flush()


def _fork(order: dict[str, Any], environment: dict[str, str], place: str) -> int:
    os.mkdir(place)
    child = os.fork()
    if child == 0:
        _start(order["args"], order["folder"], environment, place)
    return child


def _codes_of(children: list[int]) -> list[int]:
    codes: dict[int, int] = {}
    end, ended = time.monotonic() + TIMEOUT, set()
    while len(codes) < len(children):
        running = [child for child in children if child not in codes]
        for child in running:
            pid, status = os.waitpid(child, os.WNOHANG)
            if pid:
                codes[child] = os.waitstatus_to_exitcode(status)
        is_late = time.monotonic() > end
        if any(codes.values()) or is_late:
            for child in set(running) - set(codes) - (set() if is_late else ended):
                os.kill(child, signal.SIGKILL if is_late else signal.SIGTERM)
                ended.add(child)
        time.sleep(0.005)
    return [codes[child] for child in children]


def _start(args: list[str], folder: str, environment: dict[str, str], place: str) -> None:
    import ke_t5.failure

    leave = os._exit

    def end(code: int) -> None:
        Path(place, "heavy").write_text(" ".join(name for name in HEAVY if name in sys.modules))
        leave(code)

    for number, name in ((0, "stdin"), (1, "stdout"), (2, "stderr")):
        os.dup2(os.open(f"{place}/{name}", os.O_RDWR | os.O_CREAT | os.O_APPEND), number)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    os._exit, ke_t5.failure.STARTED, tempfile.tempdir = end, time.time(), None
    script, *words = args
    # As if started in the clone, whose path would appear in some lines.
    sys.argv, sys.path[0] = [Path(script).name, *words], str(ROOT)
    code = 1
    try:
        program = compile(Path(script).read_text(encoding="utf-8"), script, "exec")
        exec(program, {"__name__": "__main__", "__file__": script})
    except SystemExit as error:
        code = int(error.code or 0)
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    end(code)


if __name__ == "__main__":
    serve()
