"""A user's project in a folder: a task of the user's over a JSONL file, and a script that prepares
its examples and prints what came out."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from support.processes import Script

FILES = {
    "data.jsonl": "".join(
        json.dumps({"text": text, "label": i % 2}, ensure_ascii=False) + "\n"
        for i, text in enumerate(["가 나 다", "라 마", "바 사 아 자", "차"] * 50)
    ),
    "tasks.py": """
import functools
import os
import signal
from pathlib import Path

from ke_t5.pipe import Feature, HFDataSource, Task, map_over_dataset, tokenize

import labels
from text import clean
from toolbox import width


@functools.cache
def vocabulary():
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = Path("words.txt").read_text(encoding="utf-8").split()
    backend = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, "[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, unk_token="[UNK]", pad_token="[UNK]", model_max_length=512
    )


def note_and_maybe_die():
    builders = Path(os.environ["BUILDERS"])
    with builders.open("a") as file:
        file.write(f"{os.getpid()}\\n")
    if os.environ.get("DIES") and len(builders.read_text().split()) == 1:
        os.kill(os.getpid(), signal.SIGKILL)


@map_over_dataset
def prepared(example, *, mark="."):
    note = example["_id"] == 150
    if note:
        note_and_maybe_die()
    return {
        "text": clean(example["text"]) + mark, "labels": labels.NAMES.index(str(example["label"]))
        + width(),
    }


STEPS = [functools.partial(prepared, mark=" 가"), functools.partial(
    tokenize, source="text", limit="inputs"
)]
TASK = Task(
    "own", HFDataSource("json", data_files={"train": "data.jsonl"}), STEPS,
    {"input_ids": Feature(vocabulary, pad=None), "labels": Feature(rank=0, num_values=3)},
    form="sequence_classification",
)
""",
    "labels.py": 'NAMES = ["0", "1"]\n',
    "text.py": "from deeper.still import strip\n\n\ndef clean(text):\n    return strip(text)\n",
    "deeper/__init__.py": "",
    "deeper/still.py": "def strip(text):\n    return text.strip()\n",
    "site-packages/toolbox.py": "def width():\n    return 0\n",
    "site-packages/toolbox-1.0.dist-info/METADATA": "Name: toolbox\nVersion: 1.0\n",
    "site-packages/toolbox-1.0.dist-info/RECORD": "toolbox.py,sha256=1,1\n",
    "words.txt": "[UNK] 가 나 다 라 마 바 사 아 자 차",
    "unrelated.py": "x = 1\n",
    "prepare.py": """
import json
import os
import sys
from pathlib import Path

import ke_t5.failure
from ke_t5.user_modules import import_user_module

sys.path.insert(0, "site-packages")
settings = json.loads(os.environ["SETTINGS"])
import ke_t5.pipe.preparation as preparation

if "library" in settings:
    preparation._library_versions = lambda: (settings["library"],)
if "package" in settings:
    preparation.package_version = lambda: settings["package"]
from ke_t5.pipe import Folders

task = import_user_module("tasks", "--module_import", missing=None).TASK
examples = task.get_dataset(
    settings.get("split", "train"), folders=Folders(None, Path(os.environ["CACHE"])),
    sequence_length={"inputs": settings.get("length", 64)},
)
print(json.dumps({
    "key": examples.key,
    "content": [[e["input_ids"], e["labels"]] for e in examples.examples(range(len(examples)))],
}))
""",
}


class CacheProject:
    """The project in a folder, its cache, and a log of the processes that built something."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cache = folder.with_name(f"{folder.name}-cache")
        self.builders = folder.with_name(f"{folder.name}-builders")
        self.builders.write_text("")
        for name, text in FILES.items():
            self.write(name, text)

    def write(self, name: str, text: str, *, keeps_time: bool = False) -> None:
        """Writes a file; `keeps_time` restores its modification time."""
        file = self.folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        before = file.stat() if keeps_time else None
        file.write_text(text, encoding="utf-8")
        if before:
            os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))

    def edit(self, name: str, old: str, new: str, *, keeps_time: bool = False) -> None:
        """Replaces a text in a file."""
        text = (self.folder / name).read_text(encoding="utf-8")
        assert old in text, name
        self.write(name, text.replace(old, new), keeps_time=keeps_time)

    def start(self, settings: dict[str, Any] | None = None, **variables: str) -> Script:
        """Starts a process that prepares the examples."""
        return Script(
            self.folder / "prepare.py", folder=self.folder, CACHE=str(self.cache),
            BUILDERS=str(self.builders), SETTINGS=json.dumps(settings or {}), **variables,
        )  # fmt: skip

    def prepare(self, settings: dict[str, Any] | None = None, **variables: str) -> dict[str, Any]:
        """The key and content of the examples, prepared by a new process."""
        return result_of(self.start(settings, **variables))

    def num_builds(self) -> int:
        """How often examples have been built since the last call."""
        count = len(self.builders.read_text().split())
        self.builders.write_text("")
        return count


def result_of(script: Script) -> dict[str, Any]:
    """The result of a started process."""
    ended = script.end()
    assert ended.returncode == 0, ended.stderr[-2000:]
    return {**json.loads(ended.stdout), "said": ended.stderr}
