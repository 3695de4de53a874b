"""Where the sentences of a text are.

A rule-based splitter: a sentence ends at `.`, `!`, `?` or an ellipsis (with closing quotes or brackets) when white
space and something that can open a sentence follow; at the full-width marks of Chinese and Japanese, which need no
space; at a blank line; and before a list marker at the start of a line. An abbreviation, an initial or a number
before the dot does not end one. It knows no language in particular, so it is sometimes wrong; nothing is lost by that,
since together the spans cover every character that is not white space.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise

Span = tuple[int, int]

# Linear in the text: a run is looked at from its beginning only, and what a quantifier has taken it does not give back.
_BOUNDARY = re.compile(
    r"""
      (?<![.!?…])(?P<dot>[.!?…]++)["'”’»)\]]*+\s++(?=["'“‘«(\[¿¡]*+[^\W_a-zß-öø-ÿ])  # a mark, space, no small letter
    | (?<![。！？])[。！？]++[”’」』）]*+\s*+
    | (?<![^\S\n])[^\S\n]*+\n[^\S\n]*+\n\s*+
    | \n\s*+(?=[-*•–]\s)
    """,
    re.VERBOSE,
)
_ABBREVIATION = re.compile(
    r"""(?:^|[\s("'“‘\[])
    (?: (?:Mr|Mrs|Ms|Dr|Prof|Rev|Hon|Sr|Jr|St|Mt|vs|etc|cf|e\.g|i\.e|al|approx|Inc|Ltd|Co|Corp|No|Nos|Fig|Vol|pp
        |Gen|Col|Capt|Lt|Sgt|Sen|Rep|Gov|Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept?|Oct|Nov|Dec|U\.S|U\.K|a\.m|p\.m)
      | (?:[A-Z]\.)*[A-Z]
    )$""",
    re.VERBOSE,
)
_LONGEST_ABBREVIATION = 12


def sentence_spans(text: str) -> list[Span]:
    """The (start, end) of each sentence in characters, without the white space around it; empty for a blank text."""
    cuts = [0, *_cuts(text), len(text)]
    spans = (_strip(text, start, end) for start, end in pairwise(cuts))
    return [span for span in spans if span[0] < span[1]]


def split_sentences(text: str) -> list[str]:
    """The sentences of a text, with each run of white space inside them (a wrapped line) made one space."""
    return [" ".join(text[start:end].split()) for start, end in sentence_spans(text)]


def _cuts(text: str) -> Iterator[int]:
    for match in _BOUNDARY.finditer(text):
        if match["dot"] != "." or not _ends_in_abbreviation(text, match.start()):
            yield match.end()


def _ends_in_abbreviation(text: str, dot: int) -> bool:
    return _ABBREVIATION.search(text[max(0, dot - _LONGEST_ABBREVIATION) : dot]) is not None


def _strip(text: str, start: int, end: int) -> Span:
    part = text[start:end]
    leading = len(part) - len(part.lstrip())
    return start + leading, max(start + leading, start + len(part.rstrip()))
