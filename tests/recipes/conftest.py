"""Runs of the recipes that several test modules use."""

from __future__ import annotations

import gc
import shutil

import pytest
from support.recipe_runs import SMALL, train

from ke_t5.garbage import collect_rarely


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory, cache_dir):
    """Two epochs of klue_tc (eight steps) on a schedule without a stop, exported. Not to be
    changed."""
    output = tmp_path_factory.mktemp("finished")
    words = ("--task", "klue_tc", *SMALL, "--epochs", 2, "--schedule", "--hf_path", "default")
    usual = gc.get_threshold()
    collect_rarely()  # as a command does
    assert gc.get_threshold()[0] > usual[0]
    train(*words, output=output, cache=cache_dir)
    assert gc.get_threshold() == usual
    return output


@pytest.fixture
def run(finished_run, tmp_path):
    """A copy of that run, which may be changed."""
    return shutil.copytree(finished_run, tmp_path / "run")
