"""Lists, templates and recipes of the sample's data files, and what is drawn from them."""

from __future__ import annotations

import doctest
import re
from pathlib import Path
from types import ModuleType

import pytest

from ke_t5.sample import cache, entities, grammar, korean, trees
from ke_t5.sample import sampler as sampler_module
from ke_t5.sample.cache import generator_version
from ke_t5.sample.grammar import Slot, load_grammar, parse_grammar
from ke_t5.sample.sampler import SLOT, TextSampler

TEXT = """
# a comment
cities
    서울|부산
    대구
places
    @cities|제주
color 하늘
    파랑
date = {1..12}월
trip:
    city = {cities*}
    guest = (0%) {date} | 손님
    host = (100%) 주인 | 손님
    trip = {city:으로} 가는 {guest}
"""


@pytest.fixture
def sampler() -> TextSampler:
    made = TextSampler("seed")
    made.grammar = parse_grammar(TEXT)
    return made


def test_lists_take_in_the_entries_of_others():
    assert parse_grammar(TEXT).lists["places"] == ["서울", "부산", "대구", "제주"]


def test_a_file_may_replace_a_list_and_a_recipe_of_its_base():
    base = parse_grammar("cities\n    서울\ndate = 1월\n")
    own = parse_grammar("date\n    2월\ncities\n    부산\n", base)
    assert own.lists == {"cities": ["부산"], "date": ["2월"]}
    assert not own.recipes and list(base.recipes) == ["date"]
    assert base.lists == {"cities": ["서울"]}


def test_recipes_have_chances_and_alternatives():
    recipes = parse_grammar(TEXT).recipes
    assert recipes["date"] == [Slot("date", "{1..12}월")]
    assert recipes["trip"][1] == Slot("guest", "{date}", 0, "손님")


def test_a_line_of_a_recipe_that_assigns_nothing_is_named():
    with pytest.raises(ValueError, match="not `name = text`: 'city'"):
        parse_grammar("trip:\n    city\n")


def test_a_recipe_draws_its_slots_in_order(sampler: TextSampler):
    drawn = [sampler.draw("trip", extra="x") for _ in range(30)]
    assert {values["city"] for values in drawn} == {"서울", "부산", "대구"}
    assert all(values["guest"] == "손님" and values["host"] == "주인" for values in drawn)
    shown = {values["trip"] for values in drawn}
    assert shown == {"서울로 가는 손님", "부산으로 가는 손님", "대구로 가는 손님"}
    assert drawn[0]["extra"] == "x"


@pytest.mark.parametrize(
    "template, text",
    [
        ("{who:은} 갔다", "민수는 갔다"),
        ("{who:~은} 갔다", "민수은 갔다"),
        ("{color what}", "파랑"),
        ("{stem.past}다", "먹었다"),
        ("{07..07}시", "07시"),
        ("{pair*-who}", "지영"),
        ("{pair-who}", "지영"),
        ("{who::은}", "는"),
        ("{morphemes.surface.informal}요", "설명해요"),
    ],
)
def test_templates_are_filled(sampler: TextSampler, template: str, text: str):
    sampler.grammar.lists["pair"] = ["민수", "지영"]
    values = {"who": "민수", "what": "하늘", "stem": "먹", "morphemes": "설명/NNG+하/XSV"}
    assert sampler.fill(template, values) == text


def test_spans_leave_particles_out(sampler: TextSampler):
    text, spans = sampler.fill_spans("{who:은} {where}에 갔다.", {"who": "민수", "where": "부산"})
    assert text == "민수는 부산에 갔다."
    assert spans == [("who", 0, 2), ("where", 4, 6)]


@pytest.mark.parametrize("module", [entities, grammar, korean, sampler_module, trees])
def test_the_examples_of_the_documentation_are_true(module: ModuleType):
    results = doctest.testmod(module)
    assert results.attempted and not results.failed


def test_verbs_have_the_forms_of_the_comments():
    content = Path(korean.__file__).read_text(encoding="utf-8")
    lines = re.findall(r'^    "(\w+)": .*  # (\S+), (\S+), (\S+)$', content, flags=re.MULTILINE)
    assert len(lines) == 9
    for name, *expected in lines:
        assert [korean.FORMS[name](stem) for stem in ("먹", "가", "만들")] == expected, name


@pytest.mark.parametrize("name", sorted(path.stem for path in grammar.DATA.glob("*.txt")))
def test_all_braces_of_a_data_file_are_slots(name: str):
    lists, recipes = load_grammar(name)
    slots = [slot for recipe in recipes.values() for slot in recipe]
    texts = [entry for entries in lists.values() for entry in entries]
    texts += [text for slot in slots for text in (slot.text, slot.otherwise)]
    assert texts and not [text for text in texts if set("{}") & set(SLOT.sub("", text))]


def test_data_files_are_read_on_first_use(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(grammar, "DATA", tmp_path)
    load_grammar.cache_clear()
    with pytest.raises(FileNotFoundError, match="words.txt"):
        TextSampler("seed")
    load_grammar.cache_clear()


def test_another_data_file_is_another_version(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    versions = [generator_version()]
    for content in ("cities\n    서울\n", "cities\n    부산\n"):
        (tmp_path / "words.txt").write_text(content, encoding="utf-8")
        monkeypatch.setattr(cache, "DATA", tmp_path)
        versions.append(generator_version.__wrapped__())
    assert len(set(versions)) == 3
