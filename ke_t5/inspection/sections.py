"""The results of an inspection, as sections of a report and as JSON."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ke_t5.inspection.duplicates import Duplicates
from ke_t5.inspection.facts import PERCENTILES, SplitFacts
from ke_t5.report import figures, html
from ke_t5.report.pages import Section
from ke_t5.report.scores import format_scores

MAX_TEXT, MAX_TEXT_ON_PAGE = 48, 320
MAX_EXAMPLE, MAX_EXAMPLE_ON_PAGE = 160, 1200
MAX_DRAWN_LABELS = 40
SKEWED = 3  # ratio of the most to the least frequent label from which it is noted


@dataclass(frozen=True)
class Inspection:
    """The results of inspecting a task's splits."""

    task: str
    tokenizer: str
    splits: Sequence[SplitFacts]
    duplicates: Duplicates
    seconds: float


def sections_of(found: Inspection, *, on_page: bool) -> list[Section]:
    """The inspection as sections of a report."""
    is_drawn = on_page and figures.can_draw()
    longest = MAX_TEXT_ON_PAGE if on_page else MAX_TEXT
    sections = [
        _rows(found.splits),
        *_labels(found.splits, is_drawn=is_drawn),
        *_lengths(found.splits, is_drawn=is_drawn),
        _losses(found.splits),
        _equal(found),
        _near(found.duplicates, longest),
        _suspects(found.duplicates, longest),
    ]
    return [*sections, *_examples(found.splits, on_page=on_page)]


def as_json(found: Inspection) -> dict[str, Any]:
    """The inspection as a JSON object."""
    content = dataclasses.asdict(found)
    twice = content["duplicates"]
    for name in ("equal_across", "near_across"):
        twice[name] = [
            {"split": one, "later_split": other, "rows": value}
            for (one, other), value in twice[name].items()
        ]
    content["splits"] = [_split_json(split) for split in content["splits"]]
    return content


def _split_json(split: dict[str, Any]) -> dict[str, Any]:
    lost = {what: {"count": n, "of": of or None} for what, (n, of) in split["lost"].items()}
    best = {name: x if math.isfinite(x) else None for name, x in split["best"].items()}
    return {**split, "lost": lost, "best": best}


# ---------------------------------------------------------------------------------------- rows


def _share(count: float, total: float) -> str:
    return f"{100 * count / total:.1f} %" if total else "–"


def _count(count: int, total: int) -> str:
    return f"{count:,} ({_share(count, total)})" if count else "0"


def _rows(splits: Sequence[SplitFacts]) -> Section:
    head = ["split", "rows", "with a label", "without text", "examples"]
    rows = [
        [
            one.name,
            f"{one.num_rows:,}",
            _count(one.num_labelled, one.num_rows),
            _count(one.num_empty, one.num_rows),
            f"{one.num_examples:,}",
        ]
        for one in splits
    ]
    has_windows = any(one.num_examples > one.num_rows for one in splits)
    notes = ["an example is a window of a long row's passage"] if has_windows else []
    if any(one.num_examples < one.num_rows for one in splits):
        notes.append("some rows give no example")
    return Section("Rows", head, rows, range(1, 5), notes)


def _labels(splits: Sequence[SplitFacts], *, is_drawn: bool) -> list[Section]:
    sections = []
    numbers = [one for one in splits if one.numbers is not None]
    if numbers:
        rows = [[one.name, *(f"{x:.3f}" for x in one.numbers or ())] for one in numbers]
        head = ["split", "least", "mean", "greatest"]
        sections.append(Section("Gold numbers", head, rows, range(1, 4)))
    labelled = [one for one in splits if one.labels]
    if not labelled:
        return sections
    names = list(dict.fromkeys(name for one in labelled for name in one.labels))
    totals = [sum(one.labels.values()) for one in labelled]
    rows = [
        [
            _cell(name, 40),
            *(_count(one.labels.get(name, 0), n) for one, n in zip(labelled, totals, strict=True)),
        ]
        for name in names
    ]
    notes = _label_notes(labelled, names)
    pictures = []
    if is_drawn:
        shown = names[:MAX_DRAWN_LABELS]
        shares = [
            (one.name, [100 * one.labels.get(name, 0) / max(1, n) for name in shown])
            for one, n in zip(labelled, totals, strict=True)
        ]
        pictures = [("labels", figures.shares_png(shown, shares, title="share of each label"))]
    kind = labelled[0].label_kind
    head = [kind, *(one.name for one in labelled)]
    title = f"{kind.capitalize()} balance"
    return [
        *sections,
        Section(title, head, rows, range(1, len(head)), notes, pictures=pictures, most_lines=60),
    ]


def _label_notes(labelled: Sequence[SplitFacts], names: Sequence[str]) -> list[str]:
    first = labelled[0]
    counts = [count for count in first.labels.values() if count]
    notes = []
    if first.label_kind != "answer" and len(counts) > 1 and max(counts) > SKEWED * min(counts):
        times = f"{max(counts) / min(counts):,.0f} times"
        notes.append(f"{first.name}: the most frequent is {times} as frequent as the rarest")
    for one in labelled[1:]:
        unseen = [name for name in names if one.labels.get(name) and not first.labels.get(name)]
        if unseen:
            notes.append(f"only in {one.name}, not in {first.name}: {', '.join(unseen[:8])}")
    return notes


# ------------------------------------------------------------------------------------- lengths


def _lengths(splits: Sequence[SplitFacts], *, is_drawn: bool) -> list[Section]:
    columns = list(dict.fromkeys(one.column for split in splits for one in split.lengths))
    return [_lengths_of(column, splits, is_drawn=is_drawn) for column in columns]


def _lengths_of(column: str, splits: Sequence[SplitFacts], *, is_drawn: bool) -> Section:
    measured = [(split, one) for split in splits for one in split.lengths if one.column == column]
    rows = [
        [
            split.name,
            f"{one.mean:.1f}",
            *(f"{one.percentiles[p]:,}" for p in PERCENTILES),
            _count(one.num_cut, split.num_rows),
            f"{100 * split.unknown.get(_name_of(column), 0.0):.2f} %",
        ]
        for split, one in measured
    ]
    head = ["split", "mean", *(f"{p} %" for p in PERCENTILES[:-1]), "longest", "cut", "unknown"]
    limit = measured[0][1].limit
    notes = [f"cut at {limit} tokens"] if limit else []
    if any(not one.is_whole for _, one in measured):
        notes.append("of what is left after cutting")
    if any(split.num_examples > split.num_rows for split, _ in measured):
        notes.append("of windows: long passages are not cut")
    pictures = []
    if is_drawn:
        histograms = [(split.name, one.counts, one.edges) for split, one in measured]
        title = f"{column}: lengths in tokens"
        pictures = [(title, figures.lengths_png(histograms, limit=limit, title=title))]
    title = f"Lengths in tokens: {column}"
    return Section(title, head, rows, range(1, len(head)), notes, pictures=pictures)


def _name_of(column: str) -> str:
    return "input_ids" if column == "inputs" else "labels"


def _losses(splits: Sequence[SplitFacts]) -> Section:
    rows = [
        [split.name, what, f"{count:,}", f"{of:,}" if of else "–", _share(count, of)]
        for split in splits
        for what, (count, of) in split.lost.items()
    ]
    notes = [
        f"{split.name}: perfect predictions would give {format_scores(split.best)}"
        for split in splits
        if split.best
    ]
    notes += [] if rows else ["nothing is lost on the way to the model"]
    return Section("Lost", ["split", "what", "lost", "of", "share"], rows, (2, 3, 4), notes)


# ---------------------------------------------------------------------------------- duplicates


def _equal(found: Inspection) -> Section:
    twice = found.duplicates
    sizes = {split.name: split.num_rows for split in found.splits}
    rows = [
        [
            f"twice in {name}",
            _count(count, sizes[name]),
            _count(twice.near_within[name], sizes[name]),
            "–",
        ]
        for name, count in twice.equal_within.items()
    ]
    rows += [
        [
            f"in {name} and {later}",
            _count(shared.num_folded, sizes[later]),
            _count(twice.near_across[name, later], sizes[later]),
            f"{shared.num_relabelled:,}",
        ]
        for (name, later), shared in twice.equal_across.items()
    ]
    head = ["rows", "equal text", "nearly equal", "equal, other label"]
    notes = [
        "equal: white space aside; nearly equal: 70 % of the character trigrams in common, case, "
        "spaces and punctuation aside",
        "of two splits: rows of the second one",
    ]
    if any(one.label_kind == "answer" for one in found.splits):
        notes.append("a text is question and passage: questions about one passage are nearly equal")
    if not twice.are_all_near:
        notes.append("so many are nearly equal that not all were compared: the counts are too low")
    return Section("Duplicates", head, rows, (1, 2, 3), notes)


def _cell(text: str, longest: int) -> str:
    return html.shortened(" ".join(text.split()), limit=longest)


def _near(twice: Duplicates, longest: int) -> Section:
    rows = [
        [f"{one.split} {one.row}", _cell(one.gold, 24), _cell(one.text, longest), likeness]
        for pair in twice.near
        for one, likeness in ((pair.first, f"{pair.likeness:.2f}"), (pair.second, ""))
    ]
    notes = [f"nearly equal pairs with different labels: {twice.num_near_relabelled:,}"]
    head = ["row", "gold", "text", "likeness"]
    return Section("Nearly equal texts", head, rows, (3,), notes if rows else ["none"])


def _suspects(twice: Duplicates, longest: int) -> Section:
    rows = [
        [f"{row.split} {row.row}", _cell(row.gold, 24), _cell(row.text, longest)]
        for group in twice.suspects
        for row in group
    ]
    note = f"texts with several labels: {twice.num_suspects:,}, in {twice.num_suspect_rows:,} rows"
    title = "Suspected label noise: equal text, other label"
    return Section(
        title, ["row", "gold", "text"], rows, (), [note if rows else "none"], "full", most_lines=40
    )


def _examples(splits: Sequence[SplitFacts], *, on_page: bool) -> list[Section]:
    if not splits:
        return []
    longest = MAX_EXAMPLE_ON_PAGE if on_page else MAX_EXAMPLE
    return [
        Section(
            f"Example: {splits[0].name} {example['row']}",
            rows=[
                [name, _cell(text, longest)]
                for name, text in example.items()
                if name != "row" and text
            ],
            style="full",
        )
        for example in splits[0].examples
    ]


def findings(found: Inspection) -> list[str]:
    """The most important findings, a line each."""
    lines = []
    for split in found.splits:
        for one in split.lengths:
            if one.num_cut:
                lines.append(
                    f"{split.name}: {_count(one.num_cut, split.num_rows)} {one.column} are cut at "
                    f"{one.limit} tokens"
                )
        for column, share in split.unknown.items():
            if share > 0.01:
                lines.append(f"{split.name}: {100 * share:.1f} % of {column} are unknown tokens")
        if split.num_empty:
            lines.append(f"{split.name}: rows without text: {split.num_empty:,}")
    for (name, later), shared in found.duplicates.equal_across.items():
        if shared.num_folded:
            lines.append(f"rows of {later} whose text is also in {name}: {shared.num_folded:,}")
    if found.duplicates.num_suspects:
        lines.append(f"texts with several labels: {found.duplicates.num_suspects:,}")
    return lines
