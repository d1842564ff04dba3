"""The hub is queried once, briefly; a silent network is reported in time."""

from __future__ import annotations

import socket
import time
import urllib.request

import huggingface_hub
import pytest
from huggingface_hub.errors import EntryNotFoundError

from ke_t5 import hub
from ke_t5.errors import UserError
from ke_t5.lookup import hub as lookup


@pytest.fixture(autouse=True)
def online(monkeypatch):
    """As if the tests had a network, and no earlier query."""
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


@pytest.mark.parametrize("is_cached", [True, False])
@pytest.mark.parametrize("is_adapter", [True, False])
def test_a_repository_with_an_adapter_is_one(monkeypatch, tmp_path, is_cached, is_adapter):
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')

    def in_cache(name, file):
        return str(tmp_path / file) if file == "config.json" or is_adapter else None

    def download(name, file, **_):
        if in_cache(name, file) is None:
            raise EntryNotFoundError(file)
        return in_cache(name, file)

    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", in_cache)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    monkeypatch.setattr(lookup, "why_unreachable", lambda: "no network" if is_cached else None)
    if not is_adapter:
        assert lookup.find_pretrained("someone/model").config == {"model_type": "bert"}
        return
    with pytest.raises(UserError) as raised:
        lookup.find_pretrained("someone/adapter")
    assert str(raised.value).startswith(
        "error: --pre_trained_model 'someone/adapter': it is an adapter (adapter_config.json), "
        "not a model; merge it"
    )
