"""Pairs of sentences: inference (KLUE NLI, KorNLI), similarity (KLUE STS, KorSTS) and QPair."""

from __future__ import annotations

from ke_t5.sample.sampler import TextSampler

_NUM_WHOLE = 2
_QUESTION_LABELS = ("0", "1")


def inference_pairs(
    sampler: TextSampler, num_rows: int, *, noise: float = 0.05
) -> list[tuple[str, str, str, str]]:
    """(premise, hypothesis, label, the writer's label); a premise is used three times in a row."""
    rows: list[tuple[str, str, str, str]] = []
    labels = sampler.entries("labels")
    while len(rows) < num_rows:
        scene = sampler.draw("scene")
        premise = sampler.fill(sampler.any_of(sampler.entries("premises")), scene)
        for author in sampler.shuffled(labels):
            label = sampler.noisy(author, labels, noise)
            template = sampler.pick(sampler.entries(f"hypotheses {author}"))
            hypothesis = sampler.fill(template, sampler.draw("addition", **scene))
            rows.append((premise, hypothesis, label, author))
    return rows[:num_rows]


def klue_nli(sampler: TextSampler, split: str, num_rows: int) -> list[dict]:
    """Rows of KLUE NLI as its release writes them."""
    rows = []
    source_key = "genre" if split == "train" else "source"  # as in the release
    labels = sampler.entries("labels")
    for index, pair in enumerate(inference_pairs(sampler, num_rows)):
        premise, hypothesis, gold, author = pair
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
    place_and_time = {"place": change["new_place"], "time": change["new_time"]}
    if score == 4:
        return scene | {"time": change["new_time"]}
    if score == 3:
        return scene | place_and_time
    if score == 2:
        thing = sampler.another(sampler.entries(f"objects {scene['stem']}"), scene["thing"])
        return scene | {"thing": thing, "place": change["new_place"]}
    other = sampler.draw("scene") | place_and_time
    return other | {"who": scene["who"]} if score == 1 else other


def similar_pairs(sampler: TextSampler, num_rows: int) -> list[tuple[str, str, list[int]]]:
    """(sentence, sentence, five to seven votes of 0 to 5 on their similarity)."""
    rows = []
    wordings = [tuple(entry.split(" => ")) for entry in sampler.entries("wordings")]
    for _ in range(num_rows):
        score, scene = sampler.between(0, 5), sampler.draw("scene")
        plain, translated = sampler.any_of(wordings[:_NUM_WHOLE] if score in (3, 4) else wordings)
        other = scene if score == 5 else _changed(sampler, scene, score)
        # Close pairs are mostly round-trip translations, as in the releases.
        second = translated if score == 5 or sampler.chance(0.15 + 0.15 * score) else plain
        shifts = (sampler.any_of((-1, 0, 0, 0, 1)) for _ in range(sampler.between(5, 7)))
        votes = [min(5, max(0, score + shift)) for shift in shifts]
        rows.append((sampler.fill(plain, scene), sampler.fill(second, other), votes))
    return rows


def klue_sts(sampler: TextSampler, split: str, num_rows: int) -> list[dict]:
    """Rows of KLUE STS as its release writes them."""
    rows = []
    for index, (first, second, votes) in enumerate(similar_pairs(sampler, num_rows)):
        mean = sum(votes) / len(votes)
        kind = "rtt" if mean >= 2.5 else "sampled"
        raters = [f"{number:02d}" for number in sampler.random.sample(range(1, 21), len(votes))]
        agreement = ":".join(str(votes.count(score)) for score in range(6))
        labels = {"label": round(mean, 1), "real-label": mean, "binary-label": int(mean >= 3)}
        annotations = {"agreement": agreement, "annotators": raters, "annotations": votes}
        rows.append(
            {
                "guid": f"klue-sts-v1_{split}_{index:05d}",
                "source": f"{sampler.any_of(('airbnb', 'policy'))}-{kind}",
                "sentence1": first,
                "sentence2": second,
                "labels": labels,
                "annotations": annotations,
            }
        )
    return rows


def question_pairs(sampler: TextSampler, num_rows: int) -> list[tuple[str, str, str]]:
    """(question, question, "0" if they ask the same else "1")."""
    rows, items, subjects = [], sampler.entries("items"), sampler.grammar.families("plain")
    for label in sampler.balanced(_QUESTION_LABELS, num_rows):
        subject, item = sampler.any_of(subjects), sampler.pick(items)
        first = _question(sampler, subject, polite=0.3)
        if label == "0":
            # Rewordings were mostly written out with care; it is a clue, as such habits are.
            second, other = _question(sampler, subject, polite=0.75), item
        elif sampler.chance(0.6):
            second = _question(sampler, sampler.another(subjects, subject), polite=0.3)
            other = item
        else:
            other = sampler.another(items, item)
            second = _question(sampler, subject, polite=0.3)
        vote = sampler.noisy(label, _QUESTION_LABELS, 0.04)
        rows.append((sampler.fill(first, {"x": item}), sampler.fill(second, {"x": other}), vote))
    return rows


def _question(sampler: TextSampler, subject: str, *, polite: float) -> str:
    """A wording of the question, a polite one in the given share of cases."""
    style = "polite" if sampler.chance(polite) else "plain"
    return sampler.any_of(sampler.entries(f"{style} {subject}"))
