"""This process's place in its launch, from the environment variables that torchrun sets.

For other launchers they are set from the launcher's own variables, or the start is refused:
otherwise each process of `srun python train_ddp.py` would run as if it were the only one.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from collections.abc import MutableMapping
from pathlib import Path
from typing import NamedTuple

from ke_t5.errors import UserError
from ke_t5.processes import start_of
from ke_t5.programs import started_again


class Place(NamedTuple):
    """A process's place in a launch; None for what the launcher does not provide."""

    launcher: str
    rank: int
    size: int
    local_rank: int | None
    local_size: int | None


# launcher -> the variables of rank, size, local rank and local size.
VARIABLES = {
    "mpirun (Open MPI)": (
        "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE",
        "OMPI_COMM_WORLD_LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_SIZE",
    ),
    "mpirun (MVAPICH)": (
        "MV2_COMM_WORLD_RANK", "MV2_COMM_WORLD_SIZE",
        "MV2_COMM_WORLD_LOCAL_RANK", "MV2_COMM_WORLD_LOCAL_SIZE",
    ),
    "mpirun (PMI)": ("PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID", "MPI_LOCALNRANKS"),
}  # fmt: skip


def launched_rank() -> int:
    """The rank of this process, 0 without a launcher; torch is not needed."""
    return _number(os.environ, "RANK") or 0


def launched_processes() -> int:
    """The number of processes of this launch, 1 without a launcher."""
    return _number(os.environ, "WORLD_SIZE") or 1


def adopt_launcher(environment: MutableMapping[str, str] = os.environ) -> None:
    """Sets RANK, WORLD_SIZE, LOCAL_RANK and LOCAL_WORLD_SIZE from srun's or mpirun's variables.

    Does nothing under torchrun or for a single process. If only RANK and WORLD_SIZE are set, as
    scripts for srun do, the local two are added.

    Raises:
        UserError: MASTER_ADDR, MASTER_PORT, the local rank or the local size is not known.
    """
    if {"RANK", "WORLD_SIZE"} <= environment.keys():
        check_numbers(environment)
        if _rank_and_size(environment)[1] > 1:
            _add_local_place(environment)
            check_numbers(environment)
        return
    place = place_of(environment)
    if place is None:
        check_numbers(environment)
        for name in ("RANK", "LOCAL_RANK"):
            if int(environment.get(name, "0")) != 0:
                what = f"{name} is {environment[name]}, but WORLD_SIZE is not set"
                raise UserError(what, "launcher", "unset it, or start with torchrun")
        if environment.get("WORLD_SIZE", "1") != "1":
            what = f"WORLD_SIZE is {environment['WORLD_SIZE']}, but RANK is not set"
            raise UserError(what, "launcher", f"run: {torchrun_line(environment, None)}")
        return
    # Set even if the start is refused: the processes of this machine then report it only once.
    environment["RANK"], environment["WORLD_SIZE"] = str(place.rank), str(place.size)
    missing = [name for name in ("MASTER_ADDR", "MASTER_PORT") if not environment.get(name)]
    if place.local_rank is None or place.local_size is None:
        missing.append("the local rank")
    if missing:
        raise UserError(
            f"starts {place.size} processes but does not set {', '.join(missing)}",
            place.launcher,
            f"run: {torchrun_line(environment, place)} (or set these)",
        )
    environment["LOCAL_RANK"] = str(place.local_rank)
    environment["LOCAL_WORLD_SIZE"] = str(place.local_size)


def _add_local_place(environment: MutableMapping[str, str]) -> None:
    """Sets LOCAL_RANK and LOCAL_WORLD_SIZE from the launcher's variables, unless they are set; a
    UserError for a local rank without a local size."""
    place = place_of(environment)
    found = {"LOCAL_WORLD_SIZE": _number(environment, "LOCAL_SIZE")}  # DeepSpeed's name
    if place and (place.rank, place.size) == _rank_and_size(environment):
        found = {"LOCAL_RANK": place.local_rank, "LOCAL_WORLD_SIZE": place.local_size}
    for name, value in found.items():
        if value is not None:
            environment.setdefault(name, str(value))
    if "LOCAL_RANK" in environment and "LOCAL_WORLD_SIZE" not in environment:
        # If one process per machine were assumed, each of several would use all cores.
        what = f"LOCAL_RANK is {environment['LOCAL_RANK']}, but LOCAL_WORLD_SIZE is not set"
        fix = "set it to the number of processes on this machine, or start with torchrun"
        raise UserError(what, "launcher", fix)


def _rank_and_size(environment: MutableMapping[str, str]) -> tuple[int, int]:
    return int(environment["RANK"]), int(environment["WORLD_SIZE"])


def check_numbers(environment: MutableMapping[str, str]) -> None:
    """Raises UserError for launcher variables that are not numbers or contradict each other."""
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_PORT")
    given = {name: environment[name] for name in names if name in environment}
    fix = "unset it, or start with torchrun --nproc_per_node=..."
    for name, text in given.items():
        if not (text.isascii() and text.isdigit()):
            raise UserError("not a whole number", f"{name} {text!r:.40}", fix)
    number = {name: int(text) for name, text in given.items()}
    if number.get("WORLD_SIZE", 1) == 0:
        raise UserError("is 0", "WORLD_SIZE", fix)
    for name, size in (("RANK", "WORLD_SIZE"), ("LOCAL_RANK", "LOCAL_WORLD_SIZE")):
        if name in number and size in number and not number[name] < number[size]:
            raise UserError(f"is {number[name]} of {number[size]} processes", name, fix)
    if not 0 < number.get("MASTER_PORT", 1) < 65536:
        raise UserError("not a port", f"MASTER_PORT {given['MASTER_PORT']}", "give 1 to 65535")
    missing = [name for name in ("MASTER_ADDR", "MASTER_PORT") if not environment.get(name)]
    if number.get("WORLD_SIZE", 1) > 1 and "RANK" in number and missing:
        what = f"WORLD_SIZE is {number['WORLD_SIZE']}, but {' and '.join(missing)} not set"
        raise UserError(what, "launcher", "set it, or start with torchrun --nproc_per_node=...")


def place_of(environment: MutableMapping[str, str]) -> Place | None:
    """This process's place among several; None for a single process."""
    place = _slurm_place(environment)
    for launcher, names in VARIABLES.items():
        if place is None:
            rank, size, *local = (_number(environment, name) for name in names)
            place = Place(launcher, rank, size, *local) if rank is not None and size else None
    return place if place and place.size > 1 else None


def _slurm_place(environment: MutableMapping[str, str]) -> Place | None:
    """The place in a step that srun started.

    A shell of `salloc` and the script of `sbatch` see the variables of the whole job but are single
    processes: they belong to no step of the job, or to a step with one task.
    """
    rank = _number(environment, "SLURM_PROCID")
    in_step = {"SLURM_STEP_ID", "SLURM_STEPID", "SLURM_STEP_NUM_TASKS"} & environment.keys()
    if rank is None or not (in_step or rank > 0 or "SLURM_JOB_ID" not in environment):
        return None
    size = _number(environment, "SLURM_STEP_NUM_TASKS") or _number(environment, "SLURM_NTASKS")
    if not size or size == 1:
        return None
    return Place(
        "srun", rank, size, _number(environment, "SLURM_LOCALID"), _slurm_local(environment, size)
    )


def _slurm_local(environment: MutableMapping[str, str], size: int) -> int | None:
    """The number of tasks on this machine, from lists such as `2(x3),1`."""
    names = "SLURM_STEP_TASKS_PER_NODE", "SLURM_TASKS_PER_NODE", "SLURM_NTASKS_PER_NODE"
    text = next((environment[name] for name in names if environment.get(name)), "")
    counts = []
    for part in text.split(","):
        if not (match := re.fullmatch(r"(\d+)(?:\(x(\d+)\))?", part.strip())):
            break
        counts += [int(match[1])] * int(match[2] or 1)
    if len(set(counts)) == 1:
        return counts[0]
    node = _number(environment, "SLURM_NODEID")
    if node is not None and node < len(counts):
        return counts[node]
    return size if (_number(environment, "SLURM_NNODES") or 1) == 1 else None


def torchrun_line(environment: MutableMapping[str, str], place: Place | None) -> str:
    """The torchrun command to use instead."""
    words = started_again()
    size = place.size if place else int(environment.get("WORLD_SIZE", "1"))
    local_size = place.local_size if place and place.local_size else size
    num_nodes = -(-size // local_size)
    if num_nodes == 1:
        return f"torchrun --nproc_per_node={size} {words}"
    return (
        f"on each node torchrun --nnodes={num_nodes} --nproc_per_node={local_size} --rdzv_id=RUN "
        f"--rdzv_backend=c10d --rdzv_endpoint=FIRST_NODE:29500 {words}"
    )


def launch_id() -> str:
    """A name shared by the processes of one launch on one machine, and by no other launch."""
    if launched_processes() == 1:
        return str(os.getpid())
    names = "TORCHELASTIC_RUN_ID", "TORCHELASTIC_RESTART_COUNT", "MASTER_ADDR", "MASTER_PORT"
    parts = [os.environ.get(name, "") for name in names] + [str(os.getppid())]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def launch_name() -> str:
    """A name shared by this launch and its restarts, and by no other launch."""
    run_id = os.environ.get("TORCHELASTIC_RUN_ID", "")
    local_size, size = (os.environ.get(n, "1") for n in ("LOCAL_WORLD_SIZE", "WORLD_SIZE"))
    if run_id not in ("", "none") and local_size != size:
        return run_id  # process 0 may be on another node after a restart
    return f"{run_id}/{os.uname().nodename}/{os.getppid()}/{start_of(os.getppid())}"


def is_store_of_launcher() -> bool:
    """Whether a launcher hosts the launch's store, as torchrun does; otherwise rank 0 hosts it."""
    return os.environ.get("TORCHELASTIC_USE_AGENT_STORE", "").lower() == "true"


def launch_folder() -> Path:
    """The folder for files shared by the processes of one launch on one machine."""
    return attempt_folder() or Path(tempfile.gettempdir()) / f"ke_t5-{launch_id()}"


def attempt_folder() -> Path | None:
    """torchrun's own folder for this attempt, with one folder per process below it."""
    place = os.environ.get("TORCHELASTIC_ERROR_FILE")
    folder = Path(place).parent.parent if place else None
    return folder if folder and folder.is_dir() else None


def is_restart() -> bool:
    """Whether torchrun restarted this process after a failure (`--max-restarts`)."""
    return (_number(os.environ, "TORCHELASTIC_RESTART_COUNT") or 0) > 0


def _number(environment: MutableMapping[str, str], name: str) -> int | None:
    text = environment.get(name, "")
    return int(text) if text.isascii() and text.isdigit() else None


def is_on_another_node() -> bool:
    """Whether rank 0, which writes the files, runs on another machine than this process."""
    rank, local_rank = _number(os.environ, "RANK"), _number(os.environ, "LOCAL_RANK")
    return rank is not None and local_rank is not None and rank != local_rank
