"""Dialogues with their states (KLUE WoS): five domains, 45 slots, the full state at each turn."""

from __future__ import annotations

import re
from functools import cache
from typing import NamedTuple

from ke_t5.sample.grammar import load_grammar
from ke_t5.sample.sampler import TextSampler

_DOMAINS = ("관광", "숙소", "식당", "지하철", "택시")
_UNLISTED_NAMES = 0.06  # 2,697 of 46,465 values of the real dev split are not in its ontology
# Slot -> value, in the order in which the user gave them.
State = dict[str, str]


class Turn(NamedTuple):
    """A user's turn: the step of the dialogue, the text, and the state after it."""

    step: str
    text: str
    state: list[str]


@cache
def _slots() -> dict[str, list[str]]:
    """Slot -> values, in the order of the release's ontology."""
    lists = load_grammar("dialogues").lists
    return {name: lists[name] for name in lists if name.partition("-")[0] in _DOMAINS}


def ontology() -> dict[str, list[str]]:
    """The ontology in the format of the release."""
    return {slot: ["none", "dontcare", *values] for slot, values in _slots().items()}


def _spoken(sampler: TextSampler, value: str) -> str:
    """The spoken form of a value: 18:30 becomes 18시 30분."""
    hour, colon, minute = value.partition(":")
    if colon:
        return f"{int(hour)}시" + (f" {minute}분" if minute != "00" else "")
    spoken = f"spoken {value}"
    return sampler.word(spoken) if spoken in sampler.grammar.recipes else value


def _ask(sampler: TextSampler, domain: str, step: str, state: State) -> str:
    """The user's text for a step; updates the state with its values."""
    template = sampler.any_of(sampler.entries(f"{domain} {step}"))
    words = {}
    if "{flag}" in template:
        flags = [f for f in sampler.grammar.families("flag") if f"{domain}-{f}" in _slots()]
        slot = sampler.any_of(flags)
        yes = sampler.chance(0.75)
        state[f"{domain}-{slot}"] = "yes" if yes else "no"
        words["flag"] = sampler.entries(f"flag {slot}")[0 if yes else 1]
    for slot in re.findall(r"\{([가-힣]\w*)", template):
        name = f"{domain}-{slot.replace('_', ' ')}"
        value = sampler.pick([v for v in _slots()[name] if v not in state.values()])
        if slot == "이름" and sampler.chance(_UNLISTED_NAMES):
            value = sampler.word("unlisted_name")
        state[name] = value
        words[slot] = _spoken(sampler, value)
    return sampler.fill(template, words)


def _domain_turns(sampler: TextSampler, domain: str, state: State) -> list[Turn]:
    """The turns of one domain."""
    steps = ["search"]
    steps += ["wish"] if domain in ("지하철", "택시") or sampler.chance(0.6) else []
    steps += ["name"] if f"{domain} name" in sampler.grammar.lists else []
    turns = []
    for step in steps:
        turns.append(Turn(step, _ask(sampler, domain, step, state), _as_list(state)))
        slots = sampler.entries("indifferent_slots")
        candidates = [slot for slot in slots if f"{domain}-{slot}" in state]
        if step == "search" and candidates and sampler.chance(0.15):
            slot = sampler.any_of(candidates)
            state[f"{domain}-{slot}"] = "dontcare"
            turns.append(Turn("wish", sampler.word(f"indifferent {slot}"), _as_list(state)))
    return turns


def _as_list(state: State) -> list[str]:
    return [f"{slot}-{value}" for slot, value in state.items()]


def _row(sampler: TextSampler) -> dict:
    """A dialogue: its domains and turns."""
    domains = sampler.random.sample(_DOMAINS, sampler.any_of((1, 1, 2, 2, 3)))
    state: State = {}
    turns = [Turn("greeting", sampler.word("greeting"), [])] if sampler.chance(0.15) else []
    for domain in domains:
        turns += _domain_turns(sampler, domain, state)
    closing = sampler.any_of(sampler.entries("closing"))
    turns.append(Turn("closing", closing, _as_list(state)))
    dialogue = []
    for step, text, values in turns:
        code = "".join(sampler.any_of("ABCDEFGHJK2345") for _ in range(5))
        answer = sampler.fill(sampler.any_of(sampler.entries(f"answer {step}")), {"code": code})
        dialogue.append({"role": "user", "text": text, "state": values})
        dialogue.append({"role": "sys", "text": answer})
    return {"domains": domains, "dialogue": dialogue}


def klue_wos(sampler: TextSampler, num_dialogues: int) -> list[dict]:
    """The dialogues of KLUE WoS."""
    return [_row(sampler) for _ in range(num_dialogues)]
