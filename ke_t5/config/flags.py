"""The flags of train_ddp.py and test_ddp.py. Standard library only: nothing heavy is imported.

A flag is one row of `FLAGS`. Parsing does not stop at the first error: all are reported together.
"""

from __future__ import annotations

import os
import sys
import textwrap
from argparse import Namespace
from collections.abc import Callable, Sequence
from typing import NamedTuple

from ke_t5.config import spellings
from ke_t5.config.flag_values import (
    SCHEDULES,
    YES,
    Minutes,
    boolean,
    hf_path,
    interval,
    num_processes,
    parallel,
    path,
    positive,
    repository,
    resume,
    schedule,
    text,
    tracker,
    warmup,
    whole,
)
from ke_t5.errors import UserError, in_one, nearest
from ke_t5.programs import TEST, TRAIN, command, program_name

BOTH = f"{TRAIN} {TEST}"
LAUNCHER_FLAGS = ("nproc_per_node", "nnodes", "node_rank", "master_addr", "master_port")


class Flag(NamedTuple):
    """One flag: `read` converts its text to a value, or raises ValueError("what; fix")."""

    group: str
    name: str
    read: Callable[[str], object]
    metavar: str
    help: str
    default: object = None
    scripts: str = BOTH
    alone: str | None = None  # the text that is assumed if the flag has no value
    repeats: bool = False


WHAT, DATA, OWN_DATA, TRAINING = "What", "Data", "Your own data", "Training"
RESULTS, SETTINGS = "Checkpoints and results", "Settings and your own code"

# fmt: off
FLAGS = (
    Flag(WHAT, "task", text, "NAME", "task or mixture; see python -m ke_t5.task.task", "klue_tc"),
    Flag(WHAT, "model_name", text, "CLASS",
         "module:Class, module:snake_case_class or a registered alias (default: by the task)"),
    Flag(WHAT, "pre_trained_model", path, "NAME|DIR", "hub name or folder", "KETI-AIR/ke-t5-base"),
    Flag(WHAT, "from_scratch", boolean, "true|false",
         "configuration and tokenizer of --pre_trained_model, fresh weights", False, alone="true"),
    Flag(WHAT, "sample", boolean, "true|false",
         "embedded corpus and a tiny model: any task, no network", False, alone="true"),
    Flag(DATA, "hf_data_dir", path, "DIR",
         "folder with raw releases (default: ./data if there is one); otherwise the hub"),
    Flag(DATA, "hf_cache_dir", path, "DIR", "prepared data", "~/.cache/ke_t5"),
    Flag(DATA, "train_split", text, "SPLIT", "such as train[:90%] (default: train)", scripts=TRAIN),
    Flag(DATA, "valid_split", text, "SPLIT", "picks the best checkpoint; also --test_split",
         scripts=TRAIN),
    Flag(DATA, "test_split", text, "SPLIT", "(default: test, or else validation)", scripts=TEST),
    Flag(DATA, "pass_only_model_io", boolean, "true|false",
         "keep only the model's own columns in a batch", False, alone="true"),
    Flag(OWN_DATA, "train_file", path, "FILE",
         "CSV, TSV, JSON, JSONL, XLSX or Parquet, CoNLL for tagging; --task classification, "
         "pair_classification, multilabel, regression, similarity, tagging, choice, reading, "
         "text2text, span_corruption_ko"),
    Flag(OWN_DATA, "valid_file", path, "FILE", "(default: a tenth of --train_file, by its texts)"),
    Flag(OWN_DATA, "test_file", path, "FILE", "may be unlabelled (default: the validation rows)"),
    Flag(OWN_DATA, "text_column", text, "NAME", "text or tokens (default: by the header)"),
    Flag(OWN_DATA, "text_pair_column", text, "NAME", "second text of a pair"),
    Flag(OWN_DATA, "label_column", text, "NAME",
         "labels, numbers, tags or target texts, also --target_column"),
    Flag(OWN_DATA, "choice_columns", text, "NAME,NAME", "choices (default: the numbered ones)"),
    Flag(TRAINING, "batch_size", whole(1), "N",
         "rows per process, also --batch (default: the task's own)"),
    Flag(TRAINING, "epochs", whole(1), "N", "passes over the data (default: the task's own)",
         scripts=TRAIN),
    Flag(TRAINING, "max_steps", whole(1), "N",
         "stop after this many updates (--schedule goes by --epochs)", scripts=TRAIN),
    Flag(TRAINING, "learning_rate", positive, "RATE",
         "peak rate, also --lr (default: by the model, 1e-3 from scratch)", scripts=TRAIN),
    Flag(TRAINING, "lora", boolean, "true|false",
         "train small adapters and the head, with peft; see gin's lora", False, TRAIN, "true"),
    Flag(TRAINING, "parallel", parallel, "ddp|fsdp",
         "what is split over processes: ddp: the rows; fsdp: the weights, too", "ddp", TRAIN),
    Flag(TRAINING, "schedule", schedule, "NAME",
         f"{', '.join(SCHEDULES)}; alone: linear", scripts=TRAIN, alone="linear"),
    Flag(TRAINING, "warmup", warmup, "STEPS|SHARE",
         "steps with a rising rate; 0: none (default: 0.1 with --schedule; otherwise 0.1, at most "
         "100 steps, for pre-trained encoders other than T5)", scripts=TRAIN),
    Flag(TRAINING, "seed", whole(0, 2**32 - 1), "N", "for weights, order, dropout, sampling", 42),
    Flag(TRAINING, "seeds", whole(1), "N",
         "runs with --seed and the N - 1 seeds after it, and a report over all", scripts=TRAIN),
    Flag(TRAINING, "workers", whole(0), "N", "threads per process that load batches ahead", 0),
    Flag(TRAINING, "stall_timeout", whole(1), "SECONDS",
         "end all processes if one makes no progress for this long (default: 600 with several "
         "processes; a single one is not watched)"),
    Flag(TRAINING, "print_freq", whole(1), "STEPS", "steps between two log lines", 20, TRAIN),
    Flag(TRAINING, "eval_every", whole(1), "STEPS", "validate between epochs, too", scripts=TRAIN),
    Flag(TRAINING, "eval_rows", whole(1), "N", "validation rows (default: all)", scripts=TRAIN),
    Flag(RESULTS, "output_dir", path, "DIR", "results, one folder per model and task", "output"),
    Flag(RESULTS, "save_every", interval, "STEPS|MINUTESm", "checkpoints between validations",
         Minutes(15), TRAIN),
    Flag(RESULTS, "resume", resume, "true|auto|best|PATH",
         "true: the last checkpoint; auto: the last if there is one", alone="true"),
    Flag(RESULTS, "allow_batch_change", boolean, "true|false",
         "allow --resume with another global batch", False, TRAIN, "true"),
    Flag(RESULTS, "hf_path", hf_path, "DIR|default",
         "save_pretrained folder: written after training, read by a test", alone="default"),
    Flag(RESULTS, "push_to_hub", repository, "NAME",
         "upload the export to the hub after the training", scripts=TRAIN),
    Flag(RESULTS, "public", boolean, "true|false", "make a new repository public", False, TRAIN,
         "true"),
    Flag(RESULTS, "track", tracker, "wandb|mlflow", "send the logs there, too; may be repeated",
         scripts=TRAIN, repeats=True),
    Flag(RESULTS, "submission", path, "FILE", "predictions in the benchmark's own format",
         scripts=TEST),
    Flag(SETTINGS, "gin_file", path, "FILE", "as given, or found in gin/; may be repeated",
         repeats=True),
    Flag(SETTINGS, "gin_param", text, "BINDING", "such as 'AdamW.lr=1e-4'; may be repeated",
         repeats=True),
    Flag(SETTINGS, "module_import", text, "MODULE",
         "your module in the current folder; may be repeated", repeats=True),
    Flag(SETTINGS, "quiet", boolean, "true|false", "only warnings, errors and the final scores",
         False, alone="true"),
    Flag(SETTINGS, "debug", boolean, "true|false", "show tracebacks", False, alone="true"),
)
# fmt: on

# `ke-t5 train` and `ke-t5 test` start torchrun themselves.
LAUNCH_FLAGS = (
    Flag("Processes", "nproc", num_processes, "N|gpu",
         "processes on this machine; gpu: one per GPU (default: 1)"),
    Flag("Processes", "nnodes", whole(1), "N", "machines; each runs the same command"),
    Flag("Processes", "rdzv_endpoint", text, "HOST:PORT", "the first machine, with --nnodes"),
)  # fmt: skip

# (launcher, flags)
EXAMPLES = {
    TRAIN: (
        ("torchrun --nproc_per_node=2", "--task klue_tc --sample"),
        (
            "",
            "--task klue_tc --gin_file klue_roberta_tc.gin --epochs 4 \\\n"
            "    --model_name transformers:RobertaForSequenceClassification \\\n"
            "    --pre_trained_model klue/roberta-small --hf_path default",
        ),
    ),
    TEST: (
        ("", "--task klue_tc --sample --resume best"),
        (
            "",
            "--task nikl_summarization_summary --gin_file test_default_gen.gin \\\n"
            "    --resume best",
        ),
    ),
}


ALSO = {"batch": "batch_size", "lr": "learning_rate", "target_column": "label_column"}


def parse_train(argv: Sequence[str], *, launches: bool = False) -> Namespace:
    """The flags of train_ddp.py; see `parse`."""
    also = {**ALSO, "test_split": "valid_split"}
    return parse(argv, script=TRAIN, also=also, launches=launches)


def parse_test(argv: Sequence[str], *, launches: bool = False) -> Namespace:
    """The flags of test_ddp.py; see `parse`."""
    return parse(argv, script=TEST, also=ALSO, launches=launches)


def parse(
    argv: Sequence[str], *, script: str, also: dict[str, str], launches: bool = False
) -> Namespace:
    """A namespace with one value per flag of the script, and in addition

    `given`: flag name -> what the user wrote ("--batch 16"), for flags that were given;
    `notes`: one line for each flag that was given twice (the last one is used).

    Args:
        also: other spelling -> flag name.
        launches: whether `LAUNCH_FLAGS` are accepted, too.

    Raises:
        UserError: names all errors of the command line in one line.
        SystemExit: (0) after --help was printed to stdout.
    """
    if any(word in ("--help", "-h", "-help", "--helpfull") for word in argv):
        if os.environ.get("RANK", "0") == "0":
            sys.stdout.write(help_text(script, launches=launches))
        raise SystemExit(0)
    table = FLAGS + LAUNCH_FLAGS if launches else FLAGS
    known = {flag.name: flag for flag in table if script in flag.scripts}
    also = {**also, "nproc_per_node": "nproc"} if launches else also
    # `LAUNCH_FLAGS` concern only the start: the namespace has them only if they are given.
    of_run = {name: flag for name, flag in known.items() if flag not in LAUNCH_FLAGS}
    flags = Namespace(**{name: [] if f.repeats else f.default for name, f in of_run.items()})
    flags.hf_cache_dir = os.path.expanduser(flags.hf_cache_dir)
    flags.given, flags.notes = {}, []
    problems: list[UserError] = []
    spelled: dict[str, str] = {}
    for name, value in words(argv, problems):
        flag = known.get(also.get(name, name))
        if flag is None:
            problems.append(unknown(name, script, [*known, *also]))
            continue
        if spelled.setdefault(flag.name, name) != name:
            both = f"--{spelled[flag.name]} and --{name}"
            problems.append(UserError("one flag under two names", both, "give one of them"))
        take(flag, name, value, flags, problems)
    if script == TRAIN and flags.push_to_hub and not flags.hf_path:
        flags.hf_path = "default"
    if script == TRAIN and flags.public and not flags.push_to_hub:
        what, fix = "nothing is pushed to the hub", "add --push_to_hub NAME"
        problems.append(UserError(what, "--public", fix))
    if script == TEST and flags.resume and flags.hf_path:
        two = "--resume and --hf_path"
        problems.append(UserError("both say which weights to test", two, "give one of them"))
    if script == TEST and flags.from_scratch and (flags.resume or flags.hf_path):
        two = f"--from_scratch and --{'resume' if flags.resume else 'hf_path'}"
        problems.append(UserError("both say which weights to test", two, "give one of them"))
    if problems:
        raise in_one(problems)
    return flags


def wants_traceback(argv: Sequence[str]) -> bool:
    """Whether `--debug` is given, even if the command line has errors."""
    given = [value for name, value in words(argv, []) if name == "debug"]
    return bool(given) and (given[-1] is None or given[-1].lower() in YES)


def words(argv: Sequence[str], problems: list[UserError]) -> list[tuple[str, str | None]]:
    """The (flag name, text or None) pairs of a command line; stray words go to `problems`."""
    pairs: list[tuple[str, str | None]] = []
    waiting = False  # the last flag has no value yet
    for word in argv:
        if word.startswith("--") and len(word) > 2:
            name, equals, value = word[2:].partition("=")
            waiting = not equals
            pairs.append((name, value if equals else None))
        elif waiting:
            pairs[-1] = (pairs[-1][0], word)
            waiting = False
        else:
            fix = "flags have two dashes" if word.startswith("-") else "write --flag value"
            if pairs and not word.startswith("-"):
                fix = f"if it is part of --{pairs[-1][0]}, put the whole value in quotes"
            problems.append(UserError("belongs to no flag", f"{word!r:.60}", fix))
    # Launchers before torchrun pass the rank as a flag; the environment has it too.
    return [pair for pair in pairs if pair[0] not in ("local-rank", "local_rank")]


def take(flag: Flag, name: str, value: str | None, flags: Namespace, problems: list) -> None:
    """Stores one given flag in `flags`, or its error in `problems`."""
    value = flag.alone if value is None else value
    if value is None:
        problems.append(UserError("needs a value", f"--{name}", f"write --{name} {flag.metavar}"))
        return
    try:
        read = flag.read(value)
    except ValueError as error:
        what, fix = str(error).split("; ", 1)
        problems.append(UserError(what, f"--{name} {value!r:.60}", fix))
        return
    if flag.repeats:
        getattr(flags, flag.name).append(read)
    else:
        if flag.name in flags.given and getattr(flags, flag.name) != read:
            flags.notes.append(f"--{name} is given twice: the last one, {value}, is used")
        setattr(flags, flag.name, read)
    flags.given[flag.name] = f"--{name} {value}"


def unknown(name: str, script: str, known: Sequence[str]) -> UserError:
    """The error for a flag that this script does not have; suggests what may be meant."""
    place, plain = f"--{name}", name.replace("-", "_")
    if plain not in known and any(flag.name == plain for flag in FLAGS):
        owner = TEST if script == TRAIN else TRAIN
        names = program_name(owner), program_name(script)
        return UserError("a flag of {}, not of {}".format(*names), place, "drop it")
    if plain in LAUNCHER_FLAGS:
        line = command(script, f"torchrun {place}=...")
        fix = f"write it before {program_name(script)}: {line} ..."
        return UserError("a flag of the launcher", place, fix)
    if plain in spellings.GIN:
        fix = f'it is set in gin: --gin_param "{spellings.GIN[plain]}"'
        return UserError("unknown flag", place, fix)
    near = spellings.FLAGS.get(plain)
    close = (
        [near]
        if near in known
        else nearest(plain, known) or nearest(plain.removeprefix("no"), known)
    )
    fix = " or ".join(f"--{near}" for near in close)
    fix = f"did you mean {fix}?" if fix else f"see {program_name(script)} --help"
    return UserError("unknown flag", place, fix)


def help_text(script: str, *, launches: bool = False) -> str:
    """The text of --help: the flags by group, aligned, then examples."""
    table = FLAGS + LAUNCH_FLAGS if launches else FLAGS
    shown = [flag for flag in table if script in flag.scripts]
    heads = {flag.name: f"  --{flag.name} {flag.metavar}" for flag in shown}
    column = max(map(len, heads.values())) + 2
    verb = "Trains and validates" if script == TRAIN else "Tests"
    name = program_name(script)
    launcher = "torchrun ..." if name == script else "torchrun ... --no-python"
    usage = f"usage: {name} [flags]" if launches else f"usage: [{launcher}] {name} [flags]"
    lines = [f"{verb} a model on a Korean task.", "", usage]
    for group in dict.fromkeys(flag.group for flag in shown):
        lines += ["", f"{group}:"]
        for flag in (flag for flag in shown if flag.group == group):
            hidden = flag.default is None or flag.read is boolean
            description = flag.help + ("" if hidden else f" (default: {flag.default})")
            head, *rest = textwrap.wrap(description, 100 - column, break_on_hyphens=False)
            lines += [heads[flag.name].ljust(column) + head, *(" " * column + r for r in rest)]
    lines += ["", "--flag value is --flag=value; true may be left out.", "", "Examples:"]
    examples = [f"  {command(script, launcher)} {flags}" for launcher, flags in EXAMPLES[script]]
    return "\n".join([*lines, *examples, ""])
