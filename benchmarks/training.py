"""Our training compared with the Trainer and a minimal loop: one short pass from random weights.

Every round has a seed of its own for weights and order. The score after the pass stands beside each
speed, because grouping by length can ruin a training whose labels go with length.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import gin
import numpy as np
import torch
from transformers import (
    DataCollatorForSeq2Seq,
    DataCollatorWithPadding,
    PreTrainedModel,
    PrinterCallback,
    RobertaConfig,
    RobertaForSequenceClassification,
    Seq2SeqTrainer,
    Seq2SeqTrainingArguments,
    T5Config,
    T5ForConditionalGeneration,
    Trainer,
    TrainingArguments,
)

import ke_t5.task.task  # noqa: F401 - registers the tasks
from benchmarks.rows import GROUPED, TRAINER, TRAINER_FP32, Runs, Setting, interleaved
from ke_t5.distributed import Ranks
from ke_t5.models.unpadding import Unpadding
from ke_t5.models.used_rows import UsedRows, input_embedding
from ke_t5.own_data import OwnData, register
from ke_t5.pipe import (
    EvaluationHelper,
    Examples,
    Folders,
    Task,
    TaskRegistry,
    evaluate,
    get_batches,
)
from ke_t5.products import fast_products
from ke_t5.recipes.embedding_rows import LARGE, used_tokens
from ke_t5.task.utils import get_vocabulary
from ke_t5.train.loop import TrainState, count_steps, fit
from ke_t5.train.model_checks import computes_the_same, used_rows_suffice
from ke_t5.train.optimizer_config import get_optimizer
from ke_t5.train.settings import NONE, ROWS, USED, get_fit_settings

RATE, BATCH_SIZE, NUM_ROWS, NUM_TESTED = 5e-4, 32, 6400, 2000
SEQ2SEQ_ROWS, SEQ2SEQ_BATCH = 1600, 16
CPU = torch.device("cpu")


def one_process() -> Ranks:
    """A single process with all threads."""
    return Ranks(0, 1, CPU, torch.get_num_threads())


def rows_of(task_name: str, vocabulary: Path, setting: Setting, splits: Iterable[str]) -> list:
    """The splits of a task, prepared with the folder's tokenizer."""
    gin.bind_parameter("get_vocabulary.vocab_name", str(vocabulary))
    with tempfile.TemporaryDirectory() as cache:
        folders, task = Folders(setting.data, Path(cache)), TaskRegistry.get(task_name)
        return [task.get_dataset(split, folders=folders) for split in splits]


def some(examples: Examples, number: int, seed: int = 0) -> Examples:
    """Rows drawn at random."""
    return examples.take(np.random.default_rng(seed).permutation(len(examples))[:number])


# ---------------------------------------------------------------------------------------- encoder


def new_encoder(setting: Setting, seed: int) -> RobertaForSequenceClassification:
    """RoBERTa of 4 layers x 256, initialized with the seed."""
    torch.manual_seed(seed)
    config = RobertaConfig.from_pretrained(
        setting.encoder, num_labels=7, hidden_size=256, num_hidden_layers=4, intermediate_size=1024
    )
    return RobertaForSequenceClassification(config)


def train_used_rows(model: PreTrainedModel, train: Examples) -> None:
    """Splits the model's embedding as a run does, if it is possible and worth it."""
    try:
        size = input_embedding(model).num_embeddings
    except ValueError:
        return
    used = UsedRows(model, used_tokens(model, train, size))
    if used.table.numel() - used.weight.numel() < LARGE:
        return
    if not used_rows_suffice(used, model, train, CPU):
        raise RuntimeError(f"{type(model).__name__} computes another loss with the used rows")
    used.split()


def leave_padding_out(model: PreTrainedModel, train: Examples) -> Unpadding:
    """Unpads the model as a run does on a CPU, with the check whether the head reads first tokens
    only."""
    unpadding = Unpadding(model)
    if not computes_the_same(unpadding, model, train, CPU):
        raise RuntimeError(f"{type(model).__name__} computes another loss without padding")
    return unpadding


def fit_ours(
    model: PreTrainedModel,
    train: Examples,
    *,
    seed: int,
    precision: str = "fp32",
    batch_size: int = BATCH_SIZE,
    batch_tokens: int | None = None,
    learning_rate: float = RATE,
    window: int | None = None,
    padding: str = NONE,
    embedding_rows: str = USED,
) -> None:
    """One pass of our loop; by default with the padding and the embedding rows that a run uses on a
    CPU."""
    targets = train.lengths("labels") if model.config.is_encoder_decoder else None
    if padding == NONE:
        window = 1
    plan = get_batches(
        train.lengths("input_ids"), targets, batch_size=batch_size, num_parts=1, seed=seed,
        batch_tokens=batch_tokens, window=window, is_padded=padding == ROWS,
    )  # fmt: skip
    if embedding_rows == USED:
        train_used_rows(model, train)
    optimizer = get_optimizer(learning_rate=learning_rate)(model)
    unpadding = None if padding == ROWS else leave_padding_out(model, train)
    state = TrainState(model, model, optimizer, lambda step: 1.0, unpadding=unpadding)
    settings = get_fit_settings(precision=precision, padding=padding)
    updates = fit(
        state, train, plan, ranks=one_process(), settings=settings,
        loss_reduction="rows" if targets is None else "label_tokens", seed=seed,
        num_steps=count_steps(plan, 1),
    )  # fmt: skip
    for _ in updates:
        pass


def fit_bare(model: PreTrainedModel, train: Examples, *, seed: int) -> None:
    """The same batches in a minimal loop: no log, no checks, no resuming."""
    lengths = train.lengths("input_ids")
    plan = get_batches(lengths, batch_size=BATCH_SIZE, num_parts=1, seed=seed, window=1)
    unpadding = leave_padding_out(model, train)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, fused=True)
    torch.manual_seed(seed)
    model.train()
    for rows in plan.epoch(0):
        arrays = train.batch(rows)
        names = ("input_ids", "attention_mask", "labels")
        batch = {name: torch.from_numpy(arrays[name]).long() for name in names}
        with unpadding.over(arrays["attention_mask"]), fast_products(CPU):
            model(**batch).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)


def trainer_arguments(
    kind: type, folder: str, *, seed: int, precision: str, learning_rate: float = RATE, **more: Any
) -> Any:
    """The Trainer's arguments for these runs; all others are its defaults."""
    return kind(
        folder, num_train_epochs=1, learning_rate=learning_rate, seed=seed,
        lr_scheduler_type="constant",
        report_to=[], save_strategy="no", logging_strategy="no", disable_tqdm=True, use_cpu=True,
        bf16=precision == "bf16", **more,
    )  # fmt: skip


def run_quietly(trainer: Trainer) -> None:
    """Trains without printing a summary."""
    trainer.remove_callback(PrinterCallback)
    trainer.train()


def fit_trainer(
    model: PreTrainedModel,
    table: list[dict],
    *,
    seed: int,
    precision: str = "fp32",
    grouped: bool = False,
    max_length: int | None = None,
    learning_rate: float = RATE,
) -> None:
    """One pass of the Trainer; padded to the longest row of a batch, or to `max_length`."""
    with tempfile.TemporaryDirectory() as folder:
        arguments = trainer_arguments(
            TrainingArguments, folder, seed=seed, precision=precision, learning_rate=learning_rate,
            per_device_train_batch_size=BATCH_SIZE,
            train_sampling_strategy="group_by_length" if grouped else "random",
        )  # fmt: skip
        padding = "max_length" if max_length else True
        rows: Any = table  # the annotation knows classes of data sets only
        collate = DataCollatorWithPadding(get_vocabulary(), padding, max_length)
        run_quietly(Trainer(model, arguments, train_dataset=rows, data_collator=collate))


def accuracy(model: PreTrainedModel, test: Examples) -> float:
    """Accuracy in percent."""
    helper = EvaluationHelper(TaskRegistry.get("kor_3i4k"))
    return evaluate(helper, model, test, batch_size=64, ranks=one_process()).scores["accuracy"]


class EncoderRuns:
    """The contenders on 3i4K."""

    def __init__(
        self,
        setting: Setting,
        num_rows: int = NUM_ROWS,
        new_model: Callable[[Setting, int], PreTrainedModel] = new_encoder,
    ) -> None:
        self.setting, self.new_model = setting, new_model
        train, test = rows_of("kor_3i4k", setting.encoder, setting, ("train", "test"))
        self.train = some(train, setting.amount(num_rows))
        self.test = some(test, NUM_TESTED)
        rows = (self.train.example(i) for i in range(len(self.train)))
        self.table = [{name: row[name] for name in ("input_ids", "labels")} for row in rows]

    def contender(self, train: Callable[..., None], rows: Any) -> Callable[[int], Any]:
        """A run of a round; the accuracy is computed after the clock has stopped."""

        def run(seed: int) -> Callable[[], float]:
            model = self.new_model(self.setting, seed)
            train(model, rows, seed=seed)
            return lambda: accuracy(model, self.test)

        return run

    def compare(self, contenders: dict[str, tuple[Callable[..., None], Any]]) -> dict[str, Runs]:
        """Compares all of them."""
        return interleaved(
            {name: self.contender(train, rows) for name, (train, rows) in contenders.items()},
            rounds=self.setting.rounds,
            amount=len(self.train),
        )


def encoder(setting: Setting, precision: str = "fp32") -> dict[str, Runs]:
    """Ours, the Trainer with its defaults and grouped by length, and in fp32 a minimal loop."""
    runs = EncoderRuns(setting)
    trainer = partial(fit_trainer, precision=precision)
    contenders: dict[str, tuple[Callable[..., None], Any]] = {
        "ours": (partial(fit_ours, precision=precision), runs.train),
        TRAINER: (trainer, runs.table),
        GROUPED: (partial(trainer, grouped=True), runs.table),
    }
    padded = partial(fit_ours, precision=precision, padding=ROWS)
    contenders["ours, fit.padding='rows'"] = (padded, runs.train)
    if precision == "fp32":
        contenders["bare loop, same batches"] = (fit_bare, runs.train)
        contenders["ours, padded, random order"] = (partial(padded, window=1), runs.train)
    return runs.compare(contenders)


def encoder_bf16(setting: Setting) -> dict[str, Runs]:
    """The same in bf16."""
    return encoder(setting, "bf16")


def padded_to_512(setting: Setting) -> dict[str, Runs]:
    """One round on few rows, because a row padded to 512 tokens takes 0.3 s."""
    runs = EncoderRuns(setting)
    few = runs.table[: max(BATCH_SIZE, setting.amount(192))]
    padded = partial(fit_trainer, max_length=512)
    found = interleaved(
        {
            "ours": runs.contender(fit_ours, runs.train),
            "Trainer, padded to 512": runs.contender(padded, few),
        },
        rounds=1,
        amount=len(runs.train),
    )
    theirs = found["Trainer, padded to 512"]
    theirs.amount, theirs.learned = len(few), []  # too few rows for a meaningful accuracy
    return found


def token_budget(setting: Setting) -> dict[str, Runs]:
    """Batches of 1,024 tokens, about 130 rows, at twice the learning rate; the Trainer has 32 rows,
    in fp32 as by default and in bf16."""
    runs = EncoderRuns(setting, 2 * NUM_ROWS)
    ours = partial(fit_ours, precision="bf16", batch_tokens=1024, learning_rate=2 * RATE)
    theirs = partial(fit_trainer, precision="bf16")
    return runs.compare(
        {
            "ours": (ours, runs.train),
            TRAINER_FP32: (fit_trainer, runs.table),
            TRAINER: (theirs, runs.table),
        }
    )


# ---------------------------------------------------------------------------------------- seq2seq


def new_seq2seq(setting: Setting, seed: int, **changes: Any) -> T5ForConditionalGeneration:
    """T5 of 4+4 layers x 256, initialized with the seed.

    transformers initializes an output layer of its own (T5 v1.1) with a standard deviation of 1, so
    that the first loss is above 100 and the model learns to repeat one token. T5's own code
    divides by the square root of the width, as here and in ke_t5.models.build.
    """
    torch.manual_seed(seed)
    config = T5Config.from_pretrained(
        setting.seq2seq, d_model=256, d_ff=1024, d_kv=64, num_heads=4, num_layers=4,
        num_decoder_layers=4, **changes,
    )  # fmt: skip
    model = T5ForConditionalGeneration(config)
    with torch.no_grad():
        model.lm_head.weight.mul_(config.d_model**-0.5)
    return model


def hypotheses(setting: Setting) -> tuple[Task, Examples, Examples]:
    """A task with premises of KLUE-NLI as inputs and their hypotheses as targets; its training
    examples, and validation examples with distinct premises."""
    gin.bind_parameter("get_vocabulary.vocab_name", str(setting.seq2seq))
    with tempfile.TemporaryDirectory() as folder:
        files = {}
        for split, name in (("train", "train"), ("validation", "dev")):
            (source,) = setting.data.rglob(f"klue-nli-v1*_{name}.json")
            rows = json.loads(source.read_text(encoding="utf-8"))
            if split == "train":
                rows = rows[: setting.amount(SEQ2SEQ_ROWS)]
            else:
                rows = {row["premise"]: row for row in rows}.values()
            pairs = ({"text": row["premise"], "label": row["hypothesis"]} for row in rows)
            lines = (json.dumps(pair, ensure_ascii=False) + "\n" for pair in pairs)
            files[split] = str(Path(folder, f"{split}.jsonl"))
            Path(files[split]).write_text("".join(lines), encoding="utf-8")
        task = register(OwnData("text2text", files, {"text": "text", "label": "label"}))
        folders = Folders(None, Path(folder))
        train, validation = (task.get_dataset(split, folders=folders) for split in files)
        return task, train, validation


def fit_seq2seq_trainer(
    model: PreTrainedModel, table: list[dict], *, seed: int, precision: str
) -> None:
    """One pass of the Seq2SeqTrainer; inputs and targets padded to the longest of a batch."""
    with tempfile.TemporaryDirectory() as folder:
        arguments = trainer_arguments(
            Seq2SeqTrainingArguments, folder, seed=seed, precision=precision,
            per_device_train_batch_size=SEQ2SEQ_BATCH,
        )  # fmt: skip
        rows: Any = table  # the annotation knows classes of data sets only
        collate = DataCollatorForSeq2Seq(get_vocabulary(), model=model)
        run_quietly(Seq2SeqTrainer(model, arguments, train_dataset=rows, data_collator=collate))


@torch.inference_mode()
def loss_per_token(model: PreTrainedModel, table: list[dict]) -> float:
    """The loss on training rows, to compare the progress of the training."""
    model.eval()
    collate = DataCollatorForSeq2Seq(get_vocabulary(), model=model)
    loss = tokens = 0.0
    for start in range(0, len(table), 32):
        batch = collate(table[start : start + 32])
        number = int((batch["labels"] != -100).sum())
        loss += float(model(**batch).loss) * number
        tokens += number
    return loss / tokens


def seq2seq(setting: Setting, precision: str = "fp32") -> dict[str, Runs]:
    """Ours, and the Seq2SeqTrainer with its defaults."""
    _, train, _ = hypotheses(setting)
    rows = (train.example(i) for i in range(len(train)))
    table = [{name: row[name] for name in ("input_ids", "labels")} for row in rows]

    def contender(fit_one: Callable[..., None], rows: Any) -> Callable[[int], Any]:
        def run(seed: int) -> Callable[[], float]:
            model = new_seq2seq(setting, seed)
            fit_one(model, rows, seed=seed)
            return lambda: loss_per_token(model, table[:320])

        return run

    ours = partial(fit_ours, precision=precision, batch_size=SEQ2SEQ_BATCH)
    theirs = partial(fit_seq2seq_trainer, precision=precision)
    contenders = {"ours": contender(ours, train), "Seq2SeqTrainer": contender(theirs, table)}
    return interleaved(contenders, rounds=setting.rounds, amount=len(train))


def seq2seq_bf16(setting: Setting) -> dict[str, Runs]:
    """The same in bf16."""
    return seq2seq(setting, "bf16")
