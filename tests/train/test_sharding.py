"""Sharded weights: the same gradients, norms, checkpoints and outputs as with one process."""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial

import pytest
import torch
from support.processes import run_on_ranks
from support.training import examples_in, one_rank
from train.test_gradients import NUM_IDS, difference, roberta_tagger, t5_classifier, t5_writer

from ke_t5.checkpoint.checkpoints import load_checkpoint, save_checkpoint
from ke_t5.checkpoint.writer import Writer
from ke_t5.pipe import get_batches
from ke_t5.sharding import gathered_state, gathered_weights, is_sharded, local, outline_of, whole
from ke_t5.train.loop import TrainState, fit
from ke_t5.train.settings import get_fit_settings

STEPS, SAVED_AT = 4, 2


def frozen_tagger():
    """A tagger as with adapters: most weights are frozen."""
    model = roberta_tagger()
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("bias" in name or name.startswith("classifier"))
    return model


MODELS = {one.__name__: one for one in (roberta_tagger, t5_classifier, frozen_tagger)}
RUNS = [*((name, 1) for name in MODELS), ("roberta_tagger", 2)]


def trained(ranks, path, *, name, accumulate, begins_at=0):
    """The results of a training: first gradient, norms, loss, and a checkpoint on the way."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    # Rank 0 alone has weights, as in a training.
    with nullcontext() if ranks.is_main else torch.device("meta"):
        module = MODELS[name]()
    outlines = ranks.gather(outline_of(module))
    assert outlines is None or all(one == outlines[0] for one in outlines)
    model = ranks.shard(module)
    assert not [x for x in (*module.parameters(), *module.buffers()) if x.is_meta]
    assert is_sharded(module) == (ranks.size > 1)
    optimizer = torch.optim.AdamW([p for p in module.parameters() if p.requires_grad], lr=1e-3)
    state = TrainState(model, module, optimizer, lambda step: 1.0)
    folder = path / f"{name}-{accumulate}"
    if begins_at:
        saved = folder / f"step-{begins_at:08}"
        state.step = load_checkpoint(saved, model=module, optimizer=optimizer)["step"]
    examples = examples_in(path / "rows", per_token=name.endswith("tagger"))
    parts = ranks.size * accumulate
    plan = get_batches(
        examples.lengths("input_ids"), batch_size=12 // parts, num_parts=parts, seed=3
    )
    settings = get_fit_settings(clip_norm=0.1, precision="fp32", accumulate=accumulate)
    reduction = "label_tokens" if name.endswith("tagger") else "rows"
    found = {"norms": [], "losses": []}
    for update in fit(
        state, examples, plan, ranks=ranks, seed=0, num_steps=STEPS, settings=settings,
        loss_reduction=reduction,
    ):  # fmt: skip
        if "gradient" not in found:
            gradients = [whole(p.grad).flatten() for p in module.parameters() if p.requires_grad]
            found["gradient"] = torch.cat(gradients).tolist()
        found["norms"].append(float(update.grad_norm))
        found["losses"].append(float(ranks.mean(update.loss)))
        if state.step == SAVED_AT and not begins_at:
            save(ranks, state, folder)
    state.guard.check_state(module, state.step)
    with gathered_weights(model), torch.no_grad():
        # On one rank only, as in an evaluation with an odd number of batches.
        times = 3 if ranks.is_main else 1
        outputs = [module.eval()(input_ids=torch.arange(6)[None] % NUM_IDS) for _ in range(times)]
    found["logits"] = outputs[-1].logits.flatten().tolist()
    found["shares"] = sum(local(p).numel() for p in module.parameters())
    found["all"] = sum(p.numel() for p in module.parameters())
    return found


def save(ranks, state, folder):
    model, optimizer = gathered_state(state.module, state.optimizer, is_main=ranks.is_main)
    if ranks.is_main:
        writer = Writer()
        save_checkpoint(
            folder, model=model, optimizer=optimizer, progress={"step": state.step}, is_best=False,
            writer=writer, is_own=ranks.size > 1,
        )  # fmt: skip
        if ranks.size > 1:  # training may continue
            assert not places(model, optimizer) & places(state.module, state.optimizer)
        writer.wait()
    ranks.barrier()


def places(model, optimizer):
    """The memory addresses of a state's tensors."""
    states = optimizer.state_dict()["state"].values()
    tensors = [*model.state_dict().values(), *(x for one in states for x in one.values())]
    return {local(x).untyped_storage().data_ptr() for x in tensors if torch.is_tensor(x)}


def all_of(ranks, path, begins_at=0):
    return [trained(ranks, path, name=n, accumulate=a, begins_at=begins_at) for n, a in RUNS]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return tmp_path_factory.mktemp("alone"), tmp_path_factory.mktemp("divided")


@pytest.fixture(scope="module")
def alone(folders):
    threads = torch.get_num_threads()
    found = all_of(one_rank(), folders[0])
    torch.set_num_threads(threads)
    return found


@pytest.fixture(scope="module")
def divided(folders):
    return run_on_ranks(all_of, 2, folders[1])


@pytest.mark.parametrize("number", range(len(RUNS)))
def test_it_trains_as_one_process(alone, divided, number):
    one, ranks = alone[number], [found[number] for found in divided]
    assert difference(one["gradient"], ranks[0]["gradient"]) < 1e-6
    assert one["norms"] == pytest.approx(ranks[0]["norms"], rel=1e-4)
    assert one["losses"] == pytest.approx(ranks[0]["losses"], rel=1e-4)
    assert one["logits"] == pytest.approx(ranks[0]["logits"], abs=1e-4)
    for name in ("gradient", "norms", "logits"):
        assert ranks[0][name] == ranks[1][name], "ranks differ"
    assert one["shares"] == one["all"] == ranks[0]["all"]
    assert sum(rank["shares"] for rank in ranks) == one["all"]
    assert max(rank["shares"] for rank in ranks) < 0.6 * one["all"]


def test_its_checkpoint_is_the_ordinary_one(folders, alone, divided):
    for name, accumulate in RUNS:
        whole_files, files = (
            {path.name for path in (folder / f"{name}-{accumulate}" / "step-00000002").iterdir()}
            for folder in folders
        )
        assert whole_files == files


@pytest.mark.parametrize("num_ranks", [1, 3])
def test_it_goes_on_with_another_number_of_processes(folders, divided, num_ranks):
    again = partial(all_of, begins_at=SAVED_AT)
    if num_ranks == 1:
        found = again(one_rank(), folders[1])
    else:
        found = run_on_ranks(again, num_ranks, folders[1])[0]
    for expected, result in zip(divided[0], found, strict=True):
        assert result["losses"] == pytest.approx(expected["losses"][SAVED_AT:], rel=1e-4)
        assert result["logits"] == pytest.approx(expected["logits"], abs=1e-4)


def test_tied_weights_stay_tied():
    """With one process nothing is sharded, and the state is that of the model itself."""
    model = t5_writer()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    assert gathered_state(model, optimizer, is_main=True) == (model, optimizer)
    with gathered_weights(model):
        assert not is_sharded(model)
