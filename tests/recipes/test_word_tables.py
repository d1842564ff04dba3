"""A training on two processes that exchanges the rows of an embedding separately.

It uses DistributedDataParallel; the one that it is compared with, shared memory.
"""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file
from support.processes import ROOT, run_script_on_ranks
from support.recipe_runs import run_folder

MODULE = """
from pathlib import Path

from ke_t5 import shared_memory
from ke_t5.models import kept_gradients

shared_memory.FOLDER = Path("missing")
kept_gradients.LARGE = 1
exchange = kept_gradients.KeptGradients.exchange


def told(self, ranks):
    exchange(self, ranks)
    with Path("rank-%d.txt" % ranks.rank).open("a") as file:
        for weight in self.apart:
            assert weight._ddp_ignored  # else the whole gradient is exchanged, too
            print(tuple(weight.shape), weight.grad.double().sum().item(), file=file)


kept_gradients.KeptGradients.exchange = told
"""


def trained(folder, cache, task, *words):
    """The weights after three updates on two processes."""
    done = run_script_on_ranks(
        2, ROOT / "train_ddp.py", "--task", task, "--sample", "--max_steps", 3, "--batch_size", 8,
        "--gin_param", "fit.accumulate=2", "--eval_rows", 8, "--output_dir", "output",
        "--hf_cache_dir", cache, *words, folder=folder,
    )  # fmt: skip
    assert [one.returncode for one in done] == [0, 0], done[0].stderr
    return load_file(run_folder(folder / "output") / "weights/step-00000003/model.safetensors")


@pytest.mark.parametrize("task", ["klue_tc", "klue_tc_gen"])
def test_a_training_exchanges_the_rows_of_its_tokens(tmp_path, cache_dir, task):
    plain, apart = tmp_path / "plain", tmp_path / "apart"
    for folder in (plain, apart):
        folder.mkdir()
    (apart / "small_tables.py").write_text(MODULE)
    expected = trained(plain, cache_dir, task)
    found = trained(apart, cache_dir, task, "--module_import", "small_tables")
    told = [(apart / f"rank-{rank}.txt").read_text() for rank in range(2)]
    assert told[0] == told[1] and len(told[0].splitlines()) >= 3
    assert expected.keys() == found.keys()
    for name, weight in expected.items():
        torch.testing.assert_close(found[name], weight, rtol=1e-4, atol=1e-5, msg=name)
