"""Korean morphology for templates: particles that agree with the preceding word, and verb forms."""

from __future__ import annotations

from collections.abc import Callable

# Form after a final consonant/form after a vowel; templates may name either.
_PARTICLES = [
    pair.split("/")
    for pair in (
        "은/는 이/가 을/를 과/와 으로/로 이라/라 이라는/라는 이랑/랑 이냐/냐 이다/다 이며/며 "
        "이나/나 이란/란 이었다/였다"
    ).split()
]
_BY_FORM = {form: pair for pair in reversed(_PARTICLES) for form in pair}
# The final consonant of a digit or Latin letter when read aloud; the others end in a vowel.
_HEARD_FINALS = dict(zip("013678LMNR", "ㅇㄹㅁㄱㄹㄹㄹㅁㄴㄹ", strict=True))
# The contraction of a stem's final vowel with 아/어.
_MERGED = {"ㅗ": "ㅘ", "ㅜ": "ㅝ", "ㅣ": "ㅕ", "ㅚ": "ㅙ"}
_AFTER_PAST = str.maketrans({"였": "여서", "았": "아서", "었": "어서"})
_VOWELS = "ㅏㅐㅑㅒㅓㅔㅕㅖㅗㅘㅙㅚㅛㅜㅝㅞㅟㅠㅡㅢㅣ"
_FINALS = ("", *"ㄱㄲㄳㄴㄵㄶㄷㄹㄺㄻㄼㄽㄾㄿㅀㅁㅂㅄㅅㅆㅇㅈㅊㅋㅌㅍㅎ")


def _split(syllable: str) -> tuple[int, str, str]:
    """(index of the first consonant, vowel, final consonant or '')."""
    rest, final = divmod(ord(syllable) - ord("가"), len(_FINALS))
    lead, vowel = divmod(rest, len(_VOWELS))
    return lead, _VOWELS[vowel], _FINALS[final]


def _join(lead: int, vowel: str, final: str) -> str:
    place = (lead * len(_VOWELS) + _VOWELS.index(vowel)) * len(_FINALS) + _FINALS.index(final)
    return chr(ord("가") + place)


def final_consonant(word: str) -> str:
    """The final consonant of `word` as spoken, or ''; closing quotes and brackets are skipped.

    >>> [final_consonant(word) for word in ("서울", "부산시", "BTS", "3")]
    ['ㄹ', '', '', 'ㅁ']
    """
    for character in reversed(word):
        if "가" <= character <= "힣":
            return _split(character)[2]
        if character.isalnum():
            return _HEARD_FINALS.get(character.upper(), "")
    return ""


def particle(word: str, form: str) -> str:
    """The form of a particle that is correct after `word`; invariable particles are unchanged.

    >>> particle("학교", "은"), particle("서울", "으로"), particle("부산", "에")
    ('는', '로', '에')
    """
    if form not in _BY_FORM:
        return form
    after_consonant, after_vowel = _BY_FORM[form]
    heard = final_consonant(word)
    if not heard or (heard == "ㄹ" and after_consonant == "으로"):
        return after_vowel
    return after_consonant


def wrong_particle(word: str, form: str) -> str:
    """The form of a particle that is incorrect after `word`.

    >>> wrong_particle("학교", "을"), wrong_particle("서울", "을")
    ('을', '를')
    """
    return next(other for other in _BY_FORM[form] if other != particle(word, form))


def past_stem(stem: str) -> str:
    """The past stem of a regular verb.

    >>> [past_stem(stem) for stem in ("먹", "찾", "가", "보", "마시", "배우", "시작하", "되", "쓰")]
    ['먹었', '찾았', '갔', '봤', '마셨', '배웠', '시작했', '됐', '썼']
    """
    lead, vowel, final = _split(stem[-1])
    if stem.endswith("하"):
        return stem[:-1] + "했"
    if final:
        return stem + past_ending(stem)
    if vowel == "ㅡ":
        vowel = "ㅓ"
    return stem[:-1] + _join(lead, _MERGED.get(vowel, vowel), "ㅆ")


def _is_closed(stem: str) -> bool:
    """Whether a stem ends in a consonant other than ㄹ, so that endings add a syllable."""
    return _split(stem[-1])[2] not in ("", "ㄹ")


def _with_final(stem: str, final: str, syllable: str) -> str:
    """The stem with a final consonant, or with a further syllable if it is closed."""
    lead, vowel, _ = _split(stem[-1])
    return stem + syllable if _is_closed(stem) else stem[:-1] + _join(lead, vowel, final)


def informal(stem: str) -> str:
    """The informal form in 아/어, which takes 요 to become polite.

    >>> [informal(stem) for stem in ("먹", "가", "마시", "정리하", "쓰", "보내")]
    ['먹어', '가', '마셔', '정리해', '써', '보내']
    """
    past = past_stem(stem)
    if past[-1] in "았었":
        return past[:-1] + ("아" if past[-1] == "았" else "어")
    lead, vowel, _ = _split(past[-1])
    return past[:-1] + _join(lead, vowel, "")


def past_ending(stem: str) -> str:
    """The past tense morpheme after a stem, as in the lemmas of KLUE DP: 였, 았 or 었."""
    if stem.endswith("하"):
        return "였"
    return "았" if _split(stem[-1])[1] in "ㅏㅗ" else "었"


def surface(morphemes: str) -> str:
    """The concatenated forms of the morphemes.

    >>> surface("설명/NNG+하/XSV")
    '설명하'
    """
    return "".join(morpheme.rsplit("/", 1)[0] for morpheme in morphemes.split("+"))


# Name in templates -> form of a word; the examples are 먹, 가 and 만들.
FORMS: dict[str, Callable[[str], str]] = {
    "past": past_stem,  # 먹었, 갔, 만들었
    "past_ending": past_ending,  # 었, 았, 었
    "present": lambda stem: _with_final(stem, "ㄴ", "는") + "다",  # 먹는다, 간다, 만든다
    "future": lambda stem: _with_final(stem, "ㄹ", "을"),  # 먹을, 갈, 만들
    "progressive": lambda stem: _with_final(stem, "", "") + "는",  # 먹는, 가는, 만드는
    "adnominal": lambda stem: _with_final(stem, "ㄴ", "은"),  # 먹은, 간, 만든
    "adnominal_ending": lambda stem: "은" if _is_closed(stem) else "ㄴ",  # 은, ㄴ, ㄴ
    "informal": informal,  # 먹어, 가, 만들어
    "sequential_ending": lambda stem: past_ending(stem).translate(_AFTER_PAST),  # 어서, 아서, 어서
    "surface": surface,  # 설명/NNG+하/XSV: 설명하
}
