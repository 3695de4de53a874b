"""Experiments: every gateway gives a subject the same version, and the results say what is stored."""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import asyncpg
import numpy
import orjson
import pytest
from redis.asyncio import Redis

from gateway.api.experiment_schemas import ExperimentResults
from gateway.control.experiments import results as results_module
from gateway.control.experiments import statistics
from gateway.control.experiments.assignment import Arm, Experiment, Shadow, subject_id
from gateway.http.context import RESULT_COUNTER, RUNNING
from shared.contract.ids import id_time, uuid7
from shared.contract.keys import Keys
from shared.contract.messages import Outcome, Status
from shared.contract.queues import Priority
from shared.streams.result_cache import CachedResult
from tests.gateways import (
    Client,
    HandWorker,
    StartGateway,
    application_of,
    persist_everything,
    scrape,
    store,
    succeeded,
)
from tests.sse import listening
from tests.streams import new_request
from tests.waiting import eventually

EXPERIMENT = "/api/v1/models/echo/experiment"
TWO_ARMS = [{"name": "old", "version": "1.0.0", "weight": 1}, {"name": "new", "version": "2.0.0", "weight": 1}]


async def start(gateway: Client, arms: object = TWO_ARMS, shadow: object = None) -> dict[str, Any]:
    """Start an experiment with `echo`."""
    answer = await gateway.put(EXPERIMENT, json={"arms": arms, "shadow": shadow})
    assert answer.status == 200, await answer.text()
    return dict(await answer.json())


async def results(gateway: Client) -> dict[str, Any]:
    answer = await gateway.get(f"{EXPERIMENT}/results")
    assert answer.status == 200, await answer.text()
    body: dict[str, Any] = await answer.json()
    ExperimentResults.model_validate(body)
    return body


async def send(gateway: Client, subject: str | None = None, **more: object) -> str:
    """Ask for a prediction without waiting for it; returns its id."""
    body = {"model": "echo", "text": "hello", "subject": subject, **more}
    answer = await gateway.post("/api/v1/predict?wait=0", json={k: v for k, v in body.items() if v is not None})
    assert answer.status == 202, await answer.text()
    return str((await answer.json())["prediction_id"])


async def entries(redis: Redis, keys: Keys, version: str) -> list[dict[str, str]]:
    """What waits for a version."""
    found: Any = []
    for priority in Priority:
        found += await redis.xrange(keys.requests("echo", version, priority)) or []
    return [{name.decode(): value.decode() for name, value in fields.items()} for _, fields in found]


def experiment_of(body: dict[str, Any]) -> Experiment:
    return Experiment(body["experiment_id"], body["model"], tuple(Arm(**arm) for arm in body["arms"]))


# --- who gets what ---------------------------------------------------------------------------------------------------


async def test_a_subject_gets_the_same_version_from_every_gateway(
    start_gateway: StartGateway, redis: Redis, keys: Keys
) -> None:
    gateways = [await start_gateway(), await start_gateway()]
    started = await start(gateways[0])
    experiment = experiment_of(started)

    def followed() -> bool:
        order = application_of(gateways[1])[RUNNING]
        return "echo" in order._by_model

    await eventually(followed, "the other gateway knows of it")
    subjects = [f"user-{number}" for number in range(40)]
    for gateway, subject in itertools.product(gateways, subjects):
        await send(gateway, subject)
    for arm in experiment.arms:
        waiting = await entries(redis, keys, arm.version)
        expected = sorted(subject_id(each) for each in subjects if experiment.arm_of(each) == arm)
        assert sorted(each["subject_id"] for each in waiting) == sorted(expected * 2)
        assert {(each["experiment_id"], each["arm"]) for each in waiting} == {(experiment.id, arm.name)}


async def test_who_names_no_subject_is_one_by_the_request(gateway: Client, redis: Redis, keys: Keys) -> None:
    experiment = experiment_of(await start(gateway))
    for _ in range(20):
        await send(gateway)
    waiting = await entries(redis, keys, "1.0.0") + await entries(redis, keys, "2.0.0")
    assert len({each["subject_id"] for each in waiting}) == 20
    assert all(experiment.arm_of(each["subject_id"]).name == each["arm"] for each in waiting)
    answer = await gateway.post("/api/v1/predict/batch?wait=0", json={"model": "echo", "texts": ["a", "b", "c"]})
    batch = [each["prediction_id"] for each in (await answer.json())["items"]]
    waiting = await entries(redis, keys, "1.0.0") + await entries(redis, keys, "2.0.0")
    assert len({each["subject_id"] for each in waiting if each["id"] in batch}) == 1  # one request, one subject


async def test_explicit_versions_and_other_models_stay_out(gateway: Client, redis: Redis, keys: Keys) -> None:
    await start(gateway, TWO_ARMS[:1], {"version": "2.0.0", "share": 1})
    await send(gateway, "user-1", version="2.0.0")
    await send(gateway, version="1.0.0")
    named, unnamed = await entries(redis, keys, "2.0.0"), await entries(redis, keys, "1.0.0")
    assert [each.get("subject_id") for each in named + unnamed] == [subject_id("user-1"), None]
    assert not any(each.get("experiment_id") or each.get("arm") for each in named + unnamed)


async def test_a_repeat_with_an_idempotency_key_is_the_same_prediction_though_it_is_drawn_anew(
    gateway: Client, redis: Redis, keys: Keys
) -> None:
    await start(gateway, shadow={"version": "1.0.0", "share": 1})
    answers = [
        await (
            await gateway.post(
                "/api/v1/predict?wait=0", json={"model": "echo", "text": "a"}, headers={"Idempotency-Key": "k"}
            )
        ).json()
        for _ in range(12)
    ]
    assert len({each["prediction_id"] for each in answers}) == 1
    waiting = await entries(redis, keys, "1.0.0") + await entries(redis, keys, "2.0.0")
    assert len([each for each in waiting if not each.get("shadow_of")]) == 1
    await eventually(lambda: copies_published(gateway), "its copy is published")
    waiting = await entries(redis, keys, "1.0.0") + await entries(redis, keys, "2.0.0")
    assert len([each for each in waiting if each.get("shadow_of")]) == 1


def copies_published(gateway: Client) -> bool:
    return not application_of(gateway)[RUNNING]._shadowing._under_way


async def test_a_subject_is_part_of_what_a_key_stands_for(gateway: Client) -> None:
    async def post(**more: str) -> int:
        body = {"model": "echo", "text": "a", **more}
        answer = await gateway.post("/api/v1/predict?wait=0", json=body, headers={"Idempotency-Key": "k"})
        return answer.status

    assert [await post(), await post(), await post(subject="a")] == [202, 202, 409]


# --- starting and stopping -------------------------------------------------------------------------------------------


async def test_an_experiment_is_started_read_replaced_and_stopped(
    gateway: Client, redis: Redis, keys: Keys, database: asyncpg.Connection
) -> None:
    assert (await gateway.get(EXPERIMENT)).status == 404
    assert (await gateway.delete(EXPERIMENT)).status == 404
    first = await start(gateway)
    assert await start(gateway) == first  # the same goes on: a retry of a PUT starts nothing anew
    assert await (await gateway.get(EXPERIMENT)).json() == first
    second = await start(gateway, [{**TWO_ARMS[0], "weight": 9}, TWO_ARMS[1]])
    assert second["experiment_id"] != first["experiment_id"] and second["stopped_at"] is None
    assert await database.fetchval("SELECT count(*) FROM experiments WHERE stopped_at IS NULL") == 1
    assert (await gateway.delete(EXPERIMENT)).status == 204
    assert (await gateway.delete(EXPERIMENT)).status == 404
    last = await (await gateway.get(EXPERIMENT)).json()
    assert last.pop("stopped_at") is not None and last == {k: v for k, v in second.items() if k != "stopped_at"}
    await send(gateway, "user-1")
    (waiting,) = await entries(redis, keys, "2.0.0")  # the default version again
    assert "experiment_id" not in waiting or not waiting["experiment_id"]


async def test_each_change_stands_in_the_audit_log(gateway: Client, database: asyncpg.Connection) -> None:
    first = await start(gateway)
    await start(gateway)  # the same: nothing changes
    second = await start(gateway, [{**TWO_ARMS[0], "weight": 9}, TWO_ARMS[1]])
    assert (await gateway.delete(EXPERIMENT)).status == 204
    assert (await gateway.delete(EXPERIMENT)).status == 404
    rows = await database.fetch("SELECT * FROM audit_log ORDER BY number")
    one, two = ({name: each[name] for name in ("experiment_id", "arms", "shadow")} for each in (first, second))
    assert [(each["action"], each["target"]) for each in rows] == [
        ("experiment.start", "echo"),
        ("experiment.start", "echo"),
        ("experiment.stop", "echo"),
    ]
    told = [tuple(text and orjson.loads(text) for text in (each["before"], each["after"])) for each in rows]
    assert told == [(None, one), (one, two), (two, None)]
    assert {each["principal"] for each in rows} == {""}, "nobody is asked who he is"


async def test_what_cannot_be_audited_is_not_changed(gateway: Client, database: asyncpg.Connection) -> None:
    running = await start(gateway)
    await database.execute("ALTER TABLE audit_log ADD CONSTRAINT full_up CHECK (number < 2)")
    assert (await gateway.delete(EXPERIMENT)).status >= 500
    answer = await gateway.put(EXPERIMENT, json={"arms": [{**TWO_ARMS[0], "weight": 9}, TWO_ARMS[1]]})
    assert answer.status >= 500
    assert await (await gateway.get(EXPERIMENT)).json() == running


@pytest.mark.parametrize(
    ("body", "place"),
    [
        ({"arms": []}, "arms"),
        ({"arms": TWO_ARMS[:1]}, "two arms"),
        ({"arms": [TWO_ARMS[0], TWO_ARMS[0]]}, "two arms named 'old'"),
        ({"arms": [{"version": "1.0.0"}, {"version": "9.0.0"}]}, "body.arms.1.version"),
        ({"arms": [{"version": "1.0.0"}, {"version": "3.0.0"}]}, "no active version"),
        ({"arms": [{"version": "1.0.0", "weight": 0}, {"version": "2.0.0"}]}, "body.arms.0.weight"),
        ({"arms": [{"version": "1.0.0", "weight": "5"}, {"version": "2.0.0"}]}, "must be a number"),
        ({"arms": TWO_ARMS, "shadow": {"version": "1.0.0", "share": True}}, "must be a number"),
        ({"arms": [{"version": "1.0.0", "weight": 1001}, {"version": "2.0.0"}]}, "body.arms.0.weight"),
        ({"arms": [{"version": "1.0.0", "name": f"a{n}"} for n in range(11)]}, "body.arms"),
        ({"arms": [{"version": "1.0.0", "name": "a" * 41}, {"version": "2.0.0"}]}, "body.arms.0.name"),
        ({"arms": TWO_ARMS, "shadow": {"version": "1.0.0", "share": 1.1}}, "body.shadow.share"),
        ({"arms": TWO_ARMS, "shadow": {"version": "9.0.0", "share": 1}}, "body.shadow.version"),
    ],
)
async def test_what_makes_no_experiment_is_422_and_says_why(gateway: Client, body: object, place: str) -> None:
    answer = await gateway.put(EXPERIMENT, json=body)
    assert answer.status == 422 and place in (await answer.json())["detail"]


async def test_an_unknown_model_has_no_experiment(gateway: Client) -> None:
    for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/results")):
        answer = await gateway.request(method, f"/api/v1/models/nobody/experiment{path}")
        assert answer.status == 404 and "unknown-model" in await answer.text()


async def test_a_subject_has_bounds(gateway: Client) -> None:
    for subject in ("", "x" * 201, "a\0b"):
        answer = await gateway.post("/api/v1/predict?wait=0", json={"model": "echo", "text": "a", "subject": subject})
        assert answer.status == 422, subject


async def test_without_postgres_a_gateway_goes_on_with_what_it_knows(
    start_gateway: StartGateway, redis: Redis, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway = await start_gateway()
    experiment = experiment_of(await start(gateway))
    running = application_of(gateway)[RUNNING]
    nowhere = await start_gateway(database_url="postgresql://x@127.0.0.1:1/x")
    monkeypatch.setattr(running, "_store", application_of(nowhere)[RUNNING]._store)
    await redis.hincrby(keys.registry, "experiments", 1)  # something has changed, but what cannot be read
    with pytest.raises(Exception, match="postgres"):
        await running.follow()
    await send(gateway, "user-1")
    (waiting,) = await entries(redis, keys, experiment.arm_of("user-1").version)
    assert waiting["experiment_id"] == experiment.id
    await send(nowhere, "user-1")  # it never knew
    assert not (await entries(redis, keys, "2.0.0"))[-1]["experiment_id"]


# --- results ---------------------------------------------------------------------------------------------------------


async def test_a_prediction_ends_as_a_row_with_its_part(
    gateway: Client, redis: Redis, keys: Keys, database: asyncpg.Connection, database_url: str
) -> None:
    experiment = experiment_of(await start(gateway))
    prediction_id = await send(gateway, "user-1")
    arm = experiment.arm_of("user-1")
    await HandWorker(redis, keys, version=arm.version).serve_one()
    await persist_everything(redis, keys, database_url)
    row = await database.fetchrow("SELECT experiment_id, arm, subject_id, shadow_of FROM predictions")
    assert tuple(row) == (UUID(experiment.id), arm.name, subject_id("user-1"), None)
    found = await results(gateway)
    assert found["requests_examined"] == 1 and found["complete"] and found["valid"]
    (mine,) = [each for each in found["arms"] if each["name"] == arm.name]
    assert (mine["subjects"], mine["requests"], mine["failures"], mine["labels"]) == (1, 1, 0, {"GOOD": 1})
    assert mine["latency_ms"] == {"p50": 10, "p95": 10, "p99": 10} and mine["confidence"] == 0.5
    assert (await (await gateway.get(f"/api/v1/predictions/{prediction_id}")).json())["version"] == arm.version


_INSERT = (
    "INSERT INTO predictions (id, model_version_id, input_data, output_data, confidence, processing_time_ms, "
    "queue_time_ms, created_at, status, completed_at, experiment_id, arm, subject_id, shadow_of, cached) "
    "SELECT $1, v.id, '{}', $2, $3, $4, $5, $6, $7, $6, $8, $9, $10, $11, $12 FROM model_versions v JOIN models m "
    "ON m.id = v.model_id WHERE m.name = 'echo' AND v.version = $13"
)


async def fill(database: asyncpg.Connection, experiment: Experiment, count: int) -> list[UUID]:
    """Store requests of 120 subjects, of which some send many; returns their ids."""
    chance, ids, rows = random.Random(7), [], []
    start_ms = time.time_ns() // 1_000_000
    for number in range(count):
        subject = f"user-{int(chance.paretovariate(0.7)) % 120}"
        arm = experiment.arm_of(subject)
        ok, label = chance.random() < 0.9, chance.choice("ABC")
        ids.append(UUID(uuid7(start_ms + number, chance.getrandbits(62))))
        outcome = (orjson.dumps({"label": label}).decode(), chance.random()) if ok else (None, None)
        times = chance.randrange(1000), chance.randrange(1000)
        status = "succeeded" if ok else "failed"
        part = (UUID(experiment.id), arm.name, subject_id(subject), None, False)
        rows.append((ids[-1], *outcome, *times, id_time(str(ids[-1])), status, *part, arm.version))
    await database.executemany(_INSERT, rows)
    judged = [(each, chance.random() < 0.6 or None, None) for each in ids[::3]]
    said = [(each, right, None if right else chance.choice("ABC")) for each, right, _ in judged]
    await database.executemany("INSERT INTO feedback (prediction_id, correct, label) VALUES ($1, $2, $3)", said)
    return ids


async def test_results_agree_with_sql(gateway: Client, database: asyncpg.Connection) -> None:
    experiment = experiment_of(await start(gateway))
    ids = await fill(database, experiment, 2000)
    await store(database, 50, "echo", "1.0.0")  # of no experiment
    await database.execute("UPDATE predictions SET cached = true WHERE id = ANY($1)", ids[:10])
    found = await results(gateway)
    assert found["requests_examined"] == 1990 and found["complete"]
    of = "FROM predictions p WHERE experiment_id IS NOT NULL AND NOT cached AND arm = $1"

    async def sql(what: str, arm: str, more: str = "") -> Any:
        return await database.fetchval(f"SELECT {what} {of} {more}", arm)

    judged = (
        "(SELECT coalesce(f.correct, f.label = p.output_data->>'label') FROM feedback f WHERE prediction_id = p.id)"
    )
    for arm in found["arms"]:
        name = arm["name"]
        assert arm["subjects"] == await sql("count(DISTINCT subject_id)", name)
        assert arm["requests"] == await sql("count(*)", name)
        assert arm["failures"] == await sql("count(*)", name, "AND status <> 'succeeded'")
        for metric, what in (
            ("failure_rate", "avg((status = 'failed')::int)"),
            ("mean_latency_ms", "avg(queue_time_ms + processing_time_ms) FILTER (WHERE status = 'succeeded')"),
            ("confidence", "avg(confidence)"),
            ("accuracy", f"avg({judged}::int)"),
        ):
            assert arm[metric] == pytest.approx(float(await sql(what, name)), rel=1e-4), metric  # latency is rounded
        assert arm["feedback"] == await sql(f"count({judged})", name)
        for label, number in arm["labels"].items():
            assert number == await sql("count(*)", name, f"AND output_data->>'label' = '{label}'")
        latency = "percentile_cont(0.95) WITHIN GROUP (ORDER BY queue_time_ms + processing_time_ms)"
        assert arm["latency_ms"]["p95"] == round(await sql(latency, name, "AND status = 'succeeded'"), 1)
    await differences_agree(database, found)


async def differences_agree(database: asyncpg.Connection, found: dict[str, Any]) -> None:
    """The middle of each sequence is the difference of the rates, its width that of the variance by numpy."""
    rows = await database.fetch(
        "SELECT arm, sum((status <> 'succeeded')::int) AS y, count(*) AS m FROM predictions "
        "WHERE experiment_id IS NOT NULL AND NOT cached GROUP BY arm, subject_id"
    )
    ratio, variance, subjects = {}, {}, 0
    for name in ("old", "new"):
        y, m = numpy.array([(row["y"], row["m"]) for row in rows if row["arm"] == name], dtype=float).T
        ratio[name] = y.sum() / m.sum()
        variance[name] = numpy.var(y - ratio[name] * m, ddof=1) * len(y) / m.sum() ** 2
        subjects += len(y)
    compared = found["arms"][1]["compared"]["failure_rate"]
    assert found["arms"][0]["compared"] is None
    assert compared["verdict"] == "undecided"
    assert compared["estimate"] == pytest.approx(ratio["new"] - ratio["old"])
    errors = (compared["high"] - compared["low"]) / 2 / (variance["old"] + variance["new"]) ** 0.5
    assert errors == pytest.approx(statistics._widening(subjects, 0.05))


async def test_what_is_looked_at_is_bounded_and_read_from_the_index(
    gateway: Client, database: asyncpg.Connection
) -> None:
    experiment = experiment_of(await start(gateway))
    await fill(database, experiment, 3000)
    await store(database, 5000, "echo", "1.0.0", since_ms=1)
    await database.execute("ANALYZE predictions")
    counts = await application_of(gateway)[RESULT_COUNTER].count(experiment.id, shadow=False, most_rows=100)
    assert (counts.rows, counts.complete) == (100, False)
    plan = await database.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) {results_module._COUNT}", UUID(experiment.id), 100)
    scans = [each for each in _nodes(orjson.loads(plan)[0]["Plan"]) if "predictions" in each.get("Relation Name", "")]
    assert sum(each["Actual Rows"] + each.get("Rows Removed by Filter", 0) for each in scans) <= 110


def _nodes(plan: dict[str, Any]) -> Sequence[dict[str, Any]]:
    return [plan, *itertools.chain.from_iterable(_nodes(each) for each in plan.get("Plans", ()))]


async def test_rare_labels_are_counted_together(gateway: Client, database: asyncpg.Connection) -> None:
    experiment = experiment_of(await start(gateway))
    ids = await fill(database, experiment, 200)
    await database.executemany(
        "UPDATE predictions SET output_data = $2, status = 'succeeded', arm = 'old' WHERE id = $1",
        [(each, orjson.dumps({"label": f"label-{number % 40}"}).decode()) for number, each in enumerate(ids)],
    )
    old = (await results(gateway))["arms"][0]
    assert len(old["labels"]) == 20 and set(old["labels"].values()) == {5} and old["other_labels"] == 100


async def test_an_arm_that_lost_its_subjects_makes_the_results_invalid(
    gateway: Client, database: asyncpg.Connection
) -> None:
    experiment = experiment_of(await start(gateway))
    await fill(database, experiment, 2000)
    kept = await database.fetch("SELECT DISTINCT subject_id FROM predictions WHERE arm = 'new' LIMIT 31")
    await database.execute(
        "DELETE FROM predictions WHERE arm = 'new' AND subject_id <> ALL($1)", [row["subject_id"] for row in kept][:31]
    )
    found = await results(gateway)
    p = found["sample_ratio_p"]
    assert found["valid"] is (p >= 0.001)
    await database.execute("DELETE FROM predictions WHERE arm = 'new'")
    found = await results(gateway)
    assert not found["valid"] and found["arms"][1]["compared"]["failure_rate"]["verdict"] == "too_few"


# --- the shadow ------------------------------------------------------------------------------------------------------


async def test_a_shadow_is_given_copies_that_nobody_sees(
    gateway: Client, redis: Redis, keys: Keys, database: asyncpg.Connection, database_url: str
) -> None:
    started = await start(gateway, [{"version": "2.0.0"}], {"version": "1.0.0", "share": 1})
    ids = [await send(gateway, f"user-{number}") for number in range(4)]
    await eventually(lambda: copies_published(gateway), "the copies are published")
    originals, copies = await entries(redis, keys, "2.0.0"), await entries(redis, keys, "1.0.0")
    assert sorted(each["shadow_of"] for each in copies) == sorted(each["id"] for each in originals) == sorted(ids)
    assert not {each["id"] for each in copies} & set(ids)
    for each in copies:
        (original,) = [other for other in originals if other["id"] == each["shadow_of"]]
        assert (each["input"], each["options"], each["principal"], each["arm"]) == (original["input"], "{}", "", "")
        assert (each["experiment_id"], each["subject_id"]) == (started["experiment_id"], original["subject_id"])
    worker, shadow = HandWorker(redis, keys), HandWorker(redis, keys, version="1.0.0", priority=Priority.BATCH)
    await worker.finish(await worker.take(4))
    taken = {request.id: (delivery, request) for delivery, request in await shadow.take(4)}
    pairs = [taken[each["id"]] for each in copies]
    await shadow.finish(pairs[:2])
    await shadow.finish(pairs[2:3], succeeded({"label": "BAD"}))
    await shadow.finish(pairs[3:], Outcome(Status.FAILED, error="why"))
    await persist_everything(redis, keys, database_url)
    found = (await results(gateway))["shadow"]
    latency = {"p50": 10, "p95": 10, "p99": 10}
    assert found == {
        **{"version": "1.0.0", "share": 1, "copies": 4, "failures": 1, "latency_ms": latency},
        **{"compared": 3, "agreement": pytest.approx(2 / 3)},
    }
    listed = await (await gateway.get("/api/v1/predictions")).json()
    assert sorted(each["prediction_id"] for each in listed["items"]) == sorted(ids)


async def test_a_copy_calls_nobody_back_and_is_in_nobodys_events(
    start_gateway: StartGateway, redis: Redis, keys: Keys, database: asyncpg.Connection, database_url: str
) -> None:
    gateway = await start_gateway(callback_hosts="hooks.example")
    await start(gateway, [{"version": "2.0.0"}], {"version": "1.0.0", "share": 1})
    original = await send(gateway, callback_url="https://hooks.example/")
    await eventually(lambda: copies_published(gateway), "the copy is published")
    worker, shadow = HandWorker(redis, keys), HandWorker(redis, keys, version="1.0.0", priority=Priority.BATCH)
    async with listening(gateway, f"/api/v1/predictions/{original}/events") as stream:
        await stream.until("state")
        copy = await shadow.serve_one(succeeded({"label": "BAD"}))
        await worker.serve_one()
        heard = await stream.rest()
    assert {each.body["prediction_id"] for each in heard} == {original} and heard[-1].event == "result"
    assert heard[-1].body["result"] == {"label": "GOOD"}
    await persist_everything(redis, keys, database_url)
    assert {str(row["id"]) for row in await database.fetch("SELECT id FROM predictions")} == {original, copy}
    assert [str(row["prediction_id"]) for row in await database.fetch("SELECT * FROM webhooks")] == [original]
    async with listening(gateway, "/api/v1/events") as stream:
        newest = (await stream.until("predictions")).body
    assert [each["prediction_id"] for each in newest["items"]] == [original]


async def test_a_copy_is_refused_first_and_its_original_never(
    start_gateway: StartGateway, redis: Redis, keys: Keys
) -> None:
    gateway = await start_gateway(max_backlog=30, max_batch_texts=5)
    await start(gateway, [{"version": "2.0.0"}], {"version": "1.0.0", "share": 1})
    for number in range(12):
        await send(gateway, f"user-{number}")
    await eventually(lambda: copies_published(gateway), "the copies are published, or not")
    assert len(await entries(redis, keys, "2.0.0")) == 12
    assert len(await entries(redis, keys, "1.0.0")) == 3  # a tenth of the limit
    shown = await scrape(gateway)
    assert 'millstream_shadow_copies_total{model="echo",outcome="refused"}' in shown


# --- feedback --------------------------------------------------------------------------------------------------------


async def test_feedback_is_noted_changed_and_counted(
    gateway: Client, redis: Redis, keys: Keys, database: asyncpg.Connection, database_url: str, worker: HandWorker
) -> None:
    await start(gateway, [{"version": "2.0.0"}], {"version": "1.0.0", "share": 0.001})
    prediction_id = await send(gateway)
    path = f"/api/v1/predictions/{prediction_id}/feedback"
    assert (await gateway.post(path, json={"correct": False, "label": None})).status == 204  # while it is queued
    await worker.serve_one()
    await persist_everything(redis, keys, database_url)
    for body, accuracy in (({"correct": True}, 1), ({"label": "BAD"}, 0), ({"label": "GOOD"}, 1)):
        assert (await gateway.post(path, json=body)).status == 204
        (arm,) = (await results(gateway))["arms"]
        assert (arm["feedback"], arm["accuracy"]) == (1, accuracy), body
    assert await database.fetchval("SELECT count(*) FROM feedback") == 1


@pytest.mark.parametrize(
    "body", [{}, {"correct": True, "label": "A"}, {"label": ""}, {"label": "x" * 201}, {"correct": 1}]
)
async def test_feedback_says_one_thing(gateway: Client, body: object) -> None:
    prediction_id = await send(gateway)
    answer = await gateway.post(f"/api/v1/predictions/{prediction_id}/feedback", json=body)
    assert answer.status == 422


async def test_feedback_on_what_is_not_ones_own_is_404(
    gateway: Client, database: asyncpg.Connection, redis: Redis, keys: Keys
) -> None:
    (theirs,) = await store(database, 1, "echo", "1.0.0")
    await database.execute("UPDATE predictions SET principal = 'p_aaaaaaaaaaaaaaaaaaaaaaaaaa'")
    for prediction_id in (theirs, uuid7(1, 1), "no-id"):
        answer = await gateway.post(f"/api/v1/predictions/{prediction_id}/feedback", json={"correct": True})
        assert answer.status == 404, prediction_id
    assert await database.fetchval("SELECT count(*) FROM feedback") == 0


async def test_metrics_have_the_arms_that_run_and_no_others(gateway: Client) -> None:
    await start(gateway)
    await send(gateway, "user-1")
    shown = await scrape(gateway)
    counted = [line for line in shown.splitlines() if line.startswith("millstream_experiment_requests_total{")]
    assert {line.split("}")[0] for line in counted} == {
        f'millstream_experiment_requests_total{{arm="{arm}",model="echo"' for arm in ("old", "new")
    }
    assert sorted(float(line.split()[-1]) for line in counted) == [0, 1]
    await gateway.delete(EXPERIMENT)
    assert "millstream_experiment_requests_total{" not in await scrape(gateway)


async def test_what_the_cache_answered_is_not_copied(gateway: Client) -> None:
    started = await start(gateway, [{"version": "2.0.0"}], {"version": "1.0.0", "share": 1})
    experiment = experiment_of(started)
    shadowed = Experiment(experiment.id, experiment.model, experiment.arms, Shadow("1.0.0", 1.0))
    shadowing = application_of(gateway)[RUNNING]._shadowing
    new = new_request()
    shadowing.copy(shadowed, [new._replace(answer=CachedResult(b"{}", None))])
    assert not shadowing._under_way
    shadowing.copy(shadowed, [new])
    assert len(shadowing._under_way) == 1
