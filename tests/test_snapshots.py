"""Snapshots: bit-exact, whole at every instant, never silently damaged."""

import errno
import json
import math
import os
import shutil
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import pytest
import torch
from torch import nn

from ke_t5.errors import Exit, UserError
from ke_t5.train import states
from ke_t5.train.snapshots import (
    clean,
    find_snapshot,
    load_snapshot,
    read_progress,
    save_snapshot,
)

FILES = (
    "MANIFEST.json model.safetensors model.json optimizer.safetensors optimizer.json progress.json"
).split()


class Toy(nn.Module):
    """A matrix and a vector, a tied pair, a buffer of ints and an empty tensor."""

    def __init__(self, dtype=torch.float32, *, tie=True):
        super().__init__()
        self.linear = nn.Linear(4, 3, dtype=dtype)
        self.shared = nn.Embedding(6, 4, dtype=dtype)
        self.lm_head = nn.Linear(4, 6, bias=False, dtype=dtype)
        if tie:
            self.lm_head.weight = self.shared.weight
        self.register_buffer("counts", torch.arange(3))
        self.register_buffer("nothing", torch.zeros(0, 4))

    def loss(self):
        hidden = self.shared(torch.tensor([1, 2]))
        return self.linear(hidden).square().sum() + self.lm_head(hidden).square().sum()


def train(model, optimizer, steps=3):
    for _ in range(steps):
        optimizer.zero_grad()
        model.loss().backward()
        optimizer.step()


def adamw(model):
    return torch.optim.AdamW(model.parameters(), lr=0.1, fused=True)


def make(seed=0, **kwargs):
    torch.manual_seed(seed)
    model = Toy(**kwargs)
    optimizer = adamw(model)
    train(model, optimizer)
    return model, optimizer


def save(weights, step, *, is_best=False, seed=None, **progress):
    model, optimizer = make(step if seed is None else seed)
    return save_snapshot(
        weights,
        model=model,
        optimizer=optimizer,
        progress={"step": step, **progress},
        is_best=is_best,
    )


def names(weights):
    return sorted(path.name for path in weights.iterdir())


def assert_same_bits(one, other):
    assert type(one) is type(other)
    if isinstance(one, torch.Tensor):
        assert one.dtype == other.dtype and one.shape == other.shape
        assert one.contiguous().view(-1).view(torch.uint8).tolist() == (
            other.contiguous().view(-1).view(torch.uint8).tolist()
        )
    elif isinstance(one, dict):
        assert list(one) == list(other)
        for key in one:
            assert_same_bits(one[key], other[key])
    elif isinstance(one, (list, tuple)):
        assert len(one) == len(other)
        for left, right in zip(one, other, strict=True):
            assert_same_bits(left, right)
    else:
        assert one == other or (one != one and other != other)


# What is written and read


def transformers_adafactor(parameters):
    from transformers.optimization import Adafactor

    return Adafactor(parameters, scale_parameter=True, relative_step=True, warmup_init=True)


def momentum_adafactor(parameters):
    from transformers.optimization import Adafactor

    return Adafactor(parameters, lr=1e-3, beta1=0.9, scale_parameter=False, relative_step=False)


OPTIMIZERS = {
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.1),
    "adamw_fused": lambda p: torch.optim.AdamW(p, lr=0.1, fused=True),
    "adamw_amsgrad": lambda p: torch.optim.AdamW(p, lr=0.1, amsgrad=True),
    "adam": lambda p: torch.optim.Adam(p, lr=0.1),
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1),
    "sgd_momentum": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
    "radam": lambda p: torch.optim.RAdam(p, lr=0.1),
    "nadam": lambda p: torch.optim.NAdam(p, lr=0.1),
    "adagrad": lambda p: torch.optim.Adagrad(p, lr=0.1),
    "adafactor_torch": lambda p: torch.optim.Adafactor(p, lr=0.1),
    "adafactor": transformers_adafactor,
    "adafactor_momentum": momentum_adafactor,
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizer_state_comes_back_bit_for_bit(tmp_path, name, dtype):
    model = Toy(dtype)
    optimizer = OPTIMIZERS[name](model.parameters())
    train(model, optimizer)
    path = save_snapshot(
        tmp_path, model=model, optimizer=optimizer, progress={"step": 3}, is_best=False
    )

    other = Toy(dtype)
    other_optimizer = OPTIMIZERS[name](other.parameters())
    load_snapshot(path, model=other, optimizer=other_optimizer)
    assert_same_bits(dict(model.state_dict()), dict(other.state_dict()))
    assert_same_bits(optimizer.state_dict(), other_optimizer.state_dict())

    train(model, optimizer)
    train(other, other_optimizer)
    assert_same_bits(dict(model.state_dict()), dict(other.state_dict()))


@pytest.mark.parametrize("dtype", states.DTYPES, ids=str)
def test_every_type_of_tensor_survives(tmp_path, dtype):
    tensors = {
        "matrix": torch.arange(6).reshape(2, 3).to(dtype),
        "scalar": torch.tensor(1).to(dtype),
        "empty": torch.zeros(0, 2).to(dtype),
        "transposed": torch.arange(6).reshape(2, 3).to(dtype).t(),
    }
    states.write_tensors(tmp_path / "t.safetensors", tensors)
    read = states.read_tensors(tmp_path / "t.safetensors")
    assert_same_bits({k: tensors[k] for k in sorted(tensors)}, {k: read[k] for k in sorted(read)})


def test_non_finite_numbers_in_tensors_survive(tmp_path):
    tensor = torch.tensor([math.nan, math.inf, -math.inf, -0.0])
    states.write_tensors(tmp_path / "t.safetensors", {"t": tensor})
    assert_same_bits(tensor, states.read_tensors(tmp_path / "t.safetensors")["t"])


@pytest.mark.parametrize(
    "value",
    [
        {"best": math.nan, "low": -math.inf, "tenth": 0.1, "negative": -0.0},
        {0: (1, 2.5, None), (1, 2): ["가", True]},
        {"$tuple": [1], "nested": {"a": {"b": []}}},
        {"big": 2**70, "empty": {}, "flag": False},
    ],
)
def test_progress_survives(tmp_path, value):
    model, optimizer = make()
    progress = {"step": 7, "value": value}
    path = save_snapshot(
        tmp_path, model=model, optimizer=optimizer, progress=progress, is_best=False
    )
    loaded = load_snapshot(path, model=Toy())
    assert_same_bits(progress, loaded)
    assert_same_bits(progress, read_progress(path))


@pytest.mark.parametrize(
    ("value", "message"), [({1}, "is a set"), (torch.ones(1), "progress.value: a tensor")]
)
def test_progress_that_is_not_json_is_refused_before_anything_is_written(tmp_path, value, message):
    model, optimizer = make()
    progress = {"step": 1, "value": value}
    with pytest.raises(TypeError, match=message):
        save_snapshot(tmp_path, model=model, optimizer=optimizer, progress=progress, is_best=False)
    assert names(tmp_path) == []


def test_equal_states_are_written_as_equal_bytes(tmp_path):
    one, other = save(tmp_path / "a", 5), save(tmp_path / "b", 5)
    for name in FILES:
        assert (one / name).read_bytes() == (other / name).read_bytes()


def test_other_programs_can_read_the_tensors(tmp_path):
    from safetensors.torch import load_file

    path = save(tmp_path, 1)
    assert_same_bits(
        load_file(path / "model.safetensors"), states.read_tensors(path / "model.safetensors")
    )


def test_nothing_is_unpickled(tmp_path):
    path = save(tmp_path, 1)
    assert sorted(FILES) == names(path)
    for file in path.iterdir():
        assert b"PK\x03\x04" not in file.read_bytes()[:4] and file.suffix != ".pt"


# Tied weights


def test_tied_weights_are_saved_once_and_stay_tied(tmp_path):
    path = save(tmp_path, 1)
    assert json.loads((path / "model.json").read_bytes()) == {
        "aliases": {"lm_head.weight": "shared.weight"}
    }
    assert "lm_head.weight" not in states.read_tensors(path / "model.safetensors")
    model = Toy()
    load_snapshot(path, model=model)
    assert model.lm_head.weight is model.shared.weight


def test_weights_of_one_shape_stay_apart(tmp_path):
    model, optimizer = make(tie=False)
    path = save_snapshot(
        tmp_path, model=model, optimizer=optimizer, progress={"step": 1}, is_best=False
    )
    other = Toy(tie=False)
    load_snapshot(path, model=other)
    assert not torch.equal(other.lm_head.weight, other.shared.weight)
    assert_same_bits(dict(model.state_dict()), dict(other.state_dict()))
    with pytest.raises(UserError, match="holds lm_head.weight and shared.weight apart, this model"):
        load_snapshot(path, model=Toy())


# Another model or optimizer


def test_another_model_is_told_by_its_first_names(tmp_path):
    path = save(tmp_path, 1)
    with pytest.raises(UserError) as caught:
        load_snapshot(path, model=nn.Linear(4, 3))
    assert caught.value.exit_code == Exit.CHECKPOINT
    assert "not of this Linear: it lacks weight, bias, it has besides counts" in str(caught.value)
    assert "and 3 more" in str(caught.value)


def test_another_shape_or_type_is_told(tmp_path):
    path = save(tmp_path, 1)
    model = Toy()
    model.linear = nn.Linear(4, 2)
    with pytest.raises(
        UserError, match=r"differs in linear.weight \(\(3, 4\) there, \(2, 4\) here"
    ):
        load_snapshot(path, model=model)
    with pytest.raises(UserError, match="torch.float32 there, torch.bfloat16 here"):
        load_snapshot(path, model=Toy(torch.bfloat16))


def test_another_optimizer_is_told(tmp_path):
    path = save(tmp_path, 1)
    model = Toy()
    with pytest.raises(UserError, match="saved by AdamW, this run has SGD"):
        load_snapshot(path, model=model, optimizer=torch.optim.SGD(model.parameters(), lr=1))
    groups = [{"params": [p]} for p in model.parameters()]
    with pytest.raises(UserError, match="different number of parameter groups"):
        load_snapshot(path, model=model, optimizer=torch.optim.AdamW(groups))


# Damage


def truncate(path):
    path.write_bytes(path.read_bytes()[:-1])


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


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
        load_snapshot(bad, model=model)
    assert_same_bits(before, dict(model.state_dict()))
    assert caught.value.exit_code == Exit.CHECKPOINT
    # After a swap the other file is as wrong, and may be told first.
    assert name in str(caught.value) or damage is swap
    for resume in ("true", str(bad)):
        with pytest.raises(UserError, match="use --resume auto"):
            find_snapshot(tmp_path, resume)
    assert find_snapshot(tmp_path, "auto") == good
    assert f"passes over {bad}: " in caplog.text


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
            find_snapshot(tmp_path, "true")


def test_snapshots_under_each_others_names_are_found(tmp_path):
    path = save(tmp_path, 1)
    path.rename(tmp_path / "step-00000002")
    with pytest.raises(UserError, match="MANIFEST.json is of step 1"):
        load_snapshot(tmp_path / "step-00000002", model=Toy())


def test_a_renamed_copy_can_be_loaded(tmp_path):
    path = save(tmp_path, 1).rename(tmp_path / "mine")
    assert find_snapshot(tmp_path, str(path)) == path
    assert load_snapshot(path, model=Toy())["step"] == 1


def test_damaged_pointer_is_told_and_auto_does_without(tmp_path, caplog):
    path = save(tmp_path, 1)
    pointer = tmp_path / "last.json"
    pointer.write_bytes(pointer.read_bytes().replace(b"01", b"03"))
    with pytest.raises(UserError, match="last.json: it is damaged"):
        find_snapshot(tmp_path, "true")
    assert find_snapshot(tmp_path, "auto") == path
    assert "last.json: it is damaged" in caplog.text


# --resume


def test_resume_words(tmp_path):
    save(tmp_path, 1, is_best=True)
    save(tmp_path, 2)
    save(tmp_path, 3)
    found = {word: find_snapshot(tmp_path, word).name for word in ("true", "auto", "best")}
    assert found == {"true": "step-00000003", "auto": "step-00000003", "best": "step-00000001"}


def test_resume_by_path(tmp_path, monkeypatch):
    weights = tmp_path / "run" / "weights"
    first, last = save(weights, 1), save(weights, 2)
    assert find_snapshot(weights, str(first)) == first
    assert find_snapshot(weights, "step-00000001") == first
    assert find_snapshot(tmp_path, str(weights)) == last
    assert find_snapshot(tmp_path, str(tmp_path / "run")) == last
    monkeypatch.chdir(weights)
    assert find_snapshot(tmp_path, "step-00000001").resolve() == first


def test_auto_with_nothing_is_none(tmp_path):
    assert find_snapshot(tmp_path / "nowhere", "auto") is None


def test_auto_with_nothing_whole_is_none_and_says_so(tmp_path, caplog):
    flip(save(tmp_path, 1) / "model.safetensors")
    assert find_snapshot(tmp_path, "auto") is None
    assert "no snapshot in" in caplog.messages[-1]


def test_auto_prefers_the_last_one_saved_over_later_steps(tmp_path):
    save(tmp_path, 1)
    save(tmp_path, 9)
    save(tmp_path, 2)
    assert find_snapshot(tmp_path, "auto").name == "step-00000002"
    shutil.rmtree(tmp_path / "step-00000002")
    assert find_snapshot(tmp_path, "auto").name == "step-00000001"


@pytest.mark.parametrize(
    ("resume", "message"),
    [
        ("true", "error: --resume true: no last snapshot in .*; found none: leave --resume out"),
        ("best", "error: --resume best: no best snapshot in"),
        ("out/x.ckpt", "error: --resume out/x.ckpt: no such snapshot; found none"),
    ],
)
def test_resume_without_a_snapshot_is_an_error(tmp_path, resume, message):
    with pytest.raises(UserError, match=message) as caught:
        find_snapshot(tmp_path, resume)
    assert caught.value.exit_code == Exit.CHECKPOINT


def test_resume_from_a_missing_one_lists_what_is_there(tmp_path):
    save(tmp_path, 120, is_best=True)
    save(tmp_path, 240)
    with pytest.raises(UserError, match="found: step-00000120, step-00000240"):
        find_snapshot(tmp_path, "out/x.ckpt")
    shutil.rmtree(tmp_path / "step-00000120")
    with pytest.raises(UserError, match="--resume best: step 120 is gone; found: step-00000240"):
        find_snapshot(tmp_path, "best")


# What is kept


def test_best_and_last_two_are_kept(tmp_path):
    for step in range(1, 7):
        save(tmp_path, step, is_best=step == 2)
    kept = ["step-00000002", "step-00000005", "step-00000006"]
    assert names(tmp_path) == ["best.json", "last.json", *kept]


def test_later_steps_of_a_run_that_was_taken_back_are_left_alone(tmp_path):
    for step in (10, 20, 11, 12, 13):
        save(tmp_path, step)
    kept = ["step-00000012", "step-00000013", "step-00000020"]
    assert names(tmp_path) == ["last.json", *kept]


def test_damaged_best_pointer_deletes_nothing(tmp_path, caplog):
    save(tmp_path, 1, is_best=True)
    (tmp_path / "best.json").write_text("{")
    save(tmp_path, 2)
    save(tmp_path, 3)
    assert "step-00000001" in names(tmp_path)
    assert "no older snapshot is deleted" in caplog.text


def test_the_same_step_again_moves_the_pointers_only(tmp_path):
    path = save(tmp_path, 1)
    before = (path / "model.safetensors").stat()
    assert save(tmp_path, 1, is_best=True) == path
    assert (path / "model.safetensors").stat() == before
    assert names(tmp_path) == ["best.json", "last.json", "step-00000001"]


def test_the_same_step_with_other_content_is_replaced(tmp_path):
    save(tmp_path, 1, score=1.0)
    path = save(tmp_path, 1, score=2.0)
    assert read_progress(path)["score"] == 2.0
    assert names(tmp_path) == ["last.json", "step-00000001"]


def test_the_same_step_heals_a_damaged_snapshot(tmp_path):
    path = save(tmp_path, 1)
    flip(path / "model.safetensors")
    save(tmp_path, 1)
    assert find_snapshot(tmp_path, "true") == path


# A full disk, a folder that cannot be written

Usage = namedtuple("Usage", "total used free")


def test_too_little_space_is_told_before_anything_is_written(tmp_path, monkeypatch):
    old = save(tmp_path, 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(0, 0, 100))
    with pytest.raises(UserError) as caught:
        save(tmp_path, 2)
    assert caught.value.exit_code == Exit.MACHINE
    assert f"{tmp_path}: the snapshot needs 5.54e-07 GB, 1e-07 GB are free" in str(caught.value)
    assert names(tmp_path) == ["last.json", "step-00000001"]
    assert find_snapshot(tmp_path, "true") == old


@pytest.mark.parametrize("function", ["fsync", "rename", "replace"])
@pytest.mark.parametrize(
    ("number", "message"),
    [
        (errno.ENOSPC, "the snapshot needs .* GB are free; make room"),
        (errno.EROFS, r"no snapshot could be written \(Read-only file system\); make the folder"),
    ],
)
def test_a_refusing_disk_leaves_the_old_snapshot(tmp_path, monkeypatch, function, number, message):
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
        assert find_snapshot(tmp_path, "true") and find_snapshot(tmp_path, "auto")
    assert len(calls) < at, "every call has been refused once"


def test_what_does_not_read_back_is_not_committed(tmp_path, monkeypatch):
    save(tmp_path, 1)
    real = os.fsync

    def lose(descriptor):
        if os.readlink(f"/proc/self/fd/{descriptor}").endswith("model.safetensors"):
            os.truncate(descriptor, 10)
        real(descriptor)

    monkeypatch.setattr(os, "fsync", lose)
    with pytest.raises(UserError, match="does not read back: model.safetensors has 10 bytes inst"):
        save(tmp_path, 2)
    assert names(tmp_path) == ["last.json", "step-00000001"]


# Killed

KILLS = """
import os, signal, sys
from pathlib import Path
sys.path[:0] = [sys.argv[2], sys.argv[3]]
import torch
torch.set_num_threads(1)
from test_snapshots import save
from ke_t5.train.snapshots import clean, find_snapshot, load_snapshot
from ke_t5.train import snapshot_folders

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
            path = find_snapshot(weights, word)
            assert snapshot_folders.find_fault(path) is None
        clean(weights)
        assert not [p.name for p in weights.iterdir() if ".tmp-" in p.name or ".old" in p.name]
        for word in ("true", "auto", "best"):
            find_snapshot(weights, word)
        if code == 0:
            break
        assert code == -signal.SIGKILL, code
        kills += 1
print("kills", kills, *sorted(p.name for p in weights.iterdir()))
"""


def test_killed_at_any_call_leaves_a_whole_snapshot(tmp_path):
    here = Path(__file__).parent
    done = subprocess.run(
        [sys.executable, "-c", KILLS, tmp_path / "weights", here, here.parent],
        capture_output=True,
        text=True,
        timeout=120,
    )
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
