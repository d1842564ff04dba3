"""The corpus of bad inputs: its cases, the files they need, and the answers of the program.

`KE_T5_KEEP_LINES=1 pytest tests/reliability/test_p08_bad_inputs.py` writes the lines of today.

A case is a table `[[case]]` of a file of tests/reliability/bad_inputs:

    name = "gin-misspelt"               # unique
    words = "--gin_file a.gin"          # as typed after the program; see `words_of`
    line = "error: a.gin:1: ..."        # all that is said of it; {here} is the case's folder
    line_on_two = "error: ..."          # on two processes, if it is another one there
    code = 2                            # exit code
    when = "settings"                   # "settings": within 2 s, "data": within 5 s, "model" and
                                        # what needs a tokenizer: 5 s after torch is imported
    script = "test"                     # "train" by default
    files = { "a.gin" = "AdmW.lr = 1" } # name -> text, { text, encoding } or { hex }
    make = ["ynat data"]                # functions of bad_input_makers with their words, made first
    env = { RANK = "0" }                # variables of the environment
    is_slow = true                      # only in the full matrix
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryFile, mkdtemp

from torch.distributed import TCPStore  # pyright: ignore[reportPrivateImportUsage]

from support import bad_input_makers
from support.cold_torch import ROOT, ColdServer, Ended
from support.processes import rank_variables

CORPUS = ROOT / "tests" / "reliability" / "bad_inputs"
TIMEOUT = 120
SECONDS = {"settings": 2, "data": 5, "model": 5}
IMPORTS = "import ke_t5.recipes.train, datasets, ke_t5.models.models, transformers.models.auto"
LAUNCHER = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True)
class BadInput:
    """One case; see the module's docstring."""

    name: str
    words: str
    line: str
    code: int
    when: str
    script: str = "train"
    files: Mapping[str, object] = field(default_factory=dict)
    make: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    is_slow: bool = False
    line_on_two: str = ""


def bad_inputs() -> list[BadInput]:
    """All cases of the corpus."""
    cases = [
        BadInput(**table)
        for file in sorted(CORPUS.glob("*.toml"))
        for table in tomllib.loads(file.read_text(encoding="utf-8"))["case"]
    ]
    names = [case.name for case in cases]
    assert len(set(names)) == len(names), sorted(names)
    return cases


def keep_line(case: BadInput, line: str, code: int) -> None:
    """Writes into the corpus what a start has answered; look at the difference before you keep
    it."""
    for file in CORPUS.glob("*.toml"):
        head, name, rest = file.read_text(encoding="utf-8").partition(f'name = "{case.name}"\n')
        if name:
            table, start, others = rest.partition("\n[[case]]")
            said = json.dumps(line, ensure_ascii=False).replace("\\", "\\\\")
            table = re.sub(r"(?m)^line = .*$", f"line = {said}", table)
            table = re.sub(r"(?m)^code = .*$", f"code = {code}", table)
            file.write_text(f"{head}{name}{table}{start}{others}", encoding="utf-8")


def words_of(text: str, folder: Path) -> list[str]:
    """The words of a command line, with {here}, {a*300} for 300 letters, {xff} for the byte ff.

    >>> words_of("--task {a*3}{xff} 'b c'", Path())
    ['--task', 'aaa\\udcff', 'b c']
    """
    text = text.replace("{here}", str(folder))
    text = re.sub(r"\{([^{}*]+)\*(\d+)\}", lambda match: match[1] * int(match[2]), text)
    text = re.sub(r"\{x([0-9a-f]+)\}", lambda match: os.fsdecode(bytes.fromhex(match[1])), text)
    return shlex.split(text)


def make_files(case: BadInput, folder: Path) -> None:
    """Creates the case's files below the folder."""
    for call in case.make:
        name, *arguments = shlex.split(call)
        getattr(bad_input_makers, name)(folder, *arguments)
    for name, content in case.files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(_bytes(content))


def _bytes(content: object) -> bytes:
    if isinstance(content, str):
        return content.encode()
    assert isinstance(content, dict)
    if "hex" in content:
        return bytes.fromhex(content["hex"])
    return content["text"].encode(content["encoding"])


def files_below(folder: Path) -> dict[str, bytes | None]:
    """Name -> content of everything below a folder; None for folders and special files."""
    return dict(_entries(folder))


def _entries(folder: Path) -> Iterator[tuple[str, bytes | None]]:
    for path in folder.rglob("*"):
        is_content = path.is_file() and os.access(path, os.R_OK)
        yield str(path.relative_to(folder)), path.read_bytes() if is_content else None


def environment(home: Path, case: BadInput) -> dict[str, str]:
    """The environment of a start without a launcher: its own home, no network."""
    base = {name: value for name, value in os.environ.items() if name not in LAUNCHER}
    # Processes of one launch report failures to each other there.
    temporary = mkdtemp(dir=home)
    return {**base, "HOME": str(home), "TMPDIR": temporary, "HF_HUB_OFFLINE": "1", **case.env}


def ranks(home: Path, case: BadInput, logs: Path, port: int) -> list[dict[str, str]]:
    """What each of two processes of a torchrun sees, which keeps its files in `logs` and its store
    at `port` (see `launcher_store`)."""
    launch = {"TORCHELASTIC_RUN_ID": "none", "TORCHELASTIC_USE_AGENT_STORE": "true"}
    environments = []
    for rank in range(2):
        file = logs / "attempt_0" / str(rank) / "error.json"
        file.parent.mkdir(parents=True)
        places = {**rank_variables(rank, 2, port), "TORCHELASTIC_ERROR_FILE": str(file)}
        environments.append({**environment(home, case), **launch, **places})
    return environments


def launcher_store() -> TCPStore:
    """The key-value store that torchrun opens before it starts its processes."""
    return TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)


def start_cold(
    case: BadInput, folder: Path, home: Path, *, launcher: Sequence[str] = ()
) -> tuple[Ended, float]:
    """What a user's start of the case does, in a fresh interpreter, and how long it takes (see
    `_timed`).

    Args:
        launcher: words of the interpreter before the script.
    """
    script = str(ROOT / f"{case.script}_ddp.py")
    args = [sys.executable, *launcher, script, *words_of(case.words, folder)]
    code, *texts, seconds = _timed(args, folder, environment(home, case))
    output, errors = (text.replace(f"{ROOT}/", "") for text in texts)
    return Ended(code, output, errors, []), seconds


def seconds_of_imports() -> float:
    """The time that a fresh interpreter takes to import torch and what else a model needs."""
    code, _, errors, seconds = _timed([sys.executable, "-c", IMPORTS], ROOT, dict(os.environ))
    assert code == 0, errors
    return seconds


def _timed(args: list[str], folder: Path, env: dict[str, str]) -> tuple[int, str, str, float]:
    """Exit code, stdout and stderr of a program, and the seconds that it took without those in
    which other programs had the processor: what it took on a machine of its own."""
    with TemporaryFile() as output, TemporaryFile() as errors:
        started = time.monotonic()
        process = subprocess.Popen(args, cwd=folder, env=env, stdout=output, stderr=errors)
        while os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is None:
            if time.monotonic() - started > TIMEOUT:
                process.kill()
            time.sleep(0.005)
        seconds = time.monotonic() - started - _seconds_in_queue(process.pid)
        code = process.wait()
        for file in (output, errors):
            file.seek(0)
        said, complaints = (file.read().decode(errors="replace") for file in (output, errors))
        return code, said, complaints, seconds


def _seconds_in_queue(pid: int) -> float:
    """How long the main thread of a process that has ended was ready and had no processor; 0 if the
    system does not say."""
    try:
        nanoseconds = Path(f"/proc/{pid}/schedstat").read_text(encoding="ascii").split()[1]
    except OSError:
        return 0
    return int(nanoseconds) / 1e9


def start_warm(
    server: ColdServer, case: BadInput, folder: Path, environments: list[dict[str, str]]
) -> list[Ended]:
    """The results of starts of the case, forked from the server."""
    args = [str(ROOT / f"{case.script}_ddp.py"), *words_of(case.words, folder)]
    return server.run(args, folder, environments)
