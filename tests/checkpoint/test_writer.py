"""Checkpoints that are written while the training continues."""

from __future__ import annotations

import errno
import gc
import os
import threading
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch
from support.checkpoint_toys import find_checkpoint, make, train
from support.recipe_runs import SMALL, run_folder
from support.recipe_runs import train as run_recipe

from ke_t5.checkpoint import checkpoints, writer
from ke_t5.checkpoint.checkpoints import load_checkpoint, save_checkpoint
from ke_t5.checkpoint.writer import HostCopy, Writer
from ke_t5.errors import Exit, UserError
from ke_t5.seals import MANIFEST


def save(weights, model, optimizer, step, **options):
    return save_checkpoint(
        weights, model=model, optimizer=optimizer, progress={"step": step}, is_best=False, **options
    )


@pytest.fixture
def held(monkeypatch):
    """An event for which every checkpoint waits before it is written."""
    event, real = threading.Event(), checkpoints.write_folder

    def write(*arguments, **options):
        assert event.wait(60)
        real(*arguments, **options)

    monkeypatch.setattr(checkpoints, "write_folder", write)
    yield event
    event.set()


def test_what_is_written_is_what_was_saved_though_the_training_went_on(tmp_path, held):
    model, optimizer = make()
    one = Writer()
    path = save(tmp_path, model, optimizer, 1, writer=one)
    assert not path.exists()
    train(model, optimizer)
    held.set()
    one.wait()
    model, optimizer = make()
    whole = save(tmp_path / "whole", model, optimizer, 1)
    assert (path / MANIFEST).read_bytes() == (whole / MANIFEST).read_bytes()


def test_the_next_checkpoint_uses_the_memory_of_the_last_and_waits_for_it(tmp_path, held):
    model, optimizer = make()
    one = Writer()
    save(tmp_path, model, optimizer, 1, writer=one)
    block = one.copy._block.data_ptr()
    save(tmp_path, model, optimizer, 1, writer=one, has_tensors=True)  # waits for nothing
    threading.Timer(0.1, held.set).start()
    train(model, optimizer)
    save(tmp_path, model, optimizer, 2, writer=one)
    assert held.is_set() and find_checkpoint(tmp_path, "step-00000001")
    one.wait()
    assert one.copy._block.data_ptr() == block
    load_checkpoint(find_checkpoint(tmp_path, "true"), model=(loaded := make(5)[0]))
    assert torch.equal(loaded.linear.weight, model.linear.weight)


def test_a_failure_is_raised_once_it_is_asked_for_and_nothing_follows_it(tmp_path, monkeypatch):
    model, optimizer = make()
    one, done = Writer(), []
    save(tmp_path, model, optimizer, 1, writer=one)
    one.wait()
    real = os.fsync

    def refuse(descriptor):
        if "step-00000002" in os.readlink(f"/proc/self/fd/{descriptor}"):
            raise OSError(errno.ENOSPC, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", refuse)
    for ask in ("check", "wait", "save"):
        one = Writer()
        save(tmp_path, model, optimizer, 2, writer=one)
        one.settle()
        with pytest.raises(UserError, match="the checkpoint needs .* free; free some") as caught:
            if ask == "save":
                save(tmp_path, model, optimizer, 3, writer=one)
            getattr(one, ask)()
        assert caught.value.exit_code == Exit.MACHINE
        with pytest.raises(RuntimeError, match="a job before this one has failed"):
            one.submit(lambda: done.append(1))
        one.settle()
    assert not done and find_checkpoint(tmp_path, "true").name == "step-00000001"
    assert not list(tmp_path.glob("step-00000003*"))


def test_a_job_after_one_that_fails_is_not_done():
    one, done, go = Writer(), [], threading.Event()
    one.submit(lambda: (go.wait(60), 1 / 0))
    one.submit(lambda: done.append(1))
    go.set()
    with pytest.raises(ZeroDivisionError):
        one.wait()
    assert not done


def test_without_memory_for_a_copy_training_waits(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(writer, "available_memory", lambda: 100)
    model, optimizer = make()
    one = Writer()
    for has_tensors in (False, True):
        path = save(tmp_path, model, optimizer, 1, writer=one, has_tensors=has_tensors)
        assert find_checkpoint(tmp_path, "true") == path
    (line,) = caplog.messages
    assert line.startswith("too little memory for a copy of the checkpoint (")
    assert line.endswith("training waits while it is written") and len(line) <= 200


def test_the_memory_that_is_left_is_known():
    assert 1e6 < writer.available_memory() < 1e15


def test_copies_have_every_type_and_shape():
    tensors = {
        "scalar": torch.tensor(1.5), "none": torch.zeros(0, 4), "flags": torch.tensor([True]),
        "half": torch.arange(3).bfloat16(), "turned": torch.arange(6.0).view(2, 3).t(),
        "long": torch.tensor([2**40]),
    }  # fmt: skip
    copies = HostCopy().make(tensors)
    for name, tensor in tensors.items():
        assert copies[name].dtype == tensor.dtype and torch.equal(copies[name], tensor)
        assert copies[name].data_ptr() != tensor.data_ptr() or not tensor.numel()


class OnGpu(torch.Tensor):
    """A tensor that claims to be on a GPU."""

    is_cuda = True


def test_a_gpu_copies_into_memory_that_it_may_read_by_itself(monkeypatch):
    events, pinned = [], []
    runtime = SimpleNamespace(
        cudaHostRegister=lambda address, size, flag: pinned.append((address, size, flag)) or 0,
        cudaHostUnregister=lambda address: events.append("unpinned"),
    )
    event = SimpleNamespace(
        record=lambda: events.append("recorded"), synchronize=lambda: events.append("complete")
    )
    monkeypatch.setattr(torch.cuda, "cudart", lambda: runtime)
    monkeypatch.setattr(torch.cuda, "Event", lambda: event)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 3)
    monkeypatch.setattr(torch.cuda, "device", lambda number: events.append(number) or nullcontext())
    copy = HostCopy()
    copies = copy.make({"weight": torch.ones(20).as_subclass(OnGpu)})
    assert pinned == [(copy._block.data_ptr(), 128, 1)] and copies["weight"].sum() == 20
    copy.wait()
    copy.make({"weight": torch.ones(20).as_subclass(OnGpu)})
    # A thread that waits has another device than the main one.
    assert events == ["recorded", 3, "complete", "recorded"] and len(pinned) == 1


def test_memory_that_cannot_be_pinned_fails_no_later_kernel(monkeypatch):
    """CUDA reports the error of a failed registration at the next kernel."""
    pending, launched = [], []

    def register(address, size, flag):
        pending.append("out of memory")
        return 2

    def ones(size, *, device):
        launched.append(device)
        raise RuntimeError(f"CUDA error: {pending.pop()}")

    runtime = SimpleNamespace(cudaHostRegister=register)
    event = SimpleNamespace(record=lambda: None)
    weight = torch.full((20,), 3.0).as_subclass(OnGpu)
    monkeypatch.setattr(torch.cuda, "cudart", lambda: runtime)
    monkeypatch.setattr(torch.cuda, "Event", lambda: event)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch, "ones", ones)
    copies = HostCopy().make({"weight": weight})
    assert launched == ["cuda"] and not pending and copies["weight"].sum() == 60


# The logs of a run that fails stay open.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_disk_that_is_full_while_the_training_goes_on_ends_the_run(
    tmp_path, cache_dir, monkeypatch
):
    real = checkpoints.write_folder

    def refuse(target, step, *arguments, **options):
        if step >= 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(target, step, *arguments, **options)

    monkeypatch.setattr(checkpoints, "write_folder", refuse)
    words = ("--task", "klue_tc", *SMALL, "--epochs", 1, "--save_every", 1)
    with pytest.raises(UserError, match="weights: the checkpoint needs .* GB are free; free some"):
        run_recipe(*words, output=tmp_path, cache=cache_dir)
    gc.collect()
    weights = run_folder(tmp_path) / "weights"
    assert [path.name for path in sorted(weights.iterdir())] == ["last.json", "step-00000001"]
