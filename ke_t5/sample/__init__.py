"""The embedded sample: a made-up Korean corpus in the format of raw releases, and tiny models.

    sample_data_dir(cache_dir)               a folder to read like a user's --hf_data_dir
    sample_model_dir(cache_dir, "roberta")   config.json and tokenizer of a tiny model, no weights
    sample_tokenizer_dir(cache_dir, "t5")    the tokenizer alone
    write_releases(folder)                   the releases alone, to inspect their formats

Everything is deterministic, needs no network, and is written on first use, once per cache folder.
"""

from __future__ import annotations

import logging
from pathlib import Path

from ke_t5.errors import Exit, UserError
from ke_t5.pipe.cache import Folders
from ke_t5.pipe.mixture import Mixture
from ke_t5.pipe.sources import ReleaseSource
from ke_t5.pipe.task import Task
from ke_t5.sample.cache import build_once, sample_root
from ke_t5.sample.models import sample_model_dir, sample_tokenizer_dir
from ke_t5.sample.releases import write_releases

__all__ = [
    "require_sample_rows",
    "sample_data_dir",
    "sample_model_dir",
    "sample_tokenizer_dir",
    "write_releases",
]

logger = logging.getLogger(__name__)


def sample_data_dir(cache_dir: Path) -> Path:
    """The folder of the releases, written on first use.

    Raises:
        UserError: the folder cannot be written.
    """

    def build(folder: Path) -> None:
        logger.info("writing the corpus of --sample (once)")
        write_releases(folder)

    return build_once(sample_root(cache_dir) / "data", build)


def require_sample_rows(task: Task | Mixture, folders: Folders) -> None:
    """Raises UserError for a task whose release is not part of the sample."""
    for member in task.members:
        if isinstance(member.source, ReleaseSource) and not member.source.find(folders):
            raise UserError(
                f"{member.name} has no sample rows",
                f"--task {task.name} --sample",
                "drop --sample and give --hf_data_dir FOLDER",
                Exit.DATA,
            )
