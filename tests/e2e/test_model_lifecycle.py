"""A version goes its way by API, under load, on two gateways and two workers: no request fails.

The models are of a built-in task, with random weights: each version has labels of its own, so that an answer tells
which one has computed it.
"""

from __future__ import annotations

import asyncio
import shutil
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from transformers import BertForSequenceClassification

from migrations.__main__ import run as run_migrations
from migrations.settings import MigrateSettings
from tests.balancer import Balancer, balancing
from tests.e2e.conftest import Start
from tests.processes import Service
from tests.tiny_models import bert, save
from tests.waiting import eventually

CATALOGUE = """
[[models]]
name = "tiny"
task = "text-classification"
description = "random weights"
[[models.versions]]
version = "1"
artifact = "roots/one"
default = true
processes = 1
"""
PATIENCE_S = 400  # a child that imports torch on a busy machine
MODEL = "/api/v1/models/tiny"

pytestmark = pytest.mark.timeout(1500)


@pytest.fixture
def settings(tmp_path: Path, database_url: str) -> dict[str, Any]:
    """Settings of services with a catalogue of one version, and artifacts of others."""
    for name, labels in (("one", "ONE"), ("two", "TWO")):
        config = bert(id2label={0: f"{labels}-a", 1: f"{labels}-b"}, label2id={f"{labels}-a": 0, f"{labels}-b": 1})
        save(tmp_path / "roots" / name, BertForSequenceClassification(config))
    shutil.copytree(tmp_path / "roots" / "two", tmp_path / "roots" / "torn")
    (tmp_path / "roots" / "torn" / "model.safetensors").write_bytes(b"torn")
    (tmp_path / "models.toml").write_text(CATALOGUE, encoding="utf-8")
    migrated = MigrateSettings(database_url=database_url, model_catalogue=tmp_path / "models.toml")
    run_migrations(migrated, 0)
    catalogue = str(tmp_path / "models.toml")
    return {"MODEL_CATALOGUE": catalogue, "MODEL_ROOTS": str(tmp_path / "roots"), "SHUTDOWN_GRACE_S": "20"}


class Load:
    """Requests for the default version, without end until told to stop, each on a connection of its own."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.stop = asyncio.Event()
        self.answers: list[str] = []  # the version that has answered; or what went wrong

    async def run(self, clients: int) -> None:
        connector = aiohttp.TCPConnector(force_close=True, limit=0)
        async with aiohttp.ClientSession(self._url, connector=connector) as session:
            await asyncio.gather(*(self._client(session) for _ in range(clients)))

    async def _client(self, session: aiohttp.ClientSession) -> None:
        while not self.stop.is_set():
            async with session.post("/api/v1/predict?wait=60", json={"model": "tiny", "text": "the bridge"}) as answer:
                body = await answer.json()
            if answer.status != 200:
                self.answers.append(f"{answer.status}: {body}")
            else:
                label = str(body["result"]["label"])
                fits = label.startswith("ONE") == (body["version"] == "1")
                self.answers.append(body["version"] if fits else f"{body['version']} answered {label}")

    async def served(self, more: int = 30) -> None:
        """Wait until so many more requests are answered."""
        target = len(self.answers) + more
        await eventually(lambda: len(self.answers) >= target, f"{more} more answers", PATIENCE_S)

    async def served_by(self, version: str) -> None:
        """Wait until a version answers all."""
        await eventually(lambda: self.answers[-30:] == [version] * 30, f"{version} answers", PATIENCE_S)


class Api:
    """An administrator, at one gateway."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def call(self, method: str, path: str, body: object = None, status: int = 200, if_match: str = "") -> Any:
        headers = {"If-Match": if_match} if if_match else {}
        async with self._session.request(method, f"{MODEL}{path}", json=body, headers=headers) as answer:
            assert answer.status == status, await answer.text()
            return {} if status == 204 else await answer.json() | {"etag": answer.headers.get("ETag", "")}

    async def states(self, version: str) -> list[str] | None:
        """How far each worker is with a version; None if this gateway does not know of it yet."""
        versions = {each["version"]: each["states"] for each in (await self.call("GET", ""))["versions"]}
        return [each["state"] for each in versions[version]] if version in versions else None

    async def reach(self, version: str, states: list[str]) -> None:
        """Wait until workers are so far with a version."""

        async def reached() -> bool:
            return await self.states(version) == states

        await eventually(reached, f"{version} is {states}", PATIENCE_S)

    async def make_default(self, version: str) -> None:
        await self.call("PUT", "/default", {"version": version}, if_match=(await self.call("GET", ""))["etag"])


@asynccontextmanager
async def under_load(start: Start, settings: dict[str, Any]) -> AsyncIterator[tuple[Load, Api, Api, list[Service]]]:
    """Two gateways, two workers, and load; at the end no request may have failed."""
    gateways = [start("gateway", **settings), start("gateway", **settings)]
    workers = [
        start("inference_worker", ready=False, WORKER_MODELS="t*", WORKER_CPUS="1", **settings) for _ in range(2)
    ]
    for worker in workers:
        await asyncio.to_thread(worker.wait_ready, PATIENCE_S)
    balancer = Balancer([int(each.url.rsplit(":", 1)[1]) for each in gateways])
    async with balancing(balancer) as url:
        load = Load(url)
        running = asyncio.create_task(load.run(4))
        try:
            await load.served()
            async with aiohttp.ClientSession(gateways[0].url) as one, aiohttp.ClientSession(gateways[1].url) as other:
                yield load, Api(one), Api(other), workers
        finally:
            load.stop.set()
            await running
    assert set(load.answers) <= {"1", "2"}, Counter(load.answers)


async def test_a_version_is_registered_loaded_made_default_and_rolled_back(
    start: Start, settings: dict[str, Any]
) -> None:
    async with under_load(start, settings) as (load, one, other, workers):
        await one.call("POST", "/versions", {"version": "2", "artifact": "two", "processes": 1}, 201)
        await one.call("POST", "/versions/2/activate")
        await other.reach("2", ["ready", "ready"])
        await load.served()
        await other.make_default("2")
        await load.served_by("2")
        await one.make_default("1")
        await load.served_by("1")
        await other.call("POST", "/versions/2/deactivate")
        await one.reach("2", [])
        assert await one.states("1") == ["ready", "ready"]
        await load.served()
        await one.call("DELETE", "/versions/2", status=204)
        await load.served()
        assert [worker.process.poll() for worker in workers] == [None, None]


async def test_a_version_that_cannot_be_loaded_changes_nothing_but_its_own_status(
    start: Start, settings: dict[str, Any]
) -> None:
    async with under_load(start, settings) as (load, one, other, workers):
        before = await one.call("GET", "")
        await one.call("POST", "/versions", {"version": "2", "artifact": "torn"}, 201)
        await one.call("POST", "/versions/2/activate")
        await other.reach("2", ["failed", "failed"])
        await load.served()
        refused = await other.call("PUT", "/default", {"version": "2"}, 409, "*")
        assert refused["type"].endswith("not-ready")
        after = await other.call("GET", "")
        torn = after["versions"].pop()
        assert after["versions"] == before["versions"], "1 is as it was"
        assert all("cannot load" in each["reason"] for each in torn["states"]), torn
        assert all(worker.ready for worker in workers)
        await one.call("POST", "/versions/2/deactivate")
        await other.reach("2", [])
        await load.served()


async def test_what_waits_for_a_version_is_computed_before_it_is_unloaded_and_who_comes_later_knows_of_it(
    start: Start, settings: dict[str, Any]
) -> None:
    gateway = start("gateway", **settings)
    worker = start("inference_worker", ready=False, WORKER_MODELS="tiny", WORKER_CPUS="1", **settings)
    await asyncio.to_thread(worker.wait_ready, PATIENCE_S)
    async with aiohttp.ClientSession(gateway.url) as session:
        api = Api(session)
        await api.call("POST", "/versions", {"version": "2", "artifact": "two", "processes": 1}, 201)
        await api.call("POST", "/versions/2/activate")
        await api.reach("2", ["ready"])
        assert await asyncio.to_thread(worker.stop) == 0
        request = {"model": "tiny", "version": "2", "texts": ["the bridge"] * 20}
        async with session.post("/api/v1/predict/batch?wait=0", json=request) as answer:
            ids = [each["prediction_id"] for each in (await answer.json())["items"]]
        await api.call("POST", "/versions/2/deactivate")
        later = start("gateway", **settings)
        async with aiohttp.ClientSession(later.url) as other:
            async with other.post("/api/v1/predict/batch", json=request | {"texts": ["a"]}) as answer:
                assert answer.status == 404, "a gateway that starts later knows what was decided"
        start("inference_worker", ready=False, WORKER_MODELS="tiny", WORKER_CPUS="1", **settings)
        for each in ids:
            async with session.get(f"/api/v1/predictions/{each}?wait=60") as answer:
                body = await answer.json()
                assert (answer.status, body["status"]) == (200, "succeeded"), body
        await api.reach("2", [])
        assert await api.states("1") == ["ready"]
