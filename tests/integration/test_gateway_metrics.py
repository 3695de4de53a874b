"""What a scrape costs and promises: bounded series whatever is asked, and an answer in time whatever Redis does."""

from __future__ import annotations

import asyncio
import time

import pytest
from prometheus_client.parser import text_string_to_metric_families

from gateway.http.context import QUEUE_METRICS
from scripts.stack.ports import free_port
from scripts.stack.redis import RedisServer
from tests.gateways import Client, StartGateway, application_of, scrape

PREDICT = "/api/v1/predict"
# All that the server's parser lets through; others are a 400 before any handler.
METHODS = ("PUT", "PATCH", "TRACE", "PROPFIND", "MKCOL", "LOCK", "SEARCH", "PURGE", "REPORT", "OPTIONS", "DELETE")
ANSWER_S = 2.0  # far below the client's own socket time-out of Redis, far above PATIENCE_S


@pytest.fixture
def database_url() -> str:
    """No Postgres."""
    return f"postgresql://nobody@127.0.0.1:{free_port()}/nothing"


async def series(gateway: Client) -> set[str]:
    """Names with labels of all that a scrape answers."""
    started = time.perf_counter()
    text = await scrape(gateway)
    assert time.perf_counter() - started < ANSWER_S
    return {
        f"{sample.name}{sorted(sample.labels.items())}"
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def hostile(gateway: Client, count: int, start: int = 0) -> None:
    """Requests with names that never came before: models, versions, paths, methods, headers."""
    for number in range(start, start + count):
        await gateway.post(PREDICT, json={"model": f"model-{number}", "text": "x"})
        await gateway.post(PREDICT, json={"model": "echo", "version": f"{number}", "text": "x"})
        await gateway.post(f"{PREDICT}/batch", json={"model": f"m{number}", "texts": ["x"]})
        await gateway.get(f"/no/such/{number}")
        await gateway.get(f"/api/v1/models/{number}")
        await gateway.get(f"/api/v1/predictions?model=m{number}&cursor={number}")
        await gateway.request(METHODS[number % len(METHODS)], PREDICT)
        await gateway.request(METHODS[number % len(METHODS)], f"/{number}")


async def test_hostile_input_adds_no_series(gateway: Client) -> None:
    await hostile(gateway, 3)
    await series(gateway)
    before = await series(gateway)
    await hostile(gateway, 40, start=3)
    after = await series(gateway)
    assert after - before == set()
    assert not [each for each in after if "PURGE" in each or "model-" in each or "/no/such" in each]


async def test_a_scrape_waits_for_no_redis(start_gateway: StartGateway, own_redis: RedisServer) -> None:
    gateway = await start_gateway(redis_url=own_redis.url)
    depth = "millstream_queue_depth[('priority', ''), ('stream', 'results')]"
    assert depth in await series(gateway)
    own_redis.pause()
    for _ in range(3):
        found = await series(gateway)
        assert depth not in found, "an old value would look like a queue that stands still"
        assert "millstream_http_requests_in_flight[]" in found
    own_redis.resume()
    deadline = time.monotonic() + 20
    while depth not in await series(gateway):
        assert time.monotonic() < deadline, "the gauges come back with Redis"
    own_redis.kill()
    assert depth not in await series(gateway)


async def test_scrapes_that_overlap_do_not_take_each_others_query(gateway: Client) -> None:
    metrics = application_of(gateway)[QUEUE_METRICS]
    scrapes = []
    for _ in range(500):  # one begins in each turn of the loop: also in the one in which a query ends
        scrapes.append(asyncio.create_task(metrics.refresh(patience_s=20)))
        await asyncio.sleep(0)
    assert await asyncio.gather(*scrapes) == [None] * len(scrapes)
