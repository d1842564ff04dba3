"""Errors for users: one line that names the cause and the fix, and an exit code."""

from __future__ import annotations

import difflib
import re
import sys
import textwrap
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from enum import IntEnum
from pathlib import Path

LONGEST_LINE = 200  # characters of a one-line message
# The end of a fix for errors that end a launch: tests start over, trainings resume.
START_AGAIN = "then start again (a training: --resume auto)"


class Exit(IntEnum):
    """Exit codes of the command-line programs (1 is reserved for our own bugs)."""

    FLAGS = 2
    DATA = 3
    CHECKPOINT = 4
    MACHINE = 5
    DIVERGED = 6
    STOPPED = 75


class UserError(Exception):
    """An error that the user can fix.

    Args:
        what: the problem: what was given, and what was expected or is available.
        where: the file (with line), flag, gin name, task or row that is at fault.
        fix: what to do.
        exit_code: the exit code of the process.

    Attributes:
        keep_traceback: whether the traceback is logged, because the fault is in the user's code.

    >>> str(UserError("unknown task", "--task 'klue_ynatt'", "did you mean 'klue_tc'?"))
    "error: --task 'klue_ynatt': unknown task; did you mean 'klue_tc'?"
    """

    def __init__(self, what: str, where: str, fix: str, exit_code: Exit = Exit.FLAGS) -> None:
        # Exceptions are pickled by their positional arguments: all four travel between processes.
        super().__init__(what, where, fix, exit_code)
        self.what, self.where, self.fix, self.exit_code = what, where, fix, exit_code
        self.keep_traceback = False

    def __str__(self) -> str:
        return " ".join(f"error: {self.where}: {self.what}; {self.fix}".split())


class Stopped(Exception):
    """The run was asked to stop by a signal (see `ke_t5.stops`) and has saved a checkpoint."""


def nearest(name: str, known: Iterable[str], limit: int = 3) -> list[str]:
    """At most `limit` of the known names that resemble `name`, ignoring case, best first."""
    # Compared by letters: a single wrong letter changes a whole Hangul syllable.
    by_folded = {_letters(candidate): candidate for candidate in sorted(known)}
    folded = _letters(name)
    close = difflib.get_close_matches(folded, by_folded, n=limit, cutoff=0.6)
    # A part of a known name is close too, although its length may differ a lot.
    close += [key for key in by_folded if folded in key and key not in close] if folded else []
    return [by_folded[key] for key in close[:limit]]


def _letters(name: str) -> str:
    return unicodedata.normalize("NFD", name.casefold())


def suggestion(name: str, known: Iterable[str], *, longest_list: int = 12) -> str:
    """The fix for an unknown name: similar names, or else those that are available.

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
    """`text` shortened to `limit` characters: first the middles of long words and the ends of lists
    are cut, then the sentence before the closing `fix`.

    >>> shortened("no 'x' in a, b, c, d; " + "choose one", 29, fix="choose one")
    "no 'x' in a, ...; choose one"
    >>> shortened("/home/somebody/a/long/path: no such folder; check it", 45)
    '/hom.../a/long/path: no such folder; check it'
    """
    for longest in (72, 48):
        text = _with_short_words(text, limit, longest, whole=fix)
    text = _with_short_lists(text, limit)
    while len(text) > limit and "; also " in text:
        text = text[: text.rindex("; also ")].removesuffix(" ...") + " ..."
    for longest, whole in ((32, fix), (20, fix), (32, ""), (20, "")):
        text = _with_short_words(text, limit, longest, whole=whole)
    if len(text) > limit and re.search(r" \([^()]{30,}\)$", text):
        text = text[: text.rindex(" (")]
    if len(text) <= limit:
        return text
    end = f"; {fix}" if fix and text.endswith(f"; {fix}") and len(fix) < limit // 2 else ""
    end = end or text[-limit // 3 :].partition(" ")[2]  # the fix is at the end
    head = text[: limit - len(end) - 4]
    if " " in head[-20:]:
        head = head.rpartition(" ")[0]
    return f"{head.rstrip(' ,;')} ...{end}"


def wrapped(text: str, width: int = LONGEST_LINE) -> str:
    """`text` wrapped at `width` with a hanging indent. Words are never broken, so that names and
    paths can be copied; the ends of lists that would fill several lines are cut.

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


def _with_short_words(text: str, limit: int, longest: int, *, whole: str) -> str:
    """The text with words shortened until it fits, the longest first, to `longest` characters at
    least; more is kept of a word's end, which says the most. Addresses of pages stay whole, and the
    words of `whole`, such as a path to copy."""
    kept = set(whole.split())
    while len(text) > limit:
        words = [word for word in text.split() if "://" not in word and word not in kept]
        word = max(words, key=len, default="")
        if len(word) <= longest:
            break
        size = max(longest, len(word) - (len(text) - limit))
        end = size * 2 // 3
        text = text.replace(word, f"{word[: size - end - 3]}...{word[-end:]}", 1)
    return text


def _with_short_lists(text: str, limit: int) -> str:
    """The text with its longest list cut until it fits."""
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


def counted(number: int, noun: str, plural: str = "", *, form: str = "") -> str:
    """A number, formatted as `form` says, with its noun.

    >>> counted(1, "epoch"), counted(1200, "step"), counted(1200, "entity", "entities", form=",")
    ('1 epoch', '1200 steps', '1,200 entities')
    """
    return f"{number:{form}} {noun if number == 1 else plural or f'{noun}s'}"


def counted_of(
    number: int, total: int, noun: str, verbs: tuple[str, str], *, plural: str = "", form: str = ""
) -> str:
    """A part of a total, formatted as `form` says, with its noun and its verb.

    Args:
        verbs: the verb after one, and after any other number.

    >>> counted_of(1, 10, "row", ("is", "are")), counted_of(2, 10, "row", ("is", "are"))
    ('1 of 10 rows is', '2 of 10 rows are')
    """
    verb = verbs[0] if number == 1 else verbs[1]
    return f"{number:{form}} of {counted(total, noun, plural, form=form)} {verb}"


def exit_code_of(write: Callable[[Path], object], folder: Path) -> int:
    """Writes a folder for a small command; returns the exit code, after an error was printed."""
    try:
        write(folder)
    except OSError as error:
        fault = UserError(str(error), str(folder), "name a writable folder", Exit.MACHINE)
    except UserError as error:
        fault = error
    else:
        return 0
    sys.stderr.write(f"{fault}\n")
    return fault.exit_code


def in_one(problems: Sequence[UserError]) -> UserError:
    """One error that names all `problems`, each once."""
    first, *rest = {str(problem): problem for problem in problems}.values()
    others = [f"also {problem.where}: {problem.what}; {problem.fix}" for problem in rest]
    return UserError(first.what, first.where, "; ".join([first.fix, *others]))
