"""Requests of one moment share one script call; nothing of one caller's fate touches another's."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from gateway.core.submissions import MAX_BYTES_A_CALL, MAX_REQUESTS_A_CALL, Submissions
from scripts.stack.ports import free_port
from scripts.stack.redis import RedisServer
from shared.contract.errors import StoreUnavailable
from shared.contract.ids import uuid7
from shared.contract.keys import Keys
from shared.contract.messages import decode_request
from shared.contract.queues import Priority
from shared.service.settings import Settings
from shared.streams.publishing import Group, Limits, NewRequest, Published, Publisher, Verdict
from shared.streams.redis_client import connect
from shared.streams.shard import Shard
from tests.access import running_redis, shard_of
from tests.streams import LIMITS, memory_limit

pytestmark = pytest.mark.every_server

PLENTY = replace(LIMITS, max_backlog=50_000, max_results=50_000, max_memory_percent=70)
STREAM = ("echo", "2.0.0")


class CountingPublisher(Publisher):
    """A publisher that remembers how many groups went in each call."""

    def __init__(self, shard: Shard, limits: Limits = PLENTY) -> None:
        super().__init__(shard, "gateway-1", limits)
        self.calls: list[int] = []

    async def publish(
        self, model: str, version: str, groups: Sequence[Group], priority: Priority = Priority.INTERACTIVE
    ) -> list[Published]:
        """Count and publish."""
        self.calls.append(len(groups))
        return await super().publish(model, version, groups, priority)


_numbers = itertools.count()


def group(size: int = 1, wait: bool = False) -> Group:
    """A group of new requests."""
    return Group(
        [
            NewRequest(
                uuid7(1_800_000_000_000 + next(_numbers), random.getrandbits(80)),
                b'{"text":"a"}',
                b"{}",
                60_000,
                wait=wait,
            )
            for _ in range(size)
        ]
    )


def verdicts_of(published: Sequence[Published]) -> list[Verdict]:
    """What became of each group."""
    return [each.verdict for each in published]


@pytest.fixture
def publisher(redis: Redis, keys: Keys) -> CountingPublisher:
    """A publisher with room for everything."""
    return CountingPublisher(shard_of("gateway", redis, keys))


@pytest.fixture
async def submissions(publisher: CountingPublisher) -> Submissions:
    """Submissions whose script is loaded already."""
    submissions = Submissions(publisher, 100_000, 100_000_000)
    assert (await submissions.submit("noop", "1.0.0", group())).verdict is Verdict.ACCEPTED
    publisher.calls.clear()
    return submissions


async def entries(redis: Redis, keys: Keys) -> list[tuple[bytes, dict[bytes, bytes]]]:
    """What is in the stream."""
    found: Any = await redis.xrange(keys.requests(*STREAM))
    return list(found)


async def published(redis: Redis, keys: Keys) -> list[str]:
    """The ids in the stream, in its order."""
    return [decode_request(fields).id for _, fields in await entries(redis, keys)]


async def states(redis: Redis, keys: Keys, groups: Sequence[Group]) -> int:
    """How many of these predictions have a state."""
    return int(await redis.exists(*(keys.prediction(each.id) for group in groups for each in group.requests)))


async def test_all_that_come_in_one_tick_go_in_one_call(
    submissions: Submissions, publisher: CountingPublisher, redis: Redis, keys: Keys
) -> None:
    groups = [group() for _ in range(50)]
    verdicts = await asyncio.gather(*(submissions.submit(*STREAM, each) for each in groups))
    assert verdicts_of(verdicts) == [Verdict.ACCEPTED] * 50
    assert publisher.calls == [50]
    assert await published(redis, keys) == [each.requests[0].id for each in groups]


@pytest.fixture(scope="module")
def quiet_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A Redis that nobody else talks to."""
    with running_redis(tmp_path_factory.mktemp("quiet") / "redis") as server:
        yield server


@pytest.fixture
async def quiet(quiet_server: RedisServer) -> AsyncIterator[Redis]:
    """A client of it."""
    client = Redis.from_url(quiet_server.url, protocol=2)
    yield client
    await client.aclose()


async def test_redis_sees_one_call_too(quiet: Redis, keys: Keys) -> None:
    submissions = Submissions(Publisher(shard_of("gateway", quiet, keys), "gateway-1", PLENTY), 100_000, 100_000_000)
    await submissions.submit(*STREAM, group())  # loads the script
    await quiet.config_resetstat()
    await asyncio.gather(*(submissions.submit(*STREAM, group()) for _ in range(64)))
    statistics = await quiet.info("commandstats")
    assert statistics["cmdstat_evalsha"]["calls"] == 1 and "cmdstat_eval" not in statistics
    assert await quiet.xlen(keys.requests(*STREAM)) == 65


async def test_a_redis_that_forgot_its_scripts_is_told_again(quiet: Redis, keys: Keys) -> None:
    submissions = Submissions(Publisher(shard_of("gateway", quiet, keys), "gateway-1", PLENTY), 100_000, 100_000_000)
    await submissions.submit(*STREAM, group())
    await quiet.script_flush()
    assert (await submissions.submit(*STREAM, group())).verdict is Verdict.ACCEPTED


async def test_what_comes_during_a_call_goes_together_in_the_next(
    submissions: Submissions, publisher: CountingPublisher
) -> None:
    first = asyncio.create_task(submissions.submit(*STREAM, group()))
    while not publisher.calls:
        await asyncio.sleep(0)
    later = [asyncio.create_task(submissions.submit(*STREAM, group())) for _ in range(7)]
    assert set(verdicts_of(await asyncio.gather(first, *later))) == {Verdict.ACCEPTED}
    assert publisher.calls == [1, 7]


async def test_streams_do_not_wait_for_each_other(submissions: Submissions, publisher: CountingPublisher) -> None:
    versions = ["1.0.0", "2.0.0"] * 5
    await asyncio.gather(*(submissions.submit("echo", version, group()) for version in versions))
    assert publisher.calls == [5, 5]


async def test_a_call_is_bounded(submissions: Submissions, publisher: CountingPublisher) -> None:
    size = MAX_REQUESTS_A_CALL // 2
    await asyncio.gather(*(submissions.submit(*STREAM, group(size)) for _ in range(5)))
    assert publisher.calls == [2, 2, 1]


async def test_a_group_is_accepted_whole_or_refused_whole(redis: Redis, keys: Keys) -> None:
    publisher = CountingPublisher(shard_of("gateway", redis, keys), replace(PLENTY, max_backlog=5))
    submissions = Submissions(publisher, 100_000, 100_000_000)
    groups = [group(3), group(3), group(2), group(1)]
    verdicts = await asyncio.gather(*(submissions.submit(*STREAM, each) for each in groups))
    assert verdicts_of(verdicts) == [Verdict.ACCEPTED, Verdict.BACKLOG, Verdict.ACCEPTED, Verdict.BACKLOG]
    assert publisher.calls == [4]
    assert await published(redis, keys) == [each.id for each in (*groups[0].requests, *groups[2].requests)]
    assert await states(redis, keys, groups) == 5


async def test_publishing_again_adds_nothing(publisher: CountingPublisher, redis: Redis, keys: Keys) -> None:
    requests = group(3)
    for _ in range(3):
        assert verdicts_of(await publisher.publish(*STREAM, [requests])) == [Verdict.ACCEPTED]
    assert verdicts_of(await publisher.publish(*STREAM, [requests, requests])) == [Verdict.ACCEPTED] * 2
    assert await published(redis, keys) == [each.id for each in requests.requests]


async def test_a_caller_that_gives_up_takes_nobody_with_it(
    submissions: Submissions, publisher: CountingPublisher, redis: Redis, keys: Keys
) -> None:
    groups = [group() for _ in range(5)]
    tasks = [asyncio.create_task(submissions.submit(*STREAM, each)) for each in groups]
    while not publisher.calls:
        await asyncio.sleep(0)
    tasks[0].cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(results[0], asyncio.CancelledError) and results[1:] == [Published(Verdict.ACCEPTED)] * 4
    assert len(await published(redis, keys)) == 5  # its request was under way: it goes on
    assert (await submissions.submit(*STREAM, group())).verdict is Verdict.ACCEPTED


async def test_a_failed_call_reaches_all_its_callers_and_the_next_works(tmp_path: Path, keys: Keys) -> None:
    port = free_port()
    redis = connect(Settings(redis_url=f"redis://127.0.0.1:{port}/0"), retry_once=True)
    submissions = Submissions(Publisher(shard_of("gateway", redis, keys), "gateway-1", PLENTY), 100_000, 100_000_000)
    groups = [group() for _ in range(10)]
    results = await asyncio.gather(*(submissions.submit(*STREAM, each) for each in groups), return_exceptions=True)
    assert [type(each) for each in results] == [StoreUnavailable] * 10
    with running_redis(tmp_path / "late", port=port):
        assert (await submissions.submit(*STREAM, group())).verdict is Verdict.ACCEPTED
        assert await redis.xlen(keys.requests(*STREAM)) == 1
        await redis.aclose()


class StuckPublisher(CountingPublisher):
    """A publisher whose Redis does not answer until it is told what to say."""

    def __init__(self, shard: Shard) -> None:
        super().__init__(shard)
        self.says: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def publish(
        self, model: str, version: str, groups: Sequence[Group], priority: Priority = Priority.INTERACTIVE
    ) -> list[Published]:
        """Wait and publish."""
        self.calls.append(len(groups))
        await self.says
        return [Published(Verdict.ACCEPTED)] * len(groups)


@pytest.fixture
async def stuck(redis: Redis, keys: Keys) -> StuckPublisher:
    return StuckPublisher(shard_of("gateway", redis, keys))


def with_input(text: bytes) -> NewRequest:
    return group().requests[0]._replace(input=text)


async def collect(submissions: Submissions, groups: Sequence[Group]) -> list[asyncio.Task[Published]]:
    """Submit them while the first is under way."""
    tasks = [asyncio.create_task(submissions.submit(*STREAM, each)) for each in groups]
    for _ in range(3):
        await asyncio.sleep(0)
    return tasks


async def test_what_collects_behind_a_stuck_call_is_bounded_in_requests_and_bytes(stuck: StuckPublisher) -> None:
    submissions = Submissions(stuck, 10, 1000)
    (first,) = await collect(submissions, [group()])
    long = Group([with_input(b"x" * 900)])
    tasks = await collect(submissions, [group(8), group(3), long, group(2), group(1)])
    assert [task.result().verdict for task in tasks if task.done()] == [
        Verdict.BACKLOG,
        Verdict.BACKLOG_BYTES,
        Verdict.BACKLOG,
    ]
    stuck.says.set_result(None)
    assert set(verdicts_of(await asyncio.gather(first, tasks[0], tasks[3]))) == {Verdict.ACCEPTED}
    assert (await submissions.submit(*STREAM, group(500))).verdict is Verdict.ACCEPTED  # alone it is for Redis to judge


async def test_who_collects_behind_a_call_that_fails_fails_with_it(stuck: StuckPublisher) -> None:
    submissions = Submissions(stuck, 10_000, 10_000_000)
    tasks = await collect(submissions, [group(400), group(400), group(400), group()])
    assert stuck.calls == [1]
    stuck.says.set_exception(StoreUnavailable("redis", "silent"))
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(each) for each in results] == [StoreUnavailable] * 4
    assert stuck.calls == [1], "nobody waits for a second call that is in vain"


async def test_who_has_gone_is_not_published(stuck: StuckPublisher) -> None:
    submissions = Submissions(stuck, 10_000, 10_000_000)
    (first,) = await collect(submissions, [group()])
    tasks = await collect(submissions, [group(), group(), group()])
    tasks[0].cancel()
    tasks[2].cancel()
    await asyncio.sleep(0)
    stuck.says.set_result(None)
    assert set(verdicts_of(await asyncio.gather(first, tasks[1]))) == {Verdict.ACCEPTED}
    assert stuck.calls == [1, 1]


async def test_a_call_is_bounded_in_bytes(stuck: StuckPublisher) -> None:
    submissions = Submissions(stuck, 10_000, 10 * MAX_BYTES_A_CALL)
    long = [Group([with_input(b"x" * (MAX_BYTES_A_CALL // 2 - 100))]) for _ in range(5)]
    stuck.says.set_result(None)
    await asyncio.gather(*(submissions.submit(*STREAM, each) for each in long))
    assert stuck.calls == [2, 2, 1]


async def test_a_full_redis_is_named_as_the_reason(quiet: Redis, keys: Keys) -> None:
    publisher = Publisher(shard_of("gateway", quiet, keys), "gateway-1", PLENTY)
    await publisher.publish(*STREAM, [group()])
    async with memory_limit(quiet, 1):
        assert verdicts_of(await publisher.publish(*STREAM, [group(), group()])) == [Verdict.MEMORY] * 2


async def test_results_that_pile_up_refuse_requests(redis: Redis, keys: Keys) -> None:
    publisher = Publisher(shard_of("gateway", redis, keys), "gateway-1", replace(PLENTY, max_results=2))
    for _ in range(2):
        await redis.xadd(keys.results, {"a": "b"})
    assert verdicts_of(await publisher.publish(*STREAM, [group()])) == [Verdict.RESULTS]
    assert not await redis.exists(keys.requests(*STREAM))


async def test_an_entry_reads_as_the_contract_says(publisher: CountingPublisher, redis: Redis, keys: Keys) -> None:
    new = NewRequest(
        group().requests[0].id, b'{"text":"a"}', b'{"labels":["x","y"]}', 1500, "me", "00-trace", wait=True
    )
    await publisher.publish(*STREAM, [Group([new])])
    ((entry, fields),) = await entries(redis, keys)
    seconds, microseconds = await redis.time()
    request = decode_request(fields)
    assert (request.id, request.model, request.version, request.input) == (new.id, *STREAM, "a")
    assert (request.options, request.principal, request.traceparent) == ({"labels": ["x", "y"]}, "me", "00-trace")
    assert request.deadline_at - request.submitted_at == 1500
    assert 0 <= seconds * 1000 + microseconds // 1000 - request.submitted_at < 60_000
    state = await redis.hgetall(keys.prediction(new.id))
    assert state == {
        b"stream": keys.requests(*STREAM).encode(),
        b"entry": entry,
        b"attempt": b"0",
        b"waiters": b"gateway-1",
        b"principal": b"me",
    }
    assert await redis.ttl(keys.prediction(new.id)) == -1  # it stays until its row is committed
