"""The shipped models, built by the recipe and run by the worker's tasks: real weights, real answers."""

from __future__ import annotations

import json
import math
import re
import socket
import threading
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from inference_worker.tasks.protocol import InvalidInput, Item, Output, Task
from inference_worker.tasks.sentences import split_sentences
from models.articles import Article, load_articles
from models.artifacts import ROOT
from models.build import build_all
from models.evaluate import load_version, summary_faults
from shared.service.catalogue_file import load_catalogue

Load = Callable[[str, str], Task]

ARTICLES = load_articles()
REVIEW = (
    "The plot follows two brothers who inherit a farm. The older one wants to sell it and the younger one does not. "
    "Most of the story takes place in one long summer. There are a good many scenes in the kitchen. "
    "The father appears in memories only. Music is used rarely, and mostly piano. "
)


@pytest.fixture(scope="session")
def load() -> Load:
    """Loads a version of the shipped catalogue, each once."""
    build_all()
    catalogue = load_catalogue(Path(ROOT, "models.toml"))
    return cache(lambda name, version: load_version(catalogue, name, version))


def _predict(task: Task, *texts: str, **options: Any) -> list[Output]:
    outputs = task.predict(task.encode([Item(text, options) for text in texts]))
    json.dumps([dict(output.result) for output in outputs], allow_nan=False)  # plain types, or this raises
    return list(outputs)


@pytest.mark.parametrize("version", ["1.0.0", "1.1.0"])
def test_sentiment_of_plain_texts(load: Load, version: str) -> None:
    task = load("sentiment-analysis", version)
    great, awful = _predict(task, "This is great!", "A dull, lazy film that wastes everyone's time.")
    assert great.result["label"] == "POSITIVE" and great.confidence is not None and great.confidence >= 0.9
    assert awful.result["label"] == "NEGATIVE" and awful.confidence == awful.result["scores"]["NEGATIVE"]
    assert sum(great.result["scores"].values()) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    ("verdict", "label"),
    [
        (
            "It is a wonderful, moving film and I loved every minute. The acting is superb. See it! It is a joy. ",
            "POSITIVE",
        ),
        (
            "It is a dreadful, boring film and I hated every minute. The acting is awful. Avoid it! It is bad. ",
            "NEGATIVE",
        ),
    ],
)
def test_a_verdict_beyond_the_length_of_the_model_counts(load: Load, verdict: str, label: str) -> None:
    task = load("sentiment-analysis", "1.1.0")
    long_text = REVIEW * 6 + verdict * 8  # over 512 tokens before the verdict begins
    [encoded] = task.encode([Item(long_text)])
    assert encoded.rows > 1
    [output] = task.predict([encoded])
    assert output.result["label"] == label


def test_an_answer_does_not_depend_on_the_batch(load: Load) -> None:
    task = load("sentiment-analysis", "1.1.0")
    texts = [
        "Fine.",
        "I would not go again, the soup was cold.",
        REVIEW * 3,
        "great " * 300,
        "[SEP] <unk> \u200b",
        "é😀",
    ]
    together = _predict(task, *texts)
    for text, output in zip(texts, together, strict=True):
        [alone] = _predict(task, text)
        assert alone.result["scores"] == pytest.approx(output.result["scores"], abs=0.02)  # bfloat16


def test_control_tokens_in_a_text_are_text(load: Load) -> None:
    task = load("sentiment-analysis", "1.1.0")
    [encoded] = task.encode([Item("great [SEP] film")])
    separator = 102
    assert list(encoded.data[0].ids).count(separator) == 1


def test_encoding_and_predicting_at_once_is_safe(load: Load) -> None:
    task = load("sentiment-analysis", "1.1.0")
    items = [Item(f"Text number {number} is good. " * (1 + number % 9)) for number in range(40)]
    expected = [output.result["label"] for output in task.predict(task.encode(items))]
    failures: list[Exception] = []

    def encode() -> None:
        try:
            for _ in range(30):
                task.encode(items)
        except Exception as error:  # handed to the test's own thread
            failures.append(error)

    thread = threading.Thread(target=encode)
    thread.start()
    for _ in range(2):
        assert [output.result["label"] for output in task.predict(task.encode(items))] == expected
    thread.join()
    assert not failures


def test_embeddings_are_unit_vectors_and_near_for_like_texts(load: Load) -> None:
    task = load("embeddings", "1.0.0")
    outputs = _predict(task, "A cat sleeps.", "A kitten is asleep.", "Interest rates rose.", "word " * 2000)
    vectors: list[list[float]] = [output.result["embedding"] for output in outputs]
    assert all(output.confidence is None for output in outputs)
    assert [len(vector) for vector in vectors] == [384] * 4
    assert [math.hypot(*vector) for vector in vectors] == pytest.approx([1] * 4, abs=1e-4)
    near, far = (sum(a * b for a, b in zip(vectors[0], other, strict=True)) for other in vectors[1:3])
    assert near > 0.6 > 0.3 > far


def test_zero_shot_chooses_among_the_labels_of_each_request(load: Load) -> None:
    task = load("zero-shot-classification", "1.0.0")
    items = [
        Item("The central bank raised interest rates again.", {"labels": ["sport", "economy", "cooking"]}),
        Item("Fry the onions until they are golden.", {"labels": ["cooking", "politics"]}),
        Item("The goalkeeper saved a penalty in the last minute.", {"labels": ["science", "sport"]}),
    ]
    outputs = task.predict(task.encode(items))
    assert [output.result["label"] for output in outputs] == ["economy", "cooking", "sport"]
    assert [set(output.result["scores"]) for output in outputs] == [set(item.options["labels"]) for item in items]
    assert all(output.confidence == max(output.result["scores"].values()) for output in outputs)


def test_zero_shot_without_labels_is_an_error(load: Load) -> None:
    with pytest.raises(InvalidInput, match="options.labels"):
        load("zero-shot-classification", "1.0.0").encode([Item("no labels")])


@pytest.mark.parametrize("article", ARTICLES, ids=lambda article: article.title)
def test_an_extractive_summary_is_made_of_the_articles_sentences(load: Load, article: Article) -> None:
    [output] = _predict(load("text-summarization", "1.0.0"), article.text)
    summary = output.result["summary"]
    assert 8 <= len(split_sentences(article.text)) <= 15
    assert all(sentence in article.text for sentence in split_sentences(summary))
    assert summary_faults(article, summary) == []
    assert output.confidence is None


def test_an_extractive_summary_obeys_max_length_and_is_never_empty(load: Load) -> None:
    task = load("text-summarization", "1.0.0")
    [short] = _predict(task, ARTICLES[0].text, max_length=30)
    assert 0 < len(short.result["summary"].split()) <= 30
    [only] = _predict(task, "One sentence and no more.")
    assert only.result == {"summary": "One sentence and no more."}
    with pytest.raises(ValueError, match="blank"):
        task.encode([Item(" \n ")])


@pytest.mark.timeout(600)  # half a minute alone
def test_an_abstractive_summary_is_shorter_than_its_text(load: Load) -> None:
    task = load("text-summarization", "2.0.0")
    texts = [ARTICLES[0].text[:500], ARTICLES[1].text[:400]]
    outputs = _predict(task, *texts, max_length=32)
    for text, output in zip(texts, outputs, strict=True):
        assert 0 < len(output.result["summary"]) < len(text)
        assert "<|" not in output.result["summary"]
    [alone] = _predict(task, texts[0], max_length=32)
    assert _shared_words(alone.result["summary"], outputs[0].result["summary"]) > 0.5  # bfloat16 may turn a word


def _shared_words(one: str, other: str) -> float:
    words: Sequence[set[str]] = [set(re.findall(r"\w+", text.lower())) for text in (one, other)]
    return len(words[0] & words[1]) / len(words[0] | words[1])


def test_a_warm_up_sample_is_accepted_by_every_task(load: Load) -> None:
    for name in ("sentiment-analysis", "embeddings", "zero-shot-classification", "text-summarization"):
        task = load(name, "1.0.0")
        assert len(task.predict(task.encode([task.sample]))) == 1


def test_loading_a_directory_never_reaches_for_the_network(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any, **keywords: Any) -> None:
        raise AssertionError("a local directory was loaded over the network")

    load("embeddings", "1.0.0")  # built before the network is closed
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    catalogue = load_catalogue(Path(ROOT, "models.toml"))
    for name in ("sentiment-analysis", "embeddings", "text-summarization", "zero-shot-classification"):
        load_version(catalogue, name, "1.0.0")


def test_artifacts_that_are_there_are_not_built_again(load: Load) -> None:
    load("embeddings", "1.0.0")
    assert build_all() is False
