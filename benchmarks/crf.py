"""Our CRF compared with pytorch-crf: loss with gradient, and decoding, on ragged batches.

    pip install pytorch-crf==0.7.2

Both are found to agree before they are timed.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from benchmarks.rows import Runs, Setting, interleaved
from ke_t5.models.crf import CRF

NUM_STEPS, NUM_ROWS, TIMES = 128, 32, 5


def make_case(num_tags: int) -> tuple[Tensor, Tensor, Tensor]:
    """Emissions, tags and a mask, with lengths from half of `NUM_STEPS` to `NUM_STEPS`."""
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(NUM_STEPS // 2, NUM_STEPS + 1, (NUM_ROWS,), generator=generator)
    lengths[0] = NUM_STEPS
    emissions = torch.randn(NUM_ROWS, NUM_STEPS, num_tags, generator=generator)
    tags = torch.randint(num_tags, (NUM_ROWS, NUM_STEPS), generator=generator)
    return emissions.requires_grad_(), tags, torch.arange(NUM_STEPS) < lengths.unsqueeze(1)


def both(num_tags: int) -> tuple[CRF, Any]:
    """Our CRF and pytorch-crf's, with the same weights."""
    try:
        reference = importlib.import_module("torchcrf").CRF
    except ModuleNotFoundError as error:
        raise SystemExit("pytorch-crf is missing: pip install pytorch-crf==0.7.2") from error
    torch.manual_seed(0)
    ours, theirs = CRF(num_tags), reference(num_tags, batch_first=True)
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


def loss(setting: Setting, num_tags: int) -> dict[str, Runs]:
    """The negative log-likelihood and its gradient."""
    ours, theirs = both(num_tags)
    emissions, tags, mask = make_case(num_tags)

    def our_step() -> Tensor:
        loss = ours(emissions, tags, mask).sum()
        loss.backward()
        return loss

    def their_step() -> Tensor:
        loss = -theirs(emissions, tags, mask)
        loss.backward()
        return loss

    torch.testing.assert_close(our_step(), their_step(), rtol=1e-5, atol=0)
    gradients = (crf.get_parameter("transitions").grad for crf in (ours, theirs))
    torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-3)
    return compare(our_step, their_step, setting)


def decode(setting: Setting, num_tags: int) -> dict[str, Runs]:
    """The most probable tags."""
    ours, theirs = both(num_tags)
    emissions, _, mask = make_case(num_tags)
    emissions = emissions.detach()
    if ours.decode(emissions, mask) != theirs.decode(emissions, mask):
        raise RuntimeError(f"the decoders differ on {num_tags} tags")
    with torch.inference_mode():
        return compare(
            lambda: ours.decode(emissions, mask), lambda: theirs.decode(emissions, mask), setting
        )


def compare(
    ours: Callable[[], object], theirs: Callable[[], object], setting: Setting
) -> dict[str, Runs]:
    """Compares the two."""

    def repeated(run: Callable[[], object], _: int) -> None:
        for _ in range(TIMES):
            run()

    contenders = {"ours": partial(repeated, ours), "pytorch-crf": partial(repeated, theirs)}
    return interleaved(contenders, rounds=setting.rounds, amount=TIMES * NUM_ROWS, warm_ups=1)


loss_31, loss_301 = partial(loss, num_tags=31), partial(loss, num_tags=301)
decode_31, decode_301 = partial(decode, num_tags=31), partial(decode, num_tags=301)
