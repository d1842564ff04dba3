"""P6: a run that 1, 2 or 4 processes have saved continues on 1, 2 or 4 with the same global batch.

Real gloo processes write and load the checkpoints. The order of the rows is recorded where each
process loads them; gradients are compared in float32, weights after 50 updates in float64.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from support.checkpoint_toys import saved_tensors
from support.processes import run_on_ranks, run_script_on_ranks
from support.recipe_runs import SMALL, run_folder
from support.toy_model import toy_model
from support.training import one_rank, train
from transformers import BertConfig, BertForSequenceClassification, BertForTokenClassification

from ke_t5.checkpoint.checkpointer import Checkpointer
from ke_t5.checkpoint.checkpoints import load_checkpoint, read_progress
from ke_t5.checkpoint.settings import EARLIER_BATCHES
from ke_t5.errors import Exit
from ke_t5.train import loop

pytestmark = pytest.mark.promise("P6")

GLOBAL_BATCH, SAVED_AT, STEPS = 8, 25, 50
MODELS = [
    {"dtype": torch.float64, "per_token": False},
    {"dtype": torch.float64, "per_token": True},
    {"dtype": torch.float32, "per_token": True},
    {"dtype": torch.float64, "per_token": True, "is_unpadded": True},
    {"dtype": torch.float32, "per_token": False, "is_unpadded": True},
]


def model_of(settings):
    """A toy model, or a small BERT without dropout that is trained unpadded."""
    per_token, dtype = settings["per_token"], settings["dtype"]
    if not settings.get("is_unpadded"):
        return toy_model(per_token=per_token).to(dtype)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=20, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, num_labels=3,
        intermediate_size=8, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    kind = BertForTokenClassification if per_token else BertForSequenceClassification
    return kind(config).to(dtype)


class Recorder:
    """A record of this process's loop: the rows that it loads, and the gradient of each update."""

    def __init__(self) -> None:
        self.rows: list[list[int]] = []
        self.gradients: list[np.ndarray] = []

    def __enter__(self) -> Recorder:
        self._functions = loop._load, loop._update

        def load(batch, *, parts_of, **options):
            parts = [part.tolist() for part in parts_of(batch)]
            self.rows.append([row for part in parts for row in part])
            return self._functions[0](batch, parts_of=parts_of, **options)

        def update(state, *arguments, **options):
            gradient = [parameter.grad.flatten() for parameter in state.module.parameters()]
            self.gradients.append(torch.cat(gradient).numpy(force=True).copy())
            return self._functions[1](state, *arguments, **options)

        loop._load, loop._update = load, update
        return self

    def __exit__(self, *_):
        loop._load, loop._update = self._functions


def run_part(ranks, path, *, model, start, num_steps, accumulate=1):
    """A part of the run: its state, the rows of each global batch, the first gradient."""
    torch.set_num_threads(1)
    with Recorder() as recorder:
        state, _ = train(
            ranks, path, batch_size=GLOBAL_BATCH // ranks.size // accumulate, num_steps=num_steps,
            accumulate=accumulate, per_token=model["per_token"], model=model_of(model), start=start,
            unpads=model.get("is_unpadded", False),
        )  # fmt: skip
    by_rank = ranks.gather(recorder.rows)
    order = by_rank and [sorted(sum(parts, [])) for parts in zip(*by_rank, strict=True)]
    return state, order, recorder.gradients[0]


def save_runs(ranks, path, folder, accumulate):
    """Saves each model's checkpoint after half of the steps; returns the orders."""
    orders = []
    for number, model in enumerate(MODELS):
        state, order, _ = run_part(
            ranks, path, model=model, start=None, num_steps=SAVED_AT, accumulate=accumulate
        )
        run = Path(folder, str(number))
        checkpointer = Checkpointer(run, state, ranks, epoch_steps=STEPS, improves=None)
        checkpointer.save()
        checkpointer.wait()
        orders.append(order)
    return orders


def continue_runs(ranks, path, folders):
    """(order, first gradient, last weights) of each model in each folder."""
    found = []
    for folder in folders:
        for number, model in enumerate(MODELS):
            (checkpoint,) = Path(folder, str(number), "weights").glob("step-*")
            state = load_state(checkpoint, model)
            ended, order, gradient = run_part(
                ranks, path, model=model, start=state, num_steps=STEPS
            )
            weights = torch.cat([p.detach().flatten() for p in ended.module.parameters()])
            found.append((order, gradient, weights.numpy().copy()))
    return found


def load_state(checkpoint, model):
    """The state in a checkpoint."""
    module = model_of(model)
    optimizer = torch.optim.AdamW(module.parameters(), lr=1e-2)
    progress = load_checkpoint(checkpoint, model=module, optimizer=optimizer)
    return loop.TrainState(module, module, optimizer, lambda step: 1.0, step=progress["step"])


def uninterrupted(path):
    """(order, gradient of the first update after the checkpoint's, weights) of each model."""
    found = []
    for model in MODELS:
        with Recorder() as recorder:
            state, _ = train(
                one_rank(), path, batch_size=GLOBAL_BATCH, num_steps=STEPS,
                per_token=model["per_token"], model=model_of(model),
                unpads=model.get("is_unpadded", False),
            )  # fmt: skip
        weights = torch.cat([p.detach().flatten() for p in state.module.parameters()])
        order = [sorted(rows) for rows in recorder.rows]
        found.append((order, recorder.gradients[SAVED_AT], weights.numpy()))
    return found


def relative(one, other):
    """The norm of the difference divided by the norm of the second."""
    return float(np.linalg.norm(one - other) / np.linalg.norm(other))


def check_pair(expected, order_before, found, notes):
    """Asserts that a run whose number of processes changed equals one where it did not."""
    for model, whole, before, (order, gradient, weights) in zip(
        MODELS, expected, order_before, found, strict=True
    ):
        assert before + order == whole[0], "another order"
        distance = relative(gradient, whole[1])
        assert distance < 1e-6, f"gradients differ by {distance:.1e}"
        if model["dtype"] is torch.float64:
            distance = float(np.abs(weights - whole[2]).max())
            assert distance < 1e-9, f"weights differ by {distance:.1e}"
            notes.append(distance)


def run_pairs(sizes, tally, path):
    """Saves on each number of processes and continues on each."""
    data, distances = path / "data", []
    expected = uninterrupted(data)
    folders, orders = [], []
    for name, size, accumulate in sizes:
        folders.append(str(path / name))
        orders.append(run_on_ranks(save_runs, size, data, folders[-1], accumulate)[0])
    for name, size, accumulate in sizes:
        if accumulate > 1:
            continue
        found = run_on_ranks(continue_runs, size, data, folders)[0]
        for number, (saved, _, _) in enumerate(sizes):
            part = found[number * len(MODELS) : (number + 1) * len(MODELS)]
            with tally.case(f"saved on {saved}, resumed on {name}"):
                check_pair(expected, orders[number], part, distances)
    return max(distances)


def test_saved_and_resumed_on_one_and_two_processes(tally, tmp_path, is_full):
    if not is_full:
        run_pairs([("1", 1, 1), ("2", 2, 1)], tally, tmp_path)


@pytest.mark.full
def test_saved_and_resumed_on_one_two_and_four_processes(tally, notes, tmp_path):
    sizes = [("1", 1, 1), ("2", 2, 1), ("4", 4, 1), ("1 with 4 accumulated", 1, 4)]
    largest = run_pairs(sizes, tally, tmp_path)
    notes.append(f"float64 weights after {STEPS} updates differ by at most {largest:.1e}")


# -------------------------------------------------------------------------- the command as it is

WORDS = ("--task", "klue_tc", *SMALL, "--epochs", 1, "--gin_param")
PLAIN = "model.config={'dropout_rate': 0.0}"
ROWS = 64  # of an epoch


def run_command(size, batch, output, cache, *words):
    """Runs `train_ddp.py` on a number of processes with a number of rows each."""
    places = ("--output_dir", output, "--hf_cache_dir", cache, "--batch_size", batch)
    return run_script_on_ranks(size, "train_ddp.py", *WORDS, PLAIN, *places, *words)


def last_weights(output):
    """The weights of the run's last checkpoint in one array."""
    from safetensors.torch import load_file

    folder = max(run_folder(output).glob("weights/step-*"))
    assert folder.name == "step-00000004"
    tensors = load_file(folder / "model.safetensors")
    return torch.cat([tensors[name].flatten() for name in sorted(tensors)]).double().numpy()


@pytest.mark.full
@pytest.mark.parametrize(("saved", "resumed"), [(1, 2), (1, 4), (2, 1), (2, 4), (4, 1), (4, 2)])
def test_the_command_continues_on_another_number_of_processes(
    saved, resumed, tmp_path, cache_dir, whole_run
):
    done = run_command(saved, 16 // saved, tmp_path, cache_dir, "--max_steps", 2)
    assert {process.returncode for process in done} == {0}, done[0].stderr
    done = run_command(resumed, 16 // resumed, tmp_path, cache_dir, "--resume", "true")
    assert {process.returncode for process in done} == {0}, done[0].stderr
    assert relative(last_weights(tmp_path), whole_run) < 1e-6


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory, cache_dir):
    """The weights of a run on one process."""
    output = tmp_path_factory.mktemp("whole")
    assert run_command(1, 16, output, cache_dir)[0].returncode == 0
    return last_weights(output)


@pytest.mark.full
def test_another_global_batch_is_refused_or_accepted_and_remembered(tmp_path, cache_dir):
    run_command(1, 16, tmp_path, cache_dir, "--max_steps", 1)
    done = run_command(2, 16, tmp_path, cache_dir, "--resume", "true")
    assert {process.returncode for process in done} == {Exit.CHECKPOINT}
    lines = "".join(process.stderr for process in done).splitlines()
    (line,) = [line for line in lines if line.startswith("error: ")]
    assert re.search(r"global batch \(.*\) was 16 and is 32 now; resume with --batch_size 8", line)
    assert "add --allow_batch_change" in line

    accept = ("--resume", "true", "--allow_batch_change")
    (done,) = run_command(1, 24, tmp_path, cache_dir, *accept, "--max_steps", 2)
    assert done.returncode == 0, done.stderr
    said = "--allow_batch_change: 24 rows instead of 16 from step 2 on; the rest of the epoch"
    assert said in done.stderr
    # Without the flag, the run continues only with its new batch size.
    (done,) = run_command(1, 16, tmp_path, cache_dir, "--resume", "true")
    assert done.returncode == Exit.CHECKPOINT and "was 24 and is 16 now" in done.stderr
    (done,) = run_command(1, 24, tmp_path, cache_dir, "--resume", "true")
    assert done.returncode == 0, done.stderr
    progress = read_progress(max(run_folder(tmp_path).glob("weights/step-*")))
    assert progress["fixed"][EARLIER_BATCHES] == [[1, 16]]
    # Each row was seen once: 16, then 24 at a time.
    assert (progress["step"], progress["rows"]) == (1 + -(-(ROWS - 16) // 24), ROWS)


# Sharded runs use padded rows, whose order is different.
ADAPTERS = (
    "--lora", "--gin_param", "lora.dropout=0.0", "--gin_param", "fit.padding='rows'",
)  # fmt: skip
SHARDS = ("--parallel", "fsdp")


def trained_weights(output):
    """The adapters and the head of the last checkpoint."""
    tensors = saved_tensors(max(run_folder(output).glob("weights/step-*")))
    names = [name for name in sorted(tensors) if "lora_" in name or "classifier" in name]
    assert any("lora_B" in name for name in names)
    return torch.cat([tensors[name].flatten() for name in names]).double().numpy()


@pytest.fixture(scope="module")
def whole_adapters(tmp_path_factory, cache_dir):
    """The adapters of a run on one process."""
    output = tmp_path_factory.mktemp("adapters")
    assert run_command(1, 16, output, cache_dir, *ADAPTERS)[0].returncode == 0
    return trained_weights(output)


@pytest.mark.full
@pytest.mark.parametrize(
    ("saved", "resumed"),
    [
        ((2, *SHARDS), (4, *SHARDS)),
        ((2, *SHARDS), (1,)),
        ((1,), (2, *SHARDS)),
        ((2, *SHARDS), (2,)),
    ],
)
def test_adapters_in_shards_continue_on_another_number_of_processes(
    saved, resumed, tmp_path, cache_dir, whole_adapters
):
    for (size, *words), end in ((saved, ("--max_steps", 2)), (resumed, ("--resume", "true"))):
        words = (*ADAPTERS, *words, *end)
        done = run_command(size, 16 // size, tmp_path, cache_dir, *words)
        assert {process.returncode for process in done} == {0}, done[0].stderr
    assert relative(trained_weights(tmp_path), whole_adapters) < 1e-4
