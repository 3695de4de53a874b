"""The choice of sentences, on hand-made vectors."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from inference_worker.tasks.extractive import Floats, choose_sentences, relevance


def _unit(rows: list[list[float]]) -> Floats:
    vectors = np.array(rows, dtype=np.float32)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)


def _sentences(count: int, words: int = 5) -> list[str]:
    return [" ".join(["word"] * words) for _ in range(count)]


def test_of_two_sentences_that_say_the_same_one_is_taken() -> None:
    vectors = _unit([[1, 0, 0], [1, 0, 0.01], [0, 1, 0], [0, 1, 0.2], [0.4, 0.4, 0.1]])
    chosen = choose_sentences(vectors, _sentences(5), 100)
    assert len(chosen) == 2 and not {0, 1} <= set(chosen)


def test_a_sentence_much_like_what_is_taken_gives_way_to_one_that_says_more() -> None:
    vectors = _unit([[3, 0, 0], [0, 0, 3], [1, 3, 1], [0, 0, 2], [3, 3, 1]])
    assert list(relevance(vectors).argsort()[::-1][:3]) == [4, 2, 1]  # by worth alone the third would be the second
    assert float(vectors[4] @ vectors[2]) > 0.89 > 0.23 > float(vectors[4] @ vectors[1])
    assert choose_sentences(vectors, _sentences(5), 100) == [1, 4]


def test_an_early_sentence_is_worth_more_and_the_bonus_fades() -> None:
    worth = relevance(_unit([[1, 0]] * 20))
    assert list(worth) == sorted(worth, reverse=True)
    assert worth[0] - worth[3] > 0.3 > 0.01 > worth[-1]


def test_the_first_of_equal_sentences_is_worth_most() -> None:
    worth = relevance(_unit([[1, 0]] * 4))
    assert list(worth.argsort()[::-1]) == [0, 1, 2, 3]


def test_most_words_bounds_the_summary() -> None:
    vectors = _unit([[1, 0.1 * index, 0.3 * (index % 3)] for index in range(20)])
    assert len(choose_sentences(vectors, _sentences(20), 11)) <= 2


def test_where_no_sentence_fits_the_shortest_is_the_summary() -> None:
    assert choose_sentences(_unit([[1, 0], [0, 1]]), ["a b c d e f g h i j", "a b c"], 120) == [1]
    assert choose_sentences(_unit([[1, 0]]), ["one sentence alone"], 120) == [0]


@given(
    words=st.lists(st.integers(1, 30), min_size=1, max_size=15),
    most_words=st.integers(8, 60),
    seed=st.integers(0, 1000),
)
def test_a_summary_is_in_order_and_within_its_bounds(words: list[int], most_words: int, seed: int) -> None:
    vectors = _unit(np.random.default_rng(seed).normal(size=(len(words), 8)).tolist())
    sentences = [" ".join(["ab"] * count) for count in words]
    chosen = choose_sentences(vectors, sentences, most_words)
    assert chosen and chosen == sorted(set(chosen))
    if len(chosen) > 1:
        summary, text = " ".join(sentences[index] for index in chosen), " ".join(sentences)
        assert len(summary.split()) <= min(most_words, 0.4 * len(text.split()))
        assert len(summary) <= 0.4 * len(text)
