"""The trained models that the tests of this folder share."""

from __future__ import annotations

import pytest
from support.trained_models import Models


@pytest.fixture(scope="session")
def models(tmp_path_factory, cache_dir, sample_data):
    """Not to be changed."""
    return Models(tmp_path_factory.mktemp("models"), cache_dir, sample_data)
