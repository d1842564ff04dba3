"""Large files of the cache are verified once, and again when they may have changed."""

from __future__ import annotations

import os

import pytest

from ke_t5.pipe import integrity
from ke_t5.pipe.integrity import fault_of, read_info, write_info


@pytest.fixture
def reads(monkeypatch):
    """The names of the files that are verified."""
    names, real = [], integrity._checksum
    monkeypatch.setattr(integrity, "LARGE", 10)

    def checksum(path, stamp):
        names.append(path.name)
        return real.__wrapped__(path, stamp)

    monkeypatch.setattr(integrity, "_checksum", checksum)
    return names


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "examples"
    folder.mkdir()
    (folder / "large").write_bytes(b"x" * 20)
    (folder / "small").write_bytes(b"x")
    write_info(folder, {"rows": 1})
    return folder


def test_a_large_file_is_read_once_and_a_small_one_always(folder, reads):
    for _ in range(3):
        assert read_info(folder) == {"rows": 1}
    assert reads == ["large", "small", "small", "small"]


def test_a_large_file_that_is_written_is_read_again(folder, reads):
    read_info(folder)
    before = (folder / "large").stat()
    (folder / "large").write_bytes(b"y" * 20)
    os.utime(folder / "large", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert fault_of(folder) == "large is damaged"
    (folder / "large").write_bytes(b"x" * 20)
    assert fault_of(folder) is None
    (folder / "large").unlink()
    assert fault_of(folder) == "large is missing"


def test_after_a_week_a_restart_or_on_another_machine_it_is_read_again(folder, reads, monkeypatch):
    read_info(folder)
    now = integrity.time.time()
    for name, module, value in (
        ("time", integrity.time, lambda: now + 8 * 24 * 3600),
        ("_start_of_machine", integrity, lambda: "another"),
        ("gethostname", integrity.socket, lambda: "another"),
    ):
        reads.clear()
        with monkeypatch.context() as changed:
            changed.setattr(module, name, value)
            read_info(folder)
        assert reads == ["large", "small"], name


@pytest.mark.parametrize("content", [b"", b"[1]", b'{"large": 1}', b"\xff"])
def test_what_is_known_may_be_damaged_or_unwritable(folder, reads, content):
    read_info(folder)
    (known,) = folder.parent.glob("examples.read-*")
    known.write_bytes(content)
    reads.clear()
    assert fault_of(folder) is None and reads == ["large", "small"]
    known.unlink()
    known.mkdir()
    assert fault_of(folder) is None
