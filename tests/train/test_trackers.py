"""Trackers in their offline modes: they receive what is logged, and never stop or delay a run."""

from __future__ import annotations

import json
import threading
import time

import pytest

from ke_t5.train import trackers
from ke_t5.train.loggers import RunLog
from ke_t5.train.trackers import RECORD, Tracking

# The libraries' own warnings.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


@pytest.fixture
def run(tmp_path):
    """A run's folder."""
    folder = tmp_path / "run"
    folder.mkdir()
    content = {"task": "klue_tc", "model_name": "모델", "seed": 7, "launches": [{}]}
    (folder / "run.json").write_text(json.dumps(content), encoding="utf-8")
    (folder / "report.html").write_text("<p>", encoding="utf-8")
    return folder


def log_steps(folder, *names, steps=(1, 2), resume_step=None):
    tracking = Tracking(names, folder)
    with RunLog(folder, resume_step=resume_step, tracking=tracking) as log:
        for step in steps:
            log.step(step, epoch=0, loss=1 / step, lr=1e-4)
            log.scores(step, split="dev", scores={"f1": 50.0 + step}, loss=0.5)
    return tracking


@pytest.fixture
def store(tmp_path, monkeypatch):
    """A client of a local store of MLflow."""
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"file:{tmp_path / 'store'}")
    from mlflow import MlflowClient

    return MlflowClient()


def test_mlflow_has_settings_metrics_scores_and_report_and_a_resumed_run_goes_on(run, store):
    log_steps(run, "mlflow").flush(60)
    tracking = log_steps(run, "mlflow", steps=(2, 3), resume_step=1)
    tracking.finish({"f1": 53.0}, run / "report.html")
    identity = json.loads((run / RECORD).read_text())["mlflow"]
    found = store.get_run(identity)
    assert found.data.params == {"task": "klue_tc", "model_name": "모델", "seed": "7"}
    history = store.get_metric_history(identity, "validation/f1")
    assert {(one.step, one.value) for one in history} == {(1, 51.0), (2, 52.0), (3, 53.0)}
    assert {"train/loss", "train/lr", "validation/loss"} <= found.data.metrics.keys()
    assert found.data.tags["best/f1"] == "53.0000" and found.info.status == "FINISHED"
    assert [one.path for one in store.list_artifacts(identity)] == ["report.html"]
    assert len(store.search_runs([found.info.experiment_id])) == 1


def test_wandb_writes_a_run_offline(run, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    tracking = log_steps(run, "wandb")
    tracking.finish({"f1": 52.0}, run / "report.html")
    identity = json.loads((run / RECORD).read_text())["wandb"]
    (file,) = (run / "wandb").glob(f"offline-run-*/run-{identity}.wandb")
    content = file.read_bytes()
    assert all(name in content for name in (b"validation/f1", b"train/loss", b"best/f1"))


class Stub:
    """A tracker that fails or hangs."""

    identity = "1"
    seen: list

    def __init__(self, *given):
        self.block = None

    def log(self, step, values):
        raise ConnectionError("no answer\nfrom the server")

    def finish(self, scores, report):
        raise AssertionError("never reached")


def test_a_tracker_that_fails_is_a_line(run, monkeypatch, caplog):
    monkeypatch.setitem(trackers.TRACKERS, "wandb", Stub)
    tracking = log_steps(run, "wandb")
    tracking.finish({}, run / "report.html")
    lines = [record.getMessage() for record in caplog.records]
    expected = "--track wandb failed (ConnectionError: no answer); the run goes on without it"
    assert lines == [expected]
    assert len((run / "metrics.jsonl").read_text().splitlines()) == 4


def test_a_tracker_that_hangs_holds_nothing_up(run, monkeypatch, caplog):
    ends = threading.Event()

    class Hanging(Stub):
        def log(self, step, values):
            ends.wait(20)

    monkeypatch.setitem(trackers.TRACKERS, "mlflow", Hanging)
    monkeypatch.setattr(trackers, "SECONDS_AT_STOP", 0.1)
    monkeypatch.setattr(trackers, "SECONDS_AT_END", 0.1)
    monkeypatch.setattr(trackers, "MOST_WAITING", 3)
    started = time.monotonic()
    tracking = log_steps(run, "mlflow", steps=range(1, 9))
    tracking.finish({}, run / "report.html")
    assert time.monotonic() - started < 10
    lines = [record.getMessage() for record in caplog.records]
    assert lines == ["--track mlflow: it is 3 messages behind; the run goes on without it"]
    ends.set()


def test_without_a_tracker_there_is_no_thread_and_no_file(run):
    before = threading.active_count()
    log_steps(run, "tensorboard").finish({}, run / "report.html")
    assert threading.active_count() == before and not (run / RECORD).exists()
