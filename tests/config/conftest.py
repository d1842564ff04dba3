"""Fixtures for the tests of settings."""

import pytest

from ke_t5.config.gin_config import clear


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty current folder, and gin without bindings."""
    monkeypatch.chdir(tmp_path)
    clear()
    yield tmp_path
    clear()
