"""The Python client against real services, both faces of it."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Iterator

import asyncpg
import pytest

from millstream_client import (
    AsyncMillstream,
    Conflict,
    InvalidRequest,
    Millstream,
    NotFinished,
    NotFound,
    Prediction,
    PredictionFailed,
    Unfinished,
    Unreachable,
)
from scripts.stack.ports import free_port
from tests.pipelines import Pipeline
from tests.processes import wait_until
from tests.waiting import eventually


@pytest.fixture
def client(pipeline: Pipeline) -> Iterator[Millstream]:
    with Millstream(pipeline.url) as client:
        yield client


@pytest.fixture
async def aclient(pipeline: Pipeline) -> AsyncIterator[AsyncMillstream]:
    async with AsyncMillstream(pipeline.url) as client:
        yield client


def test_predict(client: Millstream) -> None:
    predicted = client.predict("echo", "Grüße 👋")
    assert predicted.result == {"echo": "Grüße 👋", "reversed": "👋 eßürG"}
    assert (predicted.model, predicted.version, predicted.status) == ("echo", "1.0.0", "succeeded")
    assert predicted.created_at is not None and predicted.raw["prediction_id"] == predicted.prediction_id


async def test_predict_asynchronously(aclient: AsyncMillstream) -> None:
    assert (await aclient.predict("echo", "abc")).result == {"echo": "abc", "reversed": "cba"}


def test_any_json_and_options(client: Millstream) -> None:
    tree = {"length": 1, "branches": [{"length": 2}]}
    assert client.predict("trees", tree, options={"factor": 3}).result == {"branches": 3}


def test_a_model_that_fails_is_told(client: Millstream) -> None:
    with pytest.raises(PredictionFailed, match="cannot read 'raise'") as failed:
        client.predict("echo", "raise")
    assert failed.value.status == "failed" and failed.value.prediction_id


def test_what_is_wrong_with_a_request_is_told_with_its_place(client: Millstream) -> None:
    with pytest.raises(InvalidRequest) as refused:
        client.predict("sentiment-analysis", "x" * 2001)
    assert refused.value.errors[0].place == ("body", "text")
    assert "2000" in refused.value.errors[0].message


def test_a_model_that_is_not_there_is_named(client: Millstream) -> None:
    with pytest.raises(NotFound, match="there is no model 'nope'; there are: sentiment-analysis") as refused:
        client.predict("nope", "x")
    assert (refused.value.status, refused.value.kind) == (404, "unknown-model")
    assert refused.value.url == f"{client.connection.url}/api/v1/predict"


def test_one_key_is_one_prediction(client: Millstream) -> None:
    once, again = (client.predict("echo", "a", idempotency_key="a-key") for _ in range(2))
    assert once.prediction_id == again.prediction_id
    with pytest.raises(Conflict, match="a-key"):
        client.predict("echo", "b", idempotency_key="a-key")


def test_many_are_answered_in_order_and_taken_as_they_are_needed(client: Millstream) -> None:
    taken = 0

    def endless() -> Iterator[str]:
        nonlocal taken
        for taken in itertools.count(1):
            yield f"text {taken}"

    found = client.predict_many("echo", endless(), batch_size=5, concurrency=3)
    first = [each.result["echo"] for each in itertools.islice(found, 23) if each.result]
    found.close()  # type: ignore[attr-defined]
    assert first == [f"text {number}" for number in range(1, 24)]
    assert taken <= 23 + 5 * (3 + 1) + 1


def test_one_bad_input_ends_no_other(client: Millstream) -> None:
    texts = ["a", "raise", "", "x" * 2001, "b", "\ud800"]
    found = list(client.predict_many("sentiment-analysis", texts))
    assert [each.status for each in found] == ["succeeded"] * 2 + ["refused"] * 2 + ["succeeded", "refused"]
    assert "2000" in str(found[3].error) and found[3].prediction_id == ""
    found = list(client.predict_many("echo", texts[:2]))
    assert [each.status for each in found] == ["succeeded", "failed"]


def test_more_at_once_than_the_server_takes_are_split(client: Millstream) -> None:
    found = list(client.predict_many("echo", map(str, range(300)), batch_size=300))
    assert [each.result and each.result["echo"] for each in found] == [str(number) for number in range(300)]


async def test_many_asynchronously_from_an_asynchronous_source(aclient: AsyncMillstream) -> None:
    async def source() -> AsyncIterator[str]:
        for number in range(100):
            yield str(number)

    found = [each.result async for each in aclient.predict_many("echo", source(), batch_size=8)]
    assert [each and each["echo"] for each in found] == [str(number) for number in range(100)]


def test_a_job_is_followed_to_its_end(client: Millstream) -> None:
    job = client.submit("echo", "slow")
    events = list(job.events())
    assert events[-1].kind == "result" and {each.kind for each in events[:-1]} <= {"state", "progress", "token"}
    assert events[-1].prediction and events[-1].prediction.succeeded
    assert job.wait().prediction_id == job.id


async def test_a_job_is_followed_asynchronously(aclient: AsyncMillstream) -> None:
    job = await aclient.submit("echo", "slow")
    kinds = [event.kind async for event in job.events()]
    assert kinds[-1] == "result"
    assert (await job.wait()).succeeded and isinstance(await job.read(), Prediction)


def test_what_waits_is_cancelled_and_what_is_finished_is_not(client: Millstream) -> None:
    jobs = [client.submit("echo", "slow") for _ in range(3)]
    state = jobs[-1].read()
    assert isinstance(state, Unfinished) and (state.model, state.queue.depth) == ("echo", 3)
    cancelled = jobs[-1].cancel()
    assert isinstance(cancelled, Prediction) and cancelled.status == "cancelled"
    with pytest.raises(PredictionFailed, match="cancelled"):
        jobs[-1].wait()
    assert jobs[0].wait().succeeded
    with pytest.raises(Conflict):
        jobs[0].cancel()


async def test_events_go_on_after_the_gateway_was_killed(pipeline: Pipeline) -> None:
    mortal = pipeline.start("gateway")
    kinds: list[str] = []
    async with AsyncMillstream(mortal.url, patience_s=60) as client:
        job = await client.submit("echo", "slow")
        async for event in job.events():
            kinds.append(event.kind)
            if len(kinds) == 1:
                mortal.kill()
                pipeline.start("gateway", ready=False, GATEWAY_PORT=mortal.url.rpartition(":")[2])
    assert kinds[0] == "state" and kinds[-1] == "result" and "result" not in kinds[:-1]


def test_the_server_tells_its_queues_and_workers(client: Millstream) -> None:
    events = client.events()
    seen = {event.kind: event.data for event in itertools.islice(events, 3)}
    events.close()  # type: ignore[attr-defined]
    assert {"queues", "workers"} <= set(seen)
    assert {each["model"] for each in seen["queues"]["queues"]} == {"sentiment-analysis", "echo", "trees"}


def test_a_wait_that_ends_says_which_prediction_goes_on(client: Millstream) -> None:
    with pytest.raises(NotFinished) as early:
        client.predict("echo", "slow", timeout_s=0.05)
    assert isinstance(client.read(early.value.prediction_id), Unfinished)
    assert client.wait(early.value.prediction_id).succeeded


def test_history_is_read_over_all_its_pages(client: Millstream) -> None:
    count = 130  # two pages
    sent = [each.prediction_id for each in client.predict_many("trees", [{"length": 1}] * count)]

    def stored() -> bool:
        return len(list(client.predictions(model="trees", status="succeeded"))) >= count

    wait_until(stored, "all are stored")
    found = [each.prediction_id for each in client.predictions(model="trees", status="succeeded")]
    assert set(sent) <= set(found) and len(set(found)) == len(found)


def test_models(client: Millstream) -> None:
    assert [each.name for each in client.models()] == ["sentiment-analysis", "echo", "trees"]
    model = client.model("sentiment-analysis")
    assert (model.default, [each.version for each in model.versions]) == ("1.1.0", ["1.0.0", "1.1.0"])
    assert model.versions[1].limits["chars"] == 2000


def test_feedback(client: Millstream) -> None:
    predicted = client.predict("sentiment-analysis", "good")
    client.feedback(predicted.prediction_id, correct=True)
    with pytest.raises(InvalidRequest, match="either"):
        client.feedback(predicted.prediction_id)


def test_dead_letters(client: Millstream) -> None:
    assert list(client.dead_letters()) == []
    with pytest.raises(NotFound, match="dead letter"):
        client.replay_dead_letter("1764000000000-0")
    with pytest.raises(NotFound):
        client.delete_dead_letter("1764000000000-0")


def test_nobody_there_is_told_after_patience() -> None:
    port = free_port()
    with Millstream(f"http://127.0.0.1:{port}", patience_s=0.5) as client:
        with pytest.raises(Unreachable, match=rf"127.0.0.1:{port}/api/v1/predict: cannot be reached \(.*refused"):
            client.predict("echo", "a")


async def test_a_gateway_that_dies_under_load_loses_and_doubles_nothing(pipeline: Pipeline) -> None:
    mortal = pipeline.start("gateway")
    texts = [f"once {number}" for number in range(400)]
    found: list[Prediction] = []
    async with AsyncMillstream(mortal.url, patience_s=60) as client:
        async for each in client.predict_many("echo", texts, batch_size=4):
            found.append(each)
            if len(found) == 40:
                mortal.kill()
                pipeline.start("gateway", ready=False, GATEWAY_PORT=mortal.url.rpartition(":")[2])
    assert [each.result and each.result["echo"] for each in found] == texts
    assert len({each.prediction_id for each in found}) == 400
    stored = "SELECT count(*) FROM predictions WHERE input_data->>'text' LIKE 'once %'"
    database = await asyncpg.connect(pipeline.database_url)

    async def all_stored() -> bool:
        return bool(await database.fetchval(stored) == 400)

    await eventually(all_stored, "all are stored, each once")
    await database.close()
