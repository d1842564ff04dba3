"""Requests that come together are answered together, by one thread that owns the model."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from typing import Any

from ke_t5.serving.predictor import Prediction, Predictor

logger = logging.getLogger(__name__)

# How long the first request of a batch waits for others.
WAIT_SECONDS = 0.005
# Requests that may wait; more are refused.
MOST_WAITING = 256

Rows = Sequence[Mapping[str, Any]]


class Batcher:
    """Answers requests from any thread, as many rows at once as a batch of the model has."""

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor
        self._requests: queue.Queue[tuple[Rows, Future]] = queue.Queue(MOST_WAITING)
        threading.Thread(target=self._work, name="predict", daemon=True).start()

    def submit(self, rows: Rows) -> Future[list[Prediction]]:
        """The future predictions of the rows, in order.

        Raises:
            queue.Full: too many requests are waiting.
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
            # From here on a client that goes away cannot cancel its request.
            self._answer([one for one in requests if one[1].set_running_or_notify_cancel()])

    def _answer(self, requests: list[tuple[Rows, Future]]) -> None:
        """Answers the requests; one by one if they fail together, so that one fails alone."""
        try:
            rows = [row for of_request, _ in requests for row in of_request]
            predictions = list(self._predictor(rows, keep_errors=True))
        except Exception as error:
            if len(requests) == 1:
                requests[0][1].set_exception(error)
                return
            for request in requests:
                self._answer([request])
            return
        start = 0
        for of_request, future in requests:
            future.set_result(predictions[start : start + len(of_request)])
            start += len(of_request)
