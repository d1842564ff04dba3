"""The first gradient of real models: independent of the number of processes and recomputation."""

from __future__ import annotations

from functools import partial
from typing import Any
from unittest import mock

import pytest
import torch
from support.generation_toys import written_examples
from support.helpers import WORDS
from support.processes import run_on_ranks
from support.training import examples_in, examples_of_form, one_rank

from ke_t5.models import kept_gradients
from ke_t5.models.kept_gradients import keep_gradients
from ke_t5.models.unpadding import Unpadding
from ke_t5.models.vocabulary_loss import find_vocabulary_loss
from ke_t5.pipe import get_batches
from ke_t5.train.loop import TrainState, fit
from ke_t5.train.model_checks import has_unused_parameters
from ke_t5.train.settings import get_fit_settings, recompute_activations

NUM_IDS = len(WORDS) + 4
T5_SIZES = {
    "vocab_size": NUM_IDS, "d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4,
    "dropout_rate": 0.0, "pad_token_id": 0, "eos_token_id": 3, "decoder_start_token_id": 0,
}  # fmt: skip
BERT_SIZES = {
    "vocab_size": NUM_IDS, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
    "intermediate_size": 48, "max_position_embeddings": 40, "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0, "pad_token_id": 0, "num_labels": 3,
}  # fmt: skip


def t5_classifier() -> Any:
    from ke_t5.models.configs import T5EncoderConfig
    from ke_t5.models.models import T5EncoderForSequenceClassificationMean

    return T5EncoderForSequenceClassificationMean(T5EncoderConfig(**T5_SIZES, num_labels=3))


def t5_tagger() -> Any:
    from ke_t5.models.configs import T5EncoderConfig
    from ke_t5.models.models import T5EncoderForTokenClassification

    return T5EncoderForTokenClassification(T5EncoderConfig(**T5_SIZES, num_labels=3))


def roberta_tagger() -> Any:
    from transformers import RobertaConfig, RobertaForTokenClassification

    return RobertaForTokenClassification(RobertaConfig(**BERT_SIZES))


def t5_writer() -> Any:
    from transformers import T5Config, T5ForConditionalGeneration

    return T5ForConditionalGeneration(T5Config(**T5_SIZES))


def bert_labeller() -> Any:
    from transformers import BertConfig, BertForSequenceClassification

    kind = {"problem_type": "multi_label_classification"}
    return BertForSequenceClassification(BertConfig(**BERT_SIZES, **kind))


def t5_chooser() -> Any:
    from ke_t5.models.configs import T5ChoiceConfig
    from ke_t5.models.models import T5EncoderForMultipleChoice

    return T5EncoderForMultipleChoice(T5ChoiceConfig(**T5_SIZES))


def bert_chooser() -> Any:
    from transformers import BertConfig, BertForMultipleChoice

    return BertForMultipleChoice(BertConfig(**BERT_SIZES))


MODELS = {make.__name__: make for make in (t5_classifier, t5_tagger, roberta_tagger, t5_writer)}
OF_FORMS = {
    "bert_labeller": (bert_labeller, "multilabel_classification"),
    "t5_chooser": (t5_chooser, "multiple_choice"),
    "bert_chooser": (bert_chooser, "multiple_choice"),
}


# 12 rows of different lengths and label counts; 4 rows, of which one of four ranks may get none.
RUNS = [
    *(
        {"name": name, "checkpointing": checkpointing, "precision": precision}
        for name in MODELS
        for checkpointing in (False, True)
        for precision in ("fp32", "bf16")
    ),
    *({"name": name, "rows": rows} for name in (*MODELS, *OF_FORMS) for rows in (4, 12)),
    *({"name": name, "unpads": True} for name in (*MODELS, *OF_FORMS)),
    *({"name": name, "keeps": True} for name in (*MODELS, *OF_FORMS)),
]


def first_gradient(
    ranks, path, *, name, rows=12, checkpointing=False, precision="fp32", unpads=False, keeps=False
) -> tuple[list[float], float, int]:
    """The gradient as one vector, the loss, and how often a layer was computed."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    make, form = OF_FORMS.get(name) or (MODELS[name], "")
    model = make()
    if form:
        # In multiple choice, common terms cancel: in float32 little more than rounding is left.
        model = model.double() if name.endswith("chooser") else model
        examples = examples_of_form(path, form)
    elif name == "t5_writer":
        if keeps:  # an embedding that is only looked up
            model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.detach().clone())
        examples = written_examples(path / "texts")[1].labelled()
    else:
        examples = examples_in(path, per_token=name.endswith("tagger"))
    if checkpointing:
        recompute_activations(model)
    unused = ranks.size > 1 and has_unused_parameters(model, examples, ranks.device)
    kept = None
    if keeps:
        vocabulary_loss = find_vocabulary_loss(model)
        with mock.patch.object(kept_gradients, "LARGE", 1):
            kept = (
                vocabulary_loss.gradients
                if vocabulary_loss
                else keep_gradients(model, is_compiled=False)
            )
        assert kept is not None and kept.apart
    wrapped = ranks.wrap(
        model, find_unused_parameters=unused, apart=[] if kept is None else kept.apart
    )
    state = TrainState(
        wrapped, model, torch.optim.SGD(model.parameters(), lr=0.0), lambda step: 1.0,
        unpadding=Unpadding(model) if unpads else None, gradients=kept,
    )  # fmt: skip
    plan = get_batches(
        examples.lengths("input_ids"), batch_size=rows // ranks.size, num_parts=ranks.size, seed=3
    )
    computed = []
    parts = [part for n, part in model.named_modules() if n.endswith(("SelfAttention", "query"))]
    parts[0].register_forward_hook(lambda *_: computed.append(1))
    updates = fit(
        state, examples, plan, ranks=ranks, seed=0, num_steps=1,
        settings=get_fit_settings(clip_norm=None, precision=precision),
        loss_reduction="rows" if form or name.endswith("classifier") else "label_tokens",
    )  # fmt: skip
    loss = float(ranks.mean(next(updates).loss))
    flat = torch.cat([parameter.grad.flatten() for parameter in model.parameters()])
    return flat.tolist(), loss, len(computed)


def all_of(runs, ranks, path):
    """The result of each run; they share a launch, which takes seconds."""
    return [first_gradient(ranks, path, **run) for run in runs]


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The result of one process, and the folder of its data."""
    threads = torch.get_num_threads()
    path = tmp_path_factory.mktemp("alone")
    found = all_of(RUNS, one_rank(), path)
    torch.set_num_threads(threads)
    return found, path


def difference(one: list[float], other: list[float]) -> float:
    """The relative difference of two gradients."""
    one, other = torch.tensor([one, other], dtype=torch.float64)
    return float((one - other).norm() / one.norm())


@pytest.mark.parametrize("num_ranks", [2, 4])
def test_the_gradient_does_not_depend_on_the_number_of_processes(alone, num_ranks):
    runs = RUNS if num_ranks == 2 else [run for run in RUNS if "precision" not in run]
    expected = [result for run, result in zip(RUNS, alone[0], strict=True) if run in runs]
    by_rank = run_on_ranks(partial(all_of, runs), num_ranks, alone[1])
    for run, (gradient, loss, _), *found in zip(runs, expected, *by_rank, strict=True):
        # bf16 has 8 bits: the rounding depends on the order of the sums.
        tolerance = 1e-2 if run.get("precision") == "bf16" else 1e-6
        assert difference(gradient, found[0][0]) < tolerance, run
        assert loss == pytest.approx(found[0][1], rel=tolerance), run
        assert all(other[:2] == found[0][:2] for other in found[1:]), f"{run}: ranks differ"


@pytest.mark.parametrize("name", [*MODELS, *OF_FORMS])
def test_leaving_the_padding_out_changes_the_gradient_by_rounding_only(alone, name):
    padded, unpadded = (
        next(result for run, result in zip(RUNS, alone[0], strict=True) if run == wanted)
        for wanted in ({"name": name, "rows": 12}, {"name": name, "unpads": True})
    )
    assert 0 < difference(padded[0], unpadded[0]) < 2e-6
    assert padded[1] == pytest.approx(unpadded[1], rel=1e-6)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_recomputing_activations_changes_no_gradient(alone, name, precision):
    plain, recomputed = (
        result
        for run, result in zip(RUNS, alone[0], strict=True)
        if (run["name"], run.get("precision")) == (name, precision)
    )
    assert (plain[2], recomputed[2]) == (1, 2)
    # A recomputed decoder has no cache, which changes the order of its sums.
    tolerance = {"fp32": 1e-6, "bf16": 1e-2}[precision] if name == "t5_writer" else 0.0
    assert difference(plain[0], recomputed[0]) <= tolerance
    assert plain[1] == pytest.approx(recomputed[1], rel=tolerance)


@pytest.mark.parametrize("name", MODELS)
def test_bf16_is_near_float32_and_not_the_same(alone, name):
    found = {
        run["precision"]: result
        for run, result in zip(RUNS, alone[0], strict=True)
        if run["name"] == name and run.get("checkpointing") is False
    }
    assert 1e-4 < difference(found["fp32"][0], found["bf16"][0]) < 0.1
