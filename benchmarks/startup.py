"""The time until `--help` is printed, and until the first step of a training."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from benchmarks.rows import Runs, Setting, interleaved
from ke_t5.fault_points import VARIABLE

ROOT = Path(__file__).resolve().parents[1]
TRAINER = "a script with the Trainer"
# The same with the Trainer: two columns, dynamic padding, one step.
SCRIPT = """
import os, sys
from datasets import load_dataset
from transformers import (AutoConfig, AutoModelForSequenceClassification, AutoTokenizer,
                          DataCollatorWithPadding, Trainer, TrainerCallback, TrainingArguments)
model, data, work = sys.argv[1:]
tokenizer = AutoTokenizer.from_pretrained(model)
rows = load_dataset("csv", data_files=data, sep="\\t", column_names=["labels", "text"], quoting=3,
                    cache_dir=work + "/cache")["train"]
rows = rows.map(lambda rows: tokenizer(rows["text"], truncation=True), batched=True)
config = AutoConfig.from_pretrained(model, num_labels=7)

class End(TrainerCallback):
    def on_step_end(self, *_, **__):
        os._exit(0)

arguments = TrainingArguments(work, per_device_train_batch_size=32, max_steps=1, use_cpu=True,
                              report_to=[], disable_tqdm=True)
Trainer(AutoModelForSequenceClassification.from_config(config), arguments,
        train_dataset=rows.remove_columns("text"), callbacks=[End()],
        data_collator=DataCollatorWithPadding(tokenizer)).train()
"""


def started(
    words: list[str], *, codes: tuple[int, ...] = (0,), variables: Mapping[str, str] | None = None
) -> None:
    """Waits for a Python program.

    Raises:
        RuntimeError: it has ended with none of these codes.
    """
    environment = os.environ | {"PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    environment |= variables or {}
    done = subprocess.run(
        [sys.executable, *words], env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode not in codes:
        raise RuntimeError(f"{words}: exit code {done.returncode}: {done.stderr[-500:]}")


def help_text(setting: Setting) -> dict[str, Runs]:
    """`train_ddp.py --help`."""
    words = [str(ROOT / "train_ddp.py"), "--help"]
    return interleaved(
        {"ours": lambda _: started(words)}, rounds=max(10, setting.rounds), warm_ups=1
    )


def first_step(setting: Setting) -> dict[str, Runs]:
    """From the command to the end of the first step, with warm caches."""
    (file,) = setting.data.rglob("fci_train_val.txt")
    with tempfile.TemporaryDirectory() as work:
        words = [
            str(ROOT / "train_ddp.py"), "--task", "kor_3i4k", "--from_scratch",
            "--pre_trained_model", str(setting.encoder), "--hf_data_dir", str(setting.data),
            "--hf_cache_dir", f"{work}/ours", "--output_dir", f"{work}/runs",
        ]  # fmt: skip

        def ours(_: int) -> None:
            # The process ends by this fault after its first step.
            started(words, codes=(1,), variables={VARIABLE: "train.after_optimizer=exit"})

        def theirs(_: int) -> None:
            started(["-c", SCRIPT, str(setting.encoder), str(file), f"{work}/theirs"])

        contenders = {"ours": ours, TRAINER: theirs}
        return interleaved(contenders, rounds=setting.rounds, warm_ups=1)
