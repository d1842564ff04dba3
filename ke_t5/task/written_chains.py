"""Coreference as text: windows of a document with their mentions in numbered brackets.

[1 민수]는 [2 서울]에 산다. [1 그]는 [2 그곳]을 좋아한다.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Sequence
from difflib import SequenceMatcher
from functools import partial
from typing import Any

from ke_t5.pipe.features import IGNORED
from ke_t5.pipe.monitor import Monitor
from ke_t5.pipe.preprocessors import LOST, OF, Batch, Example, length_limit, map_over_batches
from ke_t5.pipe.rows import ROW_ID
from ke_t5.pipe.sources import DataSource
from ke_t5.pipe.task import Defaults
from ke_t5.task import steps
from ke_t5.task.coreference import ROW_CHECKS, Chains, chains_of, in_order, lines_of
from ke_t5.task.decoders import Examples, RowOutputs, input_text, read_tokens
from ke_t5.task.forms import TEXT_TARGET, register
from ke_t5.task.metrics.metric import Metric
from ke_t5.task.spans import Span

# Maximum tokens; a target is longer than its input by the marks.
LENGTHS = {"inputs": 384, "targets": 512}
# The share of a target's tokens that is available for text; the rest is for the marks.
SHARE = 0.6
# Brackets in the text are replaced, so that they are not taken for marks.
_PLAIN = str.maketrans("[]", "()")
_MARK = re.compile(r"\[\s*(\d+)\s|\]")
BROKEN = "chains are not those of any window, nor linked by a mention in two of them"

Found = dict[int, list[Span]]  # chain number -> mentions


# ------------------------------------------------------------------------------------- windows


def windows_of(tokenizer: Any, text: str, room: int) -> list[Span]:
    """Overlapping windows (half-open characters) of at most `room` tokens, made of whole lines.

    Each window repeats the second half of the one before it. Longer lines are split.
    """
    pieces: list[tuple[int, int, int]] = []  # start, end, number of tokens
    for start, end in lines_of(text):
        encoded = tokenizer(
            text[start:end], add_special_tokens=False, return_offsets_mapping=True, verbose=False
        )
        offsets = encoded["offset_mapping"]
        for i in range(0, len(offsets), room):
            part = offsets[i : i + room]
            pieces.append((start + part[0][0], start + part[-1][1], len(part)))
    found: list[Span] = []
    first = 0
    while first < len(pieces):
        last, size = first, pieces[first][2]
        while last + 1 < len(pieces) and size + pieces[last + 1][2] <= room:
            last += 1
            size += pieces[last][2]
        found.append((pieces[first][0], pieces[last][1]))
        if last + 1 == len(pieces):
            break
        # Repeat half of the window, or less if the next line would not fit otherwise.
        following, left = first + 1, size - pieces[first][2]
        most = min(size / 2, room - pieces[last + 1][2])
        while following <= last and left > most:
            left -= pieces[following][2]
            following += 1
        first = following
    return found or [(0, len(text))]


def window_chains(gold: Chains, window: Span) -> Found:
    """The chains with two or more mentions in a window, numbered by position; a mention that
    crosses an earlier one is dropped."""
    start, end = window
    mentions = sorted(
        (first, -last, number)
        for number, chain in enumerate(gold)
        for first, last in chain
        if start <= first and last <= end
    )
    open_ends: list[int] = []
    by_chain: dict[int, list[Span]] = {}
    for first, negative, number in mentions:
        last = -negative
        while open_ends and open_ends[-1] <= first:
            open_ends.pop()
        if not open_ends or last <= open_ends[-1]:
            open_ends.append(last)
            by_chain.setdefault(number, []).append((first, last))
    chains = [chain for chain in by_chain.values() if len(chain) > 1]
    return dict(enumerate(chains, 1))


def marked(text: str, window: Span, chains: Found) -> str:
    """The text of a window as one line, with the mentions in numbered brackets.

    >>> marked("나는 나다", (0, 5), {1: [(0, 1), (3, 4)]})
    '[1 나]는 [1 나]다'
    """
    start, end = window
    opening: dict[int, str] = {}
    closing: dict[int, str] = {}
    inner_last = sorted((first, -last, n) for n, chain in chains.items() for first, last in chain)
    for first, negative, number in inner_last:
        opening[first] = opening.get(first, "") + f"[{number} "
        closing[-negative] = closing.get(-negative, "") + "]"
    plain = text[start:end].translate(_PLAIN)
    parts = [
        closing.get(place, "") + opening.get(place, "") + character
        for place, character in enumerate(plain, start)
    ]
    return " ".join(("".join(parts) + closing.get(end, "")).split())


@map_over_batches
def add_windows(
    batch: Batch, *, output_features: steps.Features, sequence_length: steps.Lengths, prefix: str
) -> Batch:
    """One example per window: `window_text`, `marked` (None if unlabelled), `window` (half-open
    characters), and in the first one `document` and `gold`."""
    tokenizer = steps.fast_tokenizer(output_features)
    limits = (length_limit(sequence_length, key, tokenizer) for key in ("inputs", "targets"))
    named = len(tokenizer(f"{prefix} text: ", verbose=False)["input_ids"])
    inputs, targets = limits
    room = max(1, min(inputs - named, int(SHARE * targets)))
    golds = steps.for_each_row(batch, chains_of)
    columns: dict[str, list] = {}
    for row, text, gold in zip(batch[ROW_ID], batch["text"], golds, strict=True):
        windows = windows_of(tokenizer, text, room)
        found = [window_chains(gold or [], window) for window in windows]
        for number, (window, chains) in enumerate(zip(windows, found, strict=True)):
            is_first = number == 0
            reached = merged(found) if is_first else []
            lost = sum(chain not in reached for chain in gold or []) if is_first else 0
            example = {
                "window_text": marked(text, window, {}),
                "marked": None if gold is None else marked(text, window, chains),
                "window": list(window),
                "document": text if is_first else "",
                "gold": gold if is_first else [],
                f"{LOST}{BROKEN}": lost,
                f"{OF}{BROKEN}": len(gold or []) if is_first else 0,
                ROW_ID: row,
            }
            for name, value in example.items():
                columns.setdefault(name, []).append(value)
    return columns


def marked_text(row: Example) -> str | None:
    """The target text of a window; None if it is unlabelled."""
    return row["marked"]


# ------------------------------------------------------------------------------------- answers


def read_marks(written: str) -> tuple[str, Found]:
    """The characters of a generated text without white space and marks, and the mentions in it.

    Unmatched brackets are ignored; any text is accepted.

    >>> read_marks("[1 나]는 [2 [1 나]의 집]다]")
    ('나는나의집다', {1: [(0, 1), (2, 3)], 2: [(2, 5)]})
    """
    plain: list[str] = []
    open_marks: list[tuple[int, int]] = []
    found: Found = {}
    place = 0
    for mark in [*_MARK.finditer(written), None]:
        plain += "".join(written[place : mark.start() if mark else None].split())
        if mark is None:
            break
        place = mark.end()
        if mark[1]:
            # Python refuses to convert numbers of thousands of digits.
            open_marks.append((int(mark[1][-9:]), len(plain)))
        elif open_marks:
            number, start = open_marks.pop()
            if start < len(plain):
                found.setdefault(number, []).append((start, len(plain)))
    return "".join(plain), found


def placed(written: str, text: str, window: Span) -> Found:
    """The mentions of a generated window as spans of the document.

    If the generated text differs from the window, mentions are kept if their first and last
    characters are aligned with it.
    """
    plain, found = read_marks(written)
    places = [i for i in range(*window) if not text[i].isspace()]
    source = "".join(text[i] for i in places).translate(_PLAIN)
    place_of: dict[int, int] = {}
    if source == plain:
        place_of = dict(enumerate(places))
    else:
        matcher = SequenceMatcher(None, plain, source, autojunk=False)
        for ours, theirs, size in matcher.get_matching_blocks():
            place_of.update(zip(range(ours, ours + size), places[theirs:], strict=False))
    return {
        number: [
            (place_of[first], place_of[end - 1] + 1)
            for first, end in mentions
            if first in place_of and end - 1 in place_of
        ]
        for number, mentions in found.items()
    }


def merged(windows: Iterable[Found]) -> Chains:
    """The chains of all windows, merged if they share a mention."""
    chains: list[set[Span]] = []
    for found in windows:
        for mentions in found.values():
            chain = set(mentions)
            for other in [one for one in chains if one & chain]:
                chain |= other
                chains.remove(other)
            chains.append(chain)
    return in_order([list(mention) for mention in chain] for chain in chains)


def decode_windows(
    outputs: RowOutputs, examples: Examples, *, read: Any = read_marks
) -> tuple[Chains, None]:
    """The chains of a document; given only the model's columns, those of the first window with gold
    chains, in characters of the generated text."""
    written = [output["sequences"][0] for output in outputs]
    if "document" not in examples[0]:
        golds = [bool(gold_chains(example)) for example in examples]
        place = golds.index(True) if any(golds) else 0
        return merged([read(written[place])[1]]), None
    text = examples[0]["document"]
    windows = zip(written, examples, strict=True)
    return merged([placed(one, text, tuple(row["window"])) for one, row in windows]), None


def _chains_in(written: str) -> Chains:
    return merged([read_marks(written)[1]])


def gold_chains(example: Example) -> Chains | None:
    """The gold chains; given only the model's columns, those in the target."""
    if "gold" in example:
        return example["gold"]
    if example["labels"][0] == IGNORED:
        return None
    return read_tokens(example["labels"], read=_chains_in)


def document_text(example: Example) -> str:
    """The document of an example's row, for display."""
    return example["document"] if "document" in example else input_text(example)


def written_coreference(
    name: str,
    source: DataSource,
    *,
    metrics: Sequence[Metric],
    best: Monitor,
    defaults: Defaults,
) -> None:
    """Registers `name_gen`: generation of a document's windows with their mentions in brackets."""
    num_generated = LENGTHS["targets"]
    register(
        f"{name}_gen",
        source,
        [
            partial(add_windows, prefix=name),
            partial(
                steps.add_inputs,
                render=partial(steps.field_segments, fields={"text": "window_text"}),
                prefix=name,
            ),
            partial(steps.add_target_text, write=marked_text, num_generated=num_generated),
        ],
        targets={"labels": TEXT_TARGET},
        keep={"gold": [[["int32"]]], "document": "string", "window": ["int32"]},
        without_kept="the first window with chains is compared with its decoded target",
        inputs=document_text,
        form="seq2seq",
        input_columns=("text",),
        label_columns=("chains",),
        decode=partial(decode_windows, read=read_marks),
        target=gold_chains,
        metric_fns=tuple(metrics),
        best=best,
        row_checks=ROW_CHECKS,
        defaults=dataclasses.replace(
            defaults,
            sequence_length=LENGTHS,
            generate={"max_new_tokens": num_generated, "num_beams": 1},
        ),
    )
