"""After every prefix of a run's file operations, a complete checkpoint is on the disk."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from support.disk_trace import Replayer, flushed_states, recorded, states
from support.recipe_runs import SMALL, train

from ke_t5.checkpoint.checkpoints import find_checkpoint
from ke_t5.checkpoint.folders import find_fault, list_checkpoints, read_pointer
from ke_t5.config.resume import AUTO
from ke_t5.files import TEMPORARY

pytestmark = pytest.mark.promise("P2")

WORDS = ("--task", "klue_tc", *SMALL, "--epochs", 2, "--schedule", "--save_every", 2)


@pytest.fixture(scope="module")
def operations(tmp_path_factory, cache_dir):
    """Two launches' operations: one ends early and exports, one continues and exports again."""
    output = tmp_path_factory.mktemp("run")
    with recorded(output) as trace:
        for words in (("--max_steps", 6), ("--resume", "auto")):
            train(*WORDS, *words, "--hf_path", "default", output=output, cache=cache_dir)
    return trace.operations


class Judge:
    """The conditions that successive states of a run must satisfy."""

    def __init__(self) -> None:
        self.step, self.has_export = -1, False

    def check(self, root: Path) -> None:
        """Raises AssertionError if the run in this folder cannot be resumed or lost anything."""
        for weights in root.glob("*/*/weights"):
            self._check_weights(weights)
        if self.step >= 0:
            (run,) = (path.parent for path in root.glob("*/*/weights"))
            assert json.loads((run / "run.json").read_text())["task"] == "klue_tc"
            assert {"config.json", "tokenizer.json"} <= {x.name for x in (run / "model").iterdir()}
        results = root.glob("*/*/eval/*/scores.json")
        for scores in (path for path in results if not TEMPORARY.fullmatch(path.parent.name)):
            lines = (scores.parent / "predictions.jsonl").read_text().splitlines()
            assert len(lines) == json.loads(scores.read_text())["rows"]
        exports = [path for path in root.glob("*/*/hf") if any(path.iterdir())]
        assert exports or not self.has_export
        self.has_export = bool(exports)
        for export in exports:
            assert {"config.json", "model.safetensors"} <= {path.name for path in export.iterdir()}
            assert (export / "model.safetensors").stat().st_size > 10_000

    def _check_weights(self, weights: Path) -> None:
        for checkpoint in list_checkpoints(weights).values():
            assert find_fault(checkpoint) is None
        for pointer in ("last", "best"):
            assert read_pointer(weights, pointer) in (None, *list_checkpoints(weights))
        found = find_checkpoint(weights, AUTO)
        step = -1 if found is None else int(found.name.removeprefix("step-"))
        assert step >= self.step, f"step {step} after {self.step}"
        self.step = step


@pytest.mark.parametrize("is_flushed", [False, True], ids=["killed", "power failure"])
def test_every_prefix_has_a_complete_checkpoint(
    operations, tmp_path, tally, notes, is_full, is_flushed
):
    judge, replayer, checked = Judge(), Replayer(tmp_path), 0
    made = flushed_states(operations) if is_flushed else states(operations)
    for number, (operation, tree) in enumerate(made):
        if not is_full and operation.kind in ("write", "remove") and number % 4:
            continue
        root = replayer.make(tree)
        with tally.case(f"operation {number}, {operation.kind} {operation.path}"):
            judge.check(root)
        shutil.rmtree(root)
        checked += 1
    assert judge.step == 8 and judge.has_export
    notes.append(f"{checked} states of {len(operations)} operations")
