"""The error for a model that is neither a folder nor available from the hub."""

from __future__ import annotations

import urllib.error

import pytest

from ke_t5 import hub
from ke_t5.errors import UserError, shortened
from ke_t5.lookup.hub import find_pretrained


@pytest.mark.parametrize(
    ("variables", "reason"),
    [
        ({"HF_HUB_OFFLINE": "1"}, "HF_HUB_OFFLINE is set"),
        ({"TRANSFORMERS_OFFLINE": "yes"}, "TRANSFORMERS_OFFLINE is set"),
        ({"HF_HUB_OFFLINE": "0", "TRANSFORMERS_OFFLINE": "1"}, None),
        ({}, None),
    ],
)
def test_the_hub_is_offline_if_its_own_library_says_so(monkeypatch, variables, reason):
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setattr(hub, "_ask", lambda endpoint: None)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    hub.why_unreachable.cache_clear()
    found = hub.why_unreachable()
    hub.why_unreachable.cache_clear()
    assert found == reason


def test_the_command_of_a_download_can_be_copied(monkeypatch):
    def cannot_resolve(*_arguments, **_options):
        raise urllib.error.URLError(OSError(-2, "Name or service not known"))

    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setattr(hub.urllib.request, "urlopen", cannot_resolve)
    hub.why_unreachable.cache_clear()
    with pytest.raises(UserError) as caught:
        find_pretrained("KETI-AIR/ke-t5-base", where="--pre_trained_model")
    hub.why_unreachable.cache_clear()
    line = shortened(str(caught.value))
    assert line == (
        "error: --pre_trained_model 'KETI-AIR/ke-t5-base': not a folder, and no answer from "
        "huggingface.co (Name or service not known); give a downloaded folder "
        "(`hf download KETI-AIR/ke-t5-base`), or --sample"
    )
