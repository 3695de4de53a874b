"""Redis goes away under a worker and a persister: what is in hand is kept, what is not is left for others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from pydantic import SecretStr

from inference_worker.held_entries import HeldEntries
from persister.database import Database
from persister.settings import PersisterSettings
from scripts.stack.redis import RedisServer
from shared.contract.catalogue import Catalogue, ServedVersion
from shared.contract.errors import StoreUnavailable
from shared.contract.keys import Keys
from shared.contract.messages import Outcome, Status, decode_request
from shared.service.liveness import Liveness
from shared.service.settings import Settings
from shared.streams.redis_client import connect
from shared.streams.request_stream import Completed, RequestStream
from shared.streams.result_stream import ResultStream
from shared.streams.version_streams import Counts, VersionStreams
from tests.access import environment_of, shard_of
from tests.gateways import make_persister
from tests.integration.test_lane import Running, make_lane
from tests.streams import MODEL, VERSION, Redis, finished, publish, results
from tests.waiting import eventually


@pytest.fixture
async def client(own_redis: RedisServer) -> AsyncIterator[Redis]:
    made = connect(Settings(redis_url=SecretStr(own_redis.url)))
    yield made
    await made.aclose()


@pytest.fixture
def served(catalogue: Catalogue) -> ServedVersion:
    found = catalogue.resolve(MODEL, VERSION)
    assert found is not None
    return found


async def test_a_lane_that_loses_redis_says_so_and_goes_on(
    own_redis: RedisServer, client: Redis, keys: Keys, environment: dict[str, str]
) -> None:
    lane, task = make_lane({**environment, "REDIS_URL": own_redis.url}, client, keys)
    async with Running(lane):
        await publish(client, keys, "before")
        await eventually(lambda: task.batches == [["before"]] and lane.in_hand == 0, "it serves")
        own_redis.kill()
        await eventually(lambda: lane.unavailable is not None, "it notices")
        assert "redis cannot be reached" in str(lane.unavailable)
        own_redis.start()
        await eventually(lambda: lane.unavailable is None, "it is back")
        await publish(client, keys, "after")
        await eventually(lambda: task.batches == [["before"], ["after"]], "it serves again")


async def test_a_lane_stops_while_redis_is_away(
    own_redis: RedisServer, client: Redis, keys: Keys, environment: dict[str, str]
) -> None:
    lane, task = make_lane({**environment, "REDIS_URL": own_redis.url}, client, keys)
    async with Running(lane):
        await eventually(lambda: lane.unavailable is None, "it serves")
        own_redis.kill()
        await eventually(lambda: lane.unavailable is not None, "it notices")
    assert task.batches == []


async def test_a_second_read_that_fails_does_not_lose_the_first(
    own_redis: RedisServer, client: Redis, keys: Keys, environment: dict[str, str]
) -> None:
    lane, task = make_lane({**environment, "REDIS_URL": own_redis.url}, client, keys, max_wait_ms=300)
    async with Running(lane):
        await publish(client, keys, "a")
        await eventually(lambda: lane.in_hand == 1, "the first read")
        own_redis.kill()
        await eventually(lambda: task.batches == [["a"]], "it is computed all the same")
        own_redis.start()
        await eventually(lambda: lane.in_hand == 0, "and finished when Redis is back")
    assert len(await results(client, keys)) == 1


async def test_what_cannot_be_renewed_or_given_back_is_left_to_the_timeout(
    own_redis: RedisServer, client: Redis, keys: Keys, served: ServedVersion
) -> None:
    stream = VersionStreams(shard_of("inference_worker", client, keys), MODEL, VERSION, "w1")
    await publish(client, keys, "a")
    await stream.join()
    (delivery,) = (await stream.read(Counts(1, 0), 10)).deliveries
    held = HeldEntries(stream, served, Liveness(30), 1000)
    held.hold([delivery])
    own_redis.kill()
    await held.renew()
    assert held.entries == {delivery.entry}
    await held.give_back([delivery])
    assert held.entries == set()
    own_redis.start()
    assert (await client.xpending(keys.requests(MODEL, VERSION), keys.WORKER_GROUP))["pending"] == 1


async def test_finishing_goes_on_until_redis_is_back_even_while_stopping(
    own_redis: RedisServer, client: Redis, keys: Keys, served: ServedVersion
) -> None:
    stream = VersionStreams(shard_of("inference_worker", client, keys), MODEL, VERSION, "w1")
    await publish(client, keys, "a", "b")
    await stream.join()
    first, second = (await stream.read(Counts(2, 0), 10)).deliveries
    held = HeldEntries(stream, served, Liveness(30), 1000)
    held.hold([first, second])
    stop = asyncio.Event()
    stop.set()
    own_redis.kill()
    finishing = asyncio.create_task(held.finish([finished(first)], stop))
    giving_up = asyncio.create_task(held.dead_letter(second, "reason", "error", stop))
    await eventually(lambda: held.unavailable not in (None, "starting"), "it notices")
    own_redis.start()
    await asyncio.wait_for(asyncio.gather(finishing, giving_up), 20)
    assert held.entries == set() and held.unavailable is None
    assert {fields[b"status"] for fields in await results(client, keys)} == {b"succeeded", b"failed"}


async def test_an_outcome_that_comes_second_is_dropped(client: Redis, keys: Keys, served: ServedVersion) -> None:
    stream = VersionStreams(shard_of("inference_worker", client, keys), MODEL, VERSION, "w1")
    await publish(client, keys, "a")
    await stream.join()
    (delivery,) = (await stream.read(Counts(1, 0), 10)).deliveries
    held = HeldEntries(stream, served, Liveness(30), 1000)
    never = asyncio.Event()
    await held.finish([finished(delivery, "first")], never)
    late = Completed(delivery, decode_request(delivery.fields), Outcome(Status.FAILED, error="second"))
    await held.finish([late], never)
    assert [fields[b"result"] for fields in await results(client, keys)] == [b'{"label":"first"}']


async def test_a_persister_that_loses_redis_says_so_and_goes_on(
    own_redis: RedisServer, client: Redis, keys: Keys, environment: dict[str, str]
) -> None:
    values: dict[str, Any] = {name.lower(): value for name, value in environment_of("persister", environment).items()}
    settings = PersisterSettings(**{**values, "redis_url": own_redis.url}, read_block_ms=20, claim_interval_ms=50)
    database = Database(settings)
    persister = make_persister(settings, client, keys, database)
    stop = asyncio.Event()
    running = asyncio.create_task(persister.run(stop))
    await eventually(lambda: persister.unavailable is None, "it runs")
    own_redis.kill()
    await eventually(lambda: persister.unavailable is not None, "it notices")
    own_redis.start()
    await eventually(lambda: persister.unavailable is None, "it is back")
    own_redis.kill()
    await eventually(lambda: persister.unavailable is not None, "it notices again")
    stop.set()
    await asyncio.wait_for(running, 20)
    await database.close()


async def test_partitions_wait_for_postgres(client: Redis, keys: Keys, environment: dict[str, str]) -> None:
    values: dict[str, Any] = {name.lower(): value for name, value in environment_of("persister", environment).items()}
    settings = PersisterSettings(**{**values, "database_url": "postgresql://nobody@127.0.0.1:1/nothing"})
    database = Database(settings)
    persister = make_persister(settings, client, keys, database)
    stop = asyncio.Event()
    keeping = asyncio.create_task(persister.keep_partitions(stop))
    with pytest.raises(StoreUnavailable):
        await database.insert([])
    stop.set()
    await asyncio.wait_for(keeping, 20)


async def test_a_key_of_another_kind_stops_no_service_and_is_told_in_words(client: Redis, keys: Keys) -> None:
    requests = RequestStream(shard_of("inference_worker", client, keys), MODEL, VERSION, "w1")
    result_stream = ResultStream(shard_of("persister", client, keys), "p1")
    await client.set(requests.key, "not a stream")
    await client.set(keys.results, "not a stream")
    for call in (
        requests.read(1, 10),
        requests.claim(1, 1),
        requests.leave(),
        result_stream.read(1, 10),
        result_stream.claim(1, 1),
        result_stream.remove_idle(1),
        result_stream.leave(),
    ):
        with pytest.raises(StoreUnavailable, match="WRONGTYPE") as told:
            await call
        assert told.value.reason == "unknown"
