"""Our CRF beside pytorch-crf: loss with gradient, and decoding, of ragged batches.

    pip install pytorch-crf==0.7.2
    python -m benchmarks.crf [--repetitions 5] [--threads 2]

Runs are interleaved (ours, theirs, ours, ...) so that a busy machine slows both; the fastest run of
each and their ratio are printed, after both have been found to agree.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor

from ke_t5.models.crf import CRF

CASES = ((31, 128, 32), (301, 128, 32), (31, 512, 32))


def make_case(num_tags: int, num_steps: int, num_rows: int) -> tuple[Tensor, Tensor, Tensor]:
    """Emissions, tags and a mask with lengths from half of `num_steps` to all of it."""
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(num_steps // 2, num_steps + 1, (num_rows,), generator=generator)
    lengths[0] = num_steps
    emissions = torch.randn(num_rows, num_steps, num_tags, generator=generator)
    tags = torch.randint(num_tags, (num_rows, num_steps), generator=generator)
    return emissions.requires_grad_(), tags, torch.arange(num_steps) < lengths.unsqueeze(1)


def interleaved(ours: Callable[[], object], theirs: Callable[[], object], times: int) -> list:
    """Milliseconds of the fastest run of both, after one run each that is not counted."""
    taken: tuple[list[float], list[float]] = ([], [])
    for repetition in range(times + 1):
        for run, found in zip((ours, theirs), taken, strict=True):
            started = time.perf_counter()
            run()
            if repetition:
                found.append(1000 * (time.perf_counter() - started))
    return [min(found) for found in taken]


def report(what: str, case: tuple[int, int, int], times: list[float]) -> None:
    """Writes one line of the table."""
    ours, theirs = times
    tags, steps, rows = case
    sys.stdout.write(
        f"{what:16} {tags:4} tags {rows} x {steps:3}: ours {ours:8.1f} ms, pytorch-crf "
        f"{theirs:8.1f} ms, {theirs / ours:5.1f} times\n"
    )


def compare(case: tuple[int, int, int], reference: type, repetitions: int) -> None:
    """Both on one case: equal first, then timed."""
    num_tags, num_steps, num_rows = case
    torch.manual_seed(0)
    ours, theirs = CRF(num_tags), reference(num_tags, batch_first=True)
    theirs.load_state_dict(ours.state_dict())
    emissions, tags, mask = make_case(num_tags, num_steps, num_rows)

    def our_step() -> Tensor:
        loss = ours(emissions, tags, mask).sum()
        loss.backward()
        return loss

    def their_step() -> Tensor:
        loss = -theirs(emissions, tags, mask)
        loss.backward()
        return loss

    torch.testing.assert_close(our_step(), their_step(), rtol=1e-5, atol=0)
    torch.testing.assert_close(ours.transitions.grad, theirs.transitions.grad, rtol=1e-3, atol=1e-3)
    report("loss + gradient", case, interleaved(our_step, their_step, repetitions))
    with torch.no_grad():
        if ours.decode(emissions, mask) != theirs.decode(emissions, mask):
            raise SystemExit(f"the decoders differ on {case}")
        times = interleaved(
            lambda: ours.decode(emissions, mask),
            lambda: theirs.decode(emissions, mask),
            repetitions,
        )
    report("decoding", case, times)


def main() -> None:
    """The whole table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    flags = parser.parse_args()
    torch.set_num_threads(flags.threads)
    try:
        reference = importlib.import_module("torchcrf").CRF
    except ModuleNotFoundError as error:
        raise SystemExit("pytorch-crf is missing: pip install pytorch-crf==0.7.2") from error
    for case in CASES:
        compare(case, reference, flags.repetitions)


if __name__ == "__main__":
    main()
