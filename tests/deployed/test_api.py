"""What the API promises besides answers: waiting, batches, history, repeating, errors, documents, metrics."""

from __future__ import annotations

import uuid

import pytest

from tests.deployed.api import BATCH, PREDICT, PREDICTIONS, Api
from tests.waiting import eventually

FINE = {"model": "sentiment-analysis", "text": "This is great!", "version": "1.0.0"}


async def test_all_is_well(api: Api) -> None:
    health = await api.call(200, "GET", "/health")
    assert (health["status"], health["redis"], health["postgres"], health["unserved"]) == ("ok", "ok", "ok", [])
    models = (await api.call(200, "GET", "/api/v1/models"))["items"]
    assert all(version["workers"] >= 1 for model in models for version in model["versions"] if version["is_active"])


async def test_a_prediction_is_found_at_every_moment(api: Api) -> None:
    queued = await api.call(202, "POST", f"{PREDICT}?wait=0", json=FINE)
    path = f"{PREDICTIONS}/{queued['prediction_id']}"
    done = await api.call(200, "GET", f"{path}?wait=60")
    assert (done["status"], done["input"]) == ("succeeded", {"text": FINE["text"]})

    async def in_history() -> bool:
        assert await api.call(200, "GET", path) == done
        return (await api.history(FINE["model"], queued["prediction_id"]))[queued["prediction_id"]] == 1

    await eventually(in_history, "it is in the history", timeout_s=30)
    assert await api.call(200, "GET", path) == done


async def test_a_batch_is_answered_in_order(api: Api) -> None:
    texts = ["This is great!", "This is bad."] * 50
    body = {"model": "sentiment-analysis", "texts": texts}
    items = (await api.call(200, "POST", f"{BATCH}?wait=60", json=body))["items"]
    assert [item["result"]["label"] for item in items] == ["POSITIVE", "NEGATIVE"] * 50


async def test_a_repeated_request_is_the_same_prediction(api: Api) -> None:
    key = {"Idempotency-Key": uuid.uuid4().hex}
    first, again = [await api.call(200, "POST", PREDICT, json=FINE, headers=key) for _ in range(2)]
    assert first == again
    await api.call(409, "POST", PREDICT, json={**FINE, "text": "Another."}, headers=key)


async def test_pages_follow_each_other(api: Api) -> None:
    await api.call(200, "POST", f"{BATCH}?wait=60", json={"model": "embeddings", "texts": ["a", "b", "c", "d", "e"]})

    async def five() -> bool:
        page = await api.call(200, "GET", PREDICTIONS, params={"model": "embeddings", "limit": "5"})
        return len(page["items"]) == 5

    await eventually(five, "five are stored", timeout_s=30)
    first = await api.call(200, "GET", PREDICTIONS, params={"model": "embeddings", "limit": "2"})
    second = await api.call(
        200, "GET", PREDICTIONS, params={"model": "embeddings", "limit": "2", "cursor": first["next_cursor"]}
    )
    ids = [item["prediction_id"] for page in (first, second) for item in page["items"]]
    assert ids == sorted(set(ids), reverse=True) and len(ids) == 4


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (404, {**FINE, "model": "nope"}),
        (404, {**FINE, "version": "9.9.9"}),
        (422, {**FINE, "text": ""}),
        (422, {**FINE, "colour": "red"}),
        (422, {"model": "zero-shot-classification", "text": "x", "options": {"labels": []}}),
    ],
    ids=["model", "version", "empty", "field", "options"],
)
async def test_a_mistake_is_explained(api: Api, status: int, body: dict[str, object]) -> None:
    problem = await api.call(status, "POST", PREDICT, json=body)
    assert (status == 422) == bool(problem.get("errors"))


async def test_an_unknown_id_is_not_found(api: Api) -> None:
    await api.call(404, "GET", f"{PREDICTIONS}/01890000-0000-7000-8000-000000000000")


async def test_documents_are_served_and_metrics_are_not(api: Api) -> None:
    assert (await api.call(200, "GET", "/openapi.json"))["openapi"].startswith("3.1")
    assert "swagger" in (await api.text("/docs")).lower()
    await api.call(404, "GET", "/metrics")
