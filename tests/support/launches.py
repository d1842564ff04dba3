"""Launches of the training script that start immediately and are really killed.

A server imports everything that a training needs and then forks: a launcher for each launch, and
from that the launch's processes. A SIGKILL hits a real process with open files of its own, but a
launch takes a second instead of ten.
"""

from __future__ import annotations

import json
import os
import random
import runpy
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from support.processes import python_path

ROOT = Path(__file__).resolve().parents[2]
TIMEOUT = 120  # seconds, for a launch that takes two


class Ended(NamedTuple):
    """How a launch ended.

    Attributes:
        codes: of its processes by rank, minus the signal of a killed one.
        seconds: that it took.
        errors: what process 0 wrote to standard error.
    """

    codes: list[int]
    seconds: float
    errors: str

    @property
    def is_killed(self) -> bool:
        """Whether a process was killed before its end."""
        return -signal.SIGKILL in self.codes


class Launches:
    """Starts one launch after another; a context manager."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __enter__(self) -> Launches:
        environment = {**os.environ, "PYTHONPATH": python_path()}
        self._server = subprocess.Popen(
            [sys.executable, "-m", "support.launches"], text=True, env=environment, cwd=self.folder,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        return self

    def __exit__(self, *exception: object) -> None:
        assert self._server.stdin is not None and self._server.stdout is not None
        self._server.stdin.close()
        self._server.stdout.close()
        self._server.wait(30)

    def train(
        self,
        *words: Any,
        ranks: int = 1,
        variables: Mapping[str, str] | None = None,
        kill_after: float | None = None,
        victim: int = 0,
    ) -> Ended:
        """A launch of `train_ddp.py`; as soon as one process is killed, so are the others.

        Args:
            variables: of the environment, such as `KE_T5_FAULT`.
            kill_after: seconds after which the process of rank `victim` is killed.
        """
        request = {
            "words": [str(word) for word in words], "ranks": ranks, "variables": variables or {},
            "kill_after": kill_after, "victim": victim,
        }  # fmt: skip
        assert self._server.stdin is not None and self._server.stdout is not None
        print(json.dumps(request), file=self._server.stdin, flush=True)
        answer = json.loads(self._server.stdout.readline())
        errors = (self.folder / "stderr-0").read_text(encoding="utf-8", errors="replace")
        return Ended(answer["codes"], answer["seconds"], errors)


# ----------------------------------------------------------------------------------- the server


def _serve() -> None:
    _import_everything()
    for line in sys.stdin:
        reader, writer = os.pipe()
        launcher = os.fork()
        if not launcher:
            _guarded(_answer, writer, line)
        os.close(writer)
        with os.fdopen(reader) as file:
            sys.stdout.write(f"{file.read()}\n")
            sys.stdout.flush()
        os.waitpid(launcher, 0)


def _import_everything() -> None:
    import datasets  # noqa: F401
    import matplotlib.backends.backend_agg  # noqa: F401
    import scipy.stats  # noqa: F401
    import sklearn.metrics  # noqa: F401
    import torch
    import torch.utils.tensorboard
    import transformers.models.roberta.modeling_roberta
    import transformers.models.t5.modeling_t5  # noqa: F401

    import ke_t5.cli
    import ke_t5.recipes.modelling
    import ke_t5.recipes.restored_results
    import ke_t5.recipes.resume_check
    import ke_t5.recipes.test
    import ke_t5.recipes.train
    import ke_t5.task.task  # noqa: F401
    import support.frozen  # noqa: F401 - the last

    torch.set_num_threads(1)


def _answer(writer: int, line: str) -> None:
    os.write(writer, json.dumps(_launch(json.loads(line))).encode())


def _launch(request: Mapping[str, Any]) -> dict[str, Any]:
    """Forks the processes of a launch and waits for their ends."""
    started, port = time.monotonic(), _free_port()
    running = {}
    for rank in range(request["ranks"]):
        child = os.fork()
        if not child:
            _guarded(_process, rank, port, request)
        running[child] = rank
    victims = {rank: child for child, rank in running.items()}
    codes: dict[int, int] = {}
    kill_at = None if request["kill_after"] is None else started + request["kill_after"]
    while running:
        child, status = os.waitpid(-1, os.WNOHANG)
        if child:
            codes[running.pop(child)] = os.waitstatus_to_exitcode(status)
        now = time.monotonic()
        if kill_at is not None and now >= kill_at:
            _kill([victims[request["victim"]]])
            kill_at = None
        if -signal.SIGKILL in codes.values() or now - started > TIMEOUT:
            _kill(running)
        if not child:
            time.sleep(0.002)
    seconds = time.monotonic() - started
    return {"codes": [codes[rank] for rank in sorted(codes)], "seconds": seconds}


def _kill(processes: Sequence[int] | Mapping[int, int]) -> None:
    for process in processes:
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)


def _process(rank: int, port: int, request: Mapping[str, Any]) -> None:
    import gin

    from ke_t5 import failure, fault_points
    from support.processes import rank_variables

    for number, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(f"{name}-{rank}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    if request["ranks"] > 1:
        os.environ.update(rank_variables(rank, request["ranks"], port))
    os.environ.update(request["variables"])
    fault_points.arm(os.environ)
    failure.STARTED = time.time()
    gin.clear_config()
    random.seed()  # as every interpreter does
    sys.argv = [str(ROOT / "train_ddp.py"), *request["words"]]
    runpy.run_path(sys.argv[0], run_name="__main__")


def _guarded(work: Callable, *arguments: Any) -> NoReturn:
    """Runs a forked process to its end."""
    code = 0
    try:
        work(*arguments)
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:
        traceback.print_exc()
        code = 99
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _free_port() -> int:
    from support.processes import free_port

    return free_port()


if __name__ == "__main__":
    _serve()
