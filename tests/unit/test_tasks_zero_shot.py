"""Zero-shot scores from given vectors and logits: the scale, what is remembered, which chunk belongs to which label."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import pytest

from inference_worker.tasks import zero_shot
from inference_worker.tasks.embedding import Embedder
from inference_worker.tasks.protocol import InvalidInput, Item, Output
from inference_worker.tasks.rows import Row
from inference_worker.tasks.vectors import Floats
from inference_worker.tasks.zero_shot import SIMILARITY_PROMPT, EntailmentZeroShot, SimilarityZeroShot

VECTORS = {"a": [1.0, 0.0], "b": [0.8, 0.6], "c": [0.0, 1.0], "d": [-1.0, 0.0]}


class Table:
    """An embedder of texts of one letter, and of the prompts about them."""

    def __init__(self) -> None:
        self.embedded: list[list[str]] = []

    def rows(self, texts: Sequence[str]) -> list[list[Row]]:
        """One row a text."""
        return [[Row([ord(text)], [0], 1)] for text in (self._letter(each) for each in texts)]

    def embed_unit(self, texts: Sequence[Sequence[Row]]) -> Floats:
        """The vectors of the letters."""
        letters = [chr(rows[0].ids[0]) for rows in texts]
        self.embedded.append(letters)
        return np.array([VECTORS[letter] for letter in letters], np.float32)

    @staticmethod
    def _letter(text: str) -> str:
        prompts = {SIMILARITY_PROMPT.format(letter): letter for letter in VECTORS}
        return prompts.get(text, text)


def ask(task: SimilarityZeroShot, text: str, *labels: str) -> Output:
    [output] = task.predict(task.encode([Item(text, {"labels": list(labels)})]))
    return output


def scores(output: Output) -> dict[str, float]:
    """The score of each label."""
    return cast(dict[str, float], output.result["scores"])


def test_cosines_are_scaled_as_sentence_encoders_are_trained() -> None:
    output = ask(SimilarityZeroShot(cast(Embedder, Table())), "a", "c", "b")
    likeness = math.exp(0.8 * 20), math.exp(0.0)
    assert scores(output)["b"] == pytest.approx(likeness[0] / sum(likeness), abs=1e-6)
    assert output.result["label"] == "b" and output.confidence == scores(output)["b"]
    output = ask(SimilarityZeroShot(cast(Embedder, Table())), "a", "a", "b")
    assert scores(output)["a"] == pytest.approx(1 / (1 + math.exp(-0.2 * 20)), abs=1e-6)  # 0.98, not 1


def test_labels_are_remembered_and_the_oldest_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zero_shot, "_REMEMBERED_PROMPTS", 2)
    table = Table()
    task = SimilarityZeroShot(cast(Embedder, table))
    ask(task, "a", "a", "b")
    ask(task, "a", "a", "b")
    assert table.embedded == [["a", "b"], ["a"], ["a"]]
    ask(task, "a", "a", "c")  # b is the oldest now
    ask(task, "a", "a", "c")
    assert table.embedded[3:] == [["c"], ["a"], ["a"]]
    ask(task, "a", "b", "c")
    assert table.embedded[6:] == [["b"], ["a"]]


def test_none_of_a_batch_is_forgotten_however_many_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zero_shot, "_REMEMBERED_PROMPTS", 1)
    task = SimilarityZeroShot(cast(Embedder, Table()))
    for _ in range(2):
        assert list(scores(ask(task, "a", "c", "b", "a", "d"))) == ["a", "b", "c", "d"]
    outputs = task.predict(task.encode([Item("a", {"labels": ["a", "c"]}), Item("c", {"labels": ["b", "d"]})]))
    assert [output.result["label"] for output in outputs] == ["a", "b"]


def test_each_chunk_chooses_among_the_labels_and_counts_by_its_length() -> None:
    # contradiction and entailment: label x of chunks 1 and 2, then label y of them
    logits = np.array([[0.0, 2.0], [0.0, 0.5], [1.0, 0.0], [1.0, 1.0]], np.float32)
    rows = [[Row([], [], 30), Row([], [], 10)]] * 2
    output = EntailmentZeroShot._answer(logits, ["x", "y"], rows, independent=False)
    first, second = 1 / (1 + math.exp(-2)), 1 / (1 + math.exp(0.5))
    assert scores(output)["x"] == pytest.approx((30 * first + 10 * second) / 40, abs=1e-6)
    assert sum(scores(output).values()) == pytest.approx(1, abs=1e-5)
    output = EntailmentZeroShot._answer(logits, ["x", "y"], rows, independent=True)
    first, second = 1 / (1 + math.exp(1)), 1 / 2
    assert scores(output)["y"] == pytest.approx((30 * first + 10 * second) / 40, abs=1e-6)


@pytest.mark.parametrize("options", [{"labels": ["a"]}, {"labels": ["a", "b"], "multi_label": True}])
def test_a_text_encoder_only_compares_labels_with_each_other(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match="two or more"):
        SimilarityZeroShot(cast(Embedder, Table())).encode([Item("a", options)])


@pytest.mark.parametrize("options", [{}, {"labels": []}])
def test_without_labels_there_is_nothing_to_choose_from(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match="needs options.labels"):
        SimilarityZeroShot(cast(Embedder, Table())).encode([Item("a", options)])


def test_a_label_named_twice_counts_once() -> None:
    assert list(scores(ask(SimilarityZeroShot(cast(Embedder, Table())), "a", "c", "a", "c"))) == ["a", "c"]
