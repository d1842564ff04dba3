"""Several processes prepare the same examples, and none outlives its work."""

from __future__ import annotations

import multiprocessing
import os
import signal
from functools import partial

import gin
import pytest
from support.helpers import folders, task_on

from ke_t5.errors import Exit, UserError
from ke_t5.pipe import get_dataset, map_over_batches, preparation, tokenize
from ke_t5.pipe.forked import in_order

PARENT = os.getpid()
ROWS = [{"text": "가 나 다" * (i % 5), "label": i % 3} for i in range(50)]
TOKENIZE = partial(tokenize, source="text", limit="inputs")


@map_over_batches
def known(batch):
    """Drops some rows, including the whole first batch."""
    where = [i for i, row in enumerate(batch["_id"]) if row % 7 and row >= 12]
    return {name: [values[i] for i in where] for name, values in batch.items()}


@map_over_batches
def labelled(batch, *, fault=None):
    if fault and 33 in batch["_id"] and os.getpid() != PARENT:
        fault()
    return {**batch, "labels": batch["label"]}


def out_of_range():
    raise UserError("is broken", "row 33", "fix it", Exit.DATA)


def killed():
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.fixture
def get(tmp_path, monkeypatch):
    monkeypatch.setattr(preparation, "ROWS_AT_ONCE", 10)

    def get(num_proc, step=labelled):
        gin.bind_parameter("get_dataset.num_proc", num_proc)
        where = folders(tmp_path / f"{num_proc}")
        task = task_on(ROWS, [known, TOKENIZE, step])
        examples = get_dataset(task, "train", folders=where)
        return examples, [path.read_bytes() for path in sorted(where.cache.rglob("*.arrow"))]

    yield get
    assert not multiprocessing.active_children()


def test_the_files_of_several_processes_are_those_of_one(get):
    (one, files), (several, others) = get(1), get(3)
    assert files == others and len(files) == 2
    assert one.ids.tolist() == several.ids.tolist() == [i for i in range(12, 50) if i % 7]
    assert one.examples(range(3)) == several.examples(range(3))


@pytest.mark.parametrize(
    ("fault", "line", "exit_code"),
    [
        (out_of_range, "split 'train', row 33: is broken; fix it", Exit.DATA),
        (killed, "split 'train': one of 2 processes was killed, perhaps for lack of memory; lower "
         "get_dataset.num_proc", Exit.MACHINE),
    ],
)  # fmt: skip
def test_a_fault_in_one_of_them_is_one_line(get, fault, line, exit_code):
    with pytest.raises(UserError) as caught:
        get(2, partial(labelled, fault=fault))
    assert line in str(caught.value) and caught.value.exit_code == exit_code


def test_nobody_computes_for_one_who_has_stopped():
    for error in (KeyboardInterrupt, GeneratorExit):
        results = in_order(abs, range(100), 2, where="")
        assert next(results) == 0 and len(multiprocessing.active_children()) == 2
        with pytest.raises(error):
            results.throw(error)
        assert not multiprocessing.active_children()


def test_the_tokenizers_threads_are_as_before(monkeypatch):
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "true")
    seen = list(in_order(lambda _: os.environ["TOKENIZERS_PARALLELISM"], range(4), 2, where=""))
    assert seen == ["false"] * 4 and os.environ["TOKENIZERS_PARALLELISM"] == "true"
    monkeypatch.delenv("TOKENIZERS_PARALLELISM")
    list(in_order(abs, range(2), 2, where=""))
    assert "TOKENIZERS_PARALLELISM" not in os.environ
