"""Files and folders are replaced atomically, and nothing is left behind."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ke_t5 import files

DEAD, OTHER = 999_999_999, os.getppid()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def refuse(*_, **__):
    raise OSError("refused")


def folder_with(path: Path, content: str) -> Path:
    path.mkdir()
    (path / "file").write_text(content)
    return path


@pytest.mark.parametrize("is_durable", [False, True])
@pytest.mark.parametrize("content", ["가", "가".encode()])
def test_a_file_is_replaced(tmp_path, content, is_durable):
    path = tmp_path / "new" / "file"
    for _ in range(2):
        files.write_atomically(path, content, is_durable=is_durable)
    assert path.read_text(encoding="utf-8") == "가" and names(path.parent) == ["file"]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_file_that_cannot_be_replaced_is_unchanged(tmp_path, monkeypatch, call):
    path = tmp_path / "file"
    path.write_text("old")
    monkeypatch.setattr(os, call, refuse)
    with pytest.raises(OSError, match="refused"):
        files.write_atomically(path, "new", is_durable=True)
    assert path.read_text() == "old" and names(tmp_path) == ["file"]


def test_a_durable_file_is_flushed_before_it_is_renamed(tmp_path, monkeypatch):
    calls = []
    for name in ("fsync", "replace"):
        real = getattr(os, name)
        monkeypatch.setattr(
            os, name, lambda *args, name=name, real=real: (calls.append(name), real(*args))
        )
    files.write_atomically(tmp_path / "one", "content")
    assert calls == ["replace"]
    files.write_atomically(tmp_path / "two", "content", is_durable=True)
    assert calls == ["replace", "fsync", "replace", "fsync"]


@pytest.fixture(params=[True, False], ids=["exchange", "two renames"])
def can_exchange(request, monkeypatch):
    """Whether the system can swap two names atomically."""
    if not request.param:
        monkeypatch.setattr(files, "exchange", lambda one, other: False)
    return request.param


@pytest.mark.parametrize("is_durable", [False, True])
@pytest.mark.usefixtures("can_exchange")
def test_a_folder_is_replaced(tmp_path, is_durable):
    for content in ("old", "new"):
        with files.new_folder(tmp_path / "folder", is_durable=is_durable) as temporary:
            (temporary / "file").write_text(content)
    assert (tmp_path / "folder" / "file").read_text() == "new" and names(tmp_path) == ["folder"]


def test_a_folder_that_cannot_be_written_leaves_the_old_one(tmp_path):
    folder_with(tmp_path / "folder", "old")
    with pytest.raises(ZeroDivisionError), files.new_folder(tmp_path / "folder") as temporary:
        (temporary / "file").write_text(str(1 // 0))
    assert (tmp_path / "folder" / "file").read_text() == "old" and names(tmp_path) == ["folder"]


def test_two_names_are_swapped_atomically(tmp_path):
    one, other = (folder_with(tmp_path / name, name) for name in ("one", "other"))
    assert files.exchange(one, other), "Linux can"
    assert (one / "file").read_text() == "other" and (other / "file").read_text() == "one"
    with pytest.raises(OSError, match="No such file"):
        files.exchange(one, tmp_path / "nowhere")


def test_a_folder_that_cannot_be_swapped_leaves_the_old_one(tmp_path, monkeypatch):
    source, target = (folder_with(tmp_path / name, name) for name in ("source", "target"))
    monkeypatch.setattr(files, "exchange", refuse)
    with pytest.raises(OSError, match="refused"):
        files.replace_folder(source, target)
    assert (target / "file").read_text() == "target" and names(tmp_path) == ["source", "target"]


@pytest.mark.parametrize("at", [1, 2])
def test_a_folder_that_cannot_be_renamed_leaves_the_old_one(tmp_path, monkeypatch, at):
    monkeypatch.setattr(files, "exchange", lambda one, other: False)
    source, target = (folder_with(tmp_path / name, name) for name in ("source", "target"))
    real, calls = os.rename, []

    def rename(*paths):
        calls.append(paths)
        return refuse() if len(calls) == at else real(*paths)

    monkeypatch.setattr(os, "rename", rename)
    with pytest.raises(OSError, match="refused"):
        files.replace_folder(source, target)
    assert (target / "file").read_text() == "target" and names(tmp_path) == ["source", "target"]


@pytest.mark.usefixtures("can_exchange")
def test_a_link_is_replaced_and_not_its_target(tmp_path):
    elsewhere = folder_with(tmp_path / "elsewhere", "old")
    (tmp_path / "folder").symlink_to(elsewhere)
    files.replace_folder(folder_with(tmp_path / "source", "new"), tmp_path / "folder")
    assert (tmp_path / "folder" / "file").read_text() == "new"
    assert (elsewhere / "file").read_text() == "old"
    assert names(tmp_path) == ["elsewhere", "folder"]


def test_only_leftovers_of_dead_processes_are_removed(tmp_path):
    for name in (f"a.tmp-{DEAD}", f"a.tmp-{OTHER}", f"b[1].tmp-{os.getpid()}"):
        (tmp_path / name).mkdir()
    for name in ("a", "a.tmp", f"c.tmp-{DEAD}"):
        (tmp_path / name).touch()
    removed = files.remove_leftovers(tmp_path, "a")
    assert [path.name for path in removed] == [f"a.tmp-{DEAD}"]
    removed = files.remove_leftovers(tmp_path)
    assert [path.name for path in removed] == [f"b[1].tmp-{os.getpid()}", f"c.tmp-{DEAD}"]
    files.remove_leftovers(tmp_path, "a", is_alone=True)
    assert names(tmp_path) == ["a", "a.tmp"]
    assert files.remove_leftovers(tmp_path / "nowhere") == []


def test_a_folder_that_was_set_aside_is_restored(tmp_path):
    folder_with(tmp_path / f"a.replaced-{DEAD}", "a")
    folder_with(tmp_path / f"b.replaced-{DEAD}", "old")
    folder_with(tmp_path / "b", "new")
    folder_with(tmp_path / f"c.replaced-{OTHER}", "c")
    removed = files.remove_leftovers(tmp_path)
    assert [path.name for path in removed] == [f"b.replaced-{DEAD}"]
    assert names(tmp_path) == ["a", "b", f"c.replaced-{OTHER}"]
    assert (tmp_path / "b" / "file").read_text() == "new"


def test_an_old_folder_is_renamed_to_the_first_free_number(tmp_path):
    (tmp_path / "file.1").touch()
    folder_with(tmp_path / "file", "content")
    assert files.move_aside(tmp_path / "file") == tmp_path / "file.2"
    assert (tmp_path / "file.2" / "file").read_text() == "content"
