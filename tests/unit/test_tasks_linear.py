"""Code that sees a text takes time in proportion to it, whatever it says; a splitter that does not is caught."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable

import numpy as np
import pytest

from inference_worker.tasks import sentences
from inference_worker.tasks.chunking import chunk_tokens
from inference_worker.tasks.extractive import choose_sentences
from inference_worker.tasks.generative import tidy
from inference_worker.tasks.sentences import sentence_spans, split_sentences

LONGEST = 50_000  # MAX_TEXT_CHARS
MOST_CPU_S = 0.5  # seen: 0.02; a quadratic one takes 10 s and more
PARTS = (
    *(".", " ", "\n", "。", '"', "!", "(", "'", "-", "\t", "\r", "\u2028", "a", "A", "1", "…", ")", "“", "- "),
    *(". ", '."', "\n ", "a\n", "\n\r", '. "', ".\n- ", "( ", "\n\x0b", ".”", "。」", "A.", "e.g. ", "\n- ", "\t\n\t"),
)
# The pattern as it was when it took quadratic time: what it cuts is right, and is still cut.
QUADRATIC = re.compile(
    r"""
      (?P<dot>[.!?…]+)["'”’»)\]]*\s+(?=["'“‘«(\[¿¡]*[^\W_a-zß-öø-ÿ])
    | [。！？]+[”’」』）]*\s*
    | [^\S\n]*\n[^\S\n]*\n\s*
    | \n\s*(?=[-*•–]\s)
    """,
    re.VERBOSE,
)


def hostile() -> list[str]:
    """Texts of the greatest length, each of one part again and again, ended by each of a few others."""
    return [(part * LONGEST)[: LONGEST - 2] + end for part in PARTS for end in ("xx", "\n", ". A", " a")]


def cpu_s(work: Callable[[str], object], text: str) -> float:
    """CPU seconds of a call; it is ended when it has had enough."""
    began = time.process_time()
    work(text)
    return time.process_time() - began


def test_texts_are_split_in_linear_time() -> None:
    for text in hostile():
        assert cpu_s(split_sentences, text) < MOST_CPU_S, repr(text[:6])


def test_a_quadratic_splitter_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sentences, "_BOUNDARY", QUADRATIC)
    assert cpu_s(split_sentences, "." * (LONGEST // 4)) > MOST_CPU_S


def test_what_is_cut_has_not_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    chance = random.Random(11)
    texts = ["".join(chance.choices(PARTS, k=chance.randint(0, 14))) for _ in range(20_000)]
    spans = [sentence_spans(text) for text in texts]
    monkeypatch.setattr(sentences, "_BOUNDARY", QUADRATIC)
    assert [sentence_spans(text) for text in texts] == spans


@pytest.mark.parametrize("sentence", [(0, 1), (0, LONGEST)])
def test_tokens_are_chunked_in_linear_time(sentence: tuple[int, int]) -> None:
    tokens = [(at, at + 1) for at in range(LONGEST)]
    every = [(at, at + sentence[1]) for at in range(0, LONGEST, sentence[1])]
    assert cpu_s(lambda _: chunk_tokens(tokens, every, 64), "") < MOST_CPU_S


def test_a_summary_of_very_many_sentences_is_chosen_in_linear_time() -> None:
    count = LONGEST // 3
    vectors = np.random.default_rng(1).normal(size=(count, 384)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)

    def choose(count: int) -> float:
        return cpu_s(lambda _: choose_sentences(vectors[:count], ["a."] * count, 120), "")

    quarter, whole = choose(count // 4), choose(count)
    assert whole < 10 * quarter  # 4 times as long; in quadratic time 16 times


def test_a_generated_text_is_tidied_in_linear_time() -> None:
    for text in hostile()[::5]:
        assert cpu_s(tidy, text) < MOST_CPU_S, repr(text[:6])
