"""Single sentences with a class: KLUE ynat, 3i4K, NSMC, KHSD and NIKL CoLA."""

from __future__ import annotations

from ke_t5.sample.sampler import TextSampler

_TOPIC_NOISE = 0.05
_BORROWED = 0.22
_SECTION_DIFFERS = 0.19  # 1,700 of the 9,107 real dev rows


def _title(sampler: TextSampler, topic: str) -> str:
    values = sampler.draw("roles", topic=topic)
    if sampler.chance(_BORROWED):
        # A word of another topic in the place of one of its own: such titles are truly ambiguous.
        stranger = sampler.another(sampler.entries("topics"), topic)
        role = "actor" if sampler.chance(0.5) else "event"
        values[role] = sampler.pick(sampler.entries(f"{role}s {stranger}"))
    values["thing"], values["other"] = sampler.two(sampler.entries(f"things {topic}"))
    return sampler.draw("title", **values)["title"]


def _annotations(sampler: TextSampler, label: str) -> dict:
    votes = [label, label, sampler.noisy(label, sampler.entries("topics"), 0.3)]
    names = [f"{sampler.between(1, 20):02d}" for _ in votes]
    empty = ["해당없음"] * 3
    scopes = {"first-scope": sampler.shuffled(votes), "second-scope": empty, "third-scope": empty}
    return {"annotators": names, "annotations": scopes}


def ynat(sampler: TextSampler, split: str, num_rows: int) -> list[dict]:
    """Rows of KLUE ynat as its release writes them."""
    rows, topics = [], sampler.entries("topics")
    for index, topic in enumerate(sampler.balanced(topics, num_rows)):
        label = sampler.noisy(topic, topics, _TOPIC_NOISE)
        prefix = "sports_" if label == "스포츠" else ""
        url = sampler.word(f"{prefix}url", {"label": label})
        rows.append(
            {
                "guid": f"ynat-v1_{split}_{index:05d}",
                "title": _title(sampler, topic),
                "predefined_news_category": sampler.noisy(label, topics, _SECTION_DIFFERS),
                "label": label,
                "annotations": _annotations(sampler, label),
                "url": url,
                "date": sampler.word(f"{prefix}date"),
            }
        )
    return rows


def intents(sampler: TextSampler, labels: list[int]) -> list[tuple[int, str]]:
    """(label, utterance) for each of the labels of 3i4K, in their order."""
    return [(label, sampler.draw("row", label=str(label))["text"]) for label in labels]


def reviews(
    sampler: TextSampler, num_rows: int, *, num_empty: int = 0
) -> list[tuple[str, str, str]]:
    """(id, review, "0" or "1") as NSMC has them; the first `num_empty` reviews are empty."""
    rows, labels = [], ("0", "1")
    ids = sampler.random.sample(range(1_000_000, 9_999_999), num_rows)
    for number, label in enumerate(sampler.balanced(labels, num_rows)):
        text = sampler.draw("row", label=label)["text"]
        vote = sampler.noisy(label, labels, 0.06)
        rows.append((str(ids[number]), "" if number < num_empty else text, vote))
    return rows


def comments(sampler: TextSampler, num_rows: int) -> list[tuple[str, str, str, str]]:
    """(comment, contain_gender_bias, bias, hate) as KHSD's columns have them."""
    rows, labels, tails = [], sampler.entries("labels"), sampler.entries("tails")
    for label in sampler.balanced(labels, num_rows):
        values = sampler.draw("row", label=label)
        is_gender = label == "hate" and values["group"].endswith("들")
        bias = "none" if label != "hate" else "gender" if is_gender else "others"
        vote = sampler.noisy(label, labels, 0.06)
        text = values["text"] + sampler.any_of(tails)
        rows.append((text, str(is_gender), bias, vote))
    return rows


def acceptability(
    sampler: TextSampler, num_rows: int, *, out_of_domain: bool = False
) -> list[tuple[str, str]]:
    """(sentence, "1" if it is acceptable Korean else "0"); labels err in one case of twenty."""
    contrasts = sampler.entries("contrasts")
    contrasts = contrasts[-4:] if out_of_domain else contrasts[:-3]
    rows, labels = [], ("0", "1")
    for label in sampler.balanced(labels, num_rows):
        wrong_or_right = sampler.any_of(contrasts).split(" => ")[::-1]
        text = sampler.fill(wrong_or_right[int(label)], sampler.draw("row"))
        rows.append((text, sampler.noisy(label, labels, 0.05)))
    return rows
