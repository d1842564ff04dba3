"""Checks that the nodes of a run share a disk: process 0 writes, and all processes read."""

from __future__ import annotations

import logging
import os
import secrets
import time
from contextlib import nullcontext
from pathlib import Path

from ke_t5.distributed import Ranks
from ke_t5.errors import Exit, UserError
from ke_t5.files import temporary_path
from ke_t5.recipes.folders import RunFolder

logger = logging.getLogger(__name__)

# A network file system may show a new file only after asking its server again.
VISIBLE_SECONDS = 3.0


def check_one_disk(run: RunFolder, ranks: Ranks) -> None:
    """Sets `Ranks.has_one_disk`, whether all processes see what process 0 writes, and logs the host
    that writes the results if there are several; leaves nothing in the run's folder.

    Raises:
        UserError: exit 4, some processes resume a run that others cannot see; exit 5, the
            folder is not writable.
    """
    resumes = [facts["resumes"] for facts in ranks.facts]
    if len(set(resumes)) > 1:
        seeing, blind = (ranks.facts[resumes.index(value)]["host"] for value in (True, False))
        ranks_of = resumes.index(True), resumes.index(False)
        raise UserError(
            f"process {ranks_of[0]} on {seeing} resumes a run that process {ranks_of[1]} on "
            f"{blind} cannot see",
            f"--output_dir {run.path}",
            "put it on a disk that all nodes share, or copy the run to each node",
            Exit.CHECKPOINT,
        )
    with run.on_trial() if ranks.is_main else nullcontext():
        blind = _blind_ranks(run.path, ranks)
    ranks.has_one_disk = ranks.broadcast(not blind)
    hosts = [facts["host"] for facts in ranks.facts]
    if blind:
        logger.warning(
            "--output_dir is not shared by all nodes: results and checkpoints are written on %s "
            "(process 0) only; process(es) %s on %s do not see them, and --resume needs them on "
            "every node",
            hosts[0], ", ".join(map(str, blind)), ", ".join(dict.fromkeys(hosts[r] for r in blind)),
        )  # fmt: skip
    elif len(set(hosts)) > 1:
        logger.info("process 0 on %s writes results and checkpoints; all nodes see them", hosts[0])


def _blind_ranks(folder: Path, ranks: Ranks) -> list[int]:
    """On process 0, the processes that do not see its new file; [] on the others."""
    if ranks.size == 1:
        return []
    own = temporary_path(folder / f".seen-{secrets.token_hex(8)}")
    name = ranks.broadcast(own.name if ranks.is_main else None)
    if ranks.is_main:
        (folder / name).touch()
    ranks.barrier()
    seen = ranks.gather(_sees(folder / name))
    ranks.barrier()
    if seen is None:
        return []
    (folder / name).unlink(missing_ok=True)
    return [rank for rank, sees in enumerate(seen) if not sees]


def _sees(path: Path) -> bool:
    end = time.monotonic() + VISIBLE_SECONDS
    while True:
        # Listing a folder makes a network file system look again.
        if path.parent.is_dir() and path.name in os.listdir(path.parent):
            return True
        if time.monotonic() > end:
            return False
        time.sleep(0.1)


def check_seen(checkpoint: Path | None, ranks: Ranks, *, where: str) -> None:
    """Raises UserError on every process if one of them cannot see the checkpoint."""
    visible = ranks.broadcast(ranks.gather(checkpoint is None or checkpoint.is_dir()))
    if not all(visible):
        rank = visible.index(False)
        host = ranks.facts[rank]["host"]
        raise UserError(
            f"process 0 resumes from {checkpoint}, which process {rank} on {host} cannot see",
            where,
            "put --output_dir on a disk that all nodes share, or copy the run to each node",
            Exit.CHECKPOINT,
        )
