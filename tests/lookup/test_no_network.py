"""Models and data sets that are neither in a folder nor available from the hub."""

from __future__ import annotations

import urllib.error

import datasets
import pytest

from ke_t5 import hub
from ke_t5.errors import Exit, UserError, shortened
from ke_t5.lookup.hub import find_pretrained
from ke_t5.pipe import Folders, HFDataSource, sources


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


@pytest.mark.parametrize(
    ("variables", "reason"),
    [
        ({"HF_DATASETS_OFFLINE": "1"}, "HF_DATASETS_OFFLINE is set"),
        ({"HF_DATASETS_OFFLINE": "true", "HF_HUB_OFFLINE": "0"}, "HF_DATASETS_OFFLINE is set"),
        # datasets downloads through the library of the hub, which stays offline.
        ({"HF_DATASETS_OFFLINE": "0", "HF_HUB_OFFLINE": "1"}, "HF_HUB_OFFLINE is set"),
        ({"HF_DATASETS_OFFLINE": "0"}, None),
        ({"HF_DATASETS_OFFLINE": ""}, None),
    ],
)
def test_data_sets_have_a_variable_of_their_own(monkeypatch, variables, reason):
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setattr(hub, "_ask", lambda endpoint: None)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    hub.why_unreachable.cache_clear()
    for_data, for_models = hub.why_no_data(), hub.why_unreachable()
    hub.why_unreachable.cache_clear()
    assert for_data == reason
    assert for_models == (reason if reason == "HF_HUB_OFFLINE is set" else None)


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


def test_data_sets_that_are_kept_offline(tmp_path, monkeypatch):
    """datasets may find it in its cache, and the hub is not said to have failed."""
    monkeypatch.setattr(sources, "why_unreachable", lambda: None)
    monkeypatch.setattr(sources, "why_no_data", lambda: "HF_DATASETS_OFFLINE is set")
    source, folders = HFDataSource("a/b", splits={"train": "train"}), Folders(None, tmp_path)

    def offline(*_arguments, **_options):
        raise ConnectionError("Couldn't reach 'a/b' on the Hub (OfflineModeIsEnabled)")

    monkeypatch.setattr(datasets, "load_dataset", offline)
    with pytest.raises(UserError, match="'a/b': the hub cannot be reached: HF_DATASETS_OFF") as one:
        source.rows("train", folders)
    assert one.value.exit_code == Exit.DATA
    cached = datasets.Dataset.from_dict({"text": ["가"]})
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: cached)
    rows = source.rows("train", folders)
    assert rows.dataset["text"][:] == ["가"] and rows.provenance == {}


@pytest.mark.parametrize("name", ["내모델", "bert-", "a--b", "a/b/c"])
def test_a_name_that_the_hub_does_not_allow_is_a_missing_folder(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="there is no such folder; check the path") as caught:
        find_pretrained(name)
    assert caught.value.exit_code == Exit.CHECKPOINT


def test_a_misspelt_folder_is_suggested_without_a_network(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_model").mkdir()
    (tmp_path / "my_models").mkdir()  # contains no model
    (tmp_path / "my_model" / "config.json").write_text("{}")
    with pytest.raises(UserError, match="'my_modle': not a folder, .*; did you mean 'my_model'[?]"):
        find_pretrained("my_modle")
