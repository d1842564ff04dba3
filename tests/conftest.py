"""The initial state of every test: no gin bindings, no network, one shared cache."""

from __future__ import annotations

import compileall
import gc
import logging
import os
import sys
from pathlib import Path

import gin
import pytest

os.environ["HF_HUB_OFFLINE"] = "1"
# Read when torch is imported. Threads that share a core would spin while waiting for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")


@pytest.fixture(autouse=True)
def no_gin_bindings():
    """Clears and unlocks gin before and after each test."""
    gin.clear_config()
    yield
    gin.clear_config()


def pytest_addoption(parser):
    """The options of the matrix of faults (tests/reliability)."""
    parser.addoption("--full", action="store_true", help="also run tests that take long")
    parser.addoption("--until", type=float, help="seconds since 1970: no test starts later")
    parser.addoption("--promises", help="only the tests of these promises: P1,P3")


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config):
    """Gives each of several workers (`-n 2`) consecutive tests, which share their modules'
    fixtures; workers that are done take over tests from others.

    Compiles our modules once, even if PYTHONDONTWRITEBYTECODE is set, not in every process.
    """
    compileall.compile_dir(Path(__file__).parents[1] / "ke_t5", quiet=2)
    if getattr(config.option, "numprocesses", None) and config.option.dist == "no":
        config.option.dist = "worksteal"


def pytest_collection_modifyitems(config, items):
    """Deselects tests that were not requested: those marked `full`, and other promises."""
    only = (config.getoption("--promises") or "").split(",")
    kept, dropped = [], []
    for item in items:
        mark = item.get_closest_marker("promise")
        is_wanted = only == [""] or mark is None or mark.args[0] in only
        if item.get_closest_marker("full") and not config.getoption("--full"):
            is_wanted = False
        (kept if is_wanted else dropped).append(item)
    if dropped:
        config.hook.pytest_deselected(items=dropped)
        items[:] = kept


def pytest_collection_finish():
    """Prepares what all tests need: the hashes of our code, which processes started by tests read,
    and a heap that the garbage collector skips."""
    if "ke_t5.sample.cache" in sys.modules:
        from ke_t5.pipe.cache import package_version
        from ke_t5.sample.cache import generator_version

        before, sys.dont_write_bytecode = sys.dont_write_bytecode, False
        package_version()
        generator_version()
        sys.dont_write_bytecode = before
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def cache_dir(tmp_path_factory):
    """Prepared data and the sample's tiny models, created once for all tests and workers."""
    base = tmp_path_factory.getbasetemp()
    cache = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "cache"
    cache.mkdir(exist_ok=True)
    return cache


@pytest.fixture(scope="session")
def sample_data(cache_dir):
    """The sample's release files."""
    from ke_t5.sample import sample_data_dir

    return sample_data_dir(cache_dir)


@pytest.fixture(autouse=True)
def same_tasks():
    """Removes the own-data tasks of a recipe that ran in this process."""
    yield
    if "ke_t5.own_data" in sys.modules:
        from ke_t5.own_data import forget

        forget()


@pytest.fixture(autouse=True)
def same_logging():
    """Removes the log handlers of a recipe that ran in this process.

    Also if it ran in a fixture of a module: pytest adds a handler of its own to a logger that does
    not propagate, so that later tests would see each record twice.
    """
    yield
    logger = logging.getLogger("ke_t5")
    logger.setLevel(logging.NOTSET)
    logger.propagate, logger.handlers[:] = True, []


@pytest.fixture(autouse=True)
def same_collections():
    """Restores how often garbage is collected after a command that ran in this process."""
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)


@pytest.fixture(scope="module")
def one_thread():
    """On a busy machine, several threads wait for each other longer than small operations take."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
