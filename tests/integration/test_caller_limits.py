"""The limits of callers in Redis: decided with acceptance, settled with the end, whatever ends in between."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from shared.contract.ids import principal_id, read_batch
from shared.contract.keys import Keys
from shared.contract.limits import CallerLimits, Rate
from shared.contract.messages import Outcome, Status, decode_request
from shared.streams.dead_letters import DeadLetters
from shared.streams.publishing import Group, Published, Publisher, Verdict
from shared.streams.request_stream import Completed
from tests.access import shard_of
from tests.streams import LIMITS, MODEL, VERSION, Redis, new_batch, new_request, stream

pytestmark = pytest.mark.every_server

ANN, BOB = principal_id("test", "ann"), principal_id("test", "bob")
HOUR = 3600.0  # a rate over so long gives hardly anything back during a test
PER_HOUR = CallerLimits(requests=Rate(10, HOUR))


def group(texts: Sequence[str], limits: CallerLimits | None, principal: str = ANN, cost_us: int = 0) -> Group:
    return Group(
        [new_request(each)._replace(principal=principal, cost_us=cost_us) for each in texts],
        limits=limits,
    )


async def publish(redis: Redis, keys: Keys, *groups: Group) -> list[Published]:
    return await Publisher(shard_of("gateway", redis, keys), "gw", LIMITS).publish(MODEL, VERSION, groups)


async def verdicts(redis: Redis, keys: Keys, *groups: Group) -> list[Verdict]:
    return [each.verdict for each in await publish(redis, keys, *groups)]


async def kept(redis: Redis, keys: Keys, principal: str = ANN) -> tuple[int, int]:
    """Requests and bytes that wait, as they are kept of a caller."""
    queued, size = await redis.hmget(keys.limits(principal), "queued", "bytes")
    return int(queued or 0), int(size or 0)


async def is_exact(redis: Redis, keys: Keys, *principals: str) -> None:
    """Check that what is kept of callers is what the stream holds of them."""
    for principal in principals:
        own = [
            fields
            for _, fields in await redis.xrange(keys.requests(MODEL, VERSION))
            if fields[b"principal"] == principal.encode() and fields.get(b"cost")
        ]
        size = sum(len(fields[b"input"]) + len(fields[b"options"]) for fields in own)
        assert await kept(redis, keys, principal) == (len(own), size)


async def test_a_burst_is_a_quota_and_a_group_counts_each_of_its_requests(redis: Redis, keys: Keys) -> None:
    first, second, third = await publish(
        redis, keys, group(["a"] * 7, PER_HOUR), group(["b"] * 4, PER_HOUR), group(["c"] * 3, PER_HOUR)
    )
    assert [each.verdict for each in (first, second, third)] == [
        Verdict.ACCEPTED,
        Verdict.CALLER_REQUESTS,
        Verdict.ACCEPTED,
    ]
    assert await redis.xlen(keys.requests(MODEL, VERSION)) == 10
    assert await verdicts(redis, keys, group(["d"], PER_HOUR), group(["d"], PER_HOUR, BOB)) == [
        Verdict.CALLER_REQUESTS,
        Verdict.ACCEPTED,
    ]
    rate = PER_HOUR.requests
    assert rate is not None and first.used is not None and second.used is not None and third.used is not None
    assert [rate.left(each.used.requests_ms) for each in (first, second, third) if each.used] == [3, 3, 0]
    assert 0 < rate.wait_ms(third.used.requests_ms, 1) <= 360_000
    await is_exact(redis, keys, ANN, BOB)


async def test_a_weight_makes_requests_count_as_more(redis: Redis, keys: Keys) -> None:
    heavy = PER_HOUR._replace(weight=4)
    assert await verdicts(redis, keys, group(["a"], heavy), group(["a"], heavy), group(["a"], heavy)) == [
        *(Verdict.ACCEPTED, Verdict.ACCEPTED, Verdict.CALLER_REQUESTS)
    ]


async def test_units_come_back_with_time(redis: Redis, keys: Keys) -> None:
    limits = CallerLimits(requests=Rate(1, HOUR))
    assert await verdicts(redis, keys, group(["a"], limits), group(["a"], limits)) == [
        *(Verdict.ACCEPTED, Verdict.CALLER_REQUESTS)
    ]
    full_at = float(await redis.hget(keys.limits(ANN), "requests") or 0)
    await redis.hset(keys.limits(ANN), "requests", str(full_at - HOUR * 1000))  # as an hour later
    assert await verdicts(redis, keys, group(["a"], limits)) == [Verdict.ACCEPTED]


@pytest.mark.parametrize(
    ("limits", "verdict"),
    [
        (CallerLimits(queued=2), Verdict.CALLER_QUEUED),
        (CallerLimits(queued_bytes=2 * len(b'{"text":"a"}{}')), Verdict.CALLER_QUEUED_BYTES),
        (CallerLimits(compute_ms=Rate(2.5, HOUR)), Verdict.CALLER_COMPUTE),
    ],
)
async def test_each_limit_refuses_what_exceeds_it_and_nothing_is_left_of_that(
    redis: Redis, keys: Keys, limits: CallerLimits, verdict: Verdict
) -> None:
    def one() -> Group:
        return group(["a"], limits, cost_us=1000)

    assert await verdicts(redis, keys, one(), one(), one()) == [Verdict.ACCEPTED, Verdict.ACCEPTED, verdict]
    before = await redis.hgetall(keys.limits(ANN))
    names = sorted(await redis.keys("*"))
    assert await verdicts(redis, keys, one()) == [verdict]
    assert await redis.hgetall(keys.limits(ANN)) == before
    assert sorted(await redis.keys("*")) == names
    await is_exact(redis, keys, ANN)


async def test_a_publish_that_comes_twice_is_charged_once(redis: Redis, keys: Keys) -> None:
    """As when the client library sends it again, since the connection was lost before the answer came."""
    again = group(["a", "b"], PER_HOUR, cost_us=5)
    assert await verdicts(redis, keys, again) == [Verdict.ACCEPTED]
    before = await redis.hgetall(keys.limits(ANN))
    assert await verdicts(redis, keys, again) == [Verdict.ACCEPTED]
    assert await redis.hgetall(keys.limits(ANN)) == before


async def test_an_idempotency_key_that_is_known_costs_nothing(redis: Redis, keys: Keys) -> None:
    def repeated() -> Group:
        batch = new_batch(1)
        new = new_request("a")._replace(principal=ANN, id=read_batch(batch).ids()[0])
        return Group([new], "key", "fingerprint", batch, PER_HOUR)

    first = repeated()
    ((verdict, earlier, _),) = await publish(redis, keys, first)
    assert (verdict, earlier) == (Verdict.ACCEPTED, ())
    before = await redis.hgetall(keys.limits(ANN))
    (second,) = await publish(redis, keys, repeated())
    assert (second.verdict, list(second.earlier)) == (Verdict.ACCEPTED, [first.requests[0].id])
    assert await redis.hgetall(keys.limits(ANN)) == before


async def test_who_has_no_limits_is_not_counted(redis: Redis, keys: Keys) -> None:
    assert await verdicts(redis, keys, group(["a"], None, ""), group(["b"], None), group(["c"], PER_HOUR, BOB)) == [
        *(Verdict.ACCEPTED, Verdict.ACCEPTED, Verdict.ACCEPTED)
    ]
    assert not await redis.exists(keys.limits(""), keys.limits(ANN))
    await end_all(redis, keys)
    assert not await redis.exists(keys.limits(""), keys.limits(ANN))
    assert await kept(redis, keys, BOB) == (0, 0)


async def end_all(redis: Redis, keys: Keys, compute_us: int = 0) -> None:
    worker = stream(redis, keys, "w1")
    await worker.join()
    deliveries = (await worker.read(100, 10)).deliveries
    outcome = Outcome(Status.SUCCEEDED, b"{}", tokens=3, compute_us=compute_us)
    assert all(await worker.complete([Completed(each, decode_request(each.fields), outcome) for each in deliveries]))


async def test_what_was_reserved_is_settled_once_with_what_was_used(redis: Redis, keys: Keys) -> None:
    limits = CallerLimits(compute_ms=Rate(100, 100.0))  # a ms comes back in a second
    await publish(redis, keys, group(["a", "b"], limits, cost_us=10_000))
    reserved = float(await redis.hget(keys.limits(ANN), "compute") or 0)
    worker = stream(redis, keys, "w1")
    await worker.join()
    first, second = (await worker.read(2, 10)).deliveries
    request = decode_request(first.fields)
    slow = Completed(first, request, Outcome(Status.SUCCEEDED, b"{}", compute_us=15_000))
    assert await worker.complete([slow]) == [True]
    assert await worker.complete([slow]) == [False]
    assert float(await redis.hget(keys.limits(ANN), "compute") or 0) == pytest.approx(reserved + 5000, abs=0.01)
    never = Completed(second, decode_request(second.fields), Outcome(Status.EXPIRED))
    assert await worker.complete([never]) == [True]
    assert float(await redis.hget(keys.limits(ANN), "compute") or 0) == pytest.approx(reserved - 5000, abs=0.01)
    await is_exact(redis, keys, ANN)


async def test_a_dead_letter_keeps_its_charge_and_a_replay_is_charged_again(redis: Redis, keys: Keys) -> None:
    limits = CallerLimits(compute_ms=Rate(100, 100.0))
    await publish(redis, keys, group(["a"], limits, cost_us=10_000))
    reserved = float(await redis.hget(keys.limits(ANN), "compute") or 0)
    worker, dead = stream(redis, keys, "w1"), DeadLetters(shard_of("gateway", redis, keys))
    await worker.join()
    (delivery,) = (await worker.read(1, 10)).deliveries
    for _ in range(2):
        await worker.dead_letter(delivery, "max_deliveries", "why")
    assert await kept(redis, keys) == (0, 0)
    assert float(await redis.hget(keys.limits(ANN), "compute") or 0) == pytest.approx(reserved, abs=0.01)
    (letter,) = await dead.page(None, 10)
    assert await dead.replay(letter, 60_000, 5) == 1
    await is_exact(redis, keys, ANN)
    assert (await kept(redis, keys))[0] == 1
    assert float(await redis.hget(keys.limits(ANN), "compute") or 0) == pytest.approx(reserved + 10_000, abs=0.01)
    await end_all(redis, keys)
    assert await kept(redis, keys) == (0, 0)


async def test_what_nobody_changes_is_forgotten_only_after_the_longest_wait(redis: Redis, keys: Keys) -> None:
    await publish(redis, keys, group(["a"], PER_HOUR))
    assert await redis.pttl(keys.limits(ANN)) > 86_400_000
    await redis.delete(keys.limits(ANN))
    await end_all(redis, keys, compute_us=5)  # what it would get back is gone
    assert not await redis.exists(keys.limits(ANN))
