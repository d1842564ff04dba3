"""Checkpoints of sharded weights: each process writes its part, any number of them can read it."""

from __future__ import annotations

import errno
import json
import shutil
import threading
from pathlib import Path

import pytest
import torch
from support.checkpoint_toys import Toy, assert_same_bits, flip, saved_tensors
from support.processes import run_on_ranks
from support.training import one_rank
from torch import nn

from ke_t5.checkpoint import shard_files, shard_saving, writer
from ke_t5.checkpoint.checkpointer import Checkpointer
from ke_t5.checkpoint.checkpoints import load_checkpoint, save_checkpoint
from ke_t5.checkpoint.folders import find_fault, read_pointer, write_folder
from ke_t5.checkpoint.writer import Writer
from ke_t5.distributed import _num_exchanges
from ke_t5.errors import Exit, UserError
from ke_t5.frozen_weights import leave_out_base
from ke_t5.seals import seal_folder
from ke_t5.sharding import gathered_state, local
from ke_t5.train.loop import TrainState

STEP = "step-00000003"
JSON = {"MANIFEST.json", "model.json", "optimizer.json", "progress.json"}


class Divided(Toy):
    """A toy whose shards differ in size, or are empty: 3 rows, and one number."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))
        self.register_buffer("number", torch.tensor(2.0, dtype=torch.bfloat16))

    def forward(self):
        return self.loss() * self.scale


def made(ranks, *, freezes=False):
    """A model on these ranks and its optimizer, after three steps."""
    torch.manual_seed(0)
    module = Divided()
    if freezes:
        module.shared.weight.requires_grad_(False)
        leave_out_base(module, "a hash")
    model = ranks.shard(module)
    optimizer = adamw(p for p in module.parameters() if p.requires_grad)
    for _ in range(3):
        optimizer.zero_grad()
        model().sum().backward()
        optimizer.step()
    return TrainState(model, module, optimizer, lambda step: 1.0)


def adamw(parameters):
    return torch.optim.AdamW(parameters, lr=0.1, foreach=False)


def save(ranks, state, weights, *, one=None, **options):
    """Saves in shards; optionally waits for the writer."""
    waited = one or Writer()
    shard_saving.save_shards(
        weights, model=state.module, optimizer=state.optimizer, writer=waited, keep=(),
        group=ranks.writers_group(), is_main=ranks.is_main,
        **{"progress": {"step": 3}, "is_best": True, "has_tensors": False, **options},
    )  # fmt: skip
    if one is None:
        waited.wait()


def save_gathered(ranks, state, weights):
    model, optimizer = gathered_state(state.module, state.optimizer, is_main=ranks.is_main)
    if ranks.is_main:
        options = {"progress": {"step": 3}, "is_best": True}
        save_checkpoint(weights, model=model, optimizer=optimizer, **options)
    ranks.barrier()


# ------------------------------------------------------------------------------ on two processes


def everything(ranks, path):
    """Saves in each way; returns what this process has seen."""
    torch.set_num_threads(1)
    seen = {}
    state = made(ranks)
    seen["empty"] = local(state.module.scale).numel() == 0
    save(ranks, state, path / "first")  # makes the group
    before = _num_exchanges()
    save(ranks, state, path / "shards")
    seen["num_exchanges"] = _num_exchanges() - before
    save_gathered(ranks, state, path / "whole")
    frozen = made(ranks, freezes=True)
    save(ranks, frozen, path / "frozen")
    save_gathered(ranks, frozen, path / "frozen whole")
    save_by_checkpointer(ranks, state, path)
    save_while_training(ranks, made(ranks), path / "meanwhile")
    save_without_memory(ranks, state, path / "no memory")
    seen["failures"] = [fail(ranks, state, path / "shards", on) for on in (0, 1)]
    return seen


def save_by_checkpointer(ranks, state, path):
    """Saves a step, then its new progress; full tensors if only rank 0 sees the disk."""
    for has_one_disk in (True, False):
        ranks.has_one_disk = has_one_disk
        one = Checkpointer(path / f"run {has_one_disk}", state, ranks, epoch_steps=9, improves=None)
        state.step = 3
        one.save()
        one.wait()
        ranks.barrier()
        if ranks.is_main and has_one_disk:
            shutil.copytree(one.run, path / "before")
        ranks.barrier()
        one.add({"step": 3, "score": 1.0, "scores": {}})
        one.save(is_best=True)
        one.wait()
        ranks.barrier()
    ranks.has_one_disk = True


def save_while_training(ranks, state, weights):
    """Nothing is written before the weights have changed."""
    one, may_write = Writer(), threading.Event()
    begin = shard_files.ShardWriter.write_data
    shard_files.ShardWriter.write_data = lambda *a: may_write.wait() and begin(*a)
    try:
        save(ranks, state, weights, one=one)
        with torch.no_grad():
            for parameter in state.module.parameters():
                local(parameter).zero_()
        may_write.set()
        one.wait()
    finally:
        shard_files.ShardWriter.write_data = begin


def save_without_memory(ranks, state, weights):
    """One process has too little memory for a copy."""
    known = writer.available_memory
    if ranks.rank == 1:
        writer.available_memory = lambda: 0
    save(ranks, state, weights)
    writer.available_memory = known


def fail(ranks, state, weights, on):
    """The error of the second checkpoint if one process cannot write."""
    known = shard_files.write_tensors

    def refuse(*arguments):
        raise OSError(errno.ENOSPC, "no space left on device")

    if ranks.rank == on:
        shard_files.write_tensors = refuse
    try:
        save(ranks, state, weights, progress={"step": 4})
    except UserError as error:
        return str(error), error.exit_code
    finally:
        shard_files.write_tensors = known
        ranks.barrier()
    return None


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("divided")


@pytest.fixture(scope="module")
def seen(path):
    return run_on_ranks(everything, 2, path)


def loaded(folder):
    """The state of model and optimizer that one process reads from a checkpoint."""
    torch.manual_seed(1)
    module = Divided()
    if "frozen" in str(folder):
        module.shared.weight.requires_grad_(False)
        leave_out_base(module, "a hash")
    optimizer = adamw([p for p in module.parameters() if p.requires_grad])
    progress = load_checkpoint(folder, model=module, optimizer=optimizer)
    assert module.lm_head.weight is module.shared.weight
    return module.state_dict(), optimizer.state_dict(), progress["step"]


@pytest.mark.parametrize(
    ("shards", "whole"),
    [
        ("shards", "whole"),
        ("meanwhile", "whole"),
        ("no memory", "whole"),
        ("frozen", "frozen whole"),
        ("run True/weights", "run False/weights"),
    ],
)
def test_the_same_bits_as_whole_tensors(seen, path, shards, whole):
    assert [one["empty"] for one in seen] == [False, True]
    one, other = path / shards / STEP, path / whole / STEP
    assert {file.name for file in one.iterdir()} == JSON | {
        shard_files.shard_name(1), shard_files.shard_name(2)
    }  # fmt: skip
    assert {file.name for file in other.iterdir()} == JSON | {
        "model.safetensors", "optimizer.safetensors"
    }  # fmt: skip
    for file in ("model.json", "optimizer.json"):
        assert (one / file).read_bytes() == (other / file).read_bytes()
    for of in ("model", "optimizer"):
        assert_same_bits(
            dict(sorted(saved_tensors(one, of).items())),
            dict(sorted(saved_tensors(other, of).items())),
        )
    assert_same_bits(loaded(one), loaded(other))
    for weights in (one.parent, other.parent):
        assert [read_pointer(weights, pointer) for pointer in ("last", "best")] == [3, 3]


def test_frozen_weights_are_left_out(seen, path):
    names = saved_tensors(path / "frozen" / STEP)
    assert "shared.weight" not in names and "linear.weight" in names
    assert json.loads((path / "frozen" / STEP / "model.json").read_bytes())["base_sha256"]


def test_equal_checkpoints_have_equal_bytes(seen, path):
    manifests = [(path / one / STEP / "MANIFEST.json").read_bytes() for one in ("first", "shards")]
    assert manifests[0] == manifests[1]


def test_what_is_there_is_linked_and_only_progress_is_new(seen, path):
    new, old = path / "run True" / "weights" / STEP, path / "before" / "weights" / STEP
    files = sorted(file.name for file in new.glob("*.safetensors"))
    assert all((new / name).read_bytes() == (old / name).read_bytes() for name in files)
    assert (new / "progress.json").read_bytes() != (old / "progress.json").read_bytes()
    assert len(files) == 2 and find_fault(new) is None


def test_shards_are_copied_if_the_disk_has_no_links(seen, path, tmp_path, monkeypatch):
    def refuse(*arguments):
        raise OSError(errno.EPERM, "operation not permitted")

    monkeypatch.setattr("os.link", refuse)
    folder = Path(shutil.copytree(path / "shards" / STEP, tmp_path / STEP))
    before = loaded(folder)
    write_folder(folder, 3, new_progress(folder), has_tensors=True)
    assert find_fault(folder) is None and len(list(folder.iterdir())) == len(JSON) + 2
    assert_same_bits(loaded(folder), before)


def test_a_shard_that_was_damaged_meanwhile_is_not_linked(seen, path, tmp_path):
    folder = Path(shutil.copytree(path / "shards" / STEP, tmp_path / STEP))
    manifest = (folder / "MANIFEST.json").read_bytes()
    flip(folder / shard_files.shard_name(2))
    with pytest.raises(OSError, match=r"cannot be read back: shard-00002-.* is damaged"):
        write_folder(folder, 3, new_progress(folder), has_tensors=True)
    assert (folder / "MANIFEST.json").read_bytes() == manifest
    assert [file.name for file in tmp_path.iterdir()] == [STEP]


def new_progress(folder):
    """The plain files of a checkpoint, with other progress."""
    about = {name: json.loads((folder / name).read_bytes()) for name in sorted(JSON)[1:]}
    return {**about, "progress.json": {"step": 3, "rows": 48}}


def test_writers_do_not_count_as_the_main_thread(seen):
    assert [one["num_exchanges"] for one in seen] == [0, 0]


@pytest.mark.parametrize("on", [0, 1])
def test_all_processes_say_what_one_could_not_write(seen, path, on):
    first, second = (one["failures"][on] for one in seen)
    assert first == second and first[1] == Exit.MACHINE
    assert "the checkpoint needs" in first[0] and "GB are free" in first[0]
    weights = path / "shards"
    assert sorted(file.name for file in weights.iterdir()) == ["best.json", "last.json", STEP]
    assert find_fault(weights / STEP) is None


# --------------------------------------------------------------------- on other numbers of them


def again(ranks, path, saved):
    """Reads a checkpoint and saves what was read."""
    torch.set_num_threads(1)
    torch.manual_seed(1)
    module = Divided()
    ranks.shard(module)
    optimizer = adamw(module.parameters())
    load_checkpoint(saved, model=module, optimizer=optimizer)
    state = TrainState(module, module, optimizer, lambda step: 1.0)
    save(ranks, state, path)


def test_three_processes_read_what_two_have_saved(seen, path):
    run_on_ranks(again, 3, path / "three", path / "shards" / STEP)
    assert len(list((path / "three" / STEP).glob("shard-*"))) == 3
    assert_same_bits(loaded(path / "three" / STEP), loaded(path / "whole" / STEP))


# ----------------------------------------------------------------------------------- other files


def header(file):
    content = file.read_bytes()
    size = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + size]), content[8 + size :]


def rewrite(file, change):
    """Changes the offsets of the shards in a file's header."""
    about, rest = header(file)
    places = json.loads(about["__metadata__"]["DCP_SHARDING_INFO"])
    told = change(places)
    about["__metadata__"]["DCP_SHARDING_INFO"] = json.dumps(places) if told is None else told
    head = json.dumps(about).encode()
    file.write_bytes(len(head).to_bytes(8, "little") + head + rest)


def move(places):
    places["model.linear.weight"]["saved_offsets"] = [1, 0]


def move_aside(places):
    places["model.linear.weight"]["saved_offsets"] = [2, 1]


def forget(places):
    del places["model.linear.weight"]


def say_text(places):
    places["model.linear.weight"]["saved_offsets"] = "20"


def say_no_json(places):
    return "{"


def say_nothing(places):
    return ""


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (move, "do not make a whole"),
        (move_aside, "do not make a whole"),
        (forget, "KeyError"),
        (say_text, "TypeError"),
        (say_no_json, "JSONDecodeError"),
        (say_nothing, "do not make a whole"),
    ],
)
def test_shards_that_do_not_fit_together(seen, path, tmp_path, change, reason):
    folder = Path(shutil.copytree(path / "shards" / STEP, tmp_path / STEP))
    rewrite(folder / shard_files.shard_name(2), change)
    reseal(folder)
    with pytest.raises(UserError, match=f"not what this program writes .*{reason}") as caught:
        loaded(folder)
    assert caught.value.exit_code == Exit.CHECKPOINT and "\n" not in str(caught.value)


def reseal(folder):
    (folder / "MANIFEST.json").unlink()
    seal_folder(folder, step=3)


def test_a_shard_that_is_missing_damaged_or_was_added(seen, path, tmp_path):
    folder = Path(shutil.copytree(path / "shards" / STEP, tmp_path / STEP))
    second, other = folder / shard_files.shard_name(2), folder / shard_files.shard_name(3)
    shutil.copy(second, other)
    with pytest.raises(UserError, match=r"shard-00003-.* was added"):
        loaded(folder)
    other.unlink()
    second.rename(other)
    with pytest.raises(UserError, match=r"shard-00002-.* is missing"):
        loaded(folder)
    reseal(folder)
    other.unlink()
    reseal(folder)
    with pytest.raises(UserError, match="do not make a whole|does not fit"):
        loaded(folder)


def test_on_one_process_there_is_nothing_to_divide(tmp_path):
    state = made(one_rank())
    one = Checkpointer(tmp_path, state, one_rank(), epoch_steps=9, improves=None)
    state.step = 3
    one.save()
    one.wait()
    assert (tmp_path / "weights" / STEP / "model.safetensors").exists()
