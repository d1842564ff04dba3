"""What every test starts from: no gin binding, a cache of its own, no network."""

from __future__ import annotations

import logging
import os

import gin
import pytest

os.environ["HF_HUB_OFFLINE"] = "1"
# Read when torch is imported. Threads that share a core spin while they wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")


@pytest.fixture(autouse=True)
def no_gin_bindings():
    """gin is clear and unlocked before and after each test."""
    gin.clear_config()
    yield
    gin.clear_config()


@pytest.fixture(scope="session")
def cache_dir(tmp_path_factory):
    """Prepared data and the sample's tiny models, made once for all tests."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def same_logging():
    """A recipe that ran in this process takes its log handlers with it."""
    logger = logging.getLogger("ke_t5")
    before = logger.level, logger.propagate, logger.handlers[:]
    yield
    logger.setLevel(before[0])
    logger.propagate, logger.handlers[:] = before[1:]
