"""P10: hostile files run nothing and write nothing outside the output folder.

Each file tries to create a canary file. The command runs under an audit hook
(tests/support/audited.py), with "y" as the answer to every question, and must succeed or end with
one line.
"""

from __future__ import annotations

import json
import os
import pickle
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from support.checkpoint_toys import reseal
from support.processes import ROOT, Script, run_script
from support.recipe_runs import SMALL, run_folder, train

from ke_t5.errors import Exit
from ke_t5.seals import MANIFEST, seal_folder

pytestmark = pytest.mark.promise("P10")

TEST = ("--task", "klue_tc", "--sample", "--batch_size", 16, "--test_split", "validation[:8]")
GOOD_ENDS = (0, *map(int, Exit))


@pytest.fixture(scope="module")
def trained(tmp_path_factory, cache_dir):
    """A run with its export, whose files are replaced by hostile ones."""
    output = tmp_path_factory.mktemp("trained")
    words = ("--task", "klue_tc", *SMALL, "--epochs", 1, "--hf_path", "default")
    train(*words, output=output, cache=cache_dir)
    return run_folder(output)


class Scene:
    """A folder with a hostile run and export in it, a canary that must not appear, and a log of
    the audit hook."""

    def __init__(self, base: Path, trained: Path, cache: Path) -> None:
        self.base, self.cache = base, cache
        self.hostile = base / "runs" / "hostile"
        shutil.copytree(trained, self.hostile)
        self.export, self.model = self.hostile / "hf", self.hostile / "model"
        (self.checkpoint,) = (self.hostile / "weights").glob("step-*")
        self.canary, self.log = base / "canary", base / "audit.log"
        self.code = f"open({str(self.canary)!r}, 'w').close()"
        self.before = self.names()

    def names(self) -> set[str]:
        """The files next to the output folder."""
        return {path.name for path in self.base.iterdir()} - {"out", "audit.log"}

    def runs(self, *words: object, script: str = "test_ddp.py", folder: Path = ROOT) -> str:
        """Runs a command and the checks that all cases share; returns its last line."""
        # The results of a run's checkpoint go to its own folder.
        allowed = f"{self.base}/out:{self.cache}" + f":{self.base}/runs" * ("--resume" in words)
        out = self.base / "out"
        out.mkdir(exist_ok=True)
        words = (*words, "--output_dir", out, "--hf_cache_dir", self.cache)
        started = Script(
            "tests/support/audited.py", self.log, self.hostile, allowed, ROOT / script, *words,
            folder=folder, HOME=str(out), TMPDIR=str(out), PYTHONDONTWRITEBYTECODE="1",
        )  # fmt: skip
        done = started.end()
        assert not self.canary.exists(), "the canary is there"
        assert not self.log.exists(), self.log.read_text()
        assert self.names() == self.before, "something was written outside"
        assert "Traceback" not in done.stderr and "internal" not in done.stderr, done.stderr
        assert "[y/N]" not in done.stdout + done.stderr
        assert done.returncode in GOOD_ENDS, done.stderr
        return (done.stderr.strip().splitlines() or [""])[-1]


@pytest.fixture
def scene(tmp_path, trained, cache_dir):
    """The scene of one hostile file."""
    return Scene(tmp_path, trained, cache_dir)


def change_json(path, change):
    """Replaces the content of a JSON file by the result of `change`."""
    content = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**content, **change}), encoding="utf-8")


def foreign(folder):
    """An export that looks as if another program had written it."""
    for name in (MANIFEST, "README.md"):
        (folder / name).unlink()


HOSTILE_SCRIPT = """
import os, pickle, subprocess, sys
sys.path.insert(0, {hostile!r})
import evil
os.system("true")
subprocess.run(["true"])
pickle.loads(pickle.dumps(os.getpid))
open({outside!r}, "w").close()
os.mkdir({outside!r} + "-folder")
open({inside!r}, "w").close()
print(input())
"""


def test_the_audit_hook_detects_forbidden_events(tmp_path):
    hostile, log = tmp_path / "hostile", tmp_path / "audit.log"
    hostile.mkdir()
    (tmp_path / "out").mkdir()
    (hostile / "evil.py").write_text("")
    outside, inside = str(tmp_path / "outside"), str(tmp_path / "out" / "inside")
    script = tmp_path / "script.py"
    script.write_text(HOSTILE_SCRIPT.format(hostile=str(hostile), outside=outside, inside=inside))
    done = run_script("tests/support/audited.py", log, hostile, tmp_path / "out", script)
    assert (done.returncode, done.stdout) == (0, "y\n"), done.stderr
    found = {line.partition(" ")[0] for line in log.read_text().splitlines()}
    wanted = {"exec", "os.system", "subprocess.Popen", "pickle.find_class", "open", "os.mkdir"}
    assert wanted <= found and f"open {inside}" not in log.read_text()


# ------------------------------------------------------------------------------------- pickles


class Call:
    """Its pickle calls a function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def pickles(scene):
    """Shape -> the pickled object."""
    import runpy
    import subprocess

    (scene.hostile / "code.py").write_text(scene.code)
    return {
        "os.system": Call(os.system, f"touch {scene.canary}"),
        "eval": Call(eval, scene.code),
        "exec": Call(exec, scene.code),
        "Popen": Call(subprocess.Popen, ["touch", str(scene.canary)]),
        "run_path": Call(runpy.run_path, str(scene.hostile / "code.py")),
        "nested": {"bert.weight": [Call(exec, scene.code)]},
    }


def write_pickle(path, shape, content):
    """Writes a file like torch, or a plain pickle."""
    if shape == "torch":
        torch.save({"weight": content}, path)
    else:
        path.write_bytes(pickle.dumps({"weight": content}))


@pytest.mark.parametrize("container", [pytest.param("torch", marks=pytest.mark.full), "plain"])
@pytest.mark.parametrize(
    "name",
    ["os.system", *(pytest.param(name, marks=pytest.mark.full)
                    for name in ("eval", "exec", "Popen", "run_path", "nested"))],
)  # fmt: skip
def test_a_pickle_in_the_weights(scene, container, name):
    foreign(scene.export)
    (scene.export / "model.safetensors").unlink()
    write_pickle(scene.export / "pytorch_model.bin", container, pickles(scene)[name])
    line = scene.runs(*TEST, "--hf_path", scene.export)
    assert "weights cannot be read: its pickle" in line and len(line) <= 300


@pytest.mark.full
@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors", "progress.json"])
def test_a_pickle_in_a_checkpoint(scene, name):
    write_pickle(scene.checkpoint / name, "torch", pickles(scene)["exec"])
    reseal(scene.checkpoint)
    line = scene.runs(*TEST, "--resume", scene.checkpoint)
    is_used = name != "optimizer.safetensors"  # a test does not read it
    assert ("not what this program writes" in line) == is_used


@pytest.mark.full
def test_a_pickle_in_the_hashes_of_trained_rows(scene):
    (file,) = (scene.hostile / "trained_rows").glob("*.npy")
    np.save(file, np.array([pickles(scene)["exec"]], dtype=object), allow_pickle=True)
    scene.runs(*TEST, "--resume", scene.checkpoint)


@pytest.mark.full
def test_pickles_that_other_trainers_write_are_not_read(scene):
    for name in ("training_args.bin", "optimizer.pt", "scheduler.pt", "rng_state.pth"):
        torch.save(pickles(scene)["exec"], scene.export / name)
    foreign(scene.export)
    scene.runs(*TEST, "--hf_path", scene.export)


# ------------------------------------------------------------------------- folders with code

AUTO_MAP = {
    "AutoConfig": "evil.Config", "AutoTokenizer": ["evil.Tokenizer", "evil.Tokenizer"],
    "AutoModelForSequenceClassification": "evil.Model",
}  # fmt: skip


def hostile_config(scene, change):
    change_json(scene.export / "config.json", change)


CODE = {
    "auto_map": lambda scene: hostile_config(scene, {"auto_map": AUTO_MAP}),
    "auto_map of an unknown type": lambda scene: hostile_config(
        scene, {"auto_map": AUTO_MAP, "model_type": "evil"}
    ),
    "auto_map of the tokenizer": lambda scene: change_json(
        scene.export / "tokenizer_config.json", {"auto_map": AUTO_MAP}
    ),
    "a tokenizer of its own": lambda scene: change_json(
        scene.export / "tokenizer_config.json",
        {"auto_map": AUTO_MAP, "tokenizer_class": "EvilTokenizer"},
    ),
    "a tokenizer that is a model": lambda scene: change_json(
        scene.export / "tokenizer_config.json",
        {"auto_map": AUTO_MAP, "tokenizer_class": "AutoModelForSequenceClassification"},
    ),
    "a kernel": lambda scene: hostile_config(scene, {"_attn_implementation": "evil/kernel"}),
    "a kernel inside": lambda scene: hostile_config(
        scene, {"attn_implementation": {"encoder": ["evil/kernel@main"]}}
    ),
    "an adapter": lambda scene: (scene.export / "adapter_config.json").write_text(
        json.dumps({"base_model_name_or_path": str(scene.base), "auto_mapping": AUTO_MAP})
    ),
    "generate": lambda scene: shutil.copytree(
        scene.hostile / "code", scene.export / "custom_generate"
    ),
    "an architecture": lambda scene: hostile_config(scene, {"architectures": ["evil:Model"]}),
}  # fmt: skip


@pytest.mark.parametrize(
    "is_sealed", [False, pytest.param(True, marks=pytest.mark.full)], ids=["foreign", "sealed"]
)
@pytest.mark.parametrize(
    "name",
    [name if name in ("auto_map", "a kernel") else pytest.param(name, marks=pytest.mark.full)
     for name in CODE],
)  # fmt: skip
def test_a_model_folder_with_code(scene, name, is_sealed):
    for place in (scene.export, scene.hostile / "code"):
        place.mkdir(exist_ok=True)
        for file in ("evil.py", "generate.py", "__init__.py"):
            (place / file).write_text(f"{scene.code}\nConfig = Tokenizer = Model = None\n")
    CODE[name](scene)
    if is_sealed:
        seal_folder(scene.export, model_class="evil:Model")
    else:
        foreign(scene.export)
    line = scene.runs(*TEST, "--hf_path", scene.export, folder=scene.export)
    if "kernel" in name:
        assert "names code of the hub, which is never run; remove it there" in line
    if name == "an adapter":
        assert "it is an adapter (adapter_config.json), not a model; merge it into" in line
    if is_sealed and name == "auto_map":
        assert "add --model_name evil:Model" in line


# --------------------------------------------------------------------------------- shard indexes

OUTSIDE = ["../outside.safetensors", "/etc/hostname", "a\0b", "x/../../outside.safetensors", 5,
           "..\\outside.safetensors", "missing.safetensors"]  # fmt: skip


@pytest.mark.parametrize(
    "name", [OUTSIDE[0], *(pytest.param(name, marks=pytest.mark.full) for name in OUTSIDE[1:])]
)
@pytest.mark.parametrize(
    "index", ["model.safetensors", pytest.param("pytorch_model.bin", marks=pytest.mark.full)]
)
def test_an_index_that_points_outside(scene, name, index):
    foreign(scene.export)
    weights = scene.export / "model.safetensors"
    outside = scene.hostile / "outside.safetensors"  # beside hf/
    shutil.move(weights, outside)
    content = {"metadata": {}, "weight_map": {"shared.weight": name}}
    (scene.export / f"{index}.index.json").write_text(json.dumps(content))
    line = scene.runs(*TEST, "--hf_path", scene.export)
    assert "names a file outside its folder" in line or "which is missing" in line
    assert f"{index}.index.json" in line


@pytest.mark.full
@pytest.mark.parametrize("content", ["", "[]", "{}", '{"weight_map": 5}', "[" * 100_000])
def test_an_index_of_another_shape(scene, content):
    foreign(scene.export)
    (scene.export / "model.safetensors").rename(scene.export / "other")
    (scene.export / "model.safetensors.index.json").write_text(content)
    assert "is not an index of weights" in scene.runs(*TEST, "--hf_path", scene.export)


@pytest.mark.full
def test_an_archive_that_points_outside(scene):
    foreign(scene.export)
    (scene.export / "model.safetensors").unlink()
    with zipfile.ZipFile(scene.export / "pytorch_model.bin", "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"a": 1}))
        for name in ("../canary", str(scene.canary), "archive/../../canary"):
            archive.writestr(name, b"x")
    scene.runs(*TEST, "--hf_path", scene.export)


# ------------------------------------------------------------------------------------ gin, run.json

GIN = {
    "import": "import evil\n",
    "from": "from evil import f\n",
    "include": "include '../outside.gin'\n",
    "absolute include": "include '/etc/hostname'\n",
    "a function": "get_vocabulary.vocab_name = @evil.f()\n",
}


@pytest.mark.parametrize(
    "name", ["import", *(pytest.param(name, marks=pytest.mark.full) for name in list(GIN)[1:])]
)
def test_a_settings_file(scene, name):
    folder = scene.hostile / "gin"
    folder.mkdir()
    (folder / "evil.py").write_text(scene.code)
    (folder / "run.gin").write_text(GIN[name])
    (scene.hostile / "outside.gin").write_text("import evil\n")
    words = (*TEST, "--from_scratch", "--gin_file", "run.gin")
    assert scene.runs(*words, folder=folder).startswith("error: ")


RUN_JSON = [
    [], "x", {"model_name": 5}, {"launches": 5}, {"launches": [5]}, {"task": ["x"]},
    {"model_name": "evil:Model"}, {"task": "../../x"}, {"model_name": "os:system"},
    {"pre_trained_model": {}}, {"sealed": "no"}, {"model_name": "../evil:Model"},
]  # fmt: skip


@pytest.mark.parametrize(
    "change",
    [RUN_JSON[6], *(pytest.param(one, marks=pytest.mark.full)
                    for i, one in enumerate(RUN_JSON) if i != 6)],
    ids=str,
)  # fmt: skip
def test_a_record_of_a_run(scene, change):
    (scene.hostile / "evil.py").write_text(f"{scene.code}\nclass Model: pass\n")
    content = json.loads((scene.hostile / "run.json").read_text())
    change = {**content, **change} if isinstance(change, dict) else change
    (scene.hostile / "run.json").write_text(json.dumps(change))
    words = (*TEST, "--resume", scene.checkpoint)
    line = scene.runs(*words, folder=scene.hostile)
    is_only_shown = isinstance(change, dict) and change.get("task") == "../../x"
    assert line.startswith("error: ") or is_only_shown
