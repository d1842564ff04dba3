"""Memory and time that each process needs to start on a large data set that is prepared.

    python -m benchmarks.large_data --rows 10000000 --ranks 2

Makes short texts with labels, a hold-out among them, in a temporary folder that is removed in the
end. Their tokens are drawn rather than made by a tokenizer: a start does not see the difference,
and preparing is measured elsewhere. Then so many processes start at once, as ranks do, and each
says what its data took until the first batch and after 2,000 of them.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

MB = 1 << 20
NUM_LABELS, NUM_TEXTS, VOCABULARY, BATCH, NUM_BATCHES = 7, 100_000, 32_000, 64, 2000
ROWS_AT_ONCE = 1000
STAGES = ("start", "first batch", f"{NUM_BATCHES} batches")


@functools.cache
def tokenizer() -> Any:
    """A tokenizer of words."""
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    words = {f"w{number}": number for number in range(VOCABULARY)}
    backend = Tokenizer(models.WordLevel({**words, "[UNK]": VOCABULARY}, "[UNK]"))
    return PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="[UNK]", pad_token="w0")


def _take(batch: dict) -> dict:
    return batch


def large_task(file: Path) -> Any:
    """A task on the rows of a file."""
    from ke_t5.pipe import Feature, HFDataSource, Task, map_over_batches

    features = {"input_ids": Feature(tokenizer), "labels": Feature(rank=0, num_values=NUM_LABELS)}
    source = HFDataSource("parquet", data_files={"train": str(file)})
    steps = [map_over_batches(_take)]
    return Task("large", source, steps, features, keep={"text": "string"})


def write_rows(file: Path, num_rows: int) -> None:
    """Writes the texts and labels as parquet."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    generator = np.random.default_rng(0)
    syllables = [chr(code) for code in range(0xAC00, 0xAC00 + 2000)]
    drawn = generator.integers(0, len(syllables), size=(NUM_TEXTS, 12))
    texts = pa.array(["".join(syllables[i] for i in row) for row in drawn])
    schema = pa.schema({"text": pa.string(), "labels": pa.int32()})
    with pq.ParquetWriter(file, schema) as writer:
        for start in range(0, num_rows, 1 << 20):
            count = min(1 << 20, num_rows - start)
            chosen = texts.take(pa.array(generator.integers(0, NUM_TEXTS, count)))
            labels = pa.array(generator.integers(0, NUM_LABELS, count), pa.int32())
            writer.write_table(pa.table([chosen, labels], schema=schema))


def write_examples(_: Any, dataset: Any, *, file: Path, key: str) -> Any:
    """Writes examples with random tokens; replaces `preparation._write`."""
    import datasets
    import pyarrow as pa

    generator = np.random.default_rng(1)
    lengths = generator.integers(4, 24, NUM_TEXTS)
    tokens = pa.array(generator.integers(1, VOCABULARY, int(lengths.sum())), pa.int32())
    offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]), pa.int32())
    pool = pa.ListArray.from_arrays(offsets, tokens)
    schema = pa.schema({"input_ids": pool.type, "labels": pa.int32(), "_id": pa.int64(),
                        "text": pa.string()})  # fmt: skip
    with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_stream(sink, schema) as writer:
        for batch in dataset.with_format("arrow").iter(ROWS_AT_ONCE):
            chosen = pa.array(generator.integers(0, NUM_TEXTS, len(batch)))
            columns = [pool.take(chosen), *(batch.column(name) for name in schema.names[1:])]
            writer.write_table(pa.table(columns, schema=schema), max_chunksize=ROWS_AT_ONCE)
    return datasets.Dataset.from_file(str(file))


def tell(text: str) -> None:
    """Writes a line."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def memory() -> dict[str, float]:
    """Memory of this process in MB: private, and of mapped files, which all processes share."""
    lines = Path("/proc/self/status").read_text().splitlines()
    sizes = {line.split(":")[0]: int(line.split()[1]) / 1024 for line in lines if line[-2:] == "kB"}
    return {"own": sizes["RssAnon"], "mapped": sizes["RssFile"]}


def start(folder: Path) -> dict[str, Any]:
    """Runs the stages of a rank before training, and records seconds and memory of each."""
    import datasets

    from ke_t5.pipe import Folders, get_batches
    from ke_t5.pipe.splits import HELD_IN, HELD_OUT, num_common

    datasets.disable_progress_bars()
    task, folders = large_task(folder / "rows.parquet"), Folders(None, folder / "cache")
    base, begun, worked, stages = memory(), time.monotonic(), time.process_time(), []

    def note() -> None:
        taken = {name: size - base[name] for name, size in memory().items()}
        seconds = {"seconds": time.monotonic() - begun, "cpu": time.process_time() - worked}
        stages.append({**seconds, **taken})

    train, held = (task.get_dataset(split, folders=folders) for split in (HELD_IN, HELD_OUT))
    num_common(HELD_IN, HELD_OUT, task.source, folders, task.rows)
    content = train.content_hash() + held.content_hash()
    train = train.labelled()
    facts: dict[str, Any] = {"tokens": int(train.value_counts("input_ids").sum())}
    facts["longest held out"] = held.length_facts("input_ids")[1]
    lengths = train.row_lengths("input_ids")
    plan = get_batches(lengths, batch_size=BATCH, num_parts=1, seed=0)
    num_steps = plan.num_steps(3)
    note()
    epoch = plan.epoch(0)
    train.batch(epoch[0])
    note()
    cpu = time.process_time()
    for number in range(min(NUM_BATCHES, len(epoch))):
        train.batch(epoch[number])
    cpu = time.process_time() - cpu
    note()
    numbers = {"rows": len(train), "held out": len(held), "steps": num_steps, "content": content}
    return {
        **facts,
        **numbers,
        "ms per batch": 1000 * cpu / NUM_BATCHES,
        "at import": base,
        "stages": stages,
    }


def prepare(folder: Path, num_rows: int) -> None:
    """Writes the rows and everything that is prepared once; prints how long it took."""
    from ke_t5.pipe import preparation

    begun = time.process_time()
    write_rows(folder / "rows.parquet", num_rows)
    made = time.process_time()
    preparation._write = write_examples
    start(folder)
    tell(f"rows: {made - begun:.0f} CPU s; prepared: {time.process_time() - made:.0f} CPU s")


def show(found: list[dict[str, Any]], folder: Path) -> None:
    """Prints the results of the ranks."""
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    first = found[0]
    tell(f"{first['rows']:,} training rows, {first['held out']:,} held out; {size / MB:,.0f} MB")
    tell("| rank | until | seconds | CPU s | own memory, MB | mapped, MB |")
    tell("|---|---|---|---|---|---|")
    for rank, one in enumerate(found):
        for name, stage in zip(STAGES, one["stages"], strict=True):
            tell(f"| {rank} | {name} | {stage['seconds']:.2f} | {stage['cpu']:.2f} "
                  f"| {stage['own']:.0f} | {stage['mapped']:.0f} |")  # fmt: skip
    tell(f"{first['ms per batch']:.3f} CPU ms for a batch of {BATCH} rows; "
          f"at import {first['at import']['own']:.0f} MB")  # fmt: skip
    assert len({one["content"] for one in found}) == 1


def main() -> None:
    """Prepares the data, starts the ranks, prints a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    parser.add_argument("--step", choices=("prepare", "start"), help=argparse.SUPPRESS)
    flags = parser.parse_args()
    if flags.step == "prepare":
        return prepare(Path(flags.folder), flags.rows)
    if flags.step == "start":
        return tell(json.dumps(start(Path(flags.folder))))
    with tempfile.TemporaryDirectory(prefix="large-data-") as name:
        command = [sys.executable, "-m", "benchmarks.large_data", "--folder", name, "--step"]
        env = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
        rows = ["--rows", str(flags.rows)]
        subprocess.run([*command, "prepare", *rows], check=True, env=env)
        ranks = [subprocess.Popen([*command, "start"], stdout=subprocess.PIPE, env=env)
                 for _ in range(flags.ranks)]  # fmt: skip
        show([json.loads(rank.communicate()[0]) for rank in ranks], Path(name))


if __name__ == "__main__":
    main()
