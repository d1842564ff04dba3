"""The JSON endpoint: `POST /predict`, `GET /health`, `GET /openapi.json`; errors are JSON too."""

from __future__ import annotations

import asyncio
import json
import logging
import queue
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException as StarletteError

from ke_t5.errors import UserError
from ke_t5.readers.json_rows import TOO_DEEP, is_too_deep
from ke_t5.serving.batcher import Batcher
from ke_t5.serving.predictor import Prediction, Predictor
from ke_t5.serving.rows import from_texts

logger = logging.getLogger(__name__)

MINUTE = 60.0
MOST_ADDRESSES = 10_000
BODILESS = ("GET", "HEAD", "OPTIONS")
UPLOAD = "/upload"  # gradio's route for files, which the page does not need
BYTES_OF_A_CHARACTER = 6  # at most in JSON: \uXXXX


@dataclass(frozen=True)
class Limits:
    """Limits of a request.

    Attributes:
        rows: the maximum number of rows in a request.
        characters: the maximum number of characters in a row.
        rate: the maximum number of requests per minute from one address.
    """

    rows: int = 64
    characters: int = 20_000
    rate: int = 600

    @property
    def body(self) -> int:
        """The maximum size of a request's body in bytes."""
        return 1024 + self.rows * (BYTES_OF_A_CHARACTER * self.characters + 1024)


class Asked(BaseModel):
    """The body of `POST /predict`: one text (and its pair), or rows with the task's columns."""

    text: str | None = Field(None, description="the text, or the first one of a pair")
    text_pair: str | None = Field(None, description="the second text, such as a passage")
    rows: list[dict[str, Any]] | None = Field(None, description="rows with the task's columns")


class Answered(BaseModel):
    """A prediction for each row, in order."""

    predictions: list[dict[str, Any]]
    warnings: list[str] = Field(
        default_factory=list, description="truncated inputs, by row; absent if there are none"
    )


class Rate:
    """Limits the requests of each address per minute; remembers at most `MOST_ADDRESSES`."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._times: dict[str, deque[float]] = {}

    def allows(self, address: str, now: float | None = None) -> bool:
        """Whether one more request is allowed; if so, counts it."""
        now = time.monotonic() if now is None else now
        if len(self._times) >= MOST_ADDRESSES and address not in self._times:
            self._times = {a: t for a, t in self._times.items() if now - t[-1] < MINUTE}
            if len(self._times) >= MOST_ADDRESSES:
                return False
        times = self._times.setdefault(address, deque())
        while times and now - times[0] >= MINUTE:
            times.popleft()
        if len(times) >= self._limit:
            return False
        times.append(now)
        return True


def checked_rows(rows: Sequence[Mapping[str, Any]], limits: Limits) -> None:
    """Raises HTTPException: 413 for too many rows or characters, 422 for no rows or a row that is
    nested too deeply."""
    if not rows:
        raise HTTPException(422, "no rows; give text or rows")
    if len(rows) > limits.rows:
        raise HTTPException(413, f"{len(rows)} rows, at most {limits.rows} are allowed")
    for number, row in enumerate(rows):
        text = json.dumps(row, ensure_ascii=False)
        if is_too_deep(text):
            raise HTTPException(422, f"row {number}: {TOO_DEEP}")
        length = len(text)
        if length > limits.characters:
            what = f"row {number}: {length} characters, at most {limits.characters} are allowed"
            raise HTTPException(413, what)


def make_app(predictor: Predictor, batcher: Batcher, limits: Limits) -> FastAPI:
    """The endpoint of a model."""
    # FastAPI's documentation pages load scripts from another host; /openapi.json has the same.
    app = FastAPI(title=f"ke_t5 {predictor.task.name}", docs_url=None, redoc_url=None)
    rate = Rate(limits.rate)

    @app.middleware("http")
    async def limit(request: Request, call_next: Any) -> Any:
        return _refusal(request, rate, limits) or await call_next(request)

    @app.get("/health")
    async def health() -> dict[str, Any]:
        """The task and the device of the served model."""
        task = predictor.task
        return {
            "status": "ok", "task": task.name, "kind": predictor.kind,
            "columns": list(task.input_columns), "labels": list(task.labels or ()),
            "device": str(predictor.device),
        }  # fmt: skip

    @app.post("/predict", response_model_exclude_unset=True)
    async def predict(asked: Asked) -> Answered:
        """The predictions of the rows."""
        rows = rows_of(predictor, asked)
        checked_rows(rows, limits)
        try:
            predictions = await asyncio.wrap_future(batcher.submit(rows))
        except queue.Full:
            raise HTTPException(503, "too many requests are waiting; try again") from None
        for number, one in enumerate(predictions):
            if one.error is not None:
                raise HTTPException(422, f"row {number}: {one.error.what}")
        return answered(predictions)

    app.add_exception_handler(StarletteError, _answered)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(UserError, _refused)
    app.add_exception_handler(Exception, _failed)
    return app


def _refusal(request: Request, rate: Rate, limits: Limits) -> JSONResponse | None:
    """The refusal of a request over the limits, before its body is read; None if it is allowed.

    The requests of the page count too, because they can be sent without it.
    """
    if request.method in BODILESS:
        return None
    if request.scope["path"].endswith(UPLOAD):
        return _error(404, "files are not accepted")
    address = request.client.host if request.client else ""
    if not rate.allows(address):
        return _error(429, f"more than {limits.rate} requests a minute; wait")
    length = request.headers.get("content-length", "")
    if not (length.isascii() and length.isdigit()):
        return _error(411, "the request has no Content-Length")
    if int(length) > limits.body:
        return _error(413, f"{length} bytes, at most {limits.body} are allowed")
    return None


def rows_of(predictor: Predictor, asked: Asked) -> list[dict[str, Any]]:
    """The rows of a request.

    Raises:
        HTTPException: 422, if neither or both of text and rows are given.
    """
    if asked.rows is not None:
        if asked.text is not None or asked.text_pair is not None:
            raise HTTPException(422, "text and rows are both given; give one of them")
        return asked.rows
    texts = [text for text in (asked.text, asked.text_pair) if text is not None]
    if not texts:
        raise HTTPException(422, "no rows; give text or rows")
    try:
        return [from_texts(predictor.task, texts)]
    except UserError as error:
        columns = ", ".join(predictor.task.input_columns)
        raise HTTPException(422, f"{error.what}; give rows with {columns}") from None


def answered(predictions: Sequence[Prediction]) -> Answered:
    """The answer to a request.

    {"predictions": [...]}
    {"predictions": [...], "warnings": ["row 0: inputs cut at 128 tokens"]}
    """
    warnings = [f"row {i}: {what}" for i, one in enumerate(predictions) for what in one.lost]
    answer = Answered(predictions=[one.content for one in predictions])
    return answer.model_copy(update={"warnings": warnings}) if warnings else answer


def _error(status: int, what: str) -> JSONResponse:
    # A column name from the request may contain an unpaired surrogate.
    what = what.encode("utf-8", "backslashreplace").decode()
    return JSONResponse({"error": what}, status_code=status)


def _answered(request: Request, error: Any) -> JSONResponse:
    return _error(error.status_code, str(error.detail))


def _refused(request: Request, error: Any) -> JSONResponse:
    return _error(500, error.what)


def _failed(request: Request, error: Any) -> JSONResponse:
    return _error(500, f"internal error ({type(error).__name__}); see the log of the server")


def _invalid(request: Request, error: Any) -> JSONResponse:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"] if part != "body")
    return _error(422, f"{where or 'body'}: {first['msg']}")
