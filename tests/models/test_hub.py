"""The hub is asked once, briefly; a silent network is told in time."""

from __future__ import annotations

import socket
import time
import urllib.request

import pytest

from ke_t5 import hub


@pytest.fixture(autouse=True)
def online(monkeypatch):
    """As if the tests had a network, and nothing asked before."""
    monkeypatch.delenv("HF_HUB_OFFLINE")
    hub.why_unreachable.cache_clear()
    yield
    hub.why_unreachable.cache_clear()


def test_offline_mode_is_said_without_asking(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(urllib.request, "urlopen", lambda *_, **__: pytest.fail("asked"))
    assert hub.why_unreachable() == "HF_HUB_OFFLINE is set"


def test_a_name_that_is_not_resolved_is_the_reason(monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError("Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    assert "Name or service not known" in hub.why_unreachable()


def test_a_silent_network_is_given_up_in_time(monkeypatch):
    def hang(*args, **kwargs):
        time.sleep(1)
        raise OSError("too late")

    monkeypatch.setattr(urllib.request, "urlopen", hang)
    monkeypatch.setattr(hub, "SECONDS_TO_ANSWER", 0.2)
    started = time.monotonic()
    assert "within 0.2 s" in hub.why_unreachable()
    assert time.monotonic() - started < 0.9


def test_an_answer_of_any_kind_is_an_answer(monkeypatch):
    def busy(*args, **kwargs):
        raise urllib.request.HTTPError("https://hub", 503, "busy", None, None)

    monkeypatch.setattr(urllib.request, "urlopen", busy)
    assert hub.why_unreachable() is None
