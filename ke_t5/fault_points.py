"""Named places at which a test can break the program: `KE_T5_FAULT=checkpoint.before_rename`.

`KE_T5_FAULT` is `NAME[:COUNT][@RANK][=ACTION]`: ACTION (default: `kill`) happens when the process
of RANK (default: any) passes the place for the COUNTth time (default: the first). Without the
variable nothing happens.
"""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple, NoReturn

VARIABLE = "KE_T5_FAULT"
FAULT = re.compile(r"(?P<name>[\w.]+)(:(?P<count>\d+))?(@(?P<rank>\d+))?(=(?P<action>\w+))?")

FAULT_POINTS = (
    "cache.before_rename",
    "run.before_record", "run.before_model",
    "train.before_first_step", "train.before_forward", "train.before_backward",
    "train.after_optimizer",
    "log.before_write", "log.after_write",
    "evaluate.before_batch", "generate.before_batch",
    "results.before_rename", "results.after_rename",
    "checkpoint.written_0", "checkpoint.written_1", "checkpoint.written_50",
    "checkpoint.written_99",
    "checkpoint.before_fsync", "checkpoint.before_rename", "checkpoint.after_rename",
    "checkpoint.before_best", "checkpoint.before_last", "checkpoint.before_delete",
    "export.before_rename", "export.after_rename",
)  # fmt: skip


def _raise() -> NoReturn:
    raise RuntimeError(f"broken by {VARIABLE}")


ACTIONS: dict[str, Callable[[], object]] = {
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "term": lambda: os.kill(os.getpid(), signal.SIGTERM),
    "stop": lambda: os.kill(os.getpid(), signal.SIGSTOP),
    "exit": lambda: os._exit(1),
    "raise": _raise,
    "sleep": lambda: time.sleep(3600),
}


class _Fault(NamedTuple):
    """The fault that `KE_T5_FAULT` asks of this process, at the `count`th pass from now on."""

    name: str
    count: int
    action: str


_fault: _Fault | None = None


def arm(variables: Mapping[str, str]) -> None:
    """Arms the fault point that `KE_T5_FAULT` names in these environment variables, if any.

    Raises:
        ValueError: there is no such fault point or action.
    """
    global _fault
    _fault = None
    text = variables.get(VARIABLE)
    if not text:
        return
    match = FAULT.fullmatch(text)
    action = match and (match["action"] or "kill")
    if match is None or match["name"] not in FAULT_POINTS or action not in ACTIONS:
        raise ValueError(f"{VARIABLE}={text}: no such fault point or action")
    if match["rank"] in (None, variables.get("RANK", "0")):
        _fault = _Fault(match["name"], int(match["count"] or 1), action)


def fault_point(name: str) -> None:
    """A place at which a test can break the program: one of `FAULT_POINTS`."""
    global _fault
    if _fault is None or _fault.name != name:
        return
    _fault = _fault._replace(count=_fault.count - 1)
    if _fault.count == 0:
        ACTIONS[_fault.action]()


arm(os.environ)
