"""Folders of small models."""

from __future__ import annotations

import pytest
from support.model_folders import write_bert, write_v11


@pytest.fixture
def v11(tmp_path):
    """A folder with the configuration of a T5 v1.1, and no weights."""
    return write_v11(tmp_path / "t5-v11")


@pytest.fixture
def bert(tmp_path):
    """A folder with a masked language model."""
    return write_bert(tmp_path / "bert")
