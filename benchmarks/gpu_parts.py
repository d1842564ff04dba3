"""The parts of `benchmarks.gpu`, which starts each in a separate process.

python -m benchmarks.gpu_parts NAME --hf_data_dir DIR --models DIR --out DIR
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import gin
import torch

import ke_t5.task.task  # noqa: F401 - registers the tasks
from benchmarks.gpu_generation import measure_generation
from benchmarks.gpu_graphs import graphs
from benchmarks.gpu_steps import (
    Case,
    cases,
    ms_of_theirs,
    multilingual_cases,
    new_model,
    rate_of_products,
    time_ours,
)
from ke_t5.distributed import Ranks
from ke_t5.pipe import Examples, Folders, TaskRegistry, get_batches
from ke_t5.train.loop import TrainState, fit
from ke_t5.train.optimizer_config import get_optimizer
from ke_t5.train.settings import FitSettings

ROOT = Path(__file__).resolve().parents[1]
HAS_GPU = torch.cuda.is_available()
DEVICE = torch.device("cuda" if HAS_GPU else "cpu")


class Notes:
    """The results of a part, printed and recorded as lines of JSON."""

    def __init__(self, part: str, folder: Path) -> None:
        self.part, self.path = part, folder / "gpu.jsonl"

    def add(self, **row: Any) -> None:
        """Records a row of the part's table."""
        sys.stdout.write("  ".join(f"{key} {value}" for key, value in row.items()) + "\n")
        sys.stdout.flush()
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"part": self.part, **row}, ensure_ascii=False) + "\n")

    def attempt(self, what: dict[str, Any], measure: Callable[[], dict[str, Any]]) -> None:
        """Records the result of `measure`, or its failure, so that other cases still run."""
        try:
            self.add(**what, **measure())
        except Exception as error:
            if not isinstance(error, ImportError):
                traceback.print_exc()
            text = (str(error).splitlines() or [""])[0][:120]
            self.add(**what, failed=f"{type(error).__name__}: {text}")
        if HAS_GPU:
            torch.cuda.empty_cache()


def machine(notes: Notes) -> None:
    """Records the hardware and the versions, once."""
    if notes.path.exists() and '"part": "machine"' in notes.path.read_text(encoding="utf-8"):
        return
    import transformers

    gpu = torch.cuda.get_device_name(0) if HAS_GPU else "none (a dry run: times are meaningless)"
    Notes("machine", notes.path.parent).add(
        device=DEVICE.type, gpu=gpu, torch=torch.__version__, transformers=transformers.__version__,
        python=sys.version.split()[0], cores=os.cpu_count(), date=time.strftime("%Y-%m-%d"),
    )  # fmt: skip


def topics(flags: argparse.Namespace, folder: Path) -> Examples:
    """YNAT's training rows with that folder's tokenizer."""
    gin.bind_parameter("get_vocabulary.vocab_name", str(folder))
    folders = Folders(flags.hf_data_dir, flags.out / "cache")
    return TaskRegistry.get("klue_tc").get_dataset("train", folders=folders)


def classifier(folder: Path) -> Any:
    """A RoBERTa for YNAT without dropout; always the same weights."""
    from transformers import RobertaConfig, RobertaForSequenceClassification

    torch.manual_seed(0)
    config = RobertaConfig.from_pretrained(
        folder, num_labels=7, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0
    )
    return RobertaForSequenceClassification(config)


def updates_of(model: Any, examples: Examples, device: torch.device, precision: str, steps: int):
    """The updates of a run of our loop, batch 32."""
    model.to(device)
    plan = get_batches(examples.lengths("input_ids"), batch_size=32, num_parts=1, seed=0)
    optimizer = get_optimizer(learning_rate=1e-4)(model)
    return fit(
        TrainState(model, model, optimizer, lambda step: 1.0), examples, plan,
        ranks=Ranks(0, 1, device, torch.get_num_threads()),
        settings=FitSettings(precision, 1, None, False, None, False),
        loss_reduction="rows", seed=0, num_steps=steps,
    )  # fmt: skip


def losses_and_gradients(
    folder: Path, examples: Examples, device: torch.device, precision: str, steps: int
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """The losses of the first steps, and the gradients of the first."""
    model, losses, gradients = classifier(folder), [], {}
    for update in updates_of(model, examples, device, precision, steps):
        losses.append(update.loss.double().cpu())
        if update.step == 1:
            gradients = {
                name: parameter.grad.double().cpu()
                for name, parameter in model.named_parameters()
                if parameter.grad is not None
            }
    return torch.stack(losses), gradients


def parity(flags: argparse.Namespace, notes: Notes) -> None:
    """Compares losses and first gradients with those of the CPU in fp32."""
    folder = flags.models / ("roberta-small" if HAS_GPU else "roberta-mini")
    examples, steps = topics(flags, folder), 20 if HAS_GPU else 4
    reference = losses_and_gradients(folder, examples, torch.device("cpu"), "fp32", steps)
    first = {}
    for precision in ("fp32", "bf16", "fp32"):
        losses, gradients = losses_and_gradients(folder, examples, DEVICE, precision, steps)
        # Some gradients are zero up to rounding (biases of keys), so the norm is over all of them.
        whole = torch.stack([g.norm() for g in reference[1].values()]).norm()
        worst = max(
            (float((gradients[name] - g).norm() / g.norm().clamp_min(float(1e-3 * whole))), name)
            for name, g in reference[1].items()
        )
        again = first.setdefault(precision, losses)
        notes.add(
            device=DEVICE.type, precision=precision, steps=steps,
            worst_loss=f"{float(((losses - reference[0]) / reference[0]).abs().max()):.2g}",
            worst_first_gradient=f"{worst[0]:.2g} ({worst[1]})",
            equal_to_earlier_run="" if again is losses else bool(torch.equal(again, losses)),
        )  # fmt: skip


def _our_frames() -> str:
    """The innermost frames outside of torch that led to a warning."""
    frames = [
        frame for frame in traceback.extract_stack()
        if f"{os.sep}torch{os.sep}" not in frame.filename
        and not frame.filename.endswith(("warnings.py", "gpu_parts.py"))
        and not frame.filename.startswith("<")
    ]  # fmt: skip
    shown = [f"{'/'.join(Path(f.filename).parts[-2:])}:{f.lineno} {f.name}" for f in frames[-2:]]
    return " < ".join(reversed(shown)) or "no Python frame"


def syncs(flags: argparse.Namespace, notes: Notes) -> None:
    """Host synchronizations in steps 4 to 13 of our loop, by stack."""
    folder = flags.models / ("roberta-small" if HAS_GPU else "roberta-mini")
    examples, found, counting = topics(flags, folder), Counter(), False

    def count(message: Warning | str, category: type, *where: Any, **more: Any) -> None:
        if counting and "synchroniz" in str(message):
            found[_our_frames()] += 1

    warnings.simplefilter("always")
    warnings.showwarning = count
    for update in updates_of(classifier(folder), examples, DEVICE, "bf16", 13):
        if update.step == 3:
            counting = True
            if HAS_GPU:
                torch.cuda.set_sync_debug_mode("warn")
    if HAS_GPU:
        torch.cuda.set_sync_debug_mode("default")
    for stack, times in found.most_common():
        notes.add(stack=stack, per_step=times / 10)
    if not found:
        notes.add(stack="none" if HAS_GPU else "not measured without a GPU", per_step=0)


def _row(case: Case, found: dict[str, float], rate: float) -> dict[str, Any]:
    """Milliseconds, and the share of the peak rate of matrix products."""
    ms = found["ms"]
    return {
        "ms": f"{ms:.1f}",
        "TFLOP/s": f"{found['flops'] / ms / 1e9:.1f}",
        "of the matrix product's rate": f"{found['flops'] / ms / 1e9 / rate:.1%}",
        "peak GB": f"{found['peak'] / 1e9:.2f}" if HAS_GPU else "",
    }


def speed(flags: argparse.Namespace, notes: Notes, *, compiled: bool = False) -> None:
    """Compares ours with the Trainer on the same rows: bf16, SDPA, fused AdamW or Adafactor."""
    rate = rate_of_products(DEVICE)
    notes.add(case="bf16 matrix product", ms="", **{"TFLOP/s": f"{rate:.1f}"})
    for case in cases(flags.models, has_gpu=HAS_GPU):
        name = {"case": case.name, "optimizer": case.optimizer, "tokens": case.tokens}
        notes.attempt(
            {**name, "implementation": "ours"},
            lambda case=case: _row(case, time_ours(case, DEVICE, compiled=compiled), rate),
        )
        if not compiled:
            notes.attempt(
                {**name, "implementation": "Trainer"}, lambda case=case: ms_of_theirs(case, DEVICE)
            )


def memory(flags: argparse.Namespace, notes: Notes) -> None:
    """The peak memory of a step, with activations stored and recomputed."""
    every = cases(flags.models, has_gpu=HAS_GPU)
    for case in (every[2], *every[4:]):
        for recompute in (False, True):

            def measure(case: Case = case, recompute: bool = recompute) -> dict[str, Any]:
                model = new_model(case)
                weights = sum(p.numel() * p.element_size() for p in model.parameters())
                found = time_ours(case, DEVICE, recompute=recompute, model=model)
                peak = f"{found['peak'] / 1e9:.2f}" if HAS_GPU else "not measured without a GPU"
                return {"weights GB": f"{weights / 1e9:.2f}", "peak GB": peak,
                        "ms": f"{found['ms']:.1f}"}  # fmt: skip

            notes.attempt(
                {"case": case.name, "optimizer": case.optimizer, "recomputed": recompute}, measure
            )
    for case in multilingual_cases(flags.models, has_gpu=HAS_GPU):

        def as_graphs(case: Case = case) -> dict[str, Any]:
            found = time_ours(case, DEVICE, as_graphs=True, counts=False)
            return {"peak GB": f"{found['peak'] / 1e9:.2f}", "ms": f"{found['ms']:.1f}"}

        notes.attempt({"case": f"{case.name}, as graphs", "optimizer": case.optimizer}, as_graphs)


# ----------------------------------------------------------------------------------------- commands


TASKS = {
    "classification": ("klue_tc", ()),
    "CRF tagging": ("klue_ner", ("--model_name", "EncoderForEntityRecognitionWithCRF")),
    "generation": ("klue_tc_gen", ()),
    "reading comprehension": ("klue_mrc", ()),
}


def _commands(task: str, words: tuple[str, ...], folder: Path) -> dict[str, list[str]]:
    common = ["--task", task, "--sample", *words, "--output_dir", str(folder / task)]
    common += ["--hf_cache_dir", str(folder / "cache")]
    some = [*common, "--eval_rows", "40"]
    resume = [*some, "--max_steps", "20", "--resume", "true", "--hf_path", "default"]
    return {
        "train": ["train_ddp.py", *some, "--max_steps", "12"],
        "resume and export": ["train_ddp.py", *resume],
        "test the best checkpoint": ["test_ddp.py", *common, "--resume", "best"],
        "test the export": ["test_ddp.py", *common, "--hf_path", "default"],
    }


def cli(flags: argparse.Namespace, notes: Notes) -> None:
    """Trains each kind of task on the sample, resumes, exports and tests it, in parallel."""
    threads = str(max(1, (os.cpu_count() or 1) // len(TASKS)))
    environment = os.environ | {"OMP_NUM_THREADS": threads, "HF_HUB_OFFLINE": "1"}

    def run_all(kind: str) -> None:
        task, options = TASKS[kind]
        for name, words in _commands(task, options, flags.out / "cli").items():
            started = time.monotonic()
            done = subprocess.run(
                [sys.executable, *words], cwd=ROOT, env=environment, text=True,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            )  # fmt: skip
            lines = [line.strip() for line in done.stdout.splitlines() if line.strip()]
            faults = [line for line in lines if "error" in line.lower()] or lines[-1:]
            notes.add(
                kind=kind, command=name, exit_code=done.returncode,
                seconds=f"{time.monotonic() - started:.0f}",
                message=faults[-1][:150] if done.returncode else "",
            )  # fmt: skip
            if done.returncode:
                sys.stdout.write("\n".join(lines[-15:]) + "\n")

    with ThreadPoolExecutor(len(TASKS) if HAS_GPU else 1) as pool:
        list(pool.map(run_all, TASKS))


def main() -> None:
    """Runs one part."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parts = {
        "parity": parity, "syncs": syncs,
        "graphs": lambda flags, notes: graphs(flags, notes, topics=topics, device=DEVICE),
        "generation": lambda flags, notes: measure_generation(flags.models, DEVICE, notes),
        "speed": speed, "memory": memory, "cli": cli,
        "compiled": lambda flags, notes: speed(flags, notes, compiled=True),
    }  # fmt: skip
    parser.add_argument("part", choices=parts)
    for name in ("hf_data_dir", "models", "out"):
        parser.add_argument(f"--{name}", type=lambda text: Path(text).resolve(), required=True)
    flags = parser.parse_args()
    notes = Notes(flags.part, flags.out)
    machine(notes)
    parts[flags.part](flags, notes)


if __name__ == "__main__":
    main()
