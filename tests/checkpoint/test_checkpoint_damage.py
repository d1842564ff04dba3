"""Damaged checkpoints: found before anything is loaded from them, whatever was damaged."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from support.checkpoint_toys import FILES, Toy, assert_same_bits, find_checkpoint, flip, save

from ke_t5.checkpoint import folders
from ke_t5.checkpoint.checkpoints import load_checkpoint
from ke_t5.errors import Exit, UserError


def truncate(path):
    path.write_bytes(path.read_bytes()[:-1])


def zero(path):
    path.write_bytes(bytes(path.stat().st_size))


def swap(path):
    other = path.with_name("model.json" if path.name != "model.json" else "optimizer.json")
    content = path.read_bytes()
    path.write_bytes(other.read_bytes())
    other.write_bytes(content)


DAMAGES = [truncate, flip, zero, swap, Path.unlink]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", DAMAGES, ids=lambda f: f.__name__)
def test_damage_is_found_before_anything_is_loaded(tmp_path, name, damage, caplog):
    good, bad = save(tmp_path, 1), save(tmp_path, 2)
    damage(bad / name)
    model = Toy()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with pytest.raises(UserError) as caught:
        load_checkpoint(bad, model=model)
    assert_same_bits(before, dict(model.state_dict()))
    assert caught.value.exit_code == Exit.CHECKPOINT
    # After a swap the other file is wrong too, and may be reported first.
    assert name in str(caught.value) or damage is swap
    for resume in ("true", str(bad)):
        with pytest.raises(UserError, match="use --resume auto"):
            find_checkpoint(tmp_path, resume)
    assert find_checkpoint(tmp_path, "auto") == good
    assert f"skips {bad}: " in caplog.text


@pytest.mark.parametrize("name", ["step-00000001/MANIFEST.json", "last.json"])
def test_every_flipped_bit_of_the_unsealed_files_is_found(tmp_path, name):
    path = tmp_path / name
    save(tmp_path, 1)
    content = path.read_bytes()
    for position in range(len(content)):
        flipped = bytearray(content)
        flipped[position] ^= 1 << (position % 8)
        path.write_bytes(flipped)
        with pytest.raises(UserError, match="is damaged"):
            find_checkpoint(tmp_path, "true")


def test_checkpoints_under_each_others_names_are_found(tmp_path):
    path = save(tmp_path, 1)
    path.rename(tmp_path / "step-00000002")
    with pytest.raises(UserError, match="MANIFEST.json is for step 1"):
        load_checkpoint(tmp_path / "step-00000002", model=Toy())


def test_a_renamed_copy_can_be_loaded(tmp_path):
    path = save(tmp_path, 1).rename(tmp_path / "mine")
    assert find_checkpoint(tmp_path, str(path)) == path
    assert load_checkpoint(path, model=Toy())["step"] == 1


def test_damaged_pointer_is_told_and_auto_does_without(tmp_path, caplog):
    path = save(tmp_path, 1)
    pointer = tmp_path / "last.json"
    pointer.write_bytes(pointer.read_bytes().replace(b"01", b"03"))
    with pytest.raises(UserError, match="last.json: the file is damaged"):
        find_checkpoint(tmp_path, "true")
    assert find_checkpoint(tmp_path, "auto") == path
    assert "last.json: the file is damaged" in caplog.text


def while_it_is_checked(monkeypatch, action):
    """Calls `action` once, after a manifest is read and before its files are."""
    real, actions = folders.first_fault, [action]

    def first_fault(folder, files):
        while actions:
            actions.pop()()
        return real(folder, files)

    monkeypatch.setattr(folders, "first_fault", first_fault)


def test_a_checkpoint_that_a_training_replaces_meanwhile_is_not_damaged(tmp_path, monkeypatch):
    path = save(tmp_path, 1, waited=0)
    while_it_is_checked(monkeypatch, lambda: save(tmp_path, 1, waited=1))
    assert find_checkpoint(tmp_path, "true") == path
    assert load_checkpoint(path, model=Toy())["waited"] == 1


def test_the_last_checkpoint_is_the_newer_one_if_a_training_deletes_it(tmp_path, monkeypatch):
    old = save(tmp_path, 1)

    def go_on():
        save(tmp_path, 2)
        shutil.rmtree(old)

    while_it_is_checked(monkeypatch, go_on)
    assert find_checkpoint(tmp_path, "true") == tmp_path / "step-00000002"


def test_a_named_checkpoint_that_is_deleted_meanwhile_is_told(tmp_path, monkeypatch):
    old = save(tmp_path, 1)
    while_it_is_checked(monkeypatch, lambda: (save(tmp_path, 2), shutil.rmtree(old)))
    with pytest.raises(UserError, match="no such checkpoint; available: step-00000002"):
        find_checkpoint(tmp_path, "step-00000001")
    with pytest.raises(UserError, match="step-00000001: it was deleted meanwhile; does its tr"):
        load_checkpoint(old, model=Toy(), is_checked=True)
