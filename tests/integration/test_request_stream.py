"""The stream primitives against a real Redis: each guarantee of the request stream."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from shared.contract.errors import StoreUnavailable
from shared.contract.hints import Hint, decode_hints
from shared.contract.ids import read_batch
from shared.contract.keys import Keys
from shared.contract.messages import Outcome, PredictionResult, Status, decode_request, decode_result
from shared.contract.queues import Priority
from shared.service.settings import Settings
from shared.streams.prediction_state import PredictionStates, Queued
from shared.streams.publishing import Group, Published, Publisher, Verdict
from shared.streams.redis_client import connect
from shared.streams.request_stream import HINT_MAX_BYTES, Completed, Delivery, Read
from shared.streams.version_streams import Counts
from tests.access import shard_of
from tests.round_trips import RoundTrips
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
    streams,
)
from tests.waiting import eventually

pytestmark = pytest.mark.every_server

QUEUED = Queued(0, f"{MODEL}:{VERSION}")


async def test_a_request_travels_from_publish_to_result(redis: Redis, keys: Keys) -> None:
    (prediction_id,) = await publish(redis, keys, "hello")
    worker = stream(redis, keys, "w1")
    await worker.join()
    read = await worker.read(10, 10)
    assert [each.deliveries for each in read.deliveries] == [1]
    request = decode_request(read.deliveries[0].fields)
    assert (request.id, request.input, request.model, request.version) == (prediction_id, "hello", MODEL, VERSION)
    assert request.submitted_at <= read.now_ms < request.deadline_at == request.submitted_at + 60_000
    assert await worker.complete([finished(read.deliveries[0])]) == [True]
    assert await redis.xlen(worker.key) == 0
    assert (await redis.xpending(worker.key, keys.WORKER_GROUP))["pending"] == 0
    (fields,) = await results(redis, keys)
    result = decode_result(fields)
    assert (result.id, result.input, result.outcome.result) == (prediction_id, b'{"text":"hello"}', b'{"label":"A"}')


async def redis_ms(redis: Redis) -> int:
    """Redis's clock."""
    seconds, microseconds = await redis.time()
    return int(seconds * 1000 + microseconds // 1000)


async def test_what_was_ended_or_claimed_by_another_is_lost_to_who_read_it(
    redis: Redis, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    await publish(redis, keys, *"abc")
    await publish(redis, keys, "d", "e", priority=Priority.BATCH)
    first, second = streams(redis, keys, "first"), streams(redis, keys, "second")
    await first.join()
    read = (await first.read(Counts(3, 2), 0)).deliveries
    entries = [each.entry for each in read]
    trips = RoundTrips(monkeypatch, "inference_worker")
    assert await first.lost(entries) == set()
    assert await first.lost([]) == set()
    assert not await first.has_abandoned(60_000)
    assert trips.count == 2  # whatever of both streams is in hand
    await second.join()
    (claimed,) = (await second.claim(0, 1)).deliveries
    await second.complete([finished(read[1]), finished(read[4])])
    assert await first.lost(entries) == {claimed.entry, read[1].entry, read[4].entry}
    assert await second.lost([claimed.entry]) == set()
    await redis.delete(keys.requests(MODEL, VERSION))
    assert (
        await first.lost([read[2].entry]) == set()
    )  # as after Redis was emptied: what is known is no more than before


async def test_a_read_waits_for_the_first_entry_or_not_at_all(redis: Redis, keys: Keys) -> None:
    worker = stream(redis, keys, "w1")
    await worker.join()
    async with asyncio.timeout(20):
        assert (await worker.read(10, 0)).deliveries == []
        reading = asyncio.create_task(worker.read(10, 4000))

        async def waits() -> bool:
            assert not reading.done()
            return bool((await redis.info("clients"))["blocked_clients"])

        await eventually(waits, "it waits in Redis")
        await publish(redis, keys, "a")
        assert len((await reading).deliveries) == 1


async def test_a_read_has_at_most_so_many_entries_and_the_exact_time(redis: Redis, keys: Keys) -> None:
    await publish(redis, keys, *"abcde")
    worker = stream(redis, keys, "w1")
    await worker.join()
    for count in (2, 2, 1, 0):
        before = await redis_ms(redis)
        read = await worker.read(2, 0)
        assert len(read.deliveries) == count
        assert before <= read.now_ms <= await redis_ms(redis)


async def test_only_what_is_idle_for_long_enough_is_abandoned(redis: Redis, keys: Keys) -> None:
    worker, other = stream(redis, keys, "w1"), streams(redis, keys, "w2")
    assert await other.has_abandoned(0) is False  # there is no group yet
    await publish(redis, keys, "a")
    await worker.join()
    assert await other.has_abandoned(0) is False  # nobody has read it
    (delivery,) = (await worker.read(1, 0)).deliveries
    assert await other.has_abandoned(60_000) is False
    await redis.xclaim(worker.key, keys.WORKER_GROUP, "w1", 0, [delivery.entry], idle=60_000, justid=True)
    assert await other.has_abandoned(60_000) is True


async def test_what_no_live_worker_holds_is_told_from_what_is_gone(redis: Redis, keys: Keys) -> None:
    await publish(redis, keys, *"abcd")
    worker = stream(redis, keys, "w1")
    await worker.join()
    held, left, gone = (each.entry for each in (await worker.read(3, 0)).deliveries)
    await redis.xclaim(worker.key, keys.WORKER_GROUP, "w1", 0, [left], idle=70_000, justid=True)
    await redis.xdel(worker.key, gone)
    *_, (unread, fields) = await redis.xrange(worker.key)
    before = await redis_ms(redis)
    read, missing = await worker.unheld([held, left, gone, unread.decode()], 60_000)
    assert before <= read.now_ms <= await redis_ms(redis)
    assert missing == [gone]
    assert [each.entry for each in read.deliveries] == [left, unread.decode()]
    assert read.deliveries[1] == Delivery(unread.decode(), fields, 0)
    await redis.xgroup_destroy(worker.key, keys.WORKER_GROUP)
    read, missing = await worker.unheld([held, gone], 60_000)
    assert ([each.entry for each in read.deliveries], missing) == ([held], [gone])  # without a group nobody holds any


async def test_a_twin_that_finishes_later_changes_nothing(redis: Redis, keys: Keys) -> None:
    await publish(redis, keys, "hello")
    slow, fast = stream(redis, keys, "slow"), stream(redis, keys, "fast")
    await slow.join()
    (delivery,) = (await slow.read(1, 10)).deliveries
    (taken,) = (await fast.claim(0, 1)).deliveries
    assert await fast.complete([finished(taken, "fast")]) == [True]
    before = await redis.xrange(keys.results)
    assert await slow.complete([finished(delivery, "slow")]) == [False]
    assert await redis.xrange(keys.results) == before
    assert (await redis.xpending(slow.key, keys.WORKER_GROUP))["pending"] == 0


async def test_what_was_finished_already_may_be_finished_again_while_others_wait(redis: Redis, keys: Keys) -> None:
    """As after an answer of Redis that was lost. (Redis refuses to add -0, which Lua makes of nothing taken off.)"""
    await publish(redis, keys, "a", "b")
    worker = stream(redis, keys, "w1")
    await worker.join()
    first, second = (await worker.read(2, 10)).deliveries
    assert await worker.complete([finished(first)]) == [True]
    assert await worker.complete([finished(first)]) == [False]
    assert await redis.hgetall(keys.backlog_bytes) == {b"echo:1.0.0": b"14"}
    assert await worker.complete([finished(second)]) == [True]
    assert not await redis.exists(keys.backlog_bytes)


async def test_of_a_batch_only_what_is_still_there_is_finished(redis: Redis, keys: Keys) -> None:
    ids = await publish(redis, keys, "a", "b", "c")
    worker = stream(redis, keys, "w1")
    await worker.join()
    deliveries = (await worker.read(3, 10)).deliveries
    assert await worker.complete([finished(deliveries[1])]) == [True]
    assert await worker.complete([finished(each) for each in deliveries]) == [True, False, True]
    assert sorted(fields[b"id"].decode() for fields in await results(redis, keys)) == sorted(ids)


async def test_abandoned_entries_are_claimed_one_at_a_time_with_their_count(redis: Redis, keys: Keys) -> None:
    await publish(redis, keys, "a", "b")
    dead, alive = stream(redis, keys, "dead"), stream(redis, keys, "alive")
    await dead.join()
    assert len((await dead.read(2, 10)).deliveries) == 2
    assert (await alive.claim(60_000, 10)).deliveries == []
    first = (await alive.claim(0, 10)).deliveries
    assert [each.deliveries for each in first] == [2]
    assert await alive.complete([finished(first[0])]) == [True]
    second = (await alive.claim(0, 10)).deliveries
    assert [each.deliveries for each in second] == [2]
    assert decode_request(second[0].fields).input == "b"


async def test_two_workers_never_claim_the_same_entry(redis: Redis, keys: Keys) -> None:
    await publish(redis, keys, *"abcdefgh")
    dead = stream(redis, keys, "dead")
    await dead.join()
    assert len((await dead.read(8, 10)).deliveries) == 8
    await redis.xclaim(
        dead.key, keys.WORKER_GROUP, "dead", 0, [e for e, _ in await redis.xrange(dead.key)], idle=10_000
    )
    claims = await asyncio.gather(*(stream(redis, keys, f"w{n}").claim(5000, 1) for n in range(12)))
    entries = [each.entry for claim in claims for each in claim.deliveries]
    assert len(entries) == len(set(entries)) == 8


async def test_renewing_keeps_what_is_owned_and_steals_nothing(redis: Redis, keys: Keys) -> None:
    await publish(redis, keys, "a", "b")
    slow, other = stream(redis, keys, "slow"), stream(redis, keys, "other")
    await slow.join()
    mine, lost = (await slow.read(2, 10)).deliveries
    await redis.xclaim(slow.key, keys.WORKER_GROUP, "slow", 0, [mine.entry, lost.entry], idle=10_000, retrycount=1)
    await redis.xclaim(slow.key, keys.WORKER_GROUP, "other", 0, [lost.entry])
    assert await slow.renew([mine.entry, lost.entry]) == 1
    pending = {
        each["message_id"].decode(): each
        for each in await redis.xpending_range(slow.key, keys.WORKER_GROUP, "-", "+", 10)
    }
    assert pending[mine.entry]["consumer"] == b"slow" and pending[mine.entry]["time_since_delivered"] < 5000
    assert pending[mine.entry]["times_delivered"] == 1
    assert pending[lost.entry]["consumer"] == b"other"
    assert (await other.claim(5000, 10)).deliveries == []


async def test_entries_given_back_unread_are_claimed_together_as_if_never_delivered(redis: Redis, keys: Keys) -> None:
    await publish(redis, keys, "a", "b", "c")
    leaving, staying = stream(redis, keys, "leaving"), stream(redis, keys, "staying")
    await leaving.join()
    entries = [each.entry for each in (await leaving.read(3, 10)).deliveries]
    assert await leaving.release(entries, 60_000) == 3
    assert await leaving.release([], 60_000) == 0
    claimed = (await staying.claim(60_000, 10)).deliveries
    assert [(each.entry, each.deliveries) for each in claimed] == [(entry, 1) for entry in entries]


async def test_a_given_back_entry_never_comes_with_a_suspect(redis: Redis, keys: Keys) -> None:
    await publish(redis, keys, "fresh", "suspect")
    worker, next_worker = stream(redis, keys, "w1"), stream(redis, keys, "w2")
    await worker.join()
    fresh, suspect = (await worker.read(2, 10)).deliveries
    await worker.release([fresh.entry], 60_000)
    await redis.xclaim(worker.key, keys.WORKER_GROUP, "w1", 0, [suspect.entry], idle=70_000, retrycount=1, justid=True)
    assert [each.entry for each in (await next_worker.claim(60_000, 10)).deliveries] == [fresh.entry]
    assert [each.entry for each in (await next_worker.claim(60_000, 10)).deliveries] == [suspect.entry]


async def test_an_entry_deleted_while_pending_is_cleared_up(redis: Redis, keys: Keys) -> None:
    await publish(redis, keys, "a")
    dead, alive = stream(redis, keys, "dead"), stream(redis, keys, "alive")
    await dead.join()
    (delivery,) = (await dead.read(1, 10)).deliveries
    await redis.xdel(dead.key, delivery.entry)
    assert (await alive.claim(0, 10)).deliveries == []
    assert (await redis.xpending(dead.key, keys.WORKER_GROUP))["pending"] == 0


async def test_a_consumer_is_removed_only_when_it_holds_nothing(redis: Redis, keys: Keys) -> None:
    await publish(redis, keys, "a")
    worker = stream(redis, keys, "w1")
    await worker.join()
    (delivery,) = (await worker.read(1, 10)).deliveries
    assert await worker.leave() is False
    await worker.complete([finished(delivery)])
    assert await worker.leave() is True
    assert await redis.xinfo_consumers(worker.key, keys.WORKER_GROUP) == []
    assert await worker.leave() is False


async def test_leaving_a_stream_that_is_gone_is_no_error(redis: Redis, keys: Keys) -> None:
    assert await stream(redis, keys, "w1").leave() is False
    await redis.xadd(keys.requests(MODEL, VERSION), {"a": "b"})
    assert await stream(redis, keys, "w1").leave() is False


async def test_a_lost_group_heals_and_sees_what_came_before_it(redis: Redis, keys: Keys) -> None:
    worker = stream(redis, keys, "w1")
    await worker.join()
    await redis.delete(worker.key)
    await publish(redis, keys, "a")
    assert (await worker.claim(0, 10)).deliveries == []  # makes the group anew
    assert len((await worker.read(10, 10)).deliveries) == 1
    await redis.delete(worker.key)
    await publish(redis, keys, "b")
    assert (await worker.read(10, 10)).deliveries == []  # makes the group anew
    assert len((await worker.read(10, 10)).deliveries) == 1


async def test_what_cannot_be_claimed_for_want_of_a_group_tells_no_time(redis: Redis, keys: Keys) -> None:
    assert await stream(redis, keys, "w1").claim(0, 10) == Read([], 0)


async def test_joining_twice_is_harmless(redis: Redis, keys: Keys) -> None:
    await publish(redis, keys, "a")
    worker = stream(redis, keys, "w1")
    await worker.join()
    await worker.join()
    assert len((await worker.read(10, 10)).deliveries) == 1


async def test_a_dead_letter_keeps_the_original_and_fails_its_prediction(redis: Redis, keys: Keys) -> None:
    (prediction_id,) = await publish(redis, keys, "poison", gateway="gw9", wait=True)
    pubsub = redis.pubsub(ignore_subscribe_messages=True)
    await pubsub.subscribe(keys.notify("gw9"))
    await pubsub.get_message(timeout=20)
    worker = stream(redis, keys, "w1")
    await worker.join()
    (delivery,) = (await worker.read(1, 10)).deliveries
    assert await worker.dead_letter(delivery._replace(deliveries=4), "max_deliveries", "killed\nits worker") is True
    ((_, dead),) = await redis.xrange(keys.dead)
    assert dead[b"source"].decode() == worker.key and dead[b"source_entry"].decode() == delivery.entry
    assert (dead[b"reason"], dead[b"deliveries"], dead[b"error"]) == (b"max_deliveries", b"4", b"killed its worker")
    assert dead[b"input"] == b'{"text":"poison"}'
    result = decode_result((await results(redis, keys))[0])
    assert (result.id, result.outcome.status, result.outcome.error) == (
        prediction_id,
        Status.FAILED,
        "killed its worker",
    )
    assert result.input == b'{"text":"poison"}'
    message = await pubsub.get_message(timeout=20)
    assert message is not None
    assert [hint.id for hint in decode_hints(message["data"])] == [prediction_id]
    await pubsub.aclose()
    assert await redis.xlen(worker.key) == 0
    assert await worker.dead_letter(delivery, "max_deliveries", "again") is False
    assert await redis.xlen(keys.dead) == 1


async def test_a_malformed_entry_is_dead_lettered_without_a_prediction(redis: Redis, keys: Keys) -> None:
    worker = stream(redis, keys, "w1")
    await worker.join()
    await redis.xadd(worker.key, {"garbage": b"\xff\xfe"})
    (delivery,) = (await worker.read(1, 10)).deliveries
    assert await worker.dead_letter(delivery, "missing_field", "field 'schema' is missing") is True
    ((_, dead),) = await redis.xrange(keys.dead)
    assert dead[b"garbage"] == b"\xff\xfe"
    assert await redis.exists(keys.results) == 0


@pytest.mark.parametrize(
    ("reason", "kept"), [("max_deliveries", b'{"text":"secret"}'), ("child_lost", b"{}"), ("missing_field", b"{}")]
)
async def test_the_result_of_a_dead_letter_keeps_its_input_only_if_it_was_read(
    redis: Redis, keys: Keys, reason: str, kept: bytes
) -> None:
    (prediction_id,) = await publish(redis, keys, "secret")
    worker = stream(redis, keys, "w1")
    await worker.join()
    (delivery,) = (await worker.read(1, 10)).deliveries
    await worker.dead_letter(delivery, reason, "why")
    ((_, dead),) = await redis.xrange(keys.dead)
    assert dead[b"input"] == b'{"text":"secret"}'
    (result,) = await results(redis, keys)
    assert (result[b"input"], result[b"options"], result[b"status"]) == (kept, b"{}", b"failed")
    assert (result[b"id"].decode(), result[b"error"], result[b"attempt"]) == (prediction_id, b"why", b"0")
    assert (result[b"model"].decode(), result[b"version"].decode()) == (MODEL, VERSION)


async def test_every_waiting_gateway_gets_one_hint_a_batch(redis: Redis, keys: Keys) -> None:
    ids = await publish(redis, keys, "a", "b", gateway="gw1", wait=True)
    other = PredictionStates(shard_of("gateway", redis, keys), "gw2")
    for _ in range(2):  # registering twice is registering once
        assert await other.look(ids[0], wait=True) == QUEUED
    pubsub = redis.pubsub(ignore_subscribe_messages=True)
    await pubsub.subscribe(keys.notify("gw1"), keys.notify("gw2"))
    worker = stream(redis, keys, "w1")
    await worker.join()
    deliveries = (await worker.read(2, 10)).deliveries
    await worker.complete([finished(each) for each in deliveries])
    received: dict[str, list[str]] = {}
    for _ in range(4):  # two confirmations, two messages
        message = await pubsub.get_message(timeout=20)
        if message is not None:
            hints = decode_hints(message["data"])
            assert all(hint.outcome is not None and hint.model == MODEL for hint in hints)
            received.setdefault(message["channel"].decode(), []).append(",".join(hint.id for hint in hints))
    await pubsub.aclose()
    assert received == {keys.notify("gw1"): [",".join(ids)], keys.notify("gw2"): [ids[0]]}


async def test_a_result_too_long_for_a_hint_is_found_by_its_id(redis: Redis, keys: Keys) -> None:
    (prediction_id,) = await publish(redis, keys, "a", gateway="gw1", wait=True)
    pubsub = redis.pubsub(ignore_subscribe_messages=True)
    await pubsub.subscribe(keys.notify("gw1"))
    await pubsub.get_message(timeout=20)
    worker = stream(redis, keys, "w1")
    await worker.join()
    (delivery,) = (await worker.read(1, 10)).deliveries
    assert HINT_MAX_BYTES == 16 * 1024  # as the architecture has it
    await worker.complete([finished(delivery, "x" * 20_000)])
    message = await pubsub.get_message(timeout=20)
    await pubsub.aclose()
    assert message is not None and decode_hints(message["data"]) == [Hint(prediction_id)]
    state = await PredictionStates(shard_of("gateway", redis, keys), "gw1").look(prediction_id)
    assert isinstance(state, PredictionResult) and len(state.outcome.result or b"") > 20_000


async def test_publishing_the_same_id_again_adds_nothing(redis: Redis, keys: Keys) -> None:
    publisher = Publisher(shard_of("gateway", redis, keys), "gw", LIMITS)
    request = new_request()
    for _ in range(3):
        assert await publisher.publish(MODEL, VERSION, [Group([request])]) == [ACCEPTED]
    assert await redis.xlen(keys.requests(MODEL, VERSION)) == 1


async def test_an_idempotency_key_tells_a_callers_retry_from_the_clients_and_from_another_callers(
    redis: Redis, keys: Keys
) -> None:
    publisher = Publisher(shard_of("gateway", redis, keys), "gw", LIMITS)

    def group(batch: str, fingerprint: str = "same", principal: str = "alice") -> Group:
        requests = [new_request()._replace(id=each, principal=principal) for each in read_batch(batch).ids()]
        return Group(requests, "key", fingerprint, batch)

    first, repeated = new_batch(2), new_batch(2)
    for _ in range(2):  # the second time it is the client library that tries again
        assert await publisher.publish(MODEL, VERSION, [group(first)]) == [ACCEPTED]
    earlier = Published(Verdict.ACCEPTED, read_batch(first).ids())
    assert await publisher.publish(MODEL, VERSION, [group(repeated)]) == [earlier]
    conflict = Published(Verdict.CONFLICT)
    assert await publisher.publish(MODEL, VERSION, [group(new_batch(2), fingerprint="other")]) == [conflict]
    assert await redis.xlen(keys.requests(MODEL, VERSION)) == 2
    assert await publisher.publish(MODEL, VERSION, [group(new_batch(2), principal="bob")]) == [ACCEPTED]


async def test_a_group_over_the_backlog_is_refused_whole_and_leaves_nothing(redis: Redis, keys: Keys) -> None:
    publisher = Publisher(shard_of("gateway", redis, keys), "gw", replace(LIMITS, max_backlog=3))
    fits, too_many, fits_too = [[new_request() for _ in range(count)] for count in (2, 2, 1)]
    published = await publisher.publish(MODEL, VERSION, [Group(fits), Group(too_many), Group(fits_too)])
    assert [each.verdict for each in published] == [Verdict.ACCEPTED, Verdict.BACKLOG, Verdict.ACCEPTED]
    assert await redis.xlen(keys.requests(MODEL, VERSION)) == 3
    assert await redis.exists(*(keys.prediction(each.id) for each in too_many)) == 0
    assert await redis.exists(*(keys.prediction(each.id) for each in [*fits, *fits_too])) == 3


async def test_bytes_that_wait_are_bounded_and_counted_exactly(redis: Redis, keys: Keys) -> None:
    publisher = Publisher(shard_of("gateway", redis, keys), "gw", replace(LIMITS, max_backlog_bytes=1000))
    large, small = new_request("x" * 600), new_request("x")
    verdicts = await publisher.publish(
        MODEL, VERSION, [Group([each]) for each in (large, new_request("x" * 600), small)]
    )
    assert [each.verdict for each in verdicts] == [Verdict.ACCEPTED, Verdict.BACKLOG_BYTES, Verdict.ACCEPTED]
    assert await redis.hgetall(keys.backlog_bytes) == {
        f"{MODEL}:{VERSION}".encode(): b"%d" % (600 + 11 + 2 + 1 + 11 + 2)
    }
    assert (await publisher.publish("other", VERSION, [Group([new_request("x" * 600)])]))[0].verdict is Verdict.ACCEPTED
    worker = stream(redis, keys, "w")
    await worker.join()
    for delivery in (await worker.read(2, 10)).deliveries:
        await worker.complete([finished(delivery)])
    assert await redis.hkeys(keys.backlog_bytes) == [f"other:{VERSION}".encode()], "a stream without entries has none"


async def test_what_an_operator_deletes_is_forgotten_once_the_stream_is_empty(redis: Redis, keys: Keys) -> None:
    publisher = Publisher(shard_of("gateway", redis, keys), "gw", replace(LIMITS, max_backlog_bytes=1000))
    for _ in range(3):
        assert (await publisher.publish(MODEL, VERSION, [Group([new_request("x" * 900)])]))[0] == ACCEPTED
        await redis.xtrim(keys.requests(MODEL, VERSION), maxlen=0)


async def test_records_of_idempotency_keys_are_bounded_and_forgotten_in_time(redis: Redis, keys: Keys) -> None:
    limits = replace(LIMITS, max_idempotency_bytes=500)
    publisher = Publisher(shard_of("gateway", redis, keys), "gw", limits, idempotency_ttl_ms=1000)

    async def verdict_of(key: str) -> Verdict:
        batch = new_batch(1)
        group = Group([new_request()._replace(id=read_batch(batch).ids()[0])], key, "f" * 64, batch)
        return (await publisher.publish(MODEL, VERSION, [group]))[0].verdict

    assert [await verdict_of(key) for key in "abc"] == [Verdict.ACCEPTED] * 2 + [Verdict.IDEMPOTENCY]
    assert await verdict_of("a") is Verdict.ACCEPTED, "what is remembered still is"
    assert (await publisher.publish(MODEL, VERSION, [Group([new_request()])]))[0] == ACCEPTED, "who has no key goes on"
    counted = sum(int(each) for each in await redis.hvals(keys.idempotency_bytes))
    used = sum([await redis.memory_usage(keys.idempotency("", key)) for key in "ab"])
    assert used <= counted < 2 * used, "what is counted is what Redis uses, and not much more"

    async def accepted() -> bool:
        return await verdict_of("d") is Verdict.ACCEPTED

    await eventually(accepted, "the records have expired")
    assert len(await redis.hkeys(keys.idempotency_bytes)) <= 25


async def test_results_that_nobody_stores_stop_the_accepting(redis: Redis, keys: Keys) -> None:
    for _ in range(2):
        await redis.xadd(keys.results, {"a": "b"})
    publisher = Publisher(shard_of("gateway", redis, keys), "gw", replace(LIMITS, max_results=2))
    assert await publisher.publish(MODEL, VERSION, [Group([new_request()])]) == [Published(Verdict.RESULTS)]
    assert await redis.exists(keys.requests(MODEL, VERSION)) == 0


async def test_an_unknown_prediction_has_no_state(redis: Redis, keys: Keys) -> None:
    states = PredictionStates(shard_of("gateway", redis, keys), "gw")
    assert await states.look(new_request().id, wait=True) is None
    ids = await publish(redis, keys, "a", "b")
    assert list((await states.look_all([ids[0], new_request().id, ids[1]])).values()) == [QUEUED, None, QUEUED]


async def test_an_unreachable_redis_is_named_and_not_waited_for(redis: Redis, keys: Keys) -> None:
    client = connect(Settings(redis_url="redis://127.0.0.1:1/0"))
    worker = stream(client, keys, "w1")
    delivery = Delivery("1-1", {})
    request = decode_request((await _one(redis, keys)).fields)
    for call in (
        worker.join(),
        worker.read(1, 1),
        worker.claim(1, 1),
        worker.renew(["1-1"]),
        worker.complete([Completed(delivery, request, Outcome(Status.FAILED))]),
        worker.dead_letter(delivery, "reason", "error"),
        worker.leave(),
    ):
        with pytest.raises(StoreUnavailable, match="redis cannot be reached"):
            await call
    await client.aclose()


async def _one(redis: Redis, keys: Keys) -> Delivery:
    await publish(redis, keys, "a")
    worker = stream(redis, keys, "w")
    await worker.join()
    (delivery,) = (await worker.read(1, 10)).deliveries
    return delivery


async def test_without_a_group_nobody_holds_anything(redis: Redis, keys: Keys) -> None:
    """Redis was flushed or restored while a batch computes: renewing and giving back are no errors; it may finish."""
    worker = stream(redis, keys, "a")
    await publish(redis, keys, "x")
    await worker.join()
    (delivery,) = (await worker.read(1, 0)).deliveries
    await redis.xgroup_destroy(worker.key, keys.WORKER_GROUP)
    assert await worker.renew([delivery.entry]) == 0
    assert await worker.release([delivery.entry], 1000) == 0
    assert await worker.complete([finished(delivery)]) == [True]
    await redis.delete(worker.key)
    assert (await worker.renew([delivery.entry]), await worker.release([delivery.entry], 1000)) == (0, 0)
