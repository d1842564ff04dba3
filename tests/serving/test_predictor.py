"""A loaded model: the same predictions as a test's, offsets, invalid rows, and which is loaded."""

from __future__ import annotations

import json
import shutil
import unicodedata

import pytest
from support.trained_models import MODELS, NUM_ROWS

from ke_t5.config.resume import LAST
from ke_t5.errors import Exit, UserError
from ke_t5.lookup.hub import Pretrained
from ke_t5.lookup.task_record import RECORD
from ke_t5.pipe import TaskRegistry
from ke_t5.seals import seal_folder
from ke_t5.serving import loading
from ke_t5.serving.loading import load_predictor
from ke_t5.serving.rows import from_texts, unlabelled


@pytest.mark.parametrize("name", MODELS)
def test_predictions_equal_those_of_a_test(models, name):
    tested = models.tested(name)
    predictor = load_predictor(models.export(name), batch_size=8)
    labels = predictor.task.label_columns
    bare = [
        {column: value for column, value in row.items() if column not in labels}
        for row in models.rows(predictor.task)
    ]
    predictions = list(predictor(bare))
    assert [one.value for one in predictions] == [line["prediction"] for line in tested]
    for one, line in zip(predictions, tested, strict=True):
        assert json.loads(json.dumps(one.content)) == one.content
        if "score" in line:
            assert one.content["score"] == pytest.approx(line["score"], abs=1e-6)


def test_all_labels_have_probabilities(models):
    predictor = load_predictor(models.export("klue_tc"))
    (one,) = predictor([{"title": "삼성전자 주가 급등"}])
    assert set(one.content["probabilities"]) == set(predictor.task.labels)
    assert sum(one.content["probabilities"].values()) == pytest.approx(1, abs=1e-4)
    assert one.content["label"] == max(
        one.content["probabilities"], key=one.content["probabilities"].get
    )


@pytest.mark.parametrize("name", ["klue_ner", "characters"])
def test_the_offsets_of_entities_are_right(models, name):
    predictor = load_predictor(models.export(name))
    rows = models.rows(predictor.task)
    entities = [
        (row["text"], entity)
        for row, one in zip(rows, predictor(rows), strict=True)
        for entity in one.content["entities"]
    ]
    assert entities
    for text, entity in entities:
        assert text[entity["start"] : entity["end"]] == entity["text"] == entity["text"].strip()


def test_the_offsets_of_an_answer_are_right(models):
    predictor = load_predictor(models.export("klue_mrc"))
    predictor.task.decode.keywords["may_be_impossible"] = False  # it would answer nothing
    try:
        rows = models.rows(predictor.task)
        predictions = list(predictor(rows))
    finally:
        predictor.task.decode.keywords["may_be_impossible"] = True
    for row, one in zip(rows, predictions, strict=True):
        start, end = one.content["start"], one.content["end"]
        assert one.content["answer"] == row["context"][start:end] != ""


def test_a_run_and_its_export_give_the_same_predictions(models):
    rows = [{"title": "축구 대표팀 승리"}]
    (exported,) = load_predictor(models.export("klue_tc"))(rows)
    for resume in (None, LAST):
        (one,) = load_predictor(models.run("klue_tc"), resume=resume)(rows)
        assert one == exported


def test_truncated_rows_say_so(models):
    predictor = load_predictor(models.export("klue_tc"))
    length = predictor.lengths["inputs"]
    rows = [{"title": "가"}, {"title": "가 나 다 " * length}, {"title": "나"}]
    cut = f"inputs cut at {length} tokens"
    assert [one.lost for one in predictor(rows)] == [(), (cut,), ()]
    assert [one.lost for one in predictor([{"title": 1}, rows[1]], keep_errors=True)] == [
        (), (cut,),
    ]  # fmt: skip
    assert predictor.lost == {cut: 2}


def test_rows_are_read_in_windows_and_answered_in_order(models):
    predictor = load_predictor(models.export("klue_tc"), batch_size=8)
    rows = models.rows(predictor.task)
    many = [rows[i % NUM_ROWS] for i in range(predictor.window + 50)]
    taken = []
    predictions = predictor(row for row in many if not taken.append(row))
    first = next(predictions)
    assert len(taken) == predictor.window, "more than one window was read"
    contents = [one.value for one in (first, *predictions)]
    alone = [one.value for one in predictor(rows)]
    assert contents == [alone[i % NUM_ROWS] for i in range(len(many))]


def test_an_invalid_row_is_an_error_or_a_prediction_with_an_error(models):
    predictor = load_predictor(models.export("klue_tc"))
    rows = [{"title": "좋다"}, {"title": None}, {"name": "나쁘다"}, {"title": "좋다"}]
    with pytest.raises(UserError, match=r"row 1: column 'title' contains None, expected text"):
        list(predictor(rows))
    deep = ["좋다"]
    for _ in range(2000):
        deep = [deep]
    rows += [{"title": deep}, {"title": ["\ud83d"]}]
    first, none, missing, last, nested, half = predictor(rows, keep_errors=True)
    assert first == last and first.error is None
    assert "nested too deeply" in str(nested.error)
    assert "column 'title' contains an unpaired surrogate" in str(half.error)
    assert "no column 'title' among name" in str(missing.error)
    assert none.error is not None and none.error.exit_code == Exit.DATA


def test_decomposed_text_gets_the_same_prediction(models):
    predictor = load_predictor(models.export("klue_tc"))
    one, other = predictor([{"title": "한글"}, {"title": "\u1112\u1161\u11ab\u1100\u1173\u11af"}])
    assert one == other


def test_offsets_refer_to_the_decomposed_text(models):
    """macOS tools write NFD; users look up the offsets in the text that they sent."""
    predictor = load_predictor(models.export("klue_ner"))
    rows = models.rows(predictor.task)
    given = [{"text": unicodedata.normalize("NFD", row["text"])} for row in rows]
    found = 0
    for row, one, composed in zip(given, predictor(given), predictor(rows), strict=True):
        assert one.value == composed.value
        for entity, other in zip(
            one.content["entities"], composed.content["entities"], strict=True
        ):
            assert row["text"][entity["start"] : entity["end"]] == entity["text"]
            assert unicodedata.normalize("NFC", entity["text"]) == other["text"]
            found += entity["end"] > other["end"]
    assert found


def test_given_offsets_refer_to_the_decomposed_sentence(models):
    predictor = load_predictor(models.export("klue_re_tk_idx"))
    sentence, words = "김철수는 서울에서 태어났다", {"subject": "김철수", "object": "서울"}

    def row(form):
        text = unicodedata.normalize(form, sentence)
        parts = {name: unicodedata.normalize(form, word) for name, word in words.items()}
        places = {name: (text.index(part), len(part)) for name, part in parts.items()}
        return {
            "sentence": text,
            **{n: {"start": start, "end": start + size} for n, (start, size) in places.items()},
        }

    composed, decomposed = predictor([row("NFC"), row("NFD")])
    assert composed == decomposed and composed.error is None


def test_a_folder_without_a_record_needs_a_task_name(models, tmp_path):
    folder = shutil.copytree(models.export("klue_re_tk_idx"), tmp_path / "hf")
    (folder / RECORD).unlink()
    seal_folder(folder)
    with pytest.raises(UserError, match="which task it was trained on; add --task NAME"):
        load_predictor(folder)
    with pytest.raises(UserError, match="klue_tc: the model's labels are no_relation, org:dissol"):
        load_predictor(folder, task="klue_tc")
    assert load_predictor(folder, task="klue_re_tk_idx").kind == "label"


def test_a_model_from_the_hub_needs_a_task_name(monkeypatch):
    on_hub = Pretrained("user/model", None, True, {"model_type": "t5"})
    monkeypatch.setattr(loading, "find_pretrained", lambda name, where: on_hub)
    with pytest.raises(UserError, match="user/model: does not say which task it was trained on"):
        load_predictor("user/model")


def test_a_folder_without_a_model_is_an_error(models, tmp_path):
    with pytest.raises(UserError, match="neither an export nor a run; give an exported folder"):
        load_predictor(tmp_path)
    run = models.run("klue_tc")
    with pytest.raises(UserError, match=f"neither an export nor a run; did you mean {run}"):
        load_predictor(run.parent.parent)
    with pytest.raises(UserError, match="no such device .*; write cpu, cuda, or cuda:1"):
        load_predictor(models.export("klue_tc"), device="tpu9")


def test_code_that_an_export_names_is_not_run(models, tmp_path):
    folder = shutil.copytree(models.export("klue_tc"), tmp_path / "hf")
    seal_folder(folder, model_class="their_models:Net")
    with pytest.raises(UserError, match="--model_name their_models:Net if you trust that code"):
        load_predictor(folder)


# ------------------------------------------------------------------------------------------ rows


def row_of(task, **row):
    return unlabelled(TaskRegistry.get(task), row)


def test_an_entity_may_be_given_as_a_word_of_the_sentence():
    row = row_of("klue_re", sentence="이순신은 조선의 장군", subject="이순신", object="조선")
    assert row["subject"] == {"word": "이순신", "start": 0, "end": 3}
    assert row["object"] == {"word": "조선", "start": 5, "end": 7}
    assert row["label"] is None
    cell = row_of("klue_re", sentence="가 나", subject='{"start": 0, "end": 1}', object="나")
    assert cell["subject"] == {"start": 0, "end": 1}
    with pytest.raises(UserError, match="the object '일본' is not in the sentence"):
        row_of("klue_re", sentence="이순신은 조선의 장군", subject="이순신", object="일본")
    with pytest.raises(UserError, match="the subject is 5, expected a word of the sentence"):
        row_of("klue_re", sentence="가 나", subject=5, object="나")


def test_sentences_are_split_into_words_and_dialogues_into_turns():
    assert row_of("klue_dp", words="나는 집에 간다")["words"] == ["나는", "집에", "간다"]
    with pytest.raises(UserError, match="column 'words' contains no word"):
        row_of("klue_dp", words=" ")
    spoken = row_of("klue_dst_gen", history="숙소요.\n어디요?")["history"]
    assert spoken == [{"role": "user", "text": "숙소요."}, {"role": "sys", "text": "어디요?"}]
    assert row_of("klue_dst_gen", history=json.dumps(spoken))["history"] == spoken
    with pytest.raises(UserError, match="'history' contains 5, expected turns"):
        row_of("klue_dst_gen", history=5)
    with pytest.raises(UserError, match="turn .* has no role and text"):
        row_of("klue_dst_gen", history=[{"role": "user"}])


def test_a_question_needs_a_passage():
    with pytest.raises(UserError, match="column 'context' contains no text"):
        row_of("klue_mrc", question="누구?", context="  ")


def test_texts_from_the_command_line():
    mrc, re = map(TaskRegistry.get, ("klue_mrc", "klue_re"))
    assert from_texts(mrc, ["누구?", "나"]) == {"question": "누구?", "context": "나"}
    with pytest.raises(UserError, match="1 text.* klue_mrc reads question, context; give --text"):
        from_texts(mrc, ["누구?"])
    with pytest.raises(UserError, match="reads sentence, subject, object; give a file"):
        from_texts(re, ["가"])
