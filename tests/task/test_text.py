"""Text formats: literal examples, and round trips of targets."""

import itertools

import pytest

from ke_t5.task import labels
from ke_t5.task.text import (
    answer_to_text,
    dialogue,
    join_fields,
    mark_entities,
    number_to_text,
    question,
    relation,
    squeeze,
    state_to_text,
    summarize,
    text_to_answer,
    text_to_label,
    text_to_number,
    text_to_state,
)

PAIR = {"premise": "비가 온다.", "hypothesis": "젖는다.", "sentence1": "가", "sentence2": "나"}


@pytest.mark.parametrize(
    ("fields", "prefix", "text"),
    [
        (["premise", "hypothesis"], "klue_nli", "klue_nli premise: 비가 온다. hypothesis: 젖는다."),
        (["premise", "hypothesis"], "", "premise: 비가 온다. hypothesis: 젖는다."),
        (["sentence1", "sentence2"], "korsts", "korsts sentence1: 가 sentence2: 나"),
        ({"sentence": "premise"}, "nsmc", "nsmc sentence: 비가 온다."),
    ],
)
def test_join_fields(fields, prefix, text):
    assert join_fields(PAIR, fields, prefix=prefix) == text


def test_join_fields_without_names():
    assert join_fields(PAIR, ["premise"], named=False) == "비가 온다."


def test_summaries_name_their_kind():
    assert summarize({"article": "기사."}, kind="topic") == "summarize_topic: 기사."


def test_question_with_and_without_its_passage():
    row = {"question": "수도는?", "context": "서울은  수도."}
    text = question(row, prefix="klue_mrc")
    assert text == "klue_mrc question: 수도는? context: 서울은  수도."
    assert text[len(text) - len(row["context"]) :] == row["context"]
    assert (
        question(row, prefix="klue_mrc", with_context=False) == "klue_mrc trivia question: 수도는?"
    )
    assert question(row) == "question: 수도는? context: 서울은  수도."


def test_dialogue_begins_with_the_newest_turn():
    history = [
        {"role": "user", "text": "숙소요."},
        {"role": "sys", "text": "어디요?"},
        {"role": "user", "text": "서울."},
    ]
    expected = "klue_dst dialogue: user: 서울. sys: 어디요? user: 숙소요."
    assert dialogue({"history": history}, prefix="klue_dst") == expected


def entity(sentence, word, nth=0):
    start = [i for i in range(len(sentence)) if sentence.startswith(word, i)][nth]
    return {"word": word, "start": start, "end": start + len(word)}


@pytest.mark.parametrize(
    ("sentence", "subject", "object", "text"),
    [
        ("(주)에이는 C++ 회사다", "(주)에이", "C++", "*(주)에이*는 #C++# 회사다"),
        ("C++를 만든 (주)에이", "(주)에이", "C++", "#C++#를 만든 *(주)에이*"),
        ("서울시청", "서울", "시청", "*서울*#시청#"),
        ("서울시청", "시청", "서울", "#서울#*시청*"),
        ("서울시청", "서울시청", "서울", "*#서울#시청*"),
        ("서울시청", "서울시청", "시청", "*서울#시청#*"),
        ("서울시청", "울", "서울시청", "#서*울*시청#"),
        ("서울시청", "서울시", "울시청", "*서#울시*청#"),
        ("서울", "서울", "서울", "*#서울#*"),
        ("a\\1b", "\\1", "b", "a*\\1*#b#"),
    ],
)
def test_mark_entities(sentence, subject, object, text):
    marked = mark_entities(sentence, entity(sentence, subject), entity(sentence, object))
    assert marked.text == text


def test_mark_entities_says_where_the_words_now_stand():
    marked = mark_entities("나 서울시청 앞", {"start": 2, "end": 6}, {"start": 4, "end": 6})
    assert marked.text == "나 *서울#시청#* 앞"
    assert marked.text[slice(*marked.subject)] == "서울#시청#"
    assert marked.text[slice(*marked.object)] == "시청"


def test_mark_entities_keeps_every_span_of_every_pair():
    sentence = "가나다라"
    spans = list(itertools.combinations(range(5), 2))
    for (s, t), (u, v) in itertools.product(spans, spans):
        marked = mark_entities(sentence, {"start": s, "end": t}, {"start": u, "end": v})
        for span, word in ((marked.subject, sentence[s:t]), (marked.object, sentence[u:v])):
            inside = marked.text[slice(*span)]
            assert inside.replace("*", "").replace("#", "") == word
        assert marked.text[marked.subject[0] - 1] == "*" == marked.text[marked.subject[1]]
        assert marked.text[marked.object[0] - 1] == "#" == marked.text[marked.object[1]]
        assert marked.text.translate({42: None, 35: None}) == sentence


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"start": 0, "end": 0}, "subject 0..0: outside the 2 characters, or empty"),
        ({"start": 1, "end": 3}, "subject 1..3: outside"),
        ({"start": 0, "end": 1, "word": "나"}, "subject 0..1: got '가', expected '나'"),
    ],
)
def test_mark_entities_refuses_spans_that_are_not_there(wrong, message):
    with pytest.raises(ValueError, match=message):
        mark_entities("가나", wrong, {"start": 0, "end": 1})


def test_relation_moves_the_spans_with_the_prefix():
    row = {
        "sentence": "이순신은 조선의 장군",
        "subject": {"word": "이순신", "start": 0, "end": 3},
        "object": {"word": "장군", "start": 9, "end": 11},
    }
    marked = relation(row, prefix="klue_re")
    assert marked.text == "klue_re text: *이순신*은 조선의 #장군#"
    assert marked.text[slice(*marked.subject)] == "이순신"
    assert marked.text[slice(*marked.object)] == "장군"
    assert relation(row, named=False).text == "*이순신*은 조선의 #장군#"


GENERATIVE = ("KLUE_TC", "KLUE_NLI", "KLUE_RE", "KOR_3I4K", "NSMC", "KORNLI", "NIKL_COLA", "KHSD")


@pytest.mark.parametrize("name", [*GENERATIVE, "QPAIR", "KLUE_STS_BINARY"])
def test_every_label_is_read_back(name):
    known = getattr(labels, name)
    for key, word in zip(known.keys, known.words, strict=True):
        assert text_to_label(known, word) == key
        assert text_to_label(known, f"  {word.replace(' ', '   ')}\n") == key


@pytest.mark.parametrize("text", ["", "entail", "entailment.", "Entailment", "entail ment"])
def test_what_is_no_label_is_none(text):
    assert text_to_label(labels.KLUE_NLI, text) is None


@pytest.mark.parametrize(
    ("value", "text"), [(3.4444, "3.4"), (0, "0.0"), (5.0, "5.0"), (-0.01, "0.0")]
)
def test_numbers_have_one_decimal(value, text):
    assert number_to_text(value) == text


def test_numbers_are_read_back():
    for tenth in range(51):
        assert text_to_number(number_to_text(tenth / 10)) == tenth / 10
    assert text_to_number(" 3 ") == 3.0


@pytest.mark.parametrize("text", ["", "nan", "inf", "1e3", "3,4", "삼", "3.4.5", "1_0", "0x1"])
def test_what_is_no_number_is_none(text):
    assert text_to_number(text) is None


def test_answers_and_their_absence_are_read_back():
    answers = [{"text": "  《토지》 ", "start": 0}, {"text": "토지", "start": 3}]
    assert (
        text_to_answer(answer_to_text({"is_impossible": False, "answers": answers})) == "《토지》"
    )
    assert answer_to_text({"is_impossible": True, "answers": answers}) == "impossible"
    assert text_to_answer(answer_to_text({"is_impossible": True, "answers": []})) == ""


@pytest.mark.parametrize(
    "state",
    [
        [],
        ["관광-이름-명동 쇼핑 거리"],
        [
            "식당-이름-꿔=바로우",
            "식당-종류-분식, 회개",
            "식당-예약 시간-23:20",
            "식당-주류 판매-yes",
        ],
    ],
)
def test_states_are_read_back(state):
    assert text_to_state(state_to_text(state)) == state


@pytest.mark.parametrize(
    ("text", "state"),
    [
        ("", []),
        ("식당-종류-일식당 | 식당-종류-일식당|", ["식당-종류-일식당"]),
        (" 식당-종류-일식당  |none ", ["식당-종류-일식당", "none"]),
        ("어쩌고", ["어쩌고"]),
    ],
)
def test_states_that_a_model_garbled(text, state):
    assert text_to_state(text) == state


def test_state_that_could_not_be_read_back_is_refused():
    with pytest.raises(ValueError, match="contains the separator"):
        state_to_text(["식당-이름-가|나"])


def test_squeeze_knows_unicode_spaces():
    assert squeeze("\u3000가\xa0 나\t") == "가 나"
