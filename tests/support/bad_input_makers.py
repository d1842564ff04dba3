"""What the corpus of bad inputs needs and cannot say as text: functions of a folder and words."""

from __future__ import annotations

import functools
import json
import shutil
from pathlib import Path
from tempfile import mkdtemp

from ke_t5.sample import sample_model_dir

TITLES = ("경기 침체", "올림픽 개막", "새 전화기", "금리 인상", "월드컵 결승", "태풍 북상")
LABELS = ("경제", "스포츠", "IT과학", "경제", "스포츠", "사회")


def folder(here: Path, name: str) -> None:
    """An empty folder."""
    (here / name).mkdir(parents=True)


def locked(here: Path, name: str) -> None:
    """A folder in which nobody, root included, can make anything: a file is in its place."""
    (here / name).write_text("a file\n", encoding="utf-8")


def ynat(here: Path, data: str) -> None:
    """KLUE's topic classification with a few rows, below the folder `data`."""
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


@functools.cache
def _sample_model(model_type: str) -> Path:
    return sample_model_dir(Path(mkdtemp(prefix="models-")), model_type)
