"""Fast process starts: forked from a server that has imported torch and other libraries once.

A new interpreter takes five seconds of a core before it reaches our code. Our own modules are
imported in each process anew, as a user's start does.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import shutil
import signal
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from random import SystemRandom
from tempfile import mkdtemp
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
_HEAVY = (
    "torch", "torch._dynamo", "torch.utils.tensorboard", "datasets", "sentencepiece",
    "transformers", "transformers.models.auto.modeling_auto", "transformers.models.t5.modeling_t5",
    "transformers.models.bert.modeling_bert", "transformers.models.roberta.modeling_roberta",
    "sklearn.metrics", "scipy.stats", "matplotlib.backends.backend_agg", "pytest",
    "support.frozen",
)  # fmt: skip
TIMEOUT = 300  # seconds, for a run that takes ten
# A script and its arguments: torchrun, which starts the script that comes next.
TORCHRUN = ("tests/support/torchrun.py", "--standalone", "--nproc_per_node=2")


def process_context() -> Any:
    """Processes that are forked from the warm server."""
    # torch reads it when it is imported, which a start of its own comes to later (rendezvous).
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(_HEAVY))  # of no effect once the server runs
    return context


# ------------------------------------------------------------------------------------- functions


def run_on_ranks(function: Callable, num_ranks: int, *arguments: Any) -> list[Any]:
    """What `function(ranks, *arguments)` returns on each of `num_ranks` gloo processes, by rank.

    The function must be importable (each process looks it up by name).
    """
    context = process_context()
    answers, port = context.Queue(), free_port()
    processes = [
        context.Process(
            target=_rank_main, args=(rank, num_ranks, port, answers, function, arguments)
        )
        for rank in range(num_ranks)
    ]
    for process in processes:
        process.start()
    results = dict(answers.get(timeout=300) for _ in processes)
    for process in processes:
        process.join(30)
    errors = [value for value in results.values() if isinstance(value, str)]
    assert not errors, errors[0]
    return [results[rank] for rank in range(num_ranks)]


def python_path() -> str:
    """`PYTHONPATH` for a process that must find the same modules as this one, helpers included."""
    paths = [str(ROOT), str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")]
    return os.pathsep.join(filter(None, paths))


def free_port() -> int:
    """A port of this machine that nobody listens on, and that no connection will be given before
    it is used: the system takes those from 32,768 on."""
    while True:
        port = SystemRandom().randrange(10_000, 32_768)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def rank_variables(rank: int, num_ranks: int, port: int) -> dict[str, str]:
    """The variables that a launcher sets for one of several processes on one machine."""
    return {
        "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(num_ranks),
        "LOCAL_WORLD_SIZE": str(num_ranks), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
    }  # fmt: skip


def _rank_main(rank, num_ranks, port, answers, function, arguments):
    os.environ.update(rank_variables(rank, num_ranks, port))
    try:
        from ke_t5.distributed import session

        with session() as ranks:
            answers.put((rank, function(ranks, *arguments)))
    except BaseException:
        answers.put((rank, traceback.format_exc()))
        raise


# --------------------------------------------------------------------------------------- scripts


class Script:
    """A running script, with its output in files."""

    def __init__(
        self, script: str | Path, *words: Any, folder: Path = ROOT, **variables: str
    ) -> None:
        self.outputs = Path(mkdtemp(prefix="script-"))
        self.args = [str(ROOT / script), *map(str, words)]
        environment = {**os.environ, **variables}
        self.process = process_context().Process(
            target=_script_main, args=(self.args, str(folder), environment, str(self.outputs))
        )
        self.process.start()

    @property
    def errors(self) -> str:
        """What it has written to stderr so far."""
        file = self.outputs / "stderr"
        return file.read_text(encoding="utf-8", errors="replace") if file.exists() else ""

    def wait_until(self, condition: Callable[[], Any]) -> None:
        """Returns as soon as the condition is true while the script runs."""
        started = time.monotonic()
        while not condition():
            assert self.process.is_alive(), self.errors
            assert time.monotonic() - started < TIMEOUT, self.errors
            time.sleep(0.005)

    def kill(self, number: int) -> None:
        """Sends it a signal."""
        with suppress(ProcessLookupError):  # it has come to its end
            os.kill(self.process.pid, number)

    def end(self) -> subprocess.CompletedProcess[str]:
        """Waits for its end; returns exit code (minus the signal if killed), stdout and stderr."""
        self.process.join(TIMEOUT)
        assert not self.process.is_alive(), self.errors
        output, errors = (self.outputs / "stdout").read_text(encoding="utf-8"), self.errors
        shutil.rmtree(self.outputs)
        return subprocess.CompletedProcess(self.args, self.process.exitcode, output, errors)


def run_script(
    script: str | Path, *words: Any, folder: Path = ROOT
) -> subprocess.CompletedProcess[str]:
    """The result of `python script words` in `folder`."""
    return Script(script, *words, folder=folder).end()


def run_script_on_ranks(
    num_ranks: int, script: str | Path, *words: Any, folder: Path = ROOT
) -> list[subprocess.CompletedProcess[str]]:
    """The results of a script in each process that a launcher would start."""
    if num_ranks == 1:
        return [run_script(script, *words, folder=folder)]
    port = free_port()
    scripts = [
        Script(script, *words, folder=folder, **rank_variables(rank, num_ranks, port))
        for rank in range(num_ranks)
    ]
    return [started.end() for started in scripts]


def _script_main(args, folder, environment, outputs):
    for number, name in ((1, "stdout"), (2, "stderr")):
        file = os.open(f"{outputs}/{name}", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(file, number)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.argv = args
    # As in a fresh interpreter: the script's folder, and nothing from the tests.
    others = [path for path in sys.path if path and not Path(path).is_relative_to(ROOT / "tests")]
    sys.path[:] = [str(Path(args[0]).parent), str(ROOT), *others]
    runpy.run_path(args[0], run_name="__main__")
