"""Folders whose configuration or index points elsewhere are rejected before torch is imported."""

from __future__ import annotations

import json

import pytest

from ke_t5.errors import Exit, UserError
from ke_t5.lookup.hub import check_index, code_named_in, find_pretrained, require_weights


def write(folder, name, content):
    (folder / name).write_text(json.dumps(content), encoding="utf-8")


@pytest.mark.parametrize(
    ("config", "found"),
    [
        ({"_attn_implementation": "evil/kernel"}, [("_attn_implementation", "evil/kernel")]),
        ({"backbone": {"attn_implementation": "a/b:c"}}, [("attn_implementation", "a/b:c")]),
        ({"experts_implementation": {"x": ["a/b"]}}, [("experts_implementation", "a/b")]),
        ({"_attn_implementation": "sdpa", "_name_or_path": "klue/bert"}, []),
    ],
)
def test_code_of_the_hub_that_a_configuration_names(tmp_path, config, found):
    assert list(code_named_in(config)) == found
    write(tmp_path, "config.json", {"model_type": "bert", **config})
    if not found:
        find_pretrained(tmp_path)
        return
    with pytest.raises(UserError, match="config.json: .* names code of the hub, .* remove it"):
        find_pretrained(tmp_path)


@pytest.mark.parametrize("kind", [5, ["bert"], {}, ""])
def test_a_type_that_is_no_name(tmp_path, kind):
    write(tmp_path, "config.json", {"model_type": kind})
    with pytest.raises(UserError, match="names no model_type"):
        find_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "is not an index of weights; download the model again"),
        ({"weight_map": {"a": "../x.safetensors"}}, "names a file outside its folder"),
        ({"weight_map": {"a": 5}}, "names a file outside its folder"),
        ({"weight_map": {"a": "x.safetensors"}}, "names x.safetensors, which is missing"),
    ],
)
def test_an_index(tmp_path, content, message):
    name = "model.safetensors.index.json"
    write(tmp_path, "config.json", {"model_type": "bert"})
    write(tmp_path, name, content)
    with pytest.raises(UserError, match=f"{name}: {message}") as caught:
        require_weights(find_pretrained(tmp_path))
    assert caught.value.exit_code == Exit.CHECKPOINT


def test_an_index_of_files_beside_it(tmp_path):
    write(tmp_path, "index.json", {"weight_map": {"a": "x", "b": "parts/y"}})
    (tmp_path / "x").touch()
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "y").touch()
    check_index(tmp_path / "index.json")
