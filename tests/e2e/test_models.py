"""The shipped models through the whole pipeline: what `make up` serves."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from typing import Any

import aiohttp
import asyncpg
import pytest

from inference_worker.tasks.sentences import split_sentences
from models.articles import load_articles
from models.build import build_all
from models.evaluate import summary_faults
from scripts.stack.postgres import PostgresServer
from scripts.stack.redis import RedisServer
from tests.conftest import cloned_database
from tests.e2e.conftest import services
from tests.processes import REPOSITORY
from tests.waiting import eventually

SLOW = "text-summarization:2.0.0"


@pytest.fixture(scope="module")
def stack(
    redis_server: RedisServer, postgres_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, str]]:
    """The stack with the shipped models, as the native stack divides them; yields the API and the database."""
    build_all()
    folder = tmp_path_factory.mktemp("stack")
    with cloned_database(postgres_server) as database_url:
        environment = {
            "REDIS_URL": redis_server.url,
            "DATABASE_URL": database_url,
            "KEY_PREFIX": "shipped:",
            "MODEL_CATALOGUE": str(REPOSITORY / "models/models.toml"),
        }
        with services(environment, folder) as start:
            started = [
                start("gateway", ready=False),
                start("inference_worker", ready=False, WORKER_MODELS=SLOW),
                start("inference_worker", ready=False, WORKER_MODELS=f"!{SLOW}"),
                start("persister", ready=False),
            ]
            for service in started:
                service.wait_ready(120)
            yield started[0].url, database_url


@pytest.fixture
async def connection(stack: tuple[str, str]) -> AsyncIterator[asyncpg.Connection]:
    """A connection to the stack's database."""
    made = await asyncpg.connect(stack[1])
    yield made
    await made.close()


async def predict(url: str, body: dict[str, Any], **query: str) -> dict[str, Any]:
    async with (
        aiohttp.ClientSession(url) as session,
        session.post("/api/v1/predict", json=body, params=query) as answer,
    ):
        assert answer.status == 200, await answer.text()
        answered: dict[str, Any] = await answer.json()
        return answered


async def test_the_first_request_of_the_readme_works_word_for_word(
    stack: tuple[str, str], connection: asyncpg.Connection
) -> None:
    url, _ = stack
    body = await predict(url, {"model": "sentiment-analysis", "text": "This is great!", "version": "1.0.0"})
    assert {"prediction_id", "model", "result", "confidence", "processing_time_ms"} <= body.keys()
    assert body["result"]["label"] == "POSITIVE"
    assert body["confidence"] >= 0.9

    async def stored() -> bool:
        return bool(await connection.fetchval("SELECT true FROM predictions WHERE id = $1", body["prediction_id"]))

    await eventually(stored, "the row is there", timeout_s=5)


async def test_every_model_answers_sense(stack: tuple[str, str]) -> None:
    url, _ = stack
    bad = await predict(url, {"model": "sentiment-analysis", "text": "A dull, lifeless waste of two hours."})
    assert (bad["version"], bad["result"]["label"]) == ("1.1.0", "NEGATIVE")
    topic = await predict(
        url,
        {
            "model": "zero-shot-classification",
            "text": "The striker scored twice in the final.",
            "options": {"labels": ["sport", "politics", "cooking"]},
        },
    )
    assert topic["result"]["label"] == "sport" and topic["confidence"] == topic["result"]["scores"]["sport"]
    vector = await predict(url, {"model": "embeddings", "text": "hello"})
    assert len(vector["result"]["embedding"]) == 384 and vector["confidence"] is None
    written = await predict(
        url, {"model": "text-summarization", "version": "2.0.0", "text": load_articles()[0].text}, wait="60"
    )
    assert 0 < len(written["result"]["summary"]) < len(load_articles()[0].text)


@pytest.mark.parametrize("article", load_articles(), ids=lambda article: article.title)
async def test_a_summary_is_short_made_of_the_texts_sentences_and_holds_the_facts(
    stack: tuple[str, str], article: Any
) -> None:
    url, _ = stack
    body = await predict(url, {"model": "text-summarization", "text": article.text})
    summary = body["result"]["summary"]
    assert summary_faults(article, summary) == []
    assert set(split_sentences(summary)) <= set(split_sentences(article.text))


async def test_hundreds_of_mixed_requests_are_answered_once_and_stored_once(
    stack: tuple[str, str], connection: asyncpg.Connection
) -> None:
    url, _ = stack
    article = load_articles()[0].text
    kinds: list[dict[str, Any]] = [
        {"model": "sentiment-analysis", "text": "I love it"},
        {"model": "sentiment-analysis", "text": "I hate it", "version": "1.0.0"},
        {"model": "embeddings", "text": "a few words about a river"},
        {"model": "zero-shot-classification", "text": "rain tomorrow", "options": {"labels": ["weather", "money"]}},
        {"model": "text-summarization", "text": article},
    ]
    slow = {"model": "text-summarization", "version": "2.0.0", "text": article, "options": {"max_length": 12}}
    bodies = [slow if number % 125 == 0 else kinds[number % len(kinds)] for number in range(400)]
    assert sum(body is slow for body in bodies) <= 4
    connector = aiohttp.TCPConnector(limit=64)
    async with aiohttp.ClientSession(url, connector=connector) as session:

        async def one(body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
            async with session.post("/api/v1/predict", json=body, params={"wait": "60"}) as answer:
                return answer.status, await answer.json()

        answers = await asyncio.gather(*(one(body) for body in bodies))
    assert Counter(status for status, _ in answers) == {200: len(bodies)}
    for body, (_, answer) in zip(bodies, answers, strict=True):
        assert answer["model"] == body["model"] and answer["version"] == body.get("version", answer["version"])
    ids = {answer["prediction_id"] for _, answer in answers}
    assert len(ids) == len(bodies)

    async def stored() -> bool:
        count = "SELECT count(*) FROM predictions WHERE id = ANY($1::uuid[])"
        return bool(await connection.fetchval(count, list(ids)) == len(bodies))

    await eventually(stored, "each is stored once")
    labels = await connection.fetch(
        "SELECT input_data->>'text' AS text, output_data->>'label' AS label, count(*) FROM predictions "
        "WHERE id = ANY($1::uuid[]) AND output_data ? 'label' GROUP BY 1, 2",
        list(ids),
    )
    expected = {"I love it": "POSITIVE", "I hate it": "NEGATIVE", "rain tomorrow": "weather"}
    assert {row["text"]: row["label"] for row in labels} == expected


HOSTILE = {
    "dots": "." * 50_000,
    "sentences of a letter": "a. " * 16_666,
    "jamo": "각" * 50_000,
    "emoji": "👩‍👩‍👧‍👦" * 7_000,
    "one word": "a" * 50_000,
    "blank lines": "a\n\n" * 16_666,
}


@pytest.mark.parametrize("name", HOSTILE)
async def test_a_hostile_text_ends_and_an_innocent_one_does_not_wait_for_it(stack: tuple[str, str], name: str) -> None:
    models = ("sentiment-analysis", "text-summarization", "embeddings")
    async with aiohttp.ClientSession(stack[0]) as session:

        async def ask(model: str, text: str) -> tuple[int, dict[str, Any]]:
            body = {"model": model, "text": text}
            async with session.post("/api/v1/predict", json=body, params={"wait": "60"}) as answer:
                return answer.status, await answer.json()

        hostile = [asyncio.create_task(ask(model, HOSTILE[name])) for model in models for _ in range(2)]
        for _ in range(5):
            for model in models:
                assert (await ask(model, "This is a fine day. The sun shines."))[0] == 200
        for status, body in await asyncio.gather(*hostile):
            assert status == 200 or (status, body["type"]) == (422, "urn:millstream:problem:invalid-input"), body
            assert status == 200 or "limits." in body["detail"]
