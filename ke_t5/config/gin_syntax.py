"""Explains why gin's parser refused a text: the line, the problem and the fix."""

from __future__ import annotations

import re
import tokenize
from collections.abc import Callable

from ke_t5.programs import shell_line

SCAN = re.compile(
    r"""(?P<skip>\#[^\n]*|'''.*?'''|\"\"\".*?\"\"\"|'(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*")"""
    r"""|(?P<open>[\[({])|(?P<close>[\])}])|(?P<quote>['"])"""
    r"""|(?P<statement>^[ \t]*[\w%@./]+[ \t]*=(?!=))""",
    re.MULTILINE | re.DOTALL,
)
PAIRS = {"(": ")", "[": "]", "{": "}"}
# What Korean and Japanese keyboards, or word processors, write for gin's punctuation.
WIDE = dict(zip("（）［］｛｝，＝＠“”‘’", "()[]{},=@\"\"''", strict=True))


def unbalanced(text: str) -> tuple[int, str, str] | None:
    """(line, what, fix) for an unmatched bracket or quote, or None.

    >>> unbalanced("a.b = {'x': 1\\nc.d = 2")
    (1, "bracket '{' opened here is never closed", "close it with '}'")
    """
    stack: list[tuple[str, int]] = []
    for match in SCAN.finditer(text):
        kind, mark = match.lastgroup, match[0]
        line = text.count("\n", 0, match.start()) + 1
        if kind == "quote":
            return line, f"quote {mark} opened here is never closed", "close it in the same line"
        if kind == "open":
            stack.append((mark, line))
        elif kind == "statement" and stack:
            break
        elif kind == "close":
            opened, opened_line = stack.pop() if stack else ("", 0)
            if PAIRS.get(opened) != mark:
                partner = f"meets '{opened}' of line {opened_line}" if opened else "is never opened"
                return line, f"bracket '{mark}' {partner}", "check the brackets"
    if not stack:
        return None
    opened, line = stack[-1]
    what = f"bracket '{opened}' opened here is never closed"
    return line, what, f"close it with '{PAIRS[opened]}'"


def fault(
    text: str, error: Exception, is_name: Callable[[str], object], *, is_param: bool = False
) -> tuple[int, str, str]:
    """(line, what, fix) for a text that gin's parser refused with `error`.

    Args:
        is_name: says whether a word is the name of a configurable.
        is_param: whether the text is that of a `--gin_param`, whose quotes need quotes in a shell.
    """
    problem = unbalanced(text)
    if problem:
        return problem
    line = getattr(error, "lineno", None) or 1
    if isinstance(error, tokenize.TokenError):
        line = error.args[1][0]
    lines = text.splitlines() or [""]
    wide = wide_mark(text)
    if wide:
        return wide
    line = min(line, len(lines))  # at the end of the text the parser is one line further
    written = lines[line - 1].strip()
    message = str(getattr(error, "msg", error))
    bare = re.search(r"Failed to parse token '(.*)'", message, re.DOTALL)
    if bare:
        return line, *bare_word(bare[1], written, is_name, is_param=is_param)
    if re.match(r"[\w./]+\s*:\s*\S", written):
        return line, f"':' where '=' belongs in {written!r:.80}", "write name.parameter = value"
    if re.fullmatch(r"[\w./%]+\s*=\s*(#.*)?", written):
        return line, f"no value in {written!r:.80}", "write name.parameter = value"
    what = f"cannot read {written!r:.80}"
    return line, what, "write name.parameter = value, one to a line, with text in quotes"


def wide_mark(text: str) -> tuple[int, str, str] | None:
    """(line, what, fix) for the first wide bracket, comma or quote outside quotes, or None."""
    bare = SCAN.sub(lambda match: "\n" * match[0].count("\n") if match["skip"] else match[0], text)
    mark = re.search("|".join(WIDE), bare)
    if not mark:
        return None
    line = bare.count("\n", 0, mark.start()) + 1
    return line, f"{mark[0]!r} is a full-width or typographic mark", f"write {WIDE[mark[0]]}"


def bare_word(
    word: str, written: str, is_name: Callable[[str], object], *, is_param: bool = False
) -> tuple[str, str]:
    """(what, fix) for a value that is neither a number nor in quotes, in the line `written`."""
    literal = {"true": "True", "false": "False", "none": "None", "null": "None"}.get(word.lower())
    if literal:
        return f"{word!r} is not a value", f"write {literal}"
    if is_name(word):
        return f"{word!r} is not a value", f"write @{word}"
    name, _, after = re.sub(r"\s+#.*", "", written).partition("=")
    after = after.strip()
    is_inside = not after or after[0] in "([{"
    quoted = word if is_inside else after
    fix = f"write {quoted!r}"
    if is_param and after:
        place = rf"(?<![\w'\"]){re.escape(word)}(?![\w'\"])" if is_inside else r".+"
        value = re.sub(place, lambda match: repr(match[0]), after, count=1)
        fix = f"write {shell_line(['--gin_param', f'{name.strip()}={value}'])}"
    return f"{quoted!r:.80} is not a value without quotes", fix
