"""Three steps of `fit` on a fake accelerator, and a pass of each of our heads: prints the outcome
for each model.

Fake tensors have shapes and devices but no values, so a question for a value (a host sync on a GPU)
and a tensor on the wrong device are errors. A torch built without CUDA cannot differentiate fake
CUDA tensors; its out-of-tree device, registered for this process alone, takes the place of the GPU.
"""

from __future__ import annotations

import datasets
import numpy as np
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from transformers import BertConfig, BertForSequenceClassification, T5Config
from transformers import T5ForConditionalGeneration as Seq2Seq

from ke_t5.distributed import Ranks
from ke_t5.lookup.loader import load_model
from ke_t5.models.models import MODEL_FORMS
from ke_t5.models.used_rows import UsedRows
from ke_t5.pipe import Examples, Feature, get_batches
from ke_t5.pipe.features import IGNORED
from ke_t5.pipe.masks import known_mask
from ke_t5.pipe.rows import ROW_ID
from ke_t5.train.loop import TrainState, fit
from ke_t5.train.settings import FitSettings
from support import our_models

SIZES = {"vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
T5_SIZES = {"vocab_size": 40, "d_model": 16, "d_ff": 16, "d_kv": 8, "num_layers": 1, "num_heads": 2}
ROWS = 24


class Asking(BertForSequenceClassification):
    """Reads the value of its loss on the host."""

    def forward(self, **inputs):
        output = super().forward(**inputs)
        if output.loss.item() > 100:
            output.loss = output.loss * 0
        return output


class Astray(BertForSequenceClassification):
    """Adds a CPU tensor to its loss."""

    def forward(self, **inputs):
        output = super().forward(**inputs)
        output.loss = output.loss + torch.ones(2).mean() * torch.ones(1)
        return output


def examples_of(labels: list, rank: int) -> Examples:
    """Rows of 3 to 8 tokens."""
    ids = [[5 + (row + place) % 30 for place in range(3 + row % 6)] for row in range(ROWS)]
    table = datasets.Dataset.from_dict({"input_ids": ids, "labels": labels, ROW_ID: range(ROWS)})
    features = {"input_ids": Feature(), "labels": Feature(rank=rank, pad=IGNORED)}
    return Examples(table.cast_column(ROW_ID, datasets.Value("int64")), features)


def moved(model: torch.nn.Module, device: torch.device) -> torch.nn.Module:
    """The model with fake weights on that device; tied weights stay tied."""
    new: dict[int, torch.Tensor] = {}
    for module in model.modules():
        for name, old in module._parameters.items():
            if old is not None:
                there = torch.nn.Parameter(torch.empty_like(old, device=device))
                module._parameters[name] = new.setdefault(id(old), there)
        for name, old in module._buffers.items():
            if old is not None:
                there = torch.empty_like(old, device=device)
                module._buffers[name] = new.setdefault(id(old), there)
    return model


def steps_of(
    make_model, examples: Examples, loss_reduction: str, device: torch.device, *, uses_rows: bool
) -> int:
    """The number of steps taken."""
    with FakeTensorMode(allow_non_fake_inputs=False):
        model = moved(make_model(), device)
        if uses_rows:
            UsedRows(model, np.arange(36)).split()
        optimizer = torch.optim.AdamW(model.parameters(), fused=True)
        state = TrainState(model, model, optimizer, lambda step: 1.0)
        # The guard of a GPU, which skips a bad update where it is computed.
        state.guard.skips_on_device = True
        updates = fit(
            state, examples, get_batches(examples.lengths("input_ids"), batch_size=8, num_parts=2,
                                         seed=0),
            ranks=Ranks(0, 1, device, 1), settings=FitSettings("fp32", 2, 1.0, False, None, False),
            loss_reduction=loss_reduction, seed=0, num_steps=9,
        )  # fmt: skip
        return [next(updates).step for _ in range(3)][-1]


def passes_of_heads(device: torch.device) -> str:
    """Runs a forward and a backward pass of each of our classes; returns how many there are."""
    torch._C._set_only_lift_cpu_tensors(True)  # for `torch.tensor(..., device=device)`
    made = {name: (head_of(name), our_models.make_batch(name)) for name in MODEL_FORMS}
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    for model, batch in made.values():
        columns = {name: tensor.numpy() for name, tensor in batch.items()}
        with mode:
            mode.allow_non_fake_inputs = True
            there = moved(model, device).train()
            inputs = {name: torch.empty_like(x, device=device) for name, x in batch.items()}
            mode.allow_non_fake_inputs = False
            with known_mask(there, columns, device):
                there(**inputs).loss.backward()
    return f"{len(made)} classes"


def head_of(name: str) -> torch.nn.Module:
    """A tiny model of that class, with all that its configuration offers."""
    if "Ngram" not in name:
        return our_models.make_model(name)
    config = load_model(name).config_class(
        vocab_size=40, num_labels=3, num_buckets=97, hidden_size=16, class_weights=[1.0, 2.0, 0.5]
    )
    return load_model(name)(config)


def main() -> None:
    """Prints a line for each model."""
    from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

    _setup_privateuseone_for_python_backend("fakegpu")
    device = torch.device("fakegpu", 0)
    torch.fakegpu.get_amp_supported_dtype = lambda: [torch.bfloat16]
    classes = examples_of([row % 2 for row in range(ROWS)], 0)
    tags = examples_of([[place % 3 for place in range(3 + row % 6)] for row in range(ROWS)], 1)
    bert = BertConfig(**SIZES, intermediate_size=16, num_labels=2)
    t5 = T5Config(**T5_SIZES, num_labels=2, decoder_start_token_id=0)
    tagger = load_model("T5EncoderForEntityRecognitionWithCRF")
    mean = load_model("T5EncoderForSequenceClassificationMean")
    cases = {
        "BERT": (lambda: BertForSequenceClassification(bert), classes, "rows"),
        "T5 mean": (lambda: mean(t5), classes, "rows"),
        "CRF": (lambda: tagger(tagger.config_class(**T5_SIZES, num_labels=3)), tags, "rows"),
        "T5": (lambda: Seq2Seq(t5), tags, "label_tokens"),
        "used rows": (lambda: BertForSequenceClassification(bert), classes, "rows"),
        "asking": (lambda: Asking(bert), classes, "rows"),
        "astray": (lambda: Astray(bert), classes, "rows"),
    }
    for name, (make_model, examples, loss_reduction) in cases.items():
        try:
            steps = steps_of(
                make_model, examples, loss_reduction, device, uses_rows=name == "used rows"
            )
            print(f"{name}: {steps} steps")  # noqa: T201
        except Exception as error:
            print(f"{name}: {type(error).__name__}: {str(error).splitlines()[0]}")  # noqa: T201
            if name not in ("asking", "astray"):
                raise
    print(f"heads: {passes_of_heads(device)}")  # noqa: T201


if __name__ == "__main__":
    main()
