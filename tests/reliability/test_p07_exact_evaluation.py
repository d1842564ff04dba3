"""P7: an evaluation gives the same results on any number of processes, and the same answers at any
batch size.

Real gloo processes evaluate one task of every form on models whose weights are drawn large, so that
their answers differ from row to row. Files are compared by their bytes over numbers of processes;
labels and texts over batch sizes, whose padding may move the last digit of a score.
"""

from __future__ import annotations

import hashlib
import itertools
from pathlib import Path

import pytest
from support.processes import run_on_ranks, run_script_on_ranks

pytestmark = pytest.mark.promise("P7")

LENGTHS, BATCHES, PROCESSES = (1, 2, 3, 5, 17, 97, 101), (1, 2, 7, 16, 64), (1, 2, 3, 4)
SHORT = "EvaluationHelper.model_kwargs={'max_new_tokens': 6}"
BEAMS = "EvaluationHelper.model_kwargs={'max_new_tokens': 6, 'num_beams': 3}"
CASES = {
    "classes": ("--task", "klue_tc"),
    "numbers": ("--task", "klue_sts"),
    "tags": ("--task", "klue_ner", "--model_name", "T5EncoderForTokenClassification"),
    "tags, CRF": ("--task", "klue_ner", "--model_name", "T5EncoderForEntityRecognitionWithCRF"),
    "characters": ("--task", "klue_ner", "--model_name", "T5EncoderForCharacterTagging"),
    "answers": ("--task", "klue_mrc"),
    "pairs of entities": ("--task", "klue_re"),
    "trees": ("--task", "klue_dp"),
    "texts": ("--task", "korquad_gen", "--gin_param", SHORT),
    "texts, beams": ("--task", "klue_mrc_gen", "--gin_param", BEAMS),
}
NUMBERS = ("numbers",)  # their answers are the scores themselves


def evaluate_all(ranks, cases, cache, folder, lengths, batches):
    """case, length, batch size -> (SHA-256 of the files, answers), on rank 0."""
    import gin
    import numpy as np

    from ke_t5.config.flags import parse_test
    from ke_t5.pipe import evaluate
    from ke_t5.recipes import test as recipe
    from ke_t5.recipes.prepare import prepare
    from ke_t5.recipes.results import Origin, write_evaluation
    from ke_t5.recipes.task_splits import helpers_of, load_splits, with_splits

    found = {}
    for case in cases:
        gin.clear_config()
        words = [*CASES[case], "--sample", "--from_scratch", "true", "--test_split", "train[:101]"]
        words += ["--output_dir", str(folder), "--hf_cache_dir", str(cache)]
        config = with_splits(recipe.choose_weights(prepare(parse_test(words))), "test")
        (part,) = load_splits(config, "test")
        model, _ = recipe.model_of(config, ranks)
        strengthen(model)
        (helper,) = helpers_of(config, model, [part])
        for length, batch_size in itertools.product(lengths, batches):
            rows = sorted(set(part.examples.ids.tolist()))[:length]
            examples = part.examples.take(np.isin(part.examples.ids, rows))
            evaluated = evaluate(helper, model, examples, batch_size=batch_size, ranks=ranks)
            if ranks.is_main:
                place = Path(folder, f"{ranks.size}", case, f"{length}-{batch_size}")
                write_evaluation(place, part.on(examples), evaluated, Origin(part.task, "drawn"))
                answers = [line["prediction"] for line in evaluated.predictions]
                found[case, length, batch_size] = digest(place), answers
        ranks.barrier()
    return found


def strengthen(model):
    """Makes weights large, so that ties between answers are rare."""
    import torch

    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(4)


def digest(folder):
    """One SHA-256 over scores and predictions."""
    files = sorted(folder.glob("*.json*"))
    assert [file.name for file in files] == ["predictions.jsonl", "scores.json"]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def compare(tally, cases, path, cache, *, lengths, batches, processes):
    """Counts one case per evaluation; returns the minimum number of different answers in a case."""
    names = [cases, str(cache), str(path), lengths, batches]
    by_size = {size: run_on_ranks(evaluate_all, size, *names)[0] for size in processes}
    first = by_size[processes[0]]
    for size, key in itertools.product(processes, first):
        case, length, batch_size = key
        name = f"{case}: {length} rows, batch size {batch_size}, {size} process(es)"
        with tally.case(name):
            assert by_size[size][key][0] == first[key][0], "other bytes"
            answers, reference = by_size[size][key][1], first[case, length, batches[0]][1]
            assert len(answers) == length
            if case not in NUMBERS:
                assert answers == reference, "other answers than at another batch size"
    longest = [first[case, max(lengths), batches[0]][1] for case in cases]
    return min(len({str(answer) for answer in answers}) for answers in longest)


def test_some_evaluations_are_equal_on_one_and_three_processes(tally, tmp_path, cache_dir, is_full):
    if not is_full:
        cases = ["classes", "tags, CRF", "texts"]
        sizes = {"lengths": (1, 5, 17), "batches": (1, 7), "processes": (1, 3)}
        assert compare(tally, cases, tmp_path, cache_dir, **sizes) > 1


@pytest.mark.full
@pytest.mark.parametrize("half", [0, 1])
def test_every_evaluation_is_equal_on_one_to_four_processes(
    half, tally, notes, tmp_path, cache_dir
):
    cases = list(CASES)[half::2]
    sizes = {"lengths": LENGTHS, "batches": BATCHES, "processes": PROCESSES}
    fewest = compare(tally, cases, tmp_path, cache_dir, **sizes)
    assert fewest > 1
    notes.append(f"{', '.join(cases)}: at least {fewest} different answers in 101 rows")


@pytest.mark.full
def test_the_command_writes_the_same_files_on_one_to_four_processes(tally, tmp_path, cache_dir):
    files = {}
    for size in PROCESSES:
        output = tmp_path / str(size)
        words = ("--task", "klue_tc", "--sample", "--from_scratch", "true", "--batch_size", 7)
        places = ("--output_dir", output, "--hf_cache_dir", cache_dir)
        split = ("--test_split", "validation[:31]")
        done = run_script_on_ranks(size, "test_ddp.py", *words, *split, *places)
        assert {process.returncode for process in done} == {0}, done[0].stderr
        files[size] = {
            file.name: file.read_bytes() for file in output.rglob("eval/*/*") if file.is_file()
        }
        with tally.case(f"test_ddp.py on {size} process(es)"):
            assert "predictions.jsonl" in files[size]
            assert files[size] == files[1]
