"""Faults of the machine are not our bugs: one line, and exit code 5."""

import errno
import os

import pytest
from support.small_programs import LAUNCH_NAMES

from ke_t5 import failure
from ke_t5.errors import Exit


@pytest.fixture(autouse=True)
def nothing_announced(monkeypatch):
    monkeypatch.setattr(failure._Run, "folder", None)
    for name in LAUNCH_NAMES:
        monkeypatch.delenv(name, raising=False)


class OutOfMemoryError(RuntimeError):
    """Has the same name as torch's."""


class SafetensorError(Exception):
    """Has the same name as safetensors'."""


@pytest.mark.parametrize(
    "error, line",
    [
        (
            OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has"),
            "error: GPU: out of memory (tried to allocate 2.00 GiB); try a smaller --batch_size "
            "and a larger fit.accumulate; if it was evaluating, "
            "EvaluationHelper.eval_batch_tokens=4096",
        ),
        (
            RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"),
            "error: machine: out of memory; try a smaller --batch_size",
        ),
        (MemoryError(), "error: machine: out of memory; try a smaller"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "error: machine: out of memory; try"),
        (
            OSError(errno.ENOSPC, "No space left on device", "out/model"),
            "error: out/model: no space left on the disk; free some space, or choose another --out",
        ),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "error: disk: no space left on the disk; f"),
        (
            SafetensorError("Error while serializing: I/O error: No space left (os error 28)"),
            "error: disk: no space left on the disk; free some space",
        ),
        (  # as tokenizers raises it
            Exception("No space left on device (os error 28)"),
            "error: disk: no space left on the disk; free some space",
        ),
        (
            Exception("File too large (os error 27)"),
            "error: disk: a file would exceed the size limit; raise the limit (ulimit -f)",
        ),
        (
            OSError(errno.EMFILE, "Too many open files", "train.csv"),
            "error: machine: too many open files; raise the limit of the process or the system (ul",
        ),
        (Exception("Too many open files (os error 24)"), "error: machine: too many open files"),
        (
            OSError(errno.EIO, "Input/output error", "train.csv"),
            "error: train.csv: input/output error; check the disk or its mount, then start again",
        ),
        (OSError(errno.ESTALE, "Stale file handle"), "error: disk: stale file handle; check the"),
        (
            PermissionError(errno.EACCES, "Permission denied", "out"),
            "error: out: permission denied; check its owner and permissions",
        ),
        (
            RuntimeError("The server socket has failed to listen: EADDRINUSE"),
            "error: launcher: the port of the process group is taken; another run may be using it",
        ),
    ],
)
def test_fault_of_the_machine(error, line):
    ending = failure.ending_of(error)
    assert ending.line.startswith(line)
    assert ending.code == Exit.MACHINE


def test_a_deleted_current_folder_is_named(tmp_path, monkeypatch):
    folder = tmp_path / "gone"
    folder.mkdir()
    monkeypatch.chdir(folder)
    folder.rmdir()
    with pytest.raises(FileNotFoundError) as caught:
        os.getcwd()
    ending = failure.ending_of(caught.value)
    assert ending.line == "error: the current folder: it was deleted; change to another folder (cd)"
    assert ending.code == Exit.MACHINE
    assert failure.ending_of(ValueError("x")).line == "error: internal: ValueError: x"


@pytest.mark.parametrize(
    ("action", "what"),
    [
        (lambda out: (out / "eval" / "x.tmp-1").mkdir(), "eval: a file has the name of a folder"),
        (lambda out: (out / "eval").mkdir(), "eval: a file has the name of a folder"),
        (lambda out: os.replace(out / "eval", out / "logs"), "logs: a folder has the name of a f"),
    ],
)
def test_a_taken_name_in_the_runs_folder_is_not_a_bug(action, what, tmp_path, monkeypatch):
    (tmp_path / "eval").write_text("")
    (tmp_path / "logs").mkdir()
    with pytest.raises(OSError) as caught:
        action(tmp_path)
    assert "move it away" not in failure.ending_of(caught.value).line  # it may be a bug of ours
    monkeypatch.setattr(failure._Run, "folder", tmp_path)
    ending = failure.ending_of(caught.value)
    assert ending.code == Exit.MACHINE and ending.line.endswith("; move it away")
    assert f"/{what}" in ending.line


@pytest.mark.parametrize(
    "text", ["[pair.cc:534] Connection closed by peer [127.0.0.1]:1234", "Remote process exited or"]
)
def test_a_lost_process_is_not_a_bug(text, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    ending = failure.ending_of(RuntimeError(text))
    assert ending.line.startswith("error: process 0: another process of this run is gone")
    assert ending.code == Exit.MACHINE


@pytest.mark.parametrize(
    "text",
    [
        "[gloo/transport/tcp/pair.cc:144] Connection refused [127.0.0.1]:4021",
        "Gloo connectFullMesh failed with [gloo/transport/tcp/pair.cc:144] no error",
        "Socket Timeout", "Timed out waiting 1800000ms for send operation to complete",
        "The client socket has timed out after 300000ms while trying to connect to (node1, 29500)",
    ],
)  # fmt: skip
def test_an_unreachable_process_is_not_a_bug(text, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    ending = failure.ending_of(RuntimeError(text))
    assert ending.line.startswith("error: process 0: another process of this run cannot be reached")
    assert ending.code == Exit.MACHINE
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert failure.ending_of(RuntimeError(text)).code == failure.BUG
