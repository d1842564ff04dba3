"""The report of a run: training curves, and the facts that a paper reports.

`<run>/report.html` is a page that needs no other file. It is generated from the run's folder alone,
so it can be regenerated at any time. The reports of the splits stay in `eval/<split>/`.
"""

from __future__ import annotations

import base64
import logging
import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ke_t5.files import write_atomically
from ke_t5.report import figures, html
from ke_t5.report.figures import COLOURS, Panel
from ke_t5.report.intervals import LEVEL
from ke_t5.report.pages import markdown_table
from ke_t5.report.run_facts import facts_of_run, result_rows
from ke_t5.report.run_files import RunFiles, read_run_files

logger = logging.getLogger(__name__)

REPORT = "report.html"


def write_run_report(folder: Path) -> Path:
    """Writes the report of the run in a folder; returns its path.

    Raises:
        UserError: there is no run.
    """
    files = read_run_files(folder)
    page = html.render(
        "run.html",
        title=title_of(files),
        summary=summary_of(files),
        picture=picture_of(files),
        results=result_rows(files),
        level=LEVEL,
        chapters=facts_of_run(files),
        config=files.config,
    )
    path = folder / REPORT
    write_atomically(path, page)
    return path


def title_of(files: RunFiles) -> str:
    """Task and model."""
    return f"{files.run.get('task', 'a run')}: {files.run.get('model_name', 'a model')}"


def summary_of(files: RunFiles) -> str:
    """The run's progress in a sentence."""
    steps = [line["step"] for line in files.metrics]
    text = f"{max(steps):,} steps" if steps else "no step logged yet"
    total = files.run.get("steps")
    if steps and isinstance(total, int) and max(steps) < total:
        text += f" of {total:,}"
    return f"{text}, best checkpoint: {files.best}" if files.best else text


def picture_of(files: RunFiles) -> str | None:
    """The curves as a base64-encoded PNG; None without numbers or without matplotlib."""
    panels = panels_of(files)
    if panels and not figures.can_draw():
        logger.warning("matplotlib is not installed: the report has no figures")
        return None
    return base64.b64encode(figures.curves_png(panels)).decode("ascii") if panels else None


def panels_of(files: RunFiles) -> list[Panel]:
    """Loss, scores, learning rate and gradient norm, as far as they were logged."""
    updates, validations = files.updates(), files.validations()
    scores = [
        {"step": line["step"], **{n: x for n, x in line["scores"].items() if _is_number(x)}}
        for line in validations
    ]
    names = list(dict.fromkeys(name for line in scores for name in line if name != "step"))
    best = re.fullmatch(r"step-0*(\d+)", files.best or "")
    mark = (int(best[1]), "best checkpoint") if best and validations else None
    losses = {
        "training": _curve(updates, "loss"),
        "validation": _curve(validations, "validation_loss"),
    }
    panels = [
        Panel("loss", _drawn(losses)),
        Panel(
            "validation scores (x 100)",
            _drawn({name: _curve(scores, name) for name in names[: len(COLOURS)]}),
            mark,
        ),
        Panel("learning rate", _drawn({"learning rate": _curve(updates, "lr")})),
        Panel("norm of the gradient", _drawn({"norm": _curve(updates, "grad_norm")})),
    ]
    return [panel for panel in panels if panel.curves]


def _curve(lines: Iterable[Mapping[str, Any]], name: str) -> tuple[list[int], list[float]]:
    points = [(line["step"], line[name]) for line in lines if _is_number(line.get(name))]
    return [step for step, _ in points], [value for _, value in points]


def _drawn(curves: Mapping[str, tuple[list[int], list[float]]]) -> dict[str, Any]:
    return {name: curve for name, curve in curves.items() if curve[0]}


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)


# ------------------------------------------------------------------------------------- Markdown


def markdown_report(folder: Path) -> str:
    """The run's report as Markdown, without the curves.

    Raises:
        UserError: there is no run.
    """
    files = read_run_files(folder)
    lines = [f"# {title_of(files)}", "", summary_of(files), ""]
    results = [
        [row["evaluation"], row["weights"], row["score"], row["value"], row["interval"]]
        for row in result_rows(files)
    ]
    if results:
        head = ["evaluation", "weights", "score (x 100)", "value", f"{LEVEL} % interval"]
        lines += ["## Results", "", *markdown_table(head, results), ""]
    for title, facts in facts_of_run(files).items():
        lines += [f"## {title}", "", *markdown_table([title.lower(), "value"], facts.items()), ""]
    if files.config:
        fence = "`" * (3 + max(map(len, re.findall("`{3,}", files.config)), default=0))
        lines += ["## Configuration", "", f"{fence}python", files.config.rstrip(), fence, ""]
    return "\n".join(lines)
