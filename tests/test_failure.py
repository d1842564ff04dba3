"""Each way a process can end: what is printed, what is written, and the exit code."""

import errno
import json
import os
import time
from pathlib import Path

import gin
import pytest
from support.processes import TORCHRUN, Script
from support.small_programs import CHECKOUT, LAUNCH_NAMES, PROGRAM, ended, started

from ke_t5 import failure
from ke_t5.errors import Exit, Stopped, UserError

BAD_FLAG = 'raise UserError("too small", "--batch_size 0", "give 1 or more")'


def ranks(bodies: list[str], folder: Path, **environment: str) -> list[tuple[int, str]]:
    """Several processes of one launch, run concurrently."""
    size = str(len(bodies))
    processes = [
        started(body, folder, RANK=str(rank), WORLD_SIZE=size, **environment)
        for rank, body in enumerate(bodies)
    ]
    return [ended(process) for process in processes]


@pytest.fixture(autouse=True)
def nothing_announced(monkeypatch):
    monkeypatch.setattr(failure._Run, "folder", None)
    for name in LAUNCH_NAMES:
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("body, code", [("return None", 0), ("return 3", 3), ("sys.exit(0)", 0)])
def test_a_main_that_returns_ends_with_its_exit_code(body, code, tmp_path):
    assert ended(started(body, tmp_path)) == (code, "")


def test_user_error_is_one_line_and_leaves_no_file(tmp_path):
    line = "error: --batch_size 0: too small; give 1 or more\n"
    assert ended(started(BAD_FLAG, tmp_path)) == (Exit.FLAGS, line)
    assert list(tmp_path.iterdir()) == []


def test_debug_shows_the_traceback_too(tmp_path):
    code, told = ended(started(BAD_FLAG, tmp_path, "--debug"))
    assert code == Exit.FLAGS
    assert told.startswith("Traceback (most recent call last):")
    assert told.endswith("\nerror: --batch_size 0: too small; give 1 or more\n")


@pytest.mark.parametrize("exit_code", [Exit.FLAGS, Exit.CHECKPOINT])
def test_a_command_that_starts_nothing_leaves_no_folder(exit_code, tmp_path):
    body = f"""
    announce_run_folder("out/model/task")
    raise UserError("w", "x", "f", Exit({int(exit_code)}))
    """
    assert ended(started(body, tmp_path)) == (exit_code, "error: x: w; f\n")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("exit_code", [Exit.DATA, Exit.CHECKPOINT, Exit.MACHINE, Exit.DIVERGED])
def test_exit_code_and_error_json(exit_code, tmp_path):
    body = f"""
    announce_run_folder("run")
    raise UserError("w", "x.json:3", "f", Exit({int(exit_code)}))
    """
    (tmp_path / "run").mkdir()
    assert ended(started(body, tmp_path)) == (exit_code, "error: x.json:3: w; f\n")
    assert json.loads((tmp_path / "run" / "error.json").read_text()) == {
        "code": exit_code,
        "message": "error: x.json:3: w; f",
        "rank": 0,
        "traceback_file": "run/logs/rank0.log",
    }
    log = (tmp_path / "run" / "logs" / "rank0.log").read_text()
    assert log.startswith("Traceback") and "ke_t5.errors.UserError: error: x.json:3: w; f" in log


def test_a_bug_without_a_run_folder_prints_the_traceback(tmp_path):
    code, told = ended(started("return {}['x\\ny']", tmp_path))
    assert code == 1
    assert told.startswith("Traceback")
    last = told.splitlines()[-1]
    assert last == (r"error: internal: KeyError: 'x\ny'; please report it with the traceback above")


def test_a_bug_with_a_run_folder_is_recorded_there(tmp_path):
    code, told = ended(started("announce_run_folder('run'); return 1 / 0", tmp_path))
    assert (code, told) == (
        1,
        "error: internal: ZeroDivisionError: division by zero; "
        "please report it with run/logs/rank0.log\n",
    )
    assert "ZeroDivisionError" in (tmp_path / "run" / "logs" / "rank0.log").read_text()


def test_an_error_in_a_users_module_names_its_line(tmp_path):
    (tmp_path / "my_model.py").write_text("def forward(x):\n    return int(x)\n")
    body = "sys.path.append('.'); import my_model; my_model.forward('three')"
    code, told = ended(started(f"import sys; {body}", tmp_path))
    (log,) = tmp_path.glob("*.log")
    assert (code, told) == (
        2,
        "error: my_model.py:2: ValueError: invalid literal for int() with base 10: 'three'; "
        f"fix the module (traceback: {log})\n",
    )


def test_traceback_of_user_code_is_kept(tmp_path):
    body = """
    try:
        no_such_name
    except NameError as error:
        problem = UserError("its import fails", "--module_import a", "fix the module")
        problem.keep_traceback = True
        raise problem from error
    """
    code, told = ended(started(body, tmp_path))
    (log,) = tmp_path.iterdir()
    assert (code, told) == (
        Exit.FLAGS,
        f"error: --module_import a: its import fails; fix the module (traceback: {log})\n",
    )
    assert "NameError" in log.read_text()


@pytest.mark.parametrize(
    "body, line",
    [
        (
            "raise Stopped",
            "stopped: the run was asked to stop and has saved; continue with --resume true",
        ),
        ("raise Stopped('saved step 3')", "stopped: saved step 3; continue with --resume true"),
        (
            "raise KeyboardInterrupt",
            "stopped: interrupted; start it again (to continue a training: --resume auto)",
        ),
    ],
)
def test_stopped(body, line, tmp_path):
    (tmp_path / "run").mkdir()
    told = ended(started(f"announce_run_folder('run'); {body}", tmp_path))
    assert told == (Exit.STOPPED, f"{line}\n")
    record = json.loads((tmp_path / "run" / "error.json").read_text())
    assert (record["code"], record["traceback_file"]) == (Exit.STOPPED, None)


@pytest.mark.parametrize(
    "error", ["RuntimeError('from C++')", "UserError('its import fails', 'a.py', 'fix it')"]
)
def test_an_error_caused_by_an_interruption_is_a_stop(error, tmp_path):
    body = f"""
    import os, signal
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(10)
    except KeyboardInterrupt:
        raise {error}
    """
    code, told = ended(started(body, tmp_path))
    assert code == Exit.STOPPED
    assert told.startswith("stopped: interrupted; ")


def test_an_old_error_json_is_removed_when_the_folder_is_announced(tmp_path):
    (tmp_path / "error.json").touch()
    failure.announce_run_folder(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "error",
    [
        ValueError("out of memory"), KeyError("no space left on device"),
        RuntimeError("Connection closed by peer"),
    ],
)  # fmt: skip
def test_similar_words_alone_are_not_a_machine_fault(error):
    assert failure.ending_of(error).code == 1


@pytest.mark.parametrize(
    "error, code",
    [
        (UserError("w", "x", "f", Exit.DATA), Exit.DATA),
        (OSError(errno.ENOSPC, "full", "x"), Exit.MACHINE),
        (Stopped("saved"), Exit.STOPPED),
    ],
)
def test_gin_does_not_hide_the_error(error, code):
    @gin.configurable(f"failing_{int(code)}", module="toys")
    def outer():
        @gin.configurable(f"failing_inner_{int(code)}", module="toys")
        def inner():
            raise error

        inner()

    with pytest.raises(type(error)) as caught:
        outer()
    assert caught.value is not error
    assert failure.original(caught.value) is error
    assert failure.ending_of(failure.original(caught.value)).code == code


def test_an_ordinary_cause_is_not_mistaken_for_the_error():
    with pytest.raises(ValueError) as caught:
        try:
            raise ValueError("inner")
        except ValueError:
            raise ValueError("outer") from None
    assert str(failure.original(caught.value)) == "outer"


def test_one_line_for_all_processes(tmp_path):
    results = ranks([BAD_FLAG] * 4, tmp_path, MASTER_PORT="1")
    assert [code for code, _ in results] == [Exit.FLAGS] * 4
    assert sorted(told for _, told in results) == [
        *[""] * 3,
        "error: --batch_size 0: too small; give 1 or more\n",
    ]


def test_the_first_failure_is_reported(tmp_path):
    first = "announce_run_folder('run'); raise UserError('w', 'x.json:3', 'f', Exit.DATA)"
    later = "announce_run_folder('run'); time.sleep(2); raise RuntimeError('Connection closed')"
    (tmp_path / "run").mkdir()
    processes = [
        started(later, tmp_path, RANK="0", WORLD_SIZE="2", MASTER_PORT="2"),
        started(first, tmp_path, RANK="1", WORLD_SIZE="2", MASTER_PORT="2"),
    ]
    assert [ended(process) for process in processes] == [
        (Exit.DATA, ""),
        (Exit.DATA, "error: x.json:3: w; f\n"),
    ]
    record = json.loads((tmp_path / "run" / "error.json").read_text())
    assert (record["rank"], record["code"]) == (1, Exit.DATA)
    assert "Connection closed" in (tmp_path / "run" / "logs" / "rank0.log").read_text()


@pytest.mark.parametrize(("stop", "waits"), [("pass", True), ("os.kill(os.getpid(), 15)", False)])
def test_a_later_failure_waits_for_torchrun_unless_torchrun_ended_it(stop, waits, tmp_path):
    body = f"""
    from ke_t5 import failure, stops
    failure.time.sleep = lambda seconds: os.write(2, f"waits {{seconds}}".encode())
    with stops.postponed():
        {stop}
        {BAD_FLAG}
    """
    launch = {"WORLD_SIZE": "2", "TORCHELASTIC_RUN_ID": "none"}
    assert ended(started(BAD_FLAG, tmp_path, RANK="0", **launch))[0] == Exit.FLAGS
    code, told = ended(started(body, tmp_path, RANK="1", **launch))
    assert code == Exit.FLAGS
    assert ("waits 3" in told) == waits


def test_a_claim_of_an_earlier_launch_does_not_silence_this_one(tmp_path):
    for _ in range(2):
        results = ranks([BAD_FLAG] * 2, tmp_path, MASTER_PORT="3")
        assert sorted(bool(told) for _, told in results) == [False, True]
        for mark in tmp_path.glob("*.failed"):
            os.utime(mark, (time.time() - 60,) * 2)


def test_a_failed_process_does_not_wait_for_its_threads(tmp_path):
    body = f"import threading; threading.Thread(target=time.sleep, args=(50,)).start(); {BAD_FLAG}"
    begin = time.monotonic()
    ended(started(body, tmp_path, RANK="0", WORLD_SIZE="2"))
    assert time.monotonic() - begin < 20


def test_the_launchers_file_contains_the_line_of_the_first_failure(tmp_path):
    files = [tmp_path / "attempt_0" / str(rank) / "error.json" for rank in range(2)]
    for file in files:
        file.parent.mkdir(parents=True)
    bodies = [BAD_FLAG, "time.sleep(2); raise RuntimeError('Connection closed')"]
    processes = [
        started(b, tmp_path, RANK=str(r), WORLD_SIZE="2", TORCHELASTIC_ERROR_FILE=str(file))
        for r, (b, file) in enumerate(zip(bodies, files, strict=True))
    ]
    assert [ended(process)[0] for process in processes] == [Exit.FLAGS] * 2
    for file in files:
        message = json.loads(file.read_text())["message"]
        assert message["message"] == "error: --batch_size 0: too small; give 1 or more"
        assert message["extraInfo"]["py_callstack"] == message["message"]
        assert abs(int(message["extraInfo"]["timestamp"]) - time.time()) < 60


def test_files_that_cannot_be_written_do_not_hide_the_line(tmp_path):
    body = "announce_run_folder('/proc/nowhere'); return 1 / 0"
    code, told = ended(started(body, tmp_path, TORCHELASTIC_ERROR_FILE="/proc/nowhere/x/y.json"))
    assert code == 1
    assert told.endswith("division by zero; please report it with the traceback above\n")


def test_torchruns_own_report_shows_the_line(tmp_path, monkeypatch):
    program = tmp_path / "program.py"
    program.write_text(PROGRAM.format(body=BAD_FLAG))
    for name in LAUNCH_NAMES:
        monkeypatch.delenv(name, raising=False)
    places = {"PYTHONPATH": str(CHECKOUT), "TMPDIR": str(tmp_path)}
    result = Script(*TORCHRUN, program, **places).end()
    line = "error: --batch_size 0: too small; give 1 or more"
    assert result.returncode == 1
    told, _, report = result.stderr.partition("program.py FAILED")
    assert told.splitlines().count(line) == 1
    root = report.partition("Root Cause")[2]
    assert f"traceback : {line}" in root and "exitcode  : 2" in root
