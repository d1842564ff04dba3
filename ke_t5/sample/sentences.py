"""Rows of one or two sentences with a label: KLUE ynat, NLI and STS, and the same for tables."""

from __future__ import annotations

from ke_t5.sample.sampler import TextSampler

# (premise, hypothesis, label, the writer's label)
Inference = tuple[str, str, str, str]
# (sentence, sentence, votes on their similarity)
Similarity = tuple[str, str, list[int]]
# Wordings that name every part of a scene, so that a change of time or place is visible.
_NUM_WHOLE = 2


def ynat(sampler: TextSampler, split: str, num_rows: int) -> list[dict]:
    """Rows of KLUE ynat as its release writes them."""
    rows, empty = [], ["해당없음"] * 3
    for index, topic in enumerate(sampler.balanced(sampler.entries("topics"), num_rows)):
        values = sampler.draw("row", topic=topic)
        label, names = values["label"], [f"{sampler.between(1, 20):02d}" for _ in range(3)]
        votes = sampler.shuffled([label, label, values["vote"]])
        scopes = {"first-scope": votes, "second-scope": empty, "third-scope": empty}
        rows.append(
            {
                "guid": f"ynat-v1_{split}_{index:05d}",
                "title": values["title"],
                "predefined_news_category": values["section"],
                "label": label,
                "annotations": {"annotators": names, "annotations": scopes},
                "url": values["url"],
                "date": sampler.word(f"date {label}"),
            }
        )
    return rows


def inferences(sampler: TextSampler, num_rows: int) -> list[Inference]:
    """Pairs for NLI; a premise is used three times in a row."""
    rows: list[Inference] = []
    labels = sampler.entries("labels")
    while len(rows) < num_rows:
        scene = sampler.draw("scene")
        premise = sampler.word("premises", scene)
        for author in sampler.shuffled(labels):
            label = sampler.noisy(author, labels, 0.05)
            template = sampler.pick(sampler.entries(f"hypotheses {author}"))
            hypothesis = sampler.fill(template, sampler.draw("addition", **scene))
            rows.append((premise, hypothesis, label, author))
    return rows[:num_rows]


def klue_nli(sampler: TextSampler, split: str, num_rows: int) -> list[dict]:
    """Rows of KLUE NLI as its release writes them."""
    rows, labels = [], sampler.entries("labels")
    source_key = "genre" if split == "train" else "source"  # as in the release
    for index, (premise, hypothesis, gold, author) in enumerate(inferences(sampler, num_rows)):
        row = {
            "guid": f"klue-nli-v1_{split}_{index:05d}",
            source_key: ("wikitree", "policy", "airbnb")[index // 3 % 3],
            "premise": premise,
            "hypothesis": hypothesis,
            "gold_label": gold,
            "author": author,
        }
        row |= {f"label{number}": gold for number in range(2, 5)}
        rows.append(row | {"label5": sampler.noisy(gold, labels, 0.2)})
    return rows


def _changed(sampler: TextSampler, scene: dict[str, str], score: int) -> dict[str, str]:
    """A scene that shares with another what a similarity of 0 to 4 leaves in common."""
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


def similarities(sampler: TextSampler, num_rows: int) -> list[Similarity]:
    """Pairs for STS with five to seven votes of 0 to 5."""
    rows: list[Similarity] = []
    wordings = [entry.split(" => ") for entry in sampler.entries("wordings")]
    for _ in range(num_rows):
        score, scene = sampler.between(0, 5), sampler.draw("scene")
        plain, translated = sampler.any_of(wordings[:_NUM_WHOLE] if score in (3, 4) else wordings)
        other = scene if score == 5 else _changed(sampler, scene, score)
        # Close pairs are mostly round-trip translations, as in the releases.
        second = translated if score == 5 or sampler.chance(0.15 + 0.15 * score) else plain
        shifts = [sampler.any_of((-1, 0, 0, 0, 1)) for _ in range(sampler.between(5, 7))]
        votes = [min(5, max(0, score + shift)) for shift in shifts]
        rows.append((sampler.fill(plain, scene), sampler.fill(second, other), votes))
    return rows


def klue_sts(sampler: TextSampler, split: str, num_rows: int) -> list[dict]:
    """Rows of KLUE STS as its release writes them."""
    rows = []
    for index, (first, second, votes) in enumerate(similarities(sampler, num_rows)):
        mean = sum(votes) / len(votes)
        raters = [f"{number:02d}" for number in sampler.random.sample(range(1, 21), len(votes))]
        agreement = ":".join(str(votes.count(score)) for score in range(6))
        labels = {"label": round(mean, 1), "real-label": mean, "binary-label": int(mean >= 3)}
        origin = sampler.any_of(("airbnb", "policy"))
        rows.append(
            {
                "guid": f"klue-sts-v1_{split}_{index:05d}",
                "source": f"{origin}-{'rtt' if mean >= 2.5 else 'sampled'}",
                "sentence1": first,
                "sentence2": second,
                "labels": labels,
                "annotations": {"agreement": agreement, "annotators": raters, "annotations": votes},
            }
        )
    return rows
