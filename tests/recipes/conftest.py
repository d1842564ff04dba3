"""Runs of the recipes that several modules of tests look at."""

from __future__ import annotations

import shutil

import pytest
from support.recipe_runs import SMALL, train


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory, cache_dir):
    """Two epochs of klue_tc (eight steps) on a schedule without a stop, exported. Not to be
    changed."""
    output = tmp_path_factory.mktemp("finished")
    words = ("--task", "klue_tc", *SMALL, "--epochs", 2, "--schedule", "--hf_path", "default")
    train(*words, output=output, cache=cache_dir)
    return output


@pytest.fixture
def run(finished_run, tmp_path):
    """A copy of that run, to be changed."""
    return shutil.copytree(finished_run, tmp_path / "run")
