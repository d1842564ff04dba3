"""The checks of `ke-t5 doctor`: the machine, the installation and a model's tokenizer."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tomllib
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from ke_t5.errors import UserError
from ke_t5.hub import why_no_data, why_unreachable
from ke_t5.programs import CLONE

GIGABYTE = 1e9
LEAST_DISK, LEAST_MEMORY = 5 * GIGABYTE, 4 * GIGABYTE  # a run of a base model with its checkpoints
LEAST_PYTHON = (3, 11)
TEXTS = (
    "오늘 서울의 날씨는 맑고 바람이 조금 붑니다.", "그 영화는 정말 재미없었어요. 돈이 아까워요.",
    "한국은행이 기준금리를 0.25%포인트 올렸다.", "값싼 흙에 닭과 읊조림, 꿇은 넋을 얹었다.",
    "이순신 장군은 1592년 한산도에서 크게 이겼다.", "배송은 빨랐는데 포장이 찢어져 있네요ㅠㅠ",
    "국회는 어제 본회의에서 법안을 통과시켰다.", "“괜찮아?”라고 묻자 그는 고개를 끄덕였다.",
    "제주도 바닷가에서 해물짬뽕을 먹었습니다.", "이 제품은 삼성전자에서 만든 스마트폰입니다.",
    "대한민국의 수도는 어디인가요?", "훈민정음은 세종대왕이 창제하여 반포하였다.",
)  # fmt: skip


class Finding(NamedTuple):
    """A finding: its state is "ok", or "warning" or "problem" with a text that ends in "; fix"."""

    name: str
    text: str
    state: str = "ok"


def diagnose(folders: Mapping[str, Path], *, model: str | None) -> Iterator[Finding]:
    """Yields all findings, the fast checks first.

    Args:
        folders: purpose -> folder, which need not exist.
        model: the model whose tokenizer is checked; None for none.
    """
    yield _python()
    yield from _libraries()
    yield _memory()
    for what, folder in folders.items():
        yield _disk(what, folder)
    yield _hub()
    yield from _torch()
    if model is not None:
        yield _tokenizer(model)


def _python() -> Finding:
    text = f"{platform.python_version()} on {platform.platform()}, {sys.executable}"
    if sys.version_info < LEAST_PYTHON:
        least = ".".join(map(str, LEAST_PYTHON))
        return Finding("Python", f"{text} is too old; install {least} or newer", "problem")
    return Finding("Python", text)


def _libraries() -> Iterator[Finding]:
    """A finding for each required library, then for each extra."""
    from packaging.requirements import Requirement

    needed, extras = _requirements()
    for line in needed:
        yield _library(Requirement(line), "problem", f'pip install "{line}"')
    for extra, lines in extras.items():
        missing = [
            one.name
            for one in map(Requirement, lines)
            if _library(one, "problem", "").state != "ok"
        ]
        fix = f'not installed ({", ".join(missing)}): pip install "ke_t5[{extra}]"'
        yield Finding(f"extra {extra}", fix if missing else "installed")


def _requirements() -> tuple[list[str], dict[str, list[str]]]:
    """The requirements of the package, and those of each extra."""
    settings = CLONE / "pyproject.toml"
    if settings.is_file():
        project = tomllib.loads(settings.read_text(encoding="utf-8"))["project"]
        return project["dependencies"], project.get("optional-dependencies", {})
    lines = metadata.requires("ke_t5") or []
    needed = [line for line in lines if "extra ==" not in line]
    extras = {
        extra: [line.partition(";")[0] for line in lines if f'extra == "{extra}"' in line]
        for extra in metadata.metadata("ke_t5").get_all("Provides-Extra") or []
    }
    return needed, extras


def _library(requirement, state: str, fix: str) -> Finding:
    try:
        version = metadata.version(requirement.name)
    except metadata.PackageNotFoundError:
        return Finding(requirement.name, f"not installed; {fix}", state)
    if not requirement.specifier.contains(version, prereleases=True):
        what = f"{version}, but {requirement.specifier} is needed"
        return Finding(requirement.name, f"{what}; {fix}", state)
    return Finding(requirement.name, version)


def _memory() -> Finding:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = Path("/sys/fs/cgroup/memory.max")
    if limit.is_file() and (text := limit.read_text().strip()).isdigit():
        total = min(total, int(text))
    threads = os.environ.get("OMP_NUM_THREADS", "not set")
    text = f"{total / GIGABYTE:.0f} GB of memory, {cores} cores (OMP_NUM_THREADS: {threads})"
    if total < LEAST_MEMORY:
        return Finding("machine", f"{text}; use small models and batches", "warning")
    return Finding("machine", text)


def _disk(what: str, folder: Path) -> Finding:
    # Not `Path.exists`, which raises PermissionError below a folder that may not be entered.
    places = folder.absolute(), *folder.absolute().parents
    there = next(place for place in places if os.path.exists(place))
    free = shutil.disk_usage(there).free
    text = f"{folder}: {free / GIGABYTE:.0f} GB free"
    if not there.is_dir() or not os.access(there, os.W_OK):
        return Finding(what, f"{folder} cannot be written; choose another folder", "problem")
    if free < LEAST_DISK:
        fix = "free some space, or choose another folder"
        return Finding(what, f"{text}; {fix}", "problem" if free < LEAST_DISK / 5 else "warning")
    return Finding(what, text)


def _hub() -> Finding:
    reason = why_unreachable()
    if reason is None and (for_data := why_no_data()) is not None:
        return Finding("hub", f"answers, but {for_data}; use folders of data", "warning")
    if reason is None:
        return Finding("hub", "answers")
    return Finding("hub", f"{reason}; use folders of models and data, or --sample", "warning")


def _torch() -> Iterator[Finding]:
    try:
        import torch
    except Exception as error:  # a build for another machine may fail in any way
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        yield Finding("torch", f"cannot be imported ({reason:.100}); reinstall it", "problem")
        return
    build = torch.version.cuda or torch.version.hip
    yield Finding("torch build", f"for CUDA {build}" if build else "for the CPU")
    if not torch.cuda.is_available():
        if Path("/dev/nvidiactl").exists():
            why = "its driver is too old" if build else "this torch is for the CPU"
            yield Finding("GPU", f"there is one, but {why}; reinstall torch", "warning")
        else:
            yield Finding("GPU", "none, the CPU is used")
        return
    for number in range(torch.cuda.device_count()):
        facts = torch.cuda.get_device_properties(number)
        has_bf16 = (
            facts.major >= 8 or torch.version.hip is not None
        )  # torch asks the first GPU only
        kind = "bf16" if has_bf16 else "no bf16: fp32 is used"
        memory = facts.total_memory / GIGABYTE
        yield Finding(f"GPU {number}", f"{facts.name}, {memory:.0f} GB, {kind}")


def _tokenizer(name: str) -> Finding:
    """Checks the tokenizer on Korean texts, by the rules of a training."""
    import numpy as np

    from ke_t5.recipes.token_health import MISFIT_ABOVE, WARN_ABOVE, cause, sample_of, unknown_share
    from ke_t5.task.utils import get_vocabulary

    what = f"tokenizer of {name}"
    try:
        tokenizer = get_vocabulary(name)
    except UserError as error:
        return Finding(what, f"{error.what}; {error.fix}", "problem")
    ids = tokenizer(list(TEXTS), verbose=False)["input_ids"]
    unknown = unknown_share(tokenizer, map(np.array, ids))
    sample = sample_of(tokenizer, TEXTS)
    text = (
        f"{type(tokenizer).__name__}, {len(tokenizer)} tokens, {100 * unknown:.1f} % unknown, "
        f"{sample.num_whole} of {sample.num_texts} Korean texts come back from their tokens"
    )
    worst = max(unknown, sample.lost_hangul)
    if worst <= WARN_ABOVE and not sample.is_all_alike:
        return Finding(what, text)
    why, fix, _ = cause(tokenizer)
    state = "problem" if worst > MISFIT_ABOVE or sample.is_all_alike else "warning"
    return Finding(what, f"{text}: {why}; {fix}", state)
