"""`fit.cuda_graphs`: what a run chooses, logs and records, and that a resumed run keeps it."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from support.recipe_runs import SMALL, run_folder, state_files, train

from ke_t5.distributed import Ranks
from ke_t5.recipes import graphs
from ke_t5.recipes.graphs import choose_graphs, drops_no_layer, in_memory_of, why_launched
from ke_t5.train.graphs import StepGraphs
from ke_t5.train.static_shapes import StaticShapes

TC = ("--task", "klue_tc", *SMALL, "--epochs", 2, "--gin_param", "fit.padding='rows'")
GRAPHS = ("--gin_param", "fit.cuda_graphs=True")
GPU, CPU = torch.device("cuda", 0), torch.device("cpu")


class Tape:
    """Repeats a recorded step on the tensors that it was recorded with."""

    plays = 0

    def __call__(self, function):
        def replay():
            Tape.plays += 1
            return function()

        return replay


def test_a_run_of_graphs_says_so_and_goes_on_without_a_gpu(tmp_path, cache_dir, capfd, monkeypatch):
    monkeypatch.setattr(graphs, "why_launched", lambda *_: None)
    monkeypatch.setattr(graphs, "CudaRecorder", Tape)
    # On a CPU dropout draws on the host.
    monkeypatch.setattr(graphs, "drops_no_layer", lambda _: True)
    train(*TC, *GRAPHS, "--max_steps", 4, output=tmp_path, cache=cache_dir)
    said = " ".join(capfd.readouterr().err.split())
    assert "by length, as CUDA graphs, in fp32, cpu" in said and "no graphs" not in said
    assert "fit.cuda_graphs = True" in (run_folder(tmp_path) / "config.gin").read_text()
    assert Tape.plays > 1
    monkeypatch.undo()
    words = ("--resume", "true", "--max_steps", 5)
    train(*TC, *GRAPHS, *words, output=tmp_path, cache=cache_dir)
    said = " ".join(capfd.readouterr().err.split())
    assert "fit.cuda_graphs: not used: there is no GPU" in said
    assert "fit.cuda_graphs was True and is False now" in said


def config_of(*, graphs="auto", is_resumed=False, **fit):
    settings = {"accumulate": 1, "compile": False, "gradient_checkpointing": False, **fit}
    return SimpleNamespace(
        fit=SimpleNamespace(cuda_graphs=graphs, **settings),
        origin=SimpleNamespace(is_resumed=is_resumed),
    )


@pytest.mark.parametrize(
    ("fit", "size", "unpadding", "reason"),
    [
        ({}, 1, None, None),
        ({}, 2, None, "2 processes exchange gradients"),
        ({"accumulate": 2}, 1, None, "a batch is computed in parts (fit.accumulate)"),
        ({"compile": True}, 1, None, "its layers are compiled (fit.compile)"),
        (
            {"gradient_checkpointing": True}, 1, None,
            "activations are recomputed (fit.gradient_checkpointing)",
        ),
        ({}, 1, object(), "each batch has a shape of its own (fit.padding)"),
    ],
)  # fmt: skip
def test_what_cannot_be_recorded_is_named(fit, size, unpadding, reason):
    assert why_launched(config_of(**fit), Ranks(0, size, GPU, 1), unpadding) == reason


@pytest.mark.parametrize(
    ("graphs", "device", "before", "is_asked"),
    [
        ("auto", CPU, None, False),
        ("auto", GPU, None, True),
        ("auto", GPU, {}, False),  # from a checkpoint of an earlier version
        ("auto", GPU, {"fit.cuda_graphs": True}, True),
        (True, GPU, {"fit.cuda_graphs": False}, True),
        (False, GPU, None, False),
    ],
)
def test_a_run_goes_on_as_it_began(monkeypatch, caplog, graphs, device, before, is_asked):
    progress = None if before is None else {"fixed": before}
    monkeypatch.setattr("ke_t5.recipes.graphs.progress_of_run", lambda *_: progress)
    monkeypatch.setattr("ke_t5.recipes.graphs.why_launched", lambda *_: "that is the test")
    caplog.set_level("INFO")
    config = config_of(graphs=graphs, is_resumed=before is not None)
    ranks = Ranks(0, 1, device, 1)
    assert choose_graphs(config, None, None, plan=None, ranks=ranks, unpadding=None) is None
    line = "fit.cuda_graphs: not used: that is the test"
    assert caplog.messages == [line] * is_asked


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"encoder_layerdrop": 0.0, "decoder_layerdrop": 0.0, "dropout": 0.1}, True),
        ({"encoder_layerdrop": 0.1, "decoder_layerdrop": 0.0}, False),
        ({"backbone": {"encoder_layerdrop": 0.0, "decoder_layerdrop": 0.0}}, True),
        ({"backbone": {"encoder_layerdrop": 0.1, "decoder_layerdrop": 0.0}}, False),
        ({"dropout": 0.1}, False),
    ],
)
def test_a_model_that_never_leaves_out_a_layer_may_ask_the_host(config, expected):
    module = SimpleNamespace(config=SimpleNamespace(to_dict=lambda: config))
    assert drops_no_layer(module) is expected


def test_graphs_of_the_used_rows_train_as_those_of_all(tmp_path, cache_dir, monkeypatch):
    monkeypatch.setattr(graphs, "why_launched", lambda *_: None)
    monkeypatch.setattr(graphs, "CudaRecorder", Tape)
    monkeypatch.setattr(graphs, "drops_no_layer", lambda _: True)
    for rows in ("all", "used"):
        words = (*TC, *GRAPHS, "--gin_param", f"fit.embedding_rows='{rows}'")
        Tape.plays = 0
        train(*words, output=tmp_path / rows, cache=cache_dir)
        assert Tape.plays > 1
    assert state_files(tmp_path / "used") == state_files(tmp_path / "all")


def test_an_evaluation_gets_the_memory_of_the_graphs_if_it_needs_it(caplog):
    graphs, sizes = StepGraphs(StaticShapes({}), Tape(), CPU), []

    def evaluate():
        sizes.append(graphs.num_graphs)
        if graphs.num_graphs:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return "scores"

    graphs._graphs["a shape"], graphs._visits["a shape"] = None, 2
    assert in_memory_of(graphs, evaluate) == "scores" and sizes == [1, 0]
    assert caplog.messages == ["fit.cuda_graphs: the evaluation needs the memory of the graphs"]
    # The shape is recorded again the next time but one.
    assert graphs.reason is None and not graphs._visits


@pytest.mark.parametrize("graphs", [None, StepGraphs(StaticShapes({}), Tape(), CPU)])
def test_an_evaluation_without_graphs_has_no_other_memory(graphs):
    def evaluate():
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(torch.OutOfMemoryError):
        in_memory_of(graphs, evaluate)
