"""The endpoint with an echoing model: limits, hostile requests, isolation of requests."""

from __future__ import annotations

import threading

import pytest

import ke_t5.task.task  # noqa: F401 - registers the tasks
from ke_t5.errors import UserError
from ke_t5.pipe import get_task
from ke_t5.serving.batcher import Batcher
from ke_t5.serving.predictor import Prediction
from ke_t5.serving.rows import unlabelled

pytest.importorskip("fastapi")

JSON = {"content-type": "application/json"}


class Echo:
    """A predictor whose label is the title. It waits for `may_answer` and fails at "broken"."""

    task, kind, batch_size, device = get_task("klue_tc"), "label", 8, "cpu"

    def __init__(self):
        self.may_answer = threading.Event()
        self.may_answer.set()

    def __call__(self, rows, *, keep_errors):
        assert keep_errors and self.may_answer.wait(30)
        for row in rows:
            if row.get("title") == "broken":
                raise ZeroDivisionError
            try:
                title = unlabelled(self.task, row)["title"]
                lost = ("inputs cut at 9 tokens",) if title == "too long" else ()
                yield Prediction(content={"label": title, "score": None}, lost=lost)
            except UserError as error:
                yield Prediction(error=error)


@pytest.fixture
def client():
    """A client of the endpoint, which allows 6 requests per minute."""
    from fastapi.testclient import TestClient

    from ke_t5.serving.server import Limits, make_app

    predictor, limits = Echo(), Limits(rows=2, characters=2000, rate=6)
    app = make_app(predictor, Batcher(predictor), limits)
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


def test_limits_apply_to_every_path(client):
    assert client.get("/health").status_code == 200
    sent = client.post("/gradio_api/upload", files={"files": ("a.bin", b"x")})
    assert (sent.status_code, sent.json()) == (404, {"error": "files are not accepted"})
    big = client.post("/gradio_api/queue/join", json={"data": ["x" * 40_000]})
    assert big.status_code == 413 and "at most 27072 are allowed" in big.json()["error"]
    endless = client.post("/gradio_api/run/answer", content=iter([b"{}"]), headers=JSON)
    assert (endless.status_code, endless.json()["error"]) == (
        411, "the request has no Content-Length",
    )  # fmt: skip
    answers = [client.post("/gradio_api/run/answer", json={"data": ["가"]}) for _ in range(5)]
    assert [answer.status_code for answer in answers] == [404] * 4 + [429]
    assert client.post("/predict", json={"text": "가"}).status_code == 429
    assert client.get("/health").status_code == 200


def test_an_unreadable_row_is_a_client_error_and_a_failing_model_a_server_error(client):
    deep = "[" * 500 + "]" * 500
    bodies = {
        f'{{"rows": [{{"title": {deep}}}]}}': "row 0: brackets nested more than 100 deep",
        '{"rows": [{"\\ud83d": "가"}]}': "row 0: there is no column 'title' among \\ud83d",
        '{"text": "\\ud83d"}': "row 0: column 'title' contains an unpaired surrogate",
    }
    for body, message in bodies.items():
        answer = client.post("/predict", content=body.encode(), headers=JSON)
        assert answer.status_code == 422 and message in answer.json()["error"]
    failed = client.post("/predict", json={"text": "broken"})
    assert failed.status_code == 500
    assert failed.json()["error"].startswith("internal error (ZeroDivisionError); see the log")


def test_truncated_rows_are_named_and_complete_ones_are_answered_as_before(client):
    rows = [{"title": "가"}, {"title": "too long"}]
    predictions = [{"label": row["title"], "score": None} for row in rows]
    assert client.post("/predict", json={"rows": rows}).json() == {
        "predictions": predictions, "warnings": ["row 1: inputs cut at 9 tokens"],
    }  # fmt: skip
    one = client.post("/predict", json={"rows": rows[:1]})
    assert one.json() == {"predictions": predictions[:1]}
    schema = client.get("/openapi.json").json()["components"]["schemas"]["Answered"]
    assert schema["required"] == ["predictions"]


def test_a_failed_or_cancelled_request_does_not_affect_the_others():
    predictor = Echo()
    predictor.may_answer.clear()
    batcher = Batcher(predictor)
    texts = ("first", "가", "broken", "left", "나")
    first, one, broken, left, other = (batcher.submit([{"title": text}]) for text in texts)
    assert left.cancel()  # as if the client had disconnected
    predictor.may_answer.set()
    assert [future.result(30)[0].content["label"] for future in (first, one, other)] == [
        "first", "가", "나",
    ]  # fmt: skip
    with pytest.raises(ZeroDivisionError):
        broken.result(30)


def test_addresses_are_forgotten_after_a_minute_and_limited_in_number(monkeypatch):
    from ke_t5.serving import server

    monkeypatch.setattr(server, "MOST_ADDRESSES", 2)
    rate = server.Rate(2)
    assert [rate.allows("a", now=0.0) for _ in range(3)] == [True, True, False]
    assert rate.allows("b", now=1.0) and not rate.allows("c", now=2.0)
    assert rate.allows("b", now=3.0)
    assert rate.allows("c", now=60.5) and rate.allows("b", now=61.5)
