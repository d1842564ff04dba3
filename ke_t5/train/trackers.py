"""`--track`: logging to Weights & Biases or MLflow, in a separate thread.

A tracker may fail or hang: training never waits for it, and warns in one line. TensorBoard needs no
tracker; its files are always in `logs/`.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from ke_t5.files import write_json

logger = logging.getLogger(__name__)

RECORD = "trackers.json"  # the run id of each tracker, which a resumed training continues
PROJECT = "ke_t5"
MOST_WAITING = 1000  # messages
SECONDS_AT_STOP, SECONDS_AT_END = 5.0, 60.0
LONGEST_PARAMETER = 500  # characters; MLflow takes 6000


class Tracker(Protocol):
    """A run in a tracking service."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Adds values of a step."""
        ...

    def finish(self, scores: Mapping[str, float], report: Path) -> None:
        """Adds the final scores and the report, and ends the run."""
        ...


class WandbTracker:
    """A run in Weights & Biases, whose environment variables set project and mode."""

    def __init__(self, identity: str | None, folder: Path, config: Mapping[str, Any]) -> None:
        import wandb

        self.identity = identity or uuid.uuid4().hex[:8]
        self._library: Any = wandb
        self._run: Any = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            id=self.identity,
            resume="allow",
            name=title_of(config),
            dir=str(folder),
            config=dict(config),
            settings=wandb.Settings(silent=True, console="off"),
        )
        # A resumed run may repeat steps, so that `step` may decrease.
        self._run.define_metric("step")
        self._run.define_metric("*", step_metric="step")

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log({**values, "step": step})

    def finish(self, scores: Mapping[str, float], report: Path) -> None:
        self._run.summary.update({f"best/{name}": value for name, value in scores.items()})
        artifact = self._library.Artifact(f"report-{self.identity}", type="report")
        artifact.add_file(str(report))
        self._run.log_artifact(artifact)
        self._run.finish()


class MlflowTracker:
    """A run in MLflow, at the address MLFLOW_TRACKING_URI."""

    def __init__(self, identity: str | None, folder: Path, config: Mapping[str, Any]) -> None:
        from mlflow import MlflowClient

        self._client: Any = MlflowClient()
        self.identity = identity or self._new_run(config)
        if identity:
            self._client.update_run(identity, "RUNNING")
            return
        for name, value in config.items():
            self._client.log_param(self.identity, name, str(value)[:LONGEST_PARAMETER])

    def _new_run(self, config: Mapping[str, Any]) -> str:
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
        experiment = self._client.get_experiment_by_name(name)
        number = experiment.experiment_id if experiment else self._client.create_experiment(name)
        return self._client.create_run(number, run_name=title_of(config)).info.run_id

    def log(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._client.log_metric(self.identity, name, value, step=step)

    def finish(self, scores: Mapping[str, float], report: Path) -> None:
        for name, value in scores.items():
            self._client.set_tag(self.identity, f"best/{name}", f"{value:.4f}")
        self._client.log_artifact(self.identity, str(report))
        self._client.set_terminated(self.identity)


TRACKERS: dict[str, Callable[..., Any]] = {"wandb": WandbTracker, "mlflow": MlflowTracker}


class Tracking:
    """The trackers of a run; does nothing without a name in `TRACKERS`.

    Args:
        names: the values of `--track`.
        folder: the run's folder, whose run.json has the configuration.
    """

    def __init__(self, names: Sequence[str], folder: Path) -> None:
        self._names = [name for name in dict.fromkeys(names) if name in TRACKERS]
        self._folder = folder
        self._queue: queue.Queue[Callable[[Tracker], None]] = queue.Queue(MOST_WAITING)
        self._thread: threading.Thread | None = None

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Queues the values of a step for sending."""
        self._send(lambda tracker: tracker.log(step, values))

    def finish(self, scores: Mapping[str, float], report: Path) -> None:
        """Sends the final scores and the report; waits up to a minute for the queue to empty."""
        self._send(lambda tracker: tracker.finish(scores, report))
        if self._names and not self.flush(SECONDS_AT_END):
            self._give_up(f"did not answer within {SECONDS_AT_END:.0f} s")

    def flush(self, seconds: float = SECONDS_AT_STOP) -> bool:
        """Waits until everything is sent; False if that takes longer than `seconds`."""
        end = time.monotonic() + seconds
        while self._queue.unfinished_tasks and time.monotonic() < end:
            time.sleep(0.02)
        return not self._queue.unfinished_tasks

    def _send(self, work: Callable[[Tracker], None]) -> None:
        if not self._names:
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="trackers", daemon=True)
            self._thread.start()
        try:
            self._queue.put_nowait(work)
        except queue.Full:
            self._give_up(f"is {MOST_WAITING} messages behind")

    def _give_up(self, why: str) -> None:
        logger.warning("--track %s: it %s; the run goes on without it", " ".join(self._names), why)
        self._names = []

    def _work(self) -> None:
        """The thread: starts the trackers, then processes the queue."""
        trackers = {name: tracker for name in self._names if (tracker := self._started(name))}
        while True:
            work = self._queue.get()
            for name, tracker in list(trackers.items()):
                if not self._is_done(name, lambda one=tracker, work=work: work(one)):
                    del trackers[name]
            self._queue.task_done()

    def _started(self, name: str) -> Tracker | None:
        made: list[Any] = []
        self._is_done(name, lambda: made.append(self._start(name)))
        return made[0] if made else None

    def _start(self, name: str) -> Tracker:
        record = _read(self._folder / RECORD)
        tracker = TRACKERS[name](record.get(name), self._folder, self._config())
        if record.get(name) != tracker.identity:
            write_json(self._folder / RECORD, {**record, name: tracker.identity})
        return tracker

    def _config(self) -> dict[str, Any]:
        run = _read(self._folder / "run.json")
        return {name: value for name, value in run.items() if name not in ("launches", "launch")}

    @staticmethod
    def _is_done(name: str, work: Callable[[], Any]) -> bool:
        """Whether `work` succeeded; a failure is logged as a warning."""
        try:
            work()
        except Exception as error:
            reason = (str(error).strip().splitlines() or [""])[0]
            logger.warning(
                "--track %s failed (%s: %.100s); the run goes on without it",
                name, type(error).__name__, reason,
            )  # fmt: skip
            return False
        return True


def title_of(config: Mapping[str, Any]) -> str:
    """The run's name in trackers."""
    return f"{config.get('task')} {config.get('model_name')} {config.get('seed')}"


def _read(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
