"""The facts about a run that a paper reports, as tables: results, cost, model, data, versions."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from ke_t5.programs import shell_line
from ke_t5.report.html import number
from ke_t5.report.run_files import RunFiles

Facts = dict[str, str]
# The folder of the tiny models of `--sample`.
SAMPLE_MODEL = re.compile(r"/sample-[0-9a-f]+/models/")


def facts_of_run(files: RunFiles) -> dict[str, Facts]:
    """Title -> name -> value; facts that the run's folder lacks are left out."""
    chapters = {
        "Cost": _cost(files),
        "Model and training": _training(files.run),
        "Data": _data(files.run),
        "Reproduction": _reproduction(files),
    }
    shown = {
        title: {name: str(value) for name, value in facts.items() if value not in (None, "", {})}
        for title, facts in chapters.items()
    }
    return {title: facts for title, facts in shown.items() if facts}


def result_rows(files: RunFiles) -> list[dict[str, str]]:
    """A row for each score of each evaluation in the folder; `report` is the path of the
    evaluation's page, "" if there is none."""
    rows = []
    for name, found in files.evaluations.items():
        report = Path("eval", name, "report.html")
        intervals = found.get("intervals") or {}
        for score, value in found["scores"].items():
            low_high = intervals.get(score)
            rows.append(
                {
                    "evaluation": name,
                    "task": str(found.get("task", "")),
                    "split": str(found.get("split", "")),
                    "weights": str(found.get("weights", "")),
                    "score": score,
                    "value": number(value),
                    "interval": " to ".join(map(number, low_high)) if low_high else "–",
                    "rows": _count(found.get("scored")) or "",
                    "report": report.as_posix() if (files.folder / report).is_file() else "",
                }
            )
    return rows


def _cost(files: RunFiles) -> dict[str, Any]:
    """Time, memory and hardware of the run, over all its launches."""
    launches = files.launches
    seconds = [one["seconds"] for one in launches if isinstance(one.get("seconds"), (int, float))]
    unfinished = len(launches) - len(seconds)
    peaks = [one.get("peak_memory_bytes") or {} for one in launches]
    facts: dict[str, Any] = {
        "wall time": str(timedelta(seconds=round(sum(seconds)))) if seconds else None,
        "launches": len(launches) or None,
    }
    if unfinished:
        facts["launches without an end"] = f"{unfinished} (killed, or still running)"
    facts |= _throughput(files.timing)
    for name, title in (("host", "peak memory of process 0"), ("gpu", "peak memory of its GPU")):
        most = max((peak[name] for peak in peaks if name in peak), default=None)
        facts[title] = None if most is None else f"{most / 2**30:.2f} GiB"
    last = launches[-1] if launches else {}
    facts["processes"] = last.get("processes") or files.run.get("processes")
    facts["device"] = last.get("gpu") or files.run.get("device")
    facts["host"] = ", ".join(dict.fromkeys(str(one["host"]) for one in launches if "host" in one))
    return facts


def _throughput(timing: list[dict[str, Any]]) -> Facts:
    """Training throughput, without validations."""
    seconds = sum(line.get("seconds") or 0.0 for line in timing)
    facts = {}
    for unit in ("steps", "rows", "tokens"):
        rates = [(line.get(f"{unit}_per_second"), line.get("seconds")) for line in timing]
        total = sum((rate or 0.0) * (duration or 0.0) for rate, duration in rates)
        if seconds and total:
            rate = total / seconds
            facts[f"{unit} per second"] = f"{rate:,.1f}" if rate >= 10 else f"{rate:.2f}"
    return facts


def is_sample_model(run: Mapping[str, Any]) -> bool:
    """Whether the model is one of the tiny models of `--sample`."""
    return bool(SAMPLE_MODEL.search(str(run.get("model_folder"))))


def _training(run: Mapping[str, Any]) -> dict[str, Any]:
    batch, schedule = run.get("batch") or {}, run.get("schedule") or {}
    parameters, trainable = run.get("parameters"), run.get("trainable_parameters")
    is_partly = parameters is not None and trainable not in (None, parameters)
    origin, padding = run.get("pre_trained_model"), run.get("padding")
    if is_sample_model(run):
        origin = "the sample's tiny model"
    elif run.get("from_scratch"):
        origin = f"{origin} (configuration and tokenizer only)"
    return {
        "task": run.get("task"),
        "model": run.get("model_name"),
        "pre-trained model": origin,
        "parameters": _count(parameters),
        "of these trained": _count(trainable) if is_partly else None,
        "optimizer": run.get("optimizer"),
        "learning rate": run.get("learning_rate"),
        "schedule": ", ".join(
            str(value) if name == "name" else f"{name} {value}"
            for name, value in schedule.items()
            if value is not None
        ),
        "global batch": f"{batch['tokens']} tokens" if batch.get("tokens") else batch.get("global"),
        "rows per process": batch.get("per_process"),
        "accumulated batches": batch.get("accumulated"),
        "padding": None if padding is None else f"{100 * padding:.1f} % of the tokens",
        "epochs": run.get("epochs"),
        "steps": _count(run.get("steps")),
        "precision": run.get("precision"),
        "seed": run.get("seed"),
    }


def _data(run: Mapping[str, Any]) -> dict[str, Any]:
    """The splits, with hashes of the raw files and of the prepared examples."""
    facts: dict[str, Any] = {"source": run.get("source")}
    for split, found in (run.get("data") or {}).items():
        if not isinstance(found, dict):
            continue
        content = found.get("content")
        hashed = f", content {content}" if content else ""
        facts[split] = f"{_count(found.get('examples')) or '?'} examples{hashed}"
        for name, sha in _files_in(found.get("raw")).items():
            facts[name] = f"SHA-256 {sha}" if len(sha) == 64 else sha
    return facts


def _files_in(raw: Any) -> dict[str, str]:
    """File -> hash, from the nested record of the raw data in run.json."""
    found: dict[str, str] = {}
    for name, value in raw.items() if isinstance(raw, dict) else ():
        if isinstance(value, dict):
            found |= _files_in(value)
        elif isinstance(value, str):
            found[name] = value
    return found


def _reproduction(files: RunFiles) -> dict[str, Any]:
    """Commands, commit and versions."""
    facts: dict[str, Any] = {}
    launches = files.launches or [files.run]
    for i, launch in enumerate(launches, 1):
        name = "command" if len(launches) == 1 else f"command of launch {i}"
        facts[name] = command_line(launch)
    commits = dict.fromkeys(launch.get("git_commit") or "" for launch in launches)
    shown = [re.sub("-dirty$", " with changed files", commit) for commit in commits if commit]
    facts["git commit"] = ", then ".join(shown)
    facts |= {f"version of {name}": x for name, x in (files.run.get("versions") or {}).items()}
    facts["folder"] = files.folder
    return facts


def command_line(launch: Mapping[str, Any]) -> str | None:
    """The command of a launch, quoted for a shell."""
    command = launch.get("command")
    if not isinstance(command, str):
        return None
    try:
        program, *words = shlex.split(command)
    except ValueError:  # written unquoted by an older version
        return command
    launcher = launch.get("launcher")
    if launcher is None and (launch.get("processes") or 1) > 1:
        launcher = f"torchrun --nproc_per_node={launch['processes']}"
    start = [program]
    if program.endswith("__main__.py"):
        start = ["-m", Path(program).parent.name]
    if program.endswith(".py"):
        start = [*(shlex.split(launcher) if launcher else ["python"]), *start]
    elif launcher:
        start = [*shlex.split(launcher), "--no-python", program]
    return shell_line([*start, *words])


def _count(number_: Any) -> str | None:
    return f"{number_:,}" if isinstance(number_, int) else None
