"""A sealed folder is used only if it has not changed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import pytest
from support.processes import ROOT

from ke_t5 import seals
from ke_t5.errors import Exit, UserError
from ke_t5.lookup.hub import find_pretrained, require_weights

FILES = {
    "config.json": '{"model_type": "bert"}',
    "model.safetensors": "weights",
    "tokenizer.json": "{}",
    "README.md": f"# A card\n\n{seals.MARK}\n",
}


@pytest.fixture
def folder(tmp_path):
    """A sealed export."""
    path = tmp_path / "hf"
    path.mkdir()
    for name, content in FILES.items():
        (path / name).write_text(content)
    assert seals.seal_folder(path, model_class="my_models:Net") == len(FILES)
    return path


def check(folder, **options):
    return seals.check_folder(folder, where="--hf_path", **options)


def test_an_unchanged_folder_gives_its_model_class(folder):
    assert check(folder)["model_class"] == "my_models:Net"
    require_weights(find_pretrained(folder))


@pytest.mark.parametrize("name", [name for name in FILES if name != "README.md"])
@pytest.mark.parametrize(
    ("damage", "what"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), r"has 1?\d+ bytes instead of \d+"),
        (lambda path: path.write_bytes(path.read_bytes()[::-1]), "is damaged"),
        (lambda path: path.unlink(), "is missing"),
        (lambda path: (path.unlink(), path.mkdir()), "is not a file"),
        (lambda path: (path.unlink(), os.mkfifo(path)), "is not a file"),
    ],
)
def test_a_changed_file_is_an_error_with_a_fix(folder, name, damage, what):
    damage(folder / name)
    with pytest.raises(UserError, match=f"--hf_path .*hf: {name} {what}") as caught:
        check(folder)
    assert "restore it, or accept the folder as it is: python -m ke_t5.seals FOLDER" in str(
        caught.value
    )
    assert caught.value.exit_code == Exit.CHECKPOINT


def test_weights_are_checked_when_they_are_needed(folder):
    (folder / "model.safetensors").write_text("weightS")
    found = find_pretrained(folder, where="--hf_path")
    with pytest.raises(UserError, match="--hf_path .*: model.safetensors is damaged"):
        require_weights(found, where="--hf_path")


def test_a_change_after_a_check_is_detected(folder, monkeypatch):
    monkeypatch.setattr(seals, "SETTLED", 0)
    check(folder)
    check(folder)
    (folder / "tokenizer.json").write_text("[]")
    with pytest.raises(UserError, match="tokenizer.json is damaged"):
        check(folder)


@pytest.mark.parametrize(
    "name",
    ["adapter_config.json", "model.safetensors.index.json", "pytorch_model.bin", "vocab.txt",
     "generation_config.json", "chat_template.jinja"],
)  # fmt: skip
def test_an_additional_file_that_would_be_read_is_refused(folder, name):
    (folder / name).write_text("{}")
    with pytest.raises(UserError, match=f"{name} was added; restore it"):
        check(folder)


def test_other_additional_files_are_allowed(folder):
    for name in ("notes.md", ".gitattributes", "model.onnx", "eval_results.json"):
        (folder / name).write_text("x")
    check(folder)


def test_an_edited_card_is_a_warning(folder, caplog):
    (folder / "README.md").write_text("# My model")
    for _ in range(2):
        check(folder)
    assert caplog.text.count("it was changed since the export (the model is not)") == 1


def test_a_missing_manifest_is_detected(folder):
    (folder / seals.MANIFEST).unlink()
    with pytest.raises(UserError, match="MANIFEST.json is missing; restore it"):
        check(folder)


def test_a_folder_that_ke_t5_did_not_write_is_not_checked(folder):
    (folder / seals.MANIFEST).unlink()
    (folder / "README.md").unlink()
    assert check(folder) == {}
    with pytest.raises(UserError, match="MANIFEST.json is missing"):
        check(folder, is_sealed=True)


def resealed(folder, **changes):
    manifest = {**json.loads((folder / seals.MANIFEST).read_bytes()), **changes}
    del manifest["sha256"]
    (folder / seals.MANIFEST).write_bytes(seals.json_bytes(seals.sealed(manifest)))


SEAL = {"size": 0, "sha256": ""}


@pytest.mark.parametrize(
    "files",
    [{}, [], None, "x", {"../x": SEAL}, {"/etc/passwd": SEAL}, {"a\0b": SEAL}, {"a/../../b": SEAL},
     {"..\\x": SEAL}, {"C:x": SEAL}, {"": SEAL}, {"x": []}, {"x": {"size": "0", "sha256": ""}},
     {"x": {"size": 0, "md5": ""}}],
)  # fmt: skip
def test_a_manifest_of_another_folder_is_damaged(folder, files):
    resealed(folder, files=files)
    assert seals.read_manifest(folder) is None
    with pytest.raises(UserError, match="MANIFEST.json is damaged"):
        check(folder)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[]", b"[" * 100_000, b"null", b"{}"])
def test_a_manifest_of_another_shape_is_damaged(folder, content):
    (folder / seals.MANIFEST).write_bytes(content)
    with pytest.raises(UserError, match="MANIFEST.json is damaged"):
        check(folder)


def test_a_deliberate_change_is_sealed_again(folder):
    (folder / "config.json").write_text('{"model_type": "roberta"}')
    command = [sys.executable, "-m", "ke_t5.seals", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert (done.returncode, done.stdout) == (0, f"sealed {folder}: 4 files\n")
    assert check(folder)["model_class"] == "my_models:Net"


def test_only_the_folder_of_a_model_is_sealed(tmp_path, capsys):
    shutil.rmtree(tmp_path)
    assert seals.main([str(tmp_path)]) == seals.main([]) == Exit.FLAGS
    assert "give the folder of a model" in capsys.readouterr().err


def test_a_folder_that_cannot_be_sealed_is_a_one_line_error(tmp_path, capsys):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / seals.MANIFEST).mkdir()
    assert seals.main([str(tmp_path)]) == Exit.MACHINE
    line = "cannot be sealed (Is a directory); check permissions and names\n"
    assert capsys.readouterr().err == f"error: {tmp_path / seals.MANIFEST}: {line}"


@pytest.mark.parametrize(("name", "title"), seals.TITLES.items())
def test_each_hash_detects_a_changed_file(tmp_path, name, title):
    content = b"weights" * 1000
    (tmp_path / "model.safetensors").write_bytes(content)
    digest = seals.new_hash(name)
    digest.update(content)
    files = {"model.safetensors": {"size": len(content), name: digest.hexdigest()}}
    assert seals.first_fault(tmp_path, files) is None
    (tmp_path / "model.safetensors").write_bytes(content[:-1] + b"S")
    fault = seals.first_fault(tmp_path, files)
    assert fault == f"model.safetensors is damaged (its {title} differs)"
