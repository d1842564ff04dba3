"""Folders of results and runs, as tests and trainings write them, without running either."""

from __future__ import annotations

import json
from pathlib import Path

import ke_t5.task.task  # noqa: F401 - registers the tasks
from ke_t5.pipe import TaskRegistry
from ke_t5.pipe.scoring import compute_scores


def keep(folder, task, golds, said, texts, *, weights="step-00000010", split="validation"):
    """A folder of results, as a test writes it."""
    folder.mkdir(parents=True)
    lines = [
        {"id": i, "inputs": text, "gold": gold, "prediction": one, "score": 0.5 + i / 1000}
        for i, (text, gold, one) in enumerate(zip(texts, golds, said, strict=True))
    ]
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    (folder / "predictions.jsonl").write_text(text, encoding="utf-8")
    scores = {
        "task": task, "split": split, "weights": weights, "rows": len(lines),
        "scored": len(lines), "unparsable": 0,
        "scores": compute_scores(TaskRegistry.get(task), list(golds), list(said), []),
    }  # fmt: skip
    (folder / "scores.json").write_text(json.dumps(scores))
    return folder


def keep_run(folder: Path, **facts) -> Path:
    """The record of a run."""
    folder.mkdir(parents=True, exist_ok=True)
    record = {
        "task": "nsmc", "model_name": "RobertaForSequenceClassification", "seed": 42, "epochs": 4,
        "pre_trained_model": "klue/roberta-base", "from_scratch": False, "learning_rate": 5e-5,
        "batch": {"global": 32}, "launches": [{"command": f"train_ddp.py {folder.name}"}],
    }  # fmt: skip
    (folder / "run.json").write_text(json.dumps({**record, **facts}))
    return folder
