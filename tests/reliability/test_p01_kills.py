"""A training is killed with SIGKILL, at named points and at random moments, and resumed: it ends
with the same bytes as an uninterrupted run."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.base_models import write_base
from support.launches import Ended, Launches
from support.recipe_runs import run_folder

from ke_t5.checkpoint.folders import find_fault, list_checkpoints, read_pointer
from ke_t5.fault_points import VARIABLE
from ke_t5.sample import sample_data_dir

pytestmark = pytest.mark.promise("P1")

# Four steps per epoch; checkpoints after steps 2, 4, 6 and 8, validations after 4 and 8.
WORDS = (
    "--sample", "--print_freq", 3, "--train_split", "train[:64]", "--epochs", 2, "--schedule",
    "--valid_split", "validation[:31]", "--save_every", 2, "--hf_path", "default",
)  # fmt: skip
KINDS = {
    "classification": (
        "--task", "klue_tc", "--model_name", "EncoderForSequenceClassificationFirst",
    ),
    "generation": ("--task", "klue_tc_gen"),
    "tagging": ("--task", "klue_ner", "--model_name", "T5EncoderForEntityRecognitionWithCRF"),
    "adapters": ("--task", "klue_tc", "--lora"),
    "shards": (
        "--task", "klue_tc", "--model_name", "EncoderForSequenceClassificationFirst",
        "--parallel", "fsdp",
    ),
    "adapters in shards": ("--task", "klue_tc", "--lora", "--parallel", "fsdp"),
    "generation in shards": ("--task", "klue_tc_gen", "--parallel", "fsdp"),
}  # fmt: skip
BATCH_SIZE = 16  # of all processes
# The fault point, and at which of its occurrences.
POINTS = (
    "cache.before_rename", "run.before_model", "train.before_first_step", "train.before_forward:6",
    "train.before_backward:5", "train.after_optimizer:3", "log.before_write:2",
    "evaluate.before_batch:2", "results.before_rename", "results.after_rename",
    "checkpoint.written_0:3", "checkpoint.written_50:3", "checkpoint.before_fsync:8",
    "checkpoint.before_rename:2", "checkpoint.after_rename:2", "checkpoint.before_best",
    "checkpoint.before_last:2", "checkpoint.before_delete", "export.before_rename",
)  # fmt: skip
ALONE = (
    "run.before_record", "log.after_write:2", "checkpoint.written_1:3", "checkpoint.written_99:3",
    "export.after_rename",
)  # fmt: skip
LARGE_POINTS = (
    "run.before_model", "train.before_forward:6", "train.before_backward:5",
    "train.after_optimizer:3", "evaluate.before_batch:2", "checkpoint.written_50:3",
    "checkpoint.before_rename:2", "checkpoint.before_last:2", "export.before_rename",
)  # fmt: skip
SHARDS_POINTS = (
    "evaluate.before_batch:3", "results.before_rename", "checkpoint.written_0:3",
    "checkpoint.before_fsync:8", "checkpoint.after_rename:2", "checkpoint.before_best",
    "checkpoint.before_delete",
)  # fmt: skip
# In a process that writes its part of a checkpoint.
OWN_POINTS = (
    "checkpoint.written_0", "checkpoint.written_50:2", "checkpoint.written_99:3",
    "checkpoint.before_fsync:2",
)  # fmt: skip
FEW = ("results.before_rename", "checkpoint.before_rename:2")
SETUPS = [(kind, ranks) for kind in list(KINDS)[:3] for ranks in (1, 2)]
LARGE = [("adapters", 1), ("shards", 2), ("adapters in shards", 2)]
NUM_KILLS, MOST_KILLS = 204, 5  # random ones in all, and of one run


@pytest.fixture(scope="module")
def launches(tmp_path_factory) -> Iterator[Launches]:
    with Launches(tmp_path_factory.mktemp("launches")) as started:
        yield started


class Setup:
    """A kind of training on a number of processes: its launches, and its final files."""

    def __init__(self, launches: Launches, folder: Path, cache: Path, kind: str, ranks: int):
        self.launches, self.folder, self.cache = launches, folder, cache
        self.kind, self.ranks, self.batch_size = kind, ranks, BATCH_SIZE // ranks
        self.given = [*WORDS]
        if kind.startswith("adapters"):  # beside weights that lie in a folder
            base = write_base(folder / "base", cache)
            places = ("--hf_data_dir", sample_data_dir(cache), "--pre_trained_model", base)
            self.given = [*WORDS[1:], *places]
        whole = self.train(folder / "whole")
        assert not any(whole.codes), whole.errors
        self.seconds, self.state = whole.seconds, state_of(folder / "whole")

    def train(self, output: Path, *words: object, cache: Path | None = None, **how) -> Ended:
        """A launch, with or without a fault."""
        places = ("--output_dir", output, "--hf_cache_dir", cache or self.cache)
        words = (*KINDS[self.kind], *self.given, "--batch_size", self.batch_size, *words, *places)
        return self.launches.train(*words, ranks=self.ranks, **how)

    def resume(self, output: Path, cache: Path | None = None) -> None:
        """Resumes a killed run, and compares its final files."""
        check_checkpoints(output)
        ended = self.train(output, "--resume", "auto", cache=cache)
        assert not any(ended.codes), ended.errors[-500:]
        state = state_of(output)
        different = {name for name in state if state[name] != self.state.get(name)}
        assert different == set() and state.keys() == self.state.keys()
        shutil.rmtree(output)


@pytest.fixture
def setup_of(launches, tmp_path, cache_dir):
    return lambda kind, ranks: Setup(launches, tmp_path, cache_dir, kind, ranks)


def state_of(output: Path) -> dict[str, bytes]:
    """What equal runs have in common: the run's files without times, commands and paths."""
    folder = run_folder(output)
    files = [path for path in folder.rglob("*") if path.is_file() and "logs" not in path.parts]
    found = {str(path.relative_to(output)): path.read_bytes() for path in files}
    others = ("run.json", "timing.jsonl", "config.gin", f"/{folder.name}/report.html")
    return {name: b"" if name.endswith(others) else text for name, text in found.items()}


def check_checkpoints(output: Path) -> None:
    """Asserts that the checkpoints of a killed run are complete, and that the pointers name one."""
    for weights in output.glob("*/*/weights"):
        checkpoints = list_checkpoints(weights)
        faults = {step: fault for step, path in checkpoints.items() if (fault := find_fault(path))}
        assert faults == {}
        for pointer in ("last", "best"):
            assert read_pointer(weights, pointer) in (None, *checkpoints)


def without_prepared_data(cache: Path, copy: Path) -> Path:
    """A copy of the cache without prepared examples."""
    shutil.copytree(cache, copy, ignore=shutil.ignore_patterns("examples", "*.lock"))
    return copy


def kill_at(setup: Setup, point: str, victim: int) -> None:
    """Kills a run at a fault point and resumes it."""
    output, cache = setup.folder / "killed", None
    shutil.rmtree(output, ignore_errors=True)
    if point.startswith("cache"):
        shutil.rmtree(setup.folder / "cache", ignore_errors=True)
        cache = without_prepared_data(setup.cache, setup.folder / "cache")
    if setup.kind.startswith("generation"):
        point = point.replace("evaluate", "generate")
    # Any of the processes may be the one that prepares the data.
    fault = point if point.startswith("cache") else f"{point}@{victim}"
    ended = setup.train(output, cache=cache, variables={VARIABLE: fault})
    assert ended.is_killed, f"{ended.codes}: {ended.errors[-300:]}"
    setup.resume(output, cache)


def test_killed_at_a_point(setup_of, tally):
    setup = setup_of("classification", 1)
    for point in FEW:
        with tally.case(point):
            kill_at(setup, point, 0)


@pytest.mark.full
@pytest.mark.parametrize(("kind", "ranks"), LARGE)
def test_killed_with_adapters_or_shards(setup_of, tally, kind, ranks):
    setup = setup_of(kind, ranks)
    for point in LARGE_POINTS:
        for victim in range(ranks) if point.startswith(("train", "evaluate")) else (0,):
            with tally.case(f"{kind} on {ranks}, {point}@{victim}"):
                kill_at(setup, point, victim)


@pytest.mark.full
def test_killed_while_shards_generate_and_while_they_are_written(setup_of, tally):
    setup = setup_of("generation in shards", 2)
    for point in SHARDS_POINTS:
        for victim in range(2) if point.startswith("evaluate") else (0,):
            with tally.case(f"generation in shards on 2, {point}@{victim}"):
                kill_at(setup, point, victim)
    for point in OWN_POINTS:
        with tally.case(f"generation in shards on 2, {point}@1"):
            kill_at(setup, point, 1)


@pytest.mark.full
@pytest.mark.parametrize(("kind", "ranks"), SETUPS)
def test_killed_at_every_point(setup_of, tally, kind, ranks):
    setup = setup_of(kind, ranks)
    for point in (*POINTS, *(ALONE if ranks == 1 else ())):
        # Only process 0 reaches the other points.
        victim = ranks - 1 if point.startswith(("train", "evaluate")) else 0
        with tally.case(f"{kind} on {ranks}, {point}@{victim}"):
            kill_at(setup, point, victim)


@pytest.mark.full
@pytest.mark.parametrize(("kind", "ranks"), SETUPS)
def test_killed_at_random_moments(setup_of, tally, notes, kind, ranks):
    setup, most = setup_of(kind, ranks), 0
    output, kills = setup.folder / "random", 0
    while kills < NUM_KILLS / len(SETUPS):
        moments = [random.uniform(0, setup.seconds) for _ in range(random.randint(1, MOST_KILLS))]
        hits = []
        for moment in moments:
            words = ("--resume", "auto") if hits else ()
            ended = setup.train(
                output, *words, kill_after=moment, victim=random.randrange(setup.ranks)
            )
            if not ended.is_killed:
                assert not any(ended.codes), ended.errors[-500:]
                break
            hits.append(moment)
        with tally.case(f"{kind} on {ranks}, killed after {json.dumps(hits)} s"):
            setup.resume(output)
        shutil.rmtree(output, ignore_errors=True)
        kills, most = kills + len(hits), max(most, len(hits))
    notes.append(f"{kind} on {ranks}: {kills} kills at random moments, up to {most} of one run")
