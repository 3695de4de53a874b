"""A worker's lane against a real Redis: batching, partial failure, poison, claims, deadlines, drain."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, NamedTuple

import orjson
import pytest
from pydantic import SecretStr

from inference_worker.batching import QUIET_PASSES
from inference_worker.heartbeat import keep_heartbeat
from inference_worker.lane import Lane
from inference_worker.settings import WorkerSettings
from inference_worker.tasks.protocol import Encoded, Item, Output
from scripts.stack.redis import RedisServer
from shared.contract.catalogue import BatchLimits, ServedVersion, Version
from shared.contract.keys import Keys
from shared.contract.messages import PredictionResult, Status, decode_result
from shared.contract.queues import Priority
from shared.contract.version_states import VersionState
from shared.service.liveness import Liveness
from shared.service.settings import Settings
from shared.streams.publishing import Group, Publisher
from shared.streams.redis_client import connect
from shared.streams.redis_watch import RedisWatch
from shared.streams.request_stream import Read
from shared.streams.shard import Shard
from shared.streams.version_streams import Counts, VersionStreams
from shared.streams.workers import Heartbeat, WorkerDirectory
from tests.access import redis_url_of, shard_of
from tests.engines import ThreadEngine
from tests.streams import ACCEPTED, LIMITS, MODEL, VERSION, Redis, new_request, publish, results, stream, streams
from tests.waiting import eventually

STALL_TIMEOUT_S = 30.0  # on a clock that a test moves by hand


class Recorder:
    """Answers texts, remembers its batches, and can be made to wait in either step."""

    sample = Item("sample")

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.encoding = threading.Event()
        self.go_on_encoding = threading.Event()
        self.go_on_encoding.set()
        self.computing = threading.Event()
        self.go_on = threading.Event()
        self.go_on.set()
        self.on_batch: Callable[[], None] = lambda: None

    def encode(self, items: Sequence[Item]) -> Sequence[Encoded]:
        if items:
            self.encoding.set()
            self.go_on_encoding.wait(60)
        if any(item.text == "cannot be encoded" for item in items):
            raise ValueError("too odd")
        return [Encoded(len(item.text), item.text) for item in items]

    def predict(self, batch: Sequence[Encoded]) -> Sequence[Output]:
        texts = [str(each.data) for each in batch]
        self.batches.append(texts)
        self.computing.set()
        self.go_on.wait(60)
        self.on_batch()
        if "bad" in texts:
            raise ValueError("bad text")
        return [Output({"text": text}, float("nan") if text == "nan" else 0.5) for text in texts]


Make = Callable[..., tuple[Lane, Recorder]]


def make_lane(
    environment: dict[str, str],
    client: Redis,
    keys: Keys,
    worker: str = "w1",
    max_batch_size: int = 4,
    liveness: Liveness | None = None,
    engine: Callable[[Recorder], ThreadEngine] = ThreadEngine,
    **changes: Any,
) -> tuple[Lane, Recorder]:
    """A lane of one worker, and the task that it runs; `changes` are settings and batch limits."""
    limits = BatchLimits(max_batch_size=max_batch_size, max_wait_ms=changes.pop("max_wait_ms", 0))
    values: dict[str, Any] = {name.lower(): value for name, value in environment.items()}
    fast = {"read_block_ms": 20, "visibility_timeout_ms": 60_000, "claim_interval_ms": 50}
    settings = WorkerSettings(**values, **{**fast, **changes})
    task = Recorder()
    version = Version(version=VERSION, artifact="none", batch=limits)
    served = ServedVersion(model=MODEL, task="tests:Recorder", version=version)
    liveness, shard = liveness or Liveness(30), Shard(client, keys)
    streams = VersionStreams(shard, MODEL, VERSION, worker)
    watch = RedisWatch(shard, "inference_worker", liveness)
    return Lane(settings, served, streams, engine(task), liveness, worker, watch), task


@pytest.fixture
async def make(environment: dict[str, str], keys: Keys) -> AsyncIterator[Make]:
    """Make lanes, each of a worker of its own."""
    clients = []

    def make_with_client(worker: str = "w1", **changes: Any) -> tuple[Lane, Recorder]:
        url = redis_url_of("inference_worker", environment["REDIS_URL"])
        clients.append(connect(Settings(redis_url=SecretStr(url))))
        return make_lane(environment, clients[-1], keys, worker, **changes)

    yield make_with_client
    for client in clients:
        await client.aclose()


class Serving(NamedTuple):
    """What a worker serves."""

    lanes: Sequence[Lane]
    failures: Mapping[str, str]
    news: asyncio.Event
    fingerprints: Mapping[str, str] = {}
    states: Mapping[str, VersionState] = {}


class Running:
    """A lane that runs, with its claims kept; leaving the context stops it."""

    def __init__(self, lane: Lane) -> None:
        self.stop = asyncio.Event()
        self._lane = lane

    async def __aenter__(self) -> Running:
        self.tasks = [asyncio.create_task(each(self.stop)) for each in (self._lane.run, self._lane.keep_claims)]
        return self

    async def __aexit__(self, *_: object) -> None:
        self.stop.set()
        async with asyncio.timeout(20):
            await asyncio.gather(*self.tasks)


async def all_results(redis: Redis, keys: Keys, count: int) -> list[PredictionResult]:
    async def there() -> bool:
        return bool(await redis.xlen(keys.results) >= count)

    await eventually(there, f"{count} results")
    decoded = [decode_result(fields) for fields in await results(redis, keys)]
    assert len(decoded) == count
    return decoded


async def test_requests_are_computed_in_batches_of_like_length(redis: Redis, keys: Keys, make: Make) -> None:
    texts = ["a", "bbbbbbbb", "c", "dddddddd", "e", "ffffffff", "g", "hhhhhhhh"] * 2
    await publish(redis, keys, *texts)
    lane, task = make()
    async with Running(lane):
        computed = await all_results(redis, keys, 16)
    assert {orjson.loads(each.outcome.result or b"")["text"] for each in computed} == set(texts)
    assert all(len(batch) <= 4 for batch in task.batches)
    first, *deep = task.batches  # the first read takes one batch, the next, of a deep queue, several
    assert sorted(first) == sorted(texts[:4])
    assert deep[:2] == [["e", "g", "a", "c"], ["ffffffff", "hhhhhhhh", "bbbbbbbb", "dddddddd"]]
    assert await redis.xinfo_consumers(keys.requests(MODEL, VERSION), keys.WORKER_GROUP) == []


async def test_an_unfilled_batch_waits_for_more(redis: Redis, keys: Keys, make: Make) -> None:
    lane, task = make(max_wait_ms=1000)
    async with Running(lane):
        await publish(redis, keys, "a")
        await eventually(lambda: lane.in_hand == 1, "the first is read")
        await publish(redis, keys, "b")
        await all_results(redis, keys, 2)
    assert task.batches == [["a", "b"]]


async def test_one_bad_item_fails_and_its_neighbours_succeed(redis: Redis, keys: Keys, make: Make) -> None:
    ids = await publish(redis, keys, "a", "bad", "nan", "b")
    lane, _ = make()
    async with Running(lane):
        computed = {each.id: each.outcome for each in await all_results(redis, keys, 4)}
    assert [computed[each].status for each in ids] == [Status.SUCCEEDED, Status.FAILED, Status.FAILED, Status.SUCCEEDED]
    assert computed[ids[1]].error == "ValueError: bad text"
    assert "not between 0 and 1" in computed[ids[2]].error


async def test_an_item_that_cannot_be_encoded_fails_and_its_neighbours_succeed(
    redis: Redis, keys: Keys, make: Make
) -> None:
    good, bad = await publish(redis, keys, "a", "cannot be encoded")
    lane, task = make()
    async with Running(lane):
        computed = {each.id: each.outcome for each in await all_results(redis, keys, 2)}
    assert computed[good].status is Status.SUCCEEDED
    assert (computed[bad].status, computed[bad].error) == (Status.FAILED, "ValueError: too odd")
    assert task.batches == [["a"]]


async def test_a_malformed_entry_goes_to_the_dead_letters_and_stops_nothing(
    redis: Redis, keys: Keys, make: Make
) -> None:
    await redis.xadd(keys.requests(MODEL, VERSION), {"schema": "7"})
    await publish(redis, keys, "a")
    lane, _ = make()
    async with Running(lane):
        await all_results(redis, keys, 1)
    ((_, dead),) = await redis.xrange(keys.dead)
    assert dead[b"reason"] == b"unknown_schema"


async def test_a_request_past_its_deadline_is_not_computed(redis: Redis, keys: Keys, make: Make) -> None:
    publisher = Publisher(shard_of("gateway", redis, keys), "gw", LIMITS)
    late, in_time = new_request("late", timeout_ms=1), new_request("in time")
    assert await publisher.publish(MODEL, VERSION, [Group([late]), Group([in_time])]) == [ACCEPTED] * 2

    async def deadline_passed() -> bool:
        seconds, microseconds = await redis.time()
        (_, first), *_ = await redis.xrange(keys.requests(MODEL, VERSION), count=1)
        return int(seconds) * 1000 + int(microseconds) // 1000 > int(first[b"deadline_at"])

    await eventually(deadline_passed, "the deadline passes")
    lane, task = make()
    async with Running(lane):
        computed = {each.id: each.outcome for each in await all_results(redis, keys, 2)}
    assert computed[late.id].status is Status.EXPIRED and "deadline passed" in computed[late.id].error
    assert computed[in_time.id].status is Status.SUCCEEDED
    assert task.batches == [["in time"]]


async def abandon(redis: Redis, keys: Keys, count: int, deliveries: int = 1) -> None:
    """A worker that died long ago holds the first entries, for so many deliveries each."""
    dead = stream(redis, keys, "dead")
    await dead.join()
    entries = [each.entry for each in (await dead.read(count, 10)).deliveries]
    assert len(entries) == count
    await redis.xclaim(dead.key, keys.WORKER_GROUP, "dead", 0, entries, idle=3_600_000, retrycount=deliveries)


async def test_a_dead_workers_entries_are_computed_alone(redis: Redis, keys: Keys, make: Make) -> None:
    await publish(redis, keys, "a", "b", "c")
    await abandon(redis, keys, 3)
    lane, task = make()
    async with Running(lane):
        await all_results(redis, keys, 3)
    assert task.batches == [["a"], ["b"], ["c"]]


async def test_a_dead_workers_entry_waits_until_nothing_else_is_in_hand_and_nothing_is_read_beside_it(
    redis: Redis, keys: Keys, make: Make
) -> None:
    await publish(redis, keys, "suspect")
    dead = stream(redis, keys, "dead")
    await dead.join()
    (suspect,) = (await dead.read(1, 10)).deliveries
    await publish(redis, keys, "running")
    lane, task = make(engine=lambda task: ThreadEngine(task, processes=2))
    task.go_on.clear()
    async with Running(lane):
        await eventually(task.computing.is_set, "a batch is being computed")
        await redis.xclaim(dead.key, keys.WORKER_GROUP, "dead", 0, [suspect.entry], idle=120_000)
        await some_turns_of_a_lane()
        assert task.batches == [["running"]] and lane.in_hand == 1
        task.computing.clear()
        task.on_batch = task.go_on.clear  # the next one waits again
        task.go_on.set()
        await eventually(task.computing.is_set, "the suspect is being computed")
        await publish(redis, keys, "later")
        await some_turns_of_a_lane()
        assert task.batches == [["running"], ["suspect"]] and lane.in_hand == 1
        task.on_batch = lambda: None
        task.go_on.set()
        await all_results(redis, keys, 3)
    assert task.batches == [["running"], ["suspect"], ["later"]]


async def some_turns_of_a_lane() -> None:
    """Wait for as long as a lane needs to look for abandoned entries several times."""
    clock = asyncio.get_running_loop().time
    until = clock() + 0.4
    await eventually(lambda: clock() > until, "the time passes")


async def test_an_entry_delivered_too_often_is_given_up(redis: Redis, keys: Keys, make: Make) -> None:
    poison, good = await publish(redis, keys, "poison", "good")
    await abandon(redis, keys, 1, deliveries=3)
    lane, task = make(max_deliveries=3)
    async with Running(lane):
        computed = {each.id: each.outcome for each in await all_results(redis, keys, 2)}
    assert computed[poison].status is Status.FAILED and "3 deliveries" in computed[poison].error
    assert computed[good].status is Status.SUCCEEDED
    assert task.batches == [["good"]]
    ((_, letter),) = await redis.xrange(keys.dead)
    assert (letter[b"reason"], letter[b"deliveries"]) == (b"max_deliveries", b"4")


async def test_a_slow_batch_keeps_its_claim_past_the_visibility_timeout(redis: Redis, keys: Keys, make: Make) -> None:
    await publish(redis, keys, "slow")
    slow, slow_task = make("slow", visibility_timeout_ms=2000)
    other, other_task = make("other", visibility_timeout_ms=2000)
    slow_task.go_on.clear()
    async with Running(slow):
        await eventually(slow_task.computing.is_set, "the slow worker computes")
        async with Running(other):
            clock = asyncio.get_running_loop().time
            ran_out = clock() + 1.5 * 2
            await eventually(lambda: clock() > ran_out, "the visibility timeout passes")
            assert other_task.batches == []
            slow_task.go_on.set()
            computed = await all_results(redis, keys, 1)
    outcome = computed[0].outcome
    assert outcome.worker == "slow" and 3000 <= outcome.processing_time_ms < 120_000 > outcome.queue_time_ms


async def test_a_lane_without_work_waits_for_some(redis: Redis, keys: Keys, make: Make) -> None:
    lane, _ = make(read_block_ms=200, claim_interval_ms=60_000)
    reads, read = 0, lane._streams.read

    async def counted(counts: Counts, block_ms: int) -> Read:
        nonlocal reads
        reads += 1
        return await read(counts, block_ms)

    lane._streams.read = counted  # type: ignore[method-assign]
    async with Running(lane):
        clock = asyncio.get_running_loop().time
        until = clock() + 1
        await eventually(lambda: clock() > until, "a second passes")
    assert 1 <= reads <= 7


class Clock:
    """A clock for liveness."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def jump(self) -> None:
        """From now on whoever does not report counts as stuck."""
        self.now += 1.01 * STALL_TIMEOUT_S


async def all_report(liveness: Liveness, clock: Clock) -> None:
    """No loop counts as stuck for long, however long it takes: each reports again by itself."""
    clock.jump()
    assert liveness.stalled()
    await eventually(lambda: not liveness.stalled(), "every loop reports")


@pytest.mark.parametrize("claimed", [False, True], ids=["read", "claimed"])
async def test_a_model_slower_than_the_stall_timeout_is_not_taken_for_stuck(
    redis: Redis, keys: Keys, make: Make, claimed: bool
) -> None:
    await publish(redis, keys, "slow")
    if claimed:
        await abandon(redis, keys, 1)
    clock = Clock()
    liveness = Liveness(STALL_TIMEOUT_S, clock)
    lane, task = make(liveness=liveness)
    task.go_on_encoding.clear()
    task.go_on.clear()
    async with Running(lane):
        try:
            await eventually(task.encoding.is_set, "it encodes")
            await all_report(liveness, clock)
            task.go_on_encoding.set()
            await eventually(task.computing.is_set, "it computes")
            await all_report(liveness, clock)
        finally:
            task.go_on_encoding.set()
            task.go_on.set()
        await all_results(redis, keys, 1)
    assert task.batches == [["slow"]]


@pytest.mark.parametrize("hanging", ["read", "has_abandoned", "complete"])
async def test_a_lane_that_hangs_outside_its_model_is_reported(
    redis: Redis, keys: Keys, make: Make, monkeypatch: pytest.MonkeyPatch, hanging: str
) -> None:
    released = asyncio.Event()
    answer = getattr(VersionStreams, hanging)

    async def hangs(*arguments: Any) -> Any:
        await released.wait()
        return await answer(*arguments)

    monkeypatch.setattr(VersionStreams, hanging, hangs)
    await publish(redis, keys, "a")
    clock = Clock()
    liveness = Liveness(STALL_TIMEOUT_S, clock)
    lane, _ = make(liveness=liveness)

    def stays_reported() -> bool:
        """The other loops report after each jump of the clock, and this one does not."""
        stalled = liveness.stalled()
        alone = [*stalled] == [f"lane {lane.served.label}"]
        if alone and max(stalled.values()) > 3 * STALL_TIMEOUT_S:
            return True
        if alone or not stalled:
            clock.jump()
        return False

    async with Running(lane):
        await eventually(stays_reported, "it stays reported")
        released.set()
        await all_results(redis, keys, 1)
        await eventually(lambda: not liveness.stalled(), "it has recovered")


async def test_a_stop_finishes_the_batch_and_gives_the_next_back(redis: Redis, keys: Keys, make: Make) -> None:
    await publish(redis, keys, *"abcd")
    lane, task = make()
    task.go_on.clear()
    async with Running(lane) as running:
        await eventually(task.computing.is_set, "the first batch computes")
        await publish(redis, keys, *"efgh")
        await eventually(lambda: lane.in_hand == 8, "the next batch is in hand")
        running.stop.set()
        task.go_on.set()
    assert len(await results(redis, keys)) == 4
    assert task.batches == [list("abcd")]
    pending = await redis.xpending_range(keys.requests(MODEL, VERSION), keys.WORKER_GROUP, "-", "+", 10)
    assert [each["times_delivered"] for each in pending] == [0] * 4
    after, after_task = make("w2")
    async with Running(after):
        await all_results(redis, keys, 8)
    assert after_task.batches == [list("efgh")]


async def test_a_stop_gives_back_the_batches_of_a_window_not_begun(redis: Redis, keys: Keys, make: Make) -> None:
    lane, task = make(max_batch_size=2)
    await publish(redis, keys, *"abcdefgh")
    task.go_on.clear()
    async with Running(lane) as running:
        await eventually(lambda: lane.in_hand == 8, "a batch computes, a window of a deep queue is in hand")
        running.stop.set()
        task.go_on.set()
    assert task.batches == [["a", "b"]]
    assert await redis.xlen(keys.requests(MODEL, VERSION)) == 6


async def test_a_stop_amid_a_window_gives_back_its_batches_not_begun(redis: Redis, keys: Keys, make: Make) -> None:
    lane, task = make(max_batch_size=2)
    await publish(redis, keys, *"abcdefghij")
    loop = asyncio.get_running_loop()
    running = Running(lane)

    def stop_amid_the_second_batch() -> None:
        if len(task.batches) == 2:
            loop.call_soon_threadsafe(running.stop.set)  # before the batch's own end is told

    task.on_batch = stop_amid_the_second_batch
    async with running:
        await running.stop.wait()
    assert task.batches == [["a", "b"], ["c", "d"]]
    pending = await redis.xpending_range(keys.requests(MODEL, VERSION), keys.WORKER_GROUP, "-", "+", 10)
    assert [each["times_delivered"] for each in pending] == [0] * 6


async def test_work_survives_a_restart_of_redis_in_the_middle_of_a_batch(
    redis_server: RedisServer, redis: Redis, keys: Keys, make: Make
) -> None:
    await publish(redis, keys, "a")
    lane, task = make()
    task.go_on.clear()
    async with Running(lane):
        await eventually(task.computing.is_set, "it computes")
        redis_server.kill()
        task.go_on.set()
        await eventually(lambda: lane.unavailable not in (None, "starting"), "the lane notices")
        redis_server.start()
        computed = await all_results(redis, keys, 1)
    assert computed[0].outcome.status is Status.SUCCEEDED
    assert task.batches == [["a"]]


async def test_a_live_worker_is_found_and_a_dead_one_cleared_up(
    redis: Redis, keys: Keys, make: Make, environment: dict[str, str]
) -> None:
    lane, _ = make("alive")
    dead = stream(redis, keys, "dead")
    await dead.join()
    directory = WorkerDirectory(shard_of("inference_worker", redis, keys))
    assert await directory.live([lane.served]) == {lane.served.label: 0}
    stop = asyncio.Event()
    heartbeat = Heartbeat(shard_of("inference_worker", redis, keys), "alive", 15)
    async with Running(lane):
        beating = asyncio.create_task(
            keep_heartbeat(
                heartbeat,
                directory,
                Serving([lane], {}, asyncio.Event(), {lane.served.label: "f"}),
                0.05,
                Liveness(30),
                stop,
            )
        )

        async def only_alive() -> bool:
            names = {each["name"] for each in await redis.xinfo_consumers(dead.key, keys.WORKER_GROUP)}
            return names == {b"alive"} and await directory.live([lane.served]) == {lane.served.label: 1}

        await eventually(only_alive, "the live worker is the only one")
        facts = await redis.hgetall(keys.worker("alive"))
        assert orjson.loads(facts[b"serves"]) == [lane.served.label]
        assert 0 < await redis.ttl(keys.worker("alive")) <= 15
        assert (await directory.look([lane.served])).fingerprints == {lane.served.label: "f"}
        said = {"serves": orjson.dumps([lane.served.label]), "fingerprints": orjson.dumps({lane.served.label: "g"})}
        await redis.hset(keys.worker("other"), mapping=said)
        await stream(redis, keys, "other").join()
        assert (await directory.look([lane.served])).fingerprints == {}, "they do not agree"
        stop.set()
        await beating
    assert await redis.exists(keys.worker("alive")) == 0


async def test_a_dead_worker_that_still_holds_entries_is_kept(redis: Redis, keys: Keys, make: Make) -> None:
    await publish(redis, keys, "a")
    dead = stream(redis, keys, "dead")
    await dead.join()
    await dead.read(1, 10)
    lane, _ = make()
    assert await WorkerDirectory(shard_of("inference_worker", redis, keys)).remove_dead(lane.served) == 0
    assert [each["name"] for each in await redis.xinfo_consumers(dead.key, keys.WORKER_GROUP)] == [b"dead"]


async def test_one_pass_in_eight_is_for_batch_while_somebody_waits(redis: Redis, keys: Keys, make: Make) -> None:
    await publish(redis, keys, *("late" for _ in range(5)), priority=Priority.BATCH)
    await publish(redis, keys, *("soon" for _ in range(21)))
    lane, task = make(max_batch_size=1)
    task.on_batch = lambda: time.sleep(0.05)  # long enough for the lane to read ahead
    async with Running(lane):
        await all_results(redis, keys, 26)
    assert task.batches == [*([["soon"]] * 7 + [["late"]]) * 3, ["late"], ["late"]]


async def test_who_waits_goes_before_all_of_batch_that_was_read_ahead(redis: Redis, keys: Keys, make: Make) -> None:
    await publish(redis, keys, *("late" for _ in range(100)), priority=Priority.BATCH)
    lane, task = make(max_batch_size=16)
    task.go_on.clear()
    async with Running(lane):
        await eventually(lambda: lane.in_hand == 18, "two are computed, and a batch is read ahead")
        await publish(redis, keys, "soon")
        await eventually(lambda: lane.in_hand == 19, "it is read")
        task.go_on.set()
        computed = await all_results(redis, keys, 101)
    assert task.batches[0] == ["late"] * 2, "a pass of batch is an eighth"
    assert ["soon"] in task.batches[1:3], "the pass that is being recorded may have been followed by one"
    assert sum(each.priority is Priority.BATCH for each in computed) == 100


async def test_passes_of_batch_are_whole_where_nobody_has_come_for_long(redis: Redis, keys: Keys, make: Make) -> None:
    await publish(redis, keys, *("late" for _ in range(2 * QUIET_PASSES + 100)), priority=Priority.BATCH)
    lane, task = make(max_batch_size=16)
    task.on_batch = lambda: time.sleep(0.002)  # long enough for the lane to read ahead
    async with Running(lane):
        await all_results(redis, keys, 2 * QUIET_PASSES + 100)
        before = len(task.batches)
        assert max(map(len, task.batches[:QUIET_PASSES])) == 2 < max(map(len, task.batches[QUIET_PASSES:]))
        await publish(redis, keys, "soon")
        await all_results(redis, keys, 2 * QUIET_PASSES + 101)
        await publish(redis, keys, *("late" for _ in range(10)), priority=Priority.BATCH)
        await all_results(redis, keys, 2 * QUIET_PASSES + 111)
    assert task.batches[before] == ["soon"] and max(map(len, task.batches[before:])) <= 2


async def test_entries_of_both_streams_are_taken_over_given_up_expired_and_given_back(
    redis: Redis, keys: Keys, make: Make
) -> None:
    await publish(redis, keys, "a", priority=Priority.BATCH)
    await publish(redis, keys, "b")
    died = streams(redis, keys, "died")
    await died.join()
    assert len((await died.read(Counts(5, 5), 0)).deliveries) == 2
    late = [new_request("late", timeout_ms=-1)]
    publisher = Publisher(shard_of("gateway", redis, keys), "gw", LIMITS)
    await publisher.publish(MODEL, VERSION, [Group(late)], Priority.BATCH)
    await redis.xadd(keys.requests(MODEL, VERSION, Priority.BATCH), {"schema": "99"})
    lane, task = make(max_batch_size=8, visibility_timeout_ms=1000)
    async with Running(lane):
        await all_results(redis, keys, 3)
        await eventually(lambda: lane.in_hand == 0, "nothing is in hand")
        task.go_on.clear()
        task.computing.clear()
        await publish(redis, keys, *"cdef", priority=Priority.BATCH)
        await eventually(lambda: task.computing.is_set() and lane.in_hand == 4, "one is computed, the others wait")
        lane_stop = asyncio.get_running_loop().call_later(0.2, task.go_on.set)
    lane_stop.cancel()
    assert sorted(task.batches[:2]) == [["a"], ["b"]] and task.batches[2:] == [["c"]]
    assert await redis.xlen(keys.dead) == 1
    given_back = await streams(redis, keys, "next").claim(1000, 10)
    assert [each.deliveries for each in given_back.deliveries] == [1, 1, 1]
    assert await redis.hgetall(keys.backlog_bytes) == {f"{MODEL}:{VERSION}/batch".encode(): b"42"}
