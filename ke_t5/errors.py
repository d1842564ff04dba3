"""Errors for people: one line that names the culprit and the fix, and an exit code."""

from __future__ import annotations

import difflib
import re
import textwrap
import unicodedata
from collections.abc import Iterable, Sequence
from enum import IntEnum

LONGEST_LINE = 200  # of what a program says on one line
# The end of the fix for what ends a launch: a test begins anew, a training goes on.
START_AGAIN = "then start again (a training: --resume auto)"


class Exit(IntEnum):
    """Exit codes of the command-line programs (1 is left for our own bugs)."""

    FLAGS = 2
    DATA = 3
    CHECKPOINT = 4
    MACHINE = 5
    DIVERGED = 6
    STOPPED = 75


class UserError(Exception):
    """A fault that the user can fix.

    Args:
        what: what is wrong: got, and expected or available.
        where: the file (with line), flag, gin name, task or row that is at fault.
        fix: what to do.
        exit_code: the process ends with it.

    Attributes:
        keep_traceback: the fault is in the user's own code, so its traceback is logged.

    >>> str(UserError("unknown task", "--task 'klue_ynatt'", "did you mean 'klue_tc'?"))
    "error: --task 'klue_ynatt': unknown task; did you mean 'klue_tc'?"
    """

    def __init__(self, what: str, where: str, fix: str, exit_code: Exit = Exit.FLAGS) -> None:
        # Exception pickles by its positional arguments: all four travel between processes.
        super().__init__(what, where, fix, exit_code)
        self.what, self.where, self.fix, self.exit_code = what, where, fix, exit_code
        self.keep_traceback = False

    def __str__(self) -> str:
        return " ".join(f"error: {self.where}: {self.what}; {self.fix}".split())


class Stopped(Exception):
    """The run was asked to stop by a signal (see `ke_t5.stops`) and has saved a checkpoint."""


def nearest(name: str, known: Iterable[str], limit: int = 3) -> list[str]:
    """At most `limit` of the known names that resemble `name`, ignoring case, best first."""
    # By its letters: one letter makes another syllable, of a word of two perhaps.
    by_folded = {_letters(candidate): candidate for candidate in sorted(known)}
    folded = _letters(name)
    close = difflib.get_close_matches(folded, by_folded, n=limit, cutoff=0.6)
    # A name that was cut short or typed on is close too, although its length differs a lot.
    close += [key for key in by_folded if folded in key and key not in close] if folded else []
    return [by_folded[key] for key in close[:limit]]


def _letters(name: str) -> str:
    return unicodedata.normalize("NFD", name.casefold())


def suggestion(name: str, known: Iterable[str], *, longest_list: int = 12) -> str:
    """What to do about an unknown name: similar names, else the list of names if it is short.

    >>> suggestion("klue_tcc", ["klue_tc", "nsmc"])
    "did you mean 'klue_tc'?"
    >>> suggestion("zzz", ["b", "a"])
    "available: 'a', 'b'"
    """
    known = sorted(known)
    close = nearest(name, known)
    if close:
        return f"did you mean {', '.join(map(repr, close))}?"
    if not known:
        return "nothing is available here"
    shown = ", ".join(map(repr, known[:longest_list]))
    return f"available: {shown}" + (" and more" if len(known) > longest_list else "")


def shortened(text: str, limit: int = LONGEST_LINE, *, fix: str = "") -> str:
    """`text` in at most `limit` characters: long words lose their middle, lists their ends, and at
    last the sentence before `fix`, with which the text ends, is cut.

    >>> shortened("no 'x' in a, b, c, d; " + "choose one", 29, fix="choose one")
    "no 'x' in a, ...; choose one"
    >>> shortened("/home/somebody/a/long/path: no such folder; check it", 45)
    '/hom.../a/long/path: no such folder; check it'
    """
    for longest in (72, 48):
        text = _with_short_words(text, limit, longest)
    text = _with_short_lists(text, limit)
    while len(text) > limit and "; also " in text:
        text = text[: text.rindex("; also ")].removesuffix(" ...") + " ..."
    for longest in (32, 20):
        text = _with_short_words(text, limit, longest)
    if len(text) > limit and re.search(r" \([^()]{30,}\)$", text):
        text = text[: text.rindex(" (")]
    if len(text) <= limit:
        return text
    end = f"; {fix}" if fix and text.endswith(f"; {fix}") and len(fix) < limit // 2 else ""
    end = end or text[-limit // 3 :]  # what to do stands at the end
    head = text[: limit - len(end) - 4]
    if " " in head[-20:]:
        head = head.rpartition(" ")[0]
    return f"{head.rstrip(' ,;')} ...{end}"


def wrapped(text: str, width: int = LONGEST_LINE) -> str:
    """`text` in lines of `width` characters, all but the first indented. No word is cut, so that
    names and paths can be copied; lists that would fill several lines lose their ends.

    >>> print(wrapped("training on klue_tc: 20 steps, in /home/somebody/output", 30))
    training on klue_tc: 20 steps,
        in /home/somebody/output
    """
    if len(text) > 2 * width:
        text = _with_short_lists(text, 2 * width)
    lines = textwrap.wrap(
        text, width, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False
    )
    return "\n".join(lines)


def _with_short_words(text: str, limit: int, longest: int) -> str:
    """The text, if it is too long, with words that are shortened to `longest` characters at most
    as far as needed, the longest first; the end of a word says the most."""
    while len(text) > limit:
        word = max(text.split(), key=len)
        if len(word) <= longest:
            break
        size = max(longest, len(word) - (len(text) - limit))
        end = size * 2 // 3
        text = text.replace(word, f"{word[: size - end - 3]}...{word[-end:]}", 1)
    return text


def _with_short_lists(text: str, limit: int) -> str:
    """The text, if it is too long, with fewer items of its longest list."""
    item = r"(?:'[^']*'|[^\s,;()]+)"
    lists = re.findall(rf"{item}(?:, {item}){{2,}}", text)
    if len(text) <= limit or not lists:
        return text
    whole = max(lists, key=len)
    items = re.findall(item, whole)
    while len(text) > limit and len(items) > 1:
        items.pop()
        shorter = ", ".join(items) + ", ..."
        text = text.replace(f"{whole} and more", shorter).replace(whole, shorter)
        whole = shorter
    return text


def in_one(problems: Sequence[UserError]) -> UserError:
    """One error that names all `problems`, each once."""
    first, *rest = {str(problem): problem for problem in problems}.values()
    others = [f"also {problem.where}: {problem.what}; {problem.fix}" for problem in rest]
    return UserError(first.what, first.where, "; ".join([first.fix, *others]))
