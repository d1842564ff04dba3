"""Tasks: the contract of examples, splits, the cache, the registry."""

from __future__ import annotations

import multiprocessing
from functools import partial

import pytest
from support.helpers import folders, task_on

from ke_t5.errors import Exit, UserError
from ke_t5.pipe import (
    Examples,
    Monitor,
    TaskRegistry,
    get_dataset,
    greatest,
    least,
    map_over_dataset,
    tokenize,
)
from ke_t5.pipe.cache import build_once, describe, make_key
from ke_t5.pipe.splits import HELD_IN, HELD_OUT, default_split, num_common

ROWS = [{"text": "가 " * (1 + i % 5), "label": i % 3} for i in range(20)]


@map_over_dataset
def take_label(example, *, column="label"):
    return {**example, "labels": example[column]}


STEPS = (partial(tokenize, source="text", limit="inputs"), take_label)


def get(tmp_path, split="train", rows=ROWS, steps=STEPS, **settings) -> Examples:
    return task_on(rows, steps, **settings).get_dataset(split, folders=folders(tmp_path))


def test_examples_hold_the_model_columns_and_their_id(tmp_path):
    example = get(tmp_path).example(3)
    assert example["_id"] == 3 and example["labels"] == 0
    assert example["input_ids"] == [2, 4, 4, 4, 4, 3]


def test_batch_pads_to_its_longest_and_masks_the_padding(tmp_path):
    batch = get(tmp_path).batch([0, 2])
    assert batch["input_ids"].tolist() == [[2, 4, 3, 0, 0], [2, 4, 4, 4, 3]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]
    assert batch["labels"].tolist() == [0, 2]


@pytest.mark.parametrize(
    ("split", "ids"),
    [
        ("train[:25%]", [0, 1, 2, 3, 4]),
        ("train[18:]", [18, 19]),
        ("train[:2]+train[19:]", [0, 1, 19]),
    ],
)
def test_slices_keep_the_ids_of_the_unsliced_split(tmp_path, split, ids):
    assert get(tmp_path, split).ids.tolist() == ids


def test_a_sum_of_splits_has_unique_ids(tmp_path):
    both = get(tmp_path, "train[:2]+validation[1:3]", splits=["train", "validation"])
    assert both.ids.tolist() == [0, 1, 21, 22]
    assert both.example(2)["_id"] == 21


@pytest.mark.parametrize(
    ("split", "message"),
    [
        ("trian", r"split 'trian': .* did you mean 'train'\?"),
        ("train[100%:]", r"split 'train\[100%:\]' of task 'toy': contains no examples"),
        ("train[a:]", r"split 'train\[a:\]': is not a valid slice"),
    ],
)
def test_a_split_that_cannot_be_had_is_one_line(tmp_path, split, message):
    with pytest.raises(UserError, match=message) as caught:
        get(tmp_path, split)
    assert caught.value.exit_code in (Exit.DATA, Exit.FLAGS)


def test_an_empty_source_is_one_line(tmp_path):
    with pytest.raises(UserError, match=r"contains no examples \(train: 0 of 0 rows\)"):
        get(tmp_path, rows=[])


def test_a_tenth_of_too_few_rows_may_have_none(tmp_path):
    rows = [{"text": f"가 {i}", "label": 0} for i in range(3)]
    message = r"contains no examples \(train: 0 of 3 rows\); give more rows, or .*--valid_file"
    with pytest.raises(UserError, match=message):
        get(tmp_path, HELD_OUT, rows=rows, group="text")


def test_a_source_without_validation_is_cut_by_group(tmp_path):
    rows = [{"text": f"가 {i // 4}", "label": 0} for i in range(400)]
    task = task_on(rows, STEPS, group="text")
    places = folders(tmp_path)
    assert default_split(task.source, places, "train") == HELD_IN
    assert default_split(task.source, places, "validation") == HELD_OUT
    assert default_split(task.source, places, "test") == HELD_OUT
    kept = task.get_dataset(HELD_IN, folders=places).ids
    held = task.get_dataset(HELD_OUT, folders=places).ids
    assert len(kept) + len(held) == 400
    assert not {i // 4 for i in kept} & {i // 4 for i in held}
    assert 16 <= len(held) <= 64


def test_too_few_rows_to_hold_some_out(tmp_path):
    task = task_on([{"text": "가 나", "label": 0}] * 2, STEPS, group="text")
    assert len(task.get_dataset(HELD_IN, folders=folders(tmp_path))) == 2
    with pytest.raises(UserError, match=r"give more rows, or some to validate on \(--valid_file"):
        task.get_dataset(HELD_OUT, folders=folders(tmp_path))


def test_default_split_names_the_flag_where_there_is_no_training_data(tmp_path):
    task = task_on(ROWS, STEPS, splits=["validation"])
    cut = r"--train_split 'validation\[:80%\]' --valid_split 'validation\[80%:\]'"
    with pytest.raises(
        UserError, match=f"--train_split: .*available: validation; slice one.* {cut}"
    ):
        default_split(task.source, folders(tmp_path), "train")
    assert default_split(task.source, folders(tmp_path), "test") == "validation"


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ("train[:3]", "train[3:]", 0),
        ("train[:3]", "train[2:]", 1),
        ("train", "validation", 0),
        ("validation[:2]", "train+validation", 2),
        (HELD_IN, HELD_OUT, 0),
    ],
)
def test_rows_that_two_splits_share_are_counted(tmp_path, first, second, expected):
    task = task_on(ROWS, STEPS, splits=["train", "validation"])
    assert num_common(first, second, task.source, folders(tmp_path), task.rows) == expected


@pytest.mark.parametrize(
    ("rows", "steps", "message"),
    [
        (ROWS, [take_label], r"return no column 'input_ids'"),
        (
            [{"text": "가", "label": 5}],
            STEPS,
            r"row 0: column 'labels' contains 5, expected 0 to 2",
        ),
        (
            ROWS,
            [*STEPS, partial(take_label, column="text")],
            r"'labels' contains '가 ', expected int32",
        ),
        (ROWS, [*STEPS, partial(take_label, column="input_ids")], r"expected one number"),
    ],
)
def test_a_broken_promise_names_task_column_got_and_expected(tmp_path, rows, steps, message):
    with pytest.raises(UserError, match=message) as caught:
        get(tmp_path, rows=rows, steps=steps)
    assert "task 'toy', split 'train'" in str(caught.value)


def test_gin_binds_the_sequence_length(tmp_path):
    import gin

    gin.bind_parameter("get_dataset.sequence_length", {"inputs": 4})
    examples = get_dataset(task_on(ROWS, STEPS), "train", folders=folders(tmp_path))
    assert examples.lengths("input_ids").max() == 4


def test_gin_refuses_an_unknown_length(tmp_path):
    import gin

    gin.bind_parameter("get_dataset.sequence_length", {"input": 4})
    with pytest.raises(UserError, match="has an unknown key 'input'; did you mean 'inputs'"):
        get_dataset(task_on(ROWS, STEPS), "train", folders=folders(tmp_path))


# ----------------------------------------------------------------------------------- the cache


def test_a_second_start_reads_the_cache(tmp_path):
    get(tmp_path, steps=STEPS)
    before = len(list((tmp_path / "cache" / "examples" / "toy").glob("train-*/info.json")))
    get(tmp_path, steps=STEPS)
    after = len(list((tmp_path / "cache" / "examples" / "toy").glob("train-*/info.json")))
    assert before == after == 1


def test_the_key_knows_rows_steps_arguments_and_lengths(tmp_path):
    def num_built():
        return len(list((tmp_path / "cache" / "examples" / "toy").glob("train-*/info.json")))

    get(tmp_path)
    get(tmp_path, rows=ROWS[:-1])
    get(tmp_path, steps=[partial(tokenize, source="text"), take_label])
    task_on(ROWS, STEPS).get_dataset(
        "train", folders=folders(tmp_path), sequence_length={"inputs": 5}
    )
    assert num_built() == 4


def test_describe_refuses_what_has_no_stable_description():
    with pytest.raises(ValueError, match="no stable description"):
        describe(object())
    assert make_key([1, "a", (2,)]) == make_key([1, "a", [2]]) != make_key([1, "a", [3]])


def test_a_builder_that_fails_leaves_nothing_behind(tmp_path):
    def fail(temporary):
        (temporary / "half").write_text("")
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError):
        build_once(tmp_path / "x", fail)
    assert [path.name for path in tmp_path.iterdir()] in ([], ["x.lock"])
    assert build_once(tmp_path / "x", lambda temporary: {"rows": 1}) == {"rows": 1}


def _build(folder, counter):
    def build(temporary):
        with counter.get_lock():
            counter.value += 1
        return {"rows": 1}

    build_once(folder, build)


def test_eight_starters_build_once(tmp_path):
    context = multiprocessing.get_context("fork")
    counter = context.Value("i", 0)
    starters = [context.Process(target=_build, args=(tmp_path / "x", counter)) for _ in range(8)]
    for starter in starters:
        starter.start()
    for starter in starters:
        starter.join(30)
    assert counter.value == 1


# --------------------------------------------------------------------------------- the registry


def test_registry_refuses_duplicates_and_suggests_near_names(tmp_path):
    task = task_on(ROWS, STEPS)
    with TaskRegistry.registry.temporary("toy_task", task):
        assert TaskRegistry.get("toy_task") is task
        with pytest.raises(ValueError, match="'toy_task' is already registered"):
            TaskRegistry.add("toy_task", task.source, STEPS, task.output_features)
        with pytest.raises(UserError, match=r"--task 'toy_tsak': unknown task; .*'toy_task'"):
            TaskRegistry.get("toy_tsak")
    assert "toy_task" not in TaskRegistry.names()


def test_best_score_never_is_nan_and_ties_keep_the_earlier():
    best = greatest("f1")
    assert best == Monitor("f1", mode="max") == Monitor("f1") and least("f1").mode == "min"
    assert best.improves(1.0, None) and best.improves(2.0, 1.0)
    assert not best.improves(1.0, 1.0) and not best.improves(float("nan"), None)
    assert least("loss").improves(0.5, 1.0) and not least("loss").improves(1.5, 1.0)
    with pytest.raises(ValueError, match=r"Monitor\('f1'\): mode is 'best', not 'max' or 'min'"):
        Monitor("f1", mode="best")
