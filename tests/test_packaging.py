"""pyproject.toml agrees with the package."""

from __future__ import annotations

import importlib
import re
import tomllib
from pathlib import Path

import ke_t5
from ke_t5.programs import ENTRY_POINTS, ONE_COMMAND
from ke_t5.sample.vocabulary import SPIECE

PACKAGE = Path(ke_t5.__file__).parent
ROOT = PACKAGE.parent
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_every_data_file_of_the_package_is_installed_with_it():
    others = {
        path for path in PACKAGE.rglob("*")
        if path.is_file() and path.suffix != ".py" and path.parent.name != "__pycache__"
    }  # fmt: skip
    assert {SPIECE, PACKAGE / "py.typed", PACKAGE / "gin" / "train_default.gin"} <= others
    installed = set()
    for name, patterns in SETTINGS["tool"]["setuptools"]["package-data"].items():
        folder = ROOT.joinpath(*name.split("."))
        assert (folder / "__init__.py").is_file(), name
        installed |= {path for pattern in patterns for path in folder.glob(pattern)}
    assert others <= installed


def test_every_folder_with_code_is_a_package():
    folders = {path.parent for path in PACKAGE.rglob("*.py")}
    assert all((folder / "__init__.py").is_file() for folder in folders)


def test_the_entry_points_exist():
    scripts = SETTINGS["project"]["scripts"]
    assert list(scripts) == [ONE_COMMAND, *ENTRY_POINTS.values()]
    for target in scripts.values():
        module, _, name = target.partition(":")
        assert callable(getattr(importlib.import_module(module), name))


def test_the_version_has_an_entry_in_the_changelog():
    assert SETTINGS["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "ke_t5.__version__"}
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    released = re.findall(r"^## \[([\d.]+)\] - \d{4}-\d\d-\d\d$", changes, re.MULTILINE)
    assert released[0] == ke_t5.__version__


def test_the_docker_image_is_built_from_existing_files():
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    copied = {
        name
        for line in re.findall(r"^COPY (.*)$", text, re.MULTILINE)
        for name in line.split()[:-1]
    }
    ignored, *kept = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    assert ignored == "*" and {f"!{name}" for name in copied} == {*kept} - {"**/__pycache__"}
    assert all((ROOT / name).exists() for name in copied)
    # Read by setuptools to build the package.
    needed = {"pyproject.toml", "ke_t5", SETTINGS["project"]["readme"]}
    assert needed | set(SETTINGS["project"]["license-files"]) <= copied
    (entry,) = re.findall(r'^ENTRYPOINT \["(.*)"\]$', text, re.MULTILINE)
    assert entry in SETTINGS["project"]["scripts"]
    assert re.search(r"^torch==", (ROOT / "requirements.txt").read_text(), re.MULTILINE)
