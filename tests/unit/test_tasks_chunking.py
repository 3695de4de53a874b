"""Chunks cover every token once, fit the limit and end where sentences end."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from inference_worker.tasks.chunking import chunk_tokens
from inference_worker.tasks.sentences import Span, sentence_spans, split_sentences


def _words(text: str) -> list[Span]:
    """One token a word."""
    spans, at = [], 0
    for word in text.split():
        start = text.index(word, at)
        at = start + len(word)
        spans.append((start, at))
    return spans


def _chunks(text: str, limit: int) -> list[str]:
    offsets = _words(text)
    spans = chunk_tokens(offsets, sentence_spans(text), limit)
    return [text[offsets[start][0] : offsets[end - 1][1]] for start, end in spans]


def test_a_text_that_fits_is_one_chunk() -> None:
    assert chunk_tokens([(0, 1), (2, 3)], [(0, 3)], 2) == [(0, 2)]


def test_a_text_without_tokens_is_one_empty_chunk() -> None:
    assert chunk_tokens([], [], 8) == [(0, 0)]


def test_chunks_end_where_sentences_end() -> None:
    assert _chunks("One two three. Four five. Six seven eight nine.", 5) == [
        "One two three. Four five.",
        "Six seven eight nine.",
    ]


def test_a_sentence_over_the_limit_is_split_and_its_neighbours_are_not() -> None:
    assert _chunks("Go on. A b c d e f g. Stop here.", 4) == ["Go on.", "A b c d", "e f g.", "Stop here."]


def test_a_long_sentence_is_split_between_words() -> None:
    offsets = [(0, 2), (2, 4), (4, 6), (7, 9), (9, 11), (11, 13)]  # two words of three tokens
    assert chunk_tokens(offsets, [(0, 13)], 4) == [(0, 3), (3, 6)]


def test_a_word_over_the_limit_is_split_all_the_same() -> None:
    assert chunk_tokens([(0, 1), (1, 2), (2, 3)], [(0, 3)], 2) == [(0, 2), (2, 3)]


@given(
    gaps=st.lists(st.booleans(), max_size=60),
    ends=st.sets(st.integers(0, 120), max_size=12),
    limit=st.integers(1, 20),
)
def test_every_token_is_in_exactly_one_chunk_that_fits(gaps: list[bool], ends: set[int], limit: int) -> None:
    offsets, at = [], 0
    for gap in gaps:
        offsets.append((at + gap, at + gap + 1))
        at += gap + 1
    sentences = list(pairwise(sorted({0, *(end for end in ends if end < at), at}))) if at else []
    spans = chunk_tokens(offsets, sentences, limit)
    assert [token for start, end in spans for token in range(start, end)] == list(range(len(offsets)))
    assert all(end - start <= limit for start, end in spans)


def test_sentences_end_at_marks_followed_by_a_new_start() -> None:
    assert split_sentences('She said "Stop!" Then he left... Why? (Nobody knows.) It was 3.5 km.') == [
        'She said "Stop!"',
        "Then he left...",
        "Why?",
        "(Nobody knows.)",
        "It was 3.5 km.",
    ]


def test_abbreviations_and_initials_end_no_sentence() -> None:
    text = "Dr. Marsh met J. R. Smith of Orsa Ltd. Gladly. The U.S. Senate, e.g. Mr. Low, agreed."
    assert split_sentences(text) == [
        "Dr. Marsh met J. R. Smith of Orsa Ltd. Gladly.",
        "The U.S. Senate, e.g. Mr. Low, agreed.",
    ]


def test_blank_lines_and_list_marks_are_boundaries_and_wrapped_lines_are_not() -> None:
    assert split_sentences("A heading\n\nA wrapped\nline.\n- one\n- two") == [
        "A heading",
        "A wrapped line.",
        "- one",
        "- two",
    ]


def test_sentences_of_other_scripts() -> None:
    assert split_sentences("これは文です。次の文です！") == ["これは文です。", "次の文です！"]
    assert split_sentences("Это первое. Это второе.") == ["Это первое.", "Это второе."]


@given(st.text(alphabet=st.sampled_from("aB.!?。 \n\"')-1")))
def test_sentences_keep_everything_but_white_space(text: str) -> None:
    assert "".join("".join(split_sentences(text)).split()) == "".join(text.split())
