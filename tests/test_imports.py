"""The import rules: the package's modules in lines, each importing only from lines above its own.

`x.*` is a room: its modules stand on one line and may import each other, in no circle.
"""

from __future__ import annotations

import functools
import subprocess
import sys
from graphlib import TopologicalSorter

import pytest
from support.import_graph import PACKAGE, SCRIPTS, arrows, sources
from support.processes import ROOT

from ke_t5.commands.table import COMMANDS

LINES = (
    "frozen_weights products shared_memory",
    "terminal errors files fault_points garbage programs standard_streams processes "
    "config.resume config.spellings config.annotations config.configurable "
    "config.precedence sharding data_parallel forms lookup.families models.poolings models.dropout "
    "pipe.lazy_order pipe.lines pipe.windows module_state "
    "checkpoint.names",
    "config.gin_syntax models.used_rows pipe.code",
    "models.kept_gradients "
    "extras config config.flag_values config.ranges user_modules checkpoint report task.qa hub "
    "class_numbers composition task.contest pipe.arrow_files pipe.forked "
    "faults launchers devices stops seals threads pipe.columns pipe.integrity train.trackers",
    "registry config.bindings rendezvous config.flags readers.* lookup lookup.source "
    "lookup.config_values lookup.settings lookup.lora lookup.task_record models.crf "
    "models.configs models.heads models.attention models.vocabulary_loss "
    "pipe.cache pipe.prefixes pipe.features pipe.batches pipe.arguments pipe.monitor "
    "pipe.model_outputs task task.labels task.text task.spans task.tokenizer_files "
    "pipe.masks pipe.eager pipe.evaluation_batches pipe.logits pipe.decoding "
    "train train.settings "
    "checkpoint.serialization "
    "checkpoint.settings checkpoint.writer train.loggers train.guard train.adafactor "
    "train.compilation "
    "task.metrics.statistics",
    "heartbeat",
    "config.gin_config failure distributed lookup.loader lookup.hub "
    "models.ngrams models.encoders models.unpadded_rows models.structured_heads "
    "models.coreference_heads "
    "pipe.rows pipe.generation pipe.model_inputs "
    "pipe.column_files "
    "task.metrics.metric task.qa.answers task.submission task.utils train.schedules "
    "task.release_check "
    "checkpoint.folders checkpoint.shard_files pipe.file_faults",
    "models.models models.loader models.unpadded_targets lookup.tensor_names "
    "task.metrics.classification task.metrics.coreference task.metrics.multilabel pipe.tables "
    "pipe.workers pipe.translation "
    "checkpoint.finding",
    "models models.unpadding lookup.choice models.account models.fidelity models.characters "
    "pipe.lazy_examples pipe.preprocessors pipe.sources task.metrics.tagging task.metrics.text "
    "train.optimizers checkpoint.checkpoints checkpoint.closing",
    "checkpoint.shard_saving",
    "lookup.tokenizer_fit checkpoint.checkpointer pipe.examples pipe.splits pipe.preparation "
    "task.metrics task.column_types task.steps task.qa.layouts train.optimizer_config",
    "pipe.stored_splits",
    "models.vocabulary models.lora pipe.task pipe.losses task.decoders task.checks",
    "models.build pipe.prediction pipe.mixture task.forms task.choices task.qa.passages",
    "pipe.scoring",
    "models.export pipe.evaluation task.tags task.structured task.coreference "
    "task.inputs task.targets train.static_shapes",
    "train.graphs train.model_checks",
    "train.averages train.device_step",
    "train.loop",
    "pipe sample.* task.families task.listing",
    "task.writing task.thresholds task.mixtures task.span_corruption task.written_chains",
    "task.task config.run_config",
    "own_data.*",
    "report.* serving.*",
    "exporting.*",
    "recipes.*",
    "experiments.* inspection.* serving.predicting",
    "serving.serving",
    "commands.*",
    "cli",
    "train_ddp test_ddp __main__",
)

# Wrong flags, settings and rows are reported without importing the libraries below.
LIGHT = (
    "errors", "forms", "programs", "launchers", "rendezvous", "registry", "config.flags",
    "config.gin_config", "distributed", "failure", "readers.klue", "readers.nikl",
    "readers.korquad", "readers.kor_corpora", "readers.label_sets", "readers.public_tables",
    "readers.naver_ner", "readers.conllu", "readers.table_files",
    "readers.workbooks", "own_data",
    "lookup.loader", "lookup.hub", "lookup.choice", "task.labels", "task.text", "task.spans",
    "task.metrics", "task.submission", "pipe", "task.task", "train.optimizers",
    "train.optimizer_config", "config.run_config",
    "train.settings", "train.schedules", "recipes.train", "recipes.test", "cli",
    *(command.module.removeprefix(f"{PACKAGE}.") for command in COMMANDS),
)  # fmt: skip
HEAVY = (
    "torch", "transformers", "datasets", "sklearn", "scipy", "seqeval", "rouge_score",
    "sacrebleu", "matplotlib",
)  # fmt: skip


@functools.cache
def places() -> dict[str, int]:
    """Entry of the table -> its line."""
    return {entry: number for number, line in enumerate(LINES) for entry in line.split()}


def entry_of(name: str) -> str | None:
    """The entry of the table that a module belongs to, None where it has none."""
    room = f"{name.split('.')[0]}.*"
    return name if name in places() else room if room in places() else None


def room_of(name: str) -> str:
    """The first part of a module's name."""
    return name.split(".")[0]


def test_every_module_has_one_place():
    assert {name for name in sources() if name and entry_of(name) is None} == set()
    assert len(places()) == len(" ".join(LINES).split()), "an entry stands twice"


@pytest.mark.parametrize("name", sorted(set(sources()) - {""}))
def test_it_imports_only_from_lines_above(name):
    line = places()[entry_of(name)]
    wrong = {
        other
        for other in arrows()[name]
        if places()[entry_of(other)] >= line and entry_of(other) != entry_of(name)
    }
    assert wrong == set(), f"{name} is on line {line} of the table"


def test_there_is_no_import_cycle_even_of_types():
    tuple(TopologicalSorter(arrows(for_types=True)).static_order())


@pytest.mark.parametrize(
    ("room", "others"),
    [
        ("pipe", ("task", "models", "train")),
        ("models", ("pipe", "task")),
        ("lookup", ("pipe", "task")),
    ],
)
def test_a_room_does_not_import_certain_others(room, others):
    for name, imports in arrows().items():
        if room_of(name) == room:
            assert not {other for other in imports if room_of(other) in others}, name


def test_only_the_commands_and_what_they_run_import_a_recipe():
    users = {name for name, imports in arrows().items() if "recipes" in map(room_of, imports)}
    assert {room_of(name) for name in users} == {
        "recipes", "experiments", "inspection", "serving", "commands",
    }  # fmt: skip
    assert all(arrows()[name] == {"cli"} for name in (*SCRIPTS, "__main__"))


def test_nothing_heavy_before_flags_gin_and_data_are_checked():
    names = ", ".join(f"{PACKAGE}.{name}" for name in LIGHT)
    program = f"import sys, {names}; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, timeout=60
    )
    assert done.stdout.strip() == "[]", done.stderr
