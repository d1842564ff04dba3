"""Folders of small models, and quiet libraries."""

from __future__ import annotations

import pytest
from support.model_folders import write_bert, write_v11
from transformers.utils import logging as transformers_logging


@pytest.fixture
def v11(tmp_path):
    """A folder with the configuration of a T5 v1.1, and no weights."""
    return write_v11(tmp_path / "t5-v11")


@pytest.fixture
def bert(tmp_path):
    """A folder with a masked language model."""
    return write_bert(tmp_path / "bert")


@pytest.fixture(scope="module")
def quiet_transformers():
    """Turns off transformers' progress bars and reports."""
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    yield
    transformers_logging.enable_progress_bar()
    transformers_logging.set_verbosity_warning()
