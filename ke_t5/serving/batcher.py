"""Batches concurrent requests for the one thread that owns the model."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from typing import Any

from ke_t5.serving.predictor import Prediction, Predictor

logger = logging.getLogger(__name__)

# How long an incomplete batch waits for another request.
WAIT_SECONDS = 0.005
# Requests in the queue; more are rejected.
MOST_WAITING = 256

Rows = Sequence[Mapping[str, Any]]


class Batcher:
    """Answers requests from any thread, collected into batches of the model's size."""

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor
        self._requests: queue.Queue[tuple[Rows, Future]] = queue.Queue(MOST_WAITING)
        threading.Thread(target=self._work, name="predict", daemon=True).start()

    def submit(self, rows: Rows) -> Future[list[Prediction]]:
        """Queues the rows; returns the future of their predictions, in order.

        Raises:
            queue.Full: too many requests are queued.
        """
        future: Future[list[Prediction]] = Future()
        self._requests.put_nowait((rows, future))
        return future

    def _work(self) -> None:
        while True:
            requests = [self._requests.get()]
            num_rows = len(requests[0][0])
            while num_rows < self._predictor.batch_size:
                try:
                    requests.append(self._requests.get(timeout=WAIT_SECONDS))
                except queue.Empty:
                    break
                num_rows += len(requests[-1][0])
            # From here on a disconnecting client can no longer cancel its request.
            self._answer([pair for pair in requests if pair[1].set_running_or_notify_cancel()])

    def _answer(self, requests: list[tuple[Rows, Future]]) -> None:
        """Answers the requests as one batch; if that fails, each on its own."""
        try:
            rows = [row for request_rows, _ in requests for row in request_rows]
            predictions = list(self._predictor(rows, keep_errors=True))
        except Exception as error:
            if len(requests) == 1:
                requests[0][1].set_exception(error)
                return
            for request in requests:
                self._answer([request])
            return
        start = 0
        for request_rows, future in requests:
            end = start + len(request_rows)
            future.set_result(predictions[start:end])
            start = end
