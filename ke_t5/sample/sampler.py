"""Deterministic sampling of the sample's sentences from the data files.

The slots of a template are in braces: `{name}` is a value drawn before, otherwise an entry of the
list, or the text of the recipe, `name`. The name may be followed by modifiers:

    {objects stem}      the list "objects 읽" if the slot `stem` is 읽
    {surnames*}         any entry; without *, the last seventh is reserved for held-out splits
    {places-place}      any entry except the value of the slot `place`
    {stem.past}         a form of a verb, see korean.FORMS
    {who:은}            with the correct particle (은 or 는); {who::은} is only the particle,
                        {who:~은} has the incorrect one
    {3..98}             a number; {01..12} has two digits
"""

from __future__ import annotations

import functools
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from ke_t5.sample.grammar import load_grammar
from ke_t5.sample.korean import FORMS, particle, wrong_particle

T = TypeVar("T")
Values = Mapping[str, str]
# (slot, start, end), half-open in characters
Span = tuple[str, int, int]
# The last seventh of a list only occurs in held-out splits.
_HELD_OUT_SHARE = 7
SLOT = re.compile(
    r"\{(?:(?P<low>\d+)\.\.(?P<high>\d+)|(?P<name>\w+)(?: (?P<key>\w+))?"
    r"(?P<any>\*)?(?:-(?P<but>\w+))?(?P<forms>(?:\.\w+)*))(?::(?P<mode>[~:])?(?P<particle>\w+))?\}"
)


@dataclass(frozen=True)
class _Slot:
    """A slot of a template (see the module's docstring), and the text before it."""

    before: str
    low: str | None
    high: str | None
    name: str
    key: str | None
    any: str | None
    but: str | None
    forms: tuple[str, ...]
    mode: str | None
    particle: str | None


@functools.cache
def _slots(template: str) -> tuple[tuple[_Slot, ...], str]:
    """The slots of a template, and the text after the last one."""
    found, position = [], 0
    for match in SLOT.finditer(template):
        parts = match.groupdict()
        forms = tuple((parts.pop("forms") or "").split(".")[1:])
        found.append(_Slot(template[position : match.start()], **parts, forms=forms))
        position = match.end()
    return tuple(found), template[position:]


def _with_particle(word: str, mode: str | None, form: str | None) -> str:
    """The word with a particle, or only the particle; see the module's docstring."""
    if not form:
        return word
    if mode == ":":
        return particle(word, form)
    return word + (wrong_particle if mode == "~" else particle)(word, form)


class TextSampler:
    """Random choices for one split of one release.

    Args:
        seed: release and split, so that no split depends on the size of another.
        grammar: name of the data file to draw from.
        unseen: the share of words drawn from the held-out ones; 0 for training splits.
    """

    def __init__(self, seed: str, grammar: str = "words", *, unseen: float = 0.0) -> None:
        self.random = random.Random(seed)
        self.grammar = load_grammar(grammar)
        self.unseen = unseen

    def pick(self, words: Sequence[T]) -> T:
        """One of the words: a held-out one with probability `unseen`, otherwise another one."""
        border = len(words) - len(words) // _HELD_OUT_SHARE
        if border < len(words) and self.chance(self.unseen):
            return words[self.random.randrange(border, len(words))]
        return words[self.random.randrange(border)]

    def any_of(self, choices: Sequence[T]) -> T:
        """One of the choices, including held-out ones."""
        return self.random.choice(choices)

    def another(self, choices: Sequence[T], taken: T | None) -> T:
        """One of the choices except `taken`."""
        return self.any_of([choice for choice in choices if choice != taken])

    def chance(self, share: float) -> bool:
        return self.random.random() < share

    def between(self, low: int, high: int) -> int:
        """An integer from low to high (inclusive)."""
        return self.random.randint(low, high)

    def noisy(self, label: T, labels: Sequence[T], share: float) -> T:
        """The label, or in `share` of all cases a wrong one, as in human annotation."""
        return self.another(labels, label) if self.chance(share) else label

    def shuffled(self, items: Sequence[T]) -> list[T]:
        return self.random.sample(items, len(items))

    def balanced(self, labels: Sequence[T], num_rows: int) -> list[T]:
        """`num_rows` labels in random order, whose counts differ by at most one."""
        return self.shuffled([labels[row % len(labels)] for row in range(num_rows)])

    def rows(self, num_rows: int, **values: str) -> list[dict[str, str]]:
        """Rows of the recipe `row`; the slot `class` is balanced over the list `classes`."""
        labels = self.balanced(self.entries("classes"), num_rows)
        return [self.draw("row", **values, **{"class": label}) for label in labels]

    def entries(self, name: str) -> list[str]:
        """The entries of a list of the data file."""
        return self.grammar.lists[name]

    def draw(self, recipe: str, **values: str) -> dict[str, str]:
        """The given values and those of the recipe's slots, drawn in order."""
        slots = dict(values)
        for slot in self.grammar.recipes[recipe]:
            is_first = slot.percent is None or self.chance(slot.percent / 100)
            slots[slot.name] = self.fill(slot.text if is_first else slot.otherwise, slots).strip()
        return slots

    def word(self, name: str, values: Values | None = None) -> str:
        """The text of a recipe, or an entry of a list."""
        if name in self.grammar.recipes:
            return self.draw(name, **(values or {}))[name]
        return self.fill(self.pick(self.entries(name)), values or {})

    def fill(self, template: str, values: Values) -> str:
        """The template with its slots filled.

        >>> TextSampler("").fill("{who:은} {where}에 갔다.", {"who": "민수", "where": "부산"})
        '민수는 부산에 갔다.'
        """
        return self.fill_spans(template, values)[0] if "{" in template else template

    def fill_spans(self, template: str, values: Values) -> tuple[str, list[Span]]:
        """The template with its slots filled, and the spans of the slots without particles."""
        slots, rest = _slots(template)
        text, spans = "", []
        for slot in slots:
            text += slot.before
            word = self._word_of(slot, values)
            spans.append((slot.name, len(text), len(text) + len(word)))
            text += _with_particle(word, slot.mode, slot.particle)
        return text + rest, spans

    def _word_of(self, slot: _Slot, values: Values) -> str:
        """The word of a slot, without a particle."""
        if slot.low and slot.high:
            return f"{self.between(int(slot.low), int(slot.high)):0{len(slot.low)}d}"
        name = f"{slot.name} {values[slot.key]}" if slot.key else slot.name
        taken = values.get(slot.but) if slot.but else None
        if slot.any:
            word = self.fill(self.another(self.entries(name), taken), values)
        elif name in values:
            word = values[name]
        else:
            word = self.word(name, values)
            while word == taken:
                word = self.word(name, values)
        for form in slot.forms:
            word = FORMS[form](word)
        return word
