"""`ke-t5 serve`: the answers, limits, page and stop of a real server."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time

import pytest
from support.processes import ROOT, free_port

from ke_t5.commands import serve
from ke_t5.errors import Exit, UserError
from ke_t5.pipe import get_task
from ke_t5.serving.loading import load_predictor

httpx = pytest.importorskip("httpx")
pytest.importorskip("gradio")

TITLE = "축구 대표팀 승리"
CHROMIUM = """headless no-sandbox disable-gpu no-first-run no-proxy-server disable-sync
    disable-background-networking disable-component-update""".split()


@pytest.fixture(scope="module")
def server(models):
    """A client of a running server, and its process."""
    port = free_port()
    words = ["--hf_path", str(models.export("klue_tc")), "--port", str(port)]
    limits = ["--max_rows", "3", "--max_characters", "2000", "--rate", "12"]
    process = subprocess.Popen(
        [sys.executable, "-m", "ke_t5", "serve", *words, *limits],
        stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    # The browser's requests come from 127.0.0.1, so they do not count towards the client's rate.
    transport = httpx.HTTPTransport(local_address="127.0.0.2")
    url = f"http://127.0.0.1:{port}"
    with httpx.Client(base_url=url, transport=transport, timeout=60) as client:
        deadline = time.monotonic() + 150
        while process.poll() is None and time.monotonic() < deadline:
            try:
                client.get("/health")
                break
            except httpx.TransportError:
                time.sleep(0.2)
        yield client, process
    process.kill()
    process.communicate()


@pytest.fixture
def browser(tmp_path):
    """Headless Chromium without background requests."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("chromium or chromedriver is not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for word in CHROMIUM:
        options.add_argument(f"--{word}")
    options.add_argument(f"--user-data-dir={tmp_path}")
    browser = webdriver.Chrome(options, webdriver.ChromeService(driver))
    browser.implicitly_wait(30)
    yield browser
    browser.quit()


def test_the_page_shows_the_prediction_for_typed_text(server, models, browser):
    client, _ = server
    (expected,) = load_predictor(models.export("klue_tc"))([{"title": TITLE}])
    browser.get(str(client.base_url))
    button = browser.find_element("css selector", "button#predict")
    button.click()
    error = browser.find_element("css selector", ".toast-body")
    assert "비어 있는 칸: 제목" in error.get_attribute("textContent")  # it fades in
    browser.find_element("css selector", "#field-title textarea").send_keys(TITLE)
    button.click()
    label = browser.find_element("css selector", "#answer [data-testid=label-output-value]")
    assert label.text == expected.content["label"]
    shares = browser.find_element("css selector", "#answer").text.splitlines()
    for name, share in expected.content["probabilities"].items():
        assert shares[shares.index(name, 2) + 1] == f"{share:.0%}"
    fetched = browser.execute_script("return performance.getEntries().map(one => one.name)")
    hosts = {httpx.URL(name).host for name in fetched if name.startswith("http")}
    assert hosts == {"127.0.0.1"}


def test_answers_limits_and_stop(server, models):
    client, process = server
    health = client.get("/health").json()
    assert (health["status"], health["task"], health["columns"]) == ("ok", "klue_tc", ["title"])
    (expected,) = load_predictor(models.export("klue_tc"))([{"title": TITLE}])
    for body in ({"text": TITLE}, {"rows": [{"title": TITLE}]}):
        answer = client.post("/predict", json=body)
        assert answer.status_code == 200 and answer.json() == {"predictions": [expected.content]}
    refused = {
        "no rows; give text or rows": (422, {}),
        "text and rows are both given; give one of them": (422, {"text": "가", "rows": []}),
        "row 0: there is no column 'title' among name": (422, {"rows": [{"name": "가"}]}),
        "rows: Input should be a valid list": (422, {"rows": 5}),
        "4 rows, at most 3 are allowed": (413, {"rows": [{"title": "가"}] * 4}),
        "row 0: 2014 characters, at most 2000 are allowed": (413, {"text": "가" * 2000 + "나"}),
    }
    for message, (status, body) in refused.items():
        answer = client.post("/predict", json=body)
        assert (answer.status_code, answer.json()) == (status, {"error": message})
    huge = client.post("/predict", content=b"x" * 50_000)
    assert huge.status_code == 413 and "50000 bytes, at most" in huge.json()["error"]
    for _ in range(2):
        client.post("/predict", json={"text": TITLE})
    (cut,) = client.post("/predict", json={"text": "가 나 다 " * 200}).json()["warnings"]
    assert re.fullmatch(r"row 0: inputs cut at \d+ tokens", cut)
    last = client.post("/predict", json={"text": TITLE})
    assert (last.status_code, last.json()) == (
        429, {"error": "more than 12 requests a minute; wait"},
    )  # fmt: skip
    # The page's own endpoints accept no files and count towards the rate.
    sent = client.post("/gradio_api/upload", files={"files": ("a.bin", b"x")})
    assert (sent.status_code, sent.json()) == (404, {"error": "files are not accepted"})
    assert client.post("/gradio_api/run/answer", json={"data": [TITLE]}).status_code == 429
    page = client.get("/").text
    assert "fonts.googleapis" not in page and "klue_tc" in page
    assert "/predict" in client.get("/openapi.json").json()["paths"]
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == Exit.STOPPED
    *_, lost, last = process.stderr.read().splitlines()
    assert lost.endswith(f"{cut.removeprefix('row 0: ')}: 1")
    assert re.fullmatch(r"stopped: the server on port \d+ is closed", last)


def test_choices_are_shown_with_their_texts_and_label_sets_with_their_names():
    from ke_t5.serving.page import SHOWN, UNREADABLE

    row = {"premise": "비가 왔다.", "choice1": "젖었다.", "choice2": "말랐다."}
    content = {"choice": 1, "text": "젖었다.", "score": 0.7, "probabilities": [0.7, 0.3]}
    assert SHOWN["choice"](content, row) == ({"1. 젖었다.": 0.7, "2. 말랐다.": 0.3},)
    shares = {"성차별": 0.9, "인종차별": 0.6, "없음": 0.1}
    content = {"labels": ["성차별", "인종차별"], "probabilities": shares}
    assert SHOWN["labels"](content, row) == ("성차별, 인종차별", shares)
    none = {"labels": [], "probabilities": shares}
    assert SHOWN["labels"](none, row) == ("(해당하는 레이블이 없습니다)", shares)
    # Generated answers have no bars and may be unparsable.
    assert SHOWN["choice"]({"choice": 2}, row) == ("2. 말랐다.",)
    assert SHOWN["labels"]({"labels": ["성차별"]}, row) == ("성차별", None)
    assert SHOWN["label"]({"label": "세계"}, row) == ("세계",)
    assert SHOWN["choice"]({"choice": None}, row) == SHOWN["label"]({"label": None}, row)
    assert SHOWN["labels"]({"labels": None}, row) == (UNREADABLE, None)


def test_a_generated_choice_is_a_choice():
    from ke_t5.serving.content import content_of, kind_of

    task = get_task("kobest_copa_gen")
    assert kind_of(task) == "choice" and kind_of(get_task("klue_tc_gen")) == "label"
    assert kind_of(get_task("kmhas_gen")) == "labels"
    line = {"prediction": "2", "sequences": ["2"]}
    assert content_of(task, {}, line) == {"choice": 2, "text": "2"}
    assert content_of(task, {}, {**line, "prediction": None})["choice"] is None


def run(*words):
    serve.main(serve.parser().parse_args(list(words)))


def test_a_port_in_use_is_an_error():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        with pytest.raises(UserError, match=f"--port {port}: cannot be used .*; choose another"):
            run("--hf_path", "hf", "--port", port)
    with pytest.raises(UserError, match="ke-t5 serve: no model is named"):
        run("--port", port)


def test_an_invalid_host_is_an_error():
    for host in ("300.1.1.1", "한" * 80):
        with pytest.raises(UserError, match=f"--host {host[:60]} --port 0: cannot be used"):
            run("--hf_path", "hf", "--host", host, "--port", "0")


def test_the_address_of_the_page():
    from ke_t5.serving.serving import address_of, listening_socket

    for host, shown in (("127.0.0.1", "127.0.0.1"), ("::1", "[::1]")):
        try:
            listener = listening_socket(host, 0)
        except UserError:
            continue  # this machine has no IPv6
        with listener:
            port = listener.getsockname()[1]
            assert address_of(listener) == f"http://{shown}:{port}/"


def test_a_missing_gradio_is_an_error(monkeypatch):
    from ke_t5.serving import serving

    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r'gradio is not installed; pip install "ke_t5\[serve\]"'):
        serving.require_libraries()
