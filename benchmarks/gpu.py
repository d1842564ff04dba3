"""Checks everything on a GPU: whether it runs, whether it is correct, and what it costs.

    python -m benchmarks.gpu --hf_data_dir DIR --models DIR --out DIR [--parts NAME ...]
    python -m benchmarks.gpu --add OUT/gpu.json

Each part runs in a separate process, which is killed at its limit: one that fails or hangs costs
the others nothing, and all of them together end within 8 minutes. What a part finds is printed at
once and kept in OUT/gpu.jsonl; OUT/RESULTS_GPU.md and OUT/gpu.json are written anew after every
part, and so is benchmarks/RESULTS_GPU.md, with the results of all runs. The second command adds the
results of a run on another machine to it.

Without a GPU the sizes are small and the numbers mean nothing: a dry run, which leaves the files in
benchmarks/ as they are.

--hf_data_dir contains YNAT (klue_benchmark/ynat-v1.1); --models contains `roberta-small`,
`roberta-mini`, `ke-t5-small` and `ke-t5-mini`, configurations and tokenizers without weights. The
Trainer's rows need accelerate.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks import gpu_page

# Seconds after which a part is killed. Parts that may hang, or that compile, are last.
LIMITS = {
    "parity": 80,
    "syncs": 40,
    "graphs": 130,
    "generation": 50,
    "speed": 130,
    "memory": 130,
    "cli": 130,
    "compiled": 160,
}
ALL_SECONDS = 470


def run_part(name: str, words: list[str], seconds: float) -> str:
    """Runs a part in its own process group; returns "ok", or how it ended."""
    command = [sys.executable, "-m", "benchmarks.gpu_parts", name, *words]
    started = time.monotonic()
    process = subprocess.Popen(command, start_new_session=True)
    try:
        code = process.wait(timeout=seconds)
        how = "ok" if code == 0 else f"failed with exit code {code}"
    except subprocess.TimeoutExpired:
        how = f"killed after {seconds:.0f} s"
    finally:
        # SIGKILL, because SIGTERM would wait for C code; to the whole group of processes.
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.wait()
    return f"{how}, {time.monotonic() - started:.0f} s"


def read_rows(path: Path) -> list[dict]:
    """The recorded results; incomplete lines of killed parts are skipped."""
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return rows


def main(arguments: list[str] | None = None) -> int:
    """Runs the parts and writes the pages; returns 1 if a part failed."""
    flags = parse(arguments)
    if flags.add is not None:
        return add_file(flags.add)
    flags.out.mkdir(parents=True, exist_ok=True)
    kept = flags.out / "gpu.jsonl"
    kept.write_text("")
    words = ["--hf_data_dir", str(flags.hf_data_dir), "--models", str(flags.models)]
    words += ["--out", str(flags.out)]
    started, endings = time.monotonic(), {}
    for name in flags.parts:
        left = ALL_SECONDS - (time.monotonic() - started)
        if left < 15:
            endings[name] = "not run: no time was left"
        else:
            say(f"== {gpu_page.TITLES[name]} (at {time.monotonic() - started:.0f} s)")
            endings[name] = run_part(name, words, min(LIMITS[name], left))
        say(f"== {name}: {endings[name]}")
        write(flags.out, gpu_page.parts_of(read_rows(kept), endings), name)
    return int(any(not ending.startswith("ok") for ending in endings.values()))


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--hf_data_dir", type=Path)
    parser.add_argument("--models", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--parts", nargs="*", choices=tuple(LIMITS), default=list(LIMITS))
    parser.add_argument("--add", type=Path, metavar="FILE", help="gpu.json of a run elsewhere")
    flags = parser.parse_args(arguments)
    missing = [name for name in ("hf_data_dir", "models", "out") if getattr(flags, name) is None]
    if flags.add is None and missing:
        parser.error(f"give --{missing[0]}, or --add")
    if flags.out is not None and flags.out.resolve() == gpu_page.PAGE.parent:
        parser.error(f"--out {flags.out}: has the page of all runs; give another folder")
    return flags


def write(out: Path, parts: dict[str, dict[str, Any]], last: str) -> None:
    """Writes the results of this run, and adds those of its last part to the page of all runs."""
    (out / "RESULTS_GPU.md").write_text(gpu_page.page_of(parts, is_of_run=True), encoding="utf-8")
    text = json.dumps({"parts": parts}, ensure_ascii=False, indent=1)
    (out / "gpu.json").write_text(text, encoding="utf-8")
    if not gpu_page.add({last: parts[last]}):
        say(f"   {gpu_page.PAGE.name} in benchmarks/ is unchanged: {why_not(parts[last])}")


def add_file(file: Path) -> int:
    """Adds the results in a gpu.json to the page of all runs; returns 1 if it has none."""
    parts = json.loads(file.read_text(encoding="utf-8"))["parts"]
    added = gpu_page.add(parts)
    for name, part in parts.items():
        say(f"{name}: {'added' if name in added else 'not added: ' + why_not(part)}")
    return int(not added)


def why_not(part: dict[str, Any]) -> str:
    """The reason why a part is not added to the page."""
    return "it has no results" if gpu_page.is_of_a_gpu(part) else "a dry run without a GPU"


def say(line: str) -> None:
    """Prints a line at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
