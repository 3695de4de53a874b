"""What the Lua scripts leave in Redis, to the byte: accounts, claims, hints, times, names."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import orjson
import pytest
import redis.asyncio as redis_async

from scripts.stack.redis import RedisServer
from shared.contract.catalogue import Catalogue
from shared.contract.costs import Cost, encode_costs
from shared.contract.errors import StoreUnavailable
from shared.contract.keys import Keys
from shared.contract.messages import OUTCOME_FIELDS, Outcome, PredictionResult, Status, decode_request, decode_result
from shared.contract.registry import Registry
from shared.contract.version_states import State, VersionState, encode_states
from shared.streams.dead_letters import GONE, TOO_OFTEN, DeadLetters
from shared.streams.deployment import Deployment
from shared.streams.model_registry import ModelRegistry
from shared.streams.prediction_state import PredictionStates, Queued
from shared.streams.publishing import Group, Published, Publisher, Verdict
from shared.streams.request_stream import Completed, Delivery, RequestStream
from shared.streams.result_stream import Persisted, ResultStream
from shared.streams.shard import Shard
from shared.streams.workers import Heartbeat, WorkerDirectory
from tests.access import shard_of
from tests.streams import (
    ACCEPTED,
    LIMITS,
    MODEL,
    VERSION,
    Redis,
    finished,
    new_batch,
    new_request,
    publish,
    results,
    stream,
)

LABEL = f"{MODEL}:{VERSION}"


async def read(redis: Redis, keys: Keys, *texts: str, wait: bool = False) -> list[Delivery]:
    """Publish requests and have worker `w1` read them."""
    await publish(redis, keys, *texts, wait=wait)
    worker = stream(redis, keys, "w1")
    await worker.join()
    return list((await worker.read(len(texts), 10)).deliveries)


async def pending(redis: Redis, keys: Keys) -> dict[str, tuple[str, int]]:
    """Who holds each entry, and how often it was delivered."""
    found = await redis.xpending_range(keys.requests(MODEL, VERSION), keys.WORKER_GROUP, "-", "+", 100)
    return {each["message_id"].decode(): (each["consumer"].decode(), each["times_delivered"]) for each in found}


async def accounts(redis: Redis, keys: Keys) -> tuple[dict[bytes, bytes], dict[bytes, float]]:
    """The bytes that wait, and the deadlines."""
    return await redis.hgetall(keys.backlog_bytes), dict(await redis.zrange(keys.deadlines, 0, -1, withscores=True))


async def is_exact(redis: Redis, keys: Keys) -> None:
    """Check that both accounts say what the stream holds."""
    size, deadlines = 0, {}
    for entry, fields in await redis.xrange(keys.requests(MODEL, VERSION)):
        size += len(fields[b"input"]) + len(fields[b"options"])
        deadlines[f"{LABEL} {entry.decode()}".encode()] = float(fields[b"deadline_at"])
    assert await accounts(redis, keys) == ({LABEL.encode(): str(size).encode()} if size else {}, deadlines)


async def redis_ms(redis: Redis) -> int:
    seconds, microseconds = await redis.time()
    return int(seconds * 1000 + microseconds // 1000)


# --- what waits ------------------------------------------------------------------------------------------------------


async def test_the_accounts_follow_every_way_into_a_stream_and_out_of_it(redis: Redis, keys: Keys) -> None:
    first, second, third, *_ = await read(redis, keys, "a", "bb", "ccc", "dddd", "eeeee")
    await is_exact(redis, keys)
    worker = stream(redis, keys, "w1")
    await worker.complete([finished(first), finished(second)])
    await is_exact(redis, keys)
    await worker.dead_letter(third, "max_deliveries", "why")
    await is_exact(redis, keys)
    await worker.complete([finished(first)])  # late: nothing is taken off twice
    await worker.dead_letter(third, "max_deliveries", "why")
    await is_exact(redis, keys)
    dead = DeadLetters(shard_of("gateway", redis, keys))
    ((entry, _),) = await redis.xrange(keys.dead)
    await replay(dead, entry.decode())
    await is_exact(redis, keys)
    (*rest,) = (await worker.read(10, 10)).deliveries
    assert len(await redis.xrange(worker.key)) == 3
    remaining = [Delivery(name.decode(), fields) for name, fields in await redis.xrange(worker.key)]
    await worker.complete([finished(each) for each in remaining])
    assert await accounts(redis, keys) == ({}, {}) and len(rest) == 1


async def replay(dead: DeadLetters, entry: str) -> None:
    """Try a dead letter again."""
    letter = await dead.find(entry)
    assert letter is not None
    assert await dead.replay(letter, 60_000, 10) > 0


async def test_options_count_among_the_bytes(redis: Redis, keys: Keys) -> None:
    publisher = Publisher(shard_of("gateway", redis, keys), "gw", LIMITS)
    requests = [new_request("a")._replace(options=b'{"labels":["x","y"]}'), new_request("b")]
    assert await publisher.publish(MODEL, VERSION, [Group(requests)]) == [ACCEPTED]
    await is_exact(redis, keys)
    worker = stream(redis, keys, "w1")
    await worker.join()
    with_options, _ = (await worker.read(2, 10)).deliveries
    await worker.complete([finished(with_options)])
    await is_exact(redis, keys)


async def test_each_request_adds_to_what_is_counted_already(redis: Redis, keys: Keys) -> None:
    for text in ("a", "bb", "ccc"):
        await publish(redis, keys, text)
        await is_exact(redis, keys)
    await redis.delete(keys.backlog_bytes)  # what an operator deletes counts as nothing
    await publish(redis, keys, "d")
    assert await redis.hget(keys.backlog_bytes, LABEL) == b"%d" % (len(b'{"text":"d"}') + len(b"{}"))


# --- claims ----------------------------------------------------------------------------------------------------------


async def test_what_is_claimed_belongs_to_the_claimer_and_counts_once_more(redis: Redis, keys: Keys) -> None:
    (delivery,) = await read(redis, keys, "a")
    other = stream(redis, keys, "w2")
    before = await redis_ms(redis)
    claimed = await other.claim(0, 10)
    assert before <= claimed.now_ms <= await redis_ms(redis)
    assert claimed.deliveries == [delivery._replace(deliveries=2)]
    assert await pending(redis, keys) == {delivery.entry: ("w2", 2)}
    assert (await other.claim(60_000, 10)).deliveries == []  # its claim is fresh


async def test_the_clock_of_a_claim_is_exact(redis: Redis, keys: Keys) -> None:
    worker = stream(redis, keys, "w1")
    await worker.join()
    for _ in range(30):
        before = await redis_ms(redis)
        assert before <= (await worker.claim(1, 1)).now_ms <= await redis_ms(redis)


@pytest.mark.parametrize("suspect_first", [True, False])
async def test_a_suspect_comes_alone_wherever_it_stands(redis: Redis, keys: Keys, suspect_first: bool) -> None:
    one, two, three = await read(redis, keys, "a", "b", "c")
    worker, other = stream(redis, keys, "w1"), stream(redis, keys, "w2")
    suspect, released = (one, [two, three]) if suspect_first else (three, [one, two])
    await worker.release([each.entry for each in released], 1000)
    await redis.xclaim(worker.key, keys.WORKER_GROUP, "w1", 0, [suspect.entry], idle=2000, retrycount=1)
    comes = [[suspect], released] if suspect_first else [released, [suspect]]
    for wanted in comes:
        assert [each.entry for each in (await other.claim(1000, 10)).deliveries] == [each.entry for each in wanted]


async def test_a_claim_has_at_most_so_many_entries(redis: Redis, keys: Keys) -> None:
    deliveries = await read(redis, keys, *"abc")
    await stream(redis, keys, "w1").release([each.entry for each in deliveries], 1000)
    for count in (2, 1, 0):
        assert len((await stream(redis, keys, "w2").claim(1000, 2)).deliveries) == count


async def test_a_suspect_that_was_deleted_does_not_hide_those_behind_it(redis: Redis, keys: Keys) -> None:
    gone, behind = await read(redis, keys, "a", "b")
    worker = stream(redis, keys, "w1")
    await redis.xdel(worker.key, gone.entry)
    await worker.release([behind.entry], 0)
    assert [each.entry for each in (await stream(redis, keys, "w2").claim(0, 10)).deliveries] == [behind.entry]
    assert list(await pending(redis, keys)) == [behind.entry]


async def test_renewing_resets_the_idle_time_of_what_is_owned_and_counts_nothing(redis: Redis, keys: Keys) -> None:
    mine, taken, other = await read(redis, keys, "a", "b", "c")
    worker, thief = stream(redis, keys, "w1"), stream(redis, keys, "w2")
    for each, consumer in ((mine, "w1"), (taken, "w2"), (other, "w1")):
        await redis.xclaim(worker.key, keys.WORKER_GROUP, consumer, 0, [each.entry], idle=90_000, retrycount=1)
    assert await worker.renew([taken.entry, mine.entry, "1-1"]) == 1
    assert await pending(redis, keys) == {mine.entry: ("w1", 1), taken.entry: ("w2", 1), other.entry: ("w1", 1)}
    idle = await redis.xpending_range(worker.key, keys.WORKER_GROUP, "-", "+", 10, idle=60_000)
    assert [each["message_id"].decode() for each in idle] == [taken.entry, other.entry]
    assert await thief.renew([]) == 0 and await worker.renew([mine.entry, other.entry]) == 2


async def test_what_is_given_back_keeps_its_count_and_only_its_owner_gives_it_back(redis: Redis, keys: Keys) -> None:
    one, two, three = await read(redis, keys, "a", "b", "c")
    worker, thief = stream(redis, keys, "w1"), stream(redis, keys, "w2")
    await redis.xclaim(worker.key, keys.WORKER_GROUP, "w2", 0, [three.entry], retrycount=1)
    await redis.xclaim(worker.key, keys.WORKER_GROUP, "w1", 0, [two.entry], retrycount=3)
    assert await worker.release([one.entry, two.entry, three.entry, "1-1"], 50_000) == 2
    assert await pending(redis, keys) == {one.entry: ("w1", 0), two.entry: ("w1", 2), three.entry: ("w2", 1)}
    idle = await redis.xpending_range(worker.key, keys.WORKER_GROUP, "-", "+", 10, idle=50_001)
    assert [each["message_id"].decode() for each in idle] == [one.entry, two.entry]
    assert await redis.xpending_range(worker.key, keys.WORKER_GROUP, "-", "+", 10, idle=60_000) == []
    assert await thief.release([one.entry], 1) == 0 and await worker.release([], 1) == 0


async def test_a_delivery_is_counted_by_who_holds_the_entry(redis: Redis, keys: Keys) -> None:
    one, two = await read(redis, keys, "a", "b")
    worker = stream(redis, keys, "w1")
    assert [await worker.count_delivery(one.entry) for _ in range(2)] == [2, 3]
    assert await stream(redis, keys, "w2").count_delivery(two.entry) == 0
    assert await worker.count_delivery("1-1") == 0
    assert await pending(redis, keys) == {one.entry: ("w1", 3), two.entry: ("w1", 1)}


# --- outcomes and hints ----------------------------------------------------------------------------------------------


async def test_hints_go_to_each_waiting_gateway_in_one_message_as_the_contract_says(redis: Redis, keys: Keys) -> None:
    await publish(redis, keys, "a", "b", gateway="gw1", wait=True)
    await publish(redis, keys, "nobody waits")
    worker = stream(redis, keys, "w1")
    await worker.join()
    deliveries = list((await worker.read(3, 10)).deliveries)
    ids = [decode_request(each.fields).id for each in deliveries]
    await PredictionStates(shard_of("gateway", redis, keys), "gw2").look(ids[0], wait=True)
    pubsub = redis.pubsub(ignore_subscribe_messages=True)
    await pubsub.subscribe(keys.notify("gw1"), keys.notify("gw2"))
    await worker.complete([finished(each, label) for each, label in zip(deliveries, "XYZ", strict=True)])
    header = "\x1f".join(["id", "attempt", "model", "version", *OUTCOME_FIELDS])
    told: dict[str, Any] = {}
    async with asyncio.timeout(20):
        while len(told) < 2:
            message = await pubsub.get_message(timeout=5)
            if message is not None:
                told[message["channel"].decode()] = message["data"].decode()
    await pubsub.aclose()
    first, second = (hint_of(*each) for each in zip(ids, "XY", strict=False))
    assert told == {
        keys.notify("gw1"): "\x1e".join([header, first, second]),
        keys.notify("gw2"): "\x1e".join([header, first]),
    }


def hint_of(prediction_id: str, label: str) -> str:
    values = {"status": "succeeded", "result": orjson.dumps({"label": label}).decode(), "confidence": "0.5"}
    values |= {"processing_time_ms": "1", "queue_time_ms": "2", "worker": "w", "cached": "0"}
    return "\x1f".join([prediction_id, "0", MODEL, VERSION, *(values.get(name, "") for name in OUTCOME_FIELDS)])


@pytest.mark.parametrize(("over", "whole"), [(0, True), (1, False)])
async def test_a_hint_is_whole_up_to_its_limit(
    redis: Redis, keys: Keys, monkeypatch: pytest.MonkeyPatch, over: int, whole: bool
) -> None:
    (delivery,) = await read(redis, keys, "a", wait=True)
    prediction_id = decode_request(delivery.fields).id
    length = len(hint_of(prediction_id, "X"))
    monkeypatch.setattr("shared.streams.request_stream.HINT_MAX_BYTES", length - over)
    pubsub = redis.pubsub(ignore_subscribe_messages=True)
    await pubsub.subscribe(keys.notify("gw"))
    await stream(redis, keys, "w1").complete([finished(delivery, "X")])
    message = None
    async with asyncio.timeout(20):
        while message is None:
            message = await pubsub.get_message(timeout=5)
    await pubsub.aclose()
    hint = message["data"].decode().split("\x1e")[1]
    assert hint == (hint_of(prediction_id, "X") if whole else prediction_id)


async def test_a_result_holds_the_request_and_its_outcome_and_no_empty_field(redis: Redis, keys: Keys) -> None:
    (delivery,) = await read(redis, keys, "a")
    request = decode_request(delivery.fields)
    before = await redis_ms(redis)
    outcome = Outcome(Status.FAILED, error="bad", worker="w")
    assert await stream(redis, keys, "w1").complete([Completed(delivery, request, outcome)]) == [True]
    (result,) = await results(redis, keys)
    assert before <= int(result[b"completed_at"]) <= await redis_ms(redis)
    ((entry, _),) = await redis.xrange(keys.results)
    filled = {name: value for name, value in delivery.fields.items() if value}
    ours = {name: value for name, value in result.items() if name not in delivery.fields}
    assert {name: result[name] for name in filled} == filled
    times = {b"processing_time_ms", b"queue_time_ms", b"completed_at"}
    assert ours.keys() == {b"status", b"error", b"worker", b"cached"} | times
    state = await redis.hgetall(keys.prediction(request.id))
    assert (state[b"status"], state[b"result_entry"]) == (b"failed", entry)
    assert await pending(redis, keys) == {}


async def test_the_end_of_an_earlier_attempt_leaves_the_state_to_the_later_one(redis: Redis, keys: Keys) -> None:
    one, two, three = await read(redis, keys, "a", "b", "c")
    ids = [decode_request(each.fields).id for each in (one, two, three)]
    worker = stream(redis, keys, "w1")
    for each in ids[:2]:
        await redis.hset(keys.prediction(each), "attempt", "1")
    await redis.hdel(keys.prediction(ids[2]), "attempt")
    assert await worker.complete([finished(one), finished(three)]) == [True, True]
    assert await worker.dead_letter(two, "max_deliveries", "why")
    statuses = [await redis.hget(keys.prediction(each), "status") for each in ids]
    assert statuses == [None, None, b"succeeded"]
    assert len(await results(redis, keys)) == 3  # they are results all the same


async def test_a_dead_letter_tells_all_who_wait_and_says_when(redis: Redis, keys: Keys) -> None:
    (delivery,) = await read(redis, keys, "a", wait=True)
    prediction_id = decode_request(delivery.fields).id
    await PredictionStates(shard_of("gateway", redis, keys), "gw2").look(prediction_id, wait=True)
    pubsub = redis.pubsub(ignore_subscribe_messages=True)
    await pubsub.subscribe(keys.notify("gw"), keys.notify("gw2"))
    before = await redis_ms(redis)
    await stream(redis, keys, "w1").dead_letter(delivery, "max_deliveries", "why")
    after = await redis_ms(redis)
    told: dict[str, str] = {}
    async with asyncio.timeout(20):
        while len(told) < 2:
            message = await pubsub.get_message(timeout=5)
            if message is not None:
                told[message["channel"].decode()] = message["data"].decode()
    await pubsub.aclose()
    assert told == {keys.notify(each): f"id\x1e{prediction_id}" for each in ("gw", "gw2")}
    ((_, dead),) = await redis.xrange(keys.dead)
    (result,) = await results(redis, keys)
    assert before <= int(dead[b"dead_at"]) == int(result[b"completed_at"]) <= after
    assert {name: value for name, value in dead.items() if name in delivery.fields} == delivery.fields
    assert result[b"schema"] == b"1" and b"principal" in result and b"traceparent" in result
    assert await pending(redis, keys) == {}


async def test_a_dead_letter_without_an_id_leaves_the_stream_too_and_nothing_else(redis: Redis, keys: Keys) -> None:
    worker = stream(redis, keys, "w1")
    await worker.join()
    await redis.xadd(worker.key, {"input": "abc", "other": "x"})
    await redis.hset(keys.backlog_bytes, LABEL, 3)
    (delivery,) = (await worker.read(1, 10)).deliveries
    await redis.zadd(keys.deadlines, {f"{LABEL} {delivery.entry}": 1})
    assert [await worker.dead_letter(delivery, "missing_field", "why") for _ in range(2)] == [True, False]
    ((_, dead),) = await redis.xrange(keys.dead)
    assert dead.pop(b"dead_at").isdigit()
    assert dead == {
        **{b"source": worker.key.encode(), b"source_entry": delivery.entry.encode(), b"reason": b"missing_field"},
        **{b"error": b"why", b"deliveries": b"1", b"input": b"abc", b"other": b"x"},
    }
    assert await redis.xlen(worker.key) == 0 and await pending(redis, keys) == {}
    assert await accounts(redis, keys) == ({}, {})
    assert not await redis.exists(keys.results, keys.prediction(""))


async def test_a_dead_letter_of_which_little_is_known_ends_its_prediction_all_the_same(
    redis: Redis, keys: Keys
) -> None:
    worker, prediction_id = stream(redis, keys, "w1"), new_request().id
    await worker.join()
    await redis.xadd(worker.key, {"id": prediction_id})
    (delivery,) = (await worker.read(1, 10)).deliveries
    assert await worker.dead_letter(delivery, "missing_field", "why") is True
    (entry,) = await results(redis, keys)
    result = dict(entry)
    assert result.pop(b"completed_at").isdigit()
    assert result == {
        **{b"schema": b"1", b"id": prediction_id.encode(), b"attempt": b"0", b"status": b"failed", b"error": b"why"},
        **{b"model": MODEL.encode(), b"version": VERSION.encode(), b"input": b"{}", b"options": b"{}"},
    }
    assert await redis.hget(keys.prediction(prediction_id), "status") == b"failed"
    assert await redis.xlen(worker.key) == 0


async def test_a_dead_letter_without_an_attempt_is_of_the_attempt_of_its_state(redis: Redis, keys: Keys) -> None:
    worker, prediction_id = stream(redis, keys, "w1"), new_request().id
    await worker.join()
    await redis.xadd(worker.key, {"id": prediction_id, "attempt": "many"})
    await redis.hset(keys.prediction(prediction_id), mapping={"attempt": "2", "waiters": "gw"})
    (delivery,) = (await worker.read(1, 10)).deliveries
    await worker.dead_letter(delivery, "bad_field", "why")
    (result,) = await results(redis, keys)
    assert result[b"attempt"] == b"2"
    assert await redis.hget(keys.prediction(prediction_id), "status") == b"failed"


async def test_a_result_is_found_though_its_state_was_lost(redis: Redis, keys: Keys) -> None:
    (delivery,) = await read(redis, keys, "a")
    prediction_id = decode_request(delivery.fields).id
    await redis.delete(keys.prediction(prediction_id))
    await stream(redis, keys, "w1").complete([finished(delivery, "X")])
    found = await PredictionStates(shard_of("gateway", redis, keys), "gw").look(prediction_id)
    assert isinstance(found, PredictionResult) and found.outcome.result == b'{"label":"X"}'


# --- states ----------------------------------------------------------------------------------------------------------


async def test_a_gateway_that_waits_is_noted_once(redis: Redis, keys: Keys) -> None:
    (prediction_id,) = await publish(redis, keys, "a", gateway="gw1", wait=True)

    async def waiters() -> bytes:
        return bytes(await redis.hget(keys.prediction(prediction_id), "waiters"))

    assert await waiters() == b"gw1"
    for name, noted in (("gw1", b"gw1"), ("gw", b"gw1,gw"), ("w1", b"gw1,gw,w1"), ("gw", b"gw1,gw,w1")):
        await PredictionStates(shard_of("gateway", redis, keys), name).look(prediction_id, wait=True)
        assert await waiters() == noted
    await PredictionStates(shard_of("gateway", redis, keys), "only looks").look(prediction_id)
    assert await waiters() == b"gw1,gw,w1"
    (other,) = await publish(redis, keys, "b", gateway="gw1")
    assert await redis.hget(keys.prediction(other), "waiters") == b""
    await PredictionStates(shard_of("gateway", redis, keys), "gw2").look(other, wait=True)
    assert await redis.hget(keys.prediction(other), "waiters") == b"gw2"


async def test_a_state_tells_its_attempt(redis: Redis, keys: Keys) -> None:
    (prediction_id,) = await publish(redis, keys, "a")
    states = PredictionStates(shard_of("gateway", redis, keys), "gw")
    assert await states.look(prediction_id) == Queued(0, LABEL)
    await redis.hset(keys.prediction(prediction_id), "attempt", "3")
    assert await states.look(prediction_id) == Queued(3, LABEL)
    await redis.hdel(keys.prediction(prediction_id), "attempt")
    assert await states.look(prediction_id) == Queued(0, LABEL)


async def test_a_state_whose_result_is_gone_is_none_and_none_is_made(redis: Redis, keys: Keys) -> None:
    states = PredictionStates(shard_of("gateway", redis, keys), "gw")
    await redis.hset(keys.prediction("finished"), mapping={"stream": "s:m:1", "result_entry": "1-1"})
    assert await states.look("finished", wait=True) is None
    assert await states.look("unknown", wait=True) is None
    assert not await redis.exists(keys.prediction("unknown"))


async def test_what_is_stored_is_forgotten_to_the_entry(redis: Redis, keys: Keys) -> None:
    ids = await publish(redis, keys, "a", "b", "c")
    worker = stream(redis, keys, "w1")
    await worker.join()
    await worker.complete([finished(each) for each in (await worker.read(3, 10)).deliveries])
    persister = ResultStream(shard_of("persister", redis, keys), "p1")
    await persister.join()
    first, second, third = await persister.read(3, 10)
    await redis.hset(keys.prediction(ids[1]), "attempt", "1")
    await redis.hdel(keys.prediction(ids[0]), "attempt")
    await persister.forget([Persisted(first.entry, ids[0], 0), Persisted(second.entry, ids[1], 0)])
    assert [await redis.exists(keys.prediction(each)) for each in ids] == [0, 1, 1]
    assert [entry.decode() for entry, _ in await redis.xrange(keys.results)] == [third.entry]
    assert (await redis.xpending(keys.results, keys.PERSISTER_GROUP))["pending"] == 1
    await persister.forget([])
    assert await redis.xlen(keys.results) == 1
    persisted = shard_of("persister", redis, keys).script("persisted")
    assert await persisted([keys.results], [keys.PERSISTER_GROUP]) == 0
    there = [keys.results, keys.prediction("a"), keys.prediction("b")]
    assert await persisted(there, [keys.PERSISTER_GROUP, third.entry, 0, "1-1", 0]) == 1


# --- consumers -------------------------------------------------------------------------------------------------------


async def test_a_group_without_a_consumer_is_made_and_what_is_no_stream_is_said(redis: Redis, keys: Keys) -> None:
    persister = ResultStream(shard_of("persister", redis, keys), "p1")
    await persister.join()
    assert await redis.xinfo_consumers(keys.results, keys.PERSISTER_GROUP) == []
    worker = stream(redis, keys, "w1")
    await worker.join()
    assert [each["name"] for each in await redis.xinfo_consumers(worker.key, keys.WORKER_GROUP)] == [b"w1"]
    await redis.set(keys.requests(MODEL, "9"), "no stream")
    with pytest.raises(StoreUnavailable, match="WRONGTYPE"):
        await type(worker)(Shard(redis, keys), MODEL, "9", "w1").join()


async def test_only_the_consumer_that_is_named_is_removed(redis: Redis, keys: Keys) -> None:
    await read(redis, keys, "a")
    others = [stream(redis, keys, name) for name in ("w0", "w2", "w3")]
    for each in others:
        await each.join()
    assert await stream(redis, keys, "unknown").leave() is False
    assert await stream(redis, keys, "w1").leave() is False  # it holds an entry
    remove = shard_of("persister", redis, keys).script("remove_consumer")
    assert await remove([others[0].key], [keys.WORKER_GROUP, "w2"]) == 1  # it is counted
    names = {each["name"] for each in await redis.xinfo_consumers(others[0].key, keys.WORKER_GROUP)}
    assert names == {b"w0", b"w1", b"w3"}


async def test_consumers_are_removed_from_the_idle_time_on_that_is_given(redis: Redis, keys: Keys) -> None:
    persister = ResultStream(shard_of("persister", redis, keys), "p1")
    await persister.join()
    assert await persister.remove_idle(0) == 0
    for name in ("a", "b"):
        await redis.xgroup_createconsumer(keys.results, keys.PERSISTER_GROUP, name)
    assert await persister.remove_idle(60_000) == 0
    assert await persister.remove_idle(0) == 2
    assert await redis.xinfo_consumers(keys.results, keys.PERSISTER_GROUP) == []


# --- publishing ------------------------------------------------------------------------------------------------------


async def test_an_entry_and_its_state_are_as_the_contract_says(redis: Redis, keys: Keys) -> None:
    new = new_request("a", wait=True, timeout_ms=1234)._replace(principal="me", traceparent="00-t", options=b'{"o":1}')
    before = await redis_ms(redis)
    assert await Publisher(shard_of("gateway", redis, keys), "gw", LIMITS).publish(MODEL, VERSION, [Group([new])]) == [
        ACCEPTED
    ]
    after = await redis_ms(redis)
    ((entry, fields),) = await redis.xrange(keys.requests(MODEL, VERSION))
    submitted, deadline = int(fields.pop(b"submitted_at")), int(fields.pop(b"deadline_at"))
    assert before <= submitted <= after and deadline == submitted + 1234
    assert fields == {
        **{b"schema": b"1", b"attempt": b"0", b"model": MODEL.encode(), b"version": VERSION.encode()},
        **{b"id": new.id.encode(), b"input": b'{"text":"a"}', b"options": b'{"o":1}'},
        **{b"principal": b"me", b"traceparent": b"00-t"},
    }
    assert await redis.hgetall(keys.prediction(new.id)) == {
        **{b"stream": keys.requests(MODEL, VERSION).encode(), b"entry": entry},
        **{b"attempt": b"0", b"waiters": b"gw", b"principal": b"me"},
    }
    await is_exact(redis, keys)


async def test_what_a_request_has_to_do_with_an_experiment_stays_with_it_to_its_end(redis: Redis, keys: Keys) -> None:
    part: dict[str, Any] = {"experiment_id": new_request().id, "shadow_of": new_request().id}
    part |= {"arm": "new", "subject_id": "s_1"}
    plain, done, dead = new_request("a"), new_request("b")._replace(**part), new_request("c")._replace(**part)
    publisher = Publisher(shard_of("gateway", redis, keys), "gw", LIMITS)
    assert await publisher.publish(MODEL, VERSION, [Group([plain])]) == [ACCEPTED]
    assert await publisher.publish(MODEL, VERSION, [Group([done]), Group([dead])]) == [ACCEPTED] * 2
    worker = stream(redis, keys, "w1")
    await worker.join()
    first, second, third = (await worker.read(3, 10)).deliveries
    assert not {name.encode() for name in part} & first.fields.keys()  # what takes no part carries nothing of it
    stored = {name.encode(): value.encode() for name, value in part.items()}
    assert stored.items() <= second.fields.items()
    await worker.complete([finished(second)])
    await worker.dead_letter(third, "max_deliveries", "why")
    succeeded, failed = [decode_result(fields) for fields in await results(redis, keys)]
    for result in (succeeded, failed):
        assert {name: getattr(result, name) for name in part} == part
    ((letter, _),) = await redis.xrange(keys.dead)
    await replay(DeadLetters(shard_of("gateway", redis, keys)), letter.decode())
    _, (_, again) = await redis.xrange(worker.key)
    assert stored.items() <= again.items()


def publisher_of(redis: Redis, keys: Keys, **limits: int) -> Publisher:
    """A publisher with some limits of its own."""
    return Publisher(shard_of("gateway", redis, keys), "gw", type(LIMITS)(**{**vars_of(LIMITS), **limits}), 86_400_000)


def vars_of(limits: Any) -> dict[str, int]:
    return {name: getattr(limits, name) for name in type(limits).__slots__}


async def verdicts(publisher: Publisher, *sizes: int) -> list[Verdict]:
    """What becomes of groups of so many requests each, in one call."""
    groups = [Group([new_request("a") for _ in range(size)]) for size in sizes]
    return [each.verdict for each in await publisher.publish(MODEL, VERSION, groups)]


async def test_each_limit_is_reached_exactly(redis: Redis, keys: Keys) -> None:
    accepted, backlog = Verdict.ACCEPTED, Verdict.BACKLOG
    entries = publisher_of(redis, keys, max_backlog=5)
    assert await verdicts(entries, 3, 3, 2, 1) == [accepted, backlog, accepted, backlog]
    await is_exact(redis, keys)
    await redis.delete(keys.requests(MODEL, VERSION), keys.backlog_bytes, keys.deadlines)
    each = len(b'{"text":"a"}') + len(b"{}")
    sizes = publisher_of(redis, keys, max_backlog_bytes=4 * each)
    assert await verdicts(sizes, 2, 3, 2, 1) == [accepted, Verdict.BACKLOG_BYTES, accepted, Verdict.BACKLOG_BYTES]
    await is_exact(redis, keys)
    await redis.delete(keys.requests(MODEL, VERSION))  # by an operator: what was counted is forgotten
    assert await verdicts(sizes, 4) == [accepted]
    full = publisher_of(redis, keys, max_results=2)
    await redis.xadd(keys.results, {"a": "b"})
    assert await verdicts(full, 1) == [accepted]
    await redis.xadd(keys.results, {"a": "b"})
    assert await verdicts(full, 1) == [Verdict.RESULTS]


async def test_a_negative_account_is_taken_for_none(redis: Redis, keys: Keys) -> None:
    await publish(redis, keys, "a")
    await redis.hset(keys.backlog_bytes, LABEL, "-1000")
    assert await verdicts(publisher_of(redis, keys), 1) == [Verdict.ACCEPTED]
    assert int(await redis.hget(keys.backlog_bytes, LABEL)) == len(b'{"text":"a"}') + len(b"{}")


async def test_an_idempotency_record_is_counted_to_the_byte_and_expires(redis: Redis, keys: Keys) -> None:
    publisher, batch = publisher_of(redis, keys), new_batch(1)
    group = Group([new_request()], "key", "print", batch)
    before = await redis_ms(redis)
    assert await publisher.publish(MODEL, VERSION, [group]) == [ACCEPTED]
    after = await redis_ms(redis)
    name = keys.idempotency("", "key")
    assert await redis.hgetall(name) == {b"fingerprint": b"print", b"batch": batch.encode()}
    assert 86_399_000 < await redis.pttl(name) <= 86_400_000
    ((slot, size),) = (await redis.hgetall(keys.idempotency_bytes)).items()
    assert before // 3_600_000 <= int(slot) <= after // 3_600_000
    assert int(size) == 150 + len(name) + len("print") + len(batch)
    another = Group([new_request()], "another", "print", new_batch(1))
    assert await publisher.publish(MODEL, VERSION, [another]) == [ACCEPTED]
    assert sum(map(int, await redis.hvals(keys.idempotency_bytes))) == 2 * int(size)


async def test_records_made_in_one_call_count_for_each_other(redis: Redis, keys: Keys) -> None:
    groups = [Group([new_request()], name, "print", new_batch(1)) for name in ("one", "two", "three")]
    verdicts_of_all = await publisher_of(redis, keys, max_idempotency_bytes=400).publish(MODEL, VERSION, groups)
    assert [each.verdict for each in verdicts_of_all] == [Verdict.ACCEPTED, Verdict.ACCEPTED, Verdict.IDEMPOTENCY]
    assert 400 <= sum(map(int, await redis.hvals(keys.idempotency_bytes))) < 800


async def test_records_count_for_as_long_as_they_are_kept(redis: Redis, keys: Keys) -> None:
    hour = int(time.time()) // 3600
    await redis.hset(keys.idempotency_bytes, mapping={str(hour - 26): 10**9, str(hour - 23): 500, str(hour): 400})
    group = Group([new_request()], "key", "print", new_batch(1))
    for limit, verdict in ((900, Verdict.IDEMPOTENCY), (901, Verdict.ACCEPTED)):
        publisher = publisher_of(redis, keys, max_idempotency_bytes=limit)
        assert await publisher.publish(MODEL, VERSION, [group]) == [Published(verdict)]
    assert str(hour - 26).encode() not in await redis.hgetall(keys.idempotency_bytes)
    assert {str(hour - 23).encode(), str(hour).encode()} <= (await redis.hgetall(keys.idempotency_bytes)).keys()


# --- replays ---------------------------------------------------------------------------------------------------------


async def test_a_replay_is_a_request_again_with_all_its_fields(redis: Redis, keys: Keys) -> None:
    (delivery,) = await read(redis, keys, "a", wait=True)
    prediction_id = decode_request(delivery.fields).id
    worker, dead = stream(redis, keys, "w1"), DeadLetters(shard_of("gateway", redis, keys))
    await worker.dead_letter(delivery, "max_deliveries", "why")
    ((letter, _),) = await redis.xrange(keys.dead)
    before = await redis_ms(redis)
    await replay(dead, letter.decode())
    after = await redis_ms(redis)
    assert await redis.xlen(keys.dead) == 0
    ((entry, fields),) = await redis.xrange(worker.key)
    submitted = int(fields[b"submitted_at"])
    assert before <= submitted <= after and int(fields[b"deadline_at"]) == submitted + 60_000
    changed = {b"submitted_at", b"deadline_at", b"attempt"}
    assert fields[b"attempt"] == b"1"
    assert {name: value for name, value in fields.items() if name not in changed} == {
        name: value for name, value in delivery.fields.items() if name not in changed
    }
    state = await redis.hgetall(keys.prediction(prediction_id))
    assert state == {
        **{b"stream": worker.key.encode(), b"entry": entry, b"attempt": b"1", b"waiters": b"gw"},
        b"principal": delivery.fields[b"principal"],
    }
    await is_exact(redis, keys)


@pytest.mark.parametrize(
    ("of_letter", "of_state", "becomes"), [(b"2", "5", b"6"), (b"5", "2", b"6"), (b"1", None, b"2")]
)
async def test_a_replay_is_the_attempt_after_the_latest(
    redis: Redis, keys: Keys, of_letter: bytes, of_state: str | None, becomes: bytes
) -> None:
    (delivery,) = await read(redis, keys, "a")
    prediction_id = decode_request(delivery.fields).id
    await stream(redis, keys, "w1").dead_letter(delivery, "max_deliveries", "why")
    ((letter, fields),) = await redis.xrange(keys.dead)
    await redis.xdel(keys.dead, letter)
    again = await redis.xadd(keys.dead, {**fields, b"attempt": of_letter})
    if of_state is None:
        await redis.delete(keys.prediction(prediction_id))
    else:
        await redis.hset(keys.prediction(prediction_id), "attempt", of_state)
    await replay(DeadLetters(shard_of("gateway", redis, keys)), again.decode())
    ((_, replayed),) = await redis.xrange(keys.requests(MODEL, VERSION))
    assert replayed[b"attempt"] == becomes
    assert await redis.hget(keys.prediction(prediction_id), "attempt") == becomes
    if of_state is None:
        assert await redis.hget(keys.prediction(prediction_id), "waiters") == b""


async def test_of_replays_at_once_one_adds_a_request(redis: Redis, keys: Keys) -> None:
    (delivery,) = await read(redis, keys, "a")
    await stream(redis, keys, "w1").dead_letter(delivery, "max_deliveries", "why")
    dead = DeadLetters(shard_of("gateway", redis, keys))
    ((entry, _),) = await redis.xrange(keys.dead)
    letter = await dead.find(entry.decode())
    assert letter is not None
    attempts = await asyncio.gather(*(dead.replay(letter, 60_000, 1) for _ in range(3)))
    assert sorted(attempts) == [GONE, GONE, 1]
    assert await redis.xlen(keys.requests(MODEL, VERSION)) == 1


async def test_a_request_replayed_too_often_stays_a_dead_letter(redis: Redis, keys: Keys) -> None:
    (delivery,) = await read(redis, keys, "a")
    await stream(redis, keys, "w1").dead_letter(delivery, "max_deliveries", "why")
    dead = DeadLetters(shard_of("gateway", redis, keys))
    ((entry, _),) = await redis.xrange(keys.dead)
    await redis.hset(keys.prediction(decode_request(delivery.fields).id), "attempt", "2")
    letter = await dead.find(entry.decode())
    assert letter is not None
    assert await dead.replay(letter, 60_000, 2) == TOO_OFTEN
    assert await redis.xlen(keys.dead) == 1 and await accounts(redis, keys) == ({}, {})
    assert await dead.replay(letter, 60_000, 3) == 3


# --- results, in pieces ----------------------------------------------------------------------------------------------


async def add_results(redis: Redis, keys: Keys, count: int, size: int = 7) -> list[str]:
    """Results of so many bytes each: the name of their one field, and its value."""
    return [(await redis.xadd(keys.results, {b"a": b"x" * (size - 1)})).decode() for _ in range(count)]


async def read_piece(redis: Redis, keys: Keys, most: int, most_bytes: int, consumer: str = "p1") -> list[str]:
    """What the script reads."""
    script = shard_of("persister", redis, keys).script("read_results")
    answer = await script([keys.results], [keys.PERSISTER_GROUP, consumer, most, most_bytes])
    return [entry.decode() for entry, _ in answer]


IDLE_MS = 300_000  # longer than a slow machine takes for a test


async def claim_piece(redis: Redis, keys: Keys, most: int, most_bytes: int = 10**9) -> list[tuple[str, int]]:
    """What the script claims for `p2`, with its deliveries."""
    script = shard_of("persister", redis, keys).script("claim_results")
    answer = await script([keys.results], [keys.PERSISTER_GROUP, "p2", IDLE_MS, most, most_bytes])
    return [(entry.decode(), deliveries) for entry, _, deliveries in answer]


async def idle(redis: Redis, keys: Keys, entries: list[str], deliveries: int, idle_ms: int = IDLE_MS) -> None:
    """Have `p1` hold entries that were delivered so often, for so long."""
    await redis.xclaim(keys.results, keys.PERSISTER_GROUP, "p1", 0, entries, idle=idle_ms, retrycount=deliveries)


async def test_results_are_read_eight_at_a_time_until_they_are_many_or_large(redis: Redis, keys: Keys) -> None:
    await ResultStream(shard_of("persister", redis, keys), "p1").join()
    entries = await add_results(redis, keys, 60)
    assert await read_piece(redis, keys, 10, 10**9) == entries[:10]
    assert await read_piece(redis, keys, 100, 8 * 7 + 1) == entries[10:26]
    assert await read_piece(redis, keys, 100, 8 * 7) == entries[26:34]  # what exceeds the bytes is seen afterwards
    assert await read_piece(redis, keys, 1, 1, "p2") == entries[34:35]
    assert await read_piece(redis, keys, 100, 10**9) == entries[35:]
    assert await read_piece(redis, keys, 100, 10**9) == []
    found = await redis.xpending_range(keys.results, keys.PERSISTER_GROUP, "-", "+", 100)
    holders = {each["message_id"].decode(): each["consumer"] for each in found}
    assert holders == {entry: b"p2" if entry == entries[34] else b"p1" for entry in entries}


@pytest.mark.parametrize(("deliveries", "together"), [(1, 10), (2, 2), (3, 1), (9, 1)])
async def test_of_results_delivered_often_few_are_claimed(
    redis: Redis, keys: Keys, deliveries: int, together: int
) -> None:
    await ResultStream(shard_of("persister", redis, keys), "p1").join()
    entries = await add_results(redis, keys, 45)
    await read_piece(redis, keys, 100, 10**9)
    await idle(redis, keys, entries, deliveries)
    claimed = await claim_piece(redis, keys, 40)
    assert claimed == [(entry, deliveries + 1) for entry in entries[:together]]
    found = await redis.xpending_range(keys.results, keys.PERSISTER_GROUP, "-", "+", 100, "p2")
    assert [each["message_id"].decode() for each in found] == entries[:together]


async def test_results_given_back_unread_are_claimed_up_to_the_numbers_that_are_asked(redis: Redis, keys: Keys) -> None:
    await ResultStream(shard_of("persister", redis, keys), "p1").join()
    entries = await add_results(redis, keys, 12)
    await read_piece(redis, keys, 100, 10**9)
    await idle(redis, keys, entries, 0)
    await idle(redis, keys, entries[:1], 0, idle_ms=0)  # not yet
    await redis.xdel(keys.results, entries[1])
    assert await claim_piece(redis, keys, 4) == [(entry, 1) for entry in entries[2:5]]  # and one that was deleted
    assert await claim_piece(redis, keys, 100, 2 * 7) == [(entry, 1) for entry in entries[5:7]]
    assert await claim_piece(redis, keys, 100, 2 * 7 + 1) == [(entry, 1) for entry in entries[7:10]]
    assert await claim_piece(redis, keys, 100, 0) == [(entries[10], 1)]
    found = await redis.xpending_range(keys.results, keys.PERSISTER_GROUP, "-", "+", 100)
    assert entries[1] not in {each["message_id"].decode() for each in found}


async def test_of_results_the_one_delivered_most_often_bounds_the_claim(redis: Redis, keys: Keys) -> None:
    await ResultStream(shard_of("persister", redis, keys), "p1").join()
    entries = await add_results(redis, keys, 6)
    await read_piece(redis, keys, 100, 10**9)
    await idle(redis, keys, entries[:2], 0)
    await idle(redis, keys, entries[2:3], 3)
    await idle(redis, keys, entries[3:], 0)
    assert [entry for entry, _ in await claim_piece(redis, keys, 100)] == entries[:2]
    assert [entry for entry, _ in await claim_piece(redis, keys, 100)] == entries[2:3]
    assert [entry for entry, _ in await claim_piece(redis, keys, 100)] == entries[3:]


async def test_the_first_database_is_noted_and_no_other(redis: Redis, keys: Keys) -> None:
    deployment = Deployment(shard_of("persister", redis, keys))
    await deployment.check("one")
    await deployment.bind("one")
    assert await redis.get(keys.deployment) == b"one"
    for refused in (deployment.bind("two"), deployment.check("two")):
        with pytest.raises(StoreUnavailable, match="its id is two.* go to one"):
            await refused
    await deployment.bind("one")
    assert await redis.get(keys.deployment) == b"one"


async def test_what_is_refused_is_named_by_its_place(redis: Redis, keys: Keys) -> None:
    commands = orjson.dumps([["GET", keys.results], ["LPOP"], ["NOSUCH"], ["TIME"]])
    failed = await shard_of("gateway", redis, keys).script("rights")([keys.results], [commands])
    assert [position for position, _ in failed] == [1, 2]
    assert all(b"command" in error for _, error in failed)


async def test_a_heartbeat_lists_its_worker_until_it_expires_or_stops(redis: Redis, keys: Keys) -> None:
    shard = Shard(redis, keys)
    await redis.zadd(keys.workers, {"silent": 1})
    await Heartbeat(shard, "a", 60).beat(["m:1"], states=encode_states({"m:1": VersionState(State.READY)}))
    await Heartbeat(shard, "b", 60).beat([], states=encode_states({"m:1": VersionState(State.FAILED, "torn")}))
    assert set(await redis.zrange(keys.workers, 0, -1)) == {b"a", b"b"}
    directory = WorkerDirectory(shard)
    assert await directory.states() == {
        "m:1": {"a": VersionState(State.READY), "b": VersionState(State.FAILED, "torn")}
    }
    assert 0 < await redis.pttl(keys.worker("a")) <= 60_000
    seconds, _ = await redis.time()
    assert 0 < await redis.zscore(keys.workers, "a") / 1000 - seconds <= 61
    await Heartbeat(shard, "a", 60).stop()
    assert await redis.zrange(keys.workers, 0, -1) == [b"b"] and not await redis.exists(keys.worker("a"))
    await redis.delete(keys.worker("b"))
    assert await directory.states() == {}, "the list is not what counts"


async def test_what_workers_say_is_read_once(own_redis: RedisServer, keys: Keys, catalogue: Catalogue) -> None:
    """A gateway looks every two seconds: one command for each stream and one for each worker."""
    served = catalogue.select("echo")
    one, two = (each.label for each in served)
    async with redis_async.Redis.from_url(own_redis.url) as redis:
        shard = Shard(redis, keys)
        for name, cost, made in (("a", Cost(2, 0.5), "f"), ("b", Cost(4, 0.5), "g")):
            about = {"costs": encode_costs({one: cost}), "fingerprints": orjson.dumps({one: "f", two: made})}
            await Heartbeat(shard, name, 60).beat([one, two], **about)
            for each in served:
                await RequestStream(shard, each.model, each.version.version, name).join()
        await RequestStream(shard, served[0].model, served[0].version.version, "dead").join()
        await redis.config_resetstat()
        assert await WorkerDirectory(shard).look(served) == ({one: 2, two: 2}, {one: Cost(3, 0.5)}, {one: "f"}, None)
        told = {
            name.removeprefix("cmdstat_"): each["calls"] for name, each in (await redis.info("commandstats")).items()
        }
    assert (told["xinfo|consumers"], told["hmget"]) == (2, 3)
    assert not told.keys() - {"xinfo|consumers", "hmget", "config|resetstat", "info"}


async def test_of_two_registries_the_newer_stays(redis: Redis, keys: Keys) -> None:
    published = ModelRegistry(Shard(redis, keys))
    assert await published.epoch() is None and await published.newer_than(0) is None
    for epoch, there in ((9, 9), (8, 9), (9, 9), (10, 10)):
        await published.publish(Registry(epoch=epoch))
        assert await published.epoch() == there
        assert await published.newer_than(there - 1) == Registry(epoch=there)
        assert await published.newer_than(there) is None
    await redis.hset(keys.registry, "models", "torn")
    assert await published.epoch() is None


async def test_a_gateway_that_listens_twice_is_told_once(redis: Redis, keys: Keys) -> None:
    [prediction_id] = await publish(redis, keys, "text")
    for gateway in ("g1", "g1", "g2", "g1", "g2"):
        await PredictionStates(Shard(redis, keys), gateway).listen(prediction_id)
    assert await redis.hget(keys.prediction(prediction_id), "listeners") == b"g1,g2"
