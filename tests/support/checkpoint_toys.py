"""Checkpoints of a toy model trained for three steps, and ways to damage them."""

from __future__ import annotations

import json

import torch
from safetensors.torch import load_file
from torch import nn

from ke_t5.checkpoint import checkpoints
from ke_t5.checkpoint.checkpoints import save_checkpoint
from ke_t5.config.resume import ResumeRequest
from ke_t5.seals import MANIFEST, json_bytes, seal_folder, sealed

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
    return save_checkpoint(
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


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def find_checkpoint(weights, resume):
    """The checkpoint that `--resume` finds for that word or path."""
    return checkpoints.find_checkpoint(weights, ResumeRequest.parse(resume))


def reseal(checkpoint, **changes):
    """Writes a manifest that matches the files."""
    seal_folder(checkpoint)
    manifest = json.loads((checkpoint / MANIFEST).read_bytes())
    step = int(checkpoint.name.removeprefix("step-"))
    content = {"format": 1, "step": step, "files": manifest["files"], **changes}
    (checkpoint / MANIFEST).write_bytes(json_bytes(sealed(content)))


def saved_tensors(folder, of="model"):
    """The model's or optimizer's tensors in a checkpoint, whole or sharded."""
    if (folder / f"{of}.safetensors").exists():
        return load_file(folder / f"{of}.safetensors")
    parts = {}
    for path in sorted(folder.glob("shard-*.safetensors")):
        for name, part in load_file(path).items():
            parts.setdefault(name, []).append(part)
    return {
        name.removeprefix("model."): torch.cat(found) if found[0].dim() else found[0]
        for name, found in parts.items()
        if name.startswith(of)
    }
