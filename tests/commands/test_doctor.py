"""`ke-t5 doctor`: its findings, its output and its exit code."""

from __future__ import annotations

import errno
import json
import os
import sys
from collections import namedtuple
from types import SimpleNamespace

import pytest
import torch

from ke_t5.commands import doctor
from ke_t5.errors import Exit, UserError
from ke_t5.recipes import diagnosis
from ke_t5.recipes.diagnosis import TEXTS, Finding, diagnose
from ke_t5.sample.models import sample_tokenizer_dir

Disk = namedtuple("Disk", "total used free")


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    monkeypatch.setattr(diagnosis, "why_unreachable", lambda: "HF_HUB_OFFLINE is set")


def found(model=None, **folders) -> dict[str, Finding]:
    """Name -> finding."""
    return {finding.name: finding for finding in diagnose(folders, model=model)}


def test_a_machine_without_problems(tmp_path, capsys, monkeypatch):
    words = ["--output_dir", str(tmp_path / "new" / "run"), "--hf_cache_dir", str(tmp_path)]
    monkeypatch.setattr("shutil.disk_usage", lambda _: Disk(0, 0, 50e9))
    doctor.main(doctor.parser().parse_args(words))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"ok       Python: {sys.version.split()[0]} on ")
    assert "warning  hub: HF_HUB_OFFLINE is set; use folders of models and data, or --sample" in (
        lines
    )
    assert f"ok       output folder: {tmp_path}/new/run: 50 GB free" in lines
    names = [line[9:].partition(":")[0] for line in lines]
    assert {"torch", "transformers", "extra excel", "machine", "torch build", "GPU"} <= set(names)
    assert not [line for line in lines if line.startswith("problem")]


def test_each_gpu_is_asked_for_its_own_abilities(monkeypatch):
    kinds = [
        SimpleNamespace(name="A100", major=8, total_memory=80e9),
        SimpleNamespace(name="T4", major=7, total_memory=16e9),
    ]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda number: kinds[number])
    told = {finding.name: finding.text for finding in diagnosis._torch()}
    assert told["GPU 0"] == "A100, 80 GB, bf16"
    assert told["GPU 1"] == "T4, 16 GB, no bf16: fp32 is used"


def test_json_and_the_exit_code_of_a_problem(tmp_path, capsys):
    (tmp_path / "file").touch()
    words = ["--json", "--output_dir", str(tmp_path / "file"), "--hf_cache_dir", str(tmp_path)]
    with pytest.raises(UserError, match="ke-t5 doctor: problem with output folder; see") as caught:
        doctor.main(doctor.parser().parse_args(words))
    assert caught.value.exit_code == Exit.MACHINE
    told = {one["name"]: one for one in json.loads(capsys.readouterr().out)}
    assert told["output folder"]["state"] == "problem"
    assert told["output folder"]["text"].endswith("file cannot be written; choose another folder")


def test_disks_with_little_space_are_reported(tmp_path, monkeypatch):
    for free, state in ((20e9, "ok"), (4e9, "warning"), (0.5e9, "problem")):
        monkeypatch.setattr("shutil.disk_usage", lambda _, free=free: Disk(0, 0, free))
        assert diagnosis._disk("cache folder", tmp_path).state == state


def test_libraries_that_are_missing_or_too_old_are_reported(monkeypatch):
    needed = ["numpy>=999", "no-such-library>=1"], {"fast": ["no-such-library"]}
    monkeypatch.setattr(diagnosis, "_requirements", lambda: needed)
    old, missing, extra = diagnosis._libraries()
    assert old.state == missing.state == "problem" and extra.state == "ok"
    assert old.text.endswith('but >=999 is needed; pip install "numpy>=999"')
    assert missing.text == 'not installed; pip install "no-such-library>=1"'
    assert extra.text == 'not installed (no-such-library): pip install "ke_t5[fast]"'


def test_requirements_are_known_without_a_clone(monkeypatch, tmp_path):
    lines = ["torch>=2.11", 'openpyxl>=3.1; extra == "excel"']
    monkeypatch.setattr(diagnosis, "CLONE", tmp_path)
    monkeypatch.setattr(diagnosis.metadata, "requires", lambda _: lines)
    said = type("Message", (), {"get_all": lambda self, _: ["excel"]})
    monkeypatch.setattr(diagnosis.metadata, "metadata", lambda _: said())
    assert diagnosis._requirements() == (["torch>=2.11"], {"excel": ["openpyxl>=3.1"]})


def test_a_tokenizer_that_does_not_cover_korean_is_a_problem(cache_dir, tmp_path):
    healthy = diagnosis._tokenizer(str(sample_tokenizer_dir(cache_dir, "t5")))
    assert "% unknown" in healthy.text and f"of {len(TEXTS)} Korean texts" in healthy.text
    missing = diagnosis._tokenizer(str(tmp_path))
    assert missing.state == "problem" and "the folder contains no tokenizer" in missing.text
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "of"]
    (tmp_path / "vocab.txt").write_text("\n".join(vocabulary), encoding="utf-8")
    settings = {"tokenizer_class": "BertTokenizer"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    diagnosis_of_english = diagnosis._tokenizer(str(tmp_path))
    assert diagnosis_of_english.state == "problem"
    assert "does not cover Korean (none of its 7 tokens contains Hangul); use a Korean" in (
        diagnosis_of_english.text
    )


def test_a_folder_inside_an_inaccessible_one_is_a_problem(tmp_path, monkeypatch):
    real_stat, real_access, closed = os.stat, os.access, tmp_path / "closed"
    closed.mkdir()

    def stat(path, *arguments, **options):
        if str(path).startswith(f"{closed}/"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return real_stat(path, *arguments, **options)

    monkeypatch.setattr(os, "stat", stat)
    monkeypatch.setattr(os, "access", lambda path, mode: path != closed and real_access(path, mode))
    finding = diagnosis._disk("runs", closed / "output")
    expected = f"{closed / 'output'} cannot be written; choose another folder"
    assert (finding.state, finding.text) == ("problem", expected)


def test_a_torch_that_cannot_be_imported_is_a_problem(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    (finding,) = diagnosis._torch()
    assert finding.state == "problem" and finding.text.endswith("); reinstall it")
