"""A stand-in for training: a program that only writes the files of a run."""

import sys

import pytest

from ke_t5.experiments import trials

TRAINING = """
import json, os, pathlib, re, signal, sys, time

flags = dict(word.removeprefix("--").partition("=")[::2] for word in sys.argv[1:])
rate = float(re.search(r"lr=([^ ]+)", " ".join(sys.argv) + " lr=1")[1])
folder = pathlib.Path(flags["output_dir"], "Model_sample", flags["task"])
folder.mkdir(parents=True, exist_ok=True)
(folder / "run.json").write_text("{}")
with open(pathlib.Path(flags["output_dir"]).parent / "launches.txt", "a") as log:
    log.write(" ".join(sys.argv[1:]) + "\\n")
score = 60 + int(flags.get("seed", 0)) % 10 + 10 * rate
def validated(value):
    with open(folder / "metrics.jsonl", "a") as log:
        scores = {"macro_f1": value, "accuracy": value + 1}
        log.write(json.dumps({"step": 1, "scores": scores}) + "\\n")
def stop(*_):
    (folder / "stopped").write_text("")
    sys.exit(75)
signal.signal(signal.SIGTERM, stop)
for step in range(3):
    validated(score)
if os.environ.get("TEST_WAITS") == pathlib.Path(flags["output_dir"]).name and not (
    folder / "stopped").exists():
    (folder / "waits").write_text("")
    time.sleep(60)
fails = os.environ.get("TEST_FAILS", "")
if fails and fails.partition(":")[0] in flags["output_dir"]:
    sys.exit(int(fails.partition(":")[2]))
results = folder / "eval" / "validation"
results.mkdir(parents=True, exist_ok=True)
scores = {"macro_f1": score, "accuracy": score + 1}
(results / "scores.json").write_text(json.dumps({"task": flags["task"], "scores": scores}))
"""


@pytest.fixture
def training(tmp_path, monkeypatch):
    """Makes trials start the stand-in; returns a function that lists the launches in a folder."""
    file = tmp_path / "training.py"
    file.write_text(TRAINING)
    monkeypatch.setattr(trials, "PROGRAM", (sys.executable, str(file)))

    def launches(folder):
        found = folder / "launches.txt"
        return found.read_text().splitlines() if found.exists() else []

    return launches
