"""Generation for `benchmarks.gpu`: batches of a validation, compared with `generate`."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.gpu_steps import cases, new_model, wait
from ke_t5.pipe import generation
from ke_t5.pipe.evaluation_batches import evaluation_batches

# Rows, their shortest and longest length, and the new tokens of each.
ROWS, LENGTHS, NEW_TOKENS = (1024, (8, 64), 16) if torch.cuda.is_available() else (24, (4, 12), 4)
THEIR_ROWS = 16
Rows = list[np.ndarray]
Answers = dict[int, list[int]]


def batches_of(
    rows: Rows, places: Iterator[np.ndarray], device: torch.device
) -> Iterator[tuple[np.ndarray, dict[str, Tensor]]]:
    """(positions, inputs padded to the longest row of the batch)."""
    for some in places:
        width = max(len(rows[place]) for place in some)
        ids = np.zeros((len(some), width), dtype=np.int64)
        for number, place in enumerate(some):
            ids[number, : len(rows[place])] = rows[place]
        found = torch.from_numpy(ids).to(device)
        yield some, {"input_ids": found, "attention_mask": (found > 0).long()}


def generated(
    model: Any, rows: Rows, device: torch.device, *, is_ours: bool, arguments: dict[str, Any]
) -> tuple[Answers, float]:
    """The new tokens of each row, and the seconds that they took."""
    if is_ours:
        lengths, logits = np.array([len(row) for row in rows]), NEW_TOKENS * model.config.vocab_size
        places = evaluation_batches(
            lengths, THEIR_ROWS, logits=logits, copies=arguments["num_beams"], device=device.type,
            is_generated=True,
        )  # fmt: skip
    else:
        places = np.split(np.arange(len(rows)), range(THEIR_ROWS, len(rows), THEIR_ROWS))
    found: Answers = {}
    started = time.perf_counter()
    with torch.inference_mode(), torch.autocast(device.type, dtype=torch.bfloat16):
        for some, inputs in batches_of(rows, iter(places), device):
            if is_ours:
                ids = generation.generate(model, inputs, arguments)[0]
            else:
                ids = model.generate(**inputs, **arguments)
            found |= zip(some.tolist(), ids.tolist(), strict=True)
    wait(device)
    return found, time.perf_counter() - started


def measure_generation(models: Path, device: torch.device, notes: Any) -> None:
    """Rows per second, greedily and with 4 beams, for T5-base with random weights: no row ends
    early, so the gain of dropping finished rows is not measured."""
    case = next(one for one in cases(models, has_gpu=device.type == "cuda") if one.target_length)
    model = new_model(case, device.type).eval()
    generator = np.random.default_rng(0)
    rows = [generator.integers(5, 5000, size) for size in generator.integers(*LENGTHS, ROWS)]

    def measure(answers: Answers, *, is_ours: bool, beams: int) -> dict[str, str]:
        arguments = {"num_beams": beams, "max_new_tokens": NEW_TOKENS, "do_sample": False}
        generated(model, rows[:THEIR_ROWS], device, is_ours=is_ours, arguments=arguments)
        found, seconds = generated(model, rows, device, is_ours=is_ours, arguments=arguments)
        rate = {"rows/s": f"{len(rows) / seconds:.1f}"}
        if is_ours:
            answers |= found
            return rate
        equal = [answers.get(place) == one for place, one in found.items()]
        return {**rate, "answers equal to ours": f"{np.mean(equal):.1%}"}

    for beams in (1, 4):
        name = f"{case.name.split()[0]}, {'greedy' if beams == 1 else f'{beams} beams'}"
        answers: Answers = {}
        for whose in ("ours", "generate"):
            notes.attempt(
                {"case": name, "implementation": whose},
                partial(measure, answers, is_ours=whose == "ours", beams=beams),
            )
