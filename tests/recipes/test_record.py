"""The records of a run: run.json and config.gin."""

from __future__ import annotations

import hashlib
import json

import pytest
from support.recipe_runs import SMALL, run_folder, train

import ke_t5
from ke_t5.pipe import Folders, HFDataSource
from ke_t5.pipe.splits import provenance
from ke_t5.recipes import record
from ke_t5.sample import sample_data_dir

WORDS = ("--task", "klue_tc", *SMALL, "--epochs", 2, "--schedule")


@pytest.fixture(scope="module")
def run(tmp_path_factory, cache_dir):
    """A run of two launches."""
    output = tmp_path_factory.mktemp("run")
    train(*WORDS, "--max_steps", 2, output=output, cache=cache_dir)
    train(*WORDS, "--max_steps", 4, "--resume", "true", output=output, cache=cache_dir)
    return run_folder(output)


def test_run_json_tells_how_the_run_trains(run, cache_dir):
    told = json.loads((run / "run.json").read_text())
    assert told["batch"] == {"per_process": 16, "accumulated": 1, "global": 16, "tokens": None}
    assert told["padding"] == 0
    assert (told["epochs"], told["steps"], told["learning_rate"]) == (2, 8, 1e-3)
    assert told["schedule"]["name"] == "linear" and told["schedule"]["warmup_ratio"] == 0.1
    assert (told["optimizer"], told["precision"]) == ("AdamW", "fp32")
    assert told["parameters"] == told["trainable_parameters"] > 1000
    assert told["versions"]["torch"]
    assert told["versions"]["ke_t5"] == ke_t5.__version__
    raw = told["data"]["train[:64]"]["raw"]["train"]["files"]
    ((name, sha256),) = raw.items()
    content = (sample_data_dir(cache_dir) / name).read_bytes()
    assert sha256 == hashlib.sha256(content).hexdigest()


def test_run_json_tells_of_every_launch(run):
    told = json.loads((run / "run.json").read_text())
    assert "/sample-" in told["model_folder"]  # not the run's own, from which the second went on
    first, second = told["launches"]
    assert [(x["from_step"], x["to_step"]) for x in (first, second)] == [(0, 2), (2, 4)]
    for launch in (first, second):
        assert launch["host"] and launch["command"] and launch["gpu"] is None
        assert launch["started"] <= launch["finished"] and launch["seconds"] > 0
        assert launch["peak_memory_bytes"]["host"] > 10**7


def test_config_gin_keeps_the_resolved_rate_and_precision(run, tmp_path, cache_dir):
    text = (run / "config.gin").read_text()
    assert "\nAdamW.lr = 0.001\n" in text and "\nfit.precision = 'fp32'\n" in text
    words = ("--gin_file", run / "config.gin", "--max_steps", 5, "--resume", run)
    train(*WORDS, *words, output=tmp_path, cache=cache_dir)  # it fits the run that wrote it


def test_a_local_data_set_is_told_by_its_bytes_and_one_of_the_hub_by_its_commit(
    tmp_path, monkeypatch
):
    file = tmp_path / "rows.json"
    file.write_text('{"text": "가"}\n', encoding="utf-8")
    folders = Folders(None, tmp_path / "cache")
    source = HFDataSource("json", data_files={"train": str(file)})
    found = provenance("train", source, folders, source.rows)
    assert found == {"train": {"files": {str(file): hashlib.sha256(file.read_bytes()).hexdigest()}}}
    monkeypatch.setattr("ke_t5.pipe.sources.why_no_data", lambda: None)
    monkeypatch.setattr("ke_t5.pipe.sources.hub_revision", lambda path: "abc")
    hub = HFDataSource("somebody/something")._provenance([])
    assert hub == {"hub": "somebody/something", "revision": "abc"}


def test_the_commit_is_that_of_the_package(monkeypatch):
    commit = record.git_commit()
    assert commit is None or len(commit.removesuffix("-dirty")) == 40
    monkeypatch.setattr("subprocess.run", lambda *_, **__: (_ for _ in ()).throw(OSError))
    assert record.git_commit() is None
