"""The notebook runs: every cell except the installation, in order."""

from __future__ import annotations

import csv
import json
import os
import shlex
from pathlib import Path

import pytest
from support.processes import ROOT, run_script

NOTEBOOK = ROOT / "notebooks" / "quick_start.ipynb"


def cells() -> list[dict]:
    return json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]


def test_its_cells_have_no_outputs():
    code = [cell for cell in cells() if cell["cell_type"] == "code"]
    assert len(code) > 4
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)


@pytest.mark.slow
def test_it_runs(tmp_path: Path, cache_dir, monkeypatch):
    program = tmp_path / "ke-t5"
    program.write_text("from ke_t5.cli import main\nmain()\n", encoding="utf-8")
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HOME", str(tmp_path))  # of the cache
    (tmp_path / ".cache").mkdir()
    os.symlink(cache_dir, tmp_path / ".cache" / "ke_t5")
    names: dict = {}
    printed = ""
    for cell in cells():
        if cell["cell_type"] != "code" or "install" in cell["metadata"].get("tags", ()):
            continue
        source = "".join(cell["source"]).replace("\\\n", " ")
        if not source.startswith("!"):
            exec(compile(source, str(NOTEBOOK), "exec"), names)
            continue
        for line in source.splitlines():
            name, *words = shlex.split(line.removeprefix("!"))
            assert name == "ke-t5"
            done = run_script(program, *words, folder=folder)
            assert done.returncode == 0, done.stderr
            printed += done.stdout
    assert '"label": "긍정"' in printed
    with (folder / "answers.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 80
    right = [row["감정"] in (row.get("label"), row.get("prediction")) for row in rows]
    assert sum(right) > 75
