"""Full or failing disks and killed processes: a complete checkpoint always exists."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import pytest
from support.checkpoint_toys import find_checkpoint, names, save
from support.processes import run_script

from ke_t5.checkpoint.checkpoints import clean
from ke_t5.errors import Exit, UserError

Usage = namedtuple("Usage", "total used free")


def test_too_little_space_is_told_before_anything_is_written(tmp_path, monkeypatch):
    old = save(tmp_path, 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(0, 0, 100))
    with pytest.raises(UserError) as caught:
        save(tmp_path, 2)
    assert caught.value.exit_code == Exit.MACHINE
    assert f"{tmp_path}: the checkpoint needs 5.54e-07 GB, 1e-07 GB are free" in str(caught.value)
    assert names(tmp_path) == ["last.json", "step-00000001"]
    assert find_checkpoint(tmp_path, "true") == old


@pytest.mark.parametrize("function", ["fsync", "rename", "replace"])
@pytest.mark.parametrize(
    ("number", "message"),
    [
        (errno.ENOSPC, "the checkpoint needs .* GB are free; free some space"),
        (
            errno.EROFS,
            r"the checkpoint cannot be written \(Read-only file system\); make the folder",
        ),
    ],
)
def test_a_refusing_disk_leaves_the_old_checkpoint(
    tmp_path, monkeypatch, function, number, message
):
    save(tmp_path, 1)
    real, calls = getattr(os, function), []

    def refuse(*args, **kwargs):
        calls.append(args)
        if len(calls) == at:
            raise OSError(number, os.strerror(number))
        return real(*args, **kwargs)

    monkeypatch.setattr(os, function, refuse)
    for at in range(1, 30):
        calls.clear()
        try:
            save(tmp_path, 2, seed=at)
            break
        except UserError as error:
            assert error.exit_code == Exit.MACHINE
            with pytest.raises(UserError, match=message):
                raise
        assert not [name for name in names(tmp_path) if ".tmp-" in name]
        assert find_checkpoint(tmp_path, "true") and find_checkpoint(tmp_path, "auto")
    assert len(calls) < at, "every call has been refused once"


def test_what_does_not_read_back_is_not_committed(tmp_path, monkeypatch):
    save(tmp_path, 1)
    real = os.fsync

    def lose(descriptor):
        if os.readlink(f"/proc/self/fd/{descriptor}").endswith("model.safetensors"):
            os.truncate(descriptor, 10)
        real(descriptor)

    monkeypatch.setattr(os, "fsync", lose)
    with pytest.raises(UserError, match="cannot be read back: model.safetensors has 10 bytes inst"):
        save(tmp_path, 2)
    assert names(tmp_path) == ["last.json", "step-00000001"]


KILLS = """
import os, signal, sys
from pathlib import Path
sys.path[:0] = [sys.argv[2], sys.argv[3]]
import torch
torch.set_num_threads(1)
from support.checkpoint_toys import find_checkpoint, save
from ke_t5.checkpoint.checkpoints import clean, load_checkpoint
from ke_t5.checkpoint import folders as checkpoint_folders

weights, calls = Path(sys.argv[1]), 0

def killing(real, at):
    def call(*args, **kwargs):
        global calls
        calls += 1
        if calls == at:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*args, **kwargs)
    return call

def run(work, at):
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    for name in "open fsync rename replace unlink rmdir mkdir".split():
        setattr(os, name, killing(getattr(os, name), at))
    work()
    os._exit(0)

save(weights, 1, is_best=True)
save(weights, 2)
jobs = [lambda: save(weights, 3, is_best=True), lambda: save(weights, 3, score=2.0),
        lambda: save(weights, 4)]
kills = 0
for job in jobs:
    for at in range(1, 200):
        code = run(job, at)
        for word in ("true", "auto", "best"):
            path = find_checkpoint(weights, word)
            assert checkpoint_folders.find_fault(path) is None
        clean(weights)
        assert not [p.name for p in weights.iterdir() if ".tmp-" in p.name or ".old" in p.name]
        for word in ("true", "auto", "best"):
            find_checkpoint(weights, word)
        if code == 0:
            break
        assert code == -signal.SIGKILL, code
        kills += 1
print("kills", kills, *sorted(p.name for p in weights.iterdir()))
"""


def test_killed_at_any_call_leaves_a_whole_checkpoint(tmp_path):
    here, script = Path(__file__).parents[1], tmp_path / "kills.py"
    script.write_text(KILLS)
    done = run_script(script, tmp_path / "weights", here, here.parent)
    assert done.returncode == 0, done.stderr
    words = done.stdout.split()
    assert int(words[1]) > 60
    assert words[2:] == ["best.json", "last.json", "step-00000003", "step-00000004"]


def test_files_are_on_the_disk_before_they_get_their_names(tmp_path, monkeypatch):
    events = []
    for name in ("fsync", "rename", "replace"):
        real = getattr(os, name)

        def record(target, *args, name=name, real=real):
            shown = os.readlink(f"/proc/self/fd/{target}") if name == "fsync" else str(target)
            events.append((name, Path(shown.split(".tmp-")[0]).name + Path(shown).suffix))
            return real(target, *args)

        monkeypatch.setattr(os, name, record)
    weights = tmp_path / "weights"
    save(weights, 1)
    kinds = [name for name, _ in events]
    assert kinds == ["fsync"] * 8 + ["rename", "fsync", "fsync", "replace", "fsync"]


def test_clean_removes_what_the_dead_left_and_nothing_else(tmp_path, caplog):
    dead = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], stdout=-1).stdout
    save(tmp_path, 1)
    (tmp_path / f"step-00000002.tmp-{int(dead)}").mkdir()
    (tmp_path / f"last.json.tmp-{os.getpid()}").touch()
    (tmp_path / f"best.json.tmp-{os.getppid()}").touch()
    with caplog.at_level("INFO"):
        clean(tmp_path)
    left = [f"best.json.tmp-{os.getppid()}", "last.json", "step-00000001"]
    assert names(tmp_path) == left
    assert len(caplog.messages) == 2
    clean(tmp_path / "nowhere")
