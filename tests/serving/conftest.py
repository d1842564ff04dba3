"""The trained models shared by the tests of this folder."""

from __future__ import annotations

import pytest
from support.trained_models import Models


@pytest.fixture(scope="session")
def models(tmp_path_factory, cache_dir, sample_data):
    """The models, which no test may change."""
    return Models(tmp_path_factory.mktemp("models"), cache_dir, sample_data)
