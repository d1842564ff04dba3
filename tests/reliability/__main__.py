"""`python -m tests.reliability`: injects every fault of the matrix and writes RELIABILITY.md."""

from __future__ import annotations

import argparse
import sys
from importlib.metadata import version
from pathlib import Path
from platform import python_version

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from reliability.matrix import PROMISES, Matrix  # noqa: E402


def main() -> int:
    """Exit code 0 if every promise was kept."""
    parser = argparse.ArgumentParser(prog="python -m tests.reliability", description=__doc__)
    parser.add_argument("--only", help="promises, with commas between them: P1,P3")
    parser.add_argument("--out", type=Path, default=ROOT / "RELIABILITY.md")
    parser.add_argument("--workers", type=int, default=2, help="tests that run at once")
    arguments = parser.parse_args()
    only = arguments.only.split(",") if arguments.only else list(PROMISES)
    for promise in only:
        if promise not in PROMISES:
            parser.error(f"--only {promise}: unknown; known are {', '.join(PROMISES)}")
    matrix = Matrix(only)
    options = ["-q", "-p", "no:cacheprovider", "--full", f"--promises={','.join(only)}"]
    if arguments.workers > 1:
        options += ["-n", str(arguments.workers)]
    pytest.main([str(Path(__file__).parent), *options], plugins=[matrix])
    versions = {"Python": python_version()}
    versions |= {name: version(name) for name in ("torch", "transformers", "datasets")}
    arguments.out.write_text(matrix.page(versions), encoding="utf-8")
    return 0 if matrix.is_kept else 1


if __name__ == "__main__":
    sys.exit(main())
