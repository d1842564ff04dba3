"""P8: each bad input of the corpus (bad_inputs/*.toml, see support.bad_inputs) gives the line that
is recorded there, early, and leaves nothing behind."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from pathlib import Path

import pytest
from support.bad_inputs import (
    SECONDS,
    bad_inputs,
    environment,
    files_below,
    keep_line,
    launcher_store,
    make_files,
    ranks,
    seconds_of_imports,
    start_cold,
    start_warm,
)
from support.cold_torch import ColdServer, Ended
from support.processes import free_port

from ke_t5.errors import LONGEST_LINE
from ke_t5.sample import sample_data_dir

pytestmark = pytest.mark.promise("P8")
CASES = [
    pytest.param(case, id=case.name, marks=[pytest.mark.full] if case.is_slow else [])
    for case in bad_inputs()
]


def some_on_two_processes():
    """The cases without environment variables; every eighth runs in the ordinary tests."""
    cases = [case for case in bad_inputs() if not case.env]
    for number, case in enumerate(cases):
        is_slow = case.is_slow or number % 8
        yield pytest.param(case, id=case.name, marks=[pytest.mark.full] if is_slow else [])


KEEP_LINES = "KE_T5_KEEP_LINES" in os.environ


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A home folder whose cache contains the sample."""
    folder = tmp_path_factory.mktemp("home")
    sample_data_dir(folder / ".cache" / "ke_t5")
    return folder


@pytest.fixture(scope="module")
def server():
    server = ColdServer()
    yield server
    server.close()


@pytest.fixture(scope="module")
def limits(is_full):
    """Time class -> limit in seconds; measured only in the full matrix."""
    imports = seconds_of_imports() if is_full else 0
    return {**SECONDS, "model": SECONDS["model"] + imports}


@pytest.fixture
def here():
    """The folder in which a case starts; its name is short and has a fixed length."""
    folder = Path(tempfile.mkdtemp(prefix="case-", dir="/tmp"))
    yield folder
    shutil.rmtree(folder)


def check(case, done: list[Ended], here: Path) -> None:
    """Asserts that the line is printed once, without anything that users need not see."""
    errors = "".join(process.errors for process in done)
    lines = [line for line in errors.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, errors
    line = lines[0].replace(str(here), "{here}")
    if KEEP_LINES and len(done) == 1:
        keep_line(case, line, done[0].code)
    assert line == (case.line_on_two if case.line_on_two and len(done) == 2 else case.line)
    assert case.code in [process.code for process in done], errors
    assert "Traceback" not in errors and "\x1b" not in errors, errors
    assert max(map(len, errors.splitlines())) <= LONGEST_LINE, errors


def left_behind(before: dict, here: Path) -> set[str]:
    """The files that a start has added or changed, except for error.json in a run's folder."""
    after = files_below(here)
    changed = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
    record = re.compile(r"output/\w+/klue_tc/(error\.json|logs/rank[01]\.log)")
    return {name for name in changed | (before.keys() ^ after.keys()) if not record.fullmatch(name)}


@pytest.mark.parametrize("case", CASES)
def test_one_line_early_and_nothing_left_behind(case, home, server, here, limits, is_full):
    make_files(case, here)
    before = files_below(here)
    if is_full:
        done, seconds = start_cold(case, here, home)
        for _ in range(2):  # a busy machine is slow even while the case has a processor
            if seconds >= limits[case.when]:
                seconds = min(seconds, start_cold(case, here, home)[1])
        assert seconds < limits[case.when], f"{done.errors} after {seconds:.1f} s"
    else:
        (done,) = start_warm(server, case, here, [environment(home, case)])
        assert case.when == "model" or not done.heavy, f"imported: {done.heavy}"
    check(case, [done], here)
    assert not left_behind(before, here)


@pytest.mark.parametrize("case", [*some_on_two_processes()])
def test_two_processes_print_it_once(case, home, server, here, tmp_path):
    make_files(case, here)
    before, store = files_below(here), launcher_store()
    done = start_warm(server, case, here, ranks(home, case, tmp_path, store.port))
    check(case, done, here)
    assert 0 not in [process.code for process in done]
    assert not left_behind(before, here)


TORCHRUN = ("-m", "torch.distributed.run", "--nproc_per_node=2", "--master_port")
UNDER_TORCHRUN = (
    "batch-size-zero", "gin-name-misspelt", "own-family-text-number", "folder-config-no-layers",
    "folder-pieces-empty", "trained-seed",
)  # fmt: skip


@pytest.mark.full
@pytest.mark.parametrize("name", UNDER_TORCHRUN)
def test_a_real_torchrun_prints_it_once(name, home, here):
    (case,) = [case for case in bad_inputs() if case.name == name]
    make_files(case, here)
    before = files_below(here)
    done, _ = start_cold(case, here, home, launcher=(*TORCHRUN, str(free_port())))
    lines = [line for line in done.errors.splitlines() if line.startswith("error: ")]
    assert [line.replace(str(here), "{here}") for line in lines] == [case.line], done.errors
    assert done.code == 1  # torchrun's own
    assert not left_behind(before, here)
