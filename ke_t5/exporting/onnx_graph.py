"""Exports a model to ONNX, and verifies that the graph's outputs are those of the model.

    onnx/model.onnx    inputs:  `input_ids` and `attention_mask` [batch, length], ...
                       outputs: `logits`, or `start_logits` and `end_logits`, ...

All dimensions of the inputs are dynamic, except trailing ones of fixed size.
"""

from __future__ import annotations

import copy
import inspect
import logging
import warnings
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ke_t5.errors import Exit, UserError
from ke_t5.extras import require_extra
from ke_t5.forms import FORMS
from ke_t5.lookup.families import takes_segments
from ke_t5.seals import class_title

if TYPE_CHECKING:
    from transformers import PreTrainedModel

FILE = "onnx/model.onnx"
TOLERANCE = 1e-4
# (rows, tokens) of the inputs for the comparison; the graph is traced with the first.
SIZES = ((2, 16), (1, 1), (1, 7), (5, 33), (3, 64))
LARGEST_FILE = 1_500_000_000  # bytes; weights of larger models go to a separate file
# Further inputs: name -> the shape of one row, given its number of tokens.
EXTRA = {
    "entity_token_idx": lambda length: (2, 2),
    "word_token_idx": lambda length: ((length + 1) // 2, 2),
}
CARD = """
## ONNX

`{file}` has the inputs {inputs} (any number of rows and tokens) and the outputs {outputs}. Its
outputs differ from those of the model by {worst:.0e} at most.

```python
{numpy}import onnxruntime
from transformers import AutoTokenizer

folder = "this folder"
tokenizer = AutoTokenizer.from_pretrained(folder)
session = onnxruntime.InferenceSession(f"{{folder}}/{file}")
names = {{one.name for one in session.get_inputs()}}
rows = tokenizer(["한 문장입니다.", "또 다른 문장"], padding=True, return_tensors="np")
inputs = {{name: rows[name].astype("int64") for name in names & rows.keys()}}
{more}print(session.run(None, inputs)[0])
```
"""
# Additional lines of that code for graphs with further inputs.
OF_CHOICES = """\
inputs = {name: array[None] for name, array in inputs.items()}  # the choices of one row
"""
OF_TOKENS = {
    "entity_token_idx": """\
# The first token and the end (exclusive) of the subject and of the object, for both rows.
inputs["entity_token_idx"] = np.array([[[0, 1], [1, 2]]] * 2)
""",
    "word_token_idx": """\
# The first and the last token of each word, for both rows; [-1, -1] is not a word.
inputs["word_token_idx"] = np.array([[[0, 0], [1, 1]]] * 2)
""",
}


class _Plain(torch.nn.Module):
    """A model with positional inputs and a tuple of outputs."""

    def __init__(self, model: PreTrainedModel, inputs: tuple[str, ...], outputs: tuple[str, ...]):
        super().__init__()
        self.model, self.inputs, self.outputs = model, inputs, outputs

    def forward(self, *columns: torch.Tensor) -> tuple[torch.Tensor, ...]:
        output = self.model(**dict(zip(self.inputs, columns, strict=True)))
        return tuple(output[name] for name in self.outputs)


def check_onnx(model: PreTrainedModel, form: str) -> None:
    """Raises UserError for a model without an ONNX graph, or if the extra is not installed."""
    require_extra("--onnx", "onnx", "onnx", "onnxscript", "onnxruntime")
    if FORMS[form].generates:
        what = "a generative model is not a single graph"
        raise UserError(what, "--onnx", "use --ctranslate2, which generates", Exit.FLAGS)
    if "character_token_idx" in inspect.signature(model.forward).parameters:
        what = "character tagging has no ONNX graph"
        raise UserError(what, "--onnx", "use a class that tags tokens", Exit.FLAGS)
    if FORMS[form].links_mentions:
        what = "coreference resolution has no ONNX graph"
        raise UserError(what, "--onnx", "use the plain export", Exit.FLAGS)
    if getattr(model, "crf", None) is not None:
        what = f"the CRF decoding of {type(model).__name__} has no ONNX graph"
        raise UserError(what, "--onnx", "use a class without a CRF", Exit.FLAGS)


def write_onnx(
    model: PreTrainedModel, form: str, folder: Path, *, columns_of_tokenizer: Collection[str]
) -> str:
    """Writes the ONNX file into a folder; returns its section of the model card.

    Args:
        columns_of_tokenizer: the tokenizer's outputs; the graph has an input `token_type_ids` only
            if it is among them.

    Raises:
        UserError: the export fails, or the outputs differ.
    """
    model = copy.deepcopy(model).float().cpu().eval()
    inputs = input_names(model, has_segments="token_type_ids" in columns_of_tokenizer)
    path = folder / FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    size = sum(parameter.numel() * 4 for parameter in model.parameters())
    columns = sample_inputs(model, inputs, form, SIZES[0])
    with torch.inference_mode():
        outputs = tuple(name for name in model(**columns) if name.endswith("logits"))
    shapes = tuple(_free_dimensions(name, columns[name]) for name in inputs)
    try:
        with _silence(), torch.no_grad():
            torch.onnx.export(
                _Plain(model, inputs, outputs), tuple(columns.values()), str(path),
                input_names=list(inputs), output_names=list(outputs), dynamo=True,
                dynamic_shapes=(shapes,), external_data=size > LARGEST_FILE, verbose=False,
            )  # fmt: skip
    except Exception as error:
        reason = " ".join(str(error.__cause__ or error).split())
        raise _refused(model, f"torch cannot export it ({reason:.60})") from error
    worst = worst_difference(model, path, inputs, outputs, form=form)
    if not worst <= TOLERANCE:
        raise _refused(model, f"its outputs differ by {worst:.1e}, more than {TOLERANCE:g}")
    return _section(inputs, outputs, form, worst)


def _section(inputs: tuple[str, ...], outputs: tuple[str, ...], form: str, worst: float) -> str:
    """The section of the model card about a graph."""
    names = [", ".join(f"`{name}`" for name in some) for some in (inputs, outputs)]
    of_tokens = "".join(OF_TOKENS[name] for name in inputs if name in OF_TOKENS)
    return CARD.format(
        file=FILE, inputs=names[0], outputs=names[1], worst=max(worst, 1e-9),
        numpy="import numpy as np\n" if of_tokens else "",
        more=(OF_CHOICES if FORMS[form].has_choices else "") + of_tokens,
    )  # fmt: skip


def worst_difference(
    model: PreTrainedModel,
    path: Path,
    inputs: tuple[str, ...],
    outputs: tuple[str, ...],
    *,
    form: str,
) -> float:
    """The largest difference between the outputs of the file and of the model, over `SIZES`."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    worst = 0.0
    for size in SIZES:
        columns = sample_inputs(model, inputs, form, size)
        with torch.inference_mode():
            expected = model(**columns)
        found = session.run(list(outputs), {name: x.numpy() for name, x in columns.items()})
        for name, values in zip(outputs, found, strict=True):
            difference = np.abs(np.asarray(values) - expected[name].numpy())
            worst = float(np.maximum(worst, difference.max()))  # NaN stays NaN
    return worst


def input_names(model: PreTrainedModel, *, has_segments: bool) -> tuple[str, ...]:
    """The inputs of the graph, in order."""
    known = inspect.signature(model.forward).parameters
    names = ["input_ids", "attention_mask"]
    if has_segments and takes_segments(model):
        names.append("token_type_ids")
    return (*names, *(name for name in EXTRA if name in known))


def sample_inputs(
    model: PreTrainedModel, names: tuple[str, ...], form: str, size: tuple[int, int]
) -> dict[str, torch.Tensor]:
    """Random inputs of `size` (rows, tokens); half of the last row is padding."""
    rows, tokens = size
    body = getattr(model, "backbone", model)
    limit = getattr(body.config, "max_position_embeddings", None) or tokens + 2
    # RoBERTa's positions start after that of the padding.
    tokens = max(1, min(tokens, limit - 2))
    generator = torch.Generator().manual_seed(rows * 1000 + tokens)
    shape = (rows, 3, tokens) if FORMS[form].has_choices else (rows, tokens)
    vocabulary = model.get_input_embeddings().weight.size(0)  # pyright: ignore
    ids = torch.randint(min(5, vocabulary - 1), vocabulary, shape, generator=generator)
    mask = torch.ones(shape, dtype=torch.int64)
    if rows > 1:
        mask[-1, ..., tokens // 2 + 1 :] = 0
        pad = model.config.pad_token_id
        ids[mask == 0] = 0 if pad is None else pad
    columns = {"input_ids": ids, "attention_mask": mask}
    if "token_type_ids" in names:
        columns["token_type_ids"] = torch.zeros_like(ids)
        columns["token_type_ids"][..., tokens // 3 + 1 :] = 1
    for name in names[len(columns) :]:
        columns[name] = _places(name, rows, tokens)
    return {name: columns[name] for name in names}


def _places(name: str, rows: int, tokens: int) -> torch.Tensor:
    """Token indices of entities or words, within the shortest row."""
    shape = (rows, *EXTRA[name](tokens))
    last = tokens // 2
    if name == "entity_token_idx":
        return torch.tensor([[0, 1], [last, last + 1]]).expand(shape).contiguous()
    count = shape[1]
    places = torch.arange(count) * (last + 1) // count
    return places.unsqueeze(-1).expand(shape).contiguous()


def _free_dimensions(name: str, column: torch.Tensor) -> dict[int, Any]:
    fixed = {"entity_token_idx": 2, "word_token_idx": 1}.get(name, 0)
    return {i: torch.export.Dim.DYNAMIC for i in range(column.ndim - fixed)}


def _refused(model: PreTrainedModel, what: str) -> UserError:
    where = f"--onnx of {class_title(type(model))}"
    return UserError(what, where, "use the plain export; nothing was written", Exit.CHECKPOINT)


@contextmanager
def _silence() -> Iterator[None]:
    """A context that hides the exporter's messages, which are for developers."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
