"""Where the tests of settings start from."""

import pytest

from ke_t5.config.gin_config import clear


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty current folder, and gin as if nothing had been bound."""
    monkeypatch.chdir(tmp_path)
    clear()
    yield tmp_path
    clear()
