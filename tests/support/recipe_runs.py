"""Runs of the two recipes on the embedded sample: in this process, or as a user starts them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import gin

from ke_t5.config.flags import parse_test, parse_train
from support.processes import ROOT

TINY = ("--sample", "--batch_size", "16", "--print_freq", "3")
# 60 of the sample's news titles: four steps an epoch.
SMALL = (*TINY, "--train_split", "train[:64]", "--valid_split", "validation[:31]")


def train(*words: Any, output: Path, cache: Path) -> None:
    """`train_ddp.py` in this process."""
    from ke_t5.recipes.train import main

    gin.clear_config()
    words = (*words, "--output_dir", output, "--hf_cache_dir", cache)
    main(parse_train([str(word) for word in words]))


def test(*words: Any, output: Path, cache: Path) -> None:
    """`test_ddp.py` in this process."""
    from ke_t5.recipes.test import main

    gin.clear_config()
    words = (*words, "--output_dir", output, "--hf_cache_dir", cache)
    main(parse_test([str(word) for word in words]))


test.__test__ = False  # a helper that pytest would take for a test


def command(
    script: str, *words: Any, launcher: tuple[str, ...] = (), folder: Path = ROOT
) -> subprocess.CompletedProcess:
    """The result of a command line, started from `folder` as a user would."""
    start = [sys.executable, *launcher] if launcher else [sys.executable]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [*start, str(ROOT / script), *map(str, words)],
        capture_output=True, text=True, cwd=folder, env=environment, timeout=180,
    )  # fmt: skip


def run_folder(output: Path) -> Path:
    """The folder of the only run below `output`."""
    (found,) = output.glob("*/*/run.json")
    return found.parent


def scores(output: Path, split: str) -> dict[str, Any]:
    """The content of `scores.json` for a split."""
    return json.loads((run_folder(output) / "eval" / split / "scores.json").read_text())


def state_files(output: Path) -> dict[str, bytes]:
    """The bytes that equal runs have in common: last weights and optimizer, logs, scores."""
    folder = run_folder(output)
    last = json.loads((folder / "weights" / "last.json").read_text())["snapshot"]
    best = json.loads((folder / "weights" / "best.json").read_text())["snapshot"]
    files = [
        folder / "weights" / last / "model.safetensors",
        folder / "weights" / last / "optimizer.safetensors",
        folder / "metrics.jsonl",
        *sorted((folder / "eval").rglob("*.json*")),
    ]
    found = {str(file.relative_to(folder)): file.read_bytes() for file in files}
    return {**found, "best": best.encode()}
