"""Initializes a new head by logistic regression on the untrained encoder's vectors of the training
rows (`fit.head_start`).

A randomly initialized head distorts the features of a pre-trained encoder in the first steps, and
a few rows are not enough to repair them: Kumar et al. 2022, https://arxiv.org/abs/2202.10054
(LP-FT).
"""

from __future__ import annotations

import logging
import math
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from ke_t5 import heartbeat
from ke_t5.checkpoint.settings import HEAD_START
from ke_t5.config.run_config import RunConfig
from ke_t5.distributed import Ranks
from ke_t5.errors import Exit, UserError, counted
from ke_t5.models.heads import SequenceHead, SequenceHeadWithPooler
from ke_t5.module_state import reset_module_state
from ke_t5.pipe import IGNORED, BatchPlan, Examples
from ke_t5.pipe.model_inputs import model_inputs

logger = logging.getLogger(__name__)

# At most this many rows are used: all their vectors are in memory, and more change little.
MOST_ROWS = 10_000
ROWS_AT_ONCE = 64
# scikit-learn's C times the width of the vectors, which are standardized. Of 0.4, 4, 40 and 400, 4
# was the best for 16 and 64 rows per class of NSMC and 8 of 3i4K, and 0.4 points behind for 8 of
# NSMC (multilingual-e5-small cut to 6 layers, five draws).
STRENGTH = 4.0
# At least this many steps are between two validations: a few rows are an epoch of one step, and a
# validation with its checkpoint takes longer than that.
FEWEST_STEPS = 10


def check_head(model_class: type[PreTrainedModel]) -> None:
    """Raises UserError for a model whose classifier is not a single layer on the encoder."""
    is_ours = issubclass(model_class, SequenceHead)
    if not is_ours or issubclass(model_class, SequenceHeadWithPooler):
        raise UserError(
            f"the head of {model_class.__name__} is not a single new layer",
            HEAD_START,
            "give --model_name EncoderForSequenceClassificationMean, or drop it",
        )


def start_at_regression(
    config: RunConfig, module: PreTrainedModel, train: Examples, ranks: Ranks
) -> None:
    """Sets the head to the logistic regression on the training rows, if `fit.head_start` is set.

    Does nothing in a resumed run, whose head comes from a checkpoint.

    Raises:
        UserError: all rows have the same label.
    """
    if config.fit.head_start is None or config.origin.is_resumed:
        return
    found = None
    if ranks.is_main:
        with heartbeat.phase("starting the head"):
            vectors, labels = labelled_vectors(module, train, seed=config.seed)
            found = regression(vectors, labels, num_classes=cast(SequenceHead, module).num_labels)
            rows = counted(len(labels), "row")
            logger.info("the head starts at the logistic regression on %s", rows)
    weight, bias = ranks.broadcast(found)
    classifier = cast(nn.Linear, module.classifier)
    with torch.no_grad():
        classifier.weight.copy_(torch.from_numpy(weight))
        classifier.bias.copy_(torch.from_numpy(bias))


def epochs_between_validations(config: RunConfig, plan: BatchPlan) -> int:
    """After how many epochs a training validates: after each one, but after at least
    `FEWEST_STEPS` steps with `fit.head_start`, unless `--eval_every` or `fit.early_stopping` is
    set."""
    is_usual = config.fit.head_start is None or config.fit.early_stopping is not None
    if is_usual or config.loop.validate_every is not None:
        return 1
    return math.ceil(FEWEST_STEPS / plan.num_batches(0))


def labelled_vectors(
    module: PreTrainedModel, train: Examples, *, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """The classifier's inputs [N, D] for the labelled training rows, and their labels [N].

    Rows with equal ids and labels count once. At most `MOST_ROWS` rows are used, sampled with the
    seed.
    """
    labels = train.columns["labels"].values[train.places]
    rows = np.flatnonzero(labels != IGNORED)
    if len(rows) > MOST_ROWS:
        rows = np.sort(np.random.default_rng(seed).choice(rows, MOST_ROWS, replace=False))
    lengths = np.asarray(train.row_lengths("input_ids")[rows])
    rows = rows[np.argsort(lengths, kind="stable")]
    vectors: dict[tuple[bytes, int], np.ndarray] = {}
    captured: list[Tensor] = []
    classifier = cast(nn.Linear, module.classifier)
    hook = classifier.register_forward_pre_hook(lambda _, inputs: captured.append(inputs[0]))
    module.eval()
    try:
        for first in range(0, len(rows), ROWS_AT_ONCE):
            heartbeat.beat()
            batch = train.batch(rows[first : first + ROWS_AT_ONCE])
            reset_module_state(module)
            with torch.no_grad():
                module(**model_inputs(module, batch, module.device))
            ids = [row[mask > 0].tobytes() for row, mask in _ids_and_masks(batch)]
            keys = zip(ids, batch["labels"].tolist(), strict=True)
            vectors |= zip(keys, captured.pop().double().cpu().numpy(), strict=True)
    finally:
        hook.remove()
    return np.stack([*vectors.values()]), np.array([label for _, label in vectors])


def _ids_and_masks(batch: dict[str, np.ndarray]) -> zip[tuple[np.ndarray, np.ndarray]]:
    return zip(batch["input_ids"], batch["attention_mask"], strict=True)


def regression(
    vectors: np.ndarray, labels: np.ndarray, *, num_classes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Weights [C, D] and biases [C] of a logistic regression on vectors [N, D]; fitted on
    standardized vectors, but for unstandardized ones.

    A class without rows gets zero weights and the lowest bias.

    Raises:
        UserError: all labels are the same.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    known = np.unique(labels)
    if len(known) < 2:
        what = "all training rows have the same label"
        raise UserError(what, HEAD_START, "give rows of two labels, or drop it", Exit.DATA)
    scaler = StandardScaler().fit(vectors)
    found = LogisticRegression(C=STRENGTH / vectors.shape[1], max_iter=1000)
    found.fit(scaler.transform(vectors), labels)
    parts, intercepts = np.asarray(found.coef_), np.asarray(found.intercept_)
    if len(known) == 2:  # one row of weights, for the second class against the first
        parts, intercepts = np.concatenate([-parts, parts]) / 2, np.r_[-intercepts, intercepts] / 2
    weight = np.zeros((num_classes, vectors.shape[1]))
    bias = np.full(num_classes, intercepts.min())
    weight[known] = parts / np.asarray(scaler.scale_)
    bias[known] = intercepts - weight[known] @ np.asarray(scaler.mean_)
    return weight, bias
