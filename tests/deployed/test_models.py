"""Every shipped model, alone and all together."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from inference_worker.tasks.sentences import split_sentences
from models.articles import Article, load_articles
from tests.deployed.api import PREDICT, PREDICTIONS, Api
from tests.waiting import eventually

LABELS = {"labels": ["sport", "politics", "cooking"]}


async def test_the_first_request_of_the_readme_works_word_for_word(api: Api) -> None:
    body = await api.call(
        200, "POST", PREDICT, json={"model": "sentiment-analysis", "text": "This is great!", "version": "1.0.0"}
    )
    assert {"prediction_id", "model", "result", "confidence", "processing_time_ms"} <= body.keys()
    assert body["result"]["label"] == "POSITIVE" and body["confidence"] >= 0.9


async def test_every_model_answers_sense(api: Api) -> None:
    bad = await api.predict("sentiment-analysis", "A dull, lifeless waste of two hours.")
    assert (bad["version"], bad["result"]["label"]) == ("1.1.0", "NEGATIVE")
    topic = await api.predict("zero-shot-classification", "The striker scored twice in the final.", options=LABELS)
    assert topic["result"]["label"] == "sport" and topic["confidence"] == topic["result"]["scores"]["sport"]
    vector = await api.predict("embeddings", "hello")
    assert len(vector["result"]["embedding"]) == 384 and vector["confidence"] is None
    article = load_articles()[0].text
    written = await api.predict("text-summarization", article, version="2.0.0")
    assert 0 < len(written["result"]["summary"]) < len(article)


@pytest.mark.parametrize("article", load_articles(), ids=lambda article: article.title)
async def test_a_summary_is_made_of_the_texts_sentences_and_holds_the_facts(api: Api, article: Article) -> None:
    summary = (await api.predict("text-summarization", article.text))["result"]["summary"]
    assert [fact for fact in article.facts if fact not in summary] == []
    assert len(summary) < len(article.text)
    assert set(split_sentences(summary)) <= set(split_sentences(article.text))


async def test_a_thousand_mixed_requests_are_answered_right_and_stored_once(api: Api) -> None:
    article = load_articles()[0].text
    kinds: list[tuple[dict[str, Any], str | None]] = [
        ({"model": "sentiment-analysis", "text": "I love it"}, "POSITIVE"),
        ({"model": "sentiment-analysis", "text": "I hate it", "version": "1.0.0"}, "NEGATIVE"),
        ({"model": "embeddings", "text": "a few words about a river"}, None),
        (
            {"model": "zero-shot-classification", "text": "rain tomorrow", "options": {"labels": ["weather", "money"]}},
            "weather",
        ),
        ({"model": "text-summarization", "text": article}, None),
    ]
    slow = ({"model": "text-summarization", "version": "2.0.0", "text": article, "options": {"max_length": 12}}, None)
    asked = [slow if number % 125 == 0 else kinds[number % len(kinds)] for number in range(1000)]
    answers = await asyncio.gather(*(api.call(200, "POST", f"{PREDICT}?wait=60", json=body) for body, _ in asked))
    for (body, label), answer in zip(asked, answers, strict=True):
        assert answer["model"] == body["model"] and answer["version"] == body.get("version", answer["version"])
        assert label is None or answer["result"]["label"] == label
    ids = {answer["prediction_id"]: answer["model"] for answer in answers}
    assert len(ids) == 1000

    async def all_stored() -> bool:
        pages = [await api.history(model, min(ids)) for model in sorted(set(ids.values()))]
        return [page[id] for id, model in ids.items() for page in pages if page[id]] == [1] * 1000

    await eventually(all_stored, "each is in the history once", timeout_s=60)
    some = answers[7]
    found = await api.call(200, "GET", f"{PREDICTIONS}/{some['prediction_id']}")
    assert found["input"]["text"] == asked[7][0]["text"] and found["status"] == "succeeded"
