"""`--nproc`: the torchrun command that it starts, exit codes and signals."""

from __future__ import annotations

import signal
import sys
import time

import pytest
from support.processes import ROOT, Script

from ke_t5 import cli
from ke_t5.commands import launch as launching
from ke_t5.commands import test as testing
from ke_t5.commands import train
from ke_t5.commands.launch import launch, separated
from ke_t5.commands.torchrun import STOP_SECONDS
from ke_t5.config.flags import parse_train
from ke_t5.errors import Exit, UserError
from ke_t5.processes import start_of
from ke_t5.programs import PACKAGE

TORCHRUN = PACKAGE / "commands" / "torchrun.py"
SLOW_TORCHRUN = ROOT / "tests" / "support" / "slow_torchrun.py"
ONE_NODE = ("--standalone", "--nproc_per_node=2", "--no-python", "sh", "-c")
RUN = ["--task", "klue_tc", "--sample"]


class Replaced(Exception):
    """`os.execv` was called."""


@pytest.fixture(autouse=True)
def replaced(monkeypatch) -> None:
    """As if `ke-t5` had been started by its path; `os.execv` raises `Replaced`."""

    def execv(_path, words):
        raise Replaced(*words)

    monkeypatch.setattr(launching.os, "execv", execv)
    monkeypatch.setattr(sys, "argv", ["/bin/ke-t5"])
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # restored after the test
    monkeypatch.delenv("RANK", raising=False)


def started(words: list[str], of=train) -> list[str]:
    """The command that replaces this process for these arguments."""
    with pytest.raises(Replaced) as caught:
        launch("train", words, of.parser().parse_args)
    python, *rest = caught.value.args
    assert python == sys.executable
    return rest


@pytest.mark.parametrize("words", [["--nproc", "2"], ["--nproc=2"], ["--nproc_per_node", "2"]])
def test_torchrun_starts_this_program_without_the_flag(words, monkeypatch):
    torchrun = ["-m", "ke_t5.commands.torchrun", "--nproc_per_node=2", "--standalone"]
    program = ["--no-python", "/bin/ke-t5", "train"]
    assert started([*RUN, *words]) == started([*words, *RUN]) == [*torchrun, *program, *RUN]
    assert started([*words, *RUN], testing)[-3:] == RUN
    monkeypatch.setattr(sys, "argv", [str(PACKAGE / "__main__.py")])
    assert started([*RUN, *words]) == [*torchrun, "-m", "ke_t5", "train", *RUN]


def test_several_machines_use_the_rendezvous_endpoint():
    words = started([*RUN, "--nproc", "8", "--nnodes", "2", "--rdzv_endpoint=node1:29400"])
    assert words[2:6] == [
        "--nproc_per_node=8", "--nnodes=2", "--rdzv_backend=c10d", "--rdzv_endpoint=node1:29400",
    ]  # fmt: skip
    assert words[-3:] == RUN


@pytest.mark.parametrize(("gpus", "expected"), [(0, None), (1, None), (4, "--nproc_per_node=4")])
def test_nproc_gpu_starts_one_process_per_gpu(gpus, expected, monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: gpus)
    words = [*RUN, "--nproc", "gpu"]
    if expected is None:
        assert launch("train", words, train.parser().parse_args) == RUN
    else:
        assert started(words)[2] == expected


def test_dollar_signs_are_escaped_for_torchrun():
    assert started([*RUN, "--nproc", "2", "--output_dir", "$a"])[-1] == "$$a"


def test_one_process_needs_no_torchrun(monkeypatch):
    given = []
    monkeypatch.setattr("ke_t5.recipes.train.main", given.append)
    cli._main(["train", *RUN, "--nproc", "1"])
    assert given == [parse_train(RUN)]
    assert separated(["--gin_param", "a=1", "--nproc", "2", "b"]) == (
        ["--nproc", "2"], ["--gin_param", "a=1", "b"],
    )  # fmt: skip


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--nproc", "0"], "--nproc '0': not a number of processes; give 1 or more, or gpu"),
        (["--nproc", "2", "--epochz", "1"], "--epochz: unknown flag; did you mean --epochs?"),
        (["--nnodes", "2"], "--nnodes 2: has no rendezvous endpoint; add --rdzv_endpoint HOST"),
        (["--rdzv_endpoint", "x:1"], "--rdzv_endpoint: applies to several machines only; add"),
    ],
)
def test_errors_are_reported_before_torchrun_starts(words, line):
    with pytest.raises(UserError, match=f"^error: {line.replace('?', '[?]')}"):
        launch("train", words, train.parser().parse_args)


def test_nproc_under_a_launcher_is_an_error(monkeypatch):
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(UserError, match="--nproc: a launcher has started this process; drop it"):
        launch("train", ["--nproc", "2"], train.parser().parse_args)


@pytest.mark.parametrize(
    ("shell", "code", "line"),
    [
        ('test "$RANK" = 1 && exit 3; sleep 9', Exit.DATA, ""),
        ('test "$RANK" = 0 && kill -9 $$$$; sleep 9', Exit.MACHINE,
         "error: process 0: killed by signal 9; see the machine's log (out of memory?)\n"),
    ],
)  # fmt: skip
def test_it_ends_with_the_exit_code_of_the_first_failed_process(shell, code, line):
    done = Script(TORCHRUN, *ONE_NODE, shell).end()
    assert (done.returncode, done.stderr) == (code, line)


@pytest.mark.parametrize(
    ("torchrun", "num_started"),
    [(TORCHRUN, 2), (SLOW_TORCHRUN, 1), (SLOW_TORCHRUN, 2)],
    ids=["running", "one started", "two started"],
)
def test_a_stop_signal_reaches_the_processes(tmp_path, torchrun, num_started):
    wait = f'trap "touch {tmp_path}/stopped-$RANK; exit 75" USR1; touch {tmp_path}/up-$RANK; '
    script = Script(torchrun, *ONE_NODE, f"{wait} while true; do sleep 0.1; done")
    script.wait_until(lambda: len([*tmp_path.glob("up-*")]) == num_started)
    script.kill(signal.SIGUSR1)
    done = script.end()
    assert done.returncode == Exit.STOPPED
    assert "torch" not in done.stderr and "Traceback" not in done.stderr
    assert len([*tmp_path.glob("stopped-*")]) == num_started


def test_further_stop_signals_kill_processes_that_do_not_stop(tmp_path):
    loop = f'trap "" USR1; echo $$$$ > {tmp_path}/up-$RANK; while true; do sleep 0.1; done'
    script = Script(SLOW_TORCHRUN, *ONE_NODE, loop)
    script.wait_until(lambda: (tmp_path / "up-0").exists())
    start = time.monotonic()
    while script.process.is_alive():
        script.kill(signal.SIGUSR1)
        time.sleep(0.1)
    done = script.end()
    assert done.returncode == Exit.STOPPED and "Traceback" not in done.stderr
    assert time.monotonic() - start < STOP_SECONDS
    pids = [int(file.read_text()) for file in tmp_path.glob("up-*")]
    assert pids and not any(start_of(pid) for pid in pids)
