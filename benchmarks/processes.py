"""The rate of `train_ddp.py` with two processes on one machine compared with one process."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from benchmarks.rows import Runs, Setting
from benchmarks.startup import ROOT, started

GLOBAL_BATCH, PART = 128, 32  # rows of an update, and of a forward pass
ONE_THREAD, ALL_THREADS = "one process, one thread", "one process, all threads"


def two_processes(setting: Setting) -> dict[str, Runs]:
    """RoBERTa 4 x 256 on 3i4K, the same global batches in parts of 32 rows."""
    runs = {"ours": Runs(), ONE_THREAD: Runs(), ALL_THREADS: Runs()}
    with tempfile.TemporaryDirectory() as work:
        encoder = small_encoder(setting, Path(work, "encoder"))
        for number in range(setting.rounds):
            for name in runs:
                folder = Path(work, f"{name[-11:]} {number}")
                train(setting, encoder, folder, name=name)
                (file,) = folder.rglob("timing.jsonl")
                lines = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
                lines = [line for line in lines if "rows_per_second" in line][1:]
                seconds = sum(line["seconds"] for line in lines)
                rows = sum(line["seconds"] * line["rows_per_second"] for line in lines)
                runs[name].seconds.append(seconds / rows)
    return runs


def small_encoder(setting: Setting, folder: Path) -> Path:
    """A folder with the tokenizer and a configuration of 4 layers x 256."""
    from transformers import AutoTokenizer, RobertaConfig

    AutoTokenizer.from_pretrained(setting.encoder).save_pretrained(folder)
    RobertaConfig.from_pretrained(
        setting.encoder, hidden_size=256, num_hidden_layers=4, intermediate_size=1024
    ).save_pretrained(folder)
    return folder


def train(setting: Setting, encoder: Path, folder: Path, *, name: str) -> None:
    """Trains for some global batches with the command, without a final validation."""
    num_processes = 2 if name == "ours" else 1
    accumulated = GLOBAL_BATCH // PART // num_processes
    script = [str(ROOT / "train_ddp.py")]
    if num_processes > 1:
        script = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", *script]
    words = [
        *script, "--task", "kor_3i4k", "--from_scratch", "--pre_trained_model", str(encoder),
        "--hf_data_dir", str(setting.data), "--hf_cache_dir", str(folder.parent / "cache"),
        "--output_dir", str(folder), "--batch_size", str(PART), "--print_freq", "10",
        "--max_steps", str(20 + setting.amount(60)), "--eval_rows", "64",
        "--gin_param", f"fit.accumulate={accumulated}", "--gin_param", "fit.precision='fp32'",
    ]  # fmt: skip
    variables = {} if name == ALL_THREADS else {"OMP_NUM_THREADS": "1"}
    started(words, variables=variables)
