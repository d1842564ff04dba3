"""Outputs that a user's own model may return, and the errors for others."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from ke_t5.errors import UserError
from ke_t5.pipe.arguments import check_training_columns
from ke_t5.pipe.losses import loss_of
from ke_t5.pipe.model_outputs import reduced

BATCH = {"input_ids": np.ones((2, 4)), "attention_mask": np.ones((2, 4))}


def test_logits_of_every_row_and_label_are_reduced():
    logits = torch.tensor([[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]])
    output = SimpleNamespace(logits=logits)
    for num_labels in (3, None):
        rows = reduced(output, BATCH, "sequence_classification", num_labels=num_labels)
        assert rows == [{"logits": row} for row in logits.tolist()]


def test_the_tags_of_a_crf_are_lists():
    output = SimpleNamespace(logits=[[0, 1], [2]])
    rows = reduced(output, BATCH, "token_classification", num_labels=3)
    assert rows == [{"tags": [0, 1]}, {"tags": [2]}]


@pytest.mark.parametrize(
    ("form", "output", "reason"),
    [
        ("sequence_classification", {"logits": torch.ones(2, 3)}, r"no logits \(dict\)"),
        ("question_answering", SimpleNamespace(start_logits=torch.ones(2, 4)), "no end_logits"),
        ("sequence_classification", SimpleNamespace(logits=torch.ones(1, 3)),
         r"logits for another number of rows \(1, not 2\)"),
        ("token_classification", SimpleNamespace(logits=[[0]]),
         r"logits for another number of rows \(1, not 2\)"),
        ("token_classification", SimpleNamespace(logits=torch.ones(2, 4, 2)),
         "logits of 2 labels for a task of 3"),
    ],
)  # fmt: skip
def test_another_output_is_one_line(form, output, reason):
    with pytest.raises(UserError, match=f"--model_name: its forward returned {reason}"):
        reduced(output, BATCH, form, num_labels=3)


@pytest.mark.parametrize(
    ("loss", "reason"),
    [
        (None, r"no loss \(SimpleNamespace\)"),
        (0.5, r"a loss that is not a tensor \(float\)"),
        (torch.ones(2, requires_grad=True), r"a loss of shape \[2\]"),
        (torch.tensor(1.0), "a loss without a gradient"),
    ],
)
def test_a_loss_that_cannot_be_trained_with_is_one_line(loss, reason):
    with pytest.raises(UserError, match=f"--model_name: its forward returned {reason}"):
        loss_of(SimpleNamespace(loss=loss))


def test_a_loss_needs_no_gradient_where_none_is_recorded():
    loss = torch.tensor(1.0)
    with torch.no_grad():
        assert loss_of({"loss": loss}) is loss


def test_a_loss_of_one_number_in_brackets_is_that_number():
    loss = loss_of({"loss": torch.ones(1, requires_grad=True)})
    assert loss.shape == () and loss.requires_grad


def test_a_forward_without_a_column_of_the_training_is_one_line():
    class Model(torch.nn.Module):
        def forward(self, input_ids, attention_mask):
            return input_ids

    check_training_columns(Model(), ["input_ids", "attention_mask"])
    with pytest.raises(UserError, match=r"--model_name: Model\.forward has no argument 'labels'"):
        check_training_columns(Model(), ["input_ids", "labels"])


def test_a_forward_that_takes_any_column_is_tried():
    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder = torch.nn.Linear(1, 1)
            self.encoder.config = None  # as encoders have

        def forward(self, *arguments, **options):
            return self.encoder(*arguments, **options)

    check_training_columns(Model(), ["input_ids", "labels"])
