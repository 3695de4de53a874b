"""The events of one prediction: state, how far it is, what is written, the result; who may see them, and how long."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest
from aiohttp import ClientSession, TCPConnector
from pydantic import SecretStr
from redis.asyncio import Redis

from gateway.api import events
from gateway.http.context import DRAIN, KEY_ADMIN
from shared.contract.keys import Keys
from shared.contract.messages import Outcome, Status
from shared.contract.progress import Progress
from shared.contract.queues import Priority
from shared.streams.version_streams import VersionStreams
from tests.access import shard_of
from tests.gateways import (
    Client,
    HandWorker,
    StartGateway,
    Taken,
    application_of,
    persist_everything,
    succeeded,
    waiters_of,
)
from tests.round_trips import RoundTrips
from tests.sse import listening
from tests.tokens import by
from tests.waiting import eventually

PREDICTIONS = "/api/v1/predictions"


@pytest.fixture
def lane(redis: Redis, keys: Keys) -> VersionStreams:
    """What a worker tells by."""
    return VersionStreams(shard_of("inference_worker", redis, keys), "echo", "2.0.0", "w1")


async def submit(gateway: Client, headers: dict[str, str] | None = None) -> str:
    body = {"model": "echo", "text": "hello"}
    async with gateway.post("/api/v1/predict?wait=0", json=body, headers=headers) as answer:
        return str((await answer.json())["prediction_id"])


def path_of(prediction_id: str) -> str:
    return f"{PREDICTIONS}/{prediction_id}/events"


async def begun(gateway: Client, worker: HandWorker) -> tuple[str, list[Taken]]:
    """A prediction that a worker has read."""
    prediction_id = await submit(gateway)
    return prediction_id, await worker.take()


async def test_a_stream_tells_the_state_what_is_written_and_the_result_and_ends(
    gateway: Client, worker: HandWorker, lane: VersionStreams
) -> None:
    prediction_id, taken = await begun(gateway, worker)
    async with listening(gateway, path_of(prediction_id)) as stream:
        state = await stream.next()
        assert state is not None and (state.event, state.number) == ("state", 0)
        assert state.body["prediction_id"] == prediction_id and state.body["status"] in ("queued", "running")
        assert stream.answer.headers["Cache-Control"] == "no-store"
        assert await lane.tell({prediction_id: Progress(0.25, "It was ")})
        assert (await stream.until("progress")).body == {"progress": 0.25}
        assert await stream.next() == ("token", {"text": "It was "}, 7)
        await lane.tell({prediction_id: Progress(None, "It was Paris,\nünd", 0)})
        assert (await stream.until("token"))[1:] == ({"text": "Paris,\nünd"}, 17)
        await worker.finish(taken, succeeded({"text": "It was Paris,\nünd so on."}))
        token, result = await stream.rest()
        assert token == ("token", {"text": " so on."}, 24)
        assert (result.event, result.body["status"], result.number) == ("result", "succeeded", 24)
        async with gateway.get(f"{PREDICTIONS}/{prediction_id}") as answer:
            read = await answer.json()
        assert result.body == read
    assert waiters_of(gateway).count == 0


async def test_who_was_cut_off_gets_the_rest_from_any_gateway(
    start_gateway: StartGateway, worker: HandWorker, lane: VersionStreams
) -> None:
    first, second = await start_gateway(), await start_gateway()
    prediction_id, taken = await begun(first, worker)
    async with listening(first, path_of(prediction_id)) as stream:
        await stream.until("state")
        await lane.tell({prediction_id: Progress(text="one two")})
        heard = await stream.until("token")
    await lane.tell({prediction_id: Progress(text="one two three")})  # while nobody hears it
    async with listening(second, path_of(prediction_id), {"Last-Event-ID": str(heard.number)}) as stream:
        assert (await stream.next() or heard).event == "state"
        await lane.tell({prediction_id: Progress(text="one two three four")})
        assert await stream.until("token") == ("token", {"text": " three four"}, 18)
    await worker.finish(taken, succeeded({"text": "one two three four five"}))
    async with listening(second, path_of(prediction_id), {"Last-Event-ID": "18"}) as stream:
        token, result = await stream.rest()
        assert (token.body, result.event) == ({"text": " five"}, "result")


@pytest.mark.parametrize("last", ["", "-1", "x", "١", "9" * 400])
async def test_a_number_that_is_none_is_ignored(gateway: Client, worker: HandWorker, last: str) -> None:
    prediction_id = await submit(gateway)
    await worker.serve_one(succeeded({"text": "all of it"}))
    async with listening(gateway, path_of(prediction_id), {"Last-Event-ID": last}) as stream:
        assert [each.event for each in await stream.rest()] == ["result"]


async def test_a_text_that_began_otherwise_is_not_added_to(
    gateway: Client, worker: HandWorker, lane: VersionStreams
) -> None:
    prediction_id, taken = await begun(gateway, worker)
    async with listening(gateway, path_of(prediction_id)) as stream:
        await stream.until("state")
        await lane.tell({prediction_id: Progress(text="a first try")})
        await stream.until("token")
        await worker.finish(taken, succeeded({"text": "something else entirely"}))
        assert [each.event for each in await stream.rest() if each.event != "state"] == ["result"]


async def test_what_is_finished_stored_failed_or_unknown(
    gateway: Client, worker: HandWorker, redis: Redis, keys: Keys, database_url: str
) -> None:
    ids = [await submit(gateway) for _ in range(2)]
    await worker.finish(await worker.take(), Outcome(Status.FAILED, error="no good"))
    await worker.serve_one()
    for _ in range(2):
        heard = []
        for each in ids:
            async with listening(gateway, path_of(each)) as stream:
                heard += await stream.rest()
        assert [(each.event, each.body["status"]) for each in heard] == [("result", "failed"), ("result", "succeeded")]
        await persist_everything(redis, keys, database_url)
    for unknown in ("00000000-0000-7000-8000-000000000000", "x"):
        async with gateway.get(path_of(unknown)) as answer:
            assert answer.status == 404 and answer.content_type == "application/problem+json"
    async with gateway.get(path_of(ids[0]), params={"wait": "1"}) as answer:
        assert answer.status == 422
    async with gateway.head(path_of(await submit(gateway))) as answer:
        assert answer.status == 200 and answer.content_type == "text/event-stream"


async def test_the_result_is_what_get_says_wherever_it_is_read_from(
    gateway: Client, redis: Redis, keys: Keys, database_url: str
) -> None:
    worker = HandWorker(redis, keys, priority=Priority.BATCH)
    asked = {"model": "echo", "text": "hello", "priority": "batch", "tags": {"team": "a"}}
    async with gateway.post("/api/v1/predict?wait=0", json=asked) as answer:
        prediction_id = (await answer.json())["prediction_id"]
    path, said = f"{PREDICTIONS}/{prediction_id}", []
    async with listening(gateway, path_of(prediction_id)) as stream:
        await stream.until("state")
        await worker.serve_one(succeeded({"label": "A", "scores": {"A": 0.9, "longer": 0.1}}))
        said.append((await stream.until("result")).body)  # after a hint
    for store in ("Redis", "Postgres"):
        async with listening(gateway, path_of(prediction_id)) as stream:
            said.append((await stream.until("result")).body)
        async with gateway.get(path) as answer:
            said.append(await answer.json())
        assert said[-1]["stored"] is (store == "Postgres")
        await persist_everything(redis, keys, database_url)
    assert [{**each, "stored": True} for each in said] == [said[-1]] * 5
    assert {"input", "tags", "priority", "completed_at", "queue_time_ms", "attempt"} <= said[-1].keys()


async def test_a_lost_hint_costs_time_not_the_result(
    start_gateway: StartGateway, worker: HandWorker, redis: Redis, keys: Keys
) -> None:
    gateway = await start_gateway(recheck_interval_s=0.1)
    prediction_id, taken = await begun(gateway, worker)
    async with listening(gateway, path_of(prediction_id)) as stream:
        await stream.until("state")
        await redis.hset(keys.prediction(prediction_id), "waiters", "")
        await worker.finish(taken)
        assert (await stream.until("result")).body["status"] == "succeeded"


async def test_one_that_is_deleted_ends_the_stream(start_gateway: StartGateway, redis: Redis, keys: Keys) -> None:
    gateway = await start_gateway(recheck_interval_s=0.1)
    prediction_id = await submit(gateway)
    async with listening(gateway, path_of(prediction_id)) as stream:
        await stream.until("state")
        await redis.delete(keys.prediction(prediction_id))
        assert "result" not in [each.event for each in await stream.rest()]


async def test_nobody_is_told_what_nobody_listens_to(gateway: Client, worker: HandWorker, lane: VersionStreams) -> None:
    asked = asyncio.create_task(gateway.post("/api/v1/predict", json={"model": "echo", "text": "hello"}))
    taken = await worker.take()
    assert not await lane.tell({taken[0][1].id: Progress(0.5)})  # who waits for the answer wants nothing else
    async with listening(gateway, path_of(taken[0][1].id)) as stream:
        await stream.until("state")
        assert await lane.tell({taken[0][1].id: Progress(0.5)})
    await worker.finish(taken)
    assert (await asked).status == 200
    assert not await lane.tell({"01a20d70-d5e6-7383-90ab-972da9b28bd4": Progress(0.5)})


async def test_a_beat_comes_while_nothing_happens(gateway: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "BEAT_S", 0.05)
    async with listening(gateway, path_of(await submit(gateway))) as stream:
        heard = [await stream.next() for _ in range(5)]
        assert [each and each.event for each in heard[:3]] == ["state", "", "state"]


async def test_streams_end_when_the_gateway_stops(gateway: Client) -> None:
    async with listening(gateway, path_of(await submit(gateway))) as stream:
        await stream.until("state")
        app = application_of(gateway)
        await app[DRAIN].close(app)
        assert await stream.next() is None


async def test_a_stream_is_a_wait_and_leaves_nothing_behind(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(max_in_flight=1)
    prediction_id = await submit(gateway)
    async with listening(gateway, path_of(prediction_id)) as stream:
        await stream.until("state")
        async with gateway.get(path_of(prediction_id)) as refused:
            assert refused.status == 503 and "limit is 1" in (await refused.json())["detail"]
        stream.answer.close()
        await eventually(lambda: waiters_of(gateway).count == 0, "the client's leaving is noticed")


async def test_a_stream_does_not_outlive_the_key_it_was_opened_with(
    start_gateway: StartGateway, worker: HandWorker, lane: VersionStreams
) -> None:
    gateway = await start_gateway(auth="required", api_key_pepper=SecretStr("pepper" * 6))
    admin = (await application_of(gateway)[KEY_ADMIN].create_first_admin("root")).text
    prediction_id = await submit(gateway, by(admin))
    body = {"name": "reader", "scopes": ["read:all"]}
    async with gateway.post("/api/v1/api-keys", json=body, headers=by(admin)) as answer:
        key = await answer.json()
    async with gateway.get(path_of(prediction_id)) as answer:
        assert answer.status == 401
    async with listening(gateway, path_of(prediction_id), by(key["key"])) as stream:
        await stream.until("state")
        async with gateway.delete(f"/api/v1/api-keys/{key['id']}", headers=by(admin)) as answer:
            assert answer.status == 204
        await lane.tell({prediction_id: Progress(0.5)})
        assert await stream.next() is None


async def test_another_callers_prediction_is_not_there(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(auth="required", api_key_pepper=SecretStr("pepper" * 6))
    admin = (await application_of(gateway)[KEY_ADMIN].create_first_admin("root")).text
    async with gateway.post(
        "/api/v1/api-keys", json={"name": "other", "scopes": ["predict", "read"]}, headers=by(admin)
    ) as answer:
        other = (await answer.json())["key"]
    prediction_id = await submit(gateway, by(admin))
    async with gateway.get(path_of(prediction_id), headers=by(other)) as answer:
        assert answer.status == 404


async def test_whatever_number_of_streams_is_open_redis_is_looked_at_once_a_second(
    gateway: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with gateway.post("/api/v1/predict/batch?wait=0", json={"model": "echo", "texts": ["hello"] * 150}) as answer:
        paths = [path_of(each["prediction_id"]) for each in (await answer.json())["items"]]
    paths += ["/api/v1/events"] * 50
    async with AsyncExitStack() as streams, ClientSession(connector=TCPConnector(limit=0)) as session:
        for path in paths:
            answer = await streams.enter_async_context(session.get(gateway.make_url(path)))
            assert (await answer.content.readline()).startswith(b"event: ")
        trips = RoundTrips(monkeypatch, "gateway")
        await asyncio.sleep(4)
    anyway = {"serving", "throughput", "models", "experiments", "expiry", "dead letters", "stored models", "hints"}
    of_streams = {name: count for name, count in trips.by_task.items() if name not in anyway}
    assert 2 <= of_streams.pop("recheck") <= 4  # of all that are watched
    assert 1 <= sum(of_streams.values()) <= 2, trips.by_task  # of the queues, for all consoles
