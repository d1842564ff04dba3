"""P10: hostile names, and checkpoints and manifests that were resealed with other contents."""

from __future__ import annotations

import json

import pytest
import torch
from support.checkpoint_toys import Toy, find_checkpoint, reseal, save

from ke_t5.checkpoint.checkpoints import load_checkpoint, read_progress
from ke_t5.errors import Exit, UserError
from ke_t5.pipe import FunctionDataSource, Mixture, Task
from ke_t5.seals import MANIFEST

pytestmark = pytest.mark.promise("P10")

# ------------------------------------------------------------------------------------------ names

NAMES = ["../x", "../../../x", "/abs", "a/b", "..", ".", "", ".hidden", "a\0b", "a\nb", "a\\b",
         "x" * 181, "가" * 61, "\x7f", 5, None]  # fmt: skip


def source(name="rows", splits=("train",)):
    return FunctionDataSource(lambda split: [], splits, {"text": "string"}, name=name)


@pytest.mark.parametrize("name", NAMES, ids=repr)
def test_a_name_that_would_be_a_path_is_refused(name):
    task = Task("plain", source(), [], {})
    attempts = {
        "task": lambda: Task(name, source(), [], {}),
        "mixture": lambda: Mixture(name, (task,), (1.0,)),
        "data source": lambda: source(name=name),
        "split": lambda: source(splits=("train", name)),
    }
    for kind, attempt in attempts.items():
        with pytest.raises(UserError, match=f"{kind} .*the name cannot be used for a folder; use"):
            attempt()


@pytest.mark.parametrize("name", ["klue_tc", "내 과제", "a.b-c:d+e", "_own", "7", "x" * 180])
def test_a_plain_name_is_accepted(name):
    assert Task(name, source(name, (name,)), [], {}).name == name


# --------------------------------------------------------------------- checkpoints sealed again


def edited(name, change):
    def edit(folder):
        path = folder / name
        content = change(json.loads(path.read_bytes()))
        path.write_bytes(json.dumps(content).encode())

    return edit


def progress(**values):
    return edited("progress.json", lambda content: {**content, **values})


CHECKPOINTS = {
    **{f"{name} {content!r:.12}": (lambda folder, name=name, content=content:
                                   (folder / name).write_bytes(content))
       for name in ("progress.json", "model.json", "optimizer.json", "model.safetensors",
                    "optimizer.safetensors")
       for content in (b"", b"[]", b"5", b"null", b"{}", b"[" * 100_000, b"\xff\xfe", bytes(8),
                       (1 << 62).to_bytes(8, "little"), (99).to_bytes(8, "little") + b"{" * 99)},
    **{f"without {name}": (lambda folder, name=name: (folder / name).unlink())
       for name in ("progress.json", "model.json", "optimizer.json", "model.safetensors",
                    "optimizer.safetensors")},
    "step": progress(step="x"), "a huge step": progress(step=10**400), "rows": progress(rows=None),
    "loss": progress(loss_sum=[1]), "a share": progress(loss_shares=["x"]),
    "best": progress(best=5),
    "best without a step": progress(best={"score": 1.0, "scores": {}}),
    "a best score": progress(best={"step": 1, "score": "x", "scores": {}}),
    "fixed": progress(fixed=[1]), "a tensor": progress(rows={"$tensor": "x"}),
    "a float": progress(loss_sum={"$float": "x"}), "pairs": progress(fixed={"$pairs": 5}),
    "an alias": edited("model.json", lambda _: {"aliases": {"a": "b"}}),
    "aliases": edited("model.json", lambda _: {"aliases": [1]}),
    "a class": edited("optimizer.json", lambda content: {**content, "class": "os.system"}),
    "no groups": edited("optimizer.json", lambda content: {**content, "state": {}}),
    "a rate": edited("optimizer.json", lambda content: json.loads(
        json.dumps(content).replace('"lr": ', '"lr": "x", "was": '))),
}  # fmt: skip


def test_hostile_resealed_checkpoints_are_refused(tmp_path, tally):
    for number, (name, damage) in enumerate(CHECKPOINTS.items(), 1):
        with tally.case(name):
            folder = save(tmp_path / str(number), 1)
            damage(folder)
            reseal(folder)
            model = Toy()
            optimizer = torch.optim.AdamW(model.parameters())
            try:
                checkpoint = find_checkpoint(folder.parent, str(folder))
                load_checkpoint(checkpoint, model=model, optimizer=optimizer)
                read_progress(checkpoint)
            except UserError as error:
                assert error.exit_code == Exit.CHECKPOINT, error
                continue
            except Exception as error:
                raise AssertionError(f"{type(error).__name__}: {error}") from error
            raise AssertionError("it was loaded")


EMPTY = {"size": 0, "sha256": ""}
MANIFESTS = [{"files": {}}, {"files": []}, {"files": {"../x": EMPTY}}, {"files": {"a\0": EMPTY}},
             {"files": {"/etc/hostname": EMPTY}}, {"step": "1"}, {"step": None},
             {"step": 2}]  # fmt: skip


def test_hostile_manifests(tmp_path, tally):
    for number, changes in enumerate(MANIFESTS):
        with tally.case(str(changes)):
            folder = save(tmp_path / str(number), 1)
            reseal(folder, **changes)
            with pytest.raises(UserError, match=MANIFEST):
                find_checkpoint(folder.parent, str(folder))
            assert find_checkpoint(folder.parent, "auto") is None
