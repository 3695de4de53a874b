"""States and hints as a gateway reads them."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Any
from unittest.mock import AsyncMock, Mock

import pytest
from prometheus_client import REGISTRY

from shared.contract.errors import StoreUnavailable
from shared.contract.hints import Hint
from shared.contract.keys import Keys
from shared.contract.messages import Outcome, Status
from shared.streams import subscription
from shared.streams.prediction_state import PredictionStates, Queued
from shared.streams.publishing import Group, Publisher
from shared.streams.shard import Shard
from tests.access import shard_of
from tests.round_trips import RoundTrips
from tests.streams import LIMITS, MODEL, VERSION, Redis, finished, new_request, publish, spoil, stream


async def finish_all(redis: Redis, keys: Keys, count: int) -> None:
    """Finish so many requests."""
    worker = stream(redis, keys, "w1")
    await worker.join()
    await worker.complete([finished(each) for each in (await worker.read(count, 10)).deliveries])


async def test_hints_come_as_they_are_told_and_quiet_is_told_too(redis: Redis, keys: Keys) -> None:
    (prediction_id,) = await publish(redis, keys, "a", gateway="gw", wait=True)
    listening: Any = PredictionStates(shard_of("gateway", redis, keys), "gw").hints()
    async with asyncio.timeout(60), aclosing(listening) as hints:
        assert await anext(hints) is None  # it listens
        await finish_all(redis, keys, 1)
        told = None
        while told is None:
            told = await anext(hints)
        outcome = Outcome(Status.SUCCEEDED, b'{"label":"A"}', 0.5, 1, 2, worker="w")
        assert told == [Hint(prediction_id, 0, MODEL, VERSION, outcome)]
        assert await anext(hints) is None


class Channel:
    """A connection that listens, by hand: what it hears, and a clock that goes on while it hears nothing."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *heard: str | None) -> None:
        self.now_s = 7000.0
        self.pings = 0
        self.channels: list[str] = []
        self._heard = iter(heard)
        redis = Mock()
        redis.pubsub.return_value.__aenter__ = AsyncMock(return_value=self)
        redis.pubsub.return_value.__aexit__ = AsyncMock(return_value=None)
        self.states = PredictionStates(Shard(redis, Keys("p:")), "gw")
        monkeypatch.setattr(subscription, "asyncio", Mock(get_running_loop=lambda: Mock(time=lambda: self.now_s)))

    async def subscribe(self, channel: str) -> None:
        self.channels.append(channel)

    async def ping(self) -> None:
        self.pings += 1

    async def get_message(self, *, timeout: float) -> dict[str, Any] | None:
        kind = next(self._heard)
        if kind is None:
            self.now_s += timeout
            return None
        return {"type": kind, "data": b"id\x1eX"}

    async def all(self) -> list[list[Hint] | None]:
        """What is told, until nothing more is to be heard."""
        told = []
        try:
            async for each in self.states.hints():
                told.append(each)
        except RuntimeError as error:
            assert isinstance(error.__cause__, StopIteration)
        return told


async def test_nothing_is_told_before_it_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    channel = Channel(monkeypatch, None, "subscribe", None, "message", "pong", None)
    assert await channel.all() == [None, None, [Hint("X")], None, None]
    assert channel.channels == ["p:notify:gw"]


async def test_a_quiet_connection_is_asked_for_a_sign_of_life(monkeypatch: pytest.MonkeyPatch) -> None:
    quiet = [None] * 5  # of a quarter of a second
    channel = Channel(monkeypatch, "subscribe", *quiet, "pong", *quiet, "pong", *quiet[1:])
    assert len(await channel.all()) == 17
    assert channel.pings == 2


async def test_a_connection_that_gives_none_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    channel = Channel(monkeypatch, "subscribe", *[None] * 100)
    with pytest.raises(StoreUnavailable, match="no sign of life"):
        await channel.all()
    assert channel.pings == 1 and channel.now_s < 7005


async def test_a_result_that_cannot_be_read_is_not_final(redis: Redis, keys: Keys) -> None:
    """The persister will store it as failed."""
    (prediction_id,) = await publish(redis, keys, "a")
    await finish_all(redis, keys, 1)
    await spoil(redis, keys, prediction_id, {b"status": b"?"})
    labels = {"component": "gateway", "kind": "bad_status"}
    before = REGISTRY.get_sample_value("millstream_errors_total", labels) or 0
    states = PredictionStates(shard_of("gateway", redis, keys), "gw")
    assert await states.look(prediction_id) == Queued(0, "")
    assert await states.look_all([prediction_id]) == {prediction_id: Queued(0, "")}
    assert REGISTRY.get_sample_value("millstream_errors_total", labels) == before + 2


@pytest.mark.parametrize(("principal", "said"), [(b"me", "me"), (b"m\xff", "m\ufffd"), (None, "")])
async def test_a_result_that_cannot_be_read_tells_who_asked_all_the_same(
    redis: Redis, keys: Keys, principal: bytes | None, said: str
) -> None:
    (prediction_id,) = await publish(redis, keys, "a")
    await finish_all(redis, keys, 1)
    await spoil(redis, keys, prediction_id, {b"status": b"?", b"principal": principal})
    assert await PredictionStates(shard_of("gateway", redis, keys), "gw").look(prediction_id) == Queued(0, "", said)


async def test_a_state_tells_its_model_and_who_asked(redis: Redis, keys: Keys) -> None:
    request = new_request()._replace(principal="me")
    await Publisher(shard_of("gateway", redis, keys), "gw", LIMITS).publish(MODEL, VERSION, [Group([request])])
    state = await PredictionStates(shard_of("gateway", redis, keys), "gw").look(request.id)
    assert state == Queued(0, f"{MODEL}:{VERSION}", "me")
    assert isinstance(state, Queued) and (state.model, Queued(0).model) == (MODEL, "")
    assert (Queued(0).label, Queued(0).principal) == ("", "")


async def test_what_is_no_url_is_no_callback(redis: Redis, keys: Keys) -> None:
    (prediction_id,) = await publish(redis, keys, "a")
    states = PredictionStates(shard_of("gateway", redis, keys), "gw")
    for url, told in ((b"https://a.b/x", "https://a.b/x"), (b"https://[", ""), (b"\xff", ""), (b"a" * 2001, "")):
        await redis.hset(keys.prediction(prediction_id), "callback_url", url)
        state = await states.look(prediction_id)
        assert isinstance(state, Queued) and state.callback_url == told


async def test_looking_at_many_asks_for_hints_of_each(redis: Redis, keys: Keys) -> None:
    ids = await publish(redis, keys, "a", "b", gateway="other")
    await PredictionStates(shard_of("gateway", redis, keys), "gw").look_all(ids)
    assert [await redis.hget(keys.prediction(each), "waiters") for each in ids] == [b"gw"] * 2


async def test_a_look_at_many_is_one_round_trip_and_reads_no_more_results_than_fit(
    redis: Redis, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    states = PredictionStates(shard_of("gateway", redis, keys), "gw")
    ids = await publish(redis, keys, *map(str, range(150)))
    await redis.script_flush()
    waiting = Queued(0, f"{MODEL}:{VERSION}")
    assert await states.look_all(ids) == dict.fromkeys(ids, waiting)  # and loads its script
    trips = RoundTrips(monkeypatch, "gateway")
    assert await states.look_all([*ids, "gone"], ids[:2]) == {**dict.fromkeys(ids, waiting), "gone": None}
    assert trips.count == 1
    await finish_all(redis, keys, 120)
    found = await states.look_all(ids, most_bytes=2)
    assert list(found) == [ids[0], ids[100], *ids[120:]]  # of each hundred one, and what has not finished
    assert len(await states.look_all(ids)) == 150
