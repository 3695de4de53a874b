"""Faults in Lua scripts: a condition negated, a call or an assignment dropped, a number one higher, and their like."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tests.mutants.mutation import Mutant

TOKEN = re.compile(r"--[^\n]*|'[^'\n]*'|[A-Za-z_][\w.]*|\d+|==|~=|<=|>=|\.\.|[-+*/<>]")
SWAPPED = {
    **{"==": "~=", "~=": "==", "<": "<=", "<=": "<", ">": ">=", ">=": ">", "+": "-", "-": "+", "*": "/", "/": "*"},
    **{"and": "or", "or": "and", "true": "false", "false": "true", "break": ""},
    **{"math.max": "math.min", "math.min": "math.max", "redis.pcall": "redis.call"},
}
CONDITION = re.compile(r"\b(?:else)?if\b(.*?)\bthen\b")
STATEMENT = re.compile(r"^ *(?:redis\.p?call|[\w, .\[\]+*#]+ =(?!=)|\w+)[ (]", re.MULTILINE)
KEYWORDS = {"local", "if", "elseif", "else", "for", "while", "end", "return", "break", "function"}


def lua_mutants(path: str, source: str) -> list[Mutant]:
    """All faults of a script."""
    pieces = [*_tokens(source), *_conditions(source), *_statements(source)]
    return [
        Mutant(path, source.count("\n", 0, start) + 1, source, source[:start] + new + source[end:])
        for start, end, new in sorted(pieces)
    ]


def _tokens(source: str) -> Iterator[tuple[int, int, str]]:
    for found in TOKEN.finditer(source):
        token = found[0]
        if token in SWAPPED:
            yield *found.span(), SWAPPED[token]
        elif token.isdigit():
            yield *found.span(), str(int(token) + 1)
        elif token.startswith("'"):
            yield *found.span(), f"'XX{token[1:-1]}'"


def _conditions(source: str) -> Iterator[tuple[int, int, str]]:
    for found in CONDITION.finditer(source):
        if "--" not in source[source.rfind("\n", 0, found.start()) + 1 : found.start()]:
            yield *found.span(1), f" not ({found[1].strip()}) "


def _statements(source: str) -> Iterator[tuple[int, int, str]]:
    """Calls and assignments that stand alone, to be dropped; one may have several lines."""
    for found in STATEMENT.finditer(source):
        if found[0].split()[0].strip("(") not in KEYWORDS:
            yield found.start(), _end(source, found.start()), ""


def _end(source: str, start: int) -> int:
    """Where the statement ends that starts there: at the first line end outside parentheses."""
    depth = 0
    for at in range(start, len(source)):
        depth += {"(": 1, ")": -1}.get(source[at], 0)
        if source[at] == "\n" and depth == 0:
            return at
    return len(source)
