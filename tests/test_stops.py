"""Stop signals: when they interrupt, when they are postponed, and what a second one does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from contextlib import suppress

import pytest
from support.small_programs import CHECKOUT, ended, started

from ke_t5 import stops
from ke_t5.errors import Exit

SIGNALS = ["SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1"]
INTERRUPTED = "stopped: interrupted; start it again (to continue a training: --resume auto)\n"
# In C code, where no Python handler runs; at most one second later.
DEAF = """
    import ctypes, threading
    lock, mutex = ctypes.CDLL(None).pthread_mutex_lock, ctypes.create_string_buffer(64)
    lock(mutex)
    threading.Timer(1, print, ["go"], {"flush": True}).start()
    lock(mutex)
"""
WAITS = "print('go', flush=True); time.sleep(600)"
LIMIT = 100  # seconds; the programs would run much longer
SWALLOWS = f"""
    try:
        {WAITS}
    except KeyboardInterrupt:
        time.sleep(600)
"""
POSTPONES = """
from ke_t5 import stops
with stops.postponed():
    print('go', flush=True)
    while not stops.requested():
        time.sleep(0.01)
    {then}
raise Stopped("at step 3")
"""


def run_below(program, code, folder, **options):
    """The end of a program with this code that was started by another program."""
    lines = (
        "import os, sys, time",
        "from ke_t5.failure import run_and_exit",
        f"run_and_exit(lambda: exec({code!r}))",
    )
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    command = [*program, sys.executable, "-c", "\n".join(lines)]
    options = {"stderr": subprocess.PIPE, "stdout": subprocess.DEVNULL, **options}
    return subprocess.run(command, env=environment, cwd=folder, text=True, **options)


def with_seconds(body, *, same, grace):
    """The program with shorter waiting times."""
    times = (
        f"from ke_t5 import stops; stops.SAME_STOP_SECONDS, stops.GRACE_SECONDS = {same}, {grace}"
    )
    return f"{times}\n{textwrap.dedent(body)}"


def stopped(body, folder, number, *later, pause=0.0):
    """The end of a program after these signals, the first sent as soon as it prints "go"."""
    process = started(body, folder)
    assert process.stdout.readline() == "go\n"
    process.send_signal(number)
    for number in later:
        time.sleep(pause)
        process.send_signal(number)
    return ended(process)


@pytest.mark.parametrize("name", SIGNALS)
def test_a_signal_interrupts_at_once(name, tmp_path):
    begin = time.monotonic()
    assert stopped(WAITS, tmp_path, getattr(signal, name)) == (Exit.STOPPED, INTERRUPTED)
    assert time.monotonic() - begin < LIMIT


@pytest.mark.parametrize("name", SIGNALS)
def test_a_postponed_signal_is_noted(name, tmp_path):
    body = POSTPONES.format(then="time.sleep(0.2)")
    line = "stopped: at step 3; continue with --resume true\n"
    assert stopped(body, tmp_path, getattr(signal, name)) == (Exit.STOPPED, line)


@pytest.mark.parametrize("body", [POSTPONES.format(then="time.sleep(600)"), DEAF])
def test_the_second_signal_ends_the_process(body, tmp_path):
    begin = time.monotonic()
    body = with_seconds(body, same=0.1, grace=600)
    told = stopped(body, tmp_path, signal.SIGTERM, signal.SIGTERM, pause=1.5)
    assert told == (Exit.STOPPED, "")
    assert time.monotonic() - begin < LIMIT


@pytest.mark.parametrize("body", [DEAF, SWALLOWS])
def test_a_process_that_does_not_handle_the_signal_is_ended(body, tmp_path):
    begin = time.monotonic()
    body = with_seconds(body, same=2, grace=1)
    assert stopped(body, tmp_path, signal.SIGTERM) == (Exit.STOPPED, INTERRUPTED)
    assert time.monotonic() - begin < LIMIT


def test_a_stop_during_a_destructor_interrupts_the_code_after_it(tmp_path):
    body = """
    from ke_t5 import stops
    stops.GRACE_SECONDS = 600
    import signal
    class Falls:
        def __del__(self):
            os.kill(os.getpid(), signal.SIGTERM)
    Falls()
    print("went on", flush=True)
    time.sleep(600)
    """
    process = started(body, tmp_path)
    assert process.stdout.readline() == "went on\n"
    assert ended(process) == (Exit.STOPPED, INTERRUPTED)


def test_a_process_that_ends_after_a_stop_does_not_wait_for_its_threads(tmp_path):
    body = f"import threading; threading.Thread(target=time.sleep, args=(600,)).start(); {WAITS}"
    begin = time.monotonic()
    assert stopped(body, tmp_path, signal.SIGTERM) == (Exit.STOPPED, INTERRUPTED)
    assert time.monotonic() - begin < LIMIT


def test_what_ends_a_forked_child_does_not_end_its_parent(tmp_path):
    body = """
    warnings.simplefilter("ignore", DeprecationWarning)  # of Python 3.12: it has threads
    child = os.fork()
    if not child:
        time.sleep(600)
    time.sleep(0.2)
    os.kill(child, 15)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -15
    time.sleep(0.5)
    """
    assert ended(started(body, tmp_path)) == (0, "")


@pytest.mark.parametrize(("program", "code"), [(["nohup"], 3), (["env"], Exit.STOPPED)])
def test_a_program_that_nohup_started_survives_its_terminal(program, code, tmp_path):
    done = run_below(program, "os.kill(os.getpid(), 1) or sys.exit(3)", tmp_path)
    assert done.returncode == code


def test_a_postponed_stop_interrupts_interruptible_code():
    with stops.listening(), stops.postponed():
        with stops.at_once():
            pass
        signal.raise_signal(signal.SIGHUP)
        with pytest.raises(KeyboardInterrupt), stops.at_once():
            raise AssertionError("it must not come here")
        with pytest.raises(KeyboardInterrupt):
            stops.check()
    stops.check()


# -------------------------------------------------------------------------------- closed streams


TALKS = (
    "print('x' * 100, flush=True); sys.stderr.write('x' * 100); sys.stderr.flush(); time.sleep(1)"
)


def test_a_closed_pipe_ends_nothing(tmp_path):
    process = started(f"{TALKS}; {TALKS}; print('end'); return 0", tmp_path)
    process.stdout.read(1)
    process.stdout.close()
    process.stderr.close()
    assert process.wait(60) == 0


def test_closed_streams_end_nothing(tmp_path):
    shell = ["sh", "-c", 'exec "$0" "$@" >&- 2>&-']
    done = run_below(shell, f"{TALKS}; open('x.txt', 'w').write('mine')", tmp_path)
    assert done.returncode == 0
    assert (tmp_path / "x.txt").read_text() == "mine"


def test_a_full_disk_under_the_output_is_reported(tmp_path):
    with open("/dev/full", "w") as full:
        done = run_below([], TALKS, tmp_path, stdout=full)
    assert (done.returncode, done.stderr) == (
        Exit.MACHINE,
        "error: disk: no space left on the disk; free some space, or choose another --output_dir "
        "or --hf_cache_dir\n",
    )


def test_a_process_that_reports_its_end_is_not_interrupted(monkeypatch):
    monkeypatch.setattr(stops._State, "noted_at", 1.0)
    monkeypatch.setattr(stops._State, "is_over", False)
    monkeypatch.setattr(stops._State, "has_interrupted", False)
    with pytest.raises(KeyboardInterrupt):
        stops.check()
    stops.ending()
    stops.check()


@pytest.mark.parametrize(("is_over", "is_ended"), [(False, False), (True, True)])
def test_a_stop_is_overdue_while_the_end_is_reported_but_not_while_a_step_is_made(
    monkeypatch, is_over, is_ended
):
    monkeypatch.setattr(stops, "GRACE_SECONDS", 0.1)
    monkeypatch.setattr(stops._State, "is_postponed", True)
    monkeypatch.setattr(stops._State, "is_over", is_over)
    ended, (pipe, alarm) = threading.Event(), os.pipe()

    def end():
        ended.set()
        raise SystemExit  # the process would end here

    def guard():
        with suppress(SystemExit):
            stops._guard(pipe, end)

    threading.Thread(target=guard, daemon=True).start()
    os.write(alarm, bytes([signal.SIGTERM]))
    assert ended.wait(LIMIT if is_ended else 0.8) == is_ended
    stops.ending()  # ends the thread of the other case too
    assert ended.wait(LIMIT)
