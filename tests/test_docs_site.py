"""The documentation site builds without a warning, and its generated pages are up to date."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def generator():
    path = ROOT / "docs" / "gin_reference.py"
    spec = importlib.util.spec_from_file_location("gin_reference", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("language", ["ko", "en"])
def test_the_gin_reference_is_up_to_date(generator, language):
    path = ROOT / "docs" / language / "gin_reference.md"
    # Otherwise: python docs/gin_reference.py
    assert path.read_text(encoding="utf-8") == generator.page(language)


def test_each_section_of_the_gin_reference_describes_its_own_function(generator):
    sections = generator.page("en").split("\n## ")[1:]
    leads = {section.splitlines()[0]: section.split("\n\n")[1] for section in sections}
    assert all(leads.values())
    assert leads["get_vocabulary"].startswith("The tokenizer")


def test_it_builds_without_a_warning(tmp_path):
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", tmp_path / "site"]
    variables = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(
        command, cwd=ROOT, env=variables, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "WARNING" not in done.stderr
    for page in ("index.html", "gin_reference/index.html", "en/quick_start/index.html"):
        html = (tmp_path / "site" / page).read_text(encoding="utf-8")
        # A page that loads something from another host reveals its readers to that host.
        assert "fonts.googleapis" not in html and "cdn" not in html
