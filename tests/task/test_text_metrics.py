"""Scores of answers, dialogue states and summaries, compared with independent implementations."""

import random
import string
import unicodedata
from collections import Counter
from difflib import SequenceMatcher

import pytest
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu import corpus_bleu

from ke_t5.task.metrics import bleu, dialogue_state, klue_mrc, korquad, rouge

ALPHABET = "가나다ab A.,!'\"《》〈〉<>()‘’“”\u3000\xa0\n-"


def folded(text, symbols=""):
    """Symbols to spaces, lower case, without ASCII punctuation, white space collapsed."""
    text = "".join(" " if c in symbols else c for c in text).lower()
    return " ".join("".join(c for c in text if c not in string.punctuation).split())


def longest_common_run(a, b):
    return max(
        (j - i for i in range(len(a)) for j in range(i, len(a) + 1) if a[i:j] in b), default=0
    )


def reference_klue_mrc(references, prediction):
    if prediction is None:
        return 0.0, 0.0
    answer, wanted = folded(prediction), [folded(r) for r in references] or [""]
    scores = []
    for text in wanted:
        if not text:
            scores.append(float(not answer))
        else:
            run = longest_common_run(answer, text)
            scores.append(2 * run / (len(answer) + len(text)))
    return float(answer in wanted), max(scores)


def reference_korquad(references, prediction):
    if prediction is None:
        return 0.0, 0.0
    symbols = "'\"《》<>〈〉()‘’"
    answer, wanted = folded(prediction, symbols), [folded(r, symbols) for r in references]
    scores = []
    for text in wanted:
        a, b = Counter("".join(answer.split())), Counter("".join(text.split()))
        same = sum(min(a[c], b[c]) for c in a)
        scores.append(2 * same / (a.total() + b.total()) if same else 0.0)
    return float(answer in wanted), max(scores)


def random_answer(rng):
    return "".join(rng.choices(ALPHABET, k=rng.randint(0, 8)))


@pytest.mark.parametrize("seed", range(30))
def test_scores_of_answers_equal_their_definitions(seed):
    rng = random.Random(seed)
    targets, predictions = [], []
    for _ in range(20):
        references = [random_answer(rng) for _ in range(rng.randint(1, 3))]
        targets.append(references)
        predictions.append(rng.choice([random_answer(rng), references[0].upper(), "", None]))
    pairs = [reference_korquad(t, p) for t, p in zip(targets, predictions, strict=True)]
    exact, overlap = (100 * sum(column) / 20 for column in zip(*pairs, strict=True))
    expected = {"exact_match": exact, "f1": overlap}
    assert korquad(targets, predictions) == pytest.approx(expected, abs=1e-9)
    targets[0] = []  # a question without an answer
    pairs = [reference_klue_mrc(t, p) for t, p in zip(targets, predictions, strict=True)]
    exact, run = (100 * sum(column) / 20 for column in zip(*pairs, strict=True))
    expected = {"exact_match": exact, "rouge_w": run}
    assert klue_mrc(targets, predictions) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(
    ("reference", "prediction", "exact"),
    [
        ("'토지'", "토지", 100.0),
        ("토지(소설)", "토지소설", 100.0),
        ("SKT Inc.", "skt\u3000inc", 100.0),
        ("《토지》", "토지", 0.0),
        ("‘토지’", "토지", 0.0),
        ("토지 소설", "토지소설", 0.0),
        # The only match of the normaliser's pattern: a quote before a fixed sequence.
        ("가《()‘’나", "가 나", 100.0),
    ],
)
def test_klue_mrc_normalises_as_the_official_program_does(reference, prediction, exact):
    assert klue_mrc([[reference]], [prediction])["exact_match"] == exact


@pytest.mark.parametrize(
    ("prediction", "score"),
    [("", 100.0), ("!?", 100.0), ("답", 0.0), (None, 0.0)],
)
def test_klue_mrc_of_a_question_without_an_answer(prediction, score):
    assert klue_mrc([[]], [prediction]) == {"exact_match": score, "rouge_w": score}


def test_rouge_w_is_about_the_longest_run_in_characters():
    # "세종 대" is shared: 4 of 5 and 4 of 6 characters.
    assert klue_mrc([["세종 대왕"]], ["큰세종 대군"])["rouge_w"] == pytest.approx(100 * 8 / 11)
    assert klue_mrc([["왕", "세종대왕"]], ["세종대왕"])["rouge_w"] == 100.0


def test_rouge_w_keeps_difflibs_junk_rule():
    reference = "가나다라마" * 52  # 200 or more characters: frequent ones are junk
    prediction = reference[11:-10]
    assert klue_mrc([[reference]], [prediction])["rouge_w"] == 0.0
    match = SequenceMatcher(None, prediction, reference, autojunk=False)
    assert match.find_longest_match(0, 239, 0, 260).size == 239
    assert klue_mrc([[reference[:199]]], [reference[:190]])["rouge_w"] > 90


@pytest.mark.parametrize(
    ("references", "prediction", "exact", "f1"),
    [
        (["《토지》"], "토지", 100.0, 100.0),
        (["토지 소설"], "토지소설", 0.0, 100.0),
        (["가나다"], "가나라", 0.0, 200 / 3),
        (["가가나"], "가나나", 0.0, 200 / 3),
        (["“가”"], "가", 0.0, 50.0),
        (["()"], "", 100.0, 0.0),
        (["나", "가"], "가", 100.0, 100.0),
        (["가"], None, 0.0, 0.0),
    ],
)
def test_korquad_by_hand(references, prediction, exact, f1):
    found = korquad([references], [prediction])
    assert found == pytest.approx({"exact_match": exact, "f1": f1})


def reference_turn(gold, predicted):
    if not gold:
        return float(not predicted)
    hits = len([g for g in gold if g in predicted])
    wrong = len([p for p in predicted if p not in gold])
    if not hits:
        return 0.0
    precision, recall = hits / (hits + wrong), hits / len(gold)
    return 2 * precision * recall / (precision + recall)


@pytest.mark.parametrize("seed", range(20))
def test_dialogue_state_equals_its_definition(seed):
    rng = random.Random(seed)
    slots = ["식당-지역-서울", "식당-종류-일식", "숙소-이름-가", "숙소-이름-나"]
    targets = [rng.choices(slots, k=rng.randint(0, 4)) for _ in range(15)]
    predictions = [rng.choice([t, t[1:], rng.choices(slots, k=rng.randint(0, 4))]) for t in targets]
    pairs = list(zip(targets, predictions, strict=True))
    hits = sum(len(set(t) & set(p)) for t, p in pairs)
    asked = sum(len(set(t)) + len(set(p)) for t, p in pairs)
    expected = {
        "joint_goal_accuracy": 100 * sum(set(t) == set(p) for t, p in pairs) / 15,
        "slot_f1": 100 * sum(reference_turn(t, p) for t, p in pairs) / 15,
        "slot_micro_f1": 200 * hits / asked if asked else 0.0,
    }
    assert dialogue_state(targets, predictions) == pytest.approx(expected, abs=1e-9)


def test_dialogue_state_by_hand():
    found = dialogue_state([["a", "b"], [], [], ["a"]], [["a", "a"], [], ["c"], ["a"]])
    assert found == pytest.approx(
        {
            "joint_goal_accuracy": 50.0,  # turns 2 and 4
            "slot_f1": 100 * (2 / 3 + 1 + 0 + 1) / 4,
            "slot_micro_f1": 100 * 2 * 2 / (3 + 3),
        }
    )


def test_dialogue_state_counts_duplicates_in_f1_only():
    found = dialogue_state([["a"]], [["a", "b", "b"]])
    assert found["slot_f1"] == pytest.approx(100 * 2 * (1 / 3) / (1 / 3 + 1))
    assert dialogue_state([["a"]], [["a", "a"]])["joint_goal_accuracy"] == 100.0


@pytest.mark.parametrize("text", ["한국어 문장이다.", "세종대왕은 조선의 왕이다."])
def test_identical_korean_texts_have_rouge_100(text):
    found = rouge([text], [unicodedata.normalize("NFD", text)])
    assert {k: v for k, v in found.items() if "[kiwi]" not in k} == pytest.approx(
        {
            **dict.fromkeys(("rouge1[syllable]", "rouge2[syllable]", "rougeL[syllable]"), 100.0),
            **dict.fromkeys(("rouge1[eojeol]", "rouge2[eojeol]", "rougeL[eojeol]"), 100.0),
        }
    )


def test_wrong_korean_with_the_right_digits_is_wrong():
    assert rouge(["가나다 12"], ["라마바 12"])["rouge1[syllable]"] == pytest.approx(40.0)


def test_rouge_by_hand():
    found = rouge(["나는 학교에 간다", "가"], ["나는 간다", "나"])
    assert found["rouge1[eojeol]"] == pytest.approx(100 * (2 * 2 / (3 + 2)) / 2)
    assert found["rouge2[eojeol]"] == 0.0
    # 나는간다 out of 나는학교에간다: 4 of 7 and 4 of 4 characters, in order.
    assert found["rougeL[syllable]"] == pytest.approx(100 * (2 * 4 / (7 + 4)) / 2)


def test_bleu_names_its_tokenizer_and_counts_an_unread_output_as_empty():
    targets = ["나는 오늘 학교에 간다 .", "너는 어제 집에 갔다 ."]
    assert bleu(targets, targets) == {"bleu[intl]": pytest.approx(100.0)}
    # Every n-gram is right, but with 5 words instead of 10: only the brevity penalty.
    assert bleu(targets, [targets[0], None])["bleu[intl]"] == pytest.approx(36.7879441171)


@pytest.mark.parametrize("texts", [["날씨가 좋다", "비가 온다"], ["가 나 다 라 마", "바 사 아 자"]])
def test_bleu_equals_sacrebleus_of_the_corpus(texts):
    predictions = [texts[0], texts[1][:-1]]
    wanted = corpus_bleu(predictions, [texts], tokenize="intl", force=True).score
    assert bleu(texts, predictions) == {"bleu[intl]": wanted}


def test_korquad2_leaves_out_html_and_spaces():
    from ke_t5.task.metrics import korquad2

    gold = [["<td>서울 <b>특별시</b></td>"]] * 4
    answers = ["서울특별시", "<p>서울 특별</p>", "<script>서울특별시</script>", None]
    f1 = 2 * 4 / (4 + 5)
    expected = {"exact_match": 25.0, "f1": pytest.approx(100 * (1 + f1) / 4)}
    assert korquad2(gold, answers) == expected


def test_exact_match_is_of_words():
    from ke_t5.task.metrics import exact_match

    gold = ["한달 동안  온 것"] * 4
    assert exact_match(gold, [" 한달 동안 온 것", "한달동안 온 것", None, ""]) == {
        "exact_match": 25.0
    }


class Syllables:
    @staticmethod
    def tokenize(text):
        return [character for character in text if character.strip()]


@pytest.mark.parametrize("length", [0, 1, 5, 90])
def test_rouge_is_that_of_rouge_score(length):
    draw = random.Random(length)
    pairs = [
        ["".join(draw.choices("가나다라 ", k=draw.randint(0, length))) for _ in range(2)]
        for _ in range(50)
    ]
    scorer = RougeScorer(["rouge1", "rouge2", "rougeL"], tokenizer=Syllables)
    for target, prediction in pairs:
        found = rouge([target], [prediction])
        for kind, score in scorer.score(target, prediction).items():
            assert found[f"{kind}[syllable]"] == 100 * score.fmeasure
