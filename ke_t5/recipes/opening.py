"""Opens the folder of a training run, and records in `run.json` what it was started with."""

from __future__ import annotations

import logging
import shlex
import sys
from typing import Any

from ke_t5.config.resume import AUTO
from ke_t5.config.run_config import RunConfig
from ke_t5.distributed import Ranks
from ke_t5.failure import announce_run_folder
from ke_t5.fault_points import fault_point
from ke_t5.files import write_json
from ke_t5.launchers import launch_name
from ke_t5.own_data import own_data_of
from ke_t5.recipes.record import git_commit, versions
from ke_t5.recipes.run_locks import RunLocks
from ke_t5.recipes.training_data import TrainingData

logger = logging.getLogger(__name__)


def open_run(config: RunConfig, data: TrainingData, ranks: Ranks, locks: RunLocks) -> None:
    """Creates the run's folder, or opens that of a resumed run, on rank 0; the others wait.

    Raises:
        UserError: exit 5, a live process is training in the folder.
    """
    run, origin = config.run, config.origin
    if ranks.is_main:
        locks.take(run, action="training")
        for part in data.valid:
            locks.take(run, split=part.name, action="training")
        run.remove_leftovers()
        if origin.is_resumed:
            run.check_writable()
        elif config.resume == AUTO and run.is_unsaved():
            logger.info("--resume auto: %s has no checkpoint yet, the run starts again", run.path)
            run.start_again()
            run.check_writable()
        else:
            moved = run.make_new()
            if moved is not None:
                logger.warning("an older run was in %s: moved to %s", run.path, moved.name)
        run.forget_error()
        if not origin.is_resumed:
            keep_record(config, data, ranks)
    ranks.barrier()
    announce_run_folder(run.path)


def keep_record(config: RunConfig, data: TrainingData, ranks: Ranks) -> None:
    """Writes `run.json`, and the hashes of the rows that the run is trained on. For a resumed run,
    call it after its checkpoint is accepted: a refused launch must change nothing."""
    run = config.run
    if not ranks.is_main:
        return
    earlier = run.read_run() if config.origin.is_resumed else {}
    content = {
        **description(config, ranks),
        # Of a resumed run, the folder that its first launch began with.
        **{name: earlier[name] for name in ("model_folder",) if name in earlier},
        "data": data.facts,
        "launches": earlier.get("launches", []),
    }
    fault_point("run.before_record")
    write_json(run.run_file, content, is_durable=True)
    for name, hashes in data.row_hashes.items():
        run.keep_trained_rows(name, hashes)


def description(config: RunConfig, ranks: Ranks) -> dict[str, Any]:
    """The command, the versions and the machine, for `run.json`."""
    own = own_data_of(config.task)
    return {
        "command": shlex.join(sys.argv),
        "task": config.task.name,
        "model_name": config.model.name,
        "pre_trained_model": config.model.pre_trained_model,
        "from_scratch": config.model.from_scratch,
        "model_folder": config.origin.folder,
        "seed": config.seed,
        "processes": ranks.size,
        "launch": launch_name(),
        "device": str(ranks.device),
        "source": config.sources,
        **({} if own is None else {"own_data": own.to_json()}),
        "git_commit": git_commit(),
        "versions": versions(),
    }
