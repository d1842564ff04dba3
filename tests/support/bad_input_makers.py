"""Functions that create the inputs of the corpus that cannot be written as text."""

from __future__ import annotations

import functools
import json
import shutil
from pathlib import Path
from tempfile import mkdtemp

from ke_t5.sample import sample_model_dir
from support.processes import run_script

TITLES = ("경기 침체", "올림픽 개막", "새 전화기", "금리 인상", "월드컵 결승", "태풍 북상")
LABELS = ("경제", "스포츠", "IT과학", "경제", "스포츠", "사회")


def folder(here: Path, name: str) -> None:
    """An empty folder."""
    (here / name).mkdir(parents=True)


def locked(here: Path, name: str) -> None:
    """A folder in which not even root can create anything, because a file is in its place."""
    (here / name).write_text("a file\n", encoding="utf-8")


def ynat(here: Path, data: str) -> None:
    """A release of KLUE TC with a few rows, below the folder `data`."""
    place = here / data / "klue_benchmark" / "ynat-v1.1"
    place.mkdir(parents=True)
    for split, name in (("train", "train"), ("dev", "validation")):
        rows = [
            {"guid": f"ynat-v1_{name}_{i:05}", "title": title, "label": label}
            for i, (title, label) in enumerate(zip(TITLES, LABELS, strict=True))
        ]
        text = json.dumps(rows, ensure_ascii=False, indent=2)
        (place / f"ynat-v1.1_{split}.json").write_text(text, encoding="utf-8")


def model(here: Path, name: str, model_type: str = "roberta") -> None:
    """Configuration and tokenizer of one of the sample's tiny models (use --from_scratch)."""
    shutil.copytree(_sample_model(model_type), here / name)


def edit(here: Path, name: str, key: str, value: str) -> None:
    """Sets a value, given as JSON, in a JSON file."""
    path = next(here.glob(name), here / name)
    content = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    text = json.dumps({**content, key: json.loads(value)}, ensure_ascii=False)
    path.write_text(text, encoding="utf-8")


def remove(here: Path, name: str) -> None:
    """Removes the only file that matches a pattern."""
    (path,) = here.glob(name)
    path.unlink()


def cut(here: Path, name: str, rest: str) -> None:
    """Truncates the only file that matches a pattern to that many bytes."""
    (path,) = here.glob(name)
    path.write_bytes(path.read_bytes()[: int(rest)])


def write(here: Path, pattern: str, text: str) -> None:
    """Replaces the content of the only file that matches a pattern."""
    (path,) = here.glob(pattern)
    path.write_text(text, encoding="utf-8")


def garble(here: Path, pattern: str) -> None:
    """Overwrites the beginning of the only file that matches a pattern, keeping its size."""
    (path,) = here.glob(pattern)
    path.write_bytes(b"garbage" + path.read_bytes()[7:])


def trained(here: Path) -> None:
    """A run of one step in `output`, with its export in `hf` (task klue_tc of the sample)."""
    for name in ("output", "hf"):
        shutil.copytree(_trained() / name, here / name)


@functools.cache
def _trained() -> Path:
    place = Path(mkdtemp(prefix="trained-"))
    words = ("--sample", "--max_steps", "1", "--train_split", "train[:32]", "--hf_path", "hf",
             "--valid_split", "validation[:16]", "--hf_cache_dir", "cache")  # fmt: skip
    done = run_script("train_ddp.py", *words, folder=place)
    assert done.returncode == 0, done.stderr
    return place


@functools.cache
def _sample_model(model_type: str) -> Path:
    return sample_model_dir(Path(mkdtemp(prefix="models-")), model_type)


OWN_TASKS = """
from functools import partial

from ke_t5.pipe import Feature, HFDataSource, Monitor, TaskRegistry
from ke_t5.pipe import map_over_dataset, rekey, tokenize
from ke_t5.task import families, metrics
from ke_t5.task.forms import Defaults
from ke_t5.task.labels import Labels
from ke_t5.task.utils import get_vocabulary

LABELS = ("부정", "긍정")
FILES = {{"train": "train.{suffix}", "validation": "valid.{suffix}"}}
SOURCE = HFDataSource("{builder}", **{{"data_files": FILES, **dict({options})}})
TAGS = Labels(("O", "B-PS", "I-PS"))


@map_over_dataset
def number_labels(example):
    return {{**example, "labels": LABELS.index(example["label"])}}


TaskRegistry.add(
    "own_steps",
    SOURCE,
    (partial(rekey, key_map={{"inputs": "document", "label": "label"}}), number_labels, tokenize),
    {{"input_ids": Feature(get_vocabulary, pad=None), "labels": Feature(rank=0, num_values=2)}},
    keep={{"inputs": "string"}},
    labels=LABELS,
    metric_fns=(metrics.accuracy,),
    best=Monitor("accuracy"),
)


def add(family, name, metric, score, **settings):
    family(
        name, SOURCE, metrics=(metric,), best=Monitor(score), defaults=Defaults(), **settings
    )


add(families.classification, "own_tc", metrics.accuracy, "accuracy",
    fields={{"document": "document"}}, labels=Labels(LABELS))
add(families.similarity, "own_sts", metrics.pearson, "pearson",
    fields={{"sentence1": "sentence1", "sentence2": "sentence2"}}, column="score")
add(families.tagging, "own_ner", metrics.entity_f1, "entity_f1", labels=TAGS)
add(families.tagging, "own_ent", metrics.entity_f1, "entity_f1", labels=TAGS, column="entities")
add(families.reading, "own_mrc", metrics.klue_mrc, "exact_match",
    may_be_impossible=True, window_length=64)
add(families.summarization, "own_sum", metrics.bleu, "bleu[intl]", kind="summary")
"""


def own_tasks(here: Path, builder: str, suffix: str, options: str = "") -> None:
    """`mine.py`, a user's module that registers tasks over the files train and valid."""
    code = OWN_TASKS.format(builder=builder, suffix=suffix, options=options)
    (here / "mine.py").write_text(code, encoding="utf-8")
