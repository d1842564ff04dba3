"""Checks everything on a GPU: whether it runs, whether it is correct, and what it costs.

    python -m benchmarks.gpu --hf_data_dir DIR --models DIR --out DIR [--parts NAME ...]

Each part runs in a separate process, which is killed at its limit: one that fails or hangs costs
the others nothing, and all of them together end within 8 minutes. What a part finds is printed at
once and kept in OUT/gpu.jsonl; OUT/RESULTS_GPU.md and OUT/gpu.json are written anew after every
part. Without a GPU the sizes are small and the numbers mean nothing: a dry run.

--hf_data_dir contains YNAT (klue_benchmark/ynat-v1.1); --models contains `roberta-small`,
`roberta-mini`, `ke-t5-small` and `ke-t5-mini`, configurations and tokenizers without weights. The
Trainer's rows need accelerate.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
import time
from pathlib import Path

# Seconds after which a part is killed. Parts that may hang, or that compile, are last.
LIMITS = {
    "parity": 80,
    "syncs": 40,
    "graphs": 100,
    "speed": 110,
    "memory": 80,
    "cli": 130,
    "compiled": 160,
}
ALL_SECONDS = 470
TITLES = {
    "parity": "First gradients and 20 losses, compared with the CPU in fp32",
    "syncs": "Host-device synchronization within a step",
    "graphs": "Steps as CUDA graphs",
    "speed": "Milliseconds per step, eager",
    "memory": "Memory",
    "cli": "Commands",
    "compiled": "Milliseconds per step, compiled",
}


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


def report(rows: list[dict], endings: dict[str, str]) -> str:
    """The results as Markdown, a table for each part."""
    machine = next((row for row in rows if row["part"] == "machine"), {})
    lines = ["# Correctness and speed on a GPU", ""]
    lines += [f"{key}: {value}  " for key, value in machine.items() if key != "part"]
    for name, ending in endings.items():
        lines += ["", f"## {TITLES[name]}", "", f"{ending}.", ""]
        mine = [
            {k: v for k, v in row.items() if k != "part"} for row in rows if row["part"] == name
        ]
        columns = list(dict.fromkeys(column for row in mine for column in row))
        if not mine:
            continue
        lines += ["| " + " | ".join(columns) + " |", "|---" * len(columns) + "|"]
        for row in mine:
            cells = (str(row.get(column, "")).replace("|", "\\|") for column in columns)
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main(arguments: list[str] | None = None) -> int:
    """Runs the parts and writes the report; returns 1 if a part failed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--hf_data_dir", type=Path, required=True)
    parser.add_argument("--models", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--parts", nargs="*", choices=tuple(LIMITS), default=list(LIMITS))
    flags = parser.parse_args(arguments)
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
            sys.stdout.write(f"== {TITLES[name]} (at {time.monotonic() - started:.0f} s)\n")
            sys.stdout.flush()
            endings[name] = run_part(name, words, min(LIMITS[name], left))
        sys.stdout.write(f"== {name}: {endings[name]}\n")
        sys.stdout.flush()
        rows = read_rows(kept)
        (flags.out / "RESULTS_GPU.md").write_text(report(rows, endings), encoding="utf-8")
        found = {"python": platform.python_version(), "parts": endings, "rows": rows}
        text = json.dumps(found, ensure_ascii=False, indent=1)
        (flags.out / "gpu.json").write_text(text, encoding="utf-8")
    return int(any(not ending.startswith("ok") for ending in endings.values()))


if __name__ == "__main__":
    sys.exit(main())
