"""The lower bounds of pyproject.toml are the versions that CI installs and tests."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def pinned(name: str) -> dict[str, str]:
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    return dict(line.split("==") for line in lines if "==" in line)


def release(version: str) -> list[int]:
    numbers = [int(number) for number in version.split(".")]
    return [*numbers, 0, 0][:3]


def test_every_lower_bound_is_a_version_that_is_tested():
    requirements = project()["dependencies"]
    bounds = dict(re.match(r"([\w-]+)>=([\d.]+)(?:,|$)", text).groups() for text in requirements)
    tested = pinned("requirements-oldest.txt")
    assert len(bounds) > 15 and bounds.keys() <= tested.keys()
    for name, bound in bounds.items():
        # Older builds of torch on PyPI are all for CUDA.
        if name != "torch":
            assert release(bound) == release(tested[name]), name


def test_the_versions_of_the_tests_satisfy_the_bounds():
    newest, oldest = pinned("requirements.txt"), pinned("requirements-oldest.txt")
    for name, version in oldest.items():
        if name in newest:
            assert release(version) <= release(newest[name]), name
