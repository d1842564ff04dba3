"""`python -m tests.reliability`: injects every fault of the matrix and writes RELIABILITY.md.

The results are kept in tests/reliability/results.json: with `--only`, the other promises' stay.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from importlib.metadata import version
from pathlib import Path
from platform import python_version

import pytest

ROOT = Path(__file__).resolve().parents[2]
RESULTS = Path(__file__).with_name("results.json")
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from reliability.matrix import PROMISES, Matrix, is_kept, page  # noqa: E402


def main() -> int:
    """Exit code 0 if every promise was kept."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.reliability", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--only", help="promises, with commas between them: P1,P3")
    parser.add_argument("--minutes", type=float, help="no test starts later than that")
    parser.add_argument("--workers", type=int, default=2, help="tests that run at once")
    arguments = parser.parse_args()
    only = arguments.only.split(",") if arguments.only else list(PROMISES)
    for promise in only:
        if promise not in PROMISES:
            parser.error(f"--only {promise}: unknown; known are {', '.join(PROMISES)}")
    # Threads that wait for a core of another test spin: a run takes two to five times as long.
    threads = max(1, (os.cpu_count() or 1) // max(1, arguments.workers))
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    matrix = Matrix(only)
    options = ["-q", "-p", "no:cacheprovider", "--full", f"--promises={','.join(only)}"]
    if arguments.minutes:
        options.append(f"--until={time.time() + 60 * arguments.minutes}")
    if arguments.workers > 1:
        options += ["-n", str(arguments.workers)]
    pytest.main([str(Path(__file__).parent), *options], plugins=[matrix])
    versions = {"Python": python_version()}
    versions["threads"] = os.environ["OMP_NUM_THREADS"]
    versions |= {name: version(name) for name in ("torch", "transformers", "datasets")}
    found = matrix.results(versions)
    earlier = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    known = {**earlier, **found}
    results = {name: known[name] for name in PROMISES if name in known}
    text = json.dumps(results, ensure_ascii=False, indent=1) + "\n"
    RESULTS.write_text(text, encoding="utf-8")
    (ROOT / "RELIABILITY.md").write_text(page(results), encoding="utf-8")
    return 0 if all(map(is_kept, found.values())) else 1


if __name__ == "__main__":
    sys.exit(main())
