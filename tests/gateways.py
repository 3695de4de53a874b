"""What stands around a gateway in tests: a worker that does as it is told, a persister, rows of history."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import asyncpg
import orjson
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestClient
from redis.asyncio import Redis

from gateway.core.waiting import Waiters
from gateway.http.context import SETTINGS, WAITERS
from persister.database import Database
from persister.persister import Persister
from persister.settings import PersisterSettings
from persister.tracing import PersisterSpans
from scripts.stack.ports import answers
from shared.contract.ids import id_time, uuid7
from shared.contract.keys import Keys
from shared.contract.messages import Outcome, PredictionRequest, Status, decode_request
from shared.contract.queues import Priority
from shared.service.liveness import Liveness
from shared.streams.redis_watch import RedisWatch
from shared.streams.request_stream import Completed, Delivery, RequestStream
from shared.streams.result_stream import ResultStream
from tests.access import database_url_of, shard_of
from tests.waiting import eventually

Client = TestClient[web.Request, web.Application]
StartGateway = Callable[..., Awaitable[Client]]
Taken = tuple[Delivery, PredictionRequest]


def application_of(client: Client) -> web.Application:
    """The gateway behind a client."""
    assert client.app is not None
    return client.app


def waiters_of(client: Client) -> Waiters:
    """What the gateway behind a client waits for."""
    return application_of(client)[WAITERS]


async def scrape(client: Client, accept: str = "*/*") -> str:
    """The metrics of the gateway behind a client."""
    port = application_of(client)[SETTINGS].admin_port
    await eventually(lambda: answers(port), "the gateway listens for who runs it")
    url = f"http://127.0.0.1:{port}/metrics"
    async with ClientSession() as session, session.get(url, headers={"Accept": accept}) as answer:
        assert answer.status == 200 and answer.content_type == "text/plain", answer
        return await answer.text()


def succeeded(result: object = None, confidence: float | None = 0.5) -> Outcome:
    """An outcome with a result."""
    return Outcome(
        Status.SUCCEEDED, orjson.dumps(result if result is not None else {"label": "GOOD"}), confidence, 7, 3
    )


class HandWorker:
    """A worker by hand: it takes requests and finishes them when told to."""

    def __init__(
        self,
        redis: Redis,
        keys: Keys,
        model: str = "echo",
        version: str = "2.0.0",
        priority: Priority = Priority.INTERACTIVE,
    ) -> None:
        shard = shard_of("inference_worker", redis, keys)
        self.stream = RequestStream(shard, model, version, "by-hand", priority)

    async def take(self, count: int = 1) -> list[Taken]:
        """Wait for so many requests and take them."""
        taken: list[Taken] = []

        async def enough() -> bool:
            for delivery in (await self.stream.read(count - len(taken), 0)).deliveries:
                taken.append((delivery, decode_request(delivery.fields)))
            return len(taken) == count

        await self.stream.join()
        await eventually(enough, f"{count} requests in {self.stream.key}")
        return taken

    async def finish(self, taken: Sequence[Taken], outcome: Outcome | None = None) -> list[bool]:
        """Complete what was taken."""
        return await self.stream.complete([Completed(*each, outcome or succeeded()) for each in taken])

    async def serve_one(self, outcome: Outcome | None = None) -> str:
        """Take one request and complete it; the answer is its id."""
        taken = await self.take()
        await self.finish(taken, outcome)
        return taken[0][1].id


def make_persister(
    settings: PersisterSettings,
    redis: Redis,
    keys: Keys,
    database: Database,
    name: str = "persister-1",
    liveness: Liveness | None = None,
    spans: PersisterSpans | None = None,
) -> Persister:
    """A persister with these stores."""
    shard, liveness = shard_of("persister", redis, keys), liveness or Liveness(30)
    watch = RedisWatch(shard, "persister", liveness)
    return Persister(settings, ResultStream(shard, name), database, liveness, watch, spans)


@asynccontextmanager
async def persisting(
    redis: Redis, keys: Keys, database_url: str, name: str = "persister-1", **changes: Any
) -> AsyncIterator[Persister]:
    """A persister, as long as the block runs, with settings as keyword arguments."""
    url = database_url_of("persister", database_url)
    settings = PersisterSettings(database_url=url, persist_max_wait_ms=0, read_block_ms=20, **changes)
    database = Database(settings)
    persister = make_persister(settings, redis, keys, database, name)
    stop = asyncio.Event()
    task = asyncio.create_task(persister.run(stop))
    try:
        yield persister
    finally:
        stop.set()
        await task
        await database.close()


async def persist_everything(redis: Redis, keys: Keys, database_url: str) -> None:
    """Move all results to Postgres."""

    async def moved() -> bool:
        return int(await redis.xlen(keys.results)) == 0

    async with persisting(redis, keys, database_url):
        await eventually(moved, "all results are in Postgres")


async def store(
    database: asyncpg.Connection, count: int, model: str, version: str, status: str = "succeeded", since_ms: int = 0
) -> list[str]:
    """Insert finished predictions, a millisecond apart; the answer is their ids, oldest first."""
    number = await database.fetchval(
        "SELECT v.id FROM model_versions v JOIN models m ON m.id = v.model_id WHERE m.name = $1 AND v.version = $2",
        model,
        version,
    )
    start = since_ms or time.time_ns() // 1_000_000
    ids = [uuid7(start + step, random.getrandbits(80)) for step in range(count)]
    output = '{"label": "GOOD"}' if status == "succeeded" else None
    await database.executemany(
        "INSERT INTO predictions (id, model_version_id, input_data, output_data, confidence, processing_time_ms, "
        "created_at, status, completed_at) VALUES ($1, $2, $3, $4, $5, 7, $6, $7, $6)",
        [(UUID(each), number, '{"text": "hello"}', output, 0.5, id_time(each), status) for each in ids],
    )
    return ids


async def shown(client: Client, prediction_id: str) -> dict[str, Any]:
    """A finished prediction, as who reads it by id sees it."""
    async with client.get(f"/api/v1/predictions/{prediction_id}") as answer:
        body: dict[str, Any] = await answer.json()
        assert answer.status == 200 and body["status"] != "queued", body
        return body
