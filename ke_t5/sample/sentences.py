"""Rows of one or two sentences with a label: KLUE YNAT, NLI and STS, KorNLI and KorSTS."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ke_t5.sample.sampler import TextSampler

# The values of a template of data/rows.json.
Values = dict[str, Any]
# The number of wordings that mention every part of a scene, so that changes are visible.
_NUM_WHOLE = 2


def ynat(sampler: TextSampler, num_rows: int) -> Iterator[Values]:
    """Headlines of KLUE YNAT with three votes on the topic."""
    for topic in sampler.balanced(sampler.entries("topics"), num_rows):
        values: Values = {**sampler.draw("row", topic=topic)}
        label = values["label"]
        values["annotators"] = [f"{sampler.between(1, 20):02d}" for _ in range(3)]
        values["votes"] = sampler.shuffled([label, label, values["vote"]])
        yield values | {"date": sampler.word(f"date {label}")}


def inferences(sampler: TextSampler, num_rows: int) -> list[Values]:
    """Sentence pairs for NLI with their label and the label intended by the author; each premise is
    used three times in a row."""
    rows: list[Values] = []
    labels = sampler.entries("labels")
    while len(rows) < num_rows:
        scene = sampler.draw("scene")
        premise = sampler.word("premises", scene)
        for author in sampler.shuffled(labels):
            label = sampler.noisy(author, labels, 0.05)
            template = sampler.pick(sampler.entries(f"hypotheses {author}"))
            hypothesis = sampler.fill(template, sampler.draw("addition", **scene))
            rows.append(dict(premise=premise, hypothesis=hypothesis, label=label, author=author))
    return rows[:num_rows]


def klue_nli(sampler: TextSampler, num_rows: int) -> Iterator[Values]:
    """The pairs of KLUE NLI."""
    for index, row in enumerate(inferences(sampler, num_rows)):
        source = ("wikitree", "policy", "airbnb")[index // 3 % 3]
        last = sampler.noisy(row["label"], sampler.entries("labels"), 0.2)
        yield row | {"source": source, "last_label": last}


def _changed(sampler: TextSampler, scene: dict[str, str], score: int) -> dict[str, str]:
    """A scene with the given similarity (0 to 4) to another."""
    change = sampler.draw("change", **scene)
    time, place = {"time": change["new_time"]}, {"place": change["new_place"]}
    if score == 4:
        return scene | time
    if score == 3:
        return scene | time | place
    if score == 2:
        return scene | place | {"thing": sampler.word("new_thing", scene)}
    other = sampler.draw("scene") | time | place
    return other | {"who": scene["who"]} if score == 1 else other


def similarities(sampler: TextSampler, num_rows: int) -> list[Values]:
    """Sentence pairs for STS with five to seven votes from 0 to 5, and their mean."""
    rows: list[Values] = []
    wordings = [entry.split(" => ") for entry in sampler.entries("wordings")]
    for _ in range(num_rows):
        score, scene = sampler.between(0, 5), sampler.draw("scene")
        plain, translated = sampler.any_of(wordings[:_NUM_WHOLE] if score in (3, 4) else wordings)
        other = scene if score == 5 else _changed(sampler, scene, score)
        # Similar pairs are mostly round-trip translations, as in the releases.
        second = translated if score == 5 or sampler.chance(0.15 + 0.15 * score) else plain
        shifts = [sampler.any_of((-1, 0, 0, 0, 1)) for _ in range(sampler.between(5, 7))]
        votes = [min(5, max(0, score + shift)) for shift in shifts]
        pair = {"first": sampler.fill(plain, scene), "second": sampler.fill(second, other)}
        rows.append(pair | {"votes": votes, "mean": sum(votes) / len(votes)})
    return rows


def klue_sts(sampler: TextSampler, num_rows: int) -> Iterator[Values]:
    """The pairs of KLUE STS."""
    for row in similarities(sampler, num_rows):
        mean, votes = row["mean"], row["votes"]
        raters = [f"{number:02d}" for number in sampler.random.sample(range(1, 21), len(votes))]
        row |= {"raters": raters, "origin": sampler.any_of(("airbnb", "policy"))}
        row |= {"agreement": ":".join(str(votes.count(score)) for score in range(6))}
        row |= {"rounded": round(mean, 1), "is_close": int(mean >= 3)}
        yield row | {"method": "rtt" if mean >= 2.5 else "sampled"}
