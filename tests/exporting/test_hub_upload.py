"""`--push_to_hub` against a stand-in for the hub that accepts huggingface_hub's requests."""

from __future__ import annotations

import pytest
from support.hub_server import TOKEN, running_hub

from ke_t5 import hub as hub_module
from ke_t5.errors import Exit, UserError
from ke_t5.exporting import hub
from ke_t5.seals import MANIFEST, seal_folder

# huggingface_hub uploads large files in a way that httpx has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=<...>' to upload:DeprecationWarning")
FILES = {"README.md": "# 모델\n", "config.json": "{}\n", "model.safetensors": "무게" * 100}


@pytest.fixture
def server(monkeypatch):
    """A running stand-in, set as the endpoint, with a logged-in user."""
    with running_hub() as running:
        monkeypatch.setenv("HF_ENDPOINT", running.address)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(hub, "PAUSES", (0.01, 0.01))
        hub_module.why_unreachable.cache_clear()
        yield running
        hub_module.why_unreachable.cache_clear()


@pytest.fixture
def export(tmp_path):
    """A sealed folder that looks like an export."""
    folder = tmp_path / "hf"
    folder.mkdir()
    for name, text in FILES.items():
        (folder / name).write_text(text, encoding="utf-8")
    seal_folder(folder)
    return folder


def test_a_whole_export_is_uploaded_privately(server, export):
    hub.check_push("my-model")
    address = hub.push(export, "my-model", is_public=False)
    assert address == f"{server.address}/user/my-model"
    assert server.private == {"user/my-model": True}
    assert server.files["user/my-model"] == {
        path.name: path.read_bytes() for path in export.iterdir()
    }
    assert sum("/commit/" in call for call in server.calls) == 1


def test_a_later_export_replaces_only_an_earlier_export(server, export):
    hub.push(export, "user/my-model", is_public=True)
    assert server.private == {"user/my-model": False}
    (export / "README.md").write_text("# 새 모델\n", encoding="utf-8")
    hub.push(export, "my-model", is_public=False)
    assert server.files["user/my-model"]["README.md"].decode() == "# 새 모델\n"
    assert server.private == {"user/my-model": False}
    server.files["user/mine"] = {"README.md": b"somebody's"}
    line = "--push_to_hub mine: the repository exists and is not an export of ke_t5; "
    line += "choose"
    with pytest.raises(UserError, match=line):
        hub.push(export, "mine", is_public=False)
    assert server.files["user/mine"] == {"README.md": b"somebody's"}


def test_temporary_failures_are_retried(server, export, caplog):
    server.fails = {"POST .*/create": [503], "POST .*/commit/main": [500, 502]}
    hub.push(export, "my-model", is_public=False)
    assert MANIFEST in server.files["user/my-model"]
    assert "--push_to_hub: the hub returned status 50" in caplog.text


@pytest.mark.parametrize(
    ("name", "line", "code"),
    [
        ("others/model", "the token has no write permission; use a token", Exit.FLAGS),
        ("a//b", "not a valid repository name .*; choose another", Exit.FLAGS),
    ],
)
def test_a_refusal_is_a_one_line_error(server, export, name, line, code):
    with pytest.raises(UserError, match=f"--push_to_hub {name}: {line}") as caught:
        hub.push(export, name, is_public=False)
    assert caught.value.exit_code == code and len(str(caught.value)) <= 200


def test_an_unreachable_hub_is_a_one_line_error_and_the_export_is_kept(server, export):
    server.fails = {"POST .*/create": [418]}
    with pytest.raises(UserError, match=r"the hub returned status 418 \(not now\); check its st"):
        hub.push(export, "my-model", is_public=False)
    server.server_close()
    server.shutdown()
    with pytest.raises(
        UserError, match="the upload was interrupted .*; the export is complete: "
    ) as caught:
        hub.push(export, "my-model", is_public=False)
    assert caught.value.exit_code == Exit.MACHINE and (export / MANIFEST).exists()
    with pytest.raises(UserError, match="no answer from .*; export without it, and push later"):
        hub.check_push("my-model")


def test_a_missing_or_invalid_token_is_reported_before_the_work(server, export, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(UserError, match="the hub rejected the token; log in again: hf auth"):
        hub.push(export, "my-model", is_public=False)
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    with pytest.raises(UserError, match="m: not logged in to the hub; run hf auth login, or set"):
        hub.check_push("m")
